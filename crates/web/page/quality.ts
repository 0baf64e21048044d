// Pictures are given up for the sake of sound when the network stays poor, and come back when the person says so: a camera
// that turns itself on would be a surprise. Whoever wanted the pictures back keeps them, however poor it gets. A screen that one shares is
// no picture of oneself, and others may be reading it: it stays, is said to, and one button ends it.

import { ConnectionQuality } from 'livekit-client';
import { el } from './dom';
import { clearText, setText, type TextKey } from './texts';

function button(id: string, key: TextKey): HTMLButtonElement {
  return el('button', { type: 'button', class: 'kern-btn kern-btn--secondary', id, hidden: '' }, setText(el('span', { class: 'kern-label' }), key));
}

/** Poor for so long, and not only for a moment: the server looks every five seconds. */
export const POOR_MS = 10_000;
/** Good for so long before it is said. */
export const GOOD_MS = 10_000;

/** What a call does about pictures. */
export interface Pictures {
  /** Whether they may be given up without asking: never while somebody signs. */
  mayGoAlone(): boolean;
  /** Stops or starts sending one's own camera and receiving pictures. */
  switch(on: boolean): void;
  /** Ends sharing one's own screen. */
  stopSharing(): Promise<void>;
}

export class Quality {
  readonly #said = el('p', { class: 'kern-body', role: 'status', id: 'quality' });
  readonly #back = button('pictures', 'quality.pictures');
  readonly #shared = el('p', { class: 'kern-body', role: 'status', id: 'still-shared' });
  readonly #stop = button('stop-sharing', 'call.screen.off');
  /** What is said of it, and the way back: in sight while there are no pictures. */
  readonly element = el('div', { class: 'call__quality' }, this.#said, this.#back, this.#shared, this.#stop);
  /** The way to sound alone. */
  readonly button = button('audio-only', 'quality.audio');
  readonly #pictures: Pictures;
  #now: 'poor' | 'good' = 'good';
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The person's own word; what the network does then changes nothing. */
  #chosen = false;
  #pictured = true;
  #sharing = false;

  constructor(pictures: Pictures) {
    this.#pictures = pictures;
    this.#stop.addEventListener('click', () => void pictures.stopSharing().then(() => this.#stop.hidden && this.#back.focus()));
    for (const [pressed, on, next] of [[this.button, false, this.#back], [this.#back, true, this.button]] as const) {
      pressed.addEventListener('click', () => {
        this.#chosen = true;
        this.#switch(on, 'quality.chosen');
        next.focus(); // the one that was pressed is gone, and the focus must not be
      });
    }
  }

  /** Whether pictures are sent and received. */
  get pictured(): boolean {
    return this.#pictured;
  }

  /** The call stands: from here on the button works. */
  begin(): void {
    this.button.hidden = false;
  }

  /** Takes whether one's own screen is shared: while there are no pictures that must not go on unnoticed. */
  sharing(yes: boolean): void {
    this.#sharing = yes;
    const still = yes && !this.#pictured;
    this.#stop.hidden = !still;
    if (still) setText(this.#shared, 'quality.sharing');
    else clearText(this.#shared);
  }

  /** Takes what the server says of one's own connection. */
  observe(quality: ConnectionQuality): void {
    if (quality === ConnectionQuality.Unknown) return;
    const now = quality === ConnectionQuality.Poor || quality === ConnectionQuality.Lost ? 'poor' : 'good';
    if (now === this.#now) return;
    this.#now = now;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#stays(now), now === 'poor' ? POOR_MS : GOOD_MS);
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  #stays(now: 'poor' | 'good'): void {
    if (now === 'good') return void (this.#pictured ? clearText(this.#said) : setText(this.#said, 'quality.better'));
    if (!this.#pictured) return;
    // Somebody's hands, or the person's own word: then it is said, and nothing is switched.
    if (this.#chosen || !this.#pictures.mayGoAlone()) return void setText(this.#said, 'quality.poor.kept');
    this.#switch(false, 'quality.poor');
  }

  #switch(on: boolean, why: TextKey): void {
    this.#pictured = on;
    this.button.hidden = !on;
    this.#back.hidden = on;
    if (on) clearText(this.#said);
    else setText(this.#said, why);
    this.sharing(this.#sharing);
    this.#pictures.switch(on);
  }
}
