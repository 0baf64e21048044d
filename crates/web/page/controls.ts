// The buttons of a call. Each says what pressing it does; none changes its place.

import { Track, type LocalParticipant } from 'livekit-client';
import { el } from './dom';
import { icon, type IconName } from './icons';
import { setLabel, setText, type TextKey } from './texts';

export interface ControlActions {
  toggle(source: Track.Source): Promise<void>;
  leave(): void;
}

/** The button that opens and closes the text pane: it keeps its words and says by its state what it did. */
export class TextButton {
  readonly element: HTMLButtonElement;
  constructor(pane: HTMLElement, opened: () => void) {
    this.element = el('button', { type: 'button', class: 'kern-btn kern-btn--secondary control', id: 'toggle-text', 'aria-expanded': 'false', 'aria-controls': pane.id }, icon('text'), setText(el('span', { class: 'kern-label' }), 'talk.text'));
    pane.hidden = true;
    this.element.addEventListener('click', () => {
      pane.hidden = !pane.hidden;
      this.element.setAttribute('aria-expanded', String(!pane.hidden));
      window.dispatchEvent(new Event('resize')); // the faces make room before the focus scrolls
      if (!pane.hidden) opened();
    });
  }
  open(): void {
    if (this.element.getAttribute('aria-expanded') === 'false') this.element.click();
  }
}

export class Controls {
  readonly #microphone: Toggle;
  readonly #camera: Toggle;
  readonly #screen: Toggle;
  readonly element: HTMLElement;

  constructor(actions: ControlActions, text?: TextButton) {
    const toggle = (name: 'microphone' | 'camera' | 'screen', source: Track.Source) => new Toggle(name, source, actions);
    this.#microphone = toggle('microphone', Track.Source.Microphone);
    this.#camera = toggle('camera', Track.Source.Camera);
    this.#screen = toggle('screen', Track.Source.ScreenShare);
    const leave = el('button', { type: 'button', class: 'kern-btn kern-btn--primary control control--leave', id: 'leave' }, icon('leave'), setText(el('span', { class: 'kern-label' }), 'call.leave'));
    leave.addEventListener('click', () => actions.leave());
    this.element = setLabel(el('div', { class: 'controls', role: 'group' }, this.#microphone.element, this.#camera.element, this.#screen.element, ...(text ? [text.element] : []), leave), 'call.controls');
  }

  /** Brings the buttons in line with what is sent and what may be sent; before a call stands one can only leave. */
  update(me: LocalParticipant, connected: boolean): void {
    this.#microphone.update(me, me.isMicrophoneEnabled, connected);
    this.#camera.update(me, me.isCameraEnabled, connected);
    this.#screen.update(me, me.isScreenShareEnabled, connected && 'getDisplayMedia' in (navigator.mediaDevices ?? {}));
  }
}

class Toggle {
  readonly #label = el('span', { class: 'kern-label' });
  readonly element: HTMLButtonElement;
  readonly #name: 'microphone' | 'camera' | 'screen';
  readonly #source: Track.Source;
  #busy = false;

  constructor(name: 'microphone' | 'camera' | 'screen', source: Track.Source, actions: ControlActions) {
    this.#name = name;
    this.#source = source;
    this.element = el('button', { type: 'button', class: 'kern-btn kern-btn--secondary control', id: `toggle-${name}` }, icon(name), this.#label);
    // Disabling the button meanwhile would take the focus from somebody who uses a keyboard.
    this.element.addEventListener('click', async () => {
      if (this.#busy) return;
      this.#busy = true;
      await actions.toggle(source).finally(() => (this.#busy = false));
    });
  }

  update(me: LocalParticipant, on: boolean, possible: boolean): void {
    const key: TextKey = `call.${this.#name}.${on ? 'off' : 'on'}`;
    setText(this.#label, key);
    const off: IconName = `${this.#name}-off`;
    const sharing = this.#name === 'screen';
    this.element.firstElementChild?.replaceWith(icon(on === sharing ? off : this.#name));
    this.element.dataset['on'] = String(on);
    this.element.hidden = !possible || !mayPublish(me, this.#source);
  }
}

function mayPublish(me: LocalParticipant, source: Track.Source): boolean {
  const permissions = me.permissions;
  if (!permissions) return true;
  const sources = permissions.canPublishSources.map((allowed) => Track.sourceFromProto(allowed));
  return permissions.canPublish && (sources.length === 0 || sources.includes(source));
}
