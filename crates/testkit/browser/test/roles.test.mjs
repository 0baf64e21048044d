// One sender, four receivers on links of their own: each gets the layer that its link carries, and none suffers for another.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SIMULCAST, ask, checkAudio, figure, join, newRoom, sleep } from '../lib/call.mjs';
import { udpRelay } from '../lib/network.mjs';
import { sizeName, startReceivers } from '../lib/receivers.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const LIMITS = [0, 300, 800];
const QUEUE_BYTES = 25_000;
/** Estimates and the sender's own ramp-up need this long; then it is measured. */
const WARM_MS = 15_000;
const SPAN_MS = 8_000;

describe('roles', { timeout: 240_000 }, () => {
  const stage = setStage();

  for (const role of LIMITS) {
    const name = `browser at ${role ? `${role} kbit/s` : 'no limit'}`;
    test(name, { timeout: 70_000 }, async (t) => {
      const { server } = stage;
      const room = newRoom('roles');
      const relay = await untilEnd(t, udpRelay(server.udpPort));
      relay.queueBytes = QUEUE_BYTES;
      relay.downBps = role * 1_000;
      const [sender, receiver] = [await stage.page(t), await stage.page(t)];
      await join(sender, server, { room, identity: 'sender' });
      await ask(sender, 'publish', SIMULCAST);
      await join(receiver, server, { room, identity: 'receiver', relayPort: relay.port });
      const receivers = await untilEnd(t, startReceivers(server, { room, limits: LIMITS }), (it) => it.stop().catch(() => undefined));
      await ask(receiver, 'seen', 'sender', 15_000);
      await sleep(WARM_MS);
      await ask(receiver, 'resetMeters');
      await sleep(SPAN_MS);
      const seen = await ask(receiver, 'video', 'sender');
      await checkAudio(name, receiver, { from: 'sender', hz: SIMULCAST.hz });
      const all = await receivers.stop();

      figure(name, 'browser: size', seen.size);
      figure(name, 'browser: fps', seen.fps);
      figure(name, 'browser: longest gap, ms', seen.maxGapMs);
      for (const { limit, seconds, whole, link_dropped: dropped } of all) {
        const who = `load at ${limit || 'no limit'}`;
        figure(name, `${who}: sizes`, whole.sizes.map(sizeName));
        const late = seconds.slice(-SPAN_MS / 1_000);
        const sum = (key) => late.reduce((total, second) => total + second[key], 0);
        const most = (key) => late.reduce((top, second) => Math.max(top, second[key]), 0);
        figure(name, `${who}: kbit/s, frames, given up`, [(sum('bytes') * 8) / SPAN_MS, sum('frames_complete'), sum('frames_incomplete')]);
        figure(name, `${who}: longest gap of picture and sound, ms`, [most('longest_video_gap_ms'), most('longest_audio_gap_ms')]);
        figure(name, `${who}: sound lost, asked again, key frames, dropped`, [sum('audio_lost'), sum('nacked'), whole.key_frame_requests, dropped]);
      }
      const [free, thin, middle] = all;
      assert.equal(sizeName(free.whole.size), '1280x720', 'no limit: 720p');
      assert.equal(sizeName(thin.whole.size), '320x180', '300 kbit/s: the lowest layer');
      assert.equal(sizeName(middle.whole.size), '640x360', '800 kbit/s: the middle layer');
      assert.equal(seen.size, { 0: '1280x720', 300: '320x180', 800: '640x360' }[role]);
      assert.deepEqual(Object.keys(seen.ids), [String(SIMULCAST.id)]);
      assert.ok(seen.good / seen.frames >= 0.99, `${seen.good} of ${seen.frames} frames are readable`);
      assert.ok(seen.maxGapMs <= 600, `the picture stood still for ${seen.maxGapMs} ms`);
      const steady = free.seconds.slice(-SPAN_MS / 1_000);
      assert.ok(steady.every((second) => second.longest_video_gap_ms <= 600), 'no limit: no freeze');
      assert.ok(steady.every((second) => second.longest_audio_gap_ms <= 200), 'no limit: no gap in the sound');
    });
  }
});
