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
const DESK = ['appointments', 'pages', 'login'];
/** A case system's key. */
const KEY = 'a-key-of-a-case-system-0123456789abcdef';

const HOOKS = fileURLToPath(new URL('../sdk/schemathesis_hooks.py', import.meta.url));
const OFFER = fileURLToPath(new URL('../../../signaling/tests/data/chromium-whip.sdp', import.meta.url));

/** What schemathesis must not hold against the server, and why. */
const CONFIGURATION = `
seed = 1
hooks = ${JSON.stringify(HOOKS)}

# 412: what is asked for can be asked for, but not as things are.
[checks.positive_data_acceptance]
expected-statuses = [200, 204, 302, 401, 403, 404, 409, 412, 429]

# A version that is not the present one is told before the body is looked at.
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 415, 422, 428, 429]

# 428: a change without If-Match (RFC 6585 §3).
[checks.missing_required_header]
expected-statuses = [401, 403, 404, 405, 428]

# Whether a window, a partner or a place in a list is a good one can't be said in a schema.
[[operations]]
include-operation-id = ["listAppointments", "createAppointment", "changeAppointment", "addPerson"]
checks.positive_data_acceptance.enabled = false

# Whoever is not of the pages' origin learns nothing, whatever the method.
[[operations]]
include-tag = ["pages", "login"]
checks.unsupported_method.enabled = false

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

  /** Runs a Python module; answers what it printed, and whether it was content. */
  function python(...args) {
    return new Promise((done) => execFile(PYTHON, ['-m', ...args], { cwd: folder, maxBuffer: 1 << 24, env: { ...process.env, NO_COLOR: '1', SCHALTER_TEST_OFFER: OFFER } },
      (error, stdout, stderr) => done({ ok: !error, text: stdout + stderr })));
  }

  /** Everything that one listener answers. `rest` chooses the operations. */
  async function checkAnswers(name, url, token, ...rest) {
    const { ok, text } = await python('schemathesis.cli', '--config-file', path.join(folder, 'schemathesis.toml'), 'run', `${url}/openapi.json`,
      '--url', url, '--header', `Authorization: Bearer ${token}`, '--max-examples', String(EXAMPLES), ...rest);
    assert.ok(ok, text);
    const [, cases] = /(\d+) generated/.exec(text);
    figure('openapi', `${name}, cases`, Number(cases));
    assert.ok(Number(cases) > 300, text);
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
    await checkAnswers('public port', server.url, token, ...['administration', ...DESK].flatMap((tag) => ['--exclude-tag', tag]), '--phases', 'examples,coverage,fuzzing');
  });

  test('the desk answers as the document says', { timeout: 60_000 }, async (t) => {
    const secret = path.join(folder, 'desk-key');
    fs.writeFileSync(secret, KEY, { mode: 0o600 });
    const keys = [{ id: 'cases', secret_file: secret, scopes: ['appointments:read', 'appointments:write', 'events:read'] }];
    const officials = { demo: [{ id: 'kim', name: 'Kim Beispiel' }] };
    const server = await untilEnd(t, startServer({ desk: { authorities: [{ id: 'ulm', name: 'Stadt Ulm', keys, officials }] } }), (it) => it.stop());
    await checkAnswers('desk', server.url, KEY, ...DESK.flatMap((tag) => ['--include-tag', tag]), '--phases', 'examples,coverage,fuzzing');
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
    await checkAnswers('admin listener', server.admin.url, server.admin.token, '--include-tag', 'administration');
  });
});
