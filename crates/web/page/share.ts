// Before the browser asks what to share: one window is enough, and a whole screen shows more than people think of.

import { el } from './dom';
import { setText } from './texts';

export class ShareHint {
  readonly #go = el('button', { type: 'button', class: 'kern-btn kern-btn--primary', id: 'share-go' }, setText(el('span', { class: 'kern-label' }), 'share.go'));
  readonly #cancel = el('button', { type: 'button', class: 'kern-btn kern-btn--secondary', id: 'share-cancel' }, setText(el('span', { class: 'kern-label' }), 'share.cancel'));
  readonly element = el('dialog', { class: 'hint', id: 'share-hint', 'aria-labelledby': 'share-title', 'aria-describedby': 'share-text' },
    setText(el('h2', { class: 'kern-heading-small', id: 'share-title' }), 'share.title'),
    setText(el('p', { class: 'kern-body', id: 'share-text' }), 'share.text'),
    el('div', { class: 'actions' }, this.#go, this.#cancel));

  constructor() {
    this.#go.addEventListener('click', () => this.element.close('go'));
    this.#cancel.addEventListener('click', () => this.element.close());
  }

  /** Resolves with whether to go on; closing it by Escape is a no. The focus goes back to where it was. */
  ask(): Promise<boolean> {
    this.element.returnValue = '';
    this.element.showModal();
    return new Promise((answer) => this.element.addEventListener('close', () => answer(this.element.returnValue === 'go'), { once: true }));
  }
}
