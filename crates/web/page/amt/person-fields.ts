// Who is to come: role, name, language, needs, and to whom an interpreter or companion belongs.

import { el } from '../dom';
import { setText, type Message, type TextKey } from '../texts';
import { LANGUAGE_NAMES } from '../talk/office';
import type { CardPerson, Needs, Office, Role } from '../talk/view';
import { choice, line, offer, type Complaint, type Field } from './fields';

/** The desk's bound for a name (`MAX_NAME`). */
export const MAX_NAME = 100;
const ROLES = ['citizen', 'interpreter', 'companion', 'captioner', 'observer', 'official'] as const satisfies readonly Role[];
const NEEDS = ['signing', 'live_text', 'interpreter', 'companion'] as const satisfies readonly (keyof Needs)[];

/** To whom somebody may belong: by the value that the desk is told, and as people read it. */
export type Partner = readonly [string, Message | TextKey];

/** As the desk is told (`NewPerson`). */
export interface NewPerson {
  readonly role: Role;
  readonly name: string;
  readonly language: string | null;
  readonly needs: Partial<Needs>;
  readonly linked_to: string | number | null;
}

function languages(id: string, office: Office): Field<HTMLSelectElement> {
  const known = office.languages.filter((tag): tag is keyof typeof LANGUAGE_NAMES => tag in LANGUAGE_NAMES);
  return choice(id, 'edit.language', known.map((tag) => [tag, { key: 'office.name', args: { name: LANGUAGE_NAMES[tag] } }]), 'edit.language.hint');
}

/** What can be changed of somebody who is in an appointment; the role while nobody opened their link (`role-fixed`), and never that of an official. */
export class ChangeFields {
  readonly element = el('div', { class: 'fields' });
  readonly #one: CardPerson;
  readonly #name: Field<HTMLInputElement>;
  readonly #language: Field<HTMLSelectElement>;
  readonly #role: Field<HTMLSelectElement>;

  constructor(prefix: string, office: Office, one: CardPerson) {
    this.#one = one;
    this.#name = line(`${prefix}-name`, 'create.name', { maxlength: String(MAX_NAME), 'aria-required': 'true' });
    this.#name.control.value = one.name;
    this.#language = languages(`${prefix}-language`, office);
    if (one.language) this.#language.control.value = one.language;
    // Whoever belongs to somebody has a role that does.
    const may = ROLES.filter((role) => role !== 'official' && (!one.linked_to || role === 'interpreter' || role === 'companion'));
    this.#role = choice(`${prefix}-role`, 'edit.role', may.map((role) => [role, `edit.role.${role}`]));
    this.#role.control.value = one.role;
    this.#role.element.hidden = one.role === 'official' || one.link !== 'unused' || one.stage !== 'invited';
    this.#language.element.hidden = one.role === 'official';
    this.element.append(this.#name.element, this.#language.element, this.#role.element);
  }

  /** What is another than it was. */
  value(): { name?: string; language?: string; role?: string } {
    const changed = (field: Field, was: string | null) => !field.element.hidden && field.value !== was;
    const begins = this.#one.language ?? this.#language.control.options[0]?.value ?? null;
    return {
      ...(changed(this.#name, this.#one.name) ? { name: this.#name.value } : {}),
      ...(changed(this.#language, begins) ? { language: this.#language.value } : {}),
      ...(changed(this.#role, this.#one.role) ? { role: this.#role.value } : {}),
    };
  }
}

export class PersonFields {
  readonly element = el('div', { class: 'fields' });
  readonly name: Field<HTMLInputElement>;
  readonly #role: Field<HTMLSelectElement>;
  readonly #language: Field<HTMLSelectElement>;
  readonly #partner: Field<HTMLSelectElement>;
  readonly #needs: HTMLElement;
  readonly #boxes: readonly { readonly need: keyof Needs; readonly input: HTMLInputElement }[];
  readonly #partners: () => readonly Partner[];

  /** `changed` is called when somebody else's choice may depend on it. */
  constructor(prefix: string, office: Office, role: Role, partners: () => readonly Partner[], changed: () => void = () => undefined) {
    this.#partners = partners;
    this.#role = choice(`${prefix}-role`, 'edit.role', ROLES.map((one) => [one, `edit.role.${one}`]));
    this.name = line(`${prefix}-name`, 'create.name', { maxlength: String(MAX_NAME), 'aria-required': 'true' });
    this.#language = languages(`${prefix}-language`, office);
    this.#partner = choice(`${prefix}-partner`, 'edit.partner', [], 'edit.partner.hint');
    this.#boxes = NEEDS.map((need) => ({ need, input: el('input', { type: 'checkbox', class: 'kern-form-check__checkbox', id: `${prefix}-need-${need}` }) }));
    this.#needs = el('fieldset', { class: 'kern-fieldset' }, setText(el('legend', { class: 'kern-label' }), 'edit.needs'),
      el('div', { class: 'kern-fieldset__body' }, ...this.#boxes.map(({ need, input }) => el('div', { class: 'kern-form-check' }, input, setText(el('label', { class: 'kern-label', for: input.id }), `edit.need.${need}`)))));
    this.element.append(this.#role.element, this.name.element, this.#language.element, this.#partner.element, this.#needs);
    this.#role.control.value = role;
    this.#role.control.addEventListener('change', () => {
      this.refresh();
      changed();
    });
    this.name.control.addEventListener('input', changed);
    this.refresh();
  }

  get role(): Role {
    return ROLES.find((one) => one === this.#role.control.value) ?? 'citizen';
  }

  focus(): void {
    this.#role.control.focus();
  }

  /** Shows what the role asks for, and whom it may belong to as of now. */
  refresh(): void {
    const { role } = this;
    const linked = role === 'interpreter' || role === 'companion';
    this.#partner.element.hidden = !linked;
    if (linked) offer(this.#partner, [['', 'edit.partner.none'], ...this.#partners()]);
    this.#needs.hidden = role !== 'citizen';
    this.#language.element.hidden = role === 'official';
  }

  complaints(): Complaint[] {
    const wrong: Complaint[] = [];
    if (!this.name.value) wrong.push([this.name, 'edit.error.name']);
    return wrong;
  }

  /** `place` makes the desk's number out of a partner's value, where partners are in the same request. */
  value(place: (value: string) => string | number = (value) => value): NewPerson {
    const { role } = this;
    const partner = this.#partner.element.hidden ? '' : this.#partner.control.value;
    return {
      role,
      name: this.name.value,
      language: role === 'official' ? null : this.#language.control.value || null,
      needs: role === 'citizen' ? Object.fromEntries(this.#boxes.map(({ need, input }) => [need, input.checked])) : {},
      linked_to: partner === '' ? null : place(partner),
    };
  }

  clear(): void {
    this.name.control.value = '';
    for (const { input } of this.#boxes) input.checked = false;
    this.refresh();
  }
}
