// The official's way: sign in, the day, the lobby, the call, the end with an outcome code.

import { runCall } from '../call';
import { isGranted } from '../devices';
import { el, setState, showScreen } from '../dom';
import type { Entry } from '../prejoin';
import { setText, setTitle, translate, type TextKey } from '../texts';
import { ask, listen, Problem, tell } from '../talk/api';
import { alertBox, button, useOffice } from '../talk/office';
import { problemText, Talk } from '../talk/talk';
import type { Card, Office, Official, Seat, View } from '../talk/view';
import { showDay } from './day';

/** The desk's codes for a sign-in that failed, and the words for each. */
const LOGIN_ERRORS: Readonly<Record<string, TextKey>> = {
  'login-link-expired': 'login.error.expired',
  'login-link-used': 'login.error.replayed',
  'login-link-invalid': 'login.error.signature',
  'login-unknown': 'login.error.unknown',
  'login-not-admitted': 'login.error.unknown',
  'login-declined': 'login.error.denied',
  'login-invalid': 'login.error.state',
  'login-expired': 'login.error.state',
  'login-provider': 'login.error.provider',
  'login-assurance': 'login.error.acr',
};

export async function amt(content: HTMLElement, fragment: string): Promise<void> {
  const words = new URLSearchParams(fragment.replace(/^#/, ''));
  // What is in the fragment is spent once; it must not stay in the address.
  history.replaceState(null, '', location.pathname + location.search);
  const invitation = words.get('einladung');
  if (invitation) return colleague(content, invitation);
  let error = words.get('login-error') ?? undefined;
  const signed = words.get('login');
  if (signed) await tell('login/link', { token: signed }).catch((problem: unknown) => (error = problem instanceof Problem ? problem.code : 'other'));
  if (!error) {
    const me = await ask<Official>('official').catch((problem: unknown) => void (problem instanceof Problem && problem.status !== 401 && (error = problem.code)));
    if (me) return work(content, me);
  }
  await login(content, error);
}

const heading = (key: TextKey) => setText(el('h1', { class: 'kern-heading-medium' }), key);

async function login(content: HTMLElement, error?: string): Promise<void> {
  setState('start');
  setTitle('login.title');
  const authority = new URLSearchParams(location.search).get('authority');
  const office = await ask<Office>(`office${authority ? `?authority=${encodeURIComponent(authority)}` : ''}`).catch(() => undefined);
  if (office) await useOffice(office);
  const card = el('section', { class: 'card' }, heading('login.title'));
  const said = el('div', { role: 'alert', id: 'login-error' });
  const say = (code: string) => said.replaceChildren(alertBox('danger', loginText(code)));
  card.append(said);
  if (office?.login?.oidc) card.append(el('a', { class: 'kern-btn kern-btn--primary', id: 'oidc', href: `desk/v1/login/oidc?authority=${encodeURIComponent(office.id)}` }, setText(el('span', { class: 'kern-label' }), 'login.oidc')));
  const demo = office?.login?.demo ?? [];
  if (office && demo.length > 0)
    card.append(setText(el('p', { class: 'kern-body' }), 'login.demo'), el('div', { class: 'actions' }, ...demo.map((official, index) => {
      const made = button(`demo-${index}`, 'login.demo', 'secondary', () => tell('login/demo', { authority: office.id, official: official.id }).then(async () => work(content, await ask<Official>('official')), (problem: unknown) => say(problem instanceof Problem ? problem.code : 'other')));
      setText(made.querySelector('.kern-label') ?? made, { key: 'login.as', args: { name: official.name } });
      return made;
    })));
  if (!office?.login?.oidc && demo.length === 0) card.append(setText(el('p', { class: 'kern-body' }), 'login.none'));
  showScreen(content, card);
  if (error) say(error);
}

function loginText(code: string): TextKey {
  return LOGIN_ERRORS[code] ?? LOGIN_ERRORS[`login-${code}`] ?? (problemText(code) === 'problem.other' ? 'login.error.other' : problemText(code));
}

/** The day until a call is entered, and back again, until the session is over. */
async function work(content: HTMLElement, me: Official): Promise<void> {
  await useOffice(me.office);
  for (;;) {
    const chosen = await showDay(content, me);
    if (chosen === 'over') return login(content, 'no-session');
    if (chosen === 'logout') {
      await tell('logout').catch(() => undefined);
      return login(content);
    }
    await consult(content, me, chosen);
  }
}

/** The call of one appointment, with the lobby's buttons beside it. */
async function consult(content: HTMLElement, me: Official, first: Card): Promise<void> {
  const said = el('p', { class: 'kern-body', role: 'status', id: 'lobby-said' });
  const lobby = el('div', { class: 'talk__lobby', id: 'lobby' });
  const outcome = el('select', { class: 'kern-form-input__select', id: 'outcome' }, ...me.outcomes.map((code) => {
    const known = ['done', 'no_show', 'reschedule', 'technical'].includes(code);
    return known ? setText(el('option', { value: code }), `outcome.${code}` as TextKey) : el('option', { value: code }, code);
  }));
  const path = `appointments/${first.id}`;
  const act = (work: () => Promise<unknown>, done: TextKey) => work().then(() => setText(said, done), (problem: unknown) => setText(said, problemText(problem instanceof Problem ? problem.code : 'other')));
  const invite = button('colleague', 'lobby.colleague', 'secondary', () => act(async () => {
    const { join_url } = await tell<{ join_url: string }>(`${path}/colleague`);
    const field = el('input', { class: 'kern-form-input__input', id: 'colleague-link', readonly: '', 'aria-label': translate('lobby.colleague.link') });
    field.value = join_url;
    document.getElementById('colleague-link')?.remove();
    invite.after(field);
    field.focus();
    field.select();
  }, 'lobby.colleague.done'));
  const end = button('end-call', 'lobby.end', 'primary', () => act(async () => {
    await tell(`${path}/end`, { outcome: outcome.value });
    document.getElementById('leave')?.click();
  }, 'lobby.ended'));
  const talk = new Talk({ captions: false, phone: me.office.help.phone, extra: el('div', { class: 'talk__official' }, said, lobby, invite,
    el('div', { class: 'kern-form-input' }, setText(el('label', { class: 'kern-label', for: 'outcome' }), 'lobby.outcome'), el('div', { class: 'kern-form-input__select-wrapper' }, outcome)), end) });
  const show = (card: Card) => {
    const inside = card.people.filter((one) => ['admitted', 'in_call'].includes(one.stage));
    talk.people(inside);
    const rows = card.people.filter((one) => one.role !== 'official' && (['waiting', 'held'].includes(one.stage) || inside.includes(one))).map((one) => {
      const waits = !inside.includes(one);
      const made = button(`${waits ? 'admit' : 'hold'}-${one.id}`, waits ? 'lobby.admit' : 'lobby.hold', 'secondary', () => act(() => tell(`${path}/people/${one.id}/${waits ? 'admit' : 'hold'}`), waits ? 'lobby.admitted' : 'lobby.held'));
      setText(made.querySelector('.kern-label') ?? made, { key: waits ? 'lobby.admit.name' : 'lobby.hold.name', args: { name: one.name } });
      return made;
    });
    // The list is rebuilt at each change: whoever stands on one of its buttons keeps their place.
    const focused = lobby.contains(document.activeElement) ? document.activeElement?.id : undefined;
    lobby.replaceChildren(...rows);
    if (focused) (document.getElementById(focused) ?? lobby.querySelector<HTMLElement>('button') ?? invite).focus();
  };
  show(first);
  const day = new Date(first.starts_at).toLocaleDateString('sv-SE', { timeZone: me.office.time_zone });
  const stop = listen(`day/socket?day=${day}`, (message) => {
    const card = message.type === 'day' ? message.day.appointments.find(({ id }) => id === first.id) : undefined;
    if (card) show(card);
  }, () => undefined);
  try {
    const entry: Entry = { name: me.official.name, camera: true, microphone: true };
    const seat = await tell<Seat>(`${path}/seat`);
    await runCall(content, { token: seat.token, mayRename: false, name: me.official.name }, entry, talk);
  } catch (problem) {
    await failed(content, problem);
  } finally {
    stop();
  }
}

function failed(content: HTMLElement, problem: unknown): Promise<void> {
  setState('ended');
  return new Promise((back) => {
    const box = alertBox('danger', problemText(problem instanceof Problem ? problem.code : 'other'));
    box.setAttribute('role', 'alert');
    showScreen(content, el('section', { class: 'card' }, heading('problem.title'), box, el('div', { class: 'actions' }, button('back', 'day.back', 'primary', () => back()))));
  });
}

/** A colleague comes by a link that works once, straight into the call. */
async function colleague(content: HTMLElement, token: string): Promise<void> {
  setState('start');
  setTitle('colleague.title');
  await new Promise<void>((go) => showScreen(content, el('section', { class: 'card' }, heading('colleague.title'), setText(el('p', { class: 'kern-body' }), 'colleague.what'),
    el('div', { class: 'actions' }, button('open', 'colleague.join', 'primary', () => go())))));
  try {
    const view = await tell<View>('links/open', { token });
    await useOffice(view.authority);
    const talk = new Talk({ captions: view.grants.captions, phone: view.authority.help.phone });
    talk.people(view.present);
    const stop = listen<View>('me/socket', (message) => void (message.type === 'view' && talk.people(message.view.present)), () => undefined);
    const seat = await tell<Seat>('me/seat');
    await runCall(content, { token: seat.token, mayRename: false, name: view.me.name }, { name: view.me.name, camera: await isGranted('camera'), microphone: true }, talk);
    stop();
    setState('ended');
    showScreen(content, el('section', { class: 'card' }, heading('end.title'), setText(el('p', { class: 'kern-body' }), 'end.left')));
  } catch (problem) {
    await failed(content, problem);
    location.reload();
  }
}
