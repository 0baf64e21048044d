// What one browser sends is encrypted with a secret of its own, which the others get from it. Media and messages have keys of their own, and
// each secret has a number: a new one is made when somebody leaves.

import { boxKey, Opener, Sealer } from './box';
import { random, utf8, type Bytes } from './bytes';

export const SECRET = 32;
/** Messages are as long as a multiple of this, so that their length does not tell the letter that was typed. */
const PADDING = 64;
const VERSION = 1;
/** Version and number. */
const HEAD = 5;
/** Above anything a page sends. */
export const MOST_SEALED = 16_384;
/** Keys of others that are kept: the present one, and the one before for what was still under way. */
const KEPT = 2;
const NO_SALT = new Uint8Array();

/** What goes to the others, and to whom: nobody named means all. */
export interface Content {
  readonly topic: string;
  readonly to: string;
  readonly payload: Bytes;
}

export interface Secret {
  /** Counts from 0. */
  readonly number: number;
  readonly bytes: Bytes;
}

export function newSecret(number: number): Secret {
  return { number, bytes: random(SECRET) };
}

const material = (bytes: Bytes) => crypto.subtle.importKey('raw', bytes, 'HKDF', false, ['deriveKey', 'deriveBits']);

/** What the client library derives its key of frames from. */
export async function mediaKey({ bytes }: Secret): Promise<CryptoKey> {
  return material(new Uint8Array(await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt: NO_SALT, info: utf8('media') }, await material(bytes), 256)));
}

const dataKey = async ({ bytes }: Secret) => boxKey(await material(bytes), NO_SALT, 'data');
const about = (identity: string) => utf8(`data of ${identity}`);

/** Seals one's own messages. */
export class Outgoing {
  readonly #number: number;
  readonly #me: Bytes;
  readonly #sealer: Sealer;

  private constructor(number: number, me: string, sealer: Sealer) {
    [this.#number, this.#me, this.#sealer] = [number, about(me), sealer];
  }

  static async with(secret: Secret, me: string): Promise<Outgoing> {
    return new Outgoing(secret.number, me, new Sealer(await dataKey(secret)));
  }

  async seal({ topic, to, payload }: Content): Promise<Bytes> {
    const [named, whom] = [utf8(topic), utf8(to)];
    const length = 8 + named.length + whom.length + payload.length;
    const plain = new Uint8Array(Math.ceil(length / PADDING) * PADDING);
    const view = new DataView(plain.buffer);
    view.setUint16(0, named.length);
    view.setUint16(2, whom.length);
    view.setUint32(4, payload.length);
    plain.set(named, 8);
    plain.set(whom, 8 + named.length);
    plain.set(payload, 8 + named.length + whom.length);
    const box = await this.#sealer.seal(plain, this.#me);
    const packet = new Uint8Array(HEAD + box.length);
    packet[0] = VERSION;
    new DataView(packet.buffer).setUint32(1, this.#number);
    packet.set(box, HEAD);
    return packet;
  }
}

/** Opens what one other sealed. */
export class Incoming {
  readonly #from: Bytes;
  readonly #openers = new Map<number, Opener>();

  constructor(from: string) {
    this.#from = about(from);
  }

  async learn(secret: Secret): Promise<void> {
    if (this.#openers.has(secret.number)) return;
    this.#openers.set(secret.number, new Opener(await dataKey(secret)));
    while (this.#openers.size > KEPT) this.#openers.delete(Math.min(...this.#openers.keys()));
  }

  /** Nothing for what was not sealed by them, was changed, or came before. */
  async open(packet: Uint8Array): Promise<Content | undefined> {
    if (packet.length <= HEAD || packet.length > MOST_SEALED || packet[0] !== VERSION) return undefined;
    const opener = this.#openers.get(new DataView(packet.buffer, packet.byteOffset).getUint32(1));
    const plain = await opener?.open(packet.slice(HEAD), this.#from);
    if (!plain || plain.length < 8) return undefined;
    const view = new DataView(plain.buffer);
    const [named, whom, length] = [view.getUint16(0), view.getUint16(2), view.getUint32(4)];
    if (8 + named + whom + length > plain.length) return undefined;
    const text = (from: number, to: number) => new TextDecoder().decode(plain.subarray(from, to));
    return { topic: text(8, 8 + named), to: text(8 + named, 8 + named + whom), payload: plain.slice(8 + named + whom, 8 + named + whom + length) };
  }
}
