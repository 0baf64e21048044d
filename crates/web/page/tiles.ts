// The people in the call: one tile for each, and one more for a screen somebody shares.

import { RemoteTrackPublication, Track, type LocalParticipant, type Participant, type RemoteParticipant, type VideoTrack } from 'livekit-client';
import { el } from './dom';
import { icon } from './icons';
import { setLabel, setText, type Message } from './texts';

/** Two side by side, such as somebody who signs and the interpreter, are what fits beside each other and stays readable. */
const MOST_PINNED = 2;

/** The name of the track by which somebody signs. */
export const SIGNING = 'signing';
/** How it is published: what hands do needs every frame, whatever becomes of the size. */
export const AS_SIGNING = { name: SIGNING, simulcast: false, degradationPreference: 'maintain-framerate' } as const;

/** The name others see; without one the page says so instead of showing an internal identity. */
export function nameOf(participant: Participant): string | Message {
  return participant.name || { key: 'participant.unnamed' };
}

/** Who an identity is: a person's second browser has the person's id with a number after a dot. */
export function personOf(identity: string): string {
  return identity.split('.', 1)[0] ?? identity;
}

export class Tiles {
  readonly element = setLabel(el('div', { class: 'tiles', role: 'group' }), 'call.participants');
  readonly #tiles = new Map<string, Tile>();
  readonly #pinnable: boolean;

  constructor(pinnable = false) {
    this.#pinnable = pinnable;
  }

  /** The identities that have a camera tile, in the order in which they came. */
  get identities(): string[] {
    return [...this.#tiles.values()].filter((tile) => tile.source === Track.Source.Camera).map((tile) => tile.identity);
  }

  /** Pins the camera tiles of these identities, and no others: a person and their interpreter stay side by side. */
  pinTogether(identities: readonly string[]): void {
    for (const tile of this.#tiles.values()) tile.pin(tile.source === Track.Source.Camera && identities.includes(tile.identity));
  }

  /** Two may be pinned: the one that was pinned first gives way. */
  #pin(tile: Tile): void {
    const pinned = [...this.#tiles.values()].filter((other) => other.pinnedAt > 0).sort((a, b) => a.pinnedAt - b.pinnedAt);
    if (tile.pinnedAt === 0 && pinned.length >= MOST_PINNED) pinned[0]?.pin(false);
    tile.pin(tile.pinnedAt === 0);
    window.dispatchEvent(new Event('resize'));
  }

  /** Brings a participant's tiles in line with what they send now. */
  update(participant: LocalParticipant | RemoteParticipant): void {
    this.#place(participant, Track.Source.Camera, true);
    this.#place(participant, Track.Source.ScreenShare, videoOf(participant, Track.Source.ScreenShare) !== undefined);
    this.#count();
  }

  remove(participant: Participant): void {
    this.#drop(key(participant, Track.Source.Camera));
    this.#drop(key(participant, Track.Source.ScreenShare));
    this.#count();
  }

  /** Takes the tiles of all others away. */
  keep(identities: readonly string[]): void {
    for (const [id, { identity }] of this.#tiles) if (!identities.includes(identity)) this.#drop(id);
    this.#count();
  }

  clear(): void {
    for (const id of [...this.#tiles.keys()]) this.#drop(id);
  }

  #place(participant: LocalParticipant | RemoteParticipant, source: Track.Source, wanted: boolean): void {
    const id = key(participant, source);
    let tile = this.#tiles.get(id);
    if (!wanted) return this.#drop(id);
    if (!tile) {
      tile = new Tile(participant.identity, source, participant.isLocal, this.#pinnable ? (made) => this.#pin(made) : undefined);
      this.#tiles.set(id, tile);
      // A shared screen is what everybody should look at: it comes first. Oneself comes last.
      if (source === Track.Source.ScreenShare) this.element.prepend(tile.element);
      else if (participant.isLocal) this.element.append(tile.element);
      else this.element.insertBefore(tile.element, this.element.querySelector('[data-local]'));
    }
    tile.update(participant);
  }

  #drop(id: string): void {
    this.#tiles.get(id)?.remove();
    this.#tiles.delete(id);
  }

  #count(): void {
    this.element.dataset['count'] = String(this.#tiles.size);
  }
}

function key(participant: Participant, source: Track.Source): string {
  return `${source} ${participant.identity}`;
}

function videoOf(participant: Participant, source: Track.Source): VideoTrack | undefined {
  const publication = participant.getTrackPublication(source);
  return publication && !publication.isMuted ? publication.videoTrack : undefined;
}

class Tile {
  readonly element: HTMLElement;
  readonly identity: string;
  readonly source: Track.Source;
  readonly #video = el('video', { autoplay: '', playsinline: '' });
  readonly #off = setText(el('p', { class: 'tile__off kern-body' }), 'tile.camera.off');
  readonly #name = el('span', { class: 'tile__name' });
  readonly #muted = setText(el('span', { class: 'tile__mark tile__mark--muted' }), 'tile.muted');
  readonly #speaking = setText(el('span', { class: 'tile__mark tile__mark--speaking' }), 'tile.speaking');
  readonly #signing = setText(el('span', { class: 'tile__mark tile__mark--speaking' }), 'tile.signing');
  readonly #pin = el('button', { type: 'button', class: 'tile__pin kern-btn kern-btn--secondary', 'aria-pressed': 'false' }, icon('pin'), setText(el('span', { class: 'kern-label' }), 'tile.pin'));
  #track: VideoTrack | undefined;
  /** When it was pinned, in milliseconds of the page's life; 0: not. */
  pinnedAt = 0;

  constructor(identity: string, source: Track.Source, local: boolean, pin?: (tile: Tile) => void) {
    [this.identity, this.source] = [identity, source];
    this.#video.muted = true; // sound has elements of its own
    const marks = source === Track.Source.Camera ? [this.#signing, this.#speaking, this.#muted] : [];
    this.element = el('article', { class: 'tile' }, this.#video, this.#off, el('div', { class: 'tile__label kern-body' }, this.#name, ...marks));
    if (pin) {
      this.#pin.addEventListener('click', () => pin(this));
      this.element.append(this.#pin);
    }
    Object.assign(this.element.dataset, { identity, source });
    if (local) this.element.dataset['local'] = '';
    this.#video.classList.toggle('mirrored', local && source === Track.Source.Camera);
  }

  pin(on: boolean): void {
    this.pinnedAt = on ? this.pinnedAt || performance.now() : 0;
    this.#pin.setAttribute('aria-pressed', String(on));
    this.element.toggleAttribute('data-pinned', on);
  }

  update(participant: LocalParticipant | RemoteParticipant): void {
    const track = videoOf(participant, this.source);
    if (track !== this.#track) {
      this.#track?.detach(this.#video);
      track?.attach(this.#video);
      this.#track = track;
    }
    const screen = this.source === Track.Source.ScreenShare;
    const name = nameOf(participant);
    const label: Message = screen
      ? { key: 'tile.screen', args: { name } }
      : participant.isLocal
        ? { key: 'tile.you', args: { name } }
        : typeof name === 'string'
          ? { key: 'participant.named', args: { name } }
          : name;
    setText(this.#name, label);
    setLabel(this.element, label);
    setLabel(this.#pin, { key: 'tile.pin.label', args: { name: label } });
    this.#signing.hidden = participant.getTrackPublication(this.source)?.trackName !== SIGNING;
    setLabel(this.#video, screen ? label : { key: 'tile.video', args: { name } });
    this.#video.hidden = track === undefined;
    this.#off.hidden = track !== undefined;
    const kept = participant.getTrackPublication(this.source);
    setText(this.#off, kept instanceof RemoteTrackPublication && !kept.isMuted && !kept.isDesired ? 'tile.picture.off' : 'tile.camera.off');
    this.#muted.hidden = participant.isMicrophoneEnabled;
    this.#speaking.hidden = !participant.isSpeaking;
    this.element.dataset['sid'] = participant.sid;
    this.element.dataset['muted'] = String(!participant.isMicrophoneEnabled);
    this.element.dataset['speaking'] = String(!screen && participant.isSpeaking);
  }

  remove(): void {
    this.#track?.detach(this.#video);
    this.element.remove();
  }
}
