// Muting, unmuting, unpublishing and publishing again.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { ask, checkAudio, figure, join, newRoom, openPage, sleep } from '../lib/call.mjs';
import { setStage } from '../lib/stage.mjs';

describe('mute and unpublish', { timeout: 180_000 }, () => {
  const stage = setStage();
  let anna;
  let ben;
  before(async () => {
    const { server, chromium, client } = stage;
    const room = newRoom('mute');
    [anna, ben] = [await openPage(chromium, client.url), await openPage(chromium, client.url)];
    await join(anna, server, { room, identity: 'anna' });
    await join(ben, server, { room, identity: 'ben' });
    await ask(anna, 'publish', { id: 1, hz: 440 });
    await Promise.all([ask(ben, 'seen', 'anna', 10_000), ask(ben, 'heard', 'anna', 10_000)]);
    await sleep(2_000);
  });

  test('a muted camera shows nothing, and comes back', { timeout: 30_000 }, async () => {
    await ask(anna, 'mute', 'video');
    await ask(ben, 'happened', 'muted', { identity: 'anna', kind: 'video' }, 3_000);
    await sleep(1_500);
    const quiet = await ask(ben, 'video', 'anna');
    figure('mute', 'ms since the last readable frame', quiet.sinceGoodMs);
    assert.ok(quiet.sinceGoodMs >= 1_000, 'no picture of a muted camera');
    const start = Date.now();
    await ask(anna, 'unmute', 'video');
    await ask(ben, 'happened', 'unmuted', { identity: 'anna', kind: 'video' }, 3_000);
    await ask(ben, 'resetMeters');
    await ask(ben, 'seen', 'anna', 5_000);
    figure('mute', 'unmute to picture, ms', Date.now() - start);
  });

  test('a muted microphone is silent, and comes back', { timeout: 30_000 }, async () => {
    await ask(anna, 'mute', 'audio');
    await ask(ben, 'happened', 'muted', { identity: 'anna', kind: 'audio' }, 3_000);
    await sleep(1_500);
    const { rms } = await ask(ben, 'audio', 'anna');
    figure('mute', 'level of a muted microphone, rms', rms.toFixed(5));
    assert.ok(rms < 0.002, 'silence');
    await ask(anna, 'unmute', 'audio');
    await ask(ben, 'happened', 'unmuted', { identity: 'anna', kind: 'audio' }, 3_000);
    await sleep(1_500);
    await checkAudio('mute', ben, { from: 'anna', hz: 440 });
  });

  test('what is unpublished goes, and can be published again', { timeout: 60_000 }, async () => {
    await ask(anna, 'unpublish', 'video');
    await ask(ben, 'happened', 'unsubscribed', { identity: 'anna', kind: 'video' }, 5_000);
    assert.equal(await ask(ben, 'video', 'anna'), null);
    for (const id of [4, 5, 6]) {
      const start = Date.now();
      const sids = await ask(anna, 'publish', { id });
      await ask(ben, 'happened', 'subscribed', { identity: 'anna', kind: 'video', sid: sids.video }, 5_000);
      await ask(ben, 'seen', 'anna', 5_000);
      figure('unpublish', 'publish again to picture, ms', Date.now() - start);
      await sleep(1_000);
      const { ids, latency } = await ask(ben, 'video', 'anna');
      // How many frames of the old one, and how old they are, tells whether something sent them or the browser showed them late.
      assert.deepEqual(Object.keys(ids), [String(id)], `the new camera, not the old one: ${JSON.stringify({ ids, latency, took: Date.now() - start })}`);
      if (id !== 6) {
        await ask(anna, 'unpublish', 'video');
        await ask(ben, 'happened', 'unsubscribed', { identity: 'anna', kind: 'video', sid: sids.video }, 5_000);
      }
    }
    await checkAudio('unpublish', ben, { from: 'anna', hz: 440 });
  });
});
