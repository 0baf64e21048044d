// Python and Node, both with unmodified SDKs and their own decoders, see, hear and write to each other.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { newRoom, sleep } from '../lib/call.mjs';
import { tcpRelay } from '../lib/network.mjs';
import { VERSIONS, checkMedia, startSdk } from '../lib/sdk.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

/** Long enough for a message that must not arrive to arrive. */
const QUIET_MS = 700;

// Both modes at once, each with participants, a relay and a room of its own.
describe(`${VERSIONS.python} and ${VERSIONS.node}`, { timeout: 90_000, concurrency: 2 }, () => {
  const stage = setStage({ client: false, chromium: false });

  for (const { mode, singlePeerConnection, simulcast, path } of [
    { mode: 'as they come: one connection, simulcast', simulcast: true, path: '/rtc/v1' },
    { mode: 'two connections', singlePeerConnection: false, simulcast: false, path: '/rtc' },
  ]) {
    test(`${VERSIONS.python} ↔ ${VERSIONS.node}, ${mode}`, { timeout: 45_000 }, async (t) => {
      const { server } = stage;
      const room = newRoom('sdk');
      const relay = await untilEnd(t, tcpRelay(server.port));
      const [python, node] = await Promise.all([untilEnd(t, startSdk('python')), untilEnd(t, startSdk('node'))]);
      const options = { room, port: relay.port, singlePeerConnection };
      await python.join(server, { ...options, identity: 'pia' });
      await node.join(server, { ...options, identity: 'noah' });
      await python.happened('participant_connected', 'noah');
      assert.deepEqual([...new Set(relay.paths)], [path], 'the way in that was asked for');
      await python.publish({ id: 1, hz: 440, simulcast });
      await node.publish({ id: 2, hz: 880, simulcast });
      await Promise.all([python.sees('noah'), node.sees('pia'), python.hears('noah', 880), node.hears('pia', 440)]);
      await sleep(3_000);
      await Promise.all([python.ask('reset'), node.ask('reset')]);
      await sleep(4_000);
      await checkMedia(mode, python, { from: 'noah', id: 2, hz: 880 });
      await checkMedia(mode, node, { from: 'pia', id: 1, hz: 440 });
      for (const participant of [python, node]) assert.deepEqual(await participant.ask('codecs'), ['audio/opus', 'video/VP8'], participant.sdk);

      await checkData(python, 'pia', node, 'noah');
      await checkData(node, 'noah', python, 'pia');

      await node.ask('leave');
      await python.happened('participant_disconnected', 'noah');
      await python.ask('leave');
    });
  }
});

/** `from` reaches `to` in every way there is, and nobody reaches themselves or somebody who is not named. */
async function checkData(from, identity, to, other) {
  const says = (what) => `${identity}: ${what}`;
  await from.ask('send', { text: says('nobody'), to: ['nobody-of-that-name'] });
  await from.ask('send', { text: says('reliable'), topic: 'greeting' });
  await from.ask('send', { text: says('lossy'), reliable: false, topic: 'status' });
  await from.ask('send', { text: says('one'), to: [other] });
  assert.deepEqual(await to.received(says('reliable')), { text: says('reliable'), from: identity, topic: 'greeting', kind: 'KIND_RELIABLE' });
  assert.deepEqual(await to.received(says('lossy')), { text: says('lossy'), from: identity, topic: 'status', kind: 'KIND_LOSSY' });
  assert.equal((await to.received(says('one'))).from, identity);
  await sleep(QUIET_MS);
  const own = (await from.state()).messages.filter((m) => m.from === identity);
  const stray = (await to.state()).messages.filter((m) => m.text === says('nobody'));
  assert.deepEqual([own, stray], [[], []], 'a message goes to those it is for');
}
