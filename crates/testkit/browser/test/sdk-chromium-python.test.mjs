// livekit-client in Chromium and the Python SDK see, hear and write to each other, in both connection modes.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask, checkAudio, checkVideo, join, newRoom, sleep } from '../lib/call.mjs';
import { tcpRelay } from '../lib/network.mjs';
import { VERSIONS, checkMedia, startSdk } from '../lib/sdk.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

describe(`${VERSIONS.browser} in Chromium and ${VERSIONS.python}`, { timeout: 90_000 }, () => {
  const stage = setStage();

  for (const { mode, singlePeerConnection, simulcast, path } of [
    { mode: 'one connection, simulcast', singlePeerConnection: true, simulcast: true, path: '/rtc/v1' },
    { mode: 'two connections', singlePeerConnection: false, simulcast: false, path: '/rtc' },
  ]) {
    test(`${VERSIONS.browser} ↔ ${VERSIONS.python}, ${mode}`, { timeout: 45_000 }, async (t) => {
      const { server } = stage;
      const room = newRoom('sdk');
      const relay = await untilEnd(t, tcpRelay(server.port));
      const [page, python] = await Promise.all([stage.page(t), untilEnd(t, startSdk('python'))]);
      await join(page, server, { room, identity: 'chris', port: relay.port, options: { singlePeerConnection } });
      await python.join(server, { room, identity: 'pia', port: relay.port, singlePeerConnection });
      await ask(page, 'happened', 'joined', { identity: 'pia' }, 5_000);
      assert.deepEqual([...new Set(relay.paths)], [path], 'the way in that was asked for');
      await ask(page, 'publish', { id: 1, hz: 440, video: { simulcast } });
      await python.publish({ id: 2, hz: 880, simulcast });
      await Promise.all([ask(page, 'seen', 'pia', 15_000), ask(page, 'heard', 'pia', 15_000), python.sees('chris'), python.hears('chris', 440)]);
      await sleep(4_000);
      await Promise.all([ask(page, 'resetMeters'), python.ask('reset')]);
      await sleep(4_000);
      await checkMedia(mode, python, { from: 'chris', id: 1, hz: 440, colour: false });
      await checkVideo(mode, page, { from: 'pia', id: 2, minFps: 5, minGoodShare: 0.95, maxP95Ms: null });
      await checkAudio(mode, page, { from: 'pia', hz: 880 });

      await ask(page, 'send', 'from the browser', { reliable: true, topic: 'greeting' });
      assert.deepEqual(await python.received('from the browser'), { text: 'from the browser', from: 'chris', topic: 'greeting', kind: 'KIND_RELIABLE' });
      await ask(page, 'send', 'fleeting', { reliable: false, destinationIdentities: ['pia'] });
      assert.equal((await python.received('fleeting')).kind, 'KIND_LOSSY');
      await python.ask('send', { text: 'from Python', topic: 'greeting', to: ['chris'] });
      const { from, topic } = await ask(page, 'received', 'from Python', 5_000);
      assert.deepEqual({ from, topic }, { from: 'pia', topic: 'greeting' });

      await python.ask('leave');
      await ask(page, 'happened', 'left', { identity: 'pia' }, 5_000);
      assert.deepEqual(page.failures, []);
    });
  }
});
