// Five of a hundred packets are lost in each direction, and people still see each other move.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LONG, ask, checkAudio, checkVideo, figure, join, newRoom, sleep, stats } from '../lib/call.mjs';
import { udpRelay } from '../lib/network.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const SEED = Number(process.env.SEED ?? 20_250_101);

describe('loss', { timeout: 180_000 }, () => {
  const stage = setStage();

  test('5 % each way', { timeout: 120_000 }, async (t) => {
    console.log(`loss: seed = ${SEED}`);
    const room = newRoom('loss');
    const { server } = stage;
    const relay = await untilEnd(t, udpRelay(server.udpPort, { seed: SEED }));
    const [anna, ben] = [await stage.page(t), await stage.page(t)];
    await join(anna, server, { room, identity: 'anna', relayPort: relay.port });
    await join(ben, server, { room, identity: 'ben', relayPort: relay.port });
    await ask(anna, 'publish', { id: 1, hz: 440 });
    await ask(ben, 'publish', { id: 2, hz: 880 });
    await Promise.all([ask(anna, 'seen', 'ben', 10_000), ask(ben, 'seen', 'anna', 10_000)]);
    await sleep(4_000); // estimates rise first
    assert.ok(relay.count.up > 100 && relay.count.down > 100, `media goes through the relay: ${JSON.stringify(relay.count)}`);
    relay.loss = 0.05;
    await sleep(4_000);
    await Promise.all([ask(anna, 'resetMeters'), ask(ben, 'resetMeters')]);
    Object.assign(relay.count, { up: 0, upLost: 0, down: 0, downLost: 0 });
    await sleep(LONG ? 30_000 : 12_000);
    const limits = { minFps: 20, maxGapMs: 1_000, maxP95Ms: null };
    await checkVideo('loss', anna, { from: 'ben', id: 2, ...limits });
    await checkVideo('loss', ben, { from: 'anna', id: 1, ...limits });
    await checkAudio('loss', anna, { from: 'ben', hz: 880 });
    figure('loss', 'packets up/lost, down/lost', `${relay.count.up}/${relay.count.upLost}, ${relay.count.down}/${relay.count.downLost}`);
    const arriving = (await stats(anna)).filter((s) => s.type === 'inbound-rtp' && s.kind === 'video');
    figure('loss', 'NACKs, repaired, PLIs at anna', arriving.map((s) => `${s.nackCount}, ${s.retransmittedPacketsReceived}, ${s.pliCount}`));
  });
});
