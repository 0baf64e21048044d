// What is sealed with a key that two or more browsers have: AES-256-GCM (NIST SP 800-38D) under a counter, so that nothing is taken twice and
// nothing old after something new.

import { utf8, type Bytes } from './bytes';

const COUNTER = 8;
const NONCE = 12;
/** The tag and the counter are there even if nothing else is. */
export const OVERHEAD = COUNTER + 16;

export async function boxKey(material: CryptoKey, salt: Bytes, info: string): Promise<CryptoKey> {
  return crypto.subtle.deriveKey({ name: 'HKDF', hash: 'SHA-256', salt, info: utf8(info) }, material, { name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
}

function nonceOf(counter: Bytes): Bytes {
  const nonce = new Uint8Array(NONCE);
  nonce.set(counter, NONCE - COUNTER);
  return nonce;
}

/** Seals for others; no number is used twice with a key. */
export class Sealer {
  readonly #key: CryptoKey;
  #next = 0n;

  constructor(key: CryptoKey) {
    this.#key = key;
  }

  /** `about` is not in the box, but the box opens only for who names the same. */
  async seal(plain: Bytes, about: Bytes): Promise<Bytes> {
    const counter = new Uint8Array(COUNTER);
    new DataView(counter.buffer).setBigUint64(0, this.#next++);
    const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv: nonceOf(counter), additionalData: about }, this.#key, plain);
    const box = new Uint8Array(COUNTER + sealed.byteLength);
    box.set(counter);
    box.set(new Uint8Array(sealed), COUNTER);
    return box;
  }
}

/** Opens what one sealer sealed, in order. */
export class Opener {
  readonly #key: CryptoKey;
  #least = 0n;

  constructor(key: CryptoKey) {
    this.#key = key;
  }

  /** Nothing for what was changed, is not about this, or came before. */
  async open(box: Bytes, about: Bytes): Promise<Bytes | undefined> {
    if (box.length < OVERHEAD) return undefined;
    const counter = box.slice(0, COUNTER);
    const number = new DataView(counter.buffer).getBigUint64(0);
    if (number < this.#least) return undefined;
    try {
      const plain = await crypto.subtle.decrypt({ name: 'AES-GCM', iv: nonceOf(counter), additionalData: about }, this.#key, box.slice(COUNTER));
      if (number < this.#least) return undefined; // it was opened twice at once
      this.#least = number + 1n;
      return new Uint8Array(plain);
    } catch {
      return undefined;
    }
  }
}
