// Opus with redundancy: used between those who know it, unwrapped for those who don't, never with encryption, and worth it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask, checkAudio, concealed, figure, join, newRoom, sleep, stats } from '../lib/call.mjs';
import { hasSound } from '../lib/firefox.mjs';
import { udpRelay } from '../lib/network.mjs';
import { VERSIONS, startSdk } from '../lib/sdk.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const HZ = 660;
const LOSS = 0.15;
/** What a receiver holds, in milliseconds: some packets. */
const BUFFER_MS = 120;
/** How much more a packet holds that carries the one before as well. */
const DOUBLE = 1.7;

/** Bytes for each packet of sound that arrives: browsers call both Opus, but one holds the packet before, too. */
async function perPacket(page) {
  const count = async () => {
    const streams = (await stats(page)).filter((s) => s.type === 'inbound-rtp' && s.kind === 'audio');
    return streams.reduce((sum, s) => ({ packets: sum.packets + s.packetsReceived, bytes: sum.bytes + s.bytesReceived }), { packets: 0, bytes: 0 });
  };
  const before = await count();
  await sleep(1_500);
  const now = await count();
  return (now.bytes - before.bytes) / (now.packets - before.packets);
}

describe(`Opus with redundancy, ${VERSIONS.browser}`, { timeout: 120_000 }, () => {
  const stage = setStage({ firefox: {} });
  const enter = async (t, room, identity, wish = {}) => {
    const page = await stage.page(t, wish.browser);
    await join(page, stage.server, { room, identity, ...wish });
    return page;
  };

  test('who knows it gets it and loses little, who does not gets plain Opus', { timeout: 60_000 }, async (t) => {
    const room = newRoom('red');
    const relays = await Promise.all([0, 1].map(() => untilEnd(t, udpRelay(stage.server.udpPort))));
    const knows = await enter(t, room, 'knows', { relayPort: relays[0].port });
    const lacks = await enter(t, room, 'lacks', { relayPort: relays[1].port, without: ['red'] });
    const alice = await enter(t, room, 'alice');
    await ask(alice, 'publish', { hz: HZ });
    await Promise.all([knows, lacks].map((page) => ask(page, 'heard', 'alice', 10_000)));
    assert.deepEqual(await ask(knows, 'mimeTypes', 'alice'), ['audio/red']);
    const [red, opus] = await Promise.all([knows, lacks].map(perPacket));
    figure('red', 'bytes a packet, with/without', [red, opus]);
    assert.ok(red > DOUBLE * opus, `${red} bytes a packet with redundancy, ${opus} without`);
    await checkAudio('with redundancy', knows, { from: 'alice', hz: HZ });
    await checkAudio('without', lacks, { from: 'alice', hz: HZ });

    for (const relay of relays) relay.loss = LOSS;
    // What is in the next packet comes a packet later: with a shorter buffer it is chance whether it comes in time.
    await Promise.all([knows, lacks].map((page) => ask(page, 'buffer', 'alice', BUFFER_MS)));
    await sleep(1_000);
    const before = await Promise.all([knows, lacks].map(stats));
    await sleep(6_000);
    const [repaired, bare] = await Promise.all([knows, lacks].map((page, i) => concealed(page, before[i])));
    figure('red', `made up of the sound at ${LOSS * 100} % loss, with/without, %`, [repaired * 100, bare * 100]);
    assert.ok(bare > 0.05, `only ${bare * 100} % are made up without redundancy: the loss shows nothing`);
    assert.ok(repaired < bare / 2.5, `${repaired * 100} % are made up with redundancy, ${bare * 100} % without`);
  });

  test('a publisher that has none, or wants none', { timeout: 60_000 }, async (t) => {
    const room = newRoom('no-red');
    const bob = await enter(t, room, 'bob');
    const [alice, emil] = [await enter(t, room, 'alice'), await enter(t, room, 'emil', { e2ee: { key: 'secret' } })];
    const firefox = await enter(t, room, 'firefox', { browser: stage.firefox });
    await ask(alice, 'publish', { hz: HZ, audio: { red: false } });
    await ask(emil, 'publish', { hz: 880 });
    await ask(firefox, 'publish', { hz: 440 });
    for (const identity of ['alice', 'emil', 'firefox']) {
      await ask(bob, 'heard', identity, 10_000);
      assert.deepEqual(await ask(bob, 'mimeTypes', identity), ['audio/opus'], identity);
    }
    await sleep(1_500);
    await checkAudio('no redundancy', bob, { from: 'alice', hz: HZ });
    if (hasSound) await checkAudio('Firefox', bob, { from: 'firefox', hz: 440 });
  });

  // The SDK for Node has the same core.
  test(`${VERSIONS.python} sends and takes it`, { timeout: 60_000 }, async (t) => {
    const room = newRoom('red-sdk');
    const sdk = await untilEnd(t, startSdk('python'));
    const [page, lacks] = [await enter(t, room, 'chris'), await enter(t, room, 'lacks', { without: ['red'] })];
    await sdk.join(stage.server, { room, identity: 'sam' });
    await ask(page, 'publish', { hz: 440 });
    await sdk.publish({ id: 2, hz: 880 });
    await Promise.all([sdk.hears('chris', 440), ask(page, 'heard', 'sam', 10_000), ask(lacks, 'heard', 'sam', 10_000)]);
    assert.ok((await ask(page, 'mimeTypes', 'sam')).includes('audio/red'));
    assert.deepEqual(await ask(lacks, 'mimeTypes', 'chris'), ['audio/red']);
    await sleep(1_500);
    await checkAudio('SDK', page, { from: 'sam', hz: 880 });
    await checkAudio('SDK, without redundancy', lacks, { from: 'sam', hz: 880 });
  });
});
