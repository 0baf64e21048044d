// Receivers of the load generator: real ICE, DTLS and SRTP without a decoder, each behind a link of its own.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const BINARY = process.env.SCHALTER_LOAD_BIN
  ?? (process.env.SCHALTER_BIN ? path.join(path.dirname(process.env.SCHALTER_BIN), 'schalter-load') : fileURLToPath(new URL('../../../../target/release/schalter-load', import.meta.url)));
const STOP_MS = 10_000;

/** A size as the load generator tells it, in the browsers' words. */
export const sizeName = (size) => (size ? size.join('x') : 'none');

/**
 * Starts a receiver for each of `limits` (kbit/s, 0 for none) in `room`. `stop()` lets them leave and answers what each
 * saw: `seconds`, a list of what was seen in each second, and `whole`.
 */
export async function startReceivers(server, { room, limits }) {
  if (!fs.existsSync(BINARY)) throw new Error(`no load generator at ${BINARY}: build it with \`cargo build --release -p schalter-load\``);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-receivers-'));
  const tokens = path.join(folder, 'tokens');
  fs.writeFileSync(tokens, limits.map((_, n) => server.token({ room, identity: `load-${n}` })).join('\n'), { mode: 0o600 });
  const wish = limits.map((kbps) => (kbps ? `${kbps}kbps` : 'none')).join(',');
  const child = spawn(BINARY, ['receive', '--url', server.wsUrl, '--token-file', tokens, '--limit', wish], { stdio: ['pipe', 'pipe', 'pipe'] });
  let [out, log] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (log += text));
  const ended = new Promise((done) => child.once('close', done));
  return {
    async stop() {
      child.stdin.end();
      const code = await Promise.race([ended, new Promise((late) => setTimeout(late, STOP_MS, 'late').unref())]);
      if (code === 'late') child.kill('SIGKILL');
      fs.rmSync(folder, { recursive: true, force: true });
      if (code !== 0) throw new Error(`the receivers ended with ${code}: ${log}`);
      const lines = out.trim().split('\n').map((line) => JSON.parse(line));
      return limits.map((limit, n) => {
        const own = lines.filter((line) => line.receiver === n);
        return { ...own.at(-1), limit, seconds: own.filter((line) => line.span).map((line) => line.span) };
      });
    },
  };
}
