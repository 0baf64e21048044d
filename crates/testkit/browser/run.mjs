// Runs a list of test files: `node run.mjs together|alone|long|offline`.
import { spawnSync } from 'node:child_process';
import { run } from 'node:test';
import { tap } from 'node:test/reporters';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { untilCalm, watchMachine } from './lib/machine.mjs';

/** What works, whatever else the machine does; what takes longest first, so that both cores are busy to the end. */
const TOGETHER = [
  'check', 'openapi', 'simulate', 'whep', 'termin-pages', 'desk-pages', 'backup-codec', 'whip', 'server', 'tls', 'page', 'memory', 'room-service', 'exchange',
  'sdk-chromium-python', 'forwarded', 'sdk-resume', 'webhooks', 'desk-webhooks', 'rotation', 'officials', 'login', 'sdk-python-node', 'mute', 'moderated', 'proxies',
  'data', 'revocation', 'sdk-gstreamer', 'texts', 'sdk-refused',
];
/** How well it works: these have bars of time and picture, and get the machine for themselves. */
const ALONE = [
  'kit', 'screens', 'consultation', 'call', 'firefox', 'turn', 'ice-tcp', 'three', 'codecs', 'loudest', 'reconnect', 'outage', 'networks', 'address-change', 'loss',
  'adaptation', 'roles', 'layers', 'congestion-feedback', 'e2ee', 'red',
];
const LISTS = {
  together: { names: TOGETHER, concurrency: 2, again: true },
  alone: { names: ALONE, again: true },
  long: { names: ['call', 'firefox', 'three', 'turn', 'ice-tcp', 'loss', 'layers', 'roles', 'outage', 'screens', 'termin-pages', 'desk-pages'], env: { SCHALTER_LONG: '1' } },
  offline: { names: ['kit', 'screens'] },
};

/** A file is run again once so much of the machine is idle, or it has been waited for so long. */
const CALM = 0.6;
const CALM_MS = 20_000;
/** How often a file may be run in all. */
const ATTEMPTS = 3;

/** Runs the files and prints what they say; answers the names of those that failed. */
async function failing(names, concurrency) {
  const file = (name) => fileURLToPath(new URL(`test/${name}.test.mjs`, import.meta.url));
  const failed = new Set();
  const running = run({ files: names.map(file), concurrency });
  running.on('test:fail', ({ name, file: from }) => failed.add(path.basename(from ?? name, '.test.mjs')));
  for await (const text of running.compose(tap)) process.stdout.write(text);
  return [...failed];
}

/** Runs a file that failed again, by itself and once the machine is calm; answers whether it passed. */
async function again(name) {
  const idle = await untilCalm(CALM, CALM_MS);
  const watched = watchMachine();
  const passed = (await failing([name], 1)).length === 0;
  const { busy, stolen } = watched();
  const percent = (share) => Math.round(share * 100);
  console.log(`# ${name} again: ${passed ? 'passed' : 'failed'}; machine idle before ${percent(idle)} %, then busy ${percent(busy)} %, stolen ${percent(stolen)} %`);
  return passed;
}

const wanted = process.argv[2];
const list = LISTS[wanted];
if (!list) {
  console.error(`usage: node run.mjs ${Object.keys(LISTS).join('|')}`);
  process.exit(2);
}
if (list.env && Object.entries(list.env).some(([name, value]) => process.env[name] !== value)) {
  // Test files read it when they are loaded, in processes that have this one's environment.
  process.exit(spawnSync(process.execPath, process.argv.slice(1), { stdio: 'inherit', env: { ...process.env, ...list.env } }).status ?? 1);
}
const failed = await failing(list.names, list.concurrency ?? 1);
if (failed.length === 0) process.exit(0);
console.log(`# FAILED: ${failed.join(', ')}`);
if (!list.again) process.exit(1);
// Browsers, codecs and the kernel share two cores, and a host with others, with what is measured. A file that fails and then passes is called
// unsteady, by name and with how often it failed, and is somebody's work; only one that fails each time stops a change.
const failures = new Map();
for (const name of failed) {
  let times = 1;
  while (times < ATTEMPTS && !(await again(name))) times++;
  failures.set(name, times);
}
const stopped = failed.filter((name) => failures.get(name) === ATTEMPTS);
const unsteady = failed.filter((name) => !stopped.includes(name));
if (unsteady.length > 0) console.log(`# UNSTEADY, passed when run again: ${unsteady.map((name) => `${name} (failed ${failures.get(name)})`).join(', ')}`);
if (stopped.length > 0) console.log(`# FAILED EACH TIME: ${stopped.join(', ')}`);
process.exit(stopped.length > 0 ? 1 : 0);
