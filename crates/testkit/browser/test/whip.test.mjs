// Publishing by WHIP (RFC 9725): npm's clients in Chromium, one that trickles and one with a complete offer, and GStreamer's
// whipsink. Each is a participant to an unmodified client library, with the right pixels and the right tone.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, test } from 'node:test';
import { SIZES, ask, checkAudio, checkTransport, checkVideo, figure, join, measure, newRoom, openPage, untilSize } from '../lib/call.mjs';
import { udpRelay } from '../lib/network.mjs';
import { serveClientPage } from '../lib/pages.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';
import { access, startWhipsink } from '../lib/whip.mjs';

const { devDependencies } = JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const CAMERA = { id: 21, hz: 523, width: 640, height: 360 };
/** What is judged once everything has settled. */
const SPAN = { warmMs: 500, ms: 3_000 };

describe('WHIP', { timeout: 180_000 }, () => {
  const stage = setStage();
  const publisher = async (t) => {
    const site = await untilEnd(t, serveClientPage('whip.js'));
    return untilEnd(t, openPage(stage.chromium, site.url), (page) => page.closeAll());
  };
  const viewer = async (t, room) => {
    const page = await stage.page(t);
    await join(page, stage.server, { room, identity: 'viewer' });
    return page;
  };
  const sessions = async () => (await stage.server.metrics()).get('schalter_whip_whep_sessions{protocol="whip"}');

  test('a client that trickles is seen and heard, restarts ICE and leaves', { timeout: 60_000 }, async (t) => {
    const name = `whip-whep ${devDependencies['whip-whep']}`;
    const room = newRoom('whip');
    const page = await publisher(t);
    const watching = await viewer(t, room);
    await ask(page, 'publish', { how: 'trickling', ...access(stage.server, 'whip', { room, identity: 'encoder' }), ...CAMERA });
    await ask(watching, 'seen', 'encoder', 15_000);
    await ask(watching, 'heard', 'encoder', 5_000);
    await untilSize(watching, 'encoder', '640x360', 15_000);
    await measure([watching], SPAN);
    await checkVideo(name, watching, { from: 'encoder', id: CAMERA.id, minFps: 20, size: '640x360' });
    await checkAudio(name, watching, { from: 'encoder', hz: CAMERA.hz });
    await checkTransport(name, page);
    assert.deepEqual((await ask(watching, 'about', 'encoder')).tracks.map(({ source }) => source).sort(), ['camera', 'microphone']);
    assert.equal(await sessions(), 1);

    const trickled = (await ask(page, 'requests')).filter(({ method }) => method === 'PATCH');
    figure(name, 'trickled', trickled.map(({ status, candidates }) => `${candidates} candidates: ${status}`));
    assert.ok(trickled.length > 0 && trickled.every(({ status }) => status === 204), JSON.stringify(trickled));
    assert.ok(trickled.some(({ candidates }) => candidates > 0));

    await ask(watching, 'resetMeters');
    await ask(page, 'restart');
    const restart = (await ask(page, 'requests')).find(({ ifMatch }) => ifMatch === '*');
    assert.equal(restart.status, 200);
    await measure([watching], { warmMs: 0, ms: 2_000 });
    await checkVideo(`${name}, ICE restarted`, watching, { from: 'encoder', id: CAMERA.id, minFps: 20, maxGapMs: 300 });

    await ask(page, 'stop');
    await ask(watching, 'happened', 'left', { identity: 'encoder' }, 5_000);
    assert.equal((await ask(page, 'requests')).at(-1).status, 200);
    assert.equal(await sessions(), 0);
  });

  test('a client with a complete offer is seen and heard, and replaced by its next session', { timeout: 60_000 }, async (t) => {
    const name = `@eyevinn/whip-web-client ${devDependencies['@eyevinn/whip-web-client']}`;
    const room = newRoom('whip');
    const [page, watching] = [await publisher(t), await viewer(t, room)];
    const wish = { how: 'complete', ...access(stage.server, 'whip', { room, identity: 'encoder' }), ...CAMERA };
    await ask(page, 'publish', wish);
    await ask(watching, 'seen', 'encoder', 15_000);
    await ask(watching, 'heard', 'encoder', 5_000);
    await untilSize(watching, 'encoder', '640x360', 15_000);
    await measure([watching], SPAN);
    await checkVideo(name, watching, { from: 'encoder', id: CAMERA.id, minFps: 20, size: '640x360' });
    await checkAudio(name, watching, { from: 'encoder', hz: CAMERA.hz });
    assert.deepEqual((await ask(page, 'requests')).map(({ method, status }) => [method, status]), [['POST', 201]]);

    const next = await publisher(t);
    await ask(next, 'publish', { ...wish, id: 22 });
    await ask(watching, 'happened', 'left', { identity: 'encoder' }, 5_000);
    await ask(watching, 'seen', 'encoder', 15_000);
    assert.deepEqual(Object.keys((await ask(watching, 'video', 'encoder')).ids), ['22']);
    assert.equal(await sessions(), 1);
    await ask(next, 'stop');
    await ask(watching, 'happened', 'unsubscribed', { identity: 'encoder', kind: 'video' }, 5_000);
  });

  test('simulcast by WHIP follows a thin link of a viewer', { timeout: 90_000 }, async (t) => {
    const name = 'simulcast by whip-whep';
    const room = newRoom('whip');
    const page = await publisher(t);
    const relay = await untilEnd(t, udpRelay(stage.server.udpPort));
    const watching = await stage.page(t);
    await join(watching, stage.server, { room, identity: 'viewer', relayPort: relay.port });
    await ask(page, 'publish', { how: 'trickling', ...access(stage.server, 'whip', { room, identity: 'encoder' }), ...CAMERA, width: 1280, height: 720, simulcast: true });
    await ask(watching, 'seen', 'encoder', 15_000);
    figure(name, 'whole picture after, ms', await untilSize(watching, 'encoder', SIZES[2], 30_000));
    Object.assign(relay, { downBps: 300_000, queueBytes: 12_000 });
    figure(name, 'lowest layer after, ms', await untilSize(watching, 'encoder', SIZES[0], 12_000));
    assert.deepEqual(Object.keys((await ask(watching, 'video', 'encoder')).ids), [String(CAMERA.id)]);
    await ask(page, 'stop');
  });

  test('GStreamer\'s whipsink is seen and heard', { timeout: 60_000 }, async (t) => {
    const room = newRoom('whip');
    const watching = await viewer(t, room);
    const sink = await untilEnd(t, startWhipsink(stage.server, { room, identity: 'encoder', id: 23, hz: 660 }));
    const name = sink.sdk;
    await ask(watching, 'seen', 'encoder', 20_000).catch(async (error) => assert.fail(`${error.message}\n${JSON.stringify(await sink.state())}\n${sink.output()}`));
    await ask(watching, 'heard', 'encoder', 5_000);
    await measure([watching], SPAN);
    await checkVideo(name, watching, { from: 'encoder', id: 23, minFps: 10, size: '320x180' });
    await checkAudio(name, watching, { from: 'encoder', hz: 660 });
    assert.deepEqual(await sink.state(), { errors: [] });
    await sink.ask('stop');
    await ask(watching, 'happened', 'left', { identity: 'encoder' }, 10_000);
    assert.equal(await sessions(), 0);
  });
});
