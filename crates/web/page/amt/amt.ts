// The official's way: sign in, the day, the lobby, the call, the end with an outcome code.

import { runCall } from '../call';
import { el, setState, showScreen } from '../dom';
import { offerLanguage, setText, setTitle, type TextKey } from '../texts';
import { ask, listen, Problem, tell } from '../talk/api';
import { ServerClock } from '../talk/clock';
import { alertBox, button, useOffice, whereToAsk } from '../talk/office';
import { mustEncrypt, problemText, Talk } from '../talk/talk';
import type { Office, Official, Seat, View } from '../talk/view';
import { consult, failed } from './consult';
import { showDay } from './day';
import { checkAgain, entryFor } from './devices';

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
  'no-session': 'amt.problem.no-session',
  'login-provider': 'login.error.provider',
  'login-assurance': 'login.error.acr',
  'no-authority': 'login.error.office',
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
  const found = await findOffice(authority);
  const office = 'office' in found ? found.office : undefined;
  if (office) await useOffice(office);
  else void whereToAsk();
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
  if ('offices' in found) {
    if (authority) error ??= 'no-authority';
    card.append(...choose(found.offices));
  } else if (!office?.login?.oidc && demo.length === 0) card.append(setText(el('p', { class: 'kern-body' }), 'login.none'));
  showScreen(content, card);
  if (error) say(error);
}

type Named = Pick<Office, 'id' | 'name'>;

/** The office that is named, or the only one; else all that there are, to choose from. */
async function findOffice(authority: string | null): Promise<{ office: Office } | { offices: readonly Named[] } | { offline: true }> {
  try {
    return { office: await ask<Office>(`office${authority ? `?authority=${encodeURIComponent(authority)}` : ''}`) };
  } catch (problem) {
    const offices = problem instanceof Problem ? (problem.body['offices'] as readonly Named[] | undefined) : undefined;
    if (Array.isArray(offices)) return { offices };
    if (!authority || !(problem instanceof Problem) || problem.code !== 'no-authority') return { offline: true };
  }
  // A name that no office has, or has any more.
  const others = await findOffice(null);
  return 'office' in others ? { offices: [others.office] } : others;
}

/** Each choice is an address of its own, which can be kept. */
function choose(offices: readonly Named[]): HTMLElement[] {
  const sorted = [...offices].sort((one, other) => one.name.localeCompare(other.name, 'de'));
  const links = sorted.map(({ id, name }) => el('li', {}, el('a', { class: 'kern-link', href: `amt?authority=${encodeURIComponent(id)}` }, name)));
  return [setText(el('h2', { class: 'kern-heading-small' }), 'login.choose'), el('ul', { class: 'offices', id: 'offices' }, ...links), setText(el('p', { class: 'kern-body' }), 'login.choose.missing')];
}

function loginText(code: string): TextKey {
  return LOGIN_ERRORS[code] ?? LOGIN_ERRORS[`login-${code}`] ?? (problemText(code) === 'problem.other' ? 'login.error.other' : problemText(code));
}

/** The day until a call is entered, and back again, until the session is over. */
async function work(content: HTMLElement, me: Official): Promise<void> {
  const clock = new ServerClock(me.server_time);
  await useOffice(me.office);
  let said: TextKey | undefined;
  for (;;) {
    const chosen = await showDay(content, me, clock, said);
    said = undefined;
    if (chosen === 'over') return login(content, 'no-session');
    if (chosen === 'logout') {
      await tell('logout').catch(() => undefined);
      return login(content);
    }
    if (chosen === 'devices') {
      if (await checkAgain(content, me.official.name)) said = 'amt.devices.kept';
    } else {
      await consult(content, me, chosen);
    }
  }
}

/** A colleague comes by a link that works once, straight into the call. */
async function colleague(content: HTMLElement, token: string): Promise<void> {
  setState('start');
  setTitle('colleague.title');
  void whereToAsk();
  await new Promise<void>((go) => showScreen(content, el('section', { class: 'card' }, heading('colleague.title'), setText(el('p', { class: 'kern-body' }), 'colleague.what'),
    el('div', { class: 'actions' }, button('open', 'colleague.join', 'primary', () => go())))));
  try {
    const view = await tell<View>('links/open', { token });
    await useOffice(view.authority);
    await offerLanguage(view.me.language);
    mustEncrypt(view.authority.end_to_end);
    const entry = await entryFor(content, view.me.name);
    const talk = await Talk.begin(view.authority.end_to_end, { captions: view.grants.captions, phone: view.authority.help.phone });
    talk.people(view.present);
    const stop = listen<View>('me/socket', (message) => void (message.type === 'view' && talk.people(message.view.present)), () => undefined);
    const seat = await tell<Seat>('me/seat');
    await runCall(content, { token: seat.token, mayRename: false, name: view.me.name }, entry, talk);
    stop();
    setState('ended');
    showScreen(content, el('section', { class: 'card' }, heading('end.title'), setText(el('p', { class: 'kern-body' }), 'end.left')));
  } catch (problem) {
    await failed(content, problem);
    location.reload();
  }
}
