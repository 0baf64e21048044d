// Signaling is cut again and again, media is blocked, the server restarts: what a call notices of it, in ms.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LONG, ask, figure, join, newRoom, sleep, stats } from '../lib/call.mjs';
import { tcpRelay, udpRelay } from '../lib/network.mjs';
import { VERSIONS, startSdk } from '../lib/sdk.mjs';
import { startServer } from '../lib/server.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

/** As small a picture as the rest of the kit reads: what is judged is time. */
const SMALL = { width: 320, height: 180 };
/** A resume takes the library two to two and a half seconds; the next cut comes into its midst or after it. */
const BETWEEN_CUTS_MS = 1_400;
const MOST_GAP_MS = 200;
const BLOCKED_MS = 3_000;
const BACK_AFTER_BLOCK_MS = 2_000;
/** What is shown after a block is the present, not what piled up meanwhile. */
const LATE_AFTER_BLOCK_MS = 1_000;
const BACK_AFTER_RESTART_MS = 5_000;

describe(`outages, ${VERSIONS.browser}`, { timeout: 300_000 }, () => {
  const stage = setStage({ firefox: {} });

  /** Two people with picture and sound, each behind relays of their own. */
  async function call(t, { singlePeerConnection = true, browsers = [stage.chromium, stage.chromium], server = stage.server, media = false }) {
    const room = newRoom('outage');
    const people = [];
    for (const [n, browser] of browsers.entries()) {
      const page = await stage.page(t, browser);
      if (browser === stage.firefox) await untilEnd(t, page, () => ask(page, 'leave').catch(() => undefined));
      const relay = await untilEnd(t, tcpRelay(server.port));
      const udp = media ? await untilEnd(t, udpRelay(server.udpPort)) : undefined;
      const identity = ['anna', 'ben'][n];
      const { sid } = await join(page, server, { room, identity, port: relay.port, relayPort: udp?.port, options: { singlePeerConnection } });
      people.push({ page, relay, udp, identity, sid, other: ['ben', 'anna'][n] });
    }
    for (const [n, { page }] of people.entries()) await ask(page, 'publish', { id: n + 1, hz: [440, 880][n], ...SMALL });
    await Promise.all(people.map(({ page, other }) => ask(page, 'seen', other, 15_000)));
    await Promise.all(people.map(({ page, other }) => ask(page, 'level', other, 0.05, 1, 15_000)));
    return { people, room };
  }

  /** Samples of sound that had to be made up so far. */
  const madeUp = async (page) => (await stats(page)).filter((s) => s.type === 'inbound-rtp' && s.kind === 'audio').reduce((sum, s) => sum + (s.concealedSamples ?? 0), 0);

  for (const { singlePeerConnection, cuts, name } of [
    { singlePeerConnection: true, cuts: LONG ? 20 : 9, name: 'the WebSockets of publisher and viewer are cut again and again, one connection' },
    { singlePeerConnection: false, cuts: LONG ? 20 : 6, name: 'the WebSockets of publisher and viewer are cut again and again, two connections' },
  ]) {
    test(name, { timeout: 90_000 }, async (t) => {
      const { people } = await call(t, { singlePeerConnection });
      await sleep(3_000);
      await Promise.all(people.map(({ page }) => ask(page, 'resetMeters')));
      const worst = { anna: 0, ben: 0 };
      const before = Object.fromEntries(await Promise.all(people.map(async ({ identity, page }) => [identity, await madeUp(page)])));
      for (let n = 0; n < cuts; n++) {
        // One, the other, both.
        for (const { relay } of people.filter((_, i) => n % 3 === 2 || n % 3 === i)) await relay.cut(0);
        await sleep(BETWEEN_CUTS_MS);
        for (const { identity, page } of people) {
          const now = await madeUp(page);
          worst[identity] = Math.max(worst[identity], (now - before[identity]) / 48);
          before[identity] = now;
        }
      }
      for (const { page, identity, other, sid } of people) {
        const { maxGapMs } = await ask(page, 'video', other);
        figure(name, `${identity}: longest gap of the picture, ms; most sound made up around one cut, ms`, `${maxGapMs}; ${worst[identity].toFixed(0)}`);
        assert.ok(maxGapMs <= MOST_GAP_MS, `${name}: ${other}'s picture stood still for ${maxGapMs} ms`);
        assert.ok(worst[identity] <= MOST_GAP_MS, `${name}: ${other}'s sound was missing for ${worst[identity]} ms`);
        assert.equal(await ask(page, 'sid'), sid, 'the same session');
        const events = (await ask(page, 'events')).map((e) => e.name);
        assert.deepEqual(events.filter((e) => ['reconnecting', 'disconnected', 'left', 'unsubscribed'].includes(e)), []);
      }
      // And signaling works: what happens now is told.
      await ask(people[0].page, 'mute', 'audio');
      await ask(people[1].page, 'happened', 'muted', { identity: 'anna', kind: 'audio' }, 10_000);
    });
  }

  for (const kind of ['Chromium', 'Firefox']) {
    const name = `media is blocked for three seconds, ${kind}`;
    test(name, { timeout: 60_000 }, async (t) => {
      const { people } = await call(t, { media: true, browsers: [stage.chromium, kind === 'Firefox' ? stage.firefox : stage.chromium] });
      // Each way there is: the publisher's, the viewer's.
      for (const { identity, udp } of people) {
        udp.loss = 1;
        await sleep(BLOCKED_MS);
        udp.loss = 0;
        const open = Date.now();
        await Promise.all(people.map(({ page }) => ask(page, 'resetMeters')));
        await Promise.all(people.map(async ({ page, identity: viewer, other }) => {
          await ask(page, 'seen', other, 10_000);
          const picture = Date.now() - open;
          await ask(page, 'level', other, 0.05, 1, 10_000);
          const sound = Date.now() - open;
          figure(name, `${identity}'s path: picture and sound back at ${viewer}, ms`, `${picture}; ${sound}`);
          assert.ok(Math.max(picture, sound) <= BACK_AFTER_BLOCK_MS, `${name}: ${viewer} has picture after ${picture} ms, sound after ${sound} ms`);
        }));
        await sleep(1_000);
        for (const { page, identity: viewer, other } of people) {
          const { latency } = await ask(page, 'video', other);
          figure(name, `${identity}'s path: how old ${other}'s picture was at ${viewer}, p50, p95, max, ms`, `${latency.p50}; ${latency.p95}; ${latency.max}`);
          assert.ok(latency.max <= LATE_AFTER_BLOCK_MS, `${name}: ${viewer} saw a picture that was ${latency.max} ms old`);
        }
      }
      for (const { page, sid } of people) assert.equal(await ask(page, 'sid'), sid, 'the same session');
    });
  }

  test('reliable data that is under way when signaling is cut, or media is blocked, arrives once, whole and in order', { timeout: 60_000 }, async (t) => {
    const { people: [anna, ben] } = await call(t, { media: true });
    const COUNT = 600;
    const SIZE = 1_500_000;
    // Both kinds, both ways.
    const sent = Promise.all([
      ask(anna.page, 'sendNumbers', { count: COUNT, pauseMs: 10 }), ask(ben.page, 'sendNumbers', { count: COUNT, pauseMs: 10 }),
      ask(anna.page, 'sendBytes', { size: SIZE, pauseMs: 200 }), ask(ben.page, 'sendBytes', { size: SIZE, pauseMs: 200 }),
    ]).then(() => undefined, async (error) => {
      const events = await Promise.all([anna, ben].map(async ({ page }) => (await ask(page, 'events')).map((e) => e.name).join(' ')));
      return `${error.message}; events: ${events.join('; ')}`;
    });
    await sleep(300);
    // The sender's signaling, the receiver's, then media.
    for (const person of [anna, ben]) {
      await person.relay.cut(0);
      await ask(person.page, 'happened', 'reconnected', {}, 10_000);
    }
    for (const { udp } of [anna, ben]) udp.loss = 1;
    await sleep(500);
    for (const { udp } of [anna, ben]) udp.loss = 0;
    assert.equal(await sent, undefined);
    for (const { page, identity, other } of [anna, ben]) {
      const end = Date.now() + 20_000;
      let got;
      do {
        await sleep(100);
        got = await ask(page, 'exchanged');
      } while (!(got.numbers.length >= COUNT && got.bytes[0]?.done) && Date.now() < end);
      await sleep(500);
      got = await ask(page, 'exchanged');
      assert.deepEqual(got.numbers, Array.from({ length: COUNT }, (_, n) => n), `${identity}: each packet of ${other} once, in order`);
      assert.deepEqual(got.bytes.map(({ size, wrong, done }) => ({ size, wrong, done })), [{ size: SIZE, wrong: 0, done: true }], `${identity}: each byte of ${other}`);
    }
    for (const { page, sid } of [anna, ben]) assert.equal(await ask(page, 'sid'), sid, 'the same session');
  });

  test('the server restarts: people in Chromium and Firefox, and one with the Python SDK, are back', { timeout: 90_000 }, async (t) => {
    const server = await untilEnd(t, startServer(), (it) => it.stop());
    const { people, room } = await call(t, { server, browsers: [stage.chromium, stage.firefox] });
    const python = await untilEnd(t, startSdk('python'));
    await python.join(server, { room, identity: 'python' });
    await Promise.all([python.sees('anna'), python.sees('ben')]);
    for (const signal of ['SIGTERM', 'SIGKILL']) {
      const reconnects = async () => (await python.state()).events.filter((e) => e.name === 'reconnected').length;
      const before = await reconnects();
      await Promise.all(people.map(({ page }) => ask(page, 'forgetEvents')));
      const begun = Date.now();
      await server.restart(signal);
      const listens = Date.now();
      await Promise.all(people.map(({ page }) => ask(page, 'resetMeters')));
      await Promise.all([...people.map(async ({ page, identity, other }) => {
        await ask(page, 'happened', 'reconnected', {}, 20_000);
        const joined = Date.now() - listens;
        await ask(page, 'settled', 20_000);
        await ask(page, 'seen', other, 20_000);
        const seen = Date.now() - listens;
        const events = (await ask(page, 'events')).map((e) => `${e.name}@${Math.round(e.at - listens)}`).join(' ');
        figure('restart', `${signal}, away for ${listens - begun} ms, ${identity}: reconnected, ${other} seen, ms after it listens`, `${joined}; ${seen} (${events})`);
        assert.ok(joined <= BACK_AFTER_RESTART_MS, `${signal}: ${identity} was back after ${joined} ms`);
      }), (async () => {
        await python.until('a new session', ({ events }) => events.filter((e) => e.name === 'reconnected').length > before, 30_000);
        figure('restart', `${signal}, ${python.sdk}: reconnected, ms after it listens`, Date.now() - listens);
      })()]);
      await sleep(1_000);
    }
  });
});
