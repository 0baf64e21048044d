// The consultation's part of a call: who is there and why, real-time text, captions, chat, signing, and what is encrypted.

import { LocalVideoTrack, RoomEvent, Track, type Participant, type Room, type RoomOptions } from 'livekit-client';
import type { Addition } from '../call';
import { TextButton } from '../controls';
import { el } from '../dom';
import { clearText, setLabel, setText, type TextKey } from '../texts';
import { AS_SIGNING, personOf, SIGNING, type Tiles } from '../tiles';
import { ASK_MUTE, AskMute } from './ask-mute';
import { Problem } from './api';
import { Encryption, isAble } from './e2ee/encryption';
import type { Policy } from './e2ee/layer';
import { button } from './office';
import { Shield } from './shield';
import { BATCH_MS, difference, MOST_BYTES, Receiver, Sender } from './rtt';
import type { Present, Role } from './view';

export const TOPICS = { rtt: 'rtt', captions: 'captions', chat: 'chat' } as const;
/** A chat line; longer ones are cut by the field. */
export const MOST_CHAT = 1_000;
/** Lines kept on the page. */
const MOST_LINES = 200;
/** What one writes into the field of the real-time text before it starts over. */
const MOST_TYPED = 2_000;

/** `extra` stands among what is below the people, `lobby` beside them where there is room. */
export interface TalkOptions {
  readonly captions: boolean;
  readonly phone: string;
  readonly extra?: HTMLElement;
  readonly lobby?: HTMLElement;
}

export class Talk implements Addition {
  readonly pins = true;
  readonly phone: string;
  readonly status: HTMLElement;
  readonly below: HTMLElement;
  readonly beside: HTMLElement;
  readonly panes: HTMLElement;
  readonly text: TextButton;
  readonly mute = new AskMute((identity) => this.#roleOf(identity) === 'official', (to) => this.#encryption.send(new Uint8Array(1), ASK_MUTE, to));
  readonly #encryption: Encryption;
  readonly #shield: Shield;
  readonly #speaker = el('p', { class: 'kern-sr-only', role: 'status', id: 'speaker' });
  /** What went wrong with one's own: for the eye as well. */
  readonly #failed = { text: el('p', { class: 'kern-body', role: 'status', id: 'unsent' }), signing: el('p', { class: 'kern-body', role: 'status', id: 'unsigned' }) };
  #signs = false;
  /** One change of it after the other: in the middle of one there is no track. */
  #signed: Promise<void> = Promise.resolve();
  readonly #signing = button('signing', 'talk.signing', 'secondary', () => void (this.#signed = this.#signed.then(() => this.#sign())));
  readonly #rtt: Written;
  readonly #captions: Written;
  readonly #lines = setLabel(el('div', { class: 'lines', role: 'log', id: 'chat-lines', tabindex: '0' }), 'talk.chat');
  readonly #chatInput = el('input', { class: 'kern-form-input__input', id: 'chat', maxlength: String(MOST_CHAT), autocomplete: 'off' });
  #people: readonly Present[] = [];
  #room: Room | undefined;
  #tiles: Tiles | undefined;
  #pinned = '';

  /** For one call, with what the office wants of encryption: as TalkOptions. */
  static async begin(policy: Policy | undefined, options: TalkOptions): Promise<Talk> {
    const encryption = await Encryption.begin(policy ?? 'off');
    if (policy !== 'required' || encryption.able) return new Talk(encryption, options);
    throw cannotEncrypt();
  }

  private constructor(encryption: Encryption, options: TalkOptions) {
    this.phone = options.phone;
    [this.#encryption, this.#shield] = [encryption, new Shield(encryption)];
    encryption.changed = () => this.#shield.refresh();
    encryption.received = (topic, payload, from) => this.#receive(payload, from, topic);
    this.#rtt = new Written('rtt', true, (packet) => this.#send(packet, TOPICS.rtt), () => this.text.open());
    this.#captions = new Written('captions', options.captions, (packet) => this.#send(packet, TOPICS.captions), () => this.text.open());
    this.#signing.setAttribute('aria-pressed', 'false');
    this.below = el('div', { class: 'talk' },
      this.#signing, this.#failed.signing, ...(options.extra ? [options.extra] : []),
      this.#shield.people, this.#shield.meaning, this.#speaker, this.mute.element);
    this.status = this.#shield.element;
    const form = el('form', { class: 'pane__form' }, setText(el('label', { class: 'kern-label', for: 'chat' }), 'talk.chat.label'), this.#chatInput,
      el('button', { type: 'submit', class: 'kern-btn kern-btn--secondary', id: 'chat-send' }, setText(el('span', { class: 'kern-label' }), 'talk.chat.send')));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const line = this.#chatInput.value.trim();
      if (!line) return;
      this.#chatInput.value = '';
      this.#send(new TextEncoder().encode(line), TOPICS.chat);
      this.#line(undefined, line);
    });
    this.panes = setLabel(el('aside', { class: 'panes', id: 'panes' },
      this.#failed.text, this.#rtt.element, this.#captions.element,
      el('section', { class: 'pane' }, setText(el('h2', { class: 'kern-heading-small' }), 'talk.chat'), this.#lines, form)), 'talk.text');
    // A browser brings the first line of a field into view; the whole of it is wanted.
    this.panes.addEventListener('focusin', ({ target }) => target instanceof HTMLElement && target.scrollIntoView({ block: 'nearest' }));
    this.beside = el('div', { class: 'call__side' }, ...(options.lobby ? [options.lobby] : []), this.panes);
    this.text = new TextButton(this.panes, () => this.#rtt.focus());
  }

  options(): RoomOptions {
    return this.#encryption.options();
  }

  joined(): Promise<void> {
    return this.#encryption.joined();
  }

  async begin(room: Room, tiles: Tiles): Promise<void> {
    [this.#room, this.#tiles] = [room, tiles];
    this.mute.begin(room);
    await this.#encryption.prepare(room);
    room
      .on(RoomEvent.ActiveSpeakersChanged, (speakers) => {
        const name = speakers.find((one) => !one.isLocal)?.name;
        if (name) setText(this.#speaker, { key: 'talk.speaks', args: { name } });
      });
  }

  /** Whether one's own camera shows, or showed last, somebody who signs. */
  get signs(): boolean {
    return this.#signs;
  }

  /** Who the desk says is there. */
  people(people: readonly Present[]): void {
    this.#people = people;
    this.#shield.show(people);
    this.refresh();
  }

  refresh(): void {
    const me = this.#room?.localParticipant;
    this.#encryption.sync();
    this.#shield.refresh();
    const camera = me?.getTrackPublication(Track.Source.Camera);
    if (camera) this.#signs = camera.trackName === SIGNING;
    // Who may only look on can't show that they sign.
    this.#signing.hidden = me?.permissions?.canPublish === false;
    this.#signing.setAttribute('aria-pressed', String(this.#signs));
    // A pair is pinned once when it is there; whoever unpins it has the last word.
    const pair = this.#people.find((one) => one.role === 'interpreter' && one.linked_to !== null);
    if (!pair || !this.#tiles) return;
    // Whoever came by another device has another identity; the one that came last is the one that is there to stay.
    const latest = this.#tiles.identities.reverse();
    const both = [pair.linked_to, pair.id].flatMap((id) => latest.find((identity) => personOf(identity) === id) ?? []);
    if (both.length < 2 || this.#pinned === both.join()) return;
    this.#pinned = both.join();
    this.#tiles.pinTogether(both);
  }

  end(): void {
    this.#rtt.end();
    this.#captions.end();
    this.#encryption.end();
    this.#room = undefined;
  }

  #send(packet: Uint8Array<ArrayBuffer>, topic: string): void {
    if (this.#room) void this.#encryption.send(packet, topic).then(() => clearText(this.#failed.text), () => setText(this.#failed.text, 'talk.unsent'));
  }

  #roleOf(identity: string): Role | undefined {
    return this.#people.find((one) => personOf(identity) === one.id)?.role;
  }

  #receive(payload: Uint8Array, participant: Participant, topic: string): void {
    if (topic === ASK_MUTE) return this.mute.received(participant);
    if (this.#roleOf(participant.identity) === 'observer') return; // who only watches says nothing
    if (topic === TOPICS.rtt) this.#rtt.take(participant, payload);
    if (topic === TOPICS.captions) this.#captions.take(participant, payload);
    if (topic === TOPICS.chat && payload.length <= MOST_CHAT * 4) this.#line(participant, new TextDecoder().decode(payload).slice(0, MOST_CHAT));
  }

  #line(from: Participant | undefined, words: string): void {
    const who = setText(el('span', { class: 'lines__who' }), from ? { key: 'talk.from', args: { name: from.name || from.identity } } : 'talk.me');
    this.#lines.append(el('p', { class: 'kern-body' }, who, ' ', words));
    while (this.#lines.childElementCount > MOST_LINES) this.#lines.firstElementChild?.remove();
    this.#lines.scrollTop = this.#lines.scrollHeight;
    if (from) this.text.open();
  }

  /** Publishes the camera anew under the name that keeps its frame rate, or as an ordinary picture again. */
  async #sign(): Promise<void> {
    const me = this.#room?.localParticipant;
    if (!me) return;
    const publication = me.getTrackPublication(Track.Source.Camera);
    const begins = publication?.trackName !== SIGNING;
    clearText(this.#failed.signing);
    try {
      const track = publication?.videoTrack;
      if (track instanceof LocalVideoTrack) {
        await me.unpublishTrack(track, false);
        await me.publishTrack(track, { ...(begins ? AS_SIGNING : {}), source: Track.Source.Camera });
      } else {
        await me.setCameraEnabled(true, undefined, AS_SIGNING);
      }
    } catch {
      setText(this.#failed.signing, 'device.camera.failed');
    }
    this.refresh();
  }
}

/** A pane of text that appears as it is typed: one paragraph a person, and a field for one's own where one may write. */
class Written {
  readonly element: HTMLElement;
  readonly #others = el('div', { class: 'lines', role: 'log', tabindex: '0' });
  readonly #field = el('textarea', { class: 'kern-form-input__input', rows: '2', maxlength: String(MOST_TYPED) });
  readonly #receivers = new Map<string, { receiver: Receiver; words: HTMLElement }>();
  readonly #sender = new Sender();
  readonly #mayWrite: boolean;
  readonly #heard: () => void;
  #sent = '';
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(name: 'rtt' | 'captions', mayWrite: boolean, send: (packet: Uint8Array<ArrayBuffer>) => void, heard: () => void) {
    this.#mayWrite = mayWrite;
    this.#heard = heard;
    this.#field.id = name;
    this.#others.id = `${name}-lines`;
    setLabel(this.#others, `talk.${name}`);
    // Each change goes out after one batch at the latest, and never waits for the next key.
    this.#field.addEventListener('input', () => {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        const change = difference(this.#sent, this.#field.value);
        this.#sent = this.#field.value;
        for (const packet of this.#sender.packets(change)) send(packet);
      }, BATCH_MS);
    });
    this.element = el('section', { class: 'pane' },
      setText(el('h2', { class: 'kern-heading-small' }), `talk.${name}`), setText(el('p', { class: 'kern-body' }), `talk.${name}.hint`), this.#others,
      ...(mayWrite ? [setText(el('label', { class: 'kern-label', for: name }), `talk.${name}.label`), this.#field] : []));
  }

  focus(): void {
    if (this.#mayWrite) this.#field.focus();
  }

  take(from: Participant, packet: Uint8Array): void {
    if (packet.length > MOST_BYTES) return;
    let entry = this.#receivers.get(from.identity);
    if (!entry) {
      const words = el('span', { class: 'lines__words' });
      entry = { receiver: new Receiver(), words };
      this.#receivers.set(from.identity, entry);
      this.#others.append(el('p', { class: 'kern-body' }, setText(el('span', { class: 'lines__who' }), { key: 'talk.from', args: { name: from.name || from.identity } }), ' ', words));
    }
    if (!entry.receiver.take(packet)) return;
    entry.words.textContent = entry.receiver.text;
    this.#others.scrollTop = this.#others.scrollHeight;
    this.#heard();
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

/** Turns away who can't encrypt where nothing else will do: before they wait, and before anything is sent. */
export function mustEncrypt(policy: Policy | undefined): void {
  if (policy === 'required' && !isAble()) throw cannotEncrypt();
}

const cannotEncrypt = () => new Problem('no-encryption', 0);

export function problemText(code: string): TextKey {
  switch (code) {
    case 'link-unknown': case 'link-revoked': case 'too-early': case 'too-late': case 'cancelled': case 'no-session': case 'no-authority': case 'not-admitted': case 'offline': case 'no-encryption':
      return `problem.${code}`;
    case 'room': case 'busy': case 'store': case 'ended': case 'too-many-people':
      return `amt.problem.${code}`;
    default:
      return 'problem.other';
  }
}
