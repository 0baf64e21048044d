// What case systems are told of appointments: the library that Standard Webhooks publishes takes it, with the old secret and with the new one.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Webhook } from 'standardwebhooks';
import { startServer } from '../lib/server.mjs';
import { untilEnd } from '../lib/stage.mjs';

const [OLD, NEW] = ['an old secret of 24 bytes', 'a new secret of 24 bytes!'].map((text) => `whsec_${Buffer.from(text).toString('base64')}`);
const KEY = 'a-key-of-the-case-system-0123456789';

/** A receiver as case systems write one: the signature first, then the event. `statuses` are its first answers. */
async function startReceiver(secret, statuses) {
  const verify = new Webhook(secret);
  const got = [];
  let wake = () => {};
  const listener = http.createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    got.push({ body, headers: request.headers, event: verify.verify(body, request.headers) });
    response.writeHead(statuses.shift() ?? 204).end();
    wake();
  });
  await new Promise((ready) => listener.listen(0, '127.0.0.1', ready));
  return {
    got,
    url: `http://127.0.0.1:${listener.address().port}/hook`,
    async until(count) {
      while (got.length < count) await new Promise((came) => (wake = came));
    },
    close: () => new Promise((closed) => {
      listener.close(closed);
      listener.closeAllConnections();
    }),
  };
}

test('events of an appointment are taken by the published library, each secret by itself', { timeout: 60_000 }, async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-told-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const file = (name, text) => {
    fs.writeFileSync(path.join(folder, name), text, { mode: 0o600 });
    return path.join(folder, name);
  };
  const secrets = [file('old', OLD), file('new', NEW)];
  // One fails at first; one knows the new secret only.
  const [first, second] = [await untilEnd(t, startReceiver(OLD, [503])), await untilEnd(t, startReceiver(NEW, []))];
  const to = ({ url }) => ({ url, allow_private: ['127.0.0.0/8'], secret_files: secrets, authority: 'ulm' });
  const server = await untilEnd(t, startServer({
    desk: {
      database: path.join(folder, 'desk.db'),
      authorities: [{ id: 'ulm', name: 'Amt', keys: [{ id: 'case', secret_file: file('key', KEY), scopes: ['appointments:write', 'events:read'] }] }],
      webhooks: [to(first), to(second)],
    },
  }), (it) => it.stop());
  const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
  const at = (minutes) => new Date(Date.now() + minutes * 60_000).toISOString();
  const body = JSON.stringify({ subject: 'Wohngeld', starts_at: at(60), ends_at: at(90), people: [{ role: 'citizen', name: 'Toni Muster' }] });
  const made = await fetch(`${server.url}/v1/appointments`, { method: 'POST', headers, body });
  assert.equal(made.status, 201);
  const { id } = await made.json();
  await Promise.all([first.until(3), second.until(2)]);

  const { events } = await (await fetch(`${server.url}/v1/events`, { headers })).json();
  assert.deepEqual(events.map(({ type }) => type), ['appointment.created', 'link.issued']);
  assert.deepEqual(second.got.map(({ event }) => event), events, 'what is told is what the replay tells');
  assert.deepEqual(first.got.map(({ event }) => event), [events[0], ...events], 'what failed comes again, before the next');
  for (const { body, headers, event } of [...first.got, ...second.got]) {
    assert.equal(headers['webhook-id'], event.id);
    assert.equal(event.data.appointment, id);
    assert.doesNotMatch(body, /Toni|Wohngeld/);
  }
  // Nobody else's secret, and nothing else's body.
  const [{ body: told, headers: signed }] = second.got;
  assert.throws(() => new Webhook(`whsec_${Buffer.from('somebody elses secret at all').toString('base64')}`).verify(told, signed));
  assert.throws(() => new Webhook(NEW).verify(`${told} `, signed));
  assert.throws(() => new Webhook(NEW).verify(told, { ...signed, 'webhook-id': second.got[1].headers['webhook-id'] }));
});
