// Whoever came to wait: told at once, and a button and a key lead to their row from wherever one is. The key writes no character, so that no
// word that is dictated presses it (WCAG 2.1.4), and neither browsers nor screen readers have it for themselves.

import { setText, type Message } from '../texts';
import { button } from '../talk/office';
import type { CardPerson } from '../talk/view';
import type { Say } from './person-row';

const KEY = 'F8';
/** A telephone, where nobody is told of keys. */
const FINGERS = matchMedia('(pointer: coarse)');

/** What is said of those who have just begun to wait. */
function whoWaits(come: readonly CardPerson[]): Message {
  const words = come.length > 1 ? 'day.waits.several' : 'day.waits';
  return { key: FINGERS.matches ? words : `${words}.key`, args: { name: come.map(({ name }) => name).join(', ') } };
}

export class Arrivals {
  readonly element: HTMLButtonElement;
  readonly #say: Say;
  /** What has the focus when the button that had it goes. */
  readonly #list: HTMLElement;
  #waiting: readonly CardPerson[] = [];
  /** Who came last. */
  #newest: string | undefined;

  constructor(say: Say, list: HTMLElement) {
    [this.#say, this.#list] = [say, list];
    this.element = button('to-waiting', 'lobby.go', 'secondary', () => this.#go());
    this.element.setAttribute('aria-keyshortcuts', KEY);
    this.element.hidden = true;
    document.addEventListener('keydown', this.#pressed);
  }

  /** Takes who waits now, in the order of their rows, which are there already. */
  update(waiting: readonly CardPerson[]): void {
    const come = waiting.filter((one) => !this.#waiting.some(({ id }) => id === one.id));
    this.#waiting = waiting;
    if (come.length > 0) {
      this.#newest = come[0]?.id;
      this.#say(whoWaits(come));
    }
    this.#show();
  }

  end(): void {
    document.removeEventListener('keydown', this.#pressed);
  }

  readonly #pressed = (event: KeyboardEvent) => {
    if (event.key !== KEY || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    // A question has to be answered first; what is behind it can't have the focus.
    if (document.querySelector('dialog:modal') || !this.#next()) return;
    event.preventDefault();
    this.#go();
  };

  /** Whoever waits after the row one is in; from elsewhere, who came last. */
  #next(): CardPerson | undefined {
    const at = document.activeElement?.closest<HTMLElement>('[data-person]')?.dataset.person;
    const place = this.#waiting.findIndex(({ id }) => id === at);
    if (place >= 0) return this.#waiting[(place + 1) % this.#waiting.length];
    return this.#waiting.find(({ id }) => id === this.#newest) ?? this.#waiting[0];
  }

  #go(): void {
    const next = this.#next();
    if (next) document.getElementById(`person-${next.id}`)?.focus();
    this.#show();
  }

  #show(): void {
    const next = this.#next();
    const focused = document.activeElement === this.element;
    this.element.hidden = !next;
    if (next) setText(this.element.firstElementChild ?? this.element, { key: FINGERS.matches ? 'lobby.go' : 'lobby.go.key', args: { name: next.name } });
    else if (focused) this.#list.focus();
  }
}
