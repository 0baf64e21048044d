// Playing by WHEP (draft-ietf-wish-whep): npm's players in Chromium and aiortc, what they get of a room and of one
// participant, how tracks take turns on their sections, and how the picture follows a thin link.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, test } from 'node:test';
import { SIMULCAST, SIZES, ask, checkAudio, checkVideo, figure, join, measure, newRoom, openPage, sleep, untilSize } from '../lib/call.mjs';
import { udpRelay } from '../lib/network.mjs';
import { serveClientPage } from '../lib/pages.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';
import { access, startAiortc } from '../lib/whip.mjs';

const { devDependencies } = JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const ALICE = { id: 31, hz: 440, width: 640, height: 360 };
const BOB = { id: 32, hz: 880, width: 640, height: 360 };
const SPAN = { warmMs: 2_000, ms: 4_000 };

describe('WHEP', { timeout: 240_000 }, () => {
  const stage = setStage();
  const player = async (t) => {
    const site = await untilEnd(t, serveClientPage('whip.js'));
    return untilEnd(t, openPage(stage.chromium, site.url), (page) => page.closeAll());
  };
  const publisher = async (t, room, identity, looks) => {
    const page = await stage.page(t);
    await join(page, stage.server, { room, identity });
    await ask(page, 'publish', looks);
    return page;
  };
  const sessions = async () => (await stage.server.metrics()).get('schalter_whip_whep_sessions{protocol="whep"}');

  test('players see and hear who publishes with a client library', { timeout: 90_000 }, async (t) => {
    const room = newRoom('whep');
    const alice = await publisher(t, room, 'alice', ALICE);
    const players = [
      ['trickling', `whip-whep ${devDependencies['whip-whep']}`],
      ['complete', `@eyevinn/webrtc-player ${devDependencies['@eyevinn/webrtc-player']}`],
    ];
    for (const [how, name] of players) {
      const page = await player(t);
      await ask(page, 'play', { how, ...access(stage.server, 'whep', { room, identity: how }) });
      await ask(page, 'seen', 0, 15_000);
      await ask(page, 'sounds', 0, ALICE.hz, 5_000);
      await measure([page], SPAN);
      await checkVideo(name, page, { from: 0, id: ALICE.id, minFps: 20, size: '640x360' });
      await checkAudio(name, page, { from: 0, hz: ALICE.hz });
      // A player is somebody who watches: it is seen.
      await ask(alice, 'happened', 'joined', { identity: how }, 5_000);
      assert.equal(await sessions(), 1);
      if (how === 'trickling') {
        await ask(page, 'resetMeters');
        await ask(page, 'restart');
        await measure([page], { warmMs: 0, ms: 2_000 });
        await checkVideo(`${name}, ICE restarted`, page, { from: 0, id: ALICE.id, minFps: 20, maxGapMs: 300 });
      }
      await ask(page, 'stop');
      await ask(alice, 'happened', 'left', { identity: how }, 5_000);
      assert.deepEqual([(await ask(page, 'requests')).at(-1).status, await sessions()], [200, 0]);
    }
  });

  test('tracks take turns on the sections of one offer', { timeout: 90_000 }, async (t) => {
    const name = 'turns';
    const room = newRoom('whep');
    const page = await player(t);
    // Nobody is there yet.
    await ask(page, 'play', { how: 'trickling', ...access(stage.server, 'whep', { room, identity: 'player' }), sounds: 1, pictures: 1 });
    const alice = await publisher(t, room, 'alice', ALICE);
    await ask(page, 'shows', 0, ALICE.id, 15_000);
    await ask(page, 'sounds', 0, ALICE.hz, 5_000);
    await ask(alice, 'speak', 0);
    const bob = await publisher(t, room, 'bob', BOB);
    const spoke = Date.now();
    await ask(page, 'shows', 0, BOB.id, 10_000);
    await ask(page, 'sounds', 0, BOB.hz, 5_000);
    figure(name, 'who speaks is shown and heard after, ms', Date.now() - spoke);
    await ask(page, 'resetMeters');
    await ask(bob, 'speak', 0);
    await sleep(2_000);
    const seen = await ask(page, 'video', 0);
    assert.deepEqual(Object.keys(seen.ids), [String(BOB.id)], 'silence moves nobody');
    await ask(bob, 'leave');
    await ask(page, 'shows', 0, ALICE.id, 10_000);
    await ask(page, 'resetMeters');
    await sleep(2_000);
    const back = await ask(page, 'video', 0);
    figure(name, 'fps after coming back', back.fps);
    assert.ok(back.fps >= 20 && back.good / back.frames >= 0.99, JSON.stringify(back));
    assert.equal((await ask(page, 'requests')).filter(({ method }) => method === 'POST').length, 1, 'one offer was enough');
    await ask(page, 'stop');
  });

  test('a room fills many sections, one participant only its own', { timeout: 60_000 }, async (t) => {
    const room = newRoom('whep');
    await publisher(t, room, 'alice', ALICE);
    await publisher(t, room, 'bob', BOB);
    const all = await player(t);
    await ask(all, 'play', { how: 'trickling', ...access(stage.server, 'whep', { room, identity: 'wall' }), sounds: 2, pictures: 3 });
    await ask(all, 'shows', 0, ALICE.id, 15_000);
    await ask(all, 'shows', 1, BOB.id, 15_000);
    await ask(all, 'sounds', 0, ALICE.hz, 5_000);
    await ask(all, 'sounds', 1, BOB.hz, 5_000);
    assert.deepEqual(await ask(all, 'streams'), ['stream-0', 'stream-1', 'stream-2']);
    assert.equal((await ask(all, 'video', 2)).frames, 0);

    const one = await player(t);
    await ask(one, 'play', { how: 'trickling', ...access(stage.server, 'whep', { room, identity: 'one', participant: 'bob' }), sounds: 2, pictures: 2 });
    await ask(one, 'shows', 0, BOB.id, 15_000);
    await ask(one, 'sounds', 0, BOB.hz, 5_000);
    await sleep(1_000);
    assert.equal((await ask(one, 'video', 1)).frames, 0, 'alice is none of its business');
    await Promise.all([all, one].map((page) => ask(page, 'stop')));
  });

  test('the picture follows a thin link and comes back', { timeout: 120_000 }, async (t) => {
    const name = 'thin link';
    const room = newRoom('whep');
    await publisher(t, room, 'alice', SIMULCAST);
    const relay = await untilEnd(t, udpRelay(stage.server.udpPort));
    const page = await player(t);
    await ask(page, 'play', { how: 'trickling', ...access(stage.server, 'whep', { room, identity: 'player' }), relay: { from: stage.server.udpPort, to: relay.port } });
    await ask(page, 'seen', 0, 15_000);
    figure(name, 'whole picture after, ms', await untilSize(page, 0, SIZES[2], 30_000));
    Object.assign(relay, { downBps: 300_000, queueBytes: 12_000 });
    figure(name, 'at 300 kbit/s: lowest layer after, ms', await untilSize(page, 0, SIZES[0], 12_000));
    await ask(page, 'resetMeters');
    await sleep(4_000);
    const thin = await ask(page, 'video', 0);
    figure(name, 'at 300 kbit/s: sizes, fps, longest gap in ms', [thin.sizes, Math.round(thin.fps), thin.maxGapMs]);
    assert.deepEqual(Object.keys(thin.sizes), [SIZES[0]]);
    assert.ok(thin.maxGapMs <= 600 && thin.good / thin.frames >= 0.99, JSON.stringify(thin));
    Object.assign(relay, { downBps: 0 });
    figure(name, 'wide again: whole picture after, ms', await untilSize(page, 0, SIZES[2], 30_000));
    assert.deepEqual(Object.keys((await ask(page, 'video', 0)).ids), [String(SIMULCAST.id)]);
    await ask(page, 'stop');
  });

  test('aiortc plays a room, with tracks that take turns', { timeout: 60_000 }, async (t) => {
    const room = newRoom('whep');
    const alice = await publisher(t, room, 'alice', ALICE);
    const playing = await untilEnd(t, startAiortc(stage.server, { room, identity: 'player' }));
    const name = playing.sdk;
    assert.deepEqual(playing.answer, { status: 201 });
    const shows = (id, hz) => ({ places: [sound, picture] }) => Object.keys(picture.ids).join() === String(id) && picture.good > 15 && Math.abs(sound.hz - hz) <= 6 && sound.rms > 0.05;
    await playing.until('alice', shows(ALICE.id, ALICE.hz));
    const { places: [sound, picture] } = await playing.state();
    figure(name, 'alice', `${picture.good} of ${picture.frames} frames ${Object.keys(picture.sizes)}, ${picture.latencyMs} ms, ${sound.hz.toFixed(0)} Hz`);
    assert.ok(picture.good / picture.frames >= 0.95, JSON.stringify(picture));

    // Its own estimates follow what arrives; they must not stop the picture.
    await playing.ask('reset');
    await sleep(6_000);
    const later = (await playing.state()).places[1];
    figure(name, 'frames in the next 6 s', `${later.good} of ${later.frames}`);
    assert.ok(later.good >= 100, JSON.stringify(later));

    await ask(alice, 'speak', 0);
    await publisher(t, room, 'bob', BOB);
    await playing.until('bob', ({ places }) => places[1].ids[BOB.id] > 0);
    await playing.ask('reset');
    await playing.until('bob alone', shows(BOB.id, BOB.hz));
    assert.deepEqual((await playing.state()).places.map(({ ended }) => ended), [false, false], 'no section ended on the way');
    assert.deepEqual(await playing.ask('stop'), { status: 200 });
    assert.equal(await sessions(), 0);
  });
});
