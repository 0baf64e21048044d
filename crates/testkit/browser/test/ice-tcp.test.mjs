// Where UDP does not get through, media goes by TCP: ICE-TCP to the server's passive candidates (RFC 6544).
import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { describe, test } from 'node:test';
import { ask, checkAudio, checkVideo, figure, join, measure, newRoom, stats } from '../lib/call.mjs';
import { hasSound } from '../lib/firefox.mjs';
import { freeTcpPorts } from '../lib/server.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const [tcpPort] = await freeTcpPorts(1);

/** What the selected pairs of all connections of a page are: protocol of their local candidates. */
async function protocols(page) {
  const all = await stats(page);
  const byId = new Map(all.map((s) => [s.id, s]));
  const selected = all.filter((s) => s.type === 'candidate-pair' && (s.selected ?? s.nominated) && s.state === 'succeeded' && s.bytesSent > 0);
  return [...new Set(selected.map((s) => byId.get(s.localCandidateId)?.protocol))];
}

/** A UDP port that nobody reads. */
async function blackHole() {
  const socket = dgram.createSocket('udp4');
  await new Promise((ready, failed) => socket.once('error', failed).bind(0, '127.0.0.1', ready));
  return socket;
}

describe('media by TCP', { timeout: 240_000 }, () => {
  // Chromium as a managed office has it: nothing but what a proxy could carry. Firefox has no such setting; what it sends
  // by UDP goes astray.
  const stage = setStage({
    // Chromium would take a relay by TCP as well.
    server: { rtc: { tcp_port: tcpPort }, turn: { enabled: false } },
    chromium: { extra: ['--webrtc-ip-handling-policy=disable_non_proxied_udp'] },
    firefox: {},
  });

  test('Chromium without UDP', { timeout: 90_000 }, async (t) => {
    const name = 'tcp, chromium';
    const room = newRoom('tcp');
    const { server } = stage;
    const [anna, ben] = [await stage.page(t), await stage.page(t)];
    const began = Date.now();
    await join(anna, server, { room, identity: 'anna' });
    await join(ben, server, { room, identity: 'ben' });
    await ask(anna, 'publish', { id: 1, hz: 440 });
    await ask(ben, 'publish', { id: 2, hz: 880 });
    await Promise.all([ask(anna, 'seen', 'ben', 15_000), ask(ben, 'seen', 'anna', 15_000), ask(anna, 'heard', 'ben', 15_000), ask(ben, 'heard', 'anna', 15_000)]);
    figure(name, 'both see and hear each other after, ms', Date.now() - began);
    await measure([anna, ben]);
    await checkVideo(name, anna, { from: 'ben', id: 2, minFps: 24, size: '640x360' });
    await checkVideo(name, ben, { from: 'anna', id: 1, minFps: 24, size: '640x360' });
    await checkAudio(name, anna, { from: 'ben', hz: 880 });
    await checkAudio(name, ben, { from: 'anna', hz: 440 });
    for (const page of [anna, ben]) assert.deepEqual(await protocols(page), ['tcp']);
    const metrics = await server.metrics();
    assert.ok(metrics.get('schalter_streams') >= 2, `connections: ${metrics.get('schalter_streams')}`);
    assert.equal(metrics.get('schalter_drops_total{reason="stream_malformed"}'), 0);
    await ask(anna, 'leave');
    await ask(ben, 'happened', 'left', { identity: 'anna' }, 5_000);
    assert.deepEqual([...anna.failures, ...ben.failures], []);
  });

  test('Firefox whose UDP is lost', { timeout: 120_000 }, async (t) => {
    const name = 'tcp, firefox';
    const room = newRoom('tcp-firefox');
    const { server } = stage;
    const [chris, fox] = [await stage.page(t), await stage.page(t, stage.firefox)];
    await untilEnd(t, fox, () => ask(fox, 'leave').catch(() => undefined));
    // Takes everything and answers nothing, as a firewall does.
    const hole = await untilEnd(t, blackHole());
    const began = Date.now();
    await join(chris, server, { room, identity: 'chris' });
    await join(fox, server, { room, identity: 'fox', relayPort: hole.address().port });
    await ask(chris, 'publish', { id: 1, hz: 440 });
    await ask(fox, 'publish', hasSound ? { id: 2, hz: 880 } : { id: 2, deviceAudio: true });
    await Promise.all([ask(chris, 'seen', 'fox', 20_000), ask(fox, 'seen', 'chris', 20_000), ask(chris, 'heard', 'fox', 20_000)]);
    figure(name, 'both see each other after, ms', Date.now() - began);
    await measure([chris, fox]);
    await checkVideo(name, chris, { from: 'fox', id: 2, minFps: 24 });
    await checkVideo(name, fox, { from: 'chris', id: 1, minFps: 24, size: '640x360' });
    if (hasSound) {
      await checkAudio(name, chris, { from: 'fox', hz: 880 });
      await checkAudio(name, fox, { from: 'chris', hz: 440 });
    } else {
      const arriving = (await stats(fox)).filter((s) => s.type === 'inbound-rtp' && s.kind === 'audio');
      figure(name, 'audio packets at Firefox', arriving.map((s) => s.packetsReceived));
      assert.ok(arriving.some((s) => s.packetsReceived > 500), 'audio reaches Firefox');
    }
    assert.deepEqual(await protocols(fox), ['tcp']);
    assert.deepEqual(chris.failures, []);
  });
});
