// Fields of the officials' forms: a label, a hint, and what is wrong said at the field and in a list above the form, which gets the focus (BITV, WCAG 3.3.1).

import { el } from '../dom';
import { clearText, setText, type Message, type TextKey } from '../texts';

export type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;
export type Complaint = readonly [Field, Message | TextKey];

export class Field<C extends Control = Control> {
  readonly element: HTMLElement;
  readonly control: C;
  readonly #error: HTMLElement;
  readonly #words = el('span', { class: 'kern-body' });
  readonly #described: readonly string[];

  constructor(id: string, label: Message | TextKey, control: C, hint?: TextKey) {
    this.control = control;
    control.id = id;
    this.#error = el('p', { class: 'kern-error', id: `${id}-error`, hidden: '' }, el('span', { class: 'kern-icon kern-icon--danger kern-icon--default', 'aria-hidden': 'true' }), this.#words);
    this.#described = hint ? [`${id}-hint`] : [];
    const boxed = control instanceof HTMLSelectElement ? el('div', { class: 'kern-form-input__select-wrapper' }, control) : control;
    this.element = el('div', { class: 'kern-form-input' }, setText(el('label', { class: 'kern-label', for: id, id: `${id}-label` }), label),
      ...(hint ? [setText(el('div', { class: 'kern-hint', id: `${id}-hint` }), hint)] : []), boxed, this.#error);
    this.complain(undefined);
  }

  get value(): string {
    return this.control.value.trim();
  }

  /** Says what is wrong with it, or nothing any more. */
  complain(what: Message | TextKey | undefined): void {
    const kind = this.control instanceof HTMLSelectElement ? 'select' : 'input';
    this.element.classList.toggle('kern-form-input--error', what !== undefined);
    this.control.classList.toggle(`kern-form-input__${kind}--error`, what !== undefined);
    this.#error.hidden = what === undefined;
    const described = [...this.#described, ...(what === undefined ? [] : [this.#error.id])];
    if (described.length > 0) this.control.setAttribute('aria-describedby', described.join(' '));
    else this.control.removeAttribute('aria-describedby');
    if (what === undefined) {
      clearText(this.#words);
      this.control.removeAttribute('aria-invalid');
    } else {
      setText(this.#words, what);
      this.control.setAttribute('aria-invalid', 'true');
    }
  }
}

export function line(id: string, label: Message | TextKey, attributes: Record<string, string> = {}, hint?: TextKey): Field<HTMLInputElement> {
  return new Field(id, label, el('input', { class: 'kern-form-input__input', autocomplete: 'off', ...attributes }), hint);
}

export function choice(id: string, label: Message | TextKey, options: readonly (readonly [string, Message | TextKey])[], hint?: TextKey): Field<HTMLSelectElement> {
  const field = new Field(id, label, el('select', { class: 'kern-form-input__select' }), hint);
  offer(field, options);
  return field;
}

/** Replaces what may be chosen; the choice stays where it still can. */
export function offer(field: Field<HTMLSelectElement>, options: readonly (readonly [string, Message | TextKey])[]): void {
  const { value } = field.control;
  field.control.replaceChildren(...options.map(([name, words]) => setText(el('option', { value: name }), words)));
  if (options.some(([name]) => name === value)) field.control.value = value;
}

/** What is wrong with a form, above it: links to the fields, and the focus. */
export class Summary {
  readonly #title: HTMLElement;
  readonly #list = el('ul', { class: 'complaints' });
  readonly element: HTMLElement;
  #fields: readonly Field[] = [];

  constructor(id: string) {
    this.#title = el('span', { class: 'kern-title', id: `${id}-title` });
    this.element = el('div', { class: 'kern-alert kern-alert--danger', id, tabindex: '-1', role: 'group', 'aria-labelledby': `${id}-title`, hidden: '' },
      el('div', { class: 'kern-alert__header' }, el('span', { class: 'kern-icon kern-icon--danger', 'aria-hidden': 'true' }), this.#title), el('div', { class: 'kern-alert__body' }, this.#list));
  }

  /** Shows the complaints and takes the focus; answers whether there were none. */
  hold(complaints: readonly Complaint[]): boolean {
    this.clear();
    if (complaints.length === 0) return true;
    this.#fields = complaints.map(([field]) => field);
    setText(this.#title, 'edit.errors');
    this.#list.replaceChildren(...complaints.map(([field, what]) => {
      field.complain(what);
      const link = setText(el('a', { class: 'kern-link', href: `#${field.control.id}` }), what);
      // The fragment of this page is for links that somebody came by: following it would load the page anew.
      link.addEventListener('click', (event) => {
        event.preventDefault();
        field.control.focus();
      });
      return el('li', {}, link);
    }));
    this.#show();
    return false;
  }

  /** Says what the desk said no with. */
  refuse(what: Message | TextKey): void {
    this.clear();
    setText(this.#title, what);
    this.#show();
  }

  clear(): void {
    for (const field of this.#fields) field.complain(undefined);
    this.#fields = [];
    this.#list.replaceChildren();
    this.element.hidden = true;
  }

  #show(): void {
    this.element.hidden = false;
    this.element.focus();
  }
}

export function submit(id: string, key: TextKey): HTMLButtonElement {
  return el('button', { type: 'submit', id, class: 'kern-btn kern-btn--primary' }, setText(el('span', { class: 'kern-label' }), key));
}
