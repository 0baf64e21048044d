// How two browsers agree on keys, with the server between them: ephemeral ECDH on P-256, which every browser has, and a short code for both to
// compare. One commits to its share before it sees the other's (as ZRTP does, RFC 6189 §4.4.1.1): whoever sits between them has to choose
// before knowing what the codes will be, and is right once in a million times. Nothing is kept: each attempt has fresh shares.

import { boxKey, Opener, Sealer } from './box';
import { equal, fromBase64, hash, joined, random, toBase64, utf8, type Bytes } from './bytes';

const NUMBER = 16;
const NONCE = 32;
/** An uncompressed point. */
const POINT = 65;
const CURVE = { name: 'ECDH', namedCurve: 'P-256' } as const;
const LABEL = 'schalter e2ee 1';
/** Six digits in two groups: what two people read to each other without a slip. */
const CODES = 1_000_000n;
const CODE_DIGITS = 6;

/** What goes between two browsers. Each has a number for the attempt: what belongs to an earlier one is nobody's. */
export interface Numbers {
  readonly from: string;
  readonly to: string;
}

export type Step =
  | (Numbers & { readonly kind: 'commit'; readonly hash: string })
  | (Numbers & { readonly kind: 'share' | 'reveal'; readonly point: string; readonly nonce: string });

/** What both have in the end. */
export interface Agreed {
  readonly code: string;
  readonly sealer: Sealer;
  readonly opener: Opener;
}

interface Share {
  readonly point: Bytes;
  readonly nonce: Bytes;
}

/** One attempt, seen from one side. */
export class Pair {
  /** Tells attempts apart. */
  readonly number: string;
  readonly #me: string;
  readonly #other: string;
  readonly #keys: CryptoKeyPair;
  readonly #own: Share;
  #theirs: string | undefined;
  #commitment: Bytes | undefined;
  #stage: 'begun' | 'committed' | 'shared' | 'over' = 'begun';

  private constructor(me: string, other: string, number: string, keys: CryptoKeyPair, point: Bytes) {
    [this.#me, this.#other, this.#keys, this.number] = [me, other, keys, number];
    this.#own = { point, nonce: random(NONCE) };
  }

  /** `me` and `other` are identities in the room. Whoever only follows the other into a new attempt keeps `number`, so that both don't lead each other on. */
  static async begin(me: string, other: string, number: string = toBase64(random(NUMBER))): Promise<Pair> {
    const keys = await crypto.subtle.generateKey(CURVE, false, ['deriveBits']);
    return new Pair(me, other, number, keys, new Uint8Array(await crypto.subtle.exportKey('raw', keys.publicKey)));
  }

  /** The other's number of this attempt. */
  get theirs(): string | undefined {
    return this.#theirs;
  }

  /** Whether a message is of this attempt. */
  concerns({ from, to }: Numbers): boolean {
    return from === this.#theirs && to === this.number;
  }

  get #first(): boolean {
    return this.#me < this.#other;
  }

  /** Takes the other's number; answers the first step if it is ours. */
  async meet(number: string): Promise<Step | undefined> {
    if (this.#theirs !== undefined || !fromBase64(number, NUMBER)) return undefined;
    this.#theirs = number;
    if (!this.#first) return undefined;
    this.#stage = 'committed';
    this.#commitment = await this.#commit(this.#own);
    return { kind: 'commit', from: this.number, to: number, hash: toBase64(this.#commitment) };
  }

  /** Takes a step; answers ours, what was agreed, or `false` for what does not belong here or is wrong. */
  async take(step: Step): Promise<{ readonly step?: Step; readonly agreed?: Agreed } | false> {
    const to = this.#theirs;
    if (to === undefined || !this.concerns(step)) return false;
    if (step.kind === 'commit') {
      const commitment = fromBase64(step.hash, 32);
      if (this.#first || this.#stage !== 'begun' || !commitment) return false;
      [this.#stage, this.#commitment] = ['shared', commitment];
      return { step: { kind: 'share', from: this.number, to, ...this.#told() } };
    }
    const [point, nonce] = [fromBase64(step.point, POINT), fromBase64(step.nonce, NONCE)];
    if (!point || !nonce) return false;
    if (step.kind === 'share') {
      if (!this.#first || this.#stage !== 'committed') return false;
      this.#stage = 'over';
      const agreed = await this.#agree({ point, nonce });
      return agreed ? { step: { kind: 'reveal', from: this.number, to, ...this.#told() }, agreed } : false;
    }
    if (this.#first || this.#stage !== 'shared') return false;
    this.#stage = 'over';
    const revealed = { point, nonce };
    if (!this.#commitment || !equal(await this.#commit(revealed), this.#commitment)) return false;
    const agreed = await this.#agree(revealed);
    return agreed ? { agreed } : false;
  }

  #told(): { point: string; nonce: string } {
    return { point: toBase64(this.#own.point), nonce: toBase64(this.#own.nonce) };
  }

  /** Who talks with whom in which attempt, the one who commits first. */
  #who(): Bytes {
    const [mine, theirs] = [[this.#me, this.number], [this.#other, this.#theirs ?? '']];
    return joined(...(this.#first ? [...mine, ...theirs] : [...theirs, ...mine]).map(utf8));
  }

  #commit({ point, nonce }: Share): Promise<Bytes> {
    return hash(joined(utf8(`${LABEL} commit`), this.#who(), point, nonce));
  }

  async #agree(theirs: Share): Promise<Agreed | undefined> {
    let secret: ArrayBuffer;
    try {
      // What is no point of the curve is refused here.
      const key = await crypto.subtle.importKey('raw', theirs.point, CURVE, false, []);
      secret = await crypto.subtle.deriveBits({ name: 'ECDH', public: key }, this.#keys.privateKey, 256);
    } catch {
      return undefined;
    }
    const [first, second] = this.#first ? [this.#own, theirs] : [theirs, this.#own];
    const transcript = await hash(joined(utf8(LABEL), this.#who(), this.#commitment ?? new Uint8Array(), second.point, second.nonce, first.point, first.nonce));
    const material = await crypto.subtle.importKey('raw', secret, 'HKDF', false, ['deriveKey', 'deriveBits']);
    const bits = await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt: transcript, info: utf8('code') }, material, 64);
    const [mine, others] = await Promise.all((this.#first ? ['first', 'second'] : ['second', 'first']).map((side) => boxKey(material, transcript, `from the ${side}`))) as [CryptoKey, CryptoKey];
    return { code: String(new DataView(bits).getBigUint64(0) % CODES).padStart(CODE_DIGITS, '0'), sealer: new Sealer(mine), opener: new Opener(others) };
  }
}
