// Two people in Chromium see and hear each other, in both connection modes of the client library.
import { describe, test } from 'node:test';
import { ask, checkAudio, checkTransport, checkVideo, join, measure, newRoom } from '../lib/call.mjs';
import { setStage } from '../lib/stage.mjs';
import assert from 'node:assert/strict';

// Both modes at once: neither needs half of a machine, and most of the time both wait.
describe('call in Chromium', { timeout: 240_000, concurrency: 2 }, () => {
  const stage = setStage();

  for (const singlePeerConnection of [true, false]) {
    const name = singlePeerConnection ? 'one connection' : 'two connections';
    test(`640×360 VP8 and Opus over ${name}`, { timeout: 90_000 }, async (t) => {
      const room = newRoom('call');
      const { server } = stage;
      const [anna, ben] = [await stage.page(t), await stage.page(t)];
      await join(anna, server, { room, identity: 'anna', options: { singlePeerConnection } });
      await join(ben, server, { room, identity: 'ben', options: { singlePeerConnection } });
      await ask(anna, 'publish', { id: 1, hz: 440 });
      await ask(ben, 'publish', { id: 2, hz: 880 });
      await Promise.all([ask(anna, 'seen', 'ben', 10_000), ask(ben, 'seen', 'anna', 10_000), ask(anna, 'heard', 'ben', 10_000), ask(ben, 'heard', 'anna', 10_000)]);
      await measure([anna, ben]);
      await checkVideo(name, anna, { from: 'ben', id: 2, minFps: 24, size: '640x360' });
      await checkVideo(name, ben, { from: 'anna', id: 1, minFps: 24, size: '640x360' });
      await checkAudio(name, anna, { from: 'ben', hz: 880 });
      await checkAudio(name, ben, { from: 'anna', hz: 440 });
      await checkTransport(name, anna, { codec: 'video/VP8' });
      await checkTransport(name, ben, { codec: 'video/VP8' });
      const connections = await anna.evaluate(() => window.peerConnections.filter((peer) => peer.connectionState === 'connected').length);
      assert.equal(connections, singlePeerConnection ? 1 : 2, 'the mode asked for is the mode used');
      await ask(anna, 'leave');
      await ask(ben, 'happened', 'left', { identity: 'anna' }, 5_000);
      assert.deepEqual([...anna.failures, ...ben.failures], []);
    });
  }
});
