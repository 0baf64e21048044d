// The page that checks the connection, in open networks and in such that block something.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { violations } from '../lib/axe.mjs';
import { figure } from '../lib/call.mjs';
import { startServer } from '../lib/server.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const pictures = process.env.SCREENSHOTS ?? fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-check-'));
const PATIENCE_MS = 60_000;

/** Passes HTTP on, but no WebSocket: as a proxy does that was not told to. */
async function withoutWebSockets(upstream) {
  const proxy = http.createServer((request, response) => {
    const passed = http.request({ host: '127.0.0.1', port: upstream, path: request.url, method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passed.on('error', () => response.destroy());
    request.pipe(passed);
  });
  proxy.on('upgrade', (_, socket) => socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'));
  await new Promise((ready) => proxy.listen(0, '127.0.0.1', ready));
  return { url: `http://127.0.0.1:${proxy.address().port}`, close: () => new Promise((closed) => (proxy.closeAllConnections(), proxy.close(closed))) };
}

/** What the page found, once it is done. Works with either browser's driver. */
async function findings(page) {
  await page.waitForSelector('html[data-state=ended]', { timeout: PATIENCE_MS });
  return page.evaluate(() => ({
    title: document.querySelector('#verdict .kern-title').textContent,
    marks: Object.fromEntries([...document.querySelectorAll('.finding')].map((row) => [row.dataset.check, row.dataset.mark])),
    wishes: [...document.querySelectorAll('#wishes li')].map((wish) => wish.textContent),
    progress: document.getElementById('progress').textContent,
  }));
}

describe('the check of the connection', { timeout: 240_000 }, () => {
  const stage = setStage({ client: false, firefox: true });

  async function open(t, browser, url) {
    const page = await untilEnd(t, browser.newPage());
    const requests = [];
    page.on('request', (request) => requests.push(request.url()));
    const begun = Date.now();
    await page.goto(url);
    return { page, requests, found: await findings(page), ms: Date.now() - begun };
  }

  for (const name of ['chromium', 'firefox']) {
    test(`${name} in an open network finds the direct way, and asks nobody else`, { timeout: 90_000 }, async (t) => {
      const { found, requests, ms } = await open(t, stage[name], `${stage.server.url}/check`);
      figure(`check ${name}, open: time to the verdict`, ms, 'ms');
      assert.equal(found.title, 'Videoberatung funktioniert hier');
      const { browser, websocket, udp, tcp } = found.marks;
      assert.deepEqual({ browser, websocket, udp, tcp }, { browser: 'ok', websocket: 'ok', udp: 'ok', tcp: 'absent' });
      assert.deepEqual(found.wishes, []);
      for (const url of requests.filter((url) => !url.startsWith('data:'))) assert.equal(new URL(url).host, new URL(stage.server.url).host, url);
    });

    test(`${name} where media does not get through says so, and what to open`, { timeout: 90_000 }, async (t) => {
      // An address that nobody answers at is to a client what a firewall is that drops.
      const server = await untilEnd(t, startServer({ rtc: { node_ip: undefined, addresses: [{ '127.0.0.1': '192.0.2.7' }] } }), (it) => it.stop());
      const { found } = await open(t, stage[name], `${server.url}/check`);
      assert.equal(found.title, 'Bild und Ton kommen hier nicht durch');
      assert.equal(found.marks.websocket, 'ok');
      assert.equal(found.marks.udp, 'failed');
      assert.deepEqual(found.wishes, [`UDP in beide Richtungen freigeben: 192.0.2.7 Port ${server.udpPort}.`]);
      assert.match(found.progress, /Bild und Ton kommen hier nicht durch/);
    });

    test(`${name} behind a proxy without WebSockets says so`, { timeout: 90_000 }, async (t) => {
      const proxy = await untilEnd(t, withoutWebSockets(stage.server.port));
      const { found } = await open(t, stage[name], `${proxy.url}/check`);
      assert.equal(found.title, 'Videoberatung funktioniert hier nicht');
      assert.equal(found.marks.websocket, 'failed');
      assert.equal(found.marks.udp, 'ok');
      assert.match(found.wishes.join(), new RegExp(`WebSocket.*${new URL(proxy.url).host}`));
    });
  }

  test('a link is used in place of the open check, and its seat is given back', { timeout: 60_000 }, async (t) => {
    const server = await untilEnd(t, startServer({ limits: { checks: 0 } }), (it) => it.stop());
    const without = await open(t, stage.chromium, `${server.url}/check`);
    assert.equal(without.found.title, 'Ohne Link lässt sich die Verbindung nicht prüfen');
    const link = server.link({ room: 'a-room', identity: 'somebody' }).replace('/#', '/check#');
    const { found, requests } = await open(t, stage.chromium, link);
    assert.equal(found.title, 'Videoberatung funktioniert hier');
    assert.ok(!requests.some((url) => url.endsWith('/check/session')));
    const deadline = Date.now() + 10_000;
    while ((await server.metrics()).get('schalter_participants') > 0) assert.ok(Date.now() < deadline, 'somebody is still there');
  });

  test('the page is accessible, in both languages, on phones, by keyboard, and gives its result away', { timeout: 120_000 }, async (t) => {
    const server = await untilEnd(t, startServer({ rtc: { node_ip: undefined, addresses: [{ '127.0.0.1': '192.0.2.7' }] } }), (it) => it.stop());
    const context = await untilEnd(t, stage.chromium.newContext({ viewport: { width: 1280, height: 900 }, permissions: ['clipboard-read', 'clipboard-write'] }));
    const page = await context.newPage();
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => /Content Security Policy|Refused to/.test(message.text()) && complaints.push(message.text()));
    await page.goto(`${server.url}/check`);
    await page.waitForSelector('.finding');
    await page.screenshot({ path: path.join(pictures, 'check-running.png') });
    assert.deepEqual(await violations(page), [], 'axe while it runs');
    await findings(page);
    console.log(`pictures: ${pictures}`);
    for (const [size, width, height] of [['desktop', 1280, 900], ['phone', 360, 740]]) {
      await page.setViewportSize({ width, height });
      for (const language of ['en', 'de']) {
        if ((await page.locator('html').getAttribute('lang')) !== language) await page.click('#language');
        await page.waitForSelector(`html[lang=${language}]`);
        for (const colorScheme of ['light', 'dark']) {
          await page.emulateMedia({ colorScheme });
          await page.waitForTimeout(200);
          await page.screenshot({ path: path.join(pictures, `check-${size}-${language}-${colorScheme}.png`), fullPage: true });
          assert.deepEqual(await violations(page), [], `axe ${size} ${language} ${colorScheme}`);
        }
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `the page is ${wide} px too wide at ${width}`);
    }
    const press = async (selector) => {
      for (let i = 0; i < 40; i++) {
        if (await page.evaluate((s) => document.activeElement?.matches(s), selector)) return page.keyboard.press('Enter');
        await page.keyboard.press('Tab');
      }
      throw new Error(`${selector} can't be reached by keyboard`);
    };
    await press('#copy-text');
    await page.waitForFunction(() => document.getElementById('copied').textContent !== '');
    const text = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(text, /192\.0\.2\.7 Port \d+/);
    await press('#copy-json');
    await page.waitForFunction(async () => (await navigator.clipboard.readText()).startsWith('{'));
    const json = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
    assert.equal(json.schema, 1);
    assert.equal(json.result, 'nomedia');
    assert.equal(json.findings.find(({ check }) => check === 'udp').result, 'failed');
    assert.ok(!/eyJ/.test(text + JSON.stringify(json)), 'no token in what is passed on');
    await press('#again');
    await page.waitForSelector('html[data-state=start]');
    await findings(page);
    assert.deepEqual(complaints, []);
  });
});
