// An SDK whose WebSocket is cut resumes: the same participant, media that never stops, and nobody who notices.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { figure, newRoom, sleep } from '../lib/call.mjs';
import { tcpRelay } from '../lib/network.mjs';
import { VERSIONS, checkMedia, startSdk } from '../lib/sdk.mjs';
import { startServer } from '../lib/server.mjs';

const CUT_MS = 1_000;

describe('resume of an SDK', { timeout: 90_000 }, () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server?.stop());

  for (const [cutKind, otherKind] of [['python', 'node'], ['node', 'python']]) {
    test(`${VERSIONS[cutKind]} resumes, ${VERSIONS[otherKind]} notices nothing`, { timeout: 45_000 }, async () => {
      const room = newRoom('resume');
      const relay = await tcpRelay(server.port);
      const [cut, other] = await Promise.all([startSdk(cutKind), startSdk(otherKind)]);
      try {
        const { sid } = await cut.join(server, { room, identity: 'cut', port: relay.port });
        await other.join(server, { room, identity: 'other' });
        await cut.publish({ id: 1, hz: 440 });
        await other.publish({ id: 2, hz: 880 });
        await Promise.all([cut.sees('other'), other.sees('cut'), cut.hears('other', 880), other.hears('cut', 440)]);
        await sleep(2_000);
        await Promise.all([cut.ask('reset'), other.ask('reset')]);
        const start = Date.now();
        assert.ok((await relay.cut(CUT_MS)) >= 1, 'signaling went through the relay');
        await reconnected(cut);
        figure('sdk resume', `${cut.sdk}, cut to resumed, ms`, Date.now() - start);
        await sleep(3_000);
        await checkMedia('sdk resume', cut, { from: 'other', id: 2, hz: 880, maxGapMs: 1_000 });
        await checkMedia('sdk resume', other, { from: 'cut', id: 1, hz: 440, maxGapMs: 1_000 });
        assert.equal((await cut.state()).sid, sid, 'the same participant');
        const names = (await cut.state()).events.map((e) => e.name);
        assert.equal(names.filter((name) => name === 'subscribed').length, 2, 'no track was subscribed again');
        assert.ok(!names.includes('disconnected'), 'never disconnected');
        assert.ok(!(await other.state()).events.some((e) => e.name === 'participant_disconnected'), 'the other noticed nothing');

        await cut.ask('send', { text: 'still here' });
        await other.received('still here');
        await other.ask('send', { text: 'good' });
        await cut.received('good');
        // What happens after the resume reaches it, too.
        await other.ask('leave');
        await cut.happened('participant_disconnected', 'other');
      } finally {
        await Promise.all([cut.close(), other.close()]);
        await relay.close();
      }
    });
  }
});

/** A resume need not be told to the application: what counts is that a message gets through again. */
async function reconnected(participant) {
  await participant.happened('reconnected', null, 15_000);
}
