// The product page as people meet it: two links, the keyboard, a call, and the way out.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { before, describe, test } from 'node:test';
import { violations } from '../lib/axe.mjs';
import { figure, newRoom } from '../lib/call.mjs';
import { launchFirefox } from '../lib/firefox.mjs';
import { bundle } from '../lib/pages.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const pictures = process.env.SCREENSHOTS ?? fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-page-'));
const MIN_FPS = 15;
const HOSTILE = '<img src=x onerror="window.hacked=1">';

describe('page', { timeout: 400_000 }, () => {
  const stage = setStage({ client: false });
  let devices;
  before(async () => {
    devices = await bundle('devices.js');
    console.log(`pictures: ${pictures}`);
  });

  /** Opens a link in a fresh profile whose camera and microphone are recognisable. */
  async function visit(link, { id, hz }) {
    const context = await stage.chromium.newContext({ viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => /Content Security Policy|Refused to/.test(message.text()) && complaints.push(message.text()));
    await page.addInitScript(`window.TEST_DEVICES = ${JSON.stringify({ id, hz })};\n${devices}`);
    const requests = [];
    page.on('request', (request) => requests.push(request.url()));
    await page.goto(link);
    return Object.assign(page, { complaints, requests });
  }

  /** Presses Tab until the focus is on `selector`, then Enter: as somebody without a mouse does. */
  async function reachAndPress(page, selector) {
    await page.waitForSelector(`${selector}:visible`);
    for (let i = 0; i < 40; i++) {
      if (await page.evaluate((s) => document.activeElement?.matches(s), selector)) return page.keyboard.press('Enter');
      await page.keyboard.press('Tab');
    }
    throw new Error(`${selector} can't be reached by keyboard`);
  }

  async function joinByKeyboard(page) {
    await page.waitForSelector('html[data-state=prejoin] h1');
    if (await page.locator('#ask').isVisible()) await reachAndPress(page, '#ask');
    await page.waitForSelector('.stage video:not([hidden])');
    await reachAndPress(page, '#join');
    await page.waitForSelector('html[data-state=connected]', { timeout: 20_000 });
  }

  const tile = (identity) => `article[data-identity="${identity}"][data-source="camera"]`;

  /** Measures the picture of `identity`, once a second of it had `fps` frames, or none has had them for long enough. */
  async function measureTile(page, identity, { fps, ms }) {
    await page.waitForSelector(`${tile(identity)} video:not([hidden])`, { timeout: 15_000 });
    return page.evaluate(async ([selector, wanted, time, patience]) => {
      const sleep = (wait) => new Promise((later) => setTimeout(later, wait));
      const meter = window.testRig.watch(document.querySelector(`${selector} video`));
      for (const end = performance.now() + patience; performance.now() < end;) {
        meter.reset();
        await sleep(1_000);
        if (meter.report().fps >= wanted) break;
      }
      meter.reset();
      await sleep(time);
      meter.stop();
      return meter.report();
    }, [tile(identity), fps, ms, 10_000]);
  }

  async function axeEverywhere(page, screen) {
    for (const language of ['en', 'de']) {
      if ((await page.locator('html').getAttribute('lang')) !== language) await page.click('#language');
      await page.waitForSelector(`html[lang=${language}]`);
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme });
        await page.waitForTimeout(200);
        await page.screenshot({ path: path.join(pictures, `${screen}-${language}-${colorScheme}.png`) });
        assert.deepEqual(await violations(page), [], `axe on ${screen} ${language} ${colorScheme}`);
      }
    }
  }

  test('two people meet by keyboard, mute, and leave', { timeout: 180_000 }, async () => {
    const room = newRoom('page');
    const official = await visit(stage.server.link({ room, identity: 'amt', name: 'Frau Schröder' }), { id: 1, hz: 440 });
    const citizen = await visit(stage.server.link({ room, identity: 'kim', name: HOSTILE }), { id: 2, hz: 880 });
    await official.waitForSelector('html[data-state=prejoin] h1');
    await axeEverywhere(official, 'prejoin');
    await joinByKeyboard(official);
    await joinByKeyboard(citizen);

    const [ofKim, ofAmt] = await Promise.all([measureTile(official, 'kim', { fps: MIN_FPS, ms: 8_000 }), measureTile(citizen, 'amt', { fps: MIN_FPS, ms: 8_000 })]);
    for (const [report, from, id] of [[ofKim, 'kim', 2], [ofAmt, 'amt', 1]]) {
      figure('page', `${from} fps, latency p95`, `${report.fps.toFixed(1)}, ${report.latency.p95} ms`);
      assert.deepEqual(Object.keys(report.ids), [String(id)], `the picture of ${from} is ${from}'s`);
      assert.ok(report.fps >= MIN_FPS, `${report.fps} fps of ${from}`);
    }
    await axeEverywhere(official, 'call');

    assert.equal(await official.evaluate(() => window.hacked), undefined, 'a hostile name does nothing');
    assert.equal(await official.locator(`${tile('kim')} .tile__name`).textContent(), HOSTILE);
    await official.waitForSelector(`${tile('kim')}[data-speaking=true]`, { timeout: 10_000 });

    await reachAndPress(citizen, '#toggle-microphone');
    await official.waitForSelector(`${tile('kim')}[data-muted=true]`, { timeout: 5_000 });
    await reachAndPress(citizen, '#toggle-camera');
    await official.waitForSelector(`${tile('kim')} video[hidden]`, { timeout: 5_000, state: 'attached' });
    await reachAndPress(citizen, '#toggle-camera');
    await official.waitForSelector(`${tile('kim')} video:not([hidden])`, { timeout: 5_000 });
    await reachAndPress(citizen, '#toggle-microphone');
    await official.waitForSelector(`${tile('kim')}[data-muted=false]`, { timeout: 5_000 });

    await reachAndPress(citizen, '#leave');
    await citizen.waitForSelector('html[data-state=ended]');
    await official.waitForSelector(tile('kim'), { state: 'detached', timeout: 5_000 });
    assert.match((await official.getByRole('status').allTextContents()).join(), /ist gegangen/);
    await axeEverywhere(citizen, 'end');

    await reachAndPress(citizen, '#rejoin');
    await citizen.waitForSelector('html[data-state=connected]', { timeout: 15_000 });
    await official.waitForSelector(`${tile('kim')} video:not([hidden])`, { timeout: 15_000 });

    for (const page of [official, citizen]) {
      assert.deepEqual(page.complaints, [], 'no errors, and nothing against the content security policy');
      const foreign = page.requests.filter((url) => !/^(data|blob):/.test(url) && !url.startsWith(stage.server.url));
      assert.deepEqual(foreign, [], 'nothing is loaded from elsewhere');
      assert.ok(page.requests.filter((url) => !url.includes('/rtc')).every((url) => !url.split('#')[0].includes('token')), 'the link stays in the browser');
      await page.context().close();
    }
  });

  test('without a camera one can still take part', { timeout: 60_000 }, async () => {
    const room = newRoom('page');
    const page = await visit(stage.server.link({ room, identity: 'kim', name: 'Kim', video: { canUpdateOwnMetadata: true } }), { id: 2, hz: 880 });
    await page.waitForSelector('html[data-state=prejoin] h1');
    if (await page.locator('#ask').isVisible()) await page.click('#ask');
    await page.waitForSelector('.stage video:not([hidden])');
    await page.fill('#name', 'Kim Müller');
    await page.click('#join-audio');
    await page.waitForSelector('html[data-state=connected]', { timeout: 20_000 });
    await page.waitForSelector(`${tile('kim')}[data-muted=false] video[hidden]`, { state: 'attached', timeout: 10_000 });
    assert.equal(await page.locator(`${tile('kim')} .tile__name`).textContent(), 'Kim Müller (Sie)');
    await page.context().close();
  });

  test('a link that is not valid says so', { timeout: 60_000 }, async () => {
    const link = stage.server.link({ room: newRoom('page'), identity: 'kim' });
    const page = await visit(`${link.slice(0, -6)}AAAAAA`, { id: 2, hz: 880 });
    await page.waitForSelector('html[data-state=prejoin] h1');
    if (await page.locator('#ask').isVisible()) await page.click('#ask');
    await page.waitForSelector('.stage video:not([hidden])');
    await page.click('#join');
    await page.waitForSelector('html[data-state=ended]', { timeout: 20_000 });
    assert.match(await page.locator('main').textContent(), /gilt nicht oder nicht mehr/);
    await axeEverywhere(page, 'refused');
    await page.context().close();
  });

  test('without a link the page says what is needed', { timeout: 30_000 }, async () => {
    const page = await visit(stage.server.url, { id: 2, hz: 880 });
    await page.waitForSelector('html[data-state=start] h1');
    await axeEverywhere(page, 'start');
    await page.context().close();
  });

  test('Firefox opens the page and joins', { timeout: 90_000 }, async (t) => {
    const firefox = await untilEnd(t, launchFirefox());
    const page = await firefox.newPage();
    const complaints = [];
    page.on('console', (message) => /Content.Security.Policy/.test(message.text()) && complaints.push(message.text()));
    await page.goto(stage.server.link({ room: newRoom('page'), identity: 'fox', name: 'Fox' }));
    await page.waitForSelector('#ask, .stage');
    if (await page.$('#ask')) await page.click('#ask');
    await page.waitForSelector('.stage video:not([hidden])', { timeout: 15_000 });
    await page.click('#join');
    await page.waitForSelector('html[data-state=connected]', { timeout: 20_000 });
    await page.waitForSelector('article[data-identity=fox] video:not([hidden])', { timeout: 15_000 });
    assert.deepEqual(complaints, []);
  });
});
