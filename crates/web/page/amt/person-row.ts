// Somebody of an appointment as officials see them, in the day's list and beside the call: what is known of them, and what can be decided.

import { el } from '../dom';
import { setText, type Message, type TextKey } from '../texts';
import { tell } from '../talk/api';
import { button, timeIn } from '../talk/office';
import type { Card, CardPerson, Devices, Needs, Office, Role } from '../talk/view';
import { confirm } from './confirm';
import { Field, line } from './fields';
import { officialText } from './problems';

/** The desk's bound for a message (`MAX_MESSAGE`). */
const MAX_MESSAGE = 500;
export type Say = (message: Message | TextKey) => void;
type Kind = 'info' | 'warning' | 'success';

export function badge(key: TextKey, kind: Kind): HTMLElement {
  return el('li', { class: `kern-badge kern-badge--${kind}` }, setText(el('span', { class: 'kern-label kern-label--small' }), key));
}

/** Who may not send has no devices to look at, and no microphone to turn off. */
const sends = (role: Role) => role !== 'captioner' && role !== 'observer';

/** What a call offers besides, where the row stands beside one. */
export interface InCall {
  /** Asks somebody to turn their microphone off. */
  askMute(person: string): Promise<'asked' | 'off' | 'absent'>;
  /** Somebody was let in from here. */
  admitted(): void;
}

export class PersonRow {
  readonly element: HTMLElement;
  readonly #name: HTMLElement;
  readonly #marks: HTMLElement;
  readonly #pair = el('p', { class: 'kern-body', hidden: '' });
  readonly #since = el('p', { class: 'kern-body', hidden: '' });
  readonly #decide: HTMLElement;
  readonly #inside: HTMLElement;
  readonly #message: HTMLElement;
  readonly #inCall: boolean;
  readonly #shown: CardPerson;
  readonly #office: Office;

  constructor(office: Office, card: Card, one: CardPerson, say: Say, call?: InCall) {
    [this.#office, this.#inCall, this.#shown] = [office, call !== undefined, one];
    const { id } = one;
    const args = { name: one.name };
    const path = `appointments/${card.id}/people/${id}`;
    const act = (work: Promise<unknown>, done: TextKey) => work.then(() => say({ key: done, args }), (problem: unknown) => say(officialText(problem)));
    const named = (what: string, key: TextKey, style: 'primary' | 'secondary', go: () => unknown) => {
      const made = button(`${what}-${id}`, key, style, go);
      setText(made.firstElementChild ?? made, { key, args });
      return made;
    };
    this.#name = setText(el(call ? 'h2' : 'h3', { class: 'kern-title kern-title--small', tabindex: '-1', id: `person-${id}` }), { key: 'talk.person', args: { name: one.name, why: { key: `role.${one.role}` } } });
    this.#marks = el('ul', { class: 'marks' });
    this.#decide = el('div', { class: 'actions' },
      named('admit', 'lobby.admit.name', 'primary', () => act(tell(`${path}/admit`), 'day.did.admit').then(() => call?.admitted())),
      named('deny', 'lobby.deny.name', 'secondary', async () => {
        const why = new Field(`why-${id}`, 'lobby.deny.why', el('textarea', { class: 'kern-form-input__input', rows: '3', maxlength: String(MAX_MESSAGE) }), 'lobby.deny.why.hint');
        if (!(await confirm({ key: 'lobby.deny.title', args }, 'lobby.deny.what', 'lobby.deny.yes', why.element))) return;
        await act(tell(`${path}/deny`, why.value ? { text: why.value } : {}), 'day.did.deny');
      }));
    this.#inside = el('div', { class: 'actions' },
      named('hold', 'lobby.hold.name', 'secondary', () => act(tell(`${path}/hold`), 'lobby.did.hold')),
      ...(call && sends(one.role) ? [named('ask-mute', 'lobby.askmute', 'secondary', async () => say({ key: `lobby.askmute.${await call.askMute(id)}`, args }))] : []),
      named('expel', 'lobby.remove', 'secondary', async () => {
        if (await confirm({ key: 'lobby.remove.title', args }, 'lobby.remove.what', 'lobby.remove.yes')) await act(tell(`${path}/remove`), 'lobby.did.remove');
      }));
    const text = line(`text-${id}`, { key: 'day.message', args }, { maxlength: String(MAX_MESSAGE) });
    const form = el('form', { class: 'pane__form', novalidate: '' }, text.element,
      el('button', { type: 'submit', class: 'kern-btn kern-btn--secondary', id: `send-${id}`, 'aria-describedby': `text-${id}-label` }, setText(el('span', { class: 'kern-label' }), 'day.message.send')));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (!text.value) {
        text.complain('lobby.message.empty');
        return text.control.focus();
      }
      text.complain(undefined);
      void act(tell(`${path}/message`, { text: text.value }), 'day.did.message').then(() => (text.control.value = ''));
    });
    // Beside the call the picture comes first: the form unfolds.
    this.#message = call ? el('details', { id: `message-${id}` }, setText(el('summary', { class: 'kern-body' }), { key: 'lobby.message.open', args }), form) : form;
    this.element = el('li', { class: 'person', 'data-person': id }, this.#name, this.#marks, this.#since, this.#pair, this.#decide, this.#message, this.#inside);
    this.update(card, one);
  }

  /** Whether it was made for somebody of this name and role. */
  shows({ name, role }: CardPerson): boolean {
    return name === this.#shown.name && role === this.#shown.role;
  }

  /** Takes what is true now. Whoever stands on a button that goes away is put on the name. */
  update(card: Card, one: CardPerson): void {
    const focused = this.element.contains(document.activeElement) ? (document.activeElement as HTMLElement) : undefined;
    this.#marks.replaceChildren(...marksOf(one, this.#inCall));
    const partner = card.people.find(({ id }) => id === one.linked_to);
    this.#pair.hidden = !partner;
    setText(this.#pair, { key: 'day.pair', args: { name: partner?.name ?? '' } });
    this.#since.hidden = one.waiting_since === null;
    if (one.waiting_since) setText(this.#since, { key: 'lobby.since', args: { time: timeIn(this.#office, one.waiting_since) } });
    const over = card.state === 'ended' || card.state === 'cancelled';
    const waits = one.stage === 'waiting' || one.stage === 'held';
    const inside = one.stage === 'admitted' || one.stage === 'in_call';
    this.#decide.hidden = over || !(waits || one.stage === 'denied');
    const [, deny] = this.#decide.children;
    if (deny instanceof HTMLElement) deny.hidden = !waits;
    this.#message.hidden = over || !waits;
    this.#inside.hidden = over || !inside || !this.#inCall;
    if (focused && focused.closest('[hidden]')) this.#name.focus({ preventScroll: this.#inCall });
  }
}

/** Whoever is talked with was checked before: `brief` leaves out link and devices. */
function marksOf(one: CardPerson, brief: boolean): HTMLElement[] {
  const { devices } = one;
  const needs = (Object.keys(one.needs) as (keyof Needs)[]).filter((need) => one.needs[need]);
  return [
    badge(`stage.${one.stage}`, one.stage === 'waiting' ? 'success' : 'info'),
    // What an official who came from the list has is no link.
    ...(brief || (one.role === 'official' && one.link === 'revoked') ? [] : [badge(`linkstate.${one.link}`, 'info')]),
    ...(devices?.encryption === false && one.stage !== 'in_call' ? [badge('tested.encryption.no', 'warning')] : []),
    ...(brief || one.role === 'official' ? [] : devices ? testedOf(one.role, devices) : [badge('tested.not', 'info')]),
    ...(one.other_device ? [badge('day.otherdevice', 'warning')] : []),
    ...needs.map((need) => badge(`lobby.need.${need}`, 'info')),
  ];
}

/** What the device check found. A browser that can't encrypt is turned away before it looks for devices. */
function testedOf(role: Role, { camera, microphone, network, encryption }: Devices): HTMLElement[] {
  if (!encryption && !camera && !microphone) return [];
  const device = (kind: 'camera' | 'microphone', works: boolean) => badge(`lobby.${kind}.${works ? 'yes' : 'no'}`, works ? 'info' : 'warning');
  return [...(sends(role) ? [device('camera', camera), device('microphone', microphone)] : []), badge(`tested.${network}`, network === 'none' ? 'warning' : 'info')];
}

/** Keeps a list of rows in step with people, without touching those that stay: focus and half-written words are in them. */
export class People {
  readonly element: HTMLElement;
  readonly #rows = new Map<string, PersonRow>();
  readonly #make: (card: Card, one: CardPerson) => PersonRow;

  constructor(element: HTMLElement, make: (card: Card, one: CardPerson) => PersonRow) {
    [this.element, this.#make] = [element, make];
  }

  update(card: Card, people: readonly CardPerson[]): void {
    const wanted = new Set(people.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    people.forEach((one, place) => {
      const row = this.#rows.get(one.id);
      if (row?.shows(one)) return row.update(card, one);
      const made = this.#make(card, one);
      this.#rows.set(one.id, made);
      if (row) {
        // Under another name: everything in it says so.
        const focused = row.element.contains(document.activeElement) ? document.activeElement?.id : undefined;
        row.element.replaceWith(made.element);
        if (focused) document.getElementById(focused)?.focus();
        return;
      }
      this.element.insertBefore(made.element, this.element.children[place] ?? null);
    });
  }
}
