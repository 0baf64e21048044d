// Debian's Janus with Debian's configuration, and a clean end.
import { spawn } from 'node:child_process';
import net from 'node:net';

/** Where the WebSocket API is in Debian's configuration. */
const PORT = 8188;
const START_MS = 20_000;
const STOP_MS = 10_000;

const listens = () => new Promise((answer) => {
  const socket = net.connect(PORT, '127.0.0.1');
  socket.once('connect', () => answer(true)).once('error', () => answer(false)).once('connect', () => socket.destroy());
});

/** Starts `janus` and waits until its WebSocket API listens. */
export async function startJanus() {
  const child = spawn('janus', [], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const name of ['stdout', 'stderr']) child[name].setEncoding('utf8').on('data', (text) => (log = (log + text).slice(-100_000)));
  let ended;
  const exited = new Promise((done) => child.once('error', done).once('exit', (code, signal) => done({ code, signal })));
  void exited.then((how) => (ended = how));
  const deadline = Date.now() + START_MS;
  while (!(await listens())) {
    if (ended) throw new Error(`Janus ended while starting (${ended.message ?? JSON.stringify(ended)}):\n${log}`);
    if (Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`Janus does not listen after ${START_MS} ms:\n${log}`);
    }
    await new Promise((later) => setTimeout(later, 50));
  }
  return {
    wsUrl: `ws://127.0.0.1:${PORT}`,
    async stop() {
      const early = ended;
      child.kill('SIGTERM');
      const how = await Promise.race([exited, new Promise((late) => setTimeout(late, STOP_MS, 'late').unref())]);
      if (how === 'late') child.kill('SIGKILL');
      if (early) throw new Error(`Janus had ended by itself (${JSON.stringify(early)}):\n${log}`);
    },
  };
}
