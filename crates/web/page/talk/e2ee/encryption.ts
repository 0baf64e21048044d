// End-to-end encryption of a call: the client library encrypts frames in its worker, with keys that browsers agree on among themselves
// (agreement.ts); messages are sealed here. Tells what is really on, from the state of each track and each person.

import { BaseKeyProvider, ConnectionState, RoomEvent, type Participant, type Room, type RoomOptions } from 'livekit-client';
import { Agreement, type PeerState } from './agreement';
import { toBytes, type Bytes } from './bytes';
import { layerOf, type Layer, type Policy } from './layer';
import { mediaKey, type Secret } from './sender';

/** Messages of the agreement, and sealed messages; what is in these has its topic inside. */
const AGREE = 'e2ee-agree';
const SEALED = 'e2ee';
/** The library's ring of keys; the number of a secret goes round in it. */
const RING = 16;
/** The worker answers at once or not at all. */
const WORKER_MS = 5_000;
/** The worker says so at once when it encrypts or no longer does; so often it is asked again. */
const SWITCH_MS = 2_000;
const MOST_SWITCHES = 5;
/** Messages that wait until all present have agreed; more are refused. */
export const MOST_UNSENT = 200;

/** One key for each who sends. */
class Keys extends BaseKeyProvider {
  readonly #held = new Map<string, { key: CryptoKey; participantIdentity: string; keyIndex: number }[]>();
  readonly #me: () => string;

  constructor(me: () => string) {
    // Keys are exchanged and never ratcheted; a frame that came before its key must not spoil the key.
    super({ sharedKey: false, ratchetWindowSize: 0, failureTolerance: -1, keyringSize: RING, keySize: 256 });
    this.#me = me;
  }

  async set(identity: string, secret: Secret): Promise<void> {
    const entry = { key: await mediaKey(secret), participantIdentity: identity, keyIndex: secret.number % RING };
    // Of one's own only the newest: the library sets keys anew when it reconnects, and must not go back to one that somebody who left has.
    this.#held.set(identity, identity === this.#me() ? [entry] : [...(this.#held.get(identity) ?? []).slice(-1), entry]);
    this.onSetEncryptionKey(entry.key, identity, entry.keyIndex);
  }

  override getKeys() {
    return [...this.#held.values()].flat();
  }

  override getLatestManuallySetKeyIndex(): number {
    return this.#held.get(this.#me())?.[0]?.keyIndex ?? 0;
  }
}

/** What a browser needs for it. */
export function isAble(): boolean {
  const sender = 'RTCRtpSender' in window && 'createEncodedStreams' in RTCRtpSender.prototype;
  return (sender || 'RTCRtpScriptTransform' in window) && window.isSecureContext && 'subtle' in crypto && 'Worker' in window;
}

export class Encryption {
  readonly policy: Policy;
  readonly #worker: Worker | undefined;
  readonly #keys = new Keys(() => this.#room?.localParticipant.identity ?? '');
  #room: Room | undefined;
  #agreement: Agreement | undefined;
  #unsent = 0;
  /** Whether to encrypt, and whether that is being brought about. */
  #wanted = true;
  #switching = false;
  #last: Promise<void> = Promise.resolve();
  #refused = 0;

  /** Takes a message that somebody sent, and whether it was encrypted on the whole way. */
  received: (topic: string, payload: Bytes, from: Participant) => void = () => undefined;
  /** Something that `layer` tells of may have changed. */
  changed: () => void = () => undefined;

  private constructor(policy: Policy, worker: Worker | undefined) {
    [this.policy, this.#worker] = [policy, worker];
    // The library throws where somebody left before the worker said that it knows of them; nothing is to be done about those.
    worker?.addEventListener('message', (event: MessageEvent<{ kind?: string; data?: { participantIdentity?: string } }>) => {
      const { kind, data } = event.data;
      if (kind === 'enable' && data?.participantIdentity && this.#room && !this.#room.getParticipantByIdentity(data.participantIdentity)) event.stopImmediatePropagation();
    });
  }

  /** For one call. Where the worker does not run, the browser is one that can't. */
  static async begin(policy: Policy): Promise<Encryption> {
    return new Encryption(policy, policy === 'off' || !isAble() ? undefined : await startWorker());
  }

  /** Whether this browser can and may. */
  get able(): boolean {
    return this.#worker !== undefined;
  }

  /** For the library; nothing where this browser sends in the clear. */
  options(): Pick<RoomOptions, 'e2ee'> {
    return this.#worker ? { e2ee: { keyProvider: this.#keys, worker: this.#worker } } : {};
  }

  /** Before the room connects: everything is encrypted from the first frame on, and without a key no frame leaves. */
  async prepare(room: Room): Promise<void> {
    this.#room = room;
    const sync = () => this.sync();
    room
      .on(RoomEvent.DataReceived, (payload, from, _, topic) => from && this.#receive(toBytes(payload), from, topic ?? ''))
      .on(RoomEvent.ParticipantConnected, sync)
      .on(RoomEvent.ParticipantDisconnected, sync)
      .on(RoomEvent.ConnectionStateChanged, sync)
      .on(RoomEvent.ParticipantEncryptionStatusChanged, () => this.changed())
      .on(RoomEvent.TrackPublished, sync)
      .on(RoomEvent.TrackSubscribed, sync);
    if (this.able) await room.setE2EEEnabled(true);
  }

  /** Once the room is connected, and before anything is published. */
  async joined(): Promise<void> {
    const room = this.#room;
    if (!room) return;
    this.#agreement = new Agreement({ me: room.localParticipant.identity, able: this.able, yields: this.policy !== 'required' }, {
      send: (to, message) => void this.#publish(message, AGREE, to).catch(() => undefined),
      encrypt: (secret) => this.#keys.set(room.localParticipant.identity, secret),
      decrypt: (identity, secret) => this.#keys.set(identity, secret),
      clear: (yes) => {
        this.#wanted = !yes;
        void this.#switch(room);
      },
      changed: () => this.changed(),
    });
    await this.#agreement.begin();
    this.sync();
  }

  /** Takes who is there and what they send: also for what was not told, since the library keeps some of it back while it reconnects. */
  sync(): void {
    const room = this.#room;
    if (!room) return;
    const people = [...room.remoteParticipants.values()];
    // What is sent while the room reconnects may be lost without a word: then everybody would wait for the next try.
    if (![ConnectionState.Reconnecting, ConnectionState.SignalReconnecting].includes(room.state)) this.#agreement?.present(new Map(people.map(({ identity, sid }) => [identity, sid])));
    if (this.policy !== 'required') return;
    // Where nothing else will do, nothing that came in the clear is shown either.
    for (const publication of people.flatMap((one) => [...one.trackPublications.values()])) if (!publication.isEncrypted && publication.isDesired) publication.setSubscribed(false);
  }

  end(): void {
    this.#agreement?.end();
    this.#worker?.terminate();
  }

  /** Sends a message to all or to one, in order; sealed unless this browser sends in the clear. */
  send(payload: Bytes, topic: string, to?: string): Promise<void> {
    if (this.#unsent >= MOST_UNSENT) return Promise.reject(new Error('too many messages wait'));
    this.#unsent++;
    const sent = this.#last.then(() => this.#sendNow(payload, topic, to)).finally(() => this.#unsent--);
    this.#last = sent.catch(() => undefined);
    return sent;
  }

  /** What is on between this browser and all others. */
  layer(): Layer {
    const room = this.#room;
    const people = [...(room?.remoteParticipants.values() ?? [])].map((one) => ({
      identity: one.identity, name: one.name || one.identity, peer: this.#agreement?.peer(one.identity),
      encrypted: [...one.trackPublications.values()].every((track) => track.isEncrypted),
    }));
    const own = [...(room?.localParticipant.trackPublications.values() ?? [])];
    return layerOf({ policy: this.policy, able: this.able, clear: this.#agreement?.clear ?? !this.able, own: room?.isE2EEEnabled === true && own.every((track) => track.isEncrypted), people });
  }

  /** How far one is with somebody. */
  peer(identity: string): PeerState | undefined {
    return this.#agreement?.peer(identity);
  }

  get peers(): readonly PeerState[] {
    return this.#agreement?.peers ?? [];
  }

  /** Publishes all tracks anew in the way that is wanted, until the worker has said that it works so. */
  async #switch(room: Room): Promise<void> {
    if (this.#switching) return;
    this.#switching = true;
    for (let tries = 0; tries < MOST_SWITCHES && room.isE2EEEnabled !== this.#wanted; tries++) {
      const wanted = this.#wanted;
      // The library would tell the worker when the tracks are there: their first frames would leave in the clear.
      if (wanted) this.#worker?.postMessage({ kind: 'enable', data: { enabled: true, participantIdentity: room.localParticipant.identity } });
      await room.setE2EEEnabled(wanted).catch(() => undefined);
      await this.#works(room, wanted);
    }
    this.#switching = false;
    this.changed();
  }

  #works(room: Room, wanted: boolean): Promise<void> {
    if (room.isE2EEEnabled === wanted) return Promise.resolve();
    return new Promise((done) => {
      const over = () => {
        clearTimeout(timer);
        room.off(RoomEvent.ParticipantEncryptionStatusChanged, look);
        done();
      };
      const look = () => void (room.isE2EEEnabled === wanted && over());
      const timer = setTimeout(over, SWITCH_MS);
      room.on(RoomEvent.ParticipantEncryptionStatusChanged, look);
    });
  }

  async #sendNow(payload: Bytes, topic: string, to?: string): Promise<void> {
    // Whoever is just coming is not to miss it.
    await this.#agreement?.settled();
    const sealed = await this.#agreement?.seal({ topic, to: to ?? '', payload });
    if (sealed) return this.#publish(sealed, SEALED, to);
    if (this.able && !this.#agreement?.clear) throw new Error('there is no key');
    return this.#publish(payload, topic, to);
  }

  async #publish(payload: Bytes, topic: string, to?: string): Promise<void> {
    await this.#room?.localParticipant.publishData(payload, { reliable: true, topic, ...(to === undefined ? {} : { destinationIdentities: [to] }) });
  }

  #receive(payload: Bytes, from: Participant, topic: string): void {
    if (topic === AGREE) return this.#agreement?.take(from.identity, payload);
    if (topic === SEALED) return this.#agreement?.open(from.identity, payload, ({ topic: inner, payload: plain }) => this.received(inner, plain, from));
    // Nothing in the clear from whom one agreed with, unless they said so: anybody could have written it.
    const peer = this.#agreement?.peer(from.identity);
    if (this.able && (this.policy === 'required' || (peer?.stage === 'ready' && !peer.clear))) return this.#refuse();
    this.received(topic, payload, from);
  }

  #refuse(): void {
    if (this.#refused++ === 0) console.warn('a message came without encryption and was not shown');
  }
}

/** The library's worker, once it is known to run. */
async function startWorker(): Promise<Worker | undefined> {
  try {
    const worker = new Worker('assets/e2ee-worker.js', { name: 'e2ee' });
    const runs = await new Promise<boolean>((answer) => {
      const timer = setTimeout(() => answer(false), WORKER_MS);
      const told = (yes: boolean) => () => {
        clearTimeout(timer);
        answer(yes);
      };
      worker.addEventListener('message', told(true), { once: true });
      worker.addEventListener('error', told(false), { once: true });
      worker.postMessage({ kind: 'init', data: { keyProviderOptions: new Keys(() => '').getOptions(), loglevel: 3 } });
    });
    if (runs) return worker;
    worker.terminate();
  } catch {
    // as if there were none
  }
  return undefined;
}
