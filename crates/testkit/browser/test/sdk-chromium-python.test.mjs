// livekit-client in Chromium and the Python SDK see, hear and write to each other, in both connection modes.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ask, checkAudio, checkVideo, join, newRoom, openPage, sleep } from '../lib/call.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { tcpRelay } from '../lib/network.mjs';
import { serveClientPage } from '../lib/pages.mjs';
import { VERSIONS, checkMedia, startSdk } from '../lib/sdk.mjs';
import { startServer } from '../lib/server.mjs';

describe(`${VERSIONS.browser} in Chromium and ${VERSIONS.python}`, { timeout: 90_000 }, () => {
  let server;
  let client;
  let browser;
  before(async () => {
    server = await startServer(); // first: what fails here leaves nothing behind
    client = await serveClientPage();
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
    await client?.close();
    await server?.stop();
  });

  for (const { mode, singlePeerConnection, simulcast, path } of [
    { mode: 'one connection, simulcast', singlePeerConnection: true, simulcast: true, path: '/rtc/v1' },
    { mode: 'two connections', singlePeerConnection: false, simulcast: false, path: '/rtc' },
  ]) {
    test(`${VERSIONS.browser} ↔ ${VERSIONS.python}, ${mode}`, { timeout: 45_000 }, async () => {
      const room = newRoom('sdk');
      const relay = await tcpRelay(server.port);
      const [page, python] = await Promise.all([openPage(browser, client.url), startSdk('python')]);
      try {
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
      } finally {
        await page.closeAll();
        await python.close();
        await relay.close();
      }
    });
  }
});
