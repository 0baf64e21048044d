// One sender and receivers on links of their own: each gets the layer that its link carries, none suffers for another, and
// when a link changes the picture does, without a freeze or a broken frame.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LONG, SIMULCAST, SIZES, ask, checkAudio, concealed, figure, join, newRoom, sleep, stats, untilSize } from '../lib/call.mjs';
import { hasSound } from '../lib/firefox.mjs';
import { udpRelay } from '../lib/network.mjs';
import { sizeName, startReceivers } from '../lib/receivers.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

/** The same camera as one stream of three spatial layers. */
const svc = (videoCodec) => ({ ...SIMULCAST, video: { ...SIMULCAST.video, simulcast: false, videoCodec, scalabilityMode: 'L3T3_KEY', backupCodec: false } });
const AV1 = svc('av1');

/** What a link of so many kbit/s carries; 0 is one without a limit. */
const CARRIES = { 0: SIZES[2], 3_000: SIZES[2], 800: SIZES[1], 300: SIZES[0] };
const LIMITS = [0, 300, 800];
const QUEUE_BYTES = 25_000;
/** Estimates and the sender's own ramp-up need this long; then it is measured. */
const WARM_MS = 9_000;
const SPAN_MS = 8_000;
/** A layer that was given up for a moment is back after so long. */
const BACK_MS = 6_000;
/** A browser's picture never stands still for longer, whatever happens to its link. */
const FREEZE_MS = 600;

/** Checks that all that `page` saw since its meters were reset was the sender's, whole, and never stood still. */
function checkPicture(seen) {
  assert.deepEqual(Object.keys(seen.ids), [String(SIMULCAST.id)]);
  assert.ok(seen.good / seen.frames >= 0.99, `${seen.good} of ${seen.frames} frames are readable`);
  assert.ok(seen.maxGapMs <= FREEZE_MS, `the picture stood still for ${seen.maxGapMs} ms: ${JSON.stringify(seen.gaps)}`);
}

/** Checks what a receiver of the load generator saw in the last seconds, and prints the figures. */
function checkLoad(name, { limit, seconds, whole, link_dropped: dropped }, codec) {
  const who = `load at ${limit || 'no limit'}`;
  const late = seconds.slice(-SPAN_MS / 1_000);
  const sum = (key) => late.reduce((total, second) => total + second[key], 0);
  const most = (key) => late.reduce((top, second) => Math.max(top, second[key]), 0);
  figure(name, `${who}: sizes`, whole.sizes.map(sizeName));
  figure(name, `${who}: kbit/s, frames, given up`, [(sum('bytes') * 8) / SPAN_MS, sum('frames_complete'), sum('frames_incomplete')]);
  figure(name, `${who}: longest gap of picture and sound, ms`, [most('longest_video_gap_ms'), most('longest_audio_gap_ms')]);
  figure(name, `${who}: sound lost, asked again, key frames, dropped`, [sum('audio_lost'), sum('nacked'), whole.key_frame_requests, dropped]);
  assert.equal(whole.codec, codec);
  assert.ok(late.every((second) => sizeName(second.size) === CARRIES[limit]), `${who}: ${late.map((second) => sizeName(second.size))} instead of ${CARRIES[limit]}`);
  assert.equal(sum('frames_incomplete'), 0, `${who}: no picture is given up`);
  assert.ok(most('longest_video_gap_ms') <= FREEZE_MS, `${who}: the picture stood still for ${most('longest_video_gap_ms')} ms`);
  assert.ok(most('longest_audio_gap_ms') <= 200, `${who}: the sound stood still for ${most('longest_audio_gap_ms')} ms`);
  assert.equal(sum('audio_lost'), 0, `${who}: no sound is lost`);
}

describe('roles', { timeout: 300_000 }, () => {
  const stage = setStage({ firefox: {} });

  /** A relay whose way down can be limited. */
  async function limitedRelay(t, kbps) {
    const relay = await untilEnd(t, udpRelay(stage.server.udpPort));
    const limit = (now) => Object.assign(relay, { downBps: now * 1_000, queueBytes: QUEUE_BYTES });
    limit(kbps);
    return { port: relay.port, limit };
  }

  /** Sound is measured in Firefox only where its clock runs. */
  const hears = (browser) => browser !== 'firefox' || hasSound;

  const chromium = LIMITS.map((role) => ({ browser: 'chromium', role }));
  // One only: a second page would put the first into the background. Its other roles come where its link changes.
  const firefox = { browser: 'firefox', role: 300 };
  for (const { codec, camera, cast } of [{ codec: 'VP8', camera: SIMULCAST, cast: [...chromium, firefox] }, { codec: 'AV1', camera: AV1, cast: chromium }]) {
    // All roles at once: none may suffer for another.
    test(`${codec}, browsers and the load generator in every role`, { timeout: 120_000 }, async (t) => {
      const { server } = stage;
      const room = newRoom('roles');
      const sender = await stage.page(t);
      await join(sender, server, { room, identity: 'sender' });
      await ask(sender, 'publish', camera);
      const pages = [];
      for (const { browser, role } of cast) {
        const relay = await limitedRelay(t, role);
        const page = await stage.page(t, stage[browser]);
        pages.push(page);
        await join(page, server, { room, identity: `${browser}-${role}`, relayPort: relay.port });
      }
      const receivers = await untilEnd(t, startReceivers(server, { room, limits: LIMITS }), (it) => it.stop().catch(() => undefined));
      await Promise.all(pages.map((page) => ask(page, 'seen', 'sender', 20_000)));
      await sleep(WARM_MS);
      const before = await Promise.all(pages.map(stats));
      await Promise.all(pages.map((page) => ask(page, 'resetMeters')));
      await sleep(SPAN_MS);
      const seen = await Promise.all(pages.map((page) => ask(page, 'video', 'sender')));
      const madeUp = await Promise.all(pages.map((page, n) => concealed(page, before[n])));
      for (const [n, { browser, role }] of cast.entries()) {
        const name = `${codec}, ${browser} at ${role ? `${role} kbit/s` : 'no limit'}`;
        figure(name, 'sizes', seen[n].sizes);
        figure(name, 'fps', seen[n].fps);
        figure(name, 'longest gap, ms', seen[n].maxGapMs);
        figure(name, 'frames with the right barcode, %', (seen[n].good / seen[n].frames) * 100);
        figure(name, 'sound made up, %', madeUp[n] * 100);
        if (hears(browser)) await checkAudio(name, pages[n], { from: 'sender', hz: camera.hz });
      }
      for (const receiver of await receivers.stop()) checkLoad(codec, receiver, codec);
      for (const [n, { role }] of cast.entries()) {
        checkPicture(seen[n]);
        assert.deepEqual(Object.keys(seen[n].sizes), [CARRIES[role]]);
        assert.ok(madeUp[n] <= 0.01, `sound made up: ${madeUp[n]}`);
      }
    });
  }

  // From 3 Mbit/s to 300 kbit/s at once, and VP8 in Chromium, is what `adaptation` looks at; that AV1 does as well has time with `--long`.
  for (const { codec, camera, browser, skip } of [{ codec: 'AV1', camera: AV1, browser: 'chromium', skip: !LONG }, { codec: 'VP8', camera: SIMULCAST, browser: 'firefox' }]) {
    const name = `${codec}, ${browser}'s link changes`;
    test(name, { timeout: 120_000, skip }, async (t) => {
      const relay = await limitedRelay(t, 3_000);
      const { receiver } = await stage.oneWay(t, 'changes', camera, { receiving: { browser: stage[browser], relayPort: relay.port }, seenMs: 20_000 });
      figure(name, 'first at 720p after, ms', await untilSize(receiver, 'sender', CARRIES[3_000], 30_000));
      await sleep(3_000);
      const before = await stats(receiver);
      for (const kbps of [800, 300, 0]) {
        const at = kbps || 'no limit';
        await ask(receiver, 'resetMeters');
        relay.limit(kbps);
        figure(name, `${at}: ${CARRIES[kbps]} after, ms`, await untilSize(receiver, 'sender', CARRIES[kbps], 12_000));
        await sleep(5_000);
        const seen = await ask(receiver, 'video', 'sender');
        figure(name, `${at}: sizes`, seen.sizes);
        figure(name, `${at}: fps`, seen.fps);
        figure(name, `${at}: longest gap, ms`, seen.maxGapMs);
        figure(name, `${at}: frames with the right barcode, %`, (seen.good / seen.frames) * 100);
        checkPicture(seen);
        // A stall of the whole machine looks like a queue: a step down for it is right, if it is taken back.
        await untilSize(receiver, 'sender', CARRIES[kbps], BACK_MS);
      }
      const madeUp = await concealed(receiver, before);
      figure(name, 'sound made up, %', madeUp * 100);
      if (hears(browser)) await checkAudio(name, receiver, { from: 'sender', hz: camera.hz });
      // Each of the two steps down fills the queue before any feedback can tell.
      assert.ok(madeUp <= 0.03, `sound made up: ${madeUp}`);
    });
  }
});
