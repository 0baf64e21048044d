// The kit measures what it claims, without a server: browsers talk to each other, relays to an echo.
import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { figure, openPage, sleep } from '../lib/call.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { decodeBits, encodeBits } from '../lib/barcode.mjs';
import { hasSound, launchFirefox } from '../lib/firefox.mjs';
import { tcpRelay, udpRelay } from '../lib/network.mjs';
import { serveClientPage } from '../lib/pages.mjs';

test('a barcode survives, and a damaged one is noticed', () => {
  for (const [id, value] of [[0, 0], [7, 123_456], [255, 2 ** 28 - 1]]) {
    const bits = encodeBits(id, value);
    assert.deepEqual(decodeBits(bits), { id, value });
    for (let i = 0; i < bits.length; i++) assert.equal(decodeBits(bits.with(i, 1 - bits[i])), null);
  }
});

test('the UDP relay loses what it is told to, the same each time', { timeout: 30_000 }, async () => {
  const echo = dgram.createSocket('udp4');
  await new Promise((ready) => echo.bind(0, '127.0.0.1', ready));
  echo.on('message', (data, from) => echo.send(data, from.port, from.address));
  const run = async () => {
    const relay = await udpRelay(echo.address().port, { seed: 7 });
    relay.loss = 0.05;
    const client = dgram.createSocket('udp4');
    const back = [];
    client.on('message', (data) => back.push(Number(data)));
    for (let i = 0; i < 1_000; i++) {
      client.send(String(i), relay.port, '127.0.0.1');
      await sleep(1); // one at a time, so that the order of draws is fixed
    }
    await sleep(100);
    client.close();
    await relay.close();
    return back;
  };
  const first = await run();
  figure('kit', 'of 1000 through 5 % twice', first.length);
  assert.ok(first.length > 860 && first.length < 940);
  assert.deepEqual(await run(), first);
  echo.close();
});

test('the TCP relay cuts and comes back', { timeout: 10_000 }, async () => {
  const server = net.createServer((socket) => socket.on('error', () => undefined).pipe(socket));
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  const relay = await tcpRelay(server.address().port);
  const connect = () => new Promise((done) => {
    const socket = net.connect(relay.port, '127.0.0.1');
    socket.on('error', () => undefined).on('close', () => done('closed')).on('data', () => done(socket));
    socket.write('x');
  });
  const first = await connect();
  const closed = new Promise((done) => first.once('close', done));
  const cut = relay.cut(300);
  await closed;
  assert.equal(await connect(), 'closed');
  assert.equal(await cut, 1);
  (await connect()).destroy();
  await relay.close();
  server.close();
});

describe('picture and sound', { timeout: 120_000 }, () => {
  let client;
  before(async () => (client = await serveClientPage()));
  after(() => client.close());

  /** Connects two pages directly and measures at the second. */
  async function direct(name, sender, receiver, { sound }) {
    const offer = await sender.evaluate(async (withSound) => {
      const pc = (window.pc = new RTCPeerConnection());
      pc.addTrack(window.rig.clockCamera({ id: 5 }).getVideoTracks()[0]);
      if (withSound) pc.addTrack(window.rig.toneMic(660).getAudioTracks()[0]);
      await pc.setLocalDescription(await pc.createOffer());
      await new Promise((done) => (pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done()));
      return pc.localDescription.sdp;
    }, sound);
    const answer = await receiver.evaluate(async (sdp) => {
      const pc = (window.pc = new RTCPeerConnection());
      pc.ontrack = ({ track }) => {
        if (track.kind === 'audio') return void (window.ear = window.rig.listen(track));
        const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true, srcObject: new MediaStream([track]) });
        document.body.append(video);
        window.eye = window.rig.watch(video);
      };
      await pc.setRemoteDescription({ type: 'offer', sdp });
      await pc.setLocalDescription(await pc.createAnswer());
      await new Promise((done) => (pc.iceGatheringState === 'complete' ? done() : (pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done())));
      return pc.localDescription.sdp;
    }, offer);
    await sender.evaluate((sdp) => window.pc.setRemoteDescription({ type: 'answer', sdp }), answer);
    await sleep(4_000);
    await receiver.evaluate(() => window.eye.reset());
    await sleep(5_000);
    const report = await receiver.evaluate(() => window.eye.report());
    figure(name, 'fps, latency', `${report.fps.toFixed(1)}, ${JSON.stringify(report.latency)}`);
    assert.ok(report.fps >= 24);
    assert.ok(report.good >= report.frames * 0.99);
    assert.deepEqual(Object.keys(report.ids), ['5']);
    assert.ok(report.latency.p95 < 150 && report.latency.p50 >= 0);
    if (sound) {
      const heard = await receiver.evaluate(() => window.ear());
      figure(name, 'tone, Hz', heard.hz);
      assert.ok(Math.abs(heard.hz - 660) < 6);
    }
    const ciphers = (await sender.evaluate(() => window.allStats())).filter((s) => s.type === 'transport').map((s) => s.srtpCipher);
    figure(name, 'SRTP', ciphers);
  }

  test('from Chromium to Chromium', { timeout: 40_000 }, async () => {
    const browser = await launchChromium();
    try {
      await direct('chromium', await openPage(browser, client.url), await openPage(browser, client.url), { sound: true });
    } finally {
      await browser.close();
    }
  });

  test('from Firefox to Chromium, and back', { timeout: 80_000 }, async () => {
    const [chromium, firefox] = await Promise.all([launchChromium(), launchFirefox()]);
    try {
      const [a, b] = [await openPage(chromium, client.url), await openPage(firefox, client.url)];
      await direct('firefox to chromium', b, a, { sound: hasSound });
      await a.reload();
      await b.reload();
      await direct('chromium to firefox', a, b, { sound: hasSound });
    } finally {
      await chromium.close();
      await firefox.close();
    }
  });
});
