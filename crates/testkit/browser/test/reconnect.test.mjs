// The WebSocket is cut while media flows: the client resumes, and nobody else notices.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask, checkVideo, figure, join, newRoom, sleep } from '../lib/call.mjs';
import { tcpRelay } from '../lib/network.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const CUT_MS = 1_000;

// Both modes at once, each with a relay and a room of its own.
describe('reconnect', { timeout: 180_000, concurrency: 2 }, () => {
  const stage = setStage();

  for (const singlePeerConnection of [true, false]) {
    const name = `resume, ${singlePeerConnection ? 'one connection' : 'two connections'}`;
    test(name, { timeout: 80_000 }, async (t) => {
      const room = newRoom('resume');
      const { server } = stage;
      const relay = await untilEnd(t, tcpRelay(server.port));
      const [anna, ben] = [await stage.page(t), await stage.page(t)];
      const { sid } = await join(anna, server, { room, identity: 'anna', port: relay.port, options: { singlePeerConnection } });
      await join(ben, server, { room, identity: 'ben', options: { singlePeerConnection } });
      await ask(anna, 'publish', { id: 1, hz: 440 });
      await ask(ben, 'publish', { id: 2, hz: 880 });
      await Promise.all([ask(anna, 'seen', 'ben', 10_000), ask(ben, 'seen', 'anna', 10_000)]);
      await sleep(3_000);
      await Promise.all([ask(anna, 'resetMeters'), ask(ben, 'resetMeters')]);
      const start = Date.now();
      assert.ok((await relay.cut(CUT_MS)) >= 1, 'signaling went through the relay');
      await ask(anna, 'happened', 'reconnected', {}, 20_000);
      figure(name, 'cut to resumed, ms', Date.now() - start);
      await sleep(3_000);
      await checkVideo(name, anna, { from: 'ben', id: 2, minFps: 20, maxGapMs: 500 });
      await checkVideo(name, ben, { from: 'anna', id: 1, minFps: 20, maxGapMs: 500 });
      assert.equal(await ask(anna, 'sid'), sid, 'the same participant');
      const events = await ask(ben, 'events');
      assert.deepEqual(events.filter((e) => e.name === 'left'), [], 'ben noticed nothing');
      const mine = await ask(anna, 'events');
      assert.deepEqual(mine.filter((e) => e.name === 'reconnecting' || e.name === 'disconnected'), [], 'a resume, not a new join');
      await ask(anna, 'send', 'still here', { reliable: true });
      await ask(ben, 'received', 'still here', 5_000);
      // What happens after the resume reaches it, too.
      await ask(ben, 'mute', 'audio');
      await ask(anna, 'happened', 'muted', { identity: 'ben', kind: 'audio' }, 3_000);
    });
  }
});
