// The built server under test: a configuration in a temporary folder, free ports, and a clean end.
import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bridge } from './bridge.mjs';
import { token } from './token.mjs';

/** The built server. */
export const BINARY = process.env.SCHALTER_BIN ?? fileURLToPath(new URL('../../../../target/release/schalter', import.meta.url));
export const KEY = 'devkey';
export const SECRET = 'a-secret-for-tests-that-is-long-enough-0123456789';
const START_MS = 15_000;
/** An operator's patience: what service managers and orchestrators wait is longer. */
const STOP_MS = 10_000;

/** The one place that knows the configuration file. JSON is YAML. */
function configuration({ port, udpPort, adminPort, tokenFile, stateDir, override }) {
  return JSON.stringify({
    port,
    bind_addresses: ['127.0.0.1'],
    rtc: { udp_port: udpPort, tcp_port: 0, node_ip: '127.0.0.1', workers: 1, pin_workers: false, ...override.rtc },
    keys: { [KEY]: SECRET },
    admin: { listen: `127.0.0.1:${adminPort}`, token_file: tokenFile },
    state_dir: stateDir,
    ...Object.fromEntries(Object.entries(override).filter(([name]) => name !== 'rtc')),
  }, null, 2);
}

async function freeUdpPort() {
  const socket = dgram.createSocket('udp4');
  await new Promise((ready, failed) => socket.once('error', failed).bind(0, '127.0.0.1', ready));
  const { port } = socket.address();
  await new Promise((closed) => socket.close(closed));
  return port;
}

/** Free ports for TCP, each another one: none is given back before all are found. */
export async function freeTcpPorts(count) {
  const listeners = Array.from({ length: count }, () => net.createServer());
  await Promise.all(listeners.map((listener) => new Promise((ready, failed) => listener.once('error', failed).listen(0, '127.0.0.1', ready))));
  const ports = listeners.map((listener) => listener.address().port);
  await Promise.all(listeners.map((listener) => new Promise((closed) => listener.close(closed))));
  return ports;
}

/**
 * Starts a server and waits until it answers. `override` is merged into the configuration. With `inside` it runs in that
 * network namespace, and its ports of 127.0.0.1 are reachable here all the same.
 */
export async function startServer(override = {}, { inside } = {}) {
  if (!fs.existsSync(BINARY)) throw new Error(`no server at ${BINARY}: build it with \`cargo build --release\`, or set SCHALTER_BIN`);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-test-'));
  const [[port, adminPort], udpPort] = [await freeTcpPorts(2), await freeUdpPort()];
  const tokenFile = path.join(folder, 'admin-token');
  const stateDir = path.join(folder, 'state');
  const configFile = path.join(folder, 'schalter.yaml');
  const adminToken = 'admin-token-for-tests-0123456789abcdef0123456789';
  fs.mkdirSync(stateDir, { mode: 0o700 });
  fs.writeFileSync(tokenFile, adminToken, { mode: 0o600 });
  const configure = (over) => fs.writeFileSync(configFile, configuration({ port, udpPort, adminPort, tokenFile, stateDir, override: { ...override, ...over } }), { mode: 0o600 });
  configure({});

  const url = `http://127.0.0.1:${port}`;
  let log = '';
  const streams = { stdout: '', stderr: '' };
  /** Starts the process and waits until it answers. */
  async function launch() {
    const serve = ['serve', '--config', configFile];
    const [program, words] = inside ? inside.command(BINARY, serve) : [BINARY, serve];
    const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const name of ['stdout', 'stderr']) {
      child[name].setEncoding('utf8').on('data', (text) => {
        log = (log + text).slice(-200_000);
        streams[name] = (streams[name] + text).slice(-200_000);
      });
    }
    const process = { child, ended: undefined, exited: new Promise((done) => child.once('exit', (code, signal) => done({ code, signal }))) };
    void process.exited.then((how) => (process.ended = how));
    const deadline = Date.now() + START_MS;
    for (;;) {
      if (process.ended) throw new Error(`the server ended while starting (${JSON.stringify(process.ended)}):\n${log}`);
      const answer = await fetch(url, { headers: { accept: '*/*' } }).then((r) => r.text(), () => undefined);
      if (answer === 'OK') return process;
      if (Date.now() > deadline) {
        child.kill('SIGKILL');
        throw new Error(`the server did not answer OK within ${START_MS} ms (last: ${answer}):\n${log}`);
      }
      await new Promise((later) => setTimeout(later, 50));
    }
  }
  const bridges = inside ? await Promise.all([port, adminPort].map((each) => bridge(inside, each))) : [];
  const part = () => Promise.all(bridges.map((each) => each.close()));
  let running = await launch().catch(async (failure) => {
    await part();
    throw failure;
  });

  return {
    url,
    port,
    udpPort,
    pid: () => running.child.pid,
    wsUrl: `ws://127.0.0.1:${port}`,
    admin: { url: `http://127.0.0.1:${adminPort}`, token: adminToken },
    log: () => log,
    /** What of that was for the person who started it, and what was the log proper. */
    printed: () => streams.stdout,
    logged: () => streams.stderr,
    /** The metrics by name with labels, as they are now. */
    async metrics() {
      const answer = await fetch(`http://127.0.0.1:${adminPort}/metrics`, { headers: { authorization: `Bearer ${adminToken}` } });
      if (answer.status !== 200) throw new Error(`/metrics answers ${answer.status}`);
      const lines = (await answer.text()).split('\n').filter((line) => line && !line.startsWith('#'));
      return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
    },
    token: (options) => token({ key: KEY, secret: SECRET, ...options }),
    /** For SDKs that make their own tokens. */
    api: { key: KEY, secret: SECRET },
    /** The link a person would get. */
    link: (options) => `${url}/#room=${encodeURIComponent(options.room)}&token=${token({ key: KEY, secret: SECRET, ...options })}`,
    /** Changes the configuration file; `hangUp` has the server read it. */
    configure,
    hangUp: () => running.child.kill('SIGHUP'),
    /** Ends the process by a signal and starts it anew at once, at the same place; resolves when it answers. */
    async restart(signal = 'SIGTERM') {
      running.child.kill(signal);
      await running.exited;
      running = await launch();
    },
    /** Stops the server as an operator would. Fails if it had died, panicked, or does not end in time. */
    async stop() {
      const { child, ended: early, exited } = running;
      child.kill('SIGTERM');
      const how = await Promise.race([exited, new Promise((late) => setTimeout(late, STOP_MS, 'late').unref())]);
      if (how === 'late') child.kill('SIGKILL');
      await part();
      fs.rmSync(folder, { recursive: true, force: true });
      if (early) throw new Error(`the server had ended by itself (${JSON.stringify(early)}):\n${log}`);
      if (how === 'late') throw new Error(`the server did not stop within ${STOP_MS} ms:\n${log}`);
      if (how.code !== 0) throw new Error(`the server ended with ${JSON.stringify(how)}:\n${log}`);
      if (/panicked at/.test(log)) throw new Error(`the server panicked:\n${log}`);
    },
  };
}
