// The document of all endpoints is OpenAPI, and what the server answers is what it says: schemathesis sends everything that
// the schemas allow, and much that they don't.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { figure } from '../lib/call.mjs';
import { PYTHON, startSdk } from '../lib/sdk.mjs';
import { startServer } from '../lib/server.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const ROOM = 'demo';
const EXAMPLES = 25;

/** What is there only where `desk` is configured. */
const INTEGRATORS = ['appointments', 'events', 'records'];
const PAGES = ['pages', 'login'];
const DESK = [...INTEGRATORS, ...PAGES];
/** A case system's key. */
const KEY = 'a-key-of-a-case-system-0123456789abcdef';
/** Enough that some are left whatever the run cancels, ends and erases. */
const APPOINTMENTS = 60;

const HOOKS = fileURLToPath(new URL('../sdk/schemathesis_hooks.py', import.meta.url));
const OFFER = fileURLToPath(new URL('../../../signaling/tests/data/chromium-whip.sdp', import.meta.url));

/** What schemathesis must not hold against the server, and why. */
const CONFIGURATION = `
seed = 1
hooks = ${JSON.stringify(HOOKS)}

# 201, 304: made, or known already. 409, 410, 412: what is asked for can be asked for, but not as things are.
[checks.positive_data_acceptance]
expected-statuses = [200, 201, 204, 302, 304, 401, 403, 404, 409, 410, 412, 429]

# A version that is not the present one is told before the body is looked at.
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 410, 412, 415, 422, 428, 429]

# 428: a change without If-Match (RFC 6585 §3).
[checks.missing_required_header]
expected-statuses = [401, 403, 404, 405, 428]

# Whether a window, a partner, a place in a list, an outcome or a text is a good one can't be said in a schema.
[[operations]]
include-operation-id = ["listAppointments", "createAppointment", "changeAppointment", "addPerson", "changePerson", "planAppointment", "replanAppointment", "invite", "changeInvited", "colleague", "end", "message", "deny"]
checks.positive_data_acceptance.enabled = false

# That a GET is one for a WebSocket can't be said, either.
[[operations]]
include-operation-id = ["meSocket", "daySocket"]
checks.positive_data_acceptance.enabled = false

# Whether there is such a receiver, and whether it is held up, can't be said in a schema.
[[operations]]
include-operation-id = "skipDeskWebhook"
checks.positive_data_acceptance.enabled = false

# 503 is how readiness says no; the run drains the server.
[[operations]]
include-operation-id = "ready"
checks.not_a_server_error.enabled = false
checks.positive_data_acceptance.enabled = false

# Twirp 7: whatever is no POST is "bad_route", 404.
[[operations]]
include-tag = "room service"
checks.unsupported_method.enabled = false

# Names are bounded in bytes, which a schema can't say.
[[operations]]
include-operation-id = "CreateRoom"
checks.positive_data_acceptance.enabled = false

# That a text is base64 of a message, or a description, can't be said in a schema.
[[operations]]
include-operation-id = ["validateSingle", "publish", "play", "trickleWhip", "trickleWhep"]
checks.positive_data_acceptance.enabled = false
`;

describe('openapi', { timeout: 120_000 }, () => {
  const stage = setStage({ client: false, chromium: false });
  let folder;
  before(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-openapi-'));
    fs.writeFileSync(path.join(folder, 'schemathesis.toml'), CONFIGURATION);
  });
  after(() => fs.rmSync(folder, { recursive: true, force: true }));

  /** Appointments that the hooks know of: schemathesis asks for them. */
  let planned = [];
  /** Whether cookies come with every request. */
  let sessions = false;
  /** Runs a Python module; answers what it printed, and whether it was content. */
  function python(...args) {
    const env = { ...process.env, NO_COLOR: '1', SCHALTER_TEST_OFFER: OFFER, SCHALTER_TEST_APPOINTMENTS: JSON.stringify(planned), SCHALTER_TEST_SESSIONS: sessions ? '1' : '0' };
    return new Promise((done) => execFile(PYTHON, ['-m', ...args], { cwd: folder, maxBuffer: 1 << 24, env },
      (error, stdout, stderr) => done({ ok: !error, text: stdout + stderr })));
  }

  /** Everything that one listener answers. `headers` come with each request, `rest` chooses the operations. */
  async function checkAnswers(name, url, headers, ...rest) {
    const { ok, text } = await python('schemathesis.cli', '--config-file', path.join(folder, 'schemathesis.toml'), 'run', `${url}/openapi.json`,
      '--url', url, ...Object.entries(headers).flatMap(([key, value]) => ['--header', `${key}: ${value}`]), '--max-examples', String(EXAMPLES), ...rest);
    assert.ok(ok, text);
    const [, cases] = /(\d+) generated/.exec(text);
    figure('openapi', `${name}, cases`, Number(cases));
    assert.ok(Number(cases) > 300, text);
  }

  const bearer = (token) => ({ Authorization: `Bearer ${token}` });

  /** A server with a desk whose doors are open for everybody in `planned`; answers it and the join link of one more citizen. */
  async function startDesk(t) {
    const secret = path.join(folder, 'desk-key');
    fs.writeFileSync(secret, KEY, { mode: 0o600 });
    const keys = [{ id: 'cases', secret_file: secret, scopes: ['appointments:read', 'appointments:write', 'events:read', 'audit:read'] }];
    const officials = { demo: [{ id: 'kim', name: 'Kim Beispiel' }] };
    const server = await untilEnd(t, startServer({ desk: { authorities: [{ id: 'ulm', name: 'Stadt Ulm', keys, officials }] } }), (it) => it.stop());
    const at = (minutes) => new Date(Date.now() + minutes * 60_000).toISOString();
    const plan = async (external_ref) => {
      const people = [{ role: 'citizen', name: 'Toni Muster' }, { role: 'citizen', name: 'Uli Beispiel' }];
      const made = await fetch(`${server.url}/v1/appointments`, {
        method: 'POST', headers: { ...bearer(KEY), 'content-type': 'application/json' },
        body: JSON.stringify({ external_ref, subject: 'Wohngeld', starts_at: at(5), ends_at: at(35), people }),
      });
      assert.equal(made.status, 201);
      return made.json();
    };
    planned = [];
    t.after(() => (planned = []));
    for (let i = 0; i < APPOINTMENTS; i++) {
      const { id, people, external_ref } = await plan(`case-${i}`);
      planned.push({ id, person: people[0].id, external_ref });
    }
    return { server, link: (await plan('case-of-the-visitor')).people[0].join_url };
  }

  test('the document is valid OpenAPI 3.1, and the same on both listeners', async () => {
    const { server } = stage;
    const [open, admin] = await Promise.all([server.url, server.admin.url].map((url) => fetch(`${url}/openapi.json`)));
    assert.equal(open.headers.get('content-type'), 'application/json');
    const text = await open.text();
    assert.equal(text, await admin.text());
    const file = path.join(folder, 'openapi.json');
    fs.writeFileSync(file, text);
    const { ok, text: said } = await python('openapi_spec_validator', '--schema', '3.1', file);
    assert.ok(ok, said);
  });

  test('the public port answers as the document says', { timeout: 60_000 }, async (t) => {
    // Somebody to moderate.
    const { server } = stage;
    for (const identity of ['citizen', 'visitor']) {
      const person = await untilEnd(t, startSdk('node'));
      await person.join(server, { room: ROOM, identity });
    }
    const video = { roomAdmin: true, roomCreate: true, roomList: true, destinationRoom: 'counter-2' };
    const token = server.token({ room: ROOM, identity: 'backend', video });
    await checkAnswers('public port', server.url, bearer(token), ...['administration', ...DESK].flatMap((tag) => ['--exclude-tag', tag]), '--phases', 'examples,coverage,fuzzing');
  });

  test('the desk answers case systems as the document says', { timeout: 60_000 }, async (t) => {
    const { server } = await startDesk(t);
    await checkAnswers('desk', server.url, bearer(KEY), ...INTEGRATORS.flatMap((tag) => ['--include-tag', tag]), '--phases', 'examples,coverage,fuzzing');
  });

  test('the desk answers whoever has no session as the document says', { timeout: 60_000 }, async (t) => {
    // What each endpoint takes is tried with sessions; without one, once through all of them tells.
    const { server } = await startDesk(t);
    await checkAnswers('desk, no session', server.url, { Origin: server.url }, ...PAGES.flatMap((tag) => ['--include-tag', tag]), '--phases', 'coverage');
  });

  test('the desk answers its own pages as the document says', { timeout: 60_000 }, async (t) => {
    const { server, link } = await startDesk(t);
    const own = { Origin: server.url, 'content-type': 'application/json' };
    const enter = async (where, body) => {
      const answer = await fetch(`${server.url}/desk/v1/${where}`, { method: 'POST', headers: own, body: JSON.stringify(body) });
      assert.equal(answer.status, 200);
      return answer.headers.getSetCookie()[0].split(';')[0];
    };
    const cookies = [await enter('links/open', { token: link.split('#')[1] }), await enter('login/demo', { authority: 'ulm', official: 'kim' })];
    sessions = true;
    t.after(() => (sessions = false));
    // Not the logins: a logout, or another login, would end the session that all others need. The run without a session asks them.
    await checkAnswers('desk pages', server.url, { Origin: server.url, Cookie: cookies.join('; ') }, '--include-tag', 'pages', '--phases', 'examples,coverage,fuzzing',
      // There are many of them, and the gate waits.
      '--max-examples', '12');
  });

  test('the admin listener answers as the document says', { timeout: 60_000 }, async () => {
    const { server } = stage;
    const token = server.token({ identity: 'backend', video: { roomCreate: true } });
    for (let i = 0; i < 20; i++) {
      const made = await fetch(`${server.url}/twirp/livekit.RoomService/CreateRoom`, {
        method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify({ name: `room ${i}` }),
      });
      assert.equal(made.status, 200);
    }
    await checkAnswers('admin listener', server.admin.url, bearer(server.admin.token), '--include-tag', 'administration');
  });
});
