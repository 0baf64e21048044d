// The form for a new appointment with everybody who is to come.

import { el } from '../dom';
import { setText, type TextKey } from '../texts';
import { call } from '../talk/api';
import { button } from '../talk/office';
import type { ServerClock } from '../talk/clock';
import type { Card, Official, Role } from '../talk/view';
import { Summary, submit } from './fields';
import { handOver, invited } from './hand-over';
import { PersonFields, type Partner } from './person-fields';
import { codeOf, officialText } from './problems';
import { WhenFields } from './when-fields';

/** The desk's bound (`MAX_PEOPLE`), less one for the official who takes a seat. */
const MOST_PEOPLE = 15;

/** `say` announces; `day` is the one that is shown. */
export function createForm(me: Official, clock: ServerClock, day: () => string, say: (key: TextKey) => void): HTMLElement {
  const when = new WhenFields('new', me.office, clock);
  const summary = new Summary('new-errors');
  const made = el('div', { id: 'made' });
  const rows = el('div', { class: 'fields', id: 'new-people' });
  const people: { readonly key: string; readonly fields: PersonFields; readonly element: HTMLElement; readonly legend: HTMLElement; readonly remove: HTMLButtonElement }[] = [];
  let count = 0;
  // A repeated press or a lost answer must not make two appointments.
  let attempt = crypto.randomUUID();

  const partnersOf = (key: string) => (): Partner[] =>
    people.flatMap(({ key: other, fields }, place): Partner[] => {
      if (other === key || (fields.role !== 'citizen' && fields.role !== 'official')) return [];
      const name = fields.name.value;
      return [[other, name ? { key: 'office.name', args: { name } } : { key: 'edit.person', args: { number: String(place + 1) } }]];
    });
  const refresh = () => {
    people.forEach(({ fields, legend, remove }, place) => {
      setText(legend, { key: 'edit.person', args: { number: String(place + 1) } });
      setText(remove.firstElementChild ?? remove, { key: 'edit.person.drop', args: { number: String(place + 1) } });
      remove.hidden = people.length === 1;
      fields.refresh();
    });
    more.hidden = people.length >= MOST_PEOPLE;
  };
  const add = (role: Role) => {
    const key = `new-${count++}`;
    const fields = new PersonFields(key, me.office, role, partnersOf(key), () => refresh());
    const legend = el('legend', { class: 'kern-label' });
    const remove = button(`${key}-drop`, 'edit.person.drop', 'tertiary', () => {
      people.splice(people.findIndex((one) => one.key === key), 1);
      element.remove();
      refresh();
      people.at(-1)?.fields.focus();
    });
    const element = el('fieldset', { class: 'kern-fieldset newcomer' }, legend, el('div', { class: 'kern-fieldset__body' }, fields.element, remove));
    people.push({ key, fields, element, legend, remove });
    rows.append(element);
    refresh();
    return fields;
  };
  const more = button('new-person', 'edit.person.add', 'secondary', () => add('interpreter').focus());
  add('citizen');

  const form = el('form', { class: 'create', novalidate: '' }, summary.element, ...when.elements, rows, el('div', { class: 'actions' }, more, submit('new-create', 'create.do')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void send();
  });
  const send = async () => {
    if (!summary.hold([...when.complaints(), ...people.flatMap(({ fields }) => fields.complaints())])) return;
    const place = (key: string) => people.findIndex((one) => one.key === key);
    const body = { ...when.value(), people: people.map(({ fields }) => fields.value(place)) };
    try {
      const card = await call<Card>('POST', 'appointments', body, { 'idempotency-key': attempt });
      attempt = crypto.randomUUID();
      for (const one of people.splice(1)) one.element.remove();
      people[0]?.fields.clear();
      when.clear();
      refresh();
      say('create.made');
      await handOver(me.office, card, invited(card), made);
    } catch (problem) {
      attempt = crypto.randomUUID();
      if (codeOf(problem) === 'wrong-window') summary.hold([[when.day, 'amt.problem.wrong-window']]);
      else summary.refuse(officialText(problem));
    }
  };
  const open = el('details', { id: 'create', class: 'kern-accordion' }, el('summary', { class: 'kern-accordion__header' }, setText(el('span', { class: 'kern-title' }), 'create.title')), el('div', { class: 'kern-accordion__body' }, form, made));
  open.addEventListener('toggle', () => {
    if (open.open && !when.day.value) when.day.control.value = day();
  });
  return open;
}
