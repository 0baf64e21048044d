// Participants with SDKs that are no browsers: one process each, so that one which crashes is a finding and not the end.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import { figure, sleep } from './call.mjs';

const script = (name) => fileURLToPath(new URL(`../sdk/${name}`, import.meta.url));
const ANSWER_MS = 30_000;

function deferred() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}

const { devDependencies } = JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

/** What the tests say about: the versions in use must be these. */
export const VERSIONS = {
  python: 'livekit 1.2.1',
  node: `@livekit/rtc-node ${devDependencies['@livekit/rtc-node']}`,
  gstreamer: undefined, // Debian's
  whipsink: 'gst-plugin-webrtchttp 0.14.5-RELEASE',
  aiortc: 'aiortc 1.16.0',
  browser: `livekit-client ${devDependencies['livekit-client']}`,
  api: 'livekit-api 1.2.2',
  nodeApi: `livekit-server-sdk ${devDependencies['livekit-server-sdk']}`,
};

/** The interpreter of an environment with what tests need in Python. */
export const PYTHON = process.env.SCHALTER_TEST_PYTHON ?? 'python3';

const COMMANDS = {
  python: [PYTHON, script('participant.py')],
  node: [process.execPath, script('participant.mjs')],
  // No participant but a backend.
  api: [PYTHON, script('api.py')],
  // Its bindings are Debian's, for Debian's Python.
  gstreamer: ['/usr/bin/python3', script('gstreamer.py')],
  whipsink: ['/usr/bin/python3', script('whipsink.py')],
  aiortc: [process.env.SCHALTER_TEST_PYTHON ?? 'python3', script('aiortc_player.py')],
};

/** What each participant sends. Colours are far from each other in YUV as well. */
const LOOKS = { 1: [200, 60, 60], 2: [60, 160, 70], 3: [60, 80, 200] };
const PICTURE = { width: 640, height: 360, fps: 15 };

/** Starts a participant. `ask` sends a command; `output` is all that the SDK wrote. */
export async function startSdk(kind) {
  const [command, ...args] = COMMANDS[kind];
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output = (output + data).slice(-100_000)));
  const waiting = new Map();
  const greeting = deferred();
  let ended;
  const exited = new Promise((done) => {
    child.once('error', (error) => done(error.message));
    child.once('exit', (code, signal) => done(`exit code ${code}, signal ${signal}`));
  }).then((how) => {
    ended = how;
    const failure = new Error(`the ${kind} SDK ended (${how}):\n${output}`);
    greeting.reject(failure);
    for (const { reject } of waiting.values()) reject(failure);
    waiting.clear();
  });
  child.stdin.on('error', () => undefined); // told by `exited`
  readline.createInterface({ input: child.stdio[3] }).on('line', (line) => {
    const answer = JSON.parse(line);
    if (answer.sdk) return greeting.resolve(answer.sdk);
    const asked = waiting.get(answer.id);
    waiting.delete(answer.id);
    if ('error' in answer) asked?.reject(new Error(answer.error));
    else asked?.resolve(answer.value);
  });
  let last = 0;
  const ask = (name, wish = {}) => {
    if (ended) return Promise.reject(new Error(`the ${kind} SDK has ended (${ended}):\n${output}`));
    const asked = deferred();
    const id = ++last;
    waiting.set(id, asked);
    child.stdin.write(`${JSON.stringify({ id, name, wish })}\n`);
    const late = setTimeout(() => asked.reject(new Error(`${kind}: no answer to ${name} within ${ANSWER_MS} ms:\n${output}`)), ANSWER_MS);
    return asked.promise.finally(() => clearTimeout(late));
  };
  const slow = setTimeout(() => greeting.reject(new Error(`the ${kind} SDK does not start:\n${output}`)), ANSWER_MS);
  const sdk = await greeting.promise.finally(() => clearTimeout(slow));
  if (VERSIONS[kind] && sdk !== VERSIONS[kind]) {
    child.stdin.end();
    assert.fail(`${sdk} is installed, the tests are about ${VERSIONS[kind]}`);
  }

  const participant = {
    sdk,
    ask,
    output: () => output,
    join: (server, { room, identity, port = server.port, grant = {}, claims = {}, ...options }) =>
      ask('join', { url: `ws://127.0.0.1:${port}`, token: server.token({ room, identity, name: identity, video: grant, claims }), ...options }),
    publish: ({ id, hz, simulcast = false }) => ask('publish', { id, hz, simulcast, colour: LOOKS[id], ...PICTURE }),
    state: () => ask('state'),
    /** Waits until `check` of the state is true; fails with the state. */
    async until(what, check, ms = 15_000) {
      const end = Date.now() + ms;
      for (;;) {
        const state = await participant.state();
        const value = check(state);
        if (value) return value;
        if (Date.now() > end) assert.fail(`${sdk}: ${what} not within ${ms} ms: ${JSON.stringify(state)}\n${output}`);
        await sleep(100);
      }
    },
    sees: (identity, ms) => participant.until(`video of ${identity}`, ({ video }) => video[identity]?.good > 0, ms),
    /** The tone is what a whole window holds: one that is interrupted, or another's, does not count. */
    hears: (identity, hz, ms) => participant.until(`${hz} Hz of ${identity}`, ({ audio }) => Math.abs(audio[identity]?.hz - hz) <= 6 && audio[identity].rms > 0.05, ms),
    received: (text, ms) => participant.until(`message ${text}`, ({ messages }) => messages.find((m) => m.text === text), ms),
    happened: (name, detail = null, ms) => participant.until(`${name} ${detail}`, ({ events }) => events.some((e) => e.name === name && e.detail === detail), ms),
    /** Ends the process; it ends by itself when it is not told anything any more. */
    async close() {
      child.stdin.end();
      const slow = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await exited;
      clearTimeout(slow);
    },
  };
  return participant;
}

/** Checks picture and sound of `from` after `participant` decoded them. `colour` only where the sender paints one. */
export async function checkMedia(test, participant, { from, id, hz, minFps = 5, maxGapMs, colour = true }) {
  await participant.hears(from, hz, 10_000);
  const { video, audio } = await participant.state();
  const [seen, heard] = [video[from], audio[from]];
  assert.ok(seen && heard, `${test}: ${from} is seen and heard`);
  const share = seen.good / Math.max(1, seen.frames);
  figure(test, `${from} at ${participant.sdk}`, `${seen.fps.toFixed(1)} fps, ${(share * 100).toFixed(1)} % right, ${seen.latencyMs} ms, gap ${seen.maxGapMs} ms, ${Object.keys(seen.sizes)}, colour ${seen.colour}, ${heard.hz.toFixed(0)} Hz, rms ${heard.rms.toFixed(3)}`);
  assert.ok(seen.fps >= minFps, `${test}: ${seen.fps} fps of ${from}`);
  assert.ok(share >= 0.95, `${test}: ${share * 100} % of the frames of ${from} have a readable barcode`);
  assert.deepEqual(Object.keys(seen.ids), [String(id)], `${test}: the frames are ${from}'s`);
  if (maxGapMs !== undefined) assert.ok(seen.maxGapMs <= maxGapMs, `${test}: video of ${from} stood still for ${seen.maxGapMs} ms`);
  if (colour) seen.colour.forEach((value, i) => assert.ok(Math.abs(value - LOOKS[id][i]) <= 25, `${test}: colour ${seen.colour} instead of ${LOOKS[id]}`));
}
