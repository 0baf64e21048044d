// A backend moderates people in browsers: what the client library makes of it, and what others see and hear.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { startBackend } from '../lib/backends.mjs';
import { ask, checkAudio, join, newRoom, sleep } from '../lib/call.mjs';
import { VERSIONS } from '../lib/sdk.mjs';
import { startServer } from '../lib/server.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const REMOVED = 4; // DisconnectReason.PARTICIPANT_REMOVED
const EVERYTHING = { canPublish: true, canSubscribe: true, canPublishData: true };

describe(`${VERSIONS.browser} in Chromium, moderated by ${VERSIONS.nodeApi}`, { timeout: 150_000 }, () => {
  const stage = setStage();

  /** Anna, who publishes camera and microphone, and Ben, who sees and hears her. */
  async function call(t, name) {
    const room = newRoom(name);
    const api = await untilEnd(t, startBackend('node', stage.server));
    const [anna, ben] = [await stage.page(t), await stage.page(t)];
    await join(anna, stage.server, { room, identity: 'anna' });
    await join(ben, stage.server, { room, identity: 'ben' });
    const tracks = await ask(anna, 'publish', { id: 1, hz: 440 });
    await ask(ben, 'seen', 'anna', 15_000);
    await ask(ben, 'heard', 'anna', 15_000);
    const change = (identity, request) => api.call('update_participant', { room, identity, ...request });
    return { room, api, anna, ben, tracks, change };
  }

  test('a muted microphone is silent until its owner opens it', { timeout: 40_000 }, async (t) => {
    const { room, api, anna, ben, tracks } = await call(t, 'muted');
    await ask(ben, 'level', 'anna', 0.01, 1, 10_000);
    await api.call('mute_published_track', { room, identity: 'anna', trackSid: tracks.audio, muted: true });
    await ask(anna, 'happened', 'muted', { identity: 'anna', kind: 'audio' }, 5_000);
    await ask(ben, 'happened', 'muted', { identity: 'anna', kind: 'audio' }, 5_000);
    await ask(ben, 'level', 'anna', 0, 0.001, 5_000);
    await ask(anna, 'unmute', 'audio');
    await ask(ben, 'happened', 'unmuted', { identity: 'anna', kind: 'audio' }, 5_000);
    await ask(ben, 'level', 'anna', 0.01, 1, 5_000);
    await checkAudio('unmuted', ben, { from: 'anna', hz: 440 });
  });

  test('changes of names, attributes and the room are there without a reconnect', { timeout: 40_000 }, async (t) => {
    const { room, api, anna, ben, change } = await call(t, 'changed');
    await change('anna', { name: 'Anna A', metadata: 'chair', attributes: { hand: 'up' } });
    await api.call('update_room_metadata', { room, metadata: 'minutes' });
    await sleep(500);
    for (const page of [anna, ben]) {
      const { name, metadata, attributes, room: seen } = await ask(page, 'about', 'anna');
      assert.deepEqual([name, metadata, attributes, seen.metadata], ['Anna A', 'chair', { hand: 'up' }, 'minutes']);
      assert.ok(!(await ask(page, 'events')).some((e) => /reconnect/.test(e.name)), 'nobody reconnected');
    }
  });

  test('whoever may not publish any more is unpublished, and may publish again later', { timeout: 60_000 }, async (t) => {
    const { anna, ben, change } = await call(t, 'muzzled');
    await change('anna', { permission: { ...EVERYTHING, canPublish: false } });
    for (const kind of ['audio', 'video']) {
      await ask(anna, 'happened', 'own-unpublished', { kind }, 5_000);
      await ask(ben, 'happened', 'unpublished', { identity: 'anna', kind }, 5_000);
    }
    const { tracks, canPublish } = await ask(anna, 'about');
    assert.deepEqual([tracks, canPublish], [[], false]);
    await assert.rejects(ask(anna, 'publish', { id: 1 }), /permission/i);
    await change('anna', { permission: { ...EVERYTHING, canPublishSources: ['CAMERA'] } });
    await assert.rejects(ask(anna, 'publish', { hz: 440 }), /permission/i);
    await ask(anna, 'publish', { id: 1 });
    await ask(ben, 'seen', 'anna', 10_000);
    assert.deepEqual((await ask(anna, 'about')).tracks, [{ source: 'camera', muted: false }]);
  });

  test('whoever may not subscribe any more gets nothing, and everything again later', { timeout: 60_000 }, async (t) => {
    const { ben, change } = await call(t, 'blindfold');
    await change('ben', { permission: { ...EVERYTHING, canSubscribe: false } });
    for (const kind of ['audio', 'video']) await ask(ben, 'happened', 'unsubscribed', { identity: 'anna', kind }, 5_000);
    assert.equal(await ask(ben, 'video', 'anna'), null);
    await change('ben', { permission: EVERYTHING });
    await ask(ben, 'seen', 'anna', 10_000);
    await ask(ben, 'heard', 'anna', 10_000);
    assert.ok(!(await ask(ben, 'events')).some((e) => /reconnect/.test(e.name)), 'without a reconnect');
  });

  test('without auto_create a room must be made before somebody joins', { timeout: 40_000 }, async (t) => {
    const server = await untilEnd(t, startServer({ room: { auto_create: false } }), (it) => it.stop());
    const api = await untilEnd(t, startBackend('node', server));
    const room = newRoom('made');
    const anna = await stage.page(t);
    await assert.rejects(join(anna, server, { room, identity: 'anna' }), /requested room does not exist/);
    assert.deepEqual((await api.call('list_rooms', {})).rooms, []);
    await api.call('create_room', { name: room });
    await join(anna, server, { room, identity: 'anna' });
  });

  test('whoever is moved is in the other room afterwards, and whoever is removed is out', { timeout: 60_000 }, async (t) => {
    const { room, api, anna, ben } = await call(t, 'moved');
    const destinationRoom = newRoom('destination');
    const host = await stage.page(t);
    await join(host, stage.server, { room: destinationRoom, identity: 'host' });
    await ask(host, 'publish', { id: 3 });
    await api.call('move_participant', { room, identity: 'anna', destinationRoom });
    await ask(ben, 'happened', 'left', { identity: 'anna' }, 5_000);
    await ask(anna, 'happened', 'reconnected', {}, 10_000);
    await ask(anna, 'settled', 10_000);
    await ask(anna, 'seen', 'host', 10_000);
    await ask(host, 'seen', 'anna', 10_000);
    assert.equal((await ask(anna, 'about')).room.name, destinationRoom);
    assert.deepEqual((await ask(anna, 'others')).map((p) => p.identity), ['host']);
    await api.call('remove_participant', { room: destinationRoom, identity: 'anna' });
    await ask(anna, 'happened', 'disconnected', { reason: REMOVED }, 5_000);
    await ask(host, 'happened', 'left', { identity: 'anna' }, 5_000);
  });
});
