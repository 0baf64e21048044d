// An SDK whose WebSocket is cut resumes: the same participant, media that never stops, and nobody who notices.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { figure, newRoom, sleep } from '../lib/call.mjs';
import { tcpRelay } from '../lib/network.mjs';
import { VERSIONS, checkMedia, startSdk } from '../lib/sdk.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

/** Longer than the first attempt, after which these SDKs do not try to resume but begin a new session. */
const OUTAGE_MS = 1_000;

describe('reconnecting SDKs', { timeout: 90_000 }, () => {
  const stage = setStage({ client: false, chromium: false });

  /** A call in which `cut` signals through a relay; `judge` gets both sides once they see and hear each other. */
  async function call(t, cutKind, otherKind, judge) {
    const { server } = stage;
    const room = newRoom('resume');
    const relay = await untilEnd(t, tcpRelay(server.port));
    const [cut, other] = await Promise.all([untilEnd(t, startSdk(cutKind)), untilEnd(t, startSdk(otherKind))]);
    const { sid } = await cut.join(server, { room, identity: 'cut', port: relay.port });
    await other.join(server, { room, identity: 'other' });
    await cut.publish({ id: 1, hz: 440 });
    await other.publish({ id: 2, hz: 880 });
    await Promise.all([cut.sees('other'), other.sees('cut'), cut.hears('other', 880), other.hears('cut', 440)]);
    await sleep(1_500);
    await Promise.all([cut.ask('reset'), other.ask('reset')]);
    await judge({ relay, cut, other, sid });
  }

  const names = async (participant) => (await participant.state()).events.map((e) => e.name);

  /** Messages pass both ways, and what happens from now on is told. */
  async function checkSignaling(cut, other) {
    await cut.ask('send', { text: 'still here' });
    await other.received('still here');
    await other.ask('send', { text: 'good' });
    await cut.received('good');
    await other.ask('leave');
    await cut.happened('participant_disconnected', 'other');
  }

  for (const [cutKind, otherKind] of [['python', 'node'], ['node', 'python']]) {
    test(`${VERSIONS[cutKind]} resumes, ${VERSIONS[otherKind]} notices nothing`, { timeout: 40_000 }, async (t) => {
      await call(t, cutKind, otherKind, async ({ relay, cut, other, sid }) => {
        const start = Date.now();
        const before = relay.paths.length;
        assert.equal(await relay.cut(0), 1, 'signaling went through the relay');
        // A resume need not be told to the application: a new connection and a message tell it.
        while (relay.paths.length === before && Date.now() - start < 10_000) await sleep(20);
        await sleep(3_000);
        await cut.ask('send', { text: 'after the cut' });
        await other.received('after the cut');
        figure('sdk resume', `${cut.sdk}, connections through the relay`, relay.paths);
        await checkMedia('sdk resume', cut, { from: 'other', id: 2, hz: 880, maxGapMs: 1_000 });
        await checkMedia('sdk resume', other, { from: 'cut', id: 1, hz: 440, maxGapMs: 1_000 });
        assert.equal((await cut.state()).sid, sid, 'the same participant');
        const happened = await names(cut);
        assert.equal(happened.filter((name) => name === 'subscribed').length, 2, 'no track was subscribed again');
        assert.ok(!happened.includes('disconnected'), 'never disconnected');
        assert.ok(!(await names(other)).includes('participant_disconnected'), 'the other noticed nothing');
        assert.equal(relay.paths.length, before + 1, 'one new connection was enough');
        await checkSignaling(cut, other);
      });
    });
  }

  test(`${VERSIONS.python} begins a new session after a longer outage, and media comes back`, { timeout: 40_000 }, async (t) => {
    await call(t, 'python', 'node', async ({ relay, cut, other, sid }) => {
      const start = Date.now();
      await relay.cut(OUTAGE_MS);
      await cut.happened('reconnected', null, 15_000);
      figure('sdk new session', `${cut.sdk}, cut to reconnected, ms`, Date.now() - start);
      await other.until('the new session', ({ events }) => events.filter((e) => e.name === 'subscribed').length === 4);
      await Promise.all([cut.sees('other'), other.sees('cut')]);
      await Promise.all([cut.ask('reset'), other.ask('reset')]);
      await sleep(2_000);
      await checkMedia('sdk new session', cut, { from: 'other', id: 2, hz: 880 });
      await checkMedia('sdk new session', other, { from: 'cut', id: 1, hz: 440 });
      assert.notEqual((await cut.state()).sid, sid, 'a new participant');
      await checkSignaling(cut, other);
    });
  });
});
