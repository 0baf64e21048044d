// What integrators are told: a call's events, signed so that livekit-server-sdk takes them, in order, none lost.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { WebhookReceiver } from 'livekit-server-sdk';
import { ask, figure, newRoom, openPage, sleep } from '../lib/call.mjs';
import { VERSIONS, startSdk } from '../lib/sdk.mjs';
import { KEY, SECRET, startServer } from '../lib/server.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const sdk = JSON.parse(fs.readFileSync(new URL('../node_modules/livekit-server-sdk/package.json', import.meta.url), 'utf8')).version;

/** A receiver as integrators write one. `answer(event, nth)` gives the status, or nothing to leave a request hanging. */
async function startReceiver({ port = 0, answer = () => 200 } = {}) {
  const verify = new WebhookReceiver(KEY, SECRET);
  const got = [];
  const listener = http.createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    const entry = { body, headers: request.headers };
    try {
      entry.event = await verify.receive(body, request.headers.authorization);
    } catch (failure) {
      entry.failure = failure.message;
    }
    got.push(entry);
    const status = answer(entry.event, got.length);
    if (status) response.writeHead(status).end();
  });
  await new Promise((ready) => listener.listen(port, '127.0.0.1', ready));
  return {
    got,
    port: listener.address().port,
    url: `http://127.0.0.1:${listener.address().port}/hook`,
    names: () => got.map(({ event, failure }) => event?.event ?? `refused: ${failure}`),
    async until(count, ms = 20_000) {
      const end = Date.now() + ms;
      while (got.length < count) {
        if (Date.now() > end) assert.fail(`${got.length} of ${count} events after ${ms} ms: ${this.names()}`);
        await sleep(20);
      }
    },
    close: () => new Promise((closed) => {
      listener.close(closed);
      listener.closeAllConnections();
    }),
  };
}

const configured = (receiver, more = {}) => ({
  webhook: { urls: [receiver.url], api_key: KEY, allow_private: ['127.0.0.0/8'] },
  room: { departure_timeout: 1 },
  ...more,
});

describe(`webhooks to livekit-server-sdk ${sdk}`, { timeout: 300_000 }, () => {
  const stage = setStage({ server: false });

  async function join(t, server, room, identity) {
    const page = await untilEnd(t, openPage(stage.chromium, stage.client.url), (it) => it.closeAll());
    const token = server.token({ room, identity, name: `${identity}-name`, claims: { metadata: 'pm', attributes: { k: 'v' } } });
    await page.evaluate((wish) => window.client.join(wish), { url: server.wsUrl, token });
    return page;
  }

  test('a call is told from its begin to its end', { timeout: 90_000 }, async (t) => {
    const receiver = await untilEnd(t, startReceiver());
    const server = await untilEnd(t, startServer(configured(receiver)), (it) => it.stop());
    const room = newRoom('told');
    const page = await join(t, server, room, 'anna');
    await ask(page, 'publish', { id: 1, hz: 440 });
    await receiver.until(4);
    await page.closeAll();
    await receiver.until(8, 40_000);
    const names = receiver.names();
    figure('webhooks', 'events', names.join(', '));
    assert.deepEqual(names, ['room_started', 'participant_joined', 'track_published', 'track_published', 'track_unpublished', 'track_unpublished', 'participant_left', 'room_finished']);
    const events = receiver.got.map(({ event }) => event);
    const [started, joined, published] = events;
    for (const event of events) {
      assert.deepEqual([event.room.name, event.room.sid], [room, started.room.sid]);
      assert.match(event.id, /^EV_\w{12}$/);
      assert.ok(Math.abs(Number(event.createdAt) - Date.now() / 1000) < 60, `createdAt ${event.createdAt}`);
    }
    assert.equal(new Set(events.map(({ id }) => id)).size, events.length);
    assert.deepEqual([joined.participant.identity, joined.participant.name, joined.participant.metadata, joined.participant.attributes.k], ['anna', 'anna-name', 'pm', 'v']);
    assert.deepEqual([published.participant.identity, published.participant.sid], ['anna', joined.participant.sid]);
    assert.match(published.track.sid, /^TR_/);
    for (const { headers } of receiver.got) {
      assert.equal(headers['content-type'], 'application/webhook+json');
      assert.doesNotMatch(headers.authorization, /^Bearer/i);
    }
    const metrics = await server.metrics();
    assert.equal(metrics.get('schalter_webhook_events_delivered_total'), events.length);
    assert.equal(metrics.get('schalter_webhook_events_waiting'), 0);
    const log = server.log();
    for (const secret of [room, 'anna', receiver.url, String(receiver.port)]) assert.ok(!log.includes(secret), `${secret} is in the log`);
  });

  test('what another key signed, or somebody changed, is not taken', { timeout: 60_000 }, async (t) => {
    const receiver = await untilEnd(t, startReceiver());
    const server = await untilEnd(t, startServer(configured(receiver)), (it) => it.stop());
    await join(t, server, newRoom('forged'), 'anna');
    await receiver.until(2);
    const [{ body, headers }, other] = receiver.got;
    await new WebhookReceiver(KEY, SECRET).receive(body, headers.authorization); // it is good by itself
    await assert.rejects(new WebhookReceiver(KEY, `${SECRET}x`).receive(body, headers.authorization));
    await assert.rejects(new WebhookReceiver(KEY, SECRET).receive(`${body} `, headers.authorization));
    await assert.rejects(new WebhookReceiver(KEY, SECRET).receive(body, other.headers.authorization));
    // Python's judges alike.
    const python = await untilEnd(t, startSdk('api'));
    figure('webhooks', 'receiver', python.sdk);
    assert.equal(python.sdk, VERSIONS.api);
    const take = (change) => python.ask('receive', { body, authorization: headers.authorization, key: KEY, secret: SECRET, ...change });
    const event = await take({});
    assert.deepEqual([event.event, event.id, event.room.name], ['room_started', receiver.got[0].event.id, receiver.got[0].event.room.name]);
    for (const change of [{ secret: `${SECRET}x` }, { body: `${body} ` }, { authorization: other.headers.authorization }]) await assert.rejects(take(change));
  });

  test('a receiver that fails at first gets everything, in order', { timeout: 60_000 }, async (t) => {
    const receiver = await untilEnd(t, startReceiver({ answer: (_, nth) => (nth <= 2 ? 503 : 200) }));
    const server = await untilEnd(t, startServer(configured(receiver)), (it) => it.stop());
    const page = await join(t, server, newRoom('fails'), 'anna');
    await page.closeAll();
    await receiver.until(6, 40_000);
    assert.deepEqual(receiver.names(), ['room_started', 'room_started', 'room_started', 'participant_joined', 'participant_left', 'room_finished']);
    assert.equal(new Set(receiver.got.slice(0, 3).map(({ event }) => event.id)).size, 1, 'a repetition has the id of the first');
    assert.equal((await server.metrics()).get('schalter_webhook_retries_total{reason="status"}'), 2);
  });

  test('events outlive a server that stops while nobody takes them', { timeout: 90_000 }, async (t) => {
    const stateDir = fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-hooks-'));
    t.after(() => fs.rmSync(stateDir, { recursive: true, force: true }));
    const deaf = await startReceiver({ answer: () => undefined });
    const config = configured(deaf, { state_dir: stateDir });
    const first = await startServer(config);
    const room = newRoom('outlive');
    try {
      await join(t, first, room, 'anna');
      await deaf.until(1);
    } finally {
      await first.stop();
      await deaf.close();
    }
    const receiver = await untilEnd(t, startReceiver({ port: deaf.port }));
    const second = await untilEnd(t, startServer(config), (it) => it.stop());
    await receiver.until(4);
    assert.deepEqual(receiver.names(), ['room_started', 'participant_joined', 'participant_left', 'room_finished']);
    assert.deepEqual([...new Set(receiver.got.map(({ event }) => event.room.name))], [room]);
    const left = receiver.got[2].event;
    assert.equal(left.participant.disconnectReason, 3, 'SERVER_SHUTDOWN');
    assert.equal((await second.metrics()).get('schalter_webhook_events_waiting'), 0);
  });

  test('a call goes on while its receiver hangs', { timeout: 60_000 }, async (t) => {
    const receiver = await untilEnd(t, startReceiver({ answer: () => undefined }));
    const server = await untilEnd(t, startServer(configured(receiver)), (it) => it.stop());
    const room = newRoom('hangs');
    const [anna, ben] = [await join(t, server, room, 'anna'), await join(t, server, room, 'ben')];
    await receiver.until(1);
    await ask(anna, 'publish', { id: 1, hz: 440 });
    await ask(ben, 'seen', 'anna', 15_000);
  });
});
