// Encrypted end to end: with the key pixels and sound are right, without it nothing decodes and nothing breaks; layers,
// repairs and late joiners work although the server can't read a frame.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SIMULCAST, SIZES, ask, checkAudio, checkVideo, figure, join, newRoom, sleep, stats } from '../lib/call.mjs';
import { udpRelay } from '../lib/network.mjs';
import { VERSIONS, checkMedia, startSdk } from '../lib/sdk.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const KEY = { key: 'a passphrase that the server never learns' };
const WRONG = { key: 'a passphrase of somebody else' };
/** How long somebody with a wrong key is watched at least: several keyframes come in it. */
const WRONG_MS = 2_500;

/** What came of pictures and sound, over all connections of a page. */
async function received(page) {
  const all = (await stats(page)).filter((s) => s.type === 'inbound-rtp');
  const sum = (kind, name) => all.filter((s) => s.kind === kind).reduce((total, s) => total + (s[name] ?? 0), 0);
  return { packets: sum('video', 'packetsReceived'), decoded: sum('video', 'framesDecoded'), sound: sum('audio', 'packetsReceived') };
}

/** Checks that somebody gets a sender's packets and can do nothing with them. */
async function checkDeaf(name, page, from) {
  const { packets, decoded, sound } = await received(page);
  figure(name, 'without the key: packets of pictures/decoded frames/packets of sound', [packets, decoded, sound]);
  assert.ok(packets > 50 && sound > 50, `${name}: packets arrive`);
  assert.equal(decoded, 0, `${name}: a frame was decoded`);
  assert.equal((await ask(page, 'video', from))?.good ?? 0, 0, `${name}: a picture is readable`);
  const { rms } = await ask(page, 'audio', from);
  assert.ok(rms < 0.001, `${name}: something is heard (rms ${rms})`);
  assert.deepEqual(page.failures, []);
}

describe(`end-to-end encryption, ${VERSIONS.browser}`, { timeout: 240_000 }, () => {
  const stage = setStage({ firefox: {} });
  const enter = async (t, room, identity, wish = {}) => {
    const page = await stage.page(t, wish.browser);
    await join(page, stage.server, { room, identity, e2ee: KEY, ...wish });
    return page;
  };

  for (const singlePeerConnection of [true, false]) {
    const mode = singlePeerConnection ? 'one connection' : 'two connections';
    test(`VP8 simulcast and Opus, ${mode}`, { timeout: 60_000 }, async (t) => {
      const room = newRoom('e2ee');
      const options = { singlePeerConnection };
      const [bob, eve] = [await enter(t, room, 'bob', { options }), await enter(t, room, 'eve', { options, e2ee: WRONG })];
      const alice = await enter(t, room, 'alice', { options });
      await ask(alice, 'publish', SIMULCAST);
      await Promise.all([ask(bob, 'seen', 'alice', 15_000), ask(bob, 'heard', 'alice', 5_000)]);
      assert.deepEqual(await ask(bob, 'encrypted', 'alice'), [true, true], 'the tracks are marked as encrypted');

      // What somebody sees is what was asked for, and comes without a freeze: the server finds layers and keyframes.
      await ask(bob, 'askFor', 'alice', 2, SIZES[2], 20_000);
      await sleep(1_000);
      await ask(bob, 'resetMeters');
      for (const quality of singlePeerConnection ? [0, 1, 2] : [0, 2]) {
        figure(mode, `until ${SIZES[quality]} is seen, ms`, await ask(bob, 'askFor', 'alice', quality, SIZES[quality], 10_000));
        await sleep(500);
      }
      const seen = await ask(bob, 'video', 'alice');
      figure(mode, 'frames with the right barcode, %', (seen.good / seen.frames) * 100);
      assert.ok(seen.good / seen.frames >= 0.99, `${seen.good} of ${seen.frames} frames are readable`);
      assert.ok(seen.maxGapMs <= 1_000, `the picture stood still for ${seen.maxGapMs} ms`);
      assert.deepEqual(Object.keys(seen.ids), [String(SIMULCAST.id)]);
      await checkAudio(mode, bob, { from: 'alice', hz: SIMULCAST.hz });

      // Data comes encrypted, and whoever has another key doesn't get to see it.
      await ask(alice, 'send', 'a secret', { reliable: true, topic: 'greeting' });
      const { from, topic } = await ask(bob, 'received', 'a secret', 5_000);
      assert.deepEqual({ from, topic }, { from: 'alice', topic: 'greeting' });
      assert.deepEqual(await ask(eve, 'messages'), []);

      const late = await enter(t, room, 'late', { options });
      const asked = Date.now();
      await ask(late, 'seen', 'alice', 5_000);
      figure(mode, 'a late joiner sees after, ms', Date.now() - asked);
      await checkDeaf(mode, eve, 'alice');
      await ask(eve, 'happened', 'encryption-error', { identity: 'alice' }, 1_000);
    });
  }

  test('VP9 in spatial layers, and H.264', { timeout: 60_000 }, async (t) => {
    for (const [codec, id, video, qualities] of [
      ['VP9', 5, { videoCodec: 'vp9', scalabilityMode: 'L3T3_KEY', videoEncoding: { maxBitrate: 1_500_000, maxFramerate: 30 } }, [0, 2]],
      ['H264', 6, { videoCodec: 'h264' }],
    ]) {
      const room = newRoom('e2ee-codec');
      const bob = await enter(t, room, 'bob');
      const alice = await enter(t, room, 'alice');
      await ask(alice, 'publish', { id, ...(qualities ? { width: 1280, height: 720 } : {}), video });
      await ask(bob, 'seen', 'alice', 15_000);
      for (const quality of qualities ?? []) figure(codec, `until ${SIZES[quality]} is seen, ms`, await ask(bob, 'askFor', 'alice', quality, SIZES[quality], 15_000));
      await ask(bob, 'resetMeters');
      await sleep(2_000);
      await checkVideo(codec, bob, { from: 'alice', id, minFps: 10, minGoodShare: 0.98, maxP95Ms: null, size: qualities && SIZES[2] });
      const codecs = (await stats(bob)).filter((s) => s.type === 'inbound-rtp' && s.kind === 'video').map((s) => s.codec);
      assert.deepEqual(codecs, [`video/${codec}`]);
      await Promise.all([bob, alice].map((page) => ask(page, 'leave')));
    }
  });

  test('keys change, and a participant without encryption is in the room, too', { timeout: 60_000 }, async (t) => {
    const room = newRoom('keys');
    const bob = await enter(t, room, 'bob');
    const plain = await enter(t, room, 'plain', { e2ee: undefined });
    const alice = await enter(t, room, 'alice');
    await ask(alice, 'publish', { id: 7, hz: 660 });
    await ask(plain, 'publish', { id: 8, hz: 880 });
    await Promise.all([ask(bob, 'seen', 'alice', 15_000), ask(bob, 'seen', 'plain', 15_000), ask(bob, 'heard', 'alice', 5_000), ask(alice, 'seen', 'plain', 15_000)]);
    assert.deepEqual(await ask(bob, 'encrypted', 'plain'), [false, false]);

    const goesOn = async (what) => {
      await ask(bob, 'resetMeters');
      await sleep(1_000);
      await checkVideo(what, bob, { from: 'alice', id: 7, minFps: 10, maxP95Ms: null });
      await checkAudio(what, bob, { from: 'alice', hz: 660 });
    };
    // The receiver follows by itself: it tries the next key when the present one doesn't fit.
    await ask(alice, 'ratchet');
    await sleep(500);
    await goesOn('after ratcheting');
    // Under another index the new key can be given to all before anybody uses it.
    await ask(bob, 'setKey', 'another passphrase', 1);
    await ask(alice, 'setKey', 'another passphrase', 1);
    await sleep(500);
    await goesOn('after another key');
    // And one that the receiver doesn't have ends the picture, until it has it.
    await ask(alice, 'setKey', 'a third passphrase', 2);
    await ask(bob, 'happened', 'encryption-error', { identity: 'alice' }, 5_000);
    await sleep(500);
    const { good } = await ask(bob, 'video', 'alice');
    await sleep(1_000);
    assert.equal((await ask(bob, 'video', 'alice')).good, good, 'nothing is seen without the key');
    await ask(bob, 'setKey', 'a third passphrase', 2);
    await ask(bob, 'resetMeters');
    await ask(bob, 'seen', 'alice', 5_000);
    await goesOn('with the third key');

    // Whoever decrypts nothing gives noise to the decoders; a picture it is not.
    assert.ok((await received(plain)).packets > 50, 'packets arrive');
    assert.equal((await ask(plain, 'video', 'alice'))?.good ?? 0, 0, 'nothing is seen without encryption');
    assert.ok(Math.abs((await ask(plain, 'audio', 'alice')).hz - 660) > 20 || (await ask(plain, 'audio', 'alice')).rms < 0.01, 'no tone is heard without encryption');
    assert.deepEqual(plain.failures, []);
    await checkVideo('unencrypted', bob, { from: 'plain', id: 8, minFps: 10, maxP95Ms: null });
    await checkAudio('unencrypted', bob, { from: 'plain', hz: 880 });
  });

  test('losses are repaired', { timeout: 60_000 }, async (t) => {
    const room = newRoom('e2ee-loss');
    const relay = await untilEnd(t, udpRelay(stage.server.udpPort));
    const bob = await enter(t, room, 'bob', { relayPort: relay.port });
    const alice = await enter(t, room, 'alice');
    await ask(alice, 'publish', SIMULCAST);
    await ask(bob, 'seen', 'alice', 15_000);
    relay.loss = 0.03;
    await ask(bob, 'resetMeters');
    await sleep(4_000);
    await checkVideo('3 % lost', bob, { from: 'alice', id: SIMULCAST.id, minFps: 15, minGoodShare: 0.98, maxP95Ms: null, maxGapMs: 1_000 });
    const arriving = (await stats(bob)).find((s) => s.type === 'inbound-rtp' && s.kind === 'video');
    figure('3 % lost', 'NACKs, repaired, PLIs', [arriving.nackCount, arriving.retransmittedPacketsReceived, arriving.pliCount]);
    assert.ok(relay.count.downLost > 10 && arriving.retransmittedPacketsReceived > 10, `${relay.count.downLost} lost, ${arriving.retransmittedPacketsReceived} repaired`);
  });

  test('Firefox and Chromium', { timeout: 60_000 }, async (t) => {
    const room = newRoom('e2ee-firefox');
    // The later page is the one in front, and only that one is painted.
    const eve = await enter(t, room, 'eve', { browser: stage.firefox, e2ee: WRONG });
    const firefox = await enter(t, room, 'firefox', { browser: stage.firefox });
    const chromium = await enter(t, room, 'chromium');
    await ask(firefox, 'publish', { ...SIMULCAST, id: 3, hz: 440 });
    await ask(chromium, 'publish', { id: 4, hz: 660 });
    await Promise.all([ask(firefox, 'seen', 'chromium', 15_000), ask(chromium, 'seen', 'firefox', 15_000), ask(chromium, 'heard', 'firefox', 5_000)]);
    for (const quality of [0, 1]) await ask(chromium, 'askFor', 'firefox', quality, SIZES[quality], 20_000);
    await Promise.all([firefox, chromium].map((page) => ask(page, 'resetMeters')));
    await sleep(WRONG_MS);
    await checkVideo('Firefox → Chromium', chromium, { from: 'firefox', id: 3, minFps: 10, minGoodShare: 0.98, maxP95Ms: null });
    await checkAudio('Firefox → Chromium', chromium, { from: 'firefox', hz: 440 });
    await checkVideo('Chromium → Firefox', firefox, { from: 'chromium', id: 4, minFps: 10, minGoodShare: 0.98, maxP95Ms: null });
    await ask(firefox, 'send', 'from Firefox');
    await ask(chromium, 'received', 'from Firefox', 5_000);
    const { packets, decoded } = await received(eve);
    figure('Firefox', 'without the key: packets of pictures/decoded frames', [packets, decoded]);
    assert.ok(packets > 50, 'packets arrive');
    assert.equal(decoded, 0, 'nothing is decoded without the key');
    assert.deepEqual(eve.failures, []);
  });

  for (const kind of ['python', 'node']) {
    test(`${VERSIONS[kind]} and Chromium`, { timeout: 60_000 }, async (t) => {
      const room = newRoom(`e2ee-${kind}`);
      const [sdk, wrong] = await Promise.all([0, 1].map(() => untilEnd(t, startSdk(kind))));
      const page = await enter(t, room, 'chris');
      await sdk.join(stage.server, { room, identity: 'sam', e2ee: KEY });
      await wrong.join(stage.server, { room, identity: 'wanda', e2ee: WRONG });
      await ask(page, 'publish', { id: 1, hz: 440, video: { simulcast: true } });
      await sdk.publish({ id: 2, hz: 880 });
      await Promise.all([ask(page, 'seen', 'sam', 15_000), ask(page, 'heard', 'sam', 15_000), sdk.sees('chris'), sdk.hears('chris', 440)]);
      await Promise.all([ask(page, 'resetMeters'), sdk.ask('reset')]);
      await sleep(WRONG_MS);
      await checkMedia(kind, sdk, { from: 'chris', id: 1, hz: 440, colour: false });
      await checkVideo(kind, page, { from: 'sam', id: 2, minFps: 5, minGoodShare: 0.95, maxP95Ms: null });
      await checkAudio(kind, page, { from: 'sam', hz: 880 });
      await ask(page, 'send', 'from the browser', { reliable: true });
      await sdk.received('from the browser');
      await sdk.ask('send', { text: 'from the SDK' });
      await ask(page, 'received', 'from the SDK', 5_000);
      const { video, audio, messages } = await wrong.state();
      assert.deepEqual(Object.values(video).map(({ good }) => good).filter((good) => good > 0), [], 'no picture without the key');
      assert.ok(Object.values(audio).every(({ rms }) => rms < 0.001), `no sound without the key: ${JSON.stringify(audio)}`);
      assert.deepEqual(messages, [], 'no data without the key');
    });
  }
});
