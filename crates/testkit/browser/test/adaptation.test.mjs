// A link that gets thin and wide again: the picture follows it, without a freeze, a broken frame or a gap in the sound.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SIMULCAST, ask, checkAudio, figure, sleep, stats, untilSize } from '../lib/call.mjs';
import { udpRelay } from '../lib/network.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const WIDE_BPS = 3_000_000;
const THIN_BPS = 300_000;
/** What waits in front of the link, as time at its rate. */
const QUEUE_MS = 300;
/**
 * The aims are 600 ms, 12 s and 1 %. Three runs showed 315 to 534 ms, 3.6 to 4.6 s, 1.0 to 1.2 %: the bars leave room for a busy
 * machine. The queue is full 34 ms after the drop, before any feedback can tell, and costs a quarter of a second of sound whoever
 * sends: 0.8 % of what is measured here.
 */
const BARS = { gapMs: 1_000, backMs: 12_000, madeUp: 0.02 };

/** Samples of sound that had to be made up, of all, since the statistics `before`. */
async function concealed(page, before) {
  const sum = (all, key) => all.filter((s) => s.type === 'inbound-rtp' && s.kind === 'audio').reduce((total, s) => total + (s[key] ?? 0), 0);
  const now = await stats(page);
  return (sum(now, 'concealedSamples') - sum(before, 'concealedSamples')) / Math.max(1, sum(now, 'totalSamplesReceived') - sum(before, 'totalSamplesReceived'));
}

describe('adaptation', { timeout: 240_000 }, () => {
  const stage = setStage();

  test('3 Mbit/s to 300 kbit/s and back, three layers of 720p', { timeout: 180_000 }, async (t) => {
    const relay = await untilEnd(t, udpRelay(stage.server.udpPort));
    const limit = (bps) => Object.assign(relay, { downBps: bps, queueBytes: (bps * QUEUE_MS) / 8_000 });
    limit(WIDE_BPS);
    const { receiver } = await stage.oneWay(t, 'step', SIMULCAST, { receiving: { relayPort: relay.port } });
    figure('step', 'first at 720p after, ms', await untilSize(receiver, 'sender', '1280x720', 30_000));
    await sleep(3_000);

    await ask(receiver, 'resetMeters');
    const atThin = await stats(receiver);
    limit(THIN_BPS);
    await sleep(20_000);
    const thin = await ask(receiver, 'video', 'sender');
    figure('step', 'thin: size', thin.size);
    figure('step', 'thin: fps', thin.fps);
    figure('step', 'thin: longest gap, ms', thin.maxGapMs);
    figure('step', 'thin: sizes', thin.changes.map((c) => c.size));

    await ask(receiver, 'resetMeters');
    limit(WIDE_BPS);
    const back = await untilSize(receiver, 'sender', '1280x720', 30_000);
    figure('step', 'back at 720p after, ms', back);
    await sleep(8_000);
    const wide = await ask(receiver, 'video', 'sender');
    figure('step', 'wide: longest gap, ms', wide.maxGapMs);
    figure('step', 'wide: sizes', wide.changes.map((c) => c.size));
    const madeUp = await concealed(receiver, atThin);
    figure('step', 'sound made up, %', madeUp * 100);
    await checkAudio('step', receiver, { from: 'sender', hz: SIMULCAST.hz });

    for (const [when, report] of Object.entries({ thin, wide })) {
      assert.deepEqual(Object.keys(report.ids), [String(SIMULCAST.id)], `${when}: the frames are the sender's`);
      assert.ok(report.good / report.frames >= 0.99, `${when}: ${report.good} of ${report.frames} frames are readable`);
      assert.ok(report.maxGapMs <= BARS.gapMs, `${when}: the picture stood still for ${report.maxGapMs} ms: ${JSON.stringify(report.gaps)}`);
    }
    assert.equal(thin.size, '320x180');
    assert.ok(back <= BARS.backMs, `back at 720p after ${back} ms`);
    assert.equal(wide.size, '1280x720');
    assert.ok(madeUp <= BARS.madeUp, `sound made up: ${madeUp}`);
  });
});
