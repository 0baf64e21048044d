// An appointment's plan: when, who comes, and by which link. Two officials who change it at once are told, and nobody's words are written over.

import { el } from '../dom';
import { clearText, setText, type Message, type TextKey } from '../texts';
import { ask, call } from '../talk/api';
import type { ServerClock } from '../talk/clock';
import { button } from '../talk/office';
import type { Card, CardPerson, Official } from '../talk/view';
import { confirm } from './confirm';
import { Summary, submit } from './fields';
import { handOver, invited } from './hand-over';
import { held, samePeople, samePerson } from './held';
import { ChangeFields, PersonFields } from './person-fields';
import { codeOf, officialText } from './problems';
import { WhenFields, type Plan } from './when-fields';

/** Times that a change is sent anew because something else than the plan moved on, such as somebody who began to wait. */
const TRIES = 5;

export const samePlan = (one: Plan, other: Plan) => one.subject === other.subject && Date.parse(one.starts_at) === Date.parse(other.starts_at) && Date.parse(one.ends_at) === Date.parse(other.ends_at);

export class PlanPanel {
  readonly element: HTMLElement;
  readonly #me: Official;
  readonly #say: (message: Message | TextKey) => void;
  readonly #path: string;
  readonly #when: WhenFields;
  readonly #summary: Summary;
  readonly #said: HTMLElement;
  readonly #people: HTMLElement;
  readonly #newcomer: PersonFields;
  readonly #problems: Summary;
  readonly #made: HTMLElement;
  #card: Card;
  /** The plan that the fields began with. */
  #base: Card;

  constructor(me: Official, clock: ServerClock, card: Card, say: (message: Message | TextKey) => void) {
    [this.#me, this.#card, this.#base, this.#say] = [me, card, card, say];
    this.#path = `appointments/${card.id}`;
    const id = `plan-${card.id}`;
    this.#when = new WhenFields(id, me.office, clock);
    this.#when.show(card);
    this.#summary = new Summary(`${id}-errors`);
    this.#said = el('p', { class: 'kern-body plan__said', role: 'status', id: `${id}-said` });
    this.#people = el('ul', { class: 'people', id: `${id}-people` });
    this.#newcomer = new PersonFields(`${id}-new`, me.office, 'interpreter', () =>
      this.#card.people.flatMap((one) => (one.role === 'citizen' || one.role === 'official' ? [[one.id, { key: 'office.name', args: { name: one.name } }] as const] : [])));
    this.#problems = new Summary(`${id}-new-errors`);
    this.#made = el('div', { id: `${id}-made` });
    const save = el('form', { class: 'create', novalidate: '' }, this.#summary.element, ...this.#when.elements, el('div', { class: 'actions' }, submit(`${id}-save`, 'edit.save')));
    save.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#save();
    });
    const add = el('form', { class: 'create', novalidate: '' }, this.#problems.element, this.#newcomer.element, el('div', { class: 'actions' }, submit(`${id}-add`, 'edit.add')));
    add.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#add();
    });
    const title = (key: TextKey) => setText(el('h3', { class: 'kern-title' }), key);
    this.element = el('div', { class: 'plan', id, hidden: '' }, this.#said, title('edit.when'), save, title('edit.people'), this.#people,
      el('details', { class: 'kern-accordion', id: `${id}-more` }, el('summary', { class: 'kern-accordion__header' }, setText(el('span', { class: 'kern-title kern-title--small' }), 'edit.person.add')), el('div', { class: 'kern-accordion__body' }, add)), this.#made);
    this.#list();
  }

  focus(): void {
    this.#when.subject.control.focus();
  }

  /** Takes the newest card. What somebody is writing stays, and is held against it when it is saved. */
  update(card: Card): void {
    const untouched = this.element.hidden;
    this.#card = card;
    if (untouched) this.#restart();
    this.#list();
    this.#newcomer.refresh();
  }

  #restart(): void {
    this.#base = this.#card;
    this.#when.show(this.#card);
    this.#summary.clear();
    clearText(this.#said);
  }

  async #save(): Promise<void> {
    if (!this.#summary.hold(this.#when.complaints())) return;
    const wanted = this.#when.value();
    clearText(this.#said);
    for (let tries = 0; tries < TRIES; tries++) {
      try {
        const card = await call<Card>('PATCH', this.#path, wanted, { 'if-match': `"${this.#base.version}"` });
        this.#card = card;
        this.#restart();
        setText(this.#said, 'edit.saved');
        return this.#say({ key: 'day.did.save', args: { subject: card.subject } });
      } catch (problem) {
        if (codeOf(problem) !== 'stale') {
          if (codeOf(problem) === 'wrong-window') this.#summary.hold([[this.#when.day, 'amt.problem.wrong-window']]);
          else this.#summary.refuse(officialText(problem));
          return;
        }
        const now = await ask<Card>(this.#path).catch(() => this.#card);
        if (!samePlan(now, this.#base)) {
          this.#card = now;
          this.#restart();
          setText(this.#said, 'edit.conflict');
          return this.#when.subject.control.focus();
        }
        // Only other things moved on, which this change does not touch.
        this.#base = now;
      }
    }
    this.#summary.refuse('amt.problem.busy');
  }

  async #add(): Promise<void> {
    if (!this.#problems.hold(this.#newcomer.complaints())) return;
    try {
      const card = await held<Card>(this.#card, samePeople(this.#card), 'POST', '/people', this.#newcomer.value());
      this.#newcomer.clear();
      this.#said.textContent = '';
      this.#say({ key: 'day.did.add', args: { name: invited(card)[0]?.name ?? '' } });
      await handOver(this.#me.office, card, invited(card), this.#made);
    } catch (problem) {
      this.#problems.refuse(officialText(problem));
    }
  }

  /** Another name, language or role, in a dialog. */
  async #change(one: CardPerson): Promise<void> {
    const fields = new ChangeFields(`change-${one.id}`, this.#me.office, one);
    if (!(await confirm({ key: 'edit.change', args: { name: one.name } }, 'edit.change.what', 'edit.change.yes', fields.element))) return;
    const wanted = fields.value();
    if (wanted.name === '') return this.#say('edit.error.name');
    if (Object.keys(wanted).length === 0) return;
    const card = await held<Card>(this.#card, samePerson(one), 'PATCH', `/people/${one.id}`, wanted);
    this.update(card);
    this.#say({ key: 'day.did.change', args: { name: wanted.name ?? one.name } });
  }

  /** Everybody, with what can be done about their link. */
  #list(): void {
    const focused = this.#people.contains(document.activeElement) ? document.activeElement?.id : undefined;
    this.#people.replaceChildren(...this.#card.people.map((one) => this.#row(one)));
    if (focused) document.getElementById(focused)?.focus();
  }

  #row(one: CardPerson): HTMLElement {
    const args = { name: one.name };
    const named = (what: 'change' | 'reissue' | 'revoke' | 'remove', act: () => Promise<void>) => {
      const made = button(`${what}-${one.id}`, `edit.${what}`, 'secondary', () => act().catch((problem: unknown) => this.#say(officialText(problem))));
      setText(made.firstElementChild ?? made, { key: `edit.${what}`, args });
      return made;
    };
    const path = `/people/${one.id}`;
    const same = samePerson(one);
    const reissue = named('reissue', async () => {
      // Whoever is there by the old link is sent away: that is asked before.
      if (one.link === 'bound' && !(await confirm({ key: 'edit.reissue.title', args }, 'edit.reissue.what', 'edit.reissue.yes'))) return;
      const { join_url } = await held<{ join_url: string }>(this.#card, same, 'POST', `${path}/link`, {});
      this.#say({ key: 'day.did.reissue', args });
      await handOver(this.#me.office, this.#card, [{ ...one, join_url }], this.#made);
    });
    const revoke = named('revoke', async () => {
      if (!(await confirm({ key: 'edit.revoke.title', args }, 'edit.revoke.what', 'edit.revoke.yes'))) return;
      await held(this.#card, same, 'DELETE', `${path}/link`);
      this.#made.replaceChildren();
      this.#say({ key: 'day.did.revoke', args });
    });
    const change = named('change', () => this.#change(one));
    const remove = named('remove', async () => {
      if (!(await confirm({ key: 'edit.remove.title', args }, 'edit.remove.what', 'edit.remove.yes'))) return;
      await held(this.#card, same, 'DELETE', path);
      this.#made.replaceChildren();
      this.#say({ key: 'day.did.remove', args });
      document.getElementById(`${this.element.id}-subject`)?.focus();
    });
    return el('li', { class: 'person' }, setText(el('h4', { class: 'kern-title kern-title--small' }), { key: 'talk.person', args: { name: one.name, why: { key: `role.${one.role}` } } }),
      el('div', { class: 'actions' }, change, reissue, ...(one.link === 'revoked' ? [] : [revoke]), remove));
  }
}
