// The consultation as people have it: the built server, its own pages, real media in Chromium and in Firefox. First what the demo prints;
// then an office's appointment with everybody who may be in it.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { violations } from '../lib/axe.mjs';
import { figure, sleep } from '../lib/call.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { searchMemory } from '../lib/dump.mjs';
import { hasSound, launchFirefox } from '../lib/firefox.mjs';
import { udpRelay } from '../lib/network.mjs';
import { startServer } from '../lib/server.mjs';
import { codeOf, framesOf, hears, keystrokes, press, reach, says, sees, until, visit } from '../lib/visitors.mjs';

/** How long nothing may be forwarded, to be sure that nothing is. */
const QUIET_MS = 1_500;
/** So long frames are recorded that the server's memory is searched for. */
const FRAMES_MS = 300;
/** Workers tell their counters once a second. */
const COUNTED_MS = 1_100;
/** What somebody types is to be read so soon (EN 301 549, 6.2.4). */
const READ_MS = 500;
/** What a bad network loses of everything, each way. */
const BAD = 0.2;
/** The server looks every five seconds, and a network is bad once it stayed so for ten. */
const GIVEN_UP_MS = 30_000;
/** What narrow band would swallow (EN 301 549, 6.1). */
const HIGH_HZ = 7_000;
const KEY = 'a-key-of-a-case-system-0123456789abcdef';
const HOSTILE = '<img src=x onerror="window.hacked=1">';
/** A picture that would act if it were more than a picture. */
const LOGO = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40" onload="document.documentElement.setAttribute(\'data-hacked\',1)"><script>document.documentElement.setAttribute("data-hacked",1);window.hacked=1</script><rect width="40" height="40"/></svg>';
const NOTICES = { de: `Einwilligung\nText ${HOSTILE}\n---\nMehr\n`, en: `Consent\nText in English ${HOSTILE}\n` };
const CHAIN = { citizen: { id: 2, hz: HIGH_HZ, screen: 9 }, official: { id: 1, ...(hasSound ? { hz: 440 } : {}) }, interpreter: { id: 3, hz: 880 }, captioner: { id: 4, hz: 1_320 }, colleague: { id: 5, hz: 1_760 }, phone: { id: 6, hz: 2_200 } };

/** The hash of a notice as the documentation of the desk says it: each part after its length. */
function hashOf(kind, file) {
  const [title, rest] = [file.slice(0, file.indexOf('\n')), file.slice(file.indexOf('\n') + 1)];
  const [text, details = ''] = rest.split('\n---\n');
  const parts = [kind, title, text, details].map((part) => Buffer.from(part.trim())).flatMap((part) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(part.length));
    return [length, part];
  });
  return crypto.createHash('sha256').update(Buffer.concat(parts)).digest('base64url');
}

/** The citizen's three activations: to the notice, to the check, to the waiting room; who may not send has no picture to wait for. */
async function goWaiting(page, { sends = true } = {}) {
  await press(page, '#open');
  await press(page, '#check');
  if (sends) await until(page, 'the own picture', () => [...document.querySelectorAll('.stage video')].some((video) => video.videoWidth > 0));
  await press(page, '#join');
  await until(page, 'the waiting room', () => document.querySelector('#position')?.textContent);
}

/** The check of devices that comes before the first call of an official in a browser. */
async function checkDevices(page) {
  await until(page, 'the check', () => !!document.querySelector('#ask, #join'));
  if (await page.evaluate(() => !!document.querySelector('#ask'))) await press(page, '#ask');
  await until(page, 'the own picture', () => [...document.querySelectorAll('.stage video')].some((video) => video.videoWidth > 0));
  await press(page, '#join');
}

/** Opens the text pane, which opens by itself when somebody writes. */
async function openText(page) {
  if (await page.evaluate(() => document.querySelector('#toggle-text').getAttribute('aria-expanded') === 'false')) await press(page, '#toggle-text');
}

const closeAll = (pages) => Promise.all(pages.map((page) => page.closeAll()));
const connected = (page) => until(page, 'the call', () => document.documentElement.dataset.state === 'connected', undefined, 20_000);

describe('a consultation of the demo', { timeout: 90_000 }, () => {
  let server, browser, relay;
  before(async () => {
    server = await startServer({ desk: 'demo' });
    relay = await udpRelay(server.udpPort);
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
    await relay?.close();
    await server?.stop();
  });

  /** The number on a page where one other person is. */
  const code = (page) => until(page, 'the number', () => document.querySelector('#present .codes__number')?.dataset.code);
  const forwarded = async () => (await server.metrics()).get('schalter_rtp_packets_sent_total');

  test('a citizen waits, is admitted by keyboard, held, admitted again, goes on by sound alone, and it ends; nothing is forwarded out of turn', async () => {
    const [citizenLink] = /http:\S+\/termin#\S+/.exec(server.printed());
    const [officialLink] = /http:\S+\/amt\b/.exec(server.printed());
    const citizen = await visit(browser, citizenLink, { ...CHAIN.citizen, hz: 660, relay: { from: server.udpPort, to: relay.port } }, { recorded: true });
    await goWaiting(citizen);

    const official = await visit(browser, officialLink, CHAIN.official);
    await press(official, '#demo-0');
    await press(official, '[id^=enter-]');
    await checkDevices(official);
    await connected(official);
    await sleep(QUIET_MS);
    assert.equal(await forwarded(), 0, 'nothing is forwarded before somebody is admitted');

    const asked = Date.now();
    await press(official, '#lobby [id^=admit-]');
    await until(citizen, 'being called', () => !!document.querySelector('#called .kern-alert'));
    await Promise.all([sees(citizen, 1), sees(official, 2)]);
    figure('consultation', 'both see each other after, ms', Date.now() - asked);
    assert.ok((await forwarded()) > 0);

    // Nobody between can see it: both pages say so, both have one number, and nothing of what was encoded is in the server.
    await Promise.all([citizen, official].map((page) => says(page, 'end')));
    const codes = [await code(citizen), await code(official)];
    assert.match(codes[0], /^\d{6}$/);
    assert.equal(codes[0], codes[1], 'both see one number');
    const kept = searchMemory(server.pid(), await framesOf(citizen, FRAMES_MS, { first: true }));
    figure('consultation', 'pieces of frames, and those of them in memory', [kept.count, kept.found]);
    assert.ok(kept.count > 2_000, `${kept.count} pieces are varied enough`);
    assert.equal(kept.found, 0, `a frame as it was before encryption stands in memory at ${kept.first}`);
    await press(official, '.talk__who summary');
    await official.focus('#present [id^=same-]');
    await official.keyboard.press('Space');
    await until(official, 'the comparison', () => document.querySelector('#layer').textContent === 'Von Gerät zu Gerät verschlüsselt. Zahlen verglichen.');

    await press(official, '#lobby [id^=hold-]');
    await until(citizen, 'the waiting room', () => document.querySelector('#position')?.textContent);
    await sleep(COUNTED_MS);
    const held = await forwarded();
    await sleep(QUIET_MS);
    assert.equal(await forwarded(), held, 'nothing is forwarded to or from somebody who is held');
    // Nor could they read on: the official sends with another key.
    const own = () => official.evaluate(() => window.keysSet.filter(([identity]) => identity === document.querySelector('.tile[data-local]').dataset.identity).map(([, index]) => index));
    assert.deepEqual(await own(), [0, 1]);
    await says(official, 'alone');

    await press(official, '#lobby [id^=admit-]');
    await Promise.all([sees(citizen, 1), sees(official, 2), says(citizen, 'end'), says(official, 'end')]);
    const again = [await code(citizen), await code(official)];
    assert.equal(again[0], again[1]);
    assert.notEqual(again[0], codes[0], 'another seat has another number, to be compared anew');
    assert.equal(await official.isChecked('#present [id^=same-]'), false);


    // The citizen's network gets so bad that pictures are given up for the sake of sound, both ways; who wants them back gets them.
    relay.loss = BAD;
    const worse = Date.now();
    await until(citizen, 'that pictures are given up', () => document.querySelector('#quality').dataset.text === 'quality.poor', undefined, GIVEN_UP_MS);
    figure('consultation', 'pictures are given up after, ms', Date.now() - worse);
    await until(official, 'no picture of the citizen', () => ![...document.querySelectorAll('.tile:not([data-local]) video')].some((video) => video.checkVisibility()));
    await until(citizen, 'that no picture is sent or received', async () => {
      const packets = async () => (await window.allStats()).filter(({ type, kind }) => kind === 'video' && /^(in|out)bound-rtp$/.test(type)).reduce((sum, { packetsSent = 0, packetsReceived = 0 }) => sum + packetsSent + packetsReceived, 0);
      const before = await packets();
      await new Promise((later) => setTimeout(later, 500));
      return (await packets()) === before;
    });
    await Promise.all([hears(official, 660), ...(hasSound ? [hears(citizen, 440)] : [])]);
    relay.loss = 0;
    await press(citizen, '#pictures');
    await Promise.all([sees(citizen, 1), sees(official, 2)]);

    await press(official, '#end-call');
    await until(citizen, 'the end', () => document.documentElement.dataset.state === 'ended');
    assert.deepEqual([...citizen.failures, ...official.failures], []);
    await closeAll([citizen, official]);
  });
});

describe('a consultation of an office', { timeout: 180_000 }, () => {
  let server, chromium, firefox, folder, office;
  before(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-office-'));
    const file = (name, text) => {
      fs.writeFileSync(path.join(folder, name), text, { mode: 0o600 });
      return path.join(folder, name);
    };
    office = {
      id: 'ulm', name: `Stadt Ulm ${HOSTILE}`, help: { phone: '0731 161-0', text: HOSTILE }, languages: ['de', 'en', 'de-leicht'],
      notice: { kind: 'consent', de: file('notice.de', NOTICES.de), en: file('notice.en', NOTICES.en) },
      texts: { de: file('de.json', JSON.stringify({ 'termin.yours': HOSTILE })) }, logo: file('logo.svg', LOGO),
      keys: [{ id: 'case', secret_file: file('key', KEY), scopes: ['appointments:read', 'appointments:write', 'events:read'] }],
      officials: { demo: [{ id: 'dilek', name: 'Dilek Muster' }] },
    };
    server = await startServer({ desk: { authorities: [office] } });
    [chromium, firefox] = await Promise.all([launchChromium(), launchFirefox()]);
  });
  after(async () => {
    await chromium?.close();
    await firefox?.close();
    await server?.stop();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  /** What a case system asks for. */
  async function api(method, way, body) {
    const answer = await fetch(`${server.url}/v1/${way}`, { method, headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' }, ...(body ? { body: JSON.stringify(body) } : {}) });
    assert.ok(answer.ok, `${method} ${way}: ${answer.status} ${answer.ok ? '' : await answer.text()}`);
    return answer.json();
  }
  const soon = () => ({ starts_at: new Date(Date.now() + 60_000).toISOString(), ends_at: new Date(Date.now() + 1_860_000).toISOString() });

  /** Signs the official in. */
  async function signIn(browser) {
    const page = await visit(browser, `${server.url}/amt`, CHAIN.official);
    await press(page, '#demo-0');
    await until(page, 'the day', () => !!document.querySelector('#day'));
    return page;
  }

  /** From now on: how long at most no frame of this person was shown. Asking begins anew. */
  const watchGaps = (page, identity) => page.evaluate((id) => {
    let [frames, last, most] = [0, performance.now(), 0];
    setInterval(() => {
      const shown = [...document.querySelectorAll(`.tile[data-identity="${id}"] video`)].reduce((sum, video) => sum + video.getVideoPlaybackQuality().totalVideoFrames, 0);
      const now = performance.now();
      if (shown !== frames) [frames, last] = [shown, now];
      most = Math.max(most, now - last);
    }, 20);
    window.longestGap = () => {
      const told = Math.round(most);
      most = 0;
      return told;
    };
  }, identity);
  const gap = (page) => page.evaluate(() => window.longestGap());

  const pinned = (page, identities) => until(page, `pinned ${identities}`, (wanted) => {
    const found = [...document.querySelectorAll('.tile[data-pinned]')].map((tile) => tile.dataset.identity).sort();
    return found.join() === [...wanted].sort().join();
  }, identities);
  const reads = (page, selector, words, ms) => until(page, `${words} in ${selector}`, ([where, wanted]) => document.querySelector(where)?.textContent.includes(wanted), [selector, words], ms);

  test('a citizen in Chromium, an official in Firefox, and everybody else', async () => {
    const appointment = await api('POST', 'appointments', { subject: 'Wohngeld', ...soon(), people: [
      { role: 'citizen', name: `Kim ${HOSTILE}`, needs: { signing: true } }, { role: 'interpreter', name: 'Uli Beispiel', linked_to: 0 }, { role: 'captioner', name: 'Sam Schnell' },
    ] });
    const [kim, uli, sam] = appointment.people;

    // Who looks at the link before, with scripts and all, spends nothing. It becomes the citizen's second device below.
    const phone = await visit(chromium, kim.join_url, CHAIN.phone);
    await until(phone, 'the landing', () => !!document.querySelector('#open'));

    const citizen = await visit(chromium, kim.join_url, CHAIN.citizen, { recorded: true });
    await press(citizen, '#open');
    await until(citizen, 'the notice', () => document.querySelector('#notice')?.textContent.startsWith('Einwilligung'));
    // What one agrees to is what one has read, in one's own language.
    await citizen.selectOption('#language', 'en');
    await reads(citizen, '#notice', `Text in English ${HOSTILE}`);
    await press(citizen, '#check');
    await until(citizen, 'the own picture', () => [...document.querySelectorAll('.stage video')].some((video) => video.videoWidth > 0));
    await press(citizen, '#join');
    await until(citizen, 'the waiting room', () => document.querySelector('#position')?.textContent);
    const { events } = await api('GET', 'events?after=0');
    const consent = events.find((event) => event.type === 'person.consent');
    assert.equal(consent.data.notice, hashOf('consent', NOTICES.en), JSON.stringify(consent));

    const interpreter = await visit(chromium, uli.join_url, CHAIN.interpreter);
    const captioner = await visit(chromium, sam.join_url, CHAIN.captioner);
    await Promise.all([goWaiting(interpreter), goWaiting(captioner, { sends: false })]);

    const official = await signIn(firefox);
    await reach(official, `#admit-${kim.id}`);
    await Promise.all([connected(citizen), connected(interpreter)]); // a pair is admitted as one
    await reach(official, `#admit-${sam.id}`);
    await reach(official, `#enter-${appointment.id}`);
    await checkDevices(official);
    await Promise.all([connected(captioner), connected(official)]);

    await Promise.all([sees(official, 2), sees(official, 3), sees(citizen, 1), sees(citizen, 3), sees(interpreter, 2), sees(captioner, 3)]);
    if (hasSound) await Promise.all([hears(citizen, 440), hears(official, 880)]);
    figure('consultation', 'a tone of 7 kHz arrives as, Hz', await hears(interpreter, HIGH_HZ));
    if (hasSound) await hears(official, HIGH_HZ);
    await Promise.all([pinned(citizen, [kim.id, uli.id]), pinned(official, [kim.id, uli.id])]);

    // Encrypted between all of them, in one browser and the other; each pair has a number of its own.
    await Promise.all([citizen, interpreter, captioner, official].map((page) => says(page, 'end')));
    const numbers = new Set();
    for (const [page, id] of [[citizen, kim.id], [interpreter, uli.id], [captioner, sam.id]]) {
      const number = await codeOf(official, id);
      const dilek = await page.evaluate(() => [...document.querySelectorAll('#present li')].find((one) => one.textContent.includes('Dilek')).dataset.person);
      assert.equal(await codeOf(page, dilek), number);
      numbers.add(number);
    }
    assert.equal(numbers.size, 3);

    // Text as it is typed, both ways.
    await openText(citizen);
    await openText(official);
    const there = await keystrokes(citizen, official, '#rtt', '#rtt-lines', 'wxyzq');
    const back = await keystrokes(official, citizen, '#rtt', '#rtt-lines', 'jkvöß');
    figure('consultation', 'keys are read after, ms', { there, back });
    for (const took of [...there, ...back]) assert.ok(took >= 0 && took <= READ_MS, `a key was read after ${took} ms`);

    assert.ok(await captioner.isHidden('#signing') && await interpreter.isVisible('#signing'), 'who sends no picture is not asked whether they sign');
    await openText(captioner);
    await captioner.fill('#captions', `Guten Tag ${HOSTILE}`);
    await Promise.all([citizen, official].map((page) => reads(page, '#captions-lines', `Guten Tag ${HOSTILE}`)));
    assert.equal(await official.evaluate(() => document.querySelector('#captions')), null, 'only who writes captions has a field for them');
    for (const [from, to, words] of [[citizen, official, `Hallo ${HOSTILE}`], [official, citizen, 'Guten Morgen']]) {
      await from.evaluate(() => (document.querySelector('#chat').value = ''));
      await from.focus('#chat');
      await from.keyboard.type(words);
      await from.keyboard.press('Enter');
      await reads(to, '#chat-lines', words);
    }

    // A hint stands before the browser's own question, and may be declined.
    await press(citizen, '#toggle-screen');
    await until(citizen, 'the hint', () => document.querySelector('#share-hint')?.open);
    await citizen.keyboard.press('Escape');
    // The browser closes it when it gets to it; until then everything else is out of reach.
    await until(citizen, 'the end of the hint', () => !document.querySelector('#share-hint').open);
    assert.equal(await citizen.evaluate(() => window.sharingAsked), undefined);
    await press(citizen, '#toggle-screen');
    await press(citizen, '#share-go');
    await sees(official, 9);
    assert.equal(await citizen.evaluate(() => window.sharingAsked.video.displaySurface), 'window');
    await press(citizen, '#toggle-screen');
    await until(official, 'the end of sharing', () => !document.querySelector('[data-source=screen_share]'));
    await citizen.evaluate(() => (window.sharedSurface = 'monitor'));
    await press(citizen, '#toggle-screen');
    await press(citizen, '#share-go');
    await reads(citizen, '.call__news', 'whole screen');
    await press(citizen, '#toggle-screen');

    // Who said before that they sign is sent as such from the first frame on; the button has the last word.
    const signs = (yes) => until(official, `whether ${kim.id} signs: ${yes}`, ([id, wanted]) => wanted === [...document.querySelectorAll(`.tile[data-identity="${id}"] .tile__mark`)].some((mark) => mark.checkVisibility() && mark.dataset.text === 'tile.signing'), [kim.id, yes]);
    const { video } = await citizen.evaluate(() => window.sending());
    assert.deepEqual([video.degradationPreference, video.encodings.length], ['maintain-framerate', 1]);
    await signs(true);
    await press(citizen, '#signing');
    await signs(false);
    await press(citizen, '#signing');
    await signs(true);
    await sees(official, 2);

    // A colleague comes by a link that works once.
    await press(official, '#colleague-open > summary');
    await press(official, '#colleague');
    const invitation = await until(official, 'the invitation', () => document.querySelector('#colleague-link')?.value);
    await watchGaps(captioner, uli.id);
    const colleague = await visit(chromium, invitation, CHAIN.colleague, { old: true });
    await press(colleague, '#open');
    await checkDevices(colleague);
    await connected(colleague);
    const late = await visit(chromium, invitation, CHAIN.phone);
    await press(late, '#open');
    await until(late, 'the refusal', () => document.querySelector('[role=alert]')?.textContent);
    await until(official, 'the colleague', () => document.querySelectorAll('.tile').length >= 5);
    // Their browser can't encrypt: all are told, go on without, and the server could see it. That is also how the search is known to find.
    await Promise.all([colleague, citizen, official].map((page) => says(page, 'transport')));
    assert.match(await official.evaluate(() => document.querySelector('#encryption').textContent), /Nicht von Gerät zu Gerät verschlüsselt ist es bei: /);
    await Promise.all([sees(colleague, 1), sees(colleague, 2), sees(official, 5), sees(citizen, 5), sees(citizen, 1), sees(captioner, 3)]);
    const stopped = [await gap(captioner)];
    const open = searchMemory(server.pid(), await framesOf(citizen, FRAMES_MS));
    figure('consultation', 'pieces of frames, and those of them in memory, without encryption', [open.count, open.found]);
    assert.ok(open.found >= open.count / 10, `${open.found} of ${open.count} pieces are in memory`);
    await closeAll([colleague, late]);

    // Another device with the same link is admitted afresh, and takes the place of the first.
    await goWaiting(phone);
    await press(official, `#lobby #admit-${kim.id}`);
    await connected(phone);
    await until(citizen, 'the end on the first device', () => document.documentElement.dataset.state === 'ended');
    await Promise.all([official, phone, interpreter].map((page) => says(page, 'end')));
    await Promise.all([sees(official, 6), pinned(official, [`${kim.id}.2`, uli.id])]);
    stopped.push(await gap(captioner));
    figure('consultation', 'a picture stops on the way to the clear, and back, for ms', stopped);

    await press(official, '#end-call');
    const all = [phone, interpreter, captioner];
    await Promise.all(all.map((page) => until(page, 'the end', () => document.documentElement.dataset.state === 'ended')));
    for (const page of [...all, citizen, official]) {
      assert.deepEqual(page.failures, []);
      assert.equal(await page.evaluate(() => window.hacked), undefined, 'nothing hostile acts');
    }
    assert.equal(await phone.evaluate(() => document.querySelector('#office-logo').naturalWidth), 40, 'the logo is shown');
    const logo = await visit(chromium, `${server.url}/desk/v1/logo/ulm`, CHAIN.phone);
    assert.equal(await logo.evaluate(() => document.documentElement.getAttribute('data-hacked')), null, 'a logo that is opened for itself does not act either');
    await closeAll([...all, citizen, official, logo]);
    assert.doesNotMatch(server.logged(), /Beispiel|Schnell|Muster|onerror|127\.0\.0\.1:\d{5}/, 'no names, no words, no addresses in the log');
  });

  test('a citizen in Firefox, an official in Chromium, where nothing but encryption between them will do', async () => {
    server.configure({ desk: { authorities: [{ ...office, end_to_end: 'required' }] } });
    const { url, token } = server.admin;
    assert.equal((await fetch(`${url}/v1/reload`, { method: 'POST', headers: { authorization: `Bearer ${token}` } })).status, 200);
    const official = await signIn(chromium);
    // The day's page asks for it in the same way.
    const made = await official.evaluate(async (body) => (await fetch('/desk/v1/appointments', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })).json(),
      { subject: 'Ausweis', ...soon(), people: [{ role: 'citizen', name: 'Robin' }, { role: 'companion', name: 'Toni' }] });
    const [robin, toni] = made.people;
    // Whose browser can't is told before anything else, waits for nothing, and the official sees why nobody comes.
    const old = await visit(chromium, toni.join_url, CHAIN.colleague, { old: true });
    await press(old, '#open');
    await until(old, 'the refusal', () => document.querySelector('[role=alert] [data-text="problem.no-encryption"]')?.checkVisibility());
    assert.deepEqual(await violations(old), [], 'axe on the refusal');
    await until(official, 'the reason', (id) => document.querySelector(`#day [data-person="${id}"] [data-text="tested.encryption.no"]`)?.checkVisibility(), toni.id);
    assert.deepEqual(await violations(official), [], 'axe on the day');
    const citizen = await visit(firefox, robin.join_url, { id: 7, ...(hasSound ? { hz: 660 } : {}) });
    await goWaiting(citizen);
    await reach(official, `#admit-${robin.id}`);
    await reach(official, `#enter-${made.id}`);
    await checkDevices(official);
    await Promise.all([sees(official, 7), sees(citizen, 1), says(official, 'end'), says(citizen, 'end')]);
    const dilek = await citizen.evaluate(() => [...document.querySelectorAll('#present li')].find((one) => one.textContent.includes('Dilek')).dataset.person);
    assert.equal(await codeOf(official, robin.id), await codeOf(citizen, dilek), 'both see one number');
    if (hasSound) await Promise.all([hears(official, 660), hears(citizen, 440)]);
    // The browser's own choice of what to share: it insists on a key that was pressed just before. A window is what it is asked for.
    await press(official, '#toggle-screen');
    await press(official, '#share-go');
    await until(citizen, 'the window', () => [...document.querySelectorAll('[data-source=screen_share] video')].some((video) => video.videoWidth > 0 && video.currentTime > 0));
    const surfaces = await official.evaluate(() => window.peerConnections.flatMap((peer) => peer.getSenders()).map(({ track }) => track?.getSettings().displaySurface).filter(Boolean));
    assert.deepEqual(surfaces, ['window']);
    await press(official, '#toggle-screen');
    await until(citizen, 'the end of sharing', () => !document.querySelector('[data-source=screen_share]'));
    // Text as well; and the server met nothing in the clear.
    await openText(citizen);
    for (const [from, to, words] of [[citizen, official, 'Guten Tag'], [official, citizen, 'Guten Morgen']]) {
      await from.focus('#chat');
      await from.keyboard.type(words);
      await from.keyboard.press('Enter');
      await reads(to, '#chat-lines', words);
    }
    const counted = await server.metrics();
    const clear = ['tracks', 'data_packets'].map((kind) => counted.get(`schalter_unencrypted_${kind}_refused_total`));
    assert.deepEqual([counted.get('schalter_participants'), ...clear], [2, 0, 0]);
    await press(official, '#end-call');
    await until(citizen, 'the end', () => document.documentElement.dataset.state === 'ended');
    assert.deepEqual([old, citizen, official].flatMap(({ failures }) => failures), []);
    await closeAll([old, citizen, official]);
  });

  test('what another site sends is refused', async () => {
    const origin = 'https://other.example';
    for (const way of ['links/open', 'me/wait', 'login/demo', 'appointments']) {
      const answer = await fetch(`${server.url}/desk/v1/${way}`, { method: 'POST', headers: { origin, 'content-type': 'application/json' }, body: '{}' });
      assert.equal(answer.status, 403, way);
    }
    const status = await new Promise((told) => new WebSocket(`${server.wsUrl}/desk/v1/me/socket`, { origin }).on('unexpected-response', (_, answer) => told(answer.statusCode)).on('open', () => told('open')).on('error', () => undefined));
    assert.equal(status, 403);
  });
});
