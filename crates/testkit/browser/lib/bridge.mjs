// A bridge between the loopbacks of two network namespaces, by a Unix socket, which both see: the test reaches a server in
// another namespace as if it were here, without a cable that a browser could use, too.
// As a program, the far end: `node bridge.mjs SOCKET PORT` leads connections to SOCKET to PORT; ends with its standard input.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** A server that leads each connection to where `connect` connects to. */
function leading(connect) {
  const pairs = new Set();
  const server = net.createServer((near) => {
    const far = connect();
    const end = () => {
      near.destroy();
      far.destroy();
      pairs.delete(end);
    };
    pairs.add(end);
    for (const socket of [near, far]) socket.on('error', end).on('close', end);
    near.pipe(far).pipe(near);
  });
  return { server, end: () => pairs.forEach((end) => end()) };
}

const listening = (server, ...where) => new Promise((ready, failed) => server.once('error', failed).listen(...where, ready));

/** Makes `port` of 127.0.0.1 in `namespace` reachable at the same place here. */
export async function bridge(namespace, port) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-bridge-'));
  const socket = path.join(folder, 'socket');
  const [program, words] = namespace.command(process.execPath, [fileURLToPath(import.meta.url), socket, String(port)]);
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const gone = new Promise((done) => child.once('exit', done));
  await new Promise((ready, failed) => {
    child.stdout.once('data', ready);
    child.once('error', failed).once('exit', (code) => failed(new Error(`the bridge ended with ${code}`)));
  });
  const here = leading(() => net.connect(socket));
  await listening(here.server, port, '127.0.0.1');
  return {
    async close() {
      child.stdin.end();
      here.end();
      await Promise.all([gone, new Promise((closed) => here.server.close(closed))]);
      fs.rmSync(folder, { recursive: true, force: true });
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [socket, port] = process.argv.slice(2);
  await listening(leading(() => net.connect(Number(port), '127.0.0.1')).server, socket);
  console.log('ready');
  process.stdin.on('end', () => process.exit(0)).resume();
}
