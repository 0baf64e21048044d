// Real-time text as T.140 has it (ITU-T T.140, RFC 8865): characters as they are typed, erasure as a character, loss marked.
// A packet is a sequence number (32 bit, big endian) and UTF-8 text; it is sent reliably, but a sender may come anew.

/** Every keystroke is on its way after so long: 500 ms have to hold from key to eye, network included. */
export const BATCH_MS = 200;
export const ERASE = '\u0008';
export const NEW_LINE = '\u2028';
export const LOST = '\ufffd';
/** What is kept of what somebody wrote. */
export const MOST_CHARACTERS = 4_000;
/** What is taken from one packet: far above what anybody types or pastes in one batch. */
export const MOST_BYTES = 2_048;

/** The T.140 text that makes `after` out of `before`: erasures from the end, then what is new. */
export function difference(before: string, after: string): string {
  const [old, now] = [[...before], [...after]];
  let same = 0;
  while (same < old.length && old[same] === now[same]) same++;
  return ERASE.repeat(old.length - same) + now.slice(same).join('').replaceAll('\n', NEW_LINE);
}

/** Packets of a text; a long one becomes several, none of them cut inside a character. */
export class Sender {
  #next = 0;

  packets(text: string): Uint8Array<ArrayBuffer>[] {
    const made: Uint8Array<ArrayBuffer>[] = [];
    const characters = [...text];
    const most = Math.floor((MOST_BYTES - 4) / 4); // four bytes are the most that UTF-8 needs
    for (let at = 0; at < characters.length; at += most) {
      const words = new TextEncoder().encode(characters.slice(at, at + most).join(''));
      const packet = new Uint8Array(4 + words.length);
      new DataView(packet.buffer).setUint32(0, this.#next);
      packet.set(words, 4);
      this.#next = (this.#next + 1) >>> 0;
      made.push(packet);
    }
    return made;
  }
}

/** What one person wrote, put together from their packets. */
export class Receiver {
  #expected: number | undefined;
  #text = '';

  get text(): string {
    return this.#text;
  }

  /** Takes a packet; answers false for what is none. A number lower than expected that is not 0 came late and is dropped. */
  take(packet: Uint8Array): boolean {
    if (packet.length <= 4 || packet.length > MOST_BYTES) return false;
    const number = new DataView(packet.buffer, packet.byteOffset).getUint32(0);
    if (this.#expected !== undefined && number !== this.#expected) {
      if (number < this.#expected && number !== 0) return false;
      if (number !== 0) this.#text += LOST;
    }
    this.#expected = (number + 1) >>> 0;
    for (const character of new TextDecoder().decode(packet.subarray(4))) {
      if (character === ERASE) this.#text = [...this.#text].slice(0, -1).join('');
      else if (character === NEW_LINE) this.#text += '\n';
      else if (character >= ' ' && character !== '\u007f') this.#text += character;
    }
    if (this.#text.length > MOST_CHARACTERS) this.#text = this.#text.slice(-MOST_CHARACTERS);
    return true;
  }
}
