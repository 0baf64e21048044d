// A link that gets thin and wide again: the picture follows it, without a freeze, a broken frame or a gap in the sound.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SIMULCAST, SIZES, checkAudio, figure } from '../lib/call.mjs';
import { udpRelay } from '../lib/network.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';
import { stepLink, widen } from '../lib/step.mjs';

/**
 * Gap and time are what is required. Of the sound 1 % is, and 0.9 to 1.2 % were seen: the queue is full 34 ms after the drop,
 * before any feedback can tell, and that costs a quarter of a second whoever sends, 0.8 % of what is measured here.
 */
const BARS = { gapMs: 600, backMs: 12_000, madeUp: 0.015 };

describe('adaptation', { timeout: 240_000 }, () => {
  const stage = setStage();

  test('3 Mbit/s to 300 kbit/s and back, three layers of 720p', { timeout: 180_000 }, async (t) => {
    const relay = await untilEnd(t, udpRelay(stage.server.udpPort));
    widen(relay);
    const { receiver } = await stage.oneWay(t, 'step', SIMULCAST, { receiving: { relayPort: relay.port } });
    const { firstMs, thin, wide, backMs, steadyMs, madeUp } = await stepLink({ receiver, sender: 'sender', relay });
    figure('step', 'first at 720p after, ms', firstMs);
    figure('step', 'thin: size', thin.size);
    figure('step', 'thin: fps', thin.fps);
    figure('step', 'thin: longest gap, ms', thin.maxGapMs);
    figure('step', 'thin: sizes', thin.changes.map((c) => c.size));
    figure('step', 'back at 720p after, ms', backMs);
    figure('step', 'no freeze from, ms', steadyMs);
    figure('step', 'wide: longest gap, ms', wide.maxGapMs);
    figure('step', 'wide: sizes', wide.changes.map((c) => c.size));
    figure('step', 'sound made up, %', madeUp * 100);
    await checkAudio('step', receiver, { from: 'sender', hz: SIMULCAST.hz });

    for (const [when, report] of Object.entries({ thin, wide })) {
      assert.deepEqual(Object.keys(report.ids), [String(SIMULCAST.id)], `${when}: the frames are the sender's`);
      assert.ok(report.good / report.frames >= 0.99, `${when}: ${report.good} of ${report.frames} frames are readable`);
      assert.ok(report.maxGapMs <= BARS.gapMs, `${when}: the picture stood still for ${report.maxGapMs} ms: ${JSON.stringify(report.gaps)}`);
    }
    assert.equal(thin.size, SIZES[0]);
    assert.ok(backMs <= BARS.backMs, `back at 720p after ${backMs} ms`);
    assert.equal(wide.size, SIZES[2]);
    assert.ok(madeUp <= BARS.madeUp, `sound made up: ${madeUp}`);
  });
});
