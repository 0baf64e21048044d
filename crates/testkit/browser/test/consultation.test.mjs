// The consultation as people have it after the first start: the two links that the demo prints, the built server, its own pages.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { figure, sleep } from '../lib/call.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { startServer } from '../lib/server.mjs';

/** How long nothing may be forwarded, to be sure that nothing is. */
const QUIET_MS = 1_500;

/** Workers tell their counters once a second. */
const COUNTED_MS = 1_100;

describe('a consultation', { timeout: 90_000 }, () => {
  let server, browser;
  before(async () => {
    server = await startServer({ desk: 'demo' });
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  const forwarded = async () => (await server.metrics()).get('schalter_rtp_packets_sent_total');

  /** A window of its own, as another person has it. */
  async function person(url) {
    const context = await browser.newContext({ locale: 'de-DE' });
    const page = await context.newPage();
    const failures = [];
    page.on('pageerror', (error) => failures.push(error.message));
    await page.goto(url);
    return Object.assign(page, { failures });
  }

  /** By keyboard alone; the selector says where a person would have tabbed to. */
  async function press(page, selector) {
    await page.waitForSelector(selector);
    await page.focus(selector);
    await page.keyboard.press('Enter');
  }

  /** Waits until a picture that comes from the other side moves. */
  const sees = (page) => page.waitForFunction(() => [...document.querySelectorAll('video:not(.mirrored)')].some((video) => video.videoWidth > 0 && video.currentTime > 1 && !video.paused),
    undefined, { timeout: 20_000 });

  test('a citizen waits, is admitted by keyboard, seen and heard, held, admitted again, and it ends', async () => {
    const [citizenLink] = /http:\S+\/termin#\S+/.exec(server.printed());
    const [officialLink] = /http:\S+\/amt\b/.exec(server.printed());

    // A scanner of mail looks at the link before: that spends nothing.
    assert.equal((await fetch(citizenLink)).status, 200);

    const citizen = await person(citizenLink);
    await press(citizen, '#open');
    await press(citizen, '#check');
    await citizen.waitForFunction(() => [...document.querySelectorAll('video')].some((video) => video.videoWidth > 0));
    await press(citizen, '#join'); // the third activation
    await citizen.waitForSelector('#position:not(:empty)');

    const official = await person(officialLink);
    await press(official, '#demo-0');
    await press(official, '[id^=enter-]');
    await official.waitForSelector('html[data-state=connected]');
    await sleep(QUIET_MS);
    assert.equal(await forwarded(), 0, 'nothing is forwarded before somebody is admitted');

    const asked = Date.now();
    await press(official, '#lobby [id^=admit-]');
    await citizen.waitForSelector('#called [role], #called .kern-alert');
    await Promise.all([sees(citizen), sees(official)]);
    figure('consultation', 'both see each other after, ms', Date.now() - asked);
    assert.ok((await forwarded()) > 0);

    // Live text: a key is seen over there.
    await press(citizen, '#toggle-text');
    const typed = Date.now();
    await citizen.keyboard.type('Hallo');
    await official.waitForFunction(() => document.querySelector('#rtt-lines')?.textContent.includes('Hallo'), undefined, { timeout: 5_000, polling: 20 });
    figure('consultation', 'five keys are read after, ms', Date.now() - typed);

    await press(official, '#lobby [id^=hold-]');
    await citizen.waitForSelector('#position');
    await sleep(COUNTED_MS);
    const held = await forwarded();
    await sleep(QUIET_MS);
    assert.equal(await forwarded(), held, 'nothing is forwarded to or from somebody who is held');

    await press(official, '#lobby [id^=admit-]');
    await Promise.all([sees(citizen), sees(official)]);

    await press(official, '#end-call');
    await citizen.waitForSelector('html[data-state=ended]');
    assert.deepEqual([...citizen.failures, ...official.failures], []);
  });
});
