// What the page says of encryption: one line of what is on now, what that means, and for each who is there a number to compare. Only changes are
// announced, and nothing is said that is not so (e2ee/layer.ts).

import { el } from '../dom';
import { icon } from '../icons';
import { setLabel, setText, type Message, type TextKey } from '../texts';
import { personOf } from '../tiles';
import type { Encryption } from './e2ee/encryption';
import type { Layer } from './e2ee/layer';
import type { Present } from './view';

/** What the line says in each state, besides who it is about. */
const LINES: Readonly<Record<Layer['kind'], TextKey>> = { alone: 'shield.alone', agreeing: 'shield.agreeing', end: 'shield.end', without: 'shield.without', transport: 'shield.transport' };
/** The first half of a number is read, then the other. */
const GROUP = 3;

interface Row {
  readonly element: HTMLElement;
  readonly words: HTMLElement;
  readonly codes: HTMLElement;
  shown: string;
}

export class Shield {
  readonly #line = el('p', { class: 'kern-body', role: 'status', id: 'layer' });
  readonly #why = el('p', { class: 'kern-body', id: 'encryption' });
  readonly #mark = el('span', { class: 'shield__mark' }, icon('unlocked'));
  /** What is on now. */
  readonly element = el('div', { class: 'shield', 'data-layer': 'alone' }, this.#mark, this.#line);
  /** What that means. */
  readonly meaning = el('details', {}, setText(el('summary', { class: 'kern-body' }), 'shield.what'), this.#why);
  readonly #list = el('ul', { class: 'present kern-body', id: 'present' });
  readonly #how = setText(el('p', { class: 'kern-body', id: 'compare', hidden: '' }), 'shield.compare');
  /** Who is there and why, with the numbers. */
  readonly people = el('details', { class: 'talk__who' }, setText(el('summary', { class: 'kern-body' }), 'talk.present'), this.#how, this.#list);
  readonly #encryption: Encryption;
  readonly #rows = new Map<string, Row>();
  /** Numbers that this person said are the same, by identity. */
  readonly #compared = new Map<string, string>();
  #people: readonly Present[] = [];

  constructor(encryption: Encryption) {
    this.#encryption = encryption;
    this.refresh();
  }

  /** Who the desk says is there. */
  show(people: readonly Present[]): void {
    this.#people = people;
    for (const [id, row] of this.#rows) {
      if (people.some((one) => one.id === id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    for (const { id, name, role } of people) {
      const row = this.#rows.get(id) ?? this.#row(id);
      setText(row.words, { key: 'talk.person', args: { name, why: { key: `role.${role}` } } });
    }
    this.refresh();
  }

  /** Takes what is true now. */
  refresh(): void {
    const layer = this.#encryption.layer();
    const peers = this.#encryption.peers.filter(({ stage, code }) => stage === 'ready' && code !== undefined);
    const open = peers.filter(({ identity, code }) => this.#compared.get(identity) !== code);
    const sealed = layer.kind === 'end' || layer.kind === 'without';
    const compared = layer.kind === 'end' && open.length === 0;
    if (this.element.dataset['layer'] !== layer.kind || this.element.dataset['compared'] !== String(compared)) {
      Object.assign(this.element.dataset, { layer: layer.kind, compared: String(compared) });
      this.#mark.replaceChildren(icon(sealed ? 'locked' : 'unlocked'));
    }
    setText(this.#line, compared ? 'shield.end.compared' : LINES[layer.kind]);
    setText(this.#why, whyOf(layer));
    this.#how.hidden = peers.length === 0 || !sealed;
    for (const [id, row] of this.#rows) {
      const codes = sealed ? peers.filter(({ identity }) => personOf(identity) === id) : [];
      const shown = codes.map(({ identity, code }) => `${identity} ${code}`).join();
      if (row.shown === shown) continue; // what has the focus stays
      row.shown = shown;
      row.codes.replaceChildren(...codes.map(({ identity, code }) => this.#code(id, identity, code ?? '')));
    }
  }

  #row(id: string): Row {
    const [words, codes] = [el('span'), el('div', { class: 'codes' })];
    const row = { words, codes, shown: '', element: el('li', { 'data-person': id }, words, codes) };
    this.#rows.set(id, row);
    this.#list.append(row.element);
    return row;
  }

  /** A number, and a way to say that it is the same over there. */
  #code(id: string, identity: string, code: string): HTMLElement {
    const name = this.#people.find((one) => one.id === id)?.name ?? id;
    const groups = code.match(new RegExp(`\\d{${GROUP}}`, 'g')) ?? [];
    const seen = el('span', { class: 'codes__number', 'aria-hidden': 'true', 'data-code': code }, groups.join(' '));
    // One digit after the other, as one reads it to somebody.
    const heard = setText(el('span', { class: 'kern-sr-only' }), { key: 'shield.code', args: { digits: groups.map((group) => [...group].join(' ')).join(', ') } });
    const same = el('input', { type: 'checkbox', class: 'kern-form-check__checkbox', id: `same-${identity}` });
    same.checked = this.#compared.get(identity) === code;
    same.addEventListener('change', () => {
      if (same.checked) this.#compared.set(identity, code);
      else this.#compared.delete(identity);
      this.refresh();
    });
    const label = setText(el('label', { class: 'kern-label', for: `same-${identity}` }), 'shield.same');
    setLabel(same, { key: 'shield.same.name', args: { name } });
    return el('div', { class: 'codes__one' }, heard, seen, el('div', { class: 'kern-form-check' }, same, label));
  }
}

function whyOf(layer: Layer): Message | TextKey {
  if (layer.kind === 'without') return { key: 'shield.without.why', args: { names: layer.names.join(', ') } };
  if (layer.kind !== 'transport') return `shield.${layer.kind}.why`;
  return layer.why === 'other' ? { key: 'shield.other', args: { names: layer.names.join(', ') } } : `shield.${layer.why}`;
}

