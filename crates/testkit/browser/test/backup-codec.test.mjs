// A track in two codecs: who can't decode the first gets the second, which is sent only while somebody needs it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask, checkVideo, figure, join, newRoom, sleep, stats } from '../lib/call.mjs';
import { VERSIONS, startSdk } from '../lib/sdk.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

/** `BackupCodecPolicy` of the protocol. */
const [PREFER_REGRESSION, SIMULCAST, REGRESSION] = [0, 1, 2];
const ID = 11;
/** What a server may take until a codec that nobody needs is not sent any more, and a little. */
const OFF_MS = 9_000;

/** The codecs whose frames came, or went, in the last `ms`. */
async function flowing(page, type, name, ms = 1_000) {
  const count = async () => {
    const streams = (await stats(page)).filter((s) => s.type === type && s.kind === 'video' && s.codec);
    return streams.reduce((sums, s) => ({ ...sums, [s.codec]: (sums[s.codec] ?? 0) + (s[name] ?? 0) }), {});
  };
  const before = await count();
  await sleep(ms);
  const now = await count();
  return Object.keys(now).filter((codec) => now[codec] > (before[codec] ?? 0)).sort();
}

async function until(what, check, ms) {
  const begun = Date.now();
  for (;;) {
    const found = await check();
    if (found === true) return Date.now() - begun;
    if (Date.now() - begun > ms) assert.fail(`${what}: ${JSON.stringify(found)} after ${ms} ms`);
  }
}

const receives = (page, codec, ms = 12_000) => until(`${codec} arrives`, async () => {
  const codecs = await flowing(page, 'inbound-rtp', 'framesDecoded', 500);
  return (codecs.length === 1 && codecs[0] === codec) || codecs;
}, ms);

const sends = (page, codecs, ms = OFF_MS) => until(`${codecs} are sent`, async () => {
  const now = await flowing(page, 'outbound-rtp', 'framesSent', 500);
  return now.join() === [...codecs].sort().join() || now;
}, ms);

describe(`backup codec, ${VERSIONS.browser}`, { timeout: 240_000 }, () => {
  const stage = setStage();
  const enter = async (t, room, identity, wish = {}) => {
    const page = await stage.page(t);
    await join(page, stage.server, { room, identity, ...wish });
    return page;
  };
  const publish = (page, first, backupCodecPolicy) => ask(page, 'publish', {
    id: ID, fps: 20, video: { videoCodec: first.toLowerCase(), backupCodec: { codec: 'vp8' }, backupCodecPolicy, videoEncoding: { maxBitrate: 800_000, maxFramerate: 20 } },
  });
  const seenBy = async (name, page) => {
    await ask(page, 'resetMeters');
    await sleep(1_500);
    await checkVideo(name, page, { from: 'alice', id: ID, minFps: 8, minGoodShare: 0.98, maxP95Ms: null });
  };

  for (const [first, singlePeerConnection] of [['AV1', true], ['VP9', false]]) {
    test(`${first} for those who know it and VP8 for the rest, ${singlePeerConnection ? 'one connection' : 'two connections'}`, { timeout: 90_000 }, async (t) => {
      const room = newRoom('backup');
      const options = { singlePeerConnection };
      const bob = await enter(t, room, 'bob', { options });
      const alice = await enter(t, room, 'alice', { options });
      await publish(alice, first, SIMULCAST);
      await ask(bob, 'seen', 'alice', 15_000);
      await sends(alice, [`video/${first}`]);

      const asked = Date.now();
      const carol = await enter(t, room, 'carol', { options, without: ['AV1', 'VP9'] });
      await ask(carol, 'seen', 'alice', 15_000);
      figure(first, 'the second codec is seen after, ms', Date.now() - asked);
      await receives(carol, 'video/VP8');
      await receives(bob, `video/${first}`);
      await Promise.all([seenBy(`${first} at bob`, bob), seenBy('VP8 at carol', carol)]);
      await sends(alice, [`video/${first}`, 'video/VP8']);

      // Muting is for both.
      await ask(alice, 'mute', 'video');
      await Promise.all([bob, carol].map((page) => ask(page, 'happened', 'muted', { identity: 'alice' }, 5_000)));
      await ask(alice, 'unmute', 'video');
      await Promise.all([seenAgain(bob), seenAgain(carol)]);

      if (!singlePeerConnection) return;
      await ask(carol, 'leave');
      figure(first, 'the second codec is off after, ms', await sends(alice, [`video/${first}`]));
      // Whoever comes later has it back without another negotiation of the publisher.
      const dora = await enter(t, room, 'dora', { options, without: ['AV1', 'VP9'] });
      await ask(dora, 'seen', 'alice', 10_000);
      await receives(dora, 'video/VP8');
      await ask(alice, 'unpublish', 'video');
      await Promise.all([bob, dora].map((page) => ask(page, 'happened', 'unpublished', { identity: 'alice' }, 5_000)));
      for (const page of [alice, bob, carol, dora]) assert.deepEqual(page.failures, []);
    });
  }

  async function seenAgain(page) {
    await ask(page, 'resetMeters');
    await ask(page, 'seen', 'alice', 10_000);
  }

  for (const [name, policy] of [['prefer regression', PREFER_REGRESSION], ['regression', REGRESSION]]) {
    test(`everybody gets the second codec while somebody needs it: ${name}`, { timeout: 90_000 }, async (t) => {
      const room = newRoom('regression');
      const bob = await enter(t, room, 'bob');
      const alice = await enter(t, room, 'alice');
      await publish(alice, 'AV1', policy);
      await ask(bob, 'seen', 'alice', 15_000);
      await ask(bob, 'resetMeters');
      const carol = await enter(t, room, 'carol', { without: ['AV1', 'VP9'] });
      await ask(carol, 'seen', 'alice', 15_000);
      await receives(carol, 'video/VP8');
      await receives(bob, 'video/VP8');
      const { maxGapMs, good, frames } = await ask(bob, 'video', 'alice');
      figure(name, 'bob: longest gap in the change, ms', maxGapMs);
      figure(name, 'bob: frames with the right barcode, %', (good / frames) * 100);
      assert.ok(maxGapMs <= 1_500, `the picture stood still for ${maxGapMs} ms`);
      await Promise.all([seenBy('bob', bob), seenBy('carol', carol)]);
      if (policy === REGRESSION) return;
      figure(name, 'the first codec is off after, ms', await sends(alice, ['video/VP8']));
      await ask(carol, 'leave');
      figure(name, 'the first codec is back after, ms', await receives(bob, 'video/AV1', 15_000));
      await seenBy('bob afterwards', bob);
    });
  }

  test(`${VERSIONS.python} and ${VERSIONS.node} see such a track`, { timeout: 60_000 }, async (t) => {
    const room = newRoom('backup-sdk');
    const [python, node] = await Promise.all(['python', 'node'].map((kind) => untilEnd(t, startSdk(kind))));
    await python.join(stage.server, { room, identity: 'pia' });
    await node.join(stage.server, { room, identity: 'nils' });
    const alice = await enter(t, room, 'alice');
    await publish(alice, 'AV1', SIMULCAST);
    await Promise.all([python.sees('alice'), node.sees('alice')]);
    const carol = await enter(t, room, 'carol', { without: ['AV1', 'VP9'] });
    await ask(carol, 'seen', 'alice', 15_000);
    await Promise.all([python, node].map((sdk) => sdk.ask('reset')));
    await Promise.all([python, node].map(async (sdk) => {
      const { ids } = await sdk.until('pictures', ({ video }) => video.alice?.good > 10 && video.alice);
      assert.deepEqual(Object.keys(ids), [String(ID)]);
      figure('SDKs', `codecs at ${sdk.sdk}`, (await sdk.ask('codecs')).filter((codec) => codec.startsWith('video/')));
    }));
  });
});
