// API keys are rotated while people talk: nobody notices, and whoever is in the call can come back by the new key.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask, checkAudio, checkVideo, figure, join, newRoom, sleep } from '../lib/call.mjs';
import { tcpRelay } from '../lib/network.mjs';
import { VERSIONS } from '../lib/sdk.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const NEXT = { key: 'next', secret: 'the-next-secret-for-tests-that-is-long-enough-012' };
const RELOAD_MS = 5_000;

describe(`${VERSIONS.browser} in Chromium, keys rotated`, { timeout: 120_000 }, () => {
  const stage = setStage();

  async function reloaded(server, words) {
    const end = Date.now() + RELOAD_MS;
    while (!server.log().includes(words)) {
      assert.ok(Date.now() < end, `never logged: ${words}: ${server.log()}`);
      await sleep(20);
    }
  }

  test('a call goes on over a rotation, and its people resume with tokens of the new key', { timeout: 80_000 }, async (t) => {
    const { server } = stage;
    const room = newRoom('rotated');
    const relay = await untilEnd(t, tcpRelay(server.port));
    const [anna, ben] = [await stage.page(t), await stage.page(t)];
    const { sid } = await join(anna, server, { room, identity: 'anna', port: relay.port });
    await join(ben, server, { room, identity: 'ben' });
    await ask(anna, 'publish', { id: 1, hz: 440 });
    await ask(ben, 'publish', { id: 2, hz: 880 });
    await Promise.all([ask(anna, 'seen', 'ben', 10_000), ask(ben, 'seen', 'anna', 10_000)]);
    await sleep(4_000);
    await Promise.all([ask(anna, 'resetMeters'), ask(ben, 'resetMeters')]);
    server.configure({ keys: { [server.api.key]: server.api.secret, [NEXT.key]: NEXT.secret } });
    server.hangUp();
    await reloaded(server, 'keys reloaded added=1 changed=0 removed=0');
    server.configure({ keys: { [NEXT.key]: NEXT.secret } });
    server.hangUp();
    await reloaded(server, 'keys reloaded added=0 changed=0 removed=1');
    const carol = await stage.page(t);
    await assert.rejects(join(carol, server, { room, identity: 'carol' }), /token's key is not known/);
    const token = server.token({ room, identity: 'carol', ...NEXT });
    await carol.evaluate((wish) => window.client.join(wish), { url: server.wsUrl, token });
    await sleep(1_000);

    assert.ok((await relay.cut(500)) >= 1, 'signaling went through the relay');
    await ask(anna, 'happened', 'reconnected', {}, 20_000);
    await sleep(1_000);
    await checkVideo('rotation', anna, { from: 'ben', id: 2, minFps: 15, maxGapMs: 500, maxP95Ms: null });
    await checkVideo('rotation', ben, { from: 'anna', id: 1, minFps: 15, maxGapMs: 500, maxP95Ms: null });
    await checkAudio('rotation', ben, { from: 'anna', hz: 440 });
    assert.equal(await ask(anna, 'sid'), sid, 'the same participant');
    const events = await ask(anna, 'events');
    assert.deepEqual(events.filter((e) => e.name === 'reconnecting' || e.name === 'disconnected'), [], 'a resume, not a new join');
    figure('rotation', 'resumes', (await server.metrics()).get('schalter_resumes_total'));
  });
});
