// The list of a day with its lobby, and the form for a new appointment.

import { el, setState, showScreen } from '../dom';
import { setText, setTitle, translate, type TextKey } from '../texts';
import { listen, Problem, tell } from '../talk/api';
import { alertBox, button, dateIn, timeIn } from '../talk/office';
import { problemText } from '../talk/talk';
import type { Card, CardPerson, Day, Needs, Official } from '../talk/view';
import { icsFile, instantIn, mailText } from './invitation';

/** Shows the day until an appointment is entered or the session is over. */
export function showDay(content: HTMLElement, me: Official): Promise<Card | 'over' | 'logout'> {
  setState('day');
  setTitle('day.title');
  const { office } = me;
  const list = el('ol', { class: 'day', id: 'day' });
  const news = el('p', { class: 'kern-body', role: 'status', id: 'day-news' });
  const made = el('div', { id: 'made' });
  let today = new Date(me.server_time).toLocaleDateString('sv-SE', { timeZone: office.time_zone });
  let waiting = new Set<string>();
  return new Promise((done) => {
    let stop = () => {};
    const leave = (what: Card | 'over' | 'logout') => {
      stop();
      done(what);
    };
    const draw = ({ appointments }: Day) => {
      const now = appointments.flatMap((card) => card.people.filter((one) => one.stage === 'waiting'));
      const come = now.find((one) => !waiting.has(one.id));
      if (come) setText(news, { key: 'day.waits', args: { name: come.name } });
      waiting = new Set(now.map((one) => one.id));
      // Rebuilding must take neither the focus nor a half-written message from anybody.
      const focused = list.contains(document.activeElement) ? document.activeElement?.id : undefined;
      const written = new Map([...list.querySelectorAll('input')].map((input) => [input.id, input.value]));
      list.replaceChildren(...appointments.map((card) => cardOf(card)));
      for (const input of list.querySelectorAll('input')) input.value = written.get(input.id) ?? '';
      if (focused) (document.getElementById(focused) ?? document.getElementById('day'))?.focus();
      if (appointments.length === 0) list.append(setText(el('li', { class: 'kern-body' }), 'day.none'));
    };
    const act = (path: string, body: object, said: TextKey, name: string) =>
      tell(path, body).then(() => setText(news, { key: said, args: { name } }), (problem: unknown) => setText(news, problemText(problem instanceof Problem ? problem.code : 'other')));
    const cardOf = (card: Card): HTMLElement => {
      const enter = button(`enter-${card.id}`, 'day.enter', 'primary', () => leave(card));
      const marks = [card.late ? badge('day.late', 'warning') : undefined, badge(`state.${card.state}`, 'info')].filter((mark) => mark !== undefined);
      return el('li', { class: 'day__card', 'data-id': card.id },
        el('h2', { class: 'kern-heading-small' }, `${timeIn(office, card.starts_at)}–${timeIn(office, card.ends_at)} ${card.subject}`), el('div', { class: 'marks' }, ...marks),
        el('ul', { class: 'people' }, ...card.people.map((one) => personOf(card, one))),
        ...(card.state === 'scheduled' || card.state === 'running' ? [enter] : []));
    };
    const personOf = (card: Card, one: CardPerson): HTMLElement => {
      const path = `appointments/${card.id}/people/${one.id}`;
      const needs = (Object.keys(one.needs) as (keyof Needs)[]).filter((need) => one.needs[need]).map((need) => badge(`need.${need}`, 'info'));
      const row = el('li', { class: 'person', 'data-person': one.id },
        setText(el('h3', { class: 'kern-title' }), { key: 'talk.person', args: { name: one.name, why: { key: `role.${one.role}` } } }),
        el('div', { class: 'marks' }, badge(`stage.${one.stage}`, one.stage === 'waiting' ? 'success' : 'info'), badge(`linkstate.${one.link}`, 'info'), badge(one.devices ? `tested.${one.devices.network}` : 'tested.not', 'info'), ...(one.other_device ? [badge('day.otherdevice', 'warning')] : []), ...needs));
      if (one.linked_to) row.append(setText(el('p', { class: 'kern-body' }), { key: 'day.pair', args: { name: card.people.find(({ id }) => id === one.linked_to)?.name ?? '' } }));
      if (one.stage !== 'waiting' && one.stage !== 'held') return row;
      const press = (what: 'admit' | 'deny', key: TextKey, style: 'primary' | 'secondary') => {
        const made = button(`${what}-${one.id}`, key, style, () => act(`${path}/${what}`, {}, `day.did.${what}`, one.name));
        setText(made.firstElementChild ?? made, { key, args: { name: one.name } });
        return made;
      };
      const field = el('input', { class: 'kern-form-input__input', id: `text-${one.id}`, maxlength: '500', autocomplete: 'off' });
      const form = el('form', { class: 'pane__form' }, setText(el('label', { class: 'kern-label', for: field.id }), { key: 'day.message', args: { name: one.name } }), field,
        el('button', { type: 'submit', class: 'kern-btn kern-btn--secondary', id: `send-${one.id}` }, setText(el('span', { class: 'kern-label' }), 'day.message.send')));
      form.addEventListener('submit', (event) => {
        event.preventDefault();
        const text = field.value.trim();
        if (!text) return;
        field.value = '';
        void act(`${path}/message`, { text }, 'day.did.message', one.name);
      });
      row.append(el('div', { class: 'actions' }, press('admit', 'lobby.admit.name', 'primary'), press('deny', 'lobby.deny.name', 'secondary')), form);
      return row;
    };
    const follow = () => {
      stop();
      stop = listen(`day/socket?day=${today}`, (message) => {
        if (message.type === 'day') draw(message.day);
        if (message.type === 'bye') leave('over');
      }, (yes) => yes || setText(news, 'wait.link.broken'));
    };
    const day = el('input', { type: 'date', class: 'kern-form-input__input', id: 'date' });
    day.value = today;
    day.addEventListener('change', () => {
      if (!day.value) return;
      today = day.value;
      follow();
    });
    showScreen(content, el('section', { class: 'card card--wide' }, setText(el('h1', { class: 'kern-heading-medium' }), 'day.title'), setText(el('p', { class: 'kern-body' }), { key: 'day.official', args: { name: me.official.name } }), news,
      el('div', { class: 'kern-form-input' }, setText(el('label', { class: 'kern-label', for: 'date' }), 'day.date'), day), list,
      el('details', { id: 'create' }, setText(el('summary', { class: 'kern-body' }), 'create.title'), createForm(me, () => today, made)), made,
      el('div', { class: 'actions' }, button('logout', 'day.logout', 'tertiary', () => leave('logout')))));
    follow();
  });
}

function badge(key: TextKey, kind: 'info' | 'warning' | 'success'): HTMLElement {
  return el('span', { class: `kern-badge kern-badge--${kind}` }, setText(el('span', { class: 'kern-label kern-label--small' }), key));
}

function createForm(me: Official, day: () => string, made: HTMLElement): HTMLElement {
  const row = (id: string, key: TextKey, attributes: Record<string, string>) => {
    const input = el('input', { class: 'kern-form-input__input', id, required: '', ...attributes });
    return { input, element: el('div', { class: 'kern-form-input' }, setText(el('label', { class: 'kern-label', for: id }), key), input) };
  };
  const subject = row('new-subject', 'create.subject', { maxlength: '200' });
  const name = row('new-name', 'create.name', { maxlength: '100', autocomplete: 'off' });
  const from = row('new-from', 'create.from', { type: 'time' });
  const minutes = row('new-minutes', 'create.minutes', { type: 'number', min: '5', max: '480', value: '30' });
  const error = el('div', { role: 'alert' });
  const form = el('form', { class: 'create' }, subject.element, name.element, from.element, minutes.element, error,
    el('button', { type: 'submit', class: 'kern-btn kern-btn--primary', id: 'new-create' }, setText(el('span', { class: 'kern-label' }), 'create.do')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const starts = instantIn(me.office.time_zone, day(), from.input.value);
    const ends = new Date(starts.getTime() + Number(minutes.input.value) * 60_000);
    const body = { subject: subject.input.value, starts_at: starts.toISOString(), ends_at: ends.toISOString(), people: [{ role: 'citizen', name: name.input.value }] };
    tell<Card>('appointments', body).then((card) => {
      error.replaceChildren();
      form.reset();
      handOver(me, card, made);
    }, (problem: unknown) => error.replaceChildren(alertBox('danger', problemText(problem instanceof Problem ? problem.code : 'other'))));
  });
  return form;
}

/** The link is told once: to copy, for a calendar, and as a text for a mail. */
function handOver(me: Official, card: Card, made: HTMLElement): void {
  const url = card.people.find((one) => one.join_url)?.join_url ?? '';
  const when = `${dateIn(me.office, card.starts_at)}, ${timeIn(me.office, card.starts_at)}`;
  const mail = mailText({ office: me.office, when, url });
  const said = el('p', { class: 'kern-body', role: 'status', id: 'copied' });
  const field = (id: string, key: TextKey, input: HTMLInputElement | HTMLTextAreaElement, text: string) => {
    Object.assign(input, { id, readOnly: true, value: text, className: 'kern-form-input__input' });
    return el('div', { class: 'kern-form-input' }, setText(el('label', { class: 'kern-label', for: id }), key), input,
      button(`copy-${id}`, 'create.copy', 'secondary', () => {
        input.select();
        return navigator.clipboard.writeText(text).then(() => setText(said, 'create.copied'), () => setText(said, 'check.copy.byhand'));
      }));
  };
  const ics = el('a', { class: 'kern-btn kern-btn--secondary', id: 'ics', download: 'termin.ics', href: URL.createObjectURL(new Blob([icsFile(card, translate({ key: 'create.calendar', args: { office: me.office.name } }), url)], { type: 'text/calendar' })) }, setText(el('span', { class: 'kern-label' }), 'create.ics'));
  made.replaceChildren(el('section', { class: 'made' }, setText(el('h2', { class: 'kern-heading-small', tabindex: '-1' }), 'create.made'),
    field('join-link', 'create.link', el('input'), url), field('mail', 'create.mail', el('textarea', { rows: '6' }), mail), el('div', { class: 'actions' }, ics), said));
  made.querySelector('h2')?.focus();
}
