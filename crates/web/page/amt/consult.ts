// The call of one appointment, with the lobby beside it, a colleague's link, and the end.

import { runCall } from '../call';
import { el, setState, showScreen } from '../dom';
import { clearText, officesText, setLabel, setText, setTitle, type Message, type TextKey } from '../texts';
import { ask, listen, tell } from '../talk/api';
import { alertBox, button } from '../talk/office';
import { Talk } from '../talk/talk';
import type { Card, Official, Seat } from '../talk/view';
import { Arrivals } from './arrivals';
import { entryOrBack } from './devices';
import { choice, line } from './fields';
import { People, PersonRow } from './person-row';
import { MAX_NAME } from './person-fields';
import { officialText } from './problems';

export async function consult(content: HTMLElement, me: Official, first: Card): Promise<void> {
  const said = el('p', { class: 'kern-body', role: 'status', id: 'lobby-said' });
  const say = (message: Message | TextKey) => {
    clearText(said);
    setText(said, message);
  };
  const path = `appointments/${first.id}`;
  const act = (work: () => Promise<unknown>, done: TextKey) => work().then(() => say(done), (problem: unknown) => say(officialText(problem)));
  // An office that has codes of its own names them among its texts.
  const outcome = choice('outcome', 'lobby.outcome', me.outcomes.map((code) => [code, { key: 'office.name', args: { name: () => officesText(`outcome.${code}`, code) } }] as const));
  const end = button('end-call', 'lobby.end', 'primary', () => act(async () => {
    await tell(`${path}/end`, { outcome: outcome.value });
    document.getElementById('leave')?.click();
  }, 'lobby.ended'));
  const lobby = el('ul', { class: 'people talk__lobby', id: 'lobby', tabindex: '-1' });
  const arrivals = new Arrivals(say, lobby);
  const beside = setLabel(el('section', { class: 'call__lobby' }, said, arrivals.element, lobby), 'lobby.title');
  // The day may have been open for hours: what the office says of encryption now is what the room is held to.
  const { office } = await ask<Official>('official').catch(() => me);
  const talk = await Talk.begin(office.end_to_end, { captions: false, phone: me.office.help.phone, lobby: beside, extra: el('div', { class: 'talk__official' }, colleagueForm(path, act), el('div', { class: 'talk__end' }, outcome.element, end)) }).catch((problem: unknown) => failed(content, problem));
  if (!talk) return arrivals.end();
  const people = new People(lobby, (card, one) => new PersonRow(me.office, card, one, say, {
    askMute: (id) => talk.mute.ask(id),
    // Pictures out of sight are not even sent: whoever lets somebody in wants to see them.
    admitted: () => content.scrollIntoView({ block: 'start' }),
  }));
  const show = (card: Card) => {
    talk.people(card.people.filter((one) => ['admitted', 'in_call'].includes(one.stage)));
    people.update(card, card.people.filter((one) => one.role !== 'official' && ['waiting', 'held', 'admitted', 'in_call'].includes(one.stage)));
    arrivals.update(card.people.filter((one) => one.stage === 'waiting' && one.role !== 'official'));
  };
  const day = new Date(first.starts_at).toLocaleDateString('sv-SE', { timeZone: me.office.time_zone });
  let stop = () => {};
  try {
    const entry = await entryOrBack(content, me.official.name);
    if (!entry) return;
    const seat = await tell<Seat>(`${path}/seat`).catch((problem: unknown) => {
      for (const track of [entry.camera, entry.microphone]) if (typeof track !== 'boolean') track.stop();
      throw problem;
    });
    show(first);
    stop = listen(`day/socket?day=${day}`, (message) => {
      const card = message.type === 'day' ? message.day.appointments.find(({ id }) => id === first.id) : undefined;
      if (card) show(card);
    }, () => undefined);
    await runCall(content, { token: seat.token, mayRename: false, name: me.official.name }, entry, talk);
  } catch (problem) {
    await failed(content, problem);
  } finally {
    stop();
    arrivals.end();
    talk.end();
  }
}

/** A name as others see it, then a link that works once. */
function colleagueForm(path: string, act: (work: () => Promise<unknown>, done: TextKey) => Promise<unknown>): HTMLElement {
  const name = line('colleague-name', 'lobby.colleague.name', { maxlength: String(MAX_NAME) }, 'lobby.colleague.name.hint');
  const place = el('div', {});
  const invite = button('colleague', 'lobby.colleague.do', 'secondary', () => act(async () => {
    const { join_url } = await tell<{ join_url: string }>(`${path}/colleague`, name.value ? { name: name.value } : {});
    const link = line('colleague-link', 'lobby.colleague.link', { readonly: '' });
    link.control.value = join_url;
    place.replaceChildren(link.element);
    link.control.focus();
    link.control.select();
  }, 'lobby.colleague.done'));
  return el('details', { class: 'talk__colleague', id: 'colleague-open' }, setText(el('summary', { class: 'kern-body' }), 'lobby.colleague'), name.element, invite, place);
}

/** Says why there is no call, and waits until that is read. */
export function failed(content: HTMLElement, problem: unknown): Promise<void> {
  setState('ended');
  setTitle('problem.title');
  return new Promise((back) => {
    const box = alertBox('danger', officialText(problem));
    box.setAttribute('role', 'alert');
    showScreen(content, el('section', { class: 'card' }, setText(el('h1', { class: 'kern-heading-medium' }), 'problem.title'), box, el('div', { class: 'actions' }, button('back', 'day.back', 'primary', () => back()))));
  });
}
