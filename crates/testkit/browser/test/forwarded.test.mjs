// A backend forwards a participant: people in another room see and hear it, and nobody there is seen by it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { startBackend } from '../lib/backends.mjs';
import { SIMULCAST, SIZES, ask, checkAudio, figure, join, newRoom, sleep, untilSize } from '../lib/call.mjs';
import { VERSIONS, startSdk } from '../lib/sdk.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

describe(`${VERSIONS.browser} in Chromium, forwarded by ${VERSIONS.nodeApi}`, { timeout: 150_000 }, () => {
  const stage = setStage({ server: { rtc: { workers: 2 } } });

  test('a viewer in another room sees and hears a participant until it leaves', { timeout: 80_000 }, async (t) => {
    const { server } = stage;
    const [from, to] = [newRoom('hall'), newRoom('overflow')];
    const api = await untilEnd(t, startBackend('node', server));
    const [anna, ben] = [await stage.page(t), await stage.page(t)];
    await join(anna, server, { room: from, identity: 'anna' });
    await join(ben, server, { room: to, identity: 'ben' });
    await ask(anna, 'publish', SIMULCAST);
    const begun = Date.now();
    await api.call('forward_participant', { room: from, identity: 'anna', destinationRoom: to });
    await ask(ben, 'seen', 'anna', 15_000);
    figure('forwarded', 'call to picture, ms', Date.now() - begun);
    await ask(ben, 'heard', 'anna', 15_000);
    // The link carries the best there is, and the publisher sends it, since somebody in the other room wants it.
    await untilSize(ben, 'anna', SIZES[2], 30_000);
    await ask(ben, 'level', 'anna', 0.01, 1, 10_000);
    await checkAudio('forwarded', ben, { from: 'anna', hz: SIMULCAST.hz });
    const report = await ask(ben, 'video', 'anna');
    assert.deepEqual(Object.keys(report.ids), [String(SIMULCAST.id)], "the frames are anna's");
    assert.deepEqual(await ask(anna, 'others'), [], 'anna sees nobody of the other room');

    // What the viewer wants is chosen in its room.
    await ask(ben, 'askFor', 'anna', 0, SIZES[0], 10_000);

    await ask(anna, 'mute', 'audio');
    await ask(ben, 'happened', 'muted', { identity: 'anna', kind: 'audio' }, 5_000);
    await ask(ben, 'level', 'anna', 0, 0.001, 5_000);
    await ask(anna, 'unmute', 'audio');
    await ask(ben, 'happened', 'unmuted', { identity: 'anna', kind: 'audio' }, 5_000);
    await ask(ben, 'level', 'anna', 0.01, 1, 5_000);
    await api.call('update_participant', { room: from, identity: 'anna', name: 'Anna A', metadata: 'chair', attributes: { hand: 'up' } });
    await sleep(500);
    const { name, metadata, attributes } = await ask(ben, 'about', 'anna');
    assert.deepEqual([name, metadata, attributes], ['Anna A', 'chair', { hand: 'up' }]);
    await ask(anna, 'unpublish', 'video');
    await ask(ben, 'happened', 'unpublished', { identity: 'anna', kind: 'video' }, 5_000);

    await ask(anna, 'leave');
    await ask(ben, 'happened', 'left', { identity: 'anna' }, 5_000);
    assert.equal((await server.metrics()).get('schalter_forwarded_participants'), 0);
  });

  test(`${VERSIONS.python} and ${VERSIONS.node} are forwarded by ${VERSIONS.api} and removed again`, { timeout: 60_000 }, async (t) => {
    const { server } = stage;
    const [from, to] = [newRoom('studio'), newRoom('audience')];
    const api = await untilEnd(t, startBackend('python', server));
    const [pia, noah] = [await untilEnd(t, startSdk('python')), await untilEnd(t, startSdk('node'))];
    await pia.join(server, { room: from, identity: 'pia' });
    await noah.join(server, { room: to, identity: 'noah' });
    await pia.publish({ id: 1, hz: 440 });
    await api.call('forward_participant', { room: from, identity: 'pia', destinationRoom: to });
    await noah.happened('participant_connected', 'pia');
    await Promise.all([noah.sees('pia'), noah.hears('pia', 440)]);
    const { participants } = await api.call('list_participants', { room: to });
    assert.deepEqual(participants.map((p) => p.identity).sort(), ['noah', 'pia']);
    await api.call('remove_participant', { room: to, identity: 'pia' });
    await noah.happened('participant_disconnected', 'pia');
    const left = await api.call('list_participants', { room: from });
    assert.deepEqual(left.participants.map((p) => [p.identity, p.state, p.tracks.length]), [['pia', 'ACTIVE', 2]]);
  });
});
