// What operators rely on: metrics that tell the truth, a clean end, logs without personal data, refusals that say why.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import { describe, test } from 'node:test';
import { ask, checkAudio, checkVideo, figure, newRoom, openPage, sleep } from '../lib/call.mjs';
import { bundle } from '../lib/pages.mjs';
import { startServer } from '../lib/server.mjs';
import { setStage } from '../lib/stage.mjs';

const status = (url, options) => fetch(url, options).then((answer) => answer.status, (error) => error.cause?.code ?? error.message);

async function until(what, check, ms = 10_000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) assert.fail(`${what} not within ${ms} ms`);
    await sleep(50);
  }
}

/** Asks for a WebSocket as a client library does; resolves to what the server answers instead. */
function upgrade(server, path, headers = {}) {
  return new Promise((resolve, reject) => {
    const handshake = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'c2NoYWx0ZXItdGVzdC0xNg==' };
    const request = http.get(`${server.url}${path}`, { headers: { ...handshake, ...headers } });
    request.on('error', reject);
    request.on('upgrade', (answer, socket) => resolve(socket.destroy() && { status: answer.statusCode, text: '' }));
    request.on('response', async (answer) => {
      let text = '';
      for await (const part of answer) text += part;
      resolve({ status: answer.statusCode, text });
    });
  });
}

describe('server', { timeout: 400_000 }, () => {
  const stage = setStage({ server: false }); // each test has one of its own

  /** Two people who see each other. */
  async function call(server, { room = newRoom('server'), names = ['anna', 'ben'], claims = {} } = {}) {
    const { chromium, client } = stage;
    const pages = [await openPage(chromium, client.url), await openPage(chromium, client.url)];
    for (const [i, page] of pages.entries()) {
      const token = server.token({ room, identity: names[i], name: `${names[i]}-name`, claims });
      await page.evaluate((wish) => window.client.join(wish), { url: server.wsUrl, token });
      await ask(page, 'publish', { id: i + 1, hz: [440, 880][i] });
    }
    await Promise.all(pages.map((page, i) => ask(page, 'seen', names[1 - i], 15_000)));
    return pages;
  }

  test('health is open, metrics need the token and are well-formed', { timeout: 30_000 }, async () => {
    const server = await startServer();
    try {
      const { url, token } = server.admin;
      assert.equal(await status(`${url}/livez`), 200);
      assert.equal(await status(`${url}/readyz`), 200);
      for (const authorization of [undefined, 'Bearer wrong', `Bearer ${token}x`, `Basic ${token}`, token]) {
        assert.equal(await status(`${url}/metrics`, { headers: authorization ? { authorization } : {} }), 401, authorization);
      }
      const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token}` } });
      const text = await answer.text();
      assert.match(answer.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
      const lint = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
      assert.ifError(lint.error); // package prometheus
      assert.deepEqual([lint.status, lint.stdout, lint.stderr], [0, '', ''], 'promtool has nothing to say');
      for (const path of ['/metrics', '/livez', '/readyz']) {
        assert.notEqual(await status(`${server.url}${path}`), 200, `${path} is not on the public port`);
      }
    } finally {
      await server.stop();
    }
  });

  test('the public page is protected, and whoever is no browser gets OK', { timeout: 30_000 }, async () => {
    const server = await startServer();
    try {
      const plain = await fetch(server.url, { headers: { accept: '*/*' } });
      assert.deepEqual([plain.status, (await plain.text()).trim()], [200, 'OK']);
      const page = await fetch(server.url, { headers: { accept: 'text/html' } });
      assert.match(page.headers.get('content-type'), /^text\/html/);
      const policy = page.headers.get('content-security-policy');
      for (const part of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]) assert.ok(policy?.includes(part), `${part} in ${policy}`);
      assert.doesNotMatch(policy, /unsafe-|\*/);
      assert.equal(page.headers.get('referrer-policy'), 'no-referrer');
      assert.equal(page.headers.get('x-content-type-options'), 'nosniff');
    } finally {
      await server.stop();
    }
  });

  test('a wrong token is refused on every way in, with a reason that does not repeat it', { timeout: 30_000 }, async () => {
    const server = await startServer();
    try {
      const wish = { room: newRoom('refused'), identity: 'eve' };
      const good = server.token(wish);
      const wrong = {
        expired: server.token({ ...wish, ttl: -600 }),
        'wrong signature': `${good.slice(0, -6)}AAAAAA`,
        'no token at all': 'CANARY-no-token',
        'may not join': server.token({ ...wish, video: { roomJoin: false } }),
        none: undefined,
      };
      for (const [what, token] of Object.entries(wrong)) {
        for (const path of ['/rtc', '/rtc/v1', '/rtc/validate', '/rtc/v1/validate']) {
          for (const inHeader of token ? [false, true] : [false]) {
            const query = token && !inHeader ? `?access_token=${token}` : '';
            const headers = inHeader ? { authorization: `Bearer ${token}` } : {};
            let answer;
            if (path.endsWith('validate')) {
              const response = await fetch(`${server.url}${path}${query}`, { headers: { ...headers, origin: 'https://elsewhere.example' } });
              assert.equal(response.headers.get('access-control-allow-origin'), '*', `${path}, ${what}: a browser may read the reason`);
              answer = { status: response.status, text: await response.text() };
            } else {
              answer = await upgrade(server, `${path}${query}`, headers);
            }
            assert.equal(answer.status, 401, `${path}, ${what}: ${answer.text}`);
            assert.match(answer.text, /\w/, `${path}, ${what}: a reason is given`);
            for (const part of (token ?? '').split('.')) assert.ok(!part || !answer.text.includes(part), `${path}, ${what}: the answer repeats the token`);
          }
        }
      }
      const fine = await fetch(`${server.url}/rtc/v1/validate?access_token=${good}`, { headers: { origin: 'https://elsewhere.example' } });
      assert.notEqual(fine.status, 401, 'the checks above are about the tokens');
      for (const token of [good, ...Object.values(wrong)]) assert.ok(!token || !server.log().includes(token.split('.').at(-1)), 'no token in the log');
    } finally {
      await server.stop();
    }
  });

  test('metrics tell of a call, and nothing is dropped that should not be', { timeout: 60_000 }, async () => {
    const server = await startServer();
    try {
      const pages = await call(server);
      await sleep(4_000);
      const metrics = await server.metrics();
      const value = (name) => metrics.get(name) ?? 0;
      assert.equal(value('schalter_transports{state="connected"}'), 2);
      assert.equal(value('schalter_participants'), 2);
      assert.equal(value('schalter_rooms'), 1);
      assert.equal(value('schalter_tracks'), 4);
      assert.equal(value('schalter_joins_connected_total'), 2);
      const [rtpIn, rtpOut] = [value('schalter_rtp_packets_received_total'), value('schalter_rtp_packets_sent_total')];
      figure('server', 'RTP packets received and sent', `${rtpIn}, ${rtpOut}`);
      assert.ok(rtpIn > 500 && rtpOut > 500, `RTP received ${rtpIn}, sent ${rtpOut}`);
      assert.ok(rtpOut > rtpIn * 0.8 && rtpOut < rtpIn * 1.2, 'with two people each packet goes out once');
      const profiles = [...metrics].filter(([name, count]) => name.startsWith('schalter_srtp_handshakes_total{') && count > 0);
      figure('server', 'SRTP profiles', profiles);
      assert.deepEqual(profiles.map(([name]) => name.includes('AEAD_AES_')), [true], 'one profile, and it is an AEAD');
      assert.equal(profiles[0][1], 2);
      assert.equal(value('schalter_dtls_failures_total'), 0);
      assert.equal(value('schalter_signaling_messages_malformed_total'), 0);
      checkDrops('server', metrics);

      for (const page of pages) await page.closeAll();
      await until('everybody is forgotten', async () => {
        const now = await server.metrics();
        return ['schalter_participants', 'schalter_tracks', 'schalter_consumers', 'schalter_producers', 'schalter_transports{state="connected"}', 'schalter_signaling_connections'].every((name) => !now.get(name));
      }, 30_000);
    } finally {
      await server.stop();
    }
  });

  /**
   * Nothing is dropped but a few duplicates. Those are retransmissions by which browsers probe the bandwidth when they
   * begin to send: a media packet that came twice would be an SRTP replay, and nobody asked for them.
   */
  function checkDrops(name, metrics) {
    const drops = [...metrics].flatMap(([key, count]) => (count > 0 && key.startsWith('schalter_drops_total{') ? [[/reason="(\w+)"/.exec(key)[1], count]] : []));
    figure(name, 'drops', drops);
    const few = metrics.get('schalter_rtp_packets_received_total') * 0.05;
    assert.deepEqual(drops.filter(([reason, count]) => reason !== 'rtp_duplicate' || count > few), [], `${name}: drops without an explanation`);
  }

  test('the log of a call holds no name, token, address or message', { timeout: 60_000 }, async () => {
    assert.equal(process.env.SCHALTER_LOG, undefined, 'it is the default level that is judged');
    const canary = 'kanarienvogel';
    const server = await startServer();
    let tokens;
    try {
      const room = newRoom(`${canary}-room`);
      const pages = await call(server, { room, names: [`${canary}-1`, `${canary}-2`], claims: { metadata: `${canary}-metadata`, attributes: { [canary]: canary } } });
      await ask(pages[0], 'send', `${canary} message`, { reliable: true, topic: canary });
      await ask(pages[1], 'received', `${canary} message`, 5_000);
      // Failures are where addresses and names slip in most easily.
      tokens = [server.token({ room, identity: `${canary}-3`, ttl: -600 }), server.token({ room, identity: `${canary}-4` })];
      await upgrade(server, `/rtc/v1?access_token=${tokens[0]}`);
      await upgrade(server, `/rtc/v1?access_token=${tokens[1]}&join_request=%21%21`);
      await upgrade(server, `/rtc?access_token=${tokens[1]}&reconnect=1&sid=PA_${canary}`);
      for (const page of pages) await page.closeAll();
      await until('the participants leave', () => (server.log().match(/participant leaves/g) ?? []).length >= 2, 30_000);
    } finally {
      await server.stop();
    }
    const log = server.log();
    assert.match(log, /participant joins/, 'lifecycle is logged');
    const addresses = Object.values(os.networkInterfaces()).flat().map(({ address }) => address).filter((address) => address !== '::1');
    for (const secret of [canary, ...tokens.map((token) => token.split('.').at(-1)), ...addresses, server.admin.token]) {
      const at = log.indexOf(secret);
      assert.equal(at, -1, `${secret} is in the log: ${log.slice(Math.max(0, at - 200), at + 100)}`);
    }
  });

  test('SIGTERM: people are told, nobody new is sent here, and the process ends', { timeout: 60_000 }, async () => {
    const server = await startServer();
    let pages;
    let stopped;
    try {
      pages = await call(server);
      // A client in the middle of a request must not hold the end up for ever; it keeps the server draining meanwhile.
      const slow = net.connect(server.port, '127.0.0.1', () => slow.write('GET / HTTP/1.1\r\nhost: x\r\n')).on('error', () => undefined);
      await sleep(200);
      const start = Date.now();
      stopped = server.stop(); // fails when it takes longer than it may, or the exit code is not 0
      await Promise.all(pages.map((page) => ask(page, 'happened', 'reconnecting', {}, 8_000)));
      figure('server', 'SIGTERM to clients told, ms', Date.now() - start);
      const ready = await status(`${server.admin.url}/readyz`);
      figure('server', '/readyz after SIGTERM', ready);
      assert.ok(ready === 503 || ready === 'ECONNREFUSED', `/readyz answers ${ready}`);
      await stopped;
      figure('server', 'SIGTERM to exit, ms', Date.now() - start);
      for (const page of pages) {
        const events = (await ask(page, 'events')).map((e) => e.name);
        assert.ok(!events.includes('signal-reconnecting') && !events.includes('disconnected'), `told to begin anew, not cut off: ${events}`);
      }
      slow.destroy();
    } finally {
      for (const page of pages ?? []) await page.closeAll();
      await (stopped ?? server.stop());
    }
  });

  test('people on two workers see each other', { timeout: 60_000 }, async () => {
    const server = await startServer({ rtc: { workers: 2 } });
    try {
      const pages = await call(server);
      await sleep(3_000);
      await Promise.all(pages.map((page) => ask(page, 'resetMeters')));
      await sleep(5_000);
      await checkVideo('two workers', pages[0], { from: 'ben', id: 2, minFps: 10, maxP95Ms: null });
      await checkVideo('two workers', pages[1], { from: 'anna', id: 1, minFps: 10, maxP95Ms: null });
      await checkAudio('two workers', pages[0], { from: 'ben', hz: 880 });
      await checkAudio('two workers', pages[1], { from: 'anna', hz: 440 });
      await ask(pages[0], 'send', 'across', { reliable: true });
      await ask(pages[1], 'received', 'across', 5_000);
      const metrics = await server.metrics();
      const busy = [...metrics].filter(([name]) => name.startsWith('schalter_worker_receive_batches_total{'));
      const crossed = metrics.get('schalter_envelopes_received_total');
      figure('two workers', 'batches received by each, packets that crossed', `${JSON.stringify(busy)}, ${crossed}`);
      assert.equal(busy.length, 2);
      assert.ok(busy.every(([, batches]) => batches > 100), 'both workers have a participant');
      assert.ok(crossed > 500, 'media crosses from one worker to the other');
      checkDrops('two workers', metrics);
      for (const page of pages) await page.closeAll();
    } finally {
      await server.stop();
    }
  });

  test('without keys two links are printed, and whoever opens them meets', { timeout: 90_000 }, async () => {
    const server = await startServer({ keys: {} });
    const visits = [];
    try {
      // The port answers a moment before they are printed.
      await until('the last line', () => server.printed().includes('24 hours'), 5_000);
      const links = server.printed().match(/https?:\/\/\S+#\S+/g);
      assert.equal(links?.length, 2, server.printed());
      const devices = await bundle('devices.js');
      for (const [i, link] of links.entries()) {
        const context = await stage.chromium.newContext();
        const page = await context.newPage();
        visits.push(page);
        await page.addInitScript(`window.TEST_DEVICES = ${JSON.stringify({ id: i + 1, hz: [440, 880][i] })};\n${devices}`);
        await page.goto(link);
        await page.waitForSelector('html[data-state=prejoin] h1');
        if (await page.locator('#ask').isVisible()) await page.click('#ask');
        await page.waitForSelector('.stage video:not([hidden])');
        await page.click('#join');
        await page.waitForSelector('html[data-state=connected]', { timeout: 20_000 });
      }
      for (const [i, page] of visits.entries()) {
        const other = ['official', 'citizen'][i];
        const tile = `article[data-identity="${other}"][data-source="camera"]`;
        await page.waitForSelector(`${tile} video:not([hidden])`, { timeout: 15_000 });
        assert.equal((await page.locator(`${tile} .tile__name`).textContent()).trim(), ['Amt für Beispiele', 'Erika Beispiel'][i]);
        const seen = await page.waitForFunction((selector) => window.testRig.readBarcode(document.querySelector(selector))?.id, `${tile} video`, { timeout: 15_000 });
        assert.equal(await seen.jsonValue(), 2 - i, `the picture is that of ${other}`);
      }
    } finally {
      for (const page of visits) await page.context().close();
      await server.stop();
    }
    // The links are secrets: they are for the person who started it, and not for the log.
    assert.match(server.logged(), /participant joins/);
    assert.doesNotMatch(server.logged(), /token=/);
  });
});
