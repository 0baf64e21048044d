// Backends with unmodified server SDKs moderate participants with unmodified client SDKs.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { startBackend } from '../lib/backends.mjs';
import { newRoom, sleep } from '../lib/call.mjs';
import { VERSIONS, startSdk } from '../lib/sdk.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

/** Long enough for something that must not happen to happen. */
const QUIET_MS = 1_000;
const base64 = (text) => Buffer.from(text).toString('base64');

/** What a call that must fail says. */
const failure = (calling) => calling.then((value) => assert.fail(`answered ${JSON.stringify(value)}`), (error) => error.message);

for (const kind of ['node', 'python']) {
  const version = kind === 'node' ? VERSIONS.nodeApi : VERSIONS.api;

  describe(`the room service, called by ${version}`, { timeout: 180_000 }, () => {
    const stage = setStage({ client: false, chromium: false });
    const backend = (t, options) => untilEnd(t, startBackend(kind, stage.server, options));

    /** Two participants who see and hear each other, by the two SDKs. */
    async function pair(t, room) {
      const { server } = stage;
      const [pia, noah] = await Promise.all([untilEnd(t, startSdk('python')), untilEnd(t, startSdk('node'))]);
      await pia.join(server, { room, identity: 'pia' });
      await noah.join(server, { room, identity: 'noah' });
      const tracks = await pia.publish({ id: 1, hz: 440 });
      await noah.publish({ id: 2, hz: 880 });
      await Promise.all([pia.sees('noah'), noah.sees('pia'), pia.hears('noah', 880), noah.hears('pia', 440)]);
      return { pia, noah, tracks };
    }

    test('rooms are made, listed, described and deleted', { timeout: 30_000 }, async (t) => {
      const api = await backend(t);
      assert.equal(api.sdk, version);
      const name = newRoom('made');
      const made = await api.call('create_room', { name, emptyTimeout: 60, departureTimeout: 7, maxParticipants: 5, metadata: 'first' });
      assert.match(made.sid, /^RM_/);
      const { emptyTimeout, departureTimeout, maxParticipants, metadata } = made;
      assert.deepEqual({ emptyTimeout, departureTimeout, maxParticipants, metadata }, { emptyTimeout: 60, departureTimeout: 7, maxParticipants: 5, metadata: 'first' });
      const again = await api.call('create_room', { name, maxParticipants: 9 });
      assert.deepEqual([again.sid, again.maxParticipants], [made.sid, 5], 'a room that is there stays as it is');
      const named = await api.call('list_rooms', { names: [name, 'none-of-that-name'] });
      assert.deepEqual(named.rooms.map((room) => room.sid), [made.sid]);
      const all = await api.call('list_rooms', {});
      assert.ok(all.rooms.some((room) => room.name === name));
      const described = await api.call('update_room_metadata', { room: name, metadata: 'second' });
      assert.equal(described.metadata, 'second');
      assert.deepEqual((await api.call('list_participants', { room: name })).participants ?? [], []);
      await api.call('delete_room', { room: name });
      assert.deepEqual((await api.call('list_rooms', { names: [name] })).rooms ?? [], []);
      assert.match(await failure(api.call('delete_room', { room: name })), /^not_found 404: requested room does not exist/);
    });

    test('a moderator sees, mutes, changes, reaches and removes people', { timeout: 90_000 }, async (t) => {
      const room = newRoom('moderated');
      const api = await backend(t);
      await api.call('create_room', { name: room, metadata: 'agenda' });
      const { pia, noah, tracks } = await pair(t, room);
      assert.equal((await noah.state()).room.metadata, 'agenda');

      // Who is there.
      const { participants } = await api.call('list_participants', { room });
      assert.deepEqual(participants.map((p) => [p.identity, p.state, p.tracks.length]).sort(), [['noah', 'ACTIVE', 2], ['pia', 'ACTIVE', 2]]);
      const one = await api.call('get_participant', { room, identity: 'pia' });
      assert.deepEqual(one.tracks.map((track) => track.sid).sort(), [tracks.audio, tracks.video].sort());
      assert.match(await failure(api.call('get_participant', { room, identity: 'nobody' })), /^not_found 404: participant does not exist/);

      // The room's metadata.
      await api.call('update_room_metadata', { room, metadata: 'minutes' });
      await Promise.all([pia, noah].map((who) => who.until('the room has new metadata', (state) => state.room.metadata === 'minutes')));

      // Data, without a sender.
      await api.call('send_data', { room, data: base64('to all'), topic: 'votes' });
      await api.call('send_data', { room, data: base64('to pia'), destinationIdentities: ['pia'] });
      await api.call('send_data', { room, data: base64('quick'), kind: 'LOSSY' });
      for (const who of [pia, noah]) {
        const { from, topic, kind: how } = await who.received('to all');
        assert.deepEqual([from, topic, how], [null, 'votes', 'KIND_RELIABLE']);
        assert.equal((await who.received('quick')).kind, 'KIND_LOSSY');
      }
      await pia.received('to pia');
      await sleep(QUIET_MS);
      assert.ok(!(await noah.state()).messages.some((m) => m.text === 'to pia'), 'a message goes to those it is for');

      // Name, metadata, attributes.
      const changed = await api.call('update_participant', { room, identity: 'pia', name: 'Pia P', metadata: 'chair', attributes: { hand: 'up' } });
      assert.deepEqual([changed.name, changed.metadata, changed.attributes], ['Pia P', 'chair', { hand: 'up' }]);
      for (const who of [pia, noah]) {
        await who.until('pia is changed', ({ people }) => people.pia.name === 'Pia P' && people.pia.metadata === 'chair' && people.pia.attributes.hand === 'up');
      }

      // Subscriptions.
      const subscribe = (wanted) => api.call('update_subscriptions', { room, identity: 'noah', trackSids: [tracks.video], subscribe: wanted });
      await subscribe(false);
      await sleep(QUIET_MS);
      await noah.ask('reset');
      await sleep(QUIET_MS);
      assert.equal((await noah.state()).video.pia.frames, 0, 'no picture without a subscription');
      await subscribe(true);
      await noah.until('the picture is back', ({ video }) => video.pia.good > 0);

      // Muting: nothing of it arrives, though pia's SDK goes on to feed its microphone.
      const { track } = await api.call('mute_published_track', { room, identity: 'pia', trackSid: tracks.audio, muted: true });
      assert.deepEqual([track.sid, track.muted], [tracks.audio, true]);
      await noah.until('pia is muted', ({ people }) => people.pia.tracks[tracks.audio]?.muted);
      await noah.until('pia is silent', ({ audio }) => audio.pia.rms < 0.001);
      const unmuted = await failure(api.call('mute_published_track', { room, identity: 'pia', trackSid: tracks.audio, muted: false }));
      assert.match(unmuted, /^failed_precondition 412: /);

      // Permissions count at once.
      const permission = { canSubscribe: true, canPublish: false, canPublishData: false };
      await api.call('update_participant', { room, identity: 'pia', permission });
      await noah.until('nothing of pia is published', ({ people }) => Object.keys(people.pia.tracks).length === 0);
      await pia.ask('send', { text: 'may not' }).catch(() => undefined);
      await sleep(QUIET_MS);
      assert.ok(!(await noah.state()).messages.some((m) => m.text === 'may not'), 'data without the permission goes nowhere');
      await assert.rejects(pia.publish({ id: 1, hz: 440 }), 'publishing is refused');
      const after = await api.call('get_participant', { room, identity: 'pia' });
      assert.deepEqual([after.permission.canPublish ?? false, after.tracks ?? []], [false, []]);
      assert.equal((await pia.state()).video.noah.frames > 0, true);

      // The end of one session, then of all.
      await api.call('remove_participant', { room, identity: 'pia' });
      await pia.happened('disconnected', 'PARTICIPANT_REMOVED');
      await noah.happened('participant_disconnected', 'pia');
      await api.call('delete_room', { room });
      await noah.happened('disconnected', 'ROOM_DELETED');
    });

    test('a participant is moved to another room and calls on there', { timeout: 60_000 }, async (t) => {
      const { server } = stage;
      const [from, to] = [newRoom('from'), newRoom('to')];
      const api = await backend(t);
      const { pia, noah } = await pair(t, from);
      const host = await untilEnd(t, startSdk('node'));
      await host.join(server, { room: to, identity: 'host' });
      await host.publish({ id: 3, hz: 660 });
      await api.call('move_participant', { room: from, identity: 'pia', destinationRoom: to });
      await noah.happened('participant_disconnected', 'pia');
      await host.happened('participant_connected', 'pia');
      await pia.happened('reconnected');
      await Promise.all([host.sees('pia'), host.hears('pia', 440), pia.sees('host'), pia.hears('host', 660)]);
      const { participants } = await api.call('list_participants', { room: to });
      assert.deepEqual(participants.map((p) => p.identity).sort(), ['host', 'pia']);
      const left = await api.call('list_participants', { room: from });
      assert.deepEqual(left.participants.map((p) => p.identity), ['noah']);
      const nobody = await failure(api.call('move_participant', { room: from, identity: 'pia', destinationRoom: to }));
      assert.match(nobody, /^not_found 404: participant does not exist/);
    });

    test('a backend with another secret reaches nothing, and nobody shows its token', { timeout: 30_000 }, async (t) => {
      const api = await backend(t, { secret: 'another-secret-that-is-long-enough-0123456789' });
      for (const [method, request] of [
        ['create_room', { name: 'x' }],
        ['list_rooms', {}],
        ['remove_participant', { room: 'x', identity: 'y' }],
      ]) {
        const text = await failure(api.call(method, request));
        assert.match(text, /^unauthenticated 401: token's signature does not match/, method);
        assert.ok(!/eyJ/.test(text) && !/eyJ/.test(stage.server.log()), 'no token is shown');
      }
    });
  });
}
