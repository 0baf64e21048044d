// The list of a day: its appointments with everybody in them, and the form for a new one.

import { el, setState, showScreen } from '../dom';
import { clearText, setText, setTitle, type Message, type TextKey } from '../texts';
import { listen } from '../talk/api';
import type { ServerClock } from '../talk/clock';
import { button, timeIn } from '../talk/office';
import type { Card, Day, Official } from '../talk/view';
import { confirm } from './confirm';
import { createForm } from './create';
import { held } from './held';
import { badge, People, PersonRow, whoWaits, type Say } from './person-row';
import { PlanPanel, samePlan } from './plan';
import { officialText } from './problems';

export type Chosen = Card | 'over' | 'logout' | 'devices';

/** Shows the day until an appointment is entered or the session is over. `said` is what happened before. */
export function showDay(content: HTMLElement, me: Official, clock: ServerClock, said?: Message | TextKey): Promise<Chosen> {
  setState('day');
  setTitle('day.title');
  const list = el('ol', { class: 'day', id: 'day', tabindex: '-1' });
  const none = setText(el('p', { class: 'kern-body', id: 'day-none', hidden: '' }), 'day.none');
  const news = el('p', { class: 'kern-body day__news', role: 'status', id: 'day-news' });
  const say: Say = (message) => {
    clearText(news); // the same words twice are two announcements
    setText(news, message);
  };
  const day = el('input', { type: 'date', class: 'kern-form-input__input', id: 'date' });
  day.value = new Date(clock.now()).toLocaleDateString('sv-SE', { timeZone: me.office.time_zone });
  const cards = new Map<string, AppointmentCard>();
  let waiting = new Set<string>();
  return new Promise((done) => {
    let stop = () => {};
    const leave = (what: Chosen) => {
      stop();
      done(what);
    };
    const draw = ({ appointments }: Day) => {
      const now = appointments.flatMap((card) => card.people.filter((one) => one.stage === 'waiting'));
      const come = now.filter((one) => !waiting.has(one.id));
      if (come.length > 0) say(whoWaits(come));
      waiting = new Set(now.map((one) => one.id));
      const wanted = new Set(appointments.map(({ id }) => id));
      for (const [id, card] of cards) {
        if (wanted.has(id)) continue;
        if (card.element.contains(document.activeElement)) list.focus();
        card.element.remove();
        cards.delete(id);
      }
      appointments.forEach((card, place) => {
        const shown = cards.get(card.id) ?? new AppointmentCard(me, clock, card, say, leave);
        cards.set(card.id, shown);
        shown.update(card);
        // Moving an element takes the focus from it: only what stands elsewhere than it should is moved.
        if (list.children[place] !== shown.element) list.insertBefore(shown.element, list.children[place] ?? null);
      });
      none.hidden = appointments.length > 0;
    };
    const follow = () => {
      stop();
      stop = listen(`day/socket?day=${day.value}`, (message) => {
        if (message.type === 'day') draw(message.day);
        if (message.type === 'bye') leave('over');
      }, (yes) => yes || say('amt.link.broken'));
    };
    day.addEventListener('change', () => {
      if (day.value) follow();
    });
    showScreen(content, el('section', { class: 'card card--wide' }, setText(el('h1', { class: 'kern-heading-medium' }), 'day.title'), setText(el('p', { class: 'kern-body' }), { key: 'day.official', args: { name: me.official.name } }), news,
      el('div', { class: 'kern-form-input day__date' }, setText(el('label', { class: 'kern-label', for: 'date' }), 'day.date'), day), list, none,
      createForm(me, clock, () => day.value, say),
      el('div', { class: 'day__foot' }, button('devices', 'day.devices', 'tertiary', () => leave('devices')), button('logout', 'day.logout', 'tertiary', () => leave('logout')))));
    if (said) say(said);
    follow();
  });
}

class AppointmentCard {
  readonly element: HTMLElement;
  readonly #me: Official;
  readonly #heading = el('h2', { class: 'kern-heading-small', tabindex: '-1' });
  readonly #marks = el('ul', { class: 'marks' });
  readonly #people: People;
  readonly #plan: PlanPanel;
  readonly #enter: HTMLButtonElement;
  readonly #edit: HTMLButtonElement;
  readonly #cancel: HTMLButtonElement;
  readonly #record: HTMLAnchorElement;
  #card: Card;

  constructor(me: Official, clock: ServerClock, card: Card, say: Say, leave: (card: Card) => void) {
    [this.#me, this.#card] = [me, card];
    const { id } = card;
    this.#people = new People(el('ul', { class: 'people' }), (now, one) => new PersonRow(me.office, now, one, say));
    this.#plan = new PlanPanel(me, clock, card, say);
    this.#enter = button(`enter-${id}`, 'day.enter', 'primary', () => leave(this.#card));
    this.#edit = button(`edit-${id}`, 'day.edit', 'secondary', () => this.#open(this.#plan.element.hidden));
    this.#edit.setAttribute('aria-controls', this.#plan.element.id);
    this.#edit.setAttribute('aria-expanded', 'false');
    this.#cancel = button(`cancel-${id}`, 'day.cancel', 'secondary', async () => {
      const seen = this.#card;
      const args = { subject: seen.subject, time: timeIn(me.office, seen.starts_at) };
      if (!(await confirm('day.cancel.title', { key: 'day.cancel.what', args }, 'day.cancel.yes'))) return;
      held(seen, (now) => samePlan(now, seen), 'POST', '/cancel', {}).then(() => say({ key: 'day.did.cancel', args }), (problem: unknown) => say(officialText(problem)));
    });
    // What was: a document that the browser shows and prints, and asks the desk for as such.
    this.#record = el('a', { class: 'kern-btn kern-btn--secondary', id: `record-${id}`, href: `desk/v1/appointments/${id}/record`, target: '_blank', rel: 'noopener' }, el('span', { class: 'kern-label' }));
    this.element = el('li', { class: 'day__card', 'data-id': id }, this.#heading, this.#marks, this.#people.element, el('div', { class: 'actions' }, this.#enter, this.#edit, this.#cancel, this.#record), this.#plan.element);
  }

  update(card: Card): void {
    this.#card = card;
    const focused = this.element.contains(document.activeElement) ? (document.activeElement as HTMLElement) : undefined;
    const { office } = this.#me;
    const words = `${timeIn(office, card.starts_at)}–${timeIn(office, card.ends_at)} ${card.subject}`;
    if (this.#heading.textContent !== words) this.#heading.textContent = words;
    for (const [made, key] of [[this.#enter, 'day.enter'], [this.#edit, 'day.edit'], [this.#cancel, 'day.cancel'], [this.#record, 'day.record']] as const)
      made.setAttribute('aria-describedby', (this.#heading.id = `card-${card.id}`)), setText(made.firstElementChild ?? made, key);
    this.#marks.replaceChildren(...(card.late ? [badge('day.late', 'warning')] : []), badge(`state.${card.state}`, 'info'));
    this.#people.update(card, card.people);
    const over = card.state === 'ended' || card.state === 'cancelled';
    this.#enter.hidden = this.#edit.hidden = over;
    this.#cancel.hidden = card.state !== 'scheduled';
    this.#record.hidden = !over;
    if (over) this.#open(false);
    this.#plan.update(card);
    // A row that went on with the focus has put it on a name; otherwise what had it is gone, and reading goes on at the heading.
    const lost = focused && (!focused.isConnected || focused.closest('[hidden]'));
    if (lost && [focused, document.body].includes(document.activeElement as HTMLElement)) this.#heading.focus();
  }

  #open(yes: boolean): void {
    if (yes) this.#plan.update(this.#card);
    this.#plan.element.hidden = !yes;
    this.#edit.setAttribute('aria-expanded', String(yes));
    if (yes) this.#plan.focus();
  }
}
