// Networks of a test's own, of Linux' network namespaces: nothing in them reaches a network outside, and all of them end with
// the test, however it ends. None has a name, so none can be left behind: each lives as long as a process in it, and all
// these processes live in one PID namespace, whose first process is the test.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** Set in the process that runs inside. */
const INSIDE = 'SCHALTER_TEST_INSIDE';
/** Only root may make namespaces with a network; a user's PATH often lacks what only root needs. */
const PATH = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', '/sbin'];
const PROGRAMS = { unshare: 'util-linux', nsenter: 'util-linux', setpriv: 'util-linux', mount: 'mount', ip: 'iproute2', nft: 'nftables', sysctl: 'procps' };

/** Names that are known in all namespaces of a test, as /etc/hosts has them, and no other name is: no one asks a DNS server. */
const files = (hosts) => ({ '/etc/hosts': `127.0.0.1 localhost\n::1 localhost\n${hosts.map(({ name, address }) => `${address} ${name}\n`).join('')}`, '/etc/resolv.conf': 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' });

/** Shell lines that put these files over the machine's own, in the mount namespace they run in. */
function covering(hosts) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-etc-'));
  const lines = Object.entries(files(hosts)).map(([name, text]) => {
    const file = path.join(folder, path.basename(name));
    fs.writeFileSync(file, text, { mode: 0o644 });
    return `mount --bind ${file} $(readlink -f ${name})`;
  });
  // What is mounted stays though its name is gone, and is there for namespaces within this one.
  return [...lines, `rm -r ${folder}`].join(' && ');
}

/**
 * Starts the test file anew inside namespaces of its own and ends with its exit code; to be awaited before anything else
 * in a test file. Inside it answers `undefined`, and elsewhere, if this user can't make namespaces, why not: a reason to
 * skip. For root that is a failure, so that nothing is skipped where it could be tried.
 */
export async function enterNamespaces(hosts) {
  process.env.PATH = PATH.join(path.delimiter);
  if (process.env[INSIDE]) {
    run('ip link set lo up');
    return undefined;
  }
  if (process.platform !== 'linux' || process.getuid() !== 0) return 'needs root on Linux, for network namespaces';
  for (const [program, from] of Object.entries(PROGRAMS)) {
    if (!PATH.some((folder) => fs.existsSync(path.join(folder, program)))) throw new Error(`no ${program}: apt-get install ${from}`);
  }
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', `${covering(hosts)} && exec ${again}`], {
    stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' },
  });
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => child.kill('SIGKILL'));
  const code = await new Promise((done, failed) => child.once('error', failed).once('exit', (status) => done(status ?? 1)));
  process.exit(code);
}

/** Runs one command line, words apart by blanks. */
export function run(line, options = {}) {
  const [program, ...words] = line.split(/\s+/);
  return execFileSync(program, words, { encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'], ...options });
}

/** A network namespace beside the test's own, with the same names and files. */
export async function openNamespace() {
  // It lives as long as this process, and this one as long as its standard input is open.
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up && echo ready && exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await new Promise((ready, failed) => {
    holder.stdout.once('data', ready);
    holder.once('error', failed).once('exit', (code) => failed(new Error(`no namespace: ${code}`)));
  });
  // A test that fails to close it ends all the same.
  for (const one of [holder, holder.stdin, holder.stdout]) one.unref();
  const words = [`--net=/proc/${holder.pid}/ns/net`];
  return {
    pid: holder.pid,
    run: (line, options) => run(`nsenter ${words.join(' ')} ${line}`, options),
    /** Program and arguments that run `program` inside. */
    command: (program, args) => ['nsenter', [...words, program, ...args]],
    close: () => {
      holder.ref();
      const gone = new Promise((done) => holder.once('exit', done));
      holder.stdin.end();
      return gone;
    },
  };
}
