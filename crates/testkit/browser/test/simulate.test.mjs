// Faults that a client asks for (livekit-client's simulateScenario): each has the effect that it names, and the call goes on.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask, figure, join, newRoom, sleep, untilSize } from '../lib/call.mjs';
import { VERSIONS } from '../lib/sdk.mjs';
import { startServer } from '../lib/server.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

/** Media of both arrives anew within this time; the library itself waits for up to two seconds. */
const BACK_MS = 15_000;

/** A camera in two layers, which a browser's own estimate of its link carries soon, and the sizes of them. */
const CAMERA = { id: 7, hz: 660, width: 640, height: 360, lower: [{ width: 320, height: 180, maxBitrate: 100_000, maxFramerate: 20 }], video: { simulcast: true, videoEncoding: { maxBitrate: 600_000, maxFramerate: 20 } } };
const [SMALL, LARGE] = ['320x180', '640x360'];

describe(`${VERSIONS.browser} in Chromium simulates faults`, { timeout: 180_000, concurrency: 2 }, () => {
  const stage = setStage({ server: { room: { simulate: true } } });

  /** Anna, who asks, and Ben, both with picture and sound. */
  async function call(t, singlePeerConnection, published = { id: 1, hz: 440 }) {
    const { server } = stage;
    const room = newRoom('simulate');
    const [anna, ben] = [await stage.page(t), await stage.page(t)];
    const { sid } = await join(anna, server, { room, identity: 'anna', options: { singlePeerConnection } });
    await join(ben, server, { room, identity: 'ben', options: { singlePeerConnection } });
    await ask(anna, 'publish', { id: 2, hz: 880 });
    await ask(ben, 'publish', published);
    await Promise.all([ask(anna, 'seen', 'ben', BACK_MS), ask(ben, 'seen', 'anna', BACK_MS)]);
    return { anna, ben, sid };
  }

  /** Pictures that came after this was called, and sound. */
  async function flows(anna, ben) {
    // Who is back may not have been told of all it gets.
    await ask(anna, 'settled', BACK_MS);
    await Promise.all([ask(anna, 'resetMeters'), ask(ben, 'resetMeters')]);
    await Promise.all([[anna, 'ben'], [ben, 'anna']].flatMap(([page, from]) => [ask(page, 'seen', from, BACK_MS), ask(page, 'level', from, 0.05, 1, BACK_MS)]));
  }

  const names = {
    'one connection': ['faults of a session, one connection', 'a thin link and a speaker, one connection'],
    'two connections': ['faults of a session, two connections', 'a thin link and a speaker, two connections'],
  };
  for (const [mode, [faults, thin]] of Object.entries(names)) {
    const singlePeerConnection = mode === 'one connection';

    test(faults, { timeout: 120_000 }, async (t) => {
      const { anna, ben, sid } = await call(t, singlePeerConnection);
      let own = sid;
      const simulate = async (scenario) => {
        await ask(anna, 'settled', BACK_MS);
        await Promise.all([anna, ben].map((page) => ask(page, 'forgetEvents')));
        const start = Date.now();
        await ask(anna, 'simulate', scenario);
        return start;
      };
      /** The session goes on; `ben` is not to notice. */
      const resumes = async (scenario, noticed = 'signal-reconnecting') => {
        const start = await simulate(scenario);
        await ask(anna, 'happened', noticed, {}, 5_000);
        await ask(anna, 'happened', 'reconnected', {}, BACK_MS);
        figure(`simulate, ${mode}`, `${scenario} to reconnected, ms`, Date.now() - start);
        assert.equal(await ask(anna, 'sid'), own, `${scenario}: the same session`);
        assert.deepEqual((await ask(ben, 'events')).filter((e) => ['left', 'joined', 'unsubscribed'].includes(e.name)), [], `${scenario}: nobody noticed`);
        await flows(anna, ben);
      };
      /** A new session begins; `ben` sees the old one's end. */
      const begins = async (scenario) => {
        const start = await simulate(scenario);
        await ask(anna, 'happened', 'reconnecting', {}, 5_000);
        await ask(anna, 'happened', 'reconnected', {}, BACK_MS);
        figure(`simulate, ${mode}`, `${scenario} to reconnected, ms`, Date.now() - start);
        const before = own;
        own = await ask(anna, 'sid');
        assert.notEqual(own, before, `${scenario}: a new session`);
        await ask(ben, 'happened', 'subscribed', { identity: 'anna', kind: 'video' }, BACK_MS);
        await flows(anna, ben);
        assert.deepEqual((await ask(ben, 'others')).map((p) => p.sid), [own], `${scenario}: the old session is gone`);
      };

      await resumes('signal-reconnect');
      await resumes('migration');
      await resumes('disconnect-signal-on-resume');
      await resumes('disconnect-signal-on-resume-no-messages');
      await begins('node-failure');
      await begins('leave-full-reconnect');
      await begins('resume-reconnect');
      await begins('full-reconnect');
      // There is no TCP: the server says so, and what the library does by itself ends in a call over UDP.
      const refused = async () => [...(await stage.server.metrics())].filter(([name]) => name.startsWith('schalter_signaling_requests_refused_total')).reduce((sum, [, count]) => sum + count, 0);
      const before = await refused();
      await begins('force-tcp');
      assert.ok((await refused()) > before, 'the request was refused');
      const start = await simulate('server-leave');
      // SERVER_SHUTDOWN
      await ask(anna, 'happened', 'disconnected', { reason: 3 }, 5_000);
      figure(`simulate, ${mode}`, 'server-leave to disconnected, ms', Date.now() - start);
      await ask(ben, 'happened', 'left', { identity: 'anna' }, 5_000);
    });

    test(thin, { timeout: 90_000 }, async (t) => {
      const { anna, ben } = await call(t, singlePeerConnection, CAMERA);
      await untilSize(anna, 'ben', LARGE, 20_000);
      // Less than the larger layer takes.
      await ask(anna, 'simulate', 'subscriber-bandwidth', 300_000);
      figure(`simulate, ${mode}`, 'thin link to the lowest layer, ms', await untilSize(anna, 'ben', SMALL, 10_000));
      await ask(anna, 'resetMeters');
      // A camera that hangs for a moment takes no less afterwards.
      await ask(ben, 'hang', 700);
      await sleep(2_000);
      const { sizes } = await ask(anna, 'video', 'ben');
      assert.deepEqual(Object.keys(sizes), [SMALL], 'and it stays there');
      await ask(anna, 'simulate', 'subscriber-bandwidth', 0);
      figure(`simulate, ${mode}`, 'limit lifted to the highest layer, ms', await untilSize(anna, 'ben', LARGE, 20_000));

      for (const page of [anna, ben]) await ask(page, 'mute', 'audio');
      await ask(anna, 'happened', 'muted', { identity: 'ben', kind: 'audio' }, 5_000);
      await ask(anna, 'happened', 'speakers', { who: '' }, 5_000);
      await ask(anna, 'forgetEvents');
      await ask(ben, 'forgetEvents');
      await ask(anna, 'simulate', 'speaker');
      const begun = await ask(anna, 'happened', 'speakers', { who: 'anna' }, 2_000);
      const ended = await ask(anna, 'happened', 'speakers', { who: '' }, 6_000);
      figure(`simulate, ${mode}`, 'speaker for, ms', ended.at - begun.at);
      assert.ok(Math.abs(ended.at - begun.at - 3_000) < 500, `${ended.at - begun.at} ms instead of 3000`);
      assert.deepEqual((await ask(ben, 'events')).filter((e) => e.name === 'speakers' && e.who.includes('anna')), [], 'only who asked is told');
    });
  }

  test('nothing is simulated where the operator does not allow it', { timeout: 30_000 }, async (t) => {
    const server = await untilEnd(t, startServer(), (it) => it.stop());
    const anna = await stage.page(t);
    const { sid } = await join(anna, server, { room: newRoom('simulate'), identity: 'anna' });
    for (const scenario of ['server-leave', 'node-failure', 'migration', 'leave-full-reconnect', 'speaker']) await ask(anna, 'simulate', scenario);
    await sleep(1_500);
    assert.equal(await ask(anna, 'sid'), sid);
    const seen = (await ask(anna, 'events')).map((e) => e.name);
    assert.deepEqual(seen.filter((name) => ['speakers', 'signal-reconnecting', 'reconnecting', 'disconnected'].includes(name)), []);
  });
});
