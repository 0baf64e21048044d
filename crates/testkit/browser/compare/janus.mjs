// Question: what does a thin link do to a picture and its sound behind Schalter, and behind Debian's Janus?
//
// The step of lib/step.mjs for each server in turn, several rounds, with the same browser, camera, layers, relay and meters,
// everything in a network namespace of its own: Janus takes no loopback address for a candidate, so both get the same
// address on a virtual pair. Needs root (for the namespace), Debian's `janus` and `chromium`, and a release build of
// `schalter`; installs none of them, but says what is missing. Prints each round and the medians, and writes nothing else.
//
// Exit codes: 0 measured, 2 something is missing or wrong.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { SIMULCAST, ask, join, newRoom, openPage, stats } from '../lib/call.mjs';
import { CHROMIUM, launchChromium } from '../lib/chromium.mjs';
import { startJanus } from '../lib/janus.mjs';
import { udpRelay } from '../lib/network.mjs';
import { Opened } from '../lib/opened.mjs';
import { serveClientPage } from '../lib/pages.mjs';
import { BINARY, startServer } from '../lib/server.mjs';
import { stepLink, widen } from '../lib/step.mjs';

/** Set in the process that runs inside the namespace. */
const INSIDE = 'SCHALTER_COMPARE_NAMESPACE';
/** From the range for benchmarks of network devices (RFC 2544, RFC 6890), so nobody's address. */
const ADDRESS = '198.18.0.1';
const SEEN_MS = 20_000;
const MISSING = 2;
const [ROOM, FEED] = [1, 1];

/** What runs now. */
const opened = new Opened();

/** What has to be there and is not, each with the way to get it. */
function missing() {
  const lacking = [];
  if (process.getuid() !== 0) lacking.push('root, for a network namespace (sudo -E)');
  // A user's PATH often lacks what only root needs.
  const folders = [...process.env.PATH.split(path.delimiter), '/usr/sbin', '/sbin'];
  for (const [program, what] of [['janus', 'janus'], ['ip', 'iproute2'], ['unshare', 'util-linux']]) {
    if (!folders.some((folder) => fs.existsSync(path.join(folder, program)))) lacking.push(`${program} (apt-get install ${what})`);
  }
  if (!fs.existsSync(CHROMIUM)) lacking.push(`${CHROMIUM} (apt-get install chromium, or set CHROMIUM)`);
  if (!fs.existsSync(BINARY)) lacking.push(`${BINARY} (cargo build --release --bin schalter, or set SCHALTER_BIN)`);
  return lacking;
}

/** Runs this script again in a network namespace, which ends with its processes; answers its exit code. */
async function enter() {
  const child = spawn('unshare', ['--net', '--', process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' },
  });
  process.on('SIGINT', () => undefined); // the terminal tells both
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((done, failed) => child.once('error', failed).once('exit', (code) => done(code ?? MISSING)));
}

function setUpNetwork() {
  for (const line of ['link set lo up', 'link add compare0 type veth peer name compare1', `addr add ${ADDRESS}/32 dev compare0`, 'link set compare0 up', 'link set compare1 up']) {
    execFileSync('ip', line.split(' '));
  }
}

/** What our client library sends with, for the other client to send with, too. */
let sending;

const CONTENDERS = {
  async Schalter(page) {
    const server = await opened.add(startServer({ bind_addresses: ['127.0.0.1', ADDRESS], rtc: { node_ip: ADDRESS } }), (s) => s.stop());
    const relay = await opened.add(udpRelay(server.udpPort, { host: ADDRESS }), (r) => r.close());
    widen(relay);
    const room = newRoom('step');
    const [receiver, sender] = [await page('client.js'), await page('client.js')];
    await join(receiver, server, { room, identity: 'sees', relayPort: relay.port });
    await join(sender, server, { room, identity: 'sender' });
    await ask(sender, 'publish', SIMULCAST);
    sending = await sender.evaluate(() => window.sending());
    return { receiver, relay };
  },
  async Janus(page) {
    const { wsUrl: url } = await opened.add(startJanus(), (s) => s.stop());
    const [receiver, sender] = [await page('janus.js'), await page('janus.js')];
    const { id, hz, width, height } = SIMULCAST;
    await ask(sender, 'publish', { url, room: ROOM, feed: FEED, id, hz, width, height, sending });
    const port = await ask(receiver, 'subscribe', { url, room: ROOM, feed: FEED });
    const relay = await opened.add(udpRelay(port, { host: ADDRESS }), (r) => r.close());
    widen(relay);
    await ask(receiver, 'start', { identity: 'sender', relay: { from: port, to: relay.port } });
    return { receiver, relay };
  },
};

/** One round of one server, from a fresh browser on. */
async function run(start) {
  try {
    const browser = await opened.add(launchChromium(), (b) => b.close());
    const page = async (script) => {
      const served = await opened.add(serveClientPage(script), (s) => s.close());
      return openPage(browser, served.url);
    };
    const { receiver, relay } = await start(page);
    await ask(receiver, 'seen', 'sender', SEEN_MS);
    const seen = await stepLink({ receiver, sender: 'sender', relay });
    const codecs = (await stats(receiver)).filter((s) => s.type === 'inbound-rtp' && s.codec).map((s) => s.codec);
    return { ...seen, codecs, heard: await ask(receiver, 'audio', 'sender') };
  } finally {
    await opened.close();
  }
}

const seconds = (ms) => (ms === null ? Infinity : ms / 1_000);
const readable = ({ good, frames }) => (frames === 0 ? NaN : (100 * good) / frames);
/** What is compared: name, unit, digits, and the value of a run. */
const FIGURES = [
  ['thin: longest gap', 'ms', 0, (r) => r.thin.maxGapMs],
  ['thin: picture stands still', 's of 20', 1, (r) => seconds(r.thin.stillMs)],
  ['thin: frames', '/s', 1, (r) => r.thin.fps],
  ['thin: readable frames', '%', 1, (r) => readable(r.thin)],
  ['wide: 720p again', 's', 1, (r) => seconds(r.backMs)],
  ['wide: no freeze from', 's', 1, (r) => seconds(r.steadyMs)],
  ['wide: longest gap', 'ms', 0, (r) => r.wide.maxGapMs],
  ['sound made up', '%', 1, (r) => r.madeUp * 100],
  ['machine busy', '%', 0, (r) => r.busy * 100],
];
const sorted = (values) => [...values].sort((a, b) => a - b);
const median = (values) => {
  const all = sorted(values);
  return (all[Math.floor((all.length - 1) / 2)] + all[Math.ceil((all.length - 1) / 2)]) / 2;
};

async function inside({ rounds }) {
  setUpNetwork();
  const runs = Object.fromEntries(Object.keys(CONTENDERS).map((name) => [name, []]));
  for (let round = 1; round <= rounds; round++) {
    for (const [name, start] of Object.entries(CONTENDERS)) {
      const one = await run(start);
      runs[name].push(one);
      const figures = FIGURES.map(([what, unit, digits, value]) => `${what} ${value(one).toFixed(digits)} ${unit}`);
      const sizes = [one.thin, one.wide].map((report) => Object.entries(report.sizes).map(([size, frames]) => `${size} × ${frames}`).join(', ') || 'none');
      console.log(`round ${round}  ${name}: ${figures.join('; ')}; frames by size, thin: ${sizes[0]}; wide: ${sizes[1]}; tone ${one.heard.hz.toFixed(0)} Hz; ${one.codecs.join(', ')}`);
    }
  }
  console.log(`\nboth senders: ${JSON.stringify(sending)}`);
  console.log(`\nmedian (least to most) of ${rounds} rounds in turn:`);
  for (const [what, unit, digits, value] of FIGURES) {
    const cells = Object.entries(runs).map(([name, all]) => {
      const values = all.map(value);
      const [least, most] = [Math.min(...values), Math.max(...values)];
      return `${name} ${median(values).toFixed(digits)} (${least.toFixed(digits)} to ${most.toFixed(digits)})`;
    });
    console.log(`${`${what}, ${unit}`.padEnd(36)} ${cells.map((cell) => cell.padEnd(32)).join(' ')}`);
  }
}

try {
  const { values: options } = parseArgs({ options: { rounds: { type: 'string', default: '3' } } });
  const rounds = Number(options.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number above zero');
  if (process.env[INSIDE]) {
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void opened.close().finally(() => process.exit(MISSING)));
    await inside({ rounds });
  } else {
    const lacking = missing();
    if (lacking.length > 0) throw new Error(`missing: ${lacking.join('; ')}`);
    process.exitCode = await enter();
  }
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = MISSING;
}
