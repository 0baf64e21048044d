// The keys of a call, among all browsers in it: with each other one a pair agrees (pair.ts), and over it each gives the others the secret that
// it sends with (sender.ts). A new secret is made when somebody leaves, so that who is gone or held can't read on. Knows no room and no page;
// everything that waits has an end, and what is malformed is dropped.

import { fromBase64, toBase64, utf8, type Bytes } from './bytes';
import { Pair, type Agreed, type Numbers, type Step } from './pair';
import { Incoming, newSecret, Outgoing, SECRET, type Content, type Secret } from './sender';

/** What a message of the agreement may be long: the largest has 400 bytes. */
export const MOST_MESSAGE = 2_048;
/** Messages of one person that wait to be worked on; more are dropped. */
export const MOST_WAITING = 64;
/** Somebody who says nothing for so long has a program that knows nothing of this. */
export const SILENT_MS = 10_000;
/** Asked again meanwhile: a word to somebody who is just coming may get lost. */
export const ASK_MS = 2_500;
/** An attempt that has not come to its end after so long is begun anew. */
export const ATTEMPT_MS = 5_000;
/** Attempts with one person that came to nothing in a row, before they are taken for somebody who can't. */
export const MOST_FAILURES = 3;
/** Attempts with one person in a call: each is one guess in a million for whoever would sit between. */
export const MOST_ATTEMPTS = 16;
/** A new secret is used once all have it, and after so long at the latest. */
export const HANDOVER_MS = 1_000;

/** How far one is with somebody. `ready`: both have the other's secret. */
export type Stage = 'agreeing' | 'ready' | 'unable';

export interface PeerState {
  readonly identity: string;
  readonly stage: Stage;
  /** What both see, once they agreed. */
  readonly code: string | undefined;
  /** They say that they send without encryption now: somebody there can't. */
  readonly clear: boolean;
}

/** What the agreement asks of the call. */
export interface Call {
  /** Sends to one person; may fail, which the clock takes care of. */
  send(to: string, message: Bytes): void;
  /** Encrypts with this secret from now on. */
  encrypt(secret: Secret): Promise<void>;
  /** Decrypts what `identity` sends. */
  decrypt(identity: string, secret: Secret): Promise<void>;
  /** Whether to send without encryption changed. */
  clear(yes: boolean): void;
  /** Something that is shown may have changed. */
  changed(): void;
}

export interface Terms {
  readonly me: string;
  /** Whether this browser can and may encrypt; one that does not only says so when asked. */
  readonly able: boolean;
  /** Whether it goes on in the clear when somebody can't. */
  readonly yields: boolean;
}

type Hello = { readonly kind: 'hello'; readonly able: boolean; readonly mine: string; readonly yours?: string };
type Sealed = Numbers & { readonly kind: 'key' | 'have'; readonly box: string };
type Message = Hello | Step | Sealed;

/** Somebody else in the call. */
class Peer {
  readonly identity: string;
  /** Their seat: who comes anew has another. */
  readonly sid: string;
  readonly incoming: Incoming;
  pair: Pair | undefined;
  agreed: Agreed | undefined;
  able: boolean | undefined;
  /** The secret of theirs that is known, and the one of mine that they confirmed. */
  theirs: number | undefined;
  confirmed: number | undefined;
  clear = false;
  attempts = 0;
  failures = 0;
  givenUp = false;
  waiting = 0;
  queue: Promise<void> = Promise.resolve();
  timer: ReturnType<typeof setTimeout> | undefined;
  readonly since = performance.now();

  constructor(identity: string, sid: string) {
    [this.identity, this.sid, this.incoming] = [identity, sid, new Incoming(identity)];
  }

  get stage(): Stage {
    if (this.able === false || this.givenUp) return 'unable';
    return this.agreed && this.theirs !== undefined && this.confirmed !== undefined ? 'ready' : 'agreeing';
  }
}

export class Agreement {
  readonly #terms: Terms;
  readonly #call: Call;
  readonly #peers = new Map<string, Peer>();
  readonly #settled = new Set<() => void>();
  #secret: Secret;
  /** Made, and being handed over. */
  #next: Secret | undefined;
  #handover: ReturnType<typeof setTimeout> | undefined;
  #outgoing: Outgoing | undefined;
  /** What was decided, which others are told first, and what is done. */
  #yields: boolean;
  #clear: boolean;
  #shown = '';
  #over = false;

  constructor(terms: Terms, call: Call) {
    [this.#terms, this.#call, this.#secret, this.#yields, this.#clear] = [terms, call, newSecret(0), !terms.able, !terms.able];
  }

  /** Begins to encrypt; nothing is sent before. */
  async begin(): Promise<void> {
    if (this.#terms.able) await this.#use(this.#secret);
  }

  end(): void {
    this.#over = true;
    clearTimeout(this.#handover);
    for (const peer of this.#peers.values()) clearTimeout(peer.timer);
    this.#peers.clear();
    this.#settle();
  }

  /** Whether this browser sends without encryption, or is about to. */
  get clear(): boolean {
    return this.#clear || this.#yields;
  }

  get peers(): PeerState[] {
    return [...this.#peers.values()].map(({ identity, stage, agreed, clear }) => ({ identity, stage, clear, code: agreed?.code }));
  }

  peer(identity: string): PeerState | undefined {
    return this.peers.find((one) => one.identity === identity);
  }

  /** Who is there, by identity, with the seat of each. */
  present(people: ReadonlyMap<string, string>): void {
    if (this.#over) return;
    let left = false;
    for (const [identity, peer] of this.#peers) {
      if (people.get(identity) === peer.sid) continue;
      clearTimeout(peer.timer);
      this.#peers.delete(identity);
      left = true;
    }
    for (const [identity, sid] of people) {
      if (this.#peers.has(identity) || identity === this.#terms.me) continue;
      const peer = new Peer(identity, sid);
      this.#peers.set(identity, peer);
      if (this.#terms.able) void this.#enqueue(peer, () => this.#attempt(peer));
    }
    if (left) this.#renew();
    this.#judge();
  }

  /** Takes a message of the agreement. */
  take(identity: string, bytes: Uint8Array): void {
    const peer = this.#peers.get(identity);
    const message = peer && parse(bytes);
    if (message) void this.#enqueue(peer, () => this.#taken(peer, message));
  }

  /** Resolves when nobody is being agreed with any more; at the latest when all who are silent were given up. */
  settled(): Promise<void> {
    if (this.#isSettled()) return Promise.resolve();
    return new Promise((done) => this.#settled.add(done));
  }

  /** Seals a message; nothing where one sends in the clear. */
  async seal(content: Content): Promise<Bytes | undefined> {
    return this.#clear ? undefined : this.#outgoing?.seal(content);
  }

  /** Hands what somebody sealed to `opened`, in the order in which it came. */
  open(identity: string, packet: Uint8Array, opened: (content: Content) => void): void {
    const peer = this.#peers.get(identity);
    if (peer) void this.#enqueue(peer, async () => {
      const content = await peer.incoming.open(packet);
      if (content && (content.to === '' || content.to === this.#terms.me)) opened(content);
    });
  }

  #enqueue(peer: Peer, work: () => Promise<void>): Promise<void> {
    if (peer.waiting >= MOST_WAITING) return peer.queue;
    peer.waiting++;
    // What fails here fails for the one message: the clock begins the attempt anew.
    peer.queue = peer.queue.then(() => (this.#isThere(peer) ? work() : undefined)).catch(() => undefined).then(() => {
      peer.waiting--;
      if (this.#isThere(peer)) this.#judge();
    });
    return peer.queue;
  }

  #isThere(peer: Peer): boolean {
    return !this.#over && this.#peers.get(peer.identity) === peer;
  }

  /** Begins an attempt, of which the other is told; `number` if it follows one of theirs. */
  async #attempt(peer: Peer, number?: string): Promise<void> {
    if (peer.attempts >= MOST_ATTEMPTS || peer.failures >= MOST_FAILURES) {
      peer.givenUp = true;
      peer.agreed = undefined;
      return;
    }
    peer.attempts++;
    Object.assign(peer, { agreed: undefined, theirs: undefined, confirmed: undefined });
    peer.pair = await Pair.begin(this.#terms.me, peer.identity, number);
    this.#hello(peer);
    this.#watch(peer);
  }

  #hello(peer: Peer): void {
    const yours = peer.pair?.theirs;
    this.#send(peer, { kind: 'hello', able: this.#terms.able, mine: peer.pair?.number ?? '', ...(yours === undefined ? {} : { yours }) });
  }

  /** Looks after an attempt until it came to its end: asks again while nothing is heard, and begins anew when it got stuck. */
  #watch(peer: Peer): void {
    clearTimeout(peer.timer);
    const heard = peer.able !== undefined;
    peer.timer = setTimeout(() => {
      if (!this.#isThere(peer) || peer.stage !== 'agreeing') return;
      if (peer.able === undefined) {
        if (performance.now() - peer.since >= SILENT_MS) peer.givenUp = true;
        else {
          this.#hello(peer);
          this.#watch(peer);
        }
        return this.#judge();
      }
      if (heard) peer.failures++;
      void this.#enqueue(peer, () => (heard ? this.#attempt(peer) : Promise.resolve(this.#watch(peer))));
    }, heard ? ATTEMPT_MS : ASK_MS);
  }

  async #taken(peer: Peer, message: Message): Promise<void> {
    switch (message.kind) {
      case 'hello':
        return this.#greeted(peer, message);
      case 'commit':
      case 'share':
      case 'reveal': {
        const taken = await peer.pair?.take(message);
        if (!taken) return;
        if (taken.step) this.#send(peer, taken.step);
        if (!taken.agreed) return;
        peer.agreed = taken.agreed;
        await this.#give(peer);
        return;
      }
      case 'key':
      case 'have':
        if (!peer.agreed || !peer.pair?.concerns(message)) return;
        return this.#opened(peer, message, await peer.agreed.opener.open(fromBase64(message.box) ?? new Uint8Array(), utf8(message.kind)));
    }
  }

  async #greeted(peer: Peer, { able, mine, yours }: Hello): Promise<void> {
    peer.able = able;
    peer.givenUp = false;
    if (!this.#terms.able || !able) {
      peer.agreed = undefined;
      // Who can't says so, once for each time that it is asked.
      if (!this.#terms.able && able) this.#hello(peer);
      return;
    }
    // Another number than the one that is known: they begin anew, and this side follows. An attempt of ours that has met nobody is as good.
    if (!peer.pair || (peer.pair.theirs !== undefined && peer.pair.theirs !== mine)) await this.#attempt(peer, peer.pair?.number);
    const pair = peer.pair;
    if (!pair || peer.givenUp) return;
    const step = await pair.meet(mine);
    if (yours !== pair.number) this.#hello(peer);
    if (step) this.#send(peer, step);
    if (peer.stage === 'agreeing') this.#watch(peer);
  }

  async #opened(peer: Peer, { kind }: Sealed, plain: Bytes | undefined): Promise<void> {
    if (!plain || plain.length < 5) return;
    const number = new DataView(plain.buffer).getUint32(0);
    if (kind === 'have') {
      if (number > (this.#next ?? this.#secret).number) return;
      peer.confirmed = number;
      peer.failures = 0;
      if (this.#next && this.#handedOver(this.#next)) await this.#use(this.#next);
      return;
    }
    if (plain.length !== 5 + SECRET || (peer.theirs !== undefined && number < peer.theirs)) return;
    const secret = { number, bytes: plain.slice(5) };
    if (peer.theirs !== number) {
      await peer.incoming.learn(secret);
      await this.#call.decrypt(peer.identity, secret);
    }
    [peer.theirs, peer.clear] = [number, plain[4] === 1];
    await this.#box(peer, 'have', plain.slice(0, 5));
  }

  /** Gives somebody the newest secret, and says whether one sends in the clear. */
  async #give(peer: Peer): Promise<void> {
    const { number, bytes } = this.#next ?? this.#secret;
    const plain = new Uint8Array(5 + SECRET);
    new DataView(plain.buffer).setUint32(0, number);
    plain[4] = this.#yields ? 1 : 0;
    plain.set(bytes, 5);
    await this.#box(peer, 'key', plain);
  }

  async #box(peer: Peer, kind: 'key' | 'have', plain: Bytes): Promise<void> {
    const { agreed, pair } = peer;
    if (agreed && pair?.theirs !== undefined) this.#send(peer, { kind, from: pair.number, to: pair.theirs, box: toBase64(await agreed.sealer.seal(plain, utf8(kind))) });
  }

  #send(peer: Peer, message: Message): void {
    this.#call.send(peer.identity, utf8(JSON.stringify(message)));
  }

  /** Somebody left: what is sent from now on is not for them. */
  #renew(): void {
    if (!this.#terms.able) return;
    this.#next = newSecret((this.#next ?? this.#secret).number + 1);
    clearTimeout(this.#handover);
    const made = this.#next;
    this.#handover = setTimeout(() => void this.#use(made), HANDOVER_MS);
    void this.#tellAll();
    if (this.#handedOver(made)) void this.#use(made);
  }

  async #tellAll(): Promise<void> {
    await Promise.all([...this.#peers.values()].map((peer) => peer.agreed && this.#enqueue(peer, () => this.#give(peer))));
  }

  #handedOver({ number }: Secret): boolean {
    return [...this.#peers.values()].every((peer) => peer.stage !== 'ready' || peer.confirmed === number);
  }

  async #use(secret: Secret): Promise<void> {
    if (this.#over || (this.#next && this.#next !== secret)) return;
    clearTimeout(this.#handover);
    [this.#secret, this.#next] = [secret, undefined];
    await this.#call.encrypt(secret);
    const outgoing = await Outgoing.with(secret, this.#terms.me);
    if (this.#secret === secret) this.#outgoing = outgoing;
  }

  #isSettled(): boolean {
    return this.#over || !this.#terms.able || [...this.#peers.values()].every((peer) => peer.stage !== 'agreeing');
  }

  #settle(): void {
    for (const done of this.#settled) done();
    this.#settled.clear();
  }

  /** Draws the conclusions from how far one is with whom. */
  #judge(): void {
    const yields = !this.#terms.able || (this.#terms.yields && [...this.#peers.values()].some((peer) => peer.stage === 'unable'));
    if (yields !== this.#yields) {
      this.#yields = yields;
      // They are told first: what comes in the clear without a word of it is not taken for mine.
      void this.#tellAll().then(() => {
        if (this.#over || this.#clear === this.#yields) return;
        this.#clear = this.#yields;
        this.#call.clear(this.#clear);
      });
    }
    if (this.#isSettled()) this.#settle();
    const shown = JSON.stringify([this.clear, this.peers]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#call.changed();
  }
}

/** Nothing for what is no message of the agreement. */
function parse(bytes: Uint8Array): Message | undefined {
  if (bytes.length > MOST_MESSAGE) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const text = (...names: string[]) => names.every((name) => typeof fields[name] === 'string');
  switch (fields['kind']) {
    case 'hello':
      return typeof fields['able'] === 'boolean' && text('mine') && (fields['yours'] === undefined || text('yours')) ? (value as Hello) : undefined;
    case 'commit':
      return text('from', 'to', 'hash') ? (value as Step) : undefined;
    case 'share':
    case 'reveal':
      return text('from', 'to', 'point', 'nonce') ? (value as Step) : undefined;
    case 'key':
    case 'have':
      return text('from', 'to', 'box') ? (value as Sealed) : undefined;
    default:
      return undefined;
  }
}
