// What is in a process's memory: a core dump of it, and a search in the dump for bytes that should not be there.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

/** So long a piece of a frame is looked for, in bytes. */
export const WINDOW = 32;
/**
 * A piece with fewer different bytes says nothing: zeros, counters and tables are in every memory. Compressed pictures and
 * sound have about thirty different ones in 32.
 */
const LEAST_DISTINCT = 16;
const WORD = 8;
const BITS = 22;
const CHUNK = 1 << 24;

/**
 * Dumps the memory of a living process to a file; answers its path. All of it: what is marked to be left out of dumps as
 * well. The process stands still meanwhile and then goes on.
 */
export async function dumpMemory(pid) {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-dump-')), 'core');
  const steps = ['set use-coredump-filter off', 'set dump-excluded-mappings on', `generate-core-file ${file}`, 'detach'];
  await promisify(execFile)('gdb', ['--batch', '--nx', '--pid', String(pid), ...steps.flatMap((step) => ['-ex', step])], { maxBuffer: 1 << 26 });
  return { file, remove: () => fs.rmSync(path.dirname(file), { recursive: true, force: true }) };
}

/**
 * Three whole words stand in each piece wherever it begins, beside at most eight other bytes: of sixteen different bytes at
 * least eight are in these words, and so three in one of them. Words with fewer need not be looked for.
 */
const LEAST_DISTINCT_OF_WORD = 3;

/** What the clients leave clear at the beginning of a frame: VP8's first bytes for servers like this one, and Opus's configuration. */
export const CLEAR = { key: 10, delta: 3, audio: 1 };

/** Frames as the worker's recorder answers them, without what stays clear. */
export const windowsOf = (frames) => new Windows(frames.map(({ type, data }) => Buffer.from(data, 'base64').subarray(CLEAR[type])));

/**
 * Looks for frames in the memory of a process, which goes on meanwhile: how many pieces of them there are, and how many of these stand there. What
 * can't be written to is left out: programs and tables. A dump takes longer, but is what it was at one moment.
 */
export function searchMemory(pid, frames) {
  const windows = windowsOf(frames);
  const ranges = fs.readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n').map((line) => /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line)).filter(Boolean).map(([, from, to]) => [parseInt(from, 16), parseInt(to, 16)]);
  return { count: windows.count, ...windows.search(`/proc/${pid}/mem`, { enough: windows.count / 10, ranges }) };
}

/** How many different bytes there are. */
const distinct = (bytes, at, length) => new Set(bytes.subarray(at, at + length)).size;

/** All pieces of `WINDOW` bytes of some frames, whatever place they begin at. */
export class Windows {
  #bytes; #words; #next; #heads; #ends = []; #telling;
  count = 0;

  constructor(frames) {
    this.#bytes = new Uint8Array(frames.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const frame of frames) {
      this.#bytes.set(frame, at);
      this.#ends.push((at += frame.length));
    }
    // A word of eight bytes is found by its hash; whatever holds it is then compared.
    this.#heads = new Int32Array(1 << BITS).fill(-1);
    this.#next = new Int32Array(this.#bytes.length).fill(-1);
    this.#telling = new Uint8Array(this.#bytes.length);
    this.#words = new DataView(this.#bytes.buffer);
    let begin = 0;
    for (const end of this.#ends) {
      for (let i = begin; i + WORD <= end; i++) {
        if (distinct(this.#bytes, i, WORD) >= LEAST_DISTINCT_OF_WORD) {
          const hash = hashOf(this.#words.getUint32(i, true), this.#words.getUint32(i + 4, true));
          this.#next[i] = this.#heads[hash];
          this.#heads[hash] = i;
        }
        if (i + WINDOW <= end && distinct(this.#bytes, i, WINDOW) >= LEAST_DISTINCT) {
          this.#telling[i] = 1;
          this.count++;
        }
      }
      begin = end;
    }
  }

  /**
   * Which of the pieces stand in the file, or in `ranges` of it: how many different ones, and where the first is. Looks for no more once `enough`
   * are found.
   */
  search(file, { enough = Infinity, ranges = [[0, Infinity]] } = {}) {
    const found = new Set();
    let first;
    const handle = fs.openSync(file, 'r');
    const buffer = new ArrayBuffer(CHUNK);
    const [bytes, words] = [new Uint8Array(buffer), new Uint32Array(buffer)];
    // Chunks overlap by enough for a piece that crosses their border.
    for (const [from, to] of ranges) for (let position = from; position < to && found.size < enough; position += CHUNK - 64) {
      const wanted = Math.min(CHUNK, to - position);
      const length = read(handle, bytes, wanted, position);
      // Every piece of 32 bytes holds a word at a multiple of eight, wherever it stands.
      for (let word = 0; word + 2 <= length >> 2 && found.size < enough; word += 2) {
        const [low, high] = [words[word], words[word + 1]];
        for (let i = this.#heads[hashOf(low, high)]; i >= 0; i = this.#next[i]) {
          if (this.#words.getUint32(i, true) !== low || this.#words.getUint32(i + 4, true) !== high) continue;
          for (const start of this.#around(i, bytes, word * 4, length)) {
            first ??= position + word * 4 - (i - start);
            found.add(start);
          }
        }
      }
      if (length < wanted) break;
    }
    fs.closeSync(handle);
    return { found: found.size, first };
  }

  /** Where pieces begin that hold the word at `i` and stand in `bytes` with that word at `at`. */
  *#around(i, bytes, at, length) {
    let [before, after] = [0, WORD];
    while (before < WINDOW - WORD && at - before > 0 && i - before > 0 && this.#bytes[i - before - 1] === bytes[at - before - 1]) before++;
    while (after < WINDOW && at + after < length && this.#bytes[i + after] === bytes[at + after]) after++;
    for (let start = i - before; start + WINDOW <= i + after; start++) if (this.#telling[start]) yield start;
  }
}

/** As much as is there; nothing of what was given back meanwhile. */
function read(handle, bytes, wanted, position) {
  let length = 0;
  try {
    for (let more; length < wanted && (more = fs.readSync(handle, bytes, length, wanted - length, position + length)) > 0;) length += more;
  } catch (failure) {
    if (failure.code !== 'EIO' && failure.code !== 'EFAULT') throw failure;
  }
  return length;
}

function hashOf(low, high) {
  const mixed = Math.imul(low ^ Math.imul(high, 0x9e3779b1), 0x85ebca6b);
  return (mixed ^ (mixed >>> 15)) >>> (32 - BITS);
}
