// Five of a hundred packets are lost in each direction, and people still see each other move.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ask, checkAudio, checkVideo, figure, join, newRoom, openPage, sleep, stats } from '../lib/call.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { udpRelay } from '../lib/network.mjs';
import { serveClientPage } from '../lib/pages.mjs';
import { startServer } from '../lib/server.mjs';

const SEED = Number(process.env.SEED ?? 20_250_101);

describe('loss', { timeout: 180_000 }, () => {
  let server;
  let client;
  let browser;
  let relay;
  before(async () => {
    server = await startServer(); // first: what fails here leaves nothing behind
    client = await serveClientPage();
    browser = await launchChromium();
    relay = await udpRelay(server.udpPort, { seed: SEED });
  });
  after(async () => {
    await browser?.close();
    await relay?.close();
    await client?.close();
    await server?.stop();
  });

  test('5 % each way', { timeout: 120_000 }, async () => {
    console.log(`loss: seed = ${SEED}`);
    const room = newRoom('loss');
    const [anna, ben] = [await openPage(browser, client.url), await openPage(browser, client.url)];
    await join(anna, server, { room, identity: 'anna', relayPort: relay.port });
    await join(ben, server, { room, identity: 'ben', relayPort: relay.port });
    await ask(anna, 'publish', { id: 1, hz: 440 });
    await ask(ben, 'publish', { id: 2, hz: 880 });
    await Promise.all([ask(anna, 'seen', 'ben', 10_000), ask(ben, 'seen', 'anna', 10_000)]);
    await sleep(8_000); // estimates rise first
    assert.ok(relay.count.up > 100 && relay.count.down > 100, `media goes through the relay: ${JSON.stringify(relay.count)}`);
    relay.loss = 0.05;
    await sleep(8_000);
    await Promise.all([ask(anna, 'resetMeters'), ask(ben, 'resetMeters')]);
    Object.assign(relay.count, { up: 0, upLost: 0, down: 0, downLost: 0 });
    await sleep(30_000);
    const limits = { minFps: 20, maxGapMs: 1_000, maxP95Ms: null };
    await checkVideo('loss', anna, { from: 'ben', id: 2, ...limits });
    await checkVideo('loss', ben, { from: 'anna', id: 1, ...limits });
    await checkAudio('loss', anna, { from: 'ben', hz: 880 });
    figure('loss', 'packets up/lost, down/lost', `${relay.count.up}/${relay.count.upLost}, ${relay.count.down}/${relay.count.downLost}`);
    const arriving = (await stats(anna)).filter((s) => s.type === 'inbound-rtp' && s.kind === 'video');
    figure('loss', 'NACKs, repaired, PLIs at anna', arriving.map((s) => `${s.nackCount}, ${s.retransmittedPacketsReceived}, ${s.pliCount}`));
  });
});
