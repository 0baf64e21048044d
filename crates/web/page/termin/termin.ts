// The citizen's way: link, notice, device check with needs, waiting room, call, end. Three activations to the waiting room.

import { runCall } from '../call';
import { isGranted, type DeviceKind } from '../devices';
import { el, setState, showScreen } from '../dom';
import { checkDevices, type Entry } from '../prejoin';
import { probeMedia, type Way } from '../probe';
import { language, offerLanguage, onLanguage, setText, setTitle, type Message, type TextKey } from '../texts';
import { ask, listen, Problem, tell } from '../talk/api';
import { ServerClock } from '../talk/clock';
import { alertBox, button, dateIn, instant, timeIn, useOffice, whereToAsk } from '../talk/office';
import { isAble } from '../talk/e2ee/encryption';
import { mustEncrypt, problemText, Talk } from '../talk/talk';
import type { Bye, Needs, Network, Role, Seat, View } from '../talk/view';

/** An appointment that began so long ago begins late: then the page says so. */
const LATE_MS = 2 * 60_000;
const NEEDS = ['signing', 'live_text', 'interpreter', 'companion'] as const satisfies readonly (keyof Needs)[];
/** What each is asked for: nobody interprets for an interpreter, and who sends no picture does not sign. */
const ASKED: Readonly<Record<Role, readonly (typeof NEEDS)[number][]>> = { citizen: NEEDS, interpreter: ['signing', 'live_text'], companion: ['signing', 'live_text'], official: ['signing', 'live_text'], observer: ['live_text'], captioner: [] };

export async function termin(content: HTMLElement, token: string): Promise<void> {
  void whereToAsk();
  try {
    const view = token ? await landing(content, token) : await ask<View>('me');
    // The link is spent on this browser: it need not stay in the address, over a shoulder or in a picture of the screen.
    history.replaceState(null, '', location.pathname);
    await useOffice(view.authority);
    await offerLanguage(view.me.language);
    await attend(content, view, token !== '');
  } catch (problem) {
    await refused(content, problem);
  }
}

const heading = (key: TextKey) => setText(el('h1', { class: 'kern-heading-medium' }), key);
const line = (key: TextKey, args: NonNullable<Message['args']> = {}) => setText(el('p', { class: 'kern-body' }), { key, args });

/** Whom to call, where there is somebody. */
function phoneLine(key: TextKey, { authority: { help: { phone } } }: View): HTMLElement[] {
  return phone ? [line(key, { phone })] : [];
}

/** Opening a page must not spend the link, which a mail scanner does too: only pressing the button does. */
function landing(content: HTMLElement, token: string): Promise<View> {
  setState('start');
  setTitle('termin.title');
  return new Promise((opened, failed) => {
    const go = button('open', 'termin.open', 'primary');
    go.addEventListener('click', () => tell<View>('links/open', { token }).then(opened, failed), { once: true });
    showScreen(content, el('section', { class: 'card' }, heading('termin.title'), line('termin.landing'), el('div', { class: 'actions' }, go)));
  });
}

async function refused(content: HTMLElement, problem: unknown): Promise<void> {
  const { code, body, retryAfter } = problem instanceof Problem ? problem : new Problem('other', 0);
  // Whoever is waited for in vain is to be seen with the reason; nothing of theirs was tried.
  if (code === 'no-encryption') void tell('me/devices', { camera: false, microphone: false, network: 'none', encryption: false }).catch(() => undefined);
  setState('ended');
  setTitle('termin.title');
  const opens = body['opens_at'];
  const box = alertBox('warning', problemText(code), ...(typeof opens === 'string' ? [line('problem.opens', { time: () => instant(opens) })] : []), ...(retryAfter ? [line('problem.retry', { seconds: String(retryAfter) })] : []));
  box.setAttribute('role', 'alert');
  showScreen(content, el('section', { class: 'card' }, heading('problem.title'), box, el('div', { class: 'actions' }, button('again', 'problem.again', 'secondary', () => location.reload()))));
}

async function attend(content: HTMLElement, first: View, fresh: boolean): Promise<void> {
  mustEncrypt(first.authority.end_to_end);
  let view = first;
  let entry: Entry | undefined;
  // Another device of the same person waits as soon as its link is open; its own camera and microphone are to be tried all the same.
  const untried = fresh && view.me.other_device && view.me.stage === 'waiting';
  if (untried || !['waiting', 'admitted', 'in_call', 'held', 'denied', 'ended'].includes(view.me.stage)) {
    const { wanted, hash } = await notice(content, view);
    if (!view.me.notice_agreed) view = await tell<View>('me/notice', { hash, agreed: true });
    entry = await prepare(content, view, wanted);
  }
  const granted = async (kind: DeviceKind) => view.grants.publish && isGranted(kind);
  entry ??= { name: view.me.name, camera: await granted('camera'), microphone: await granted('microphone'), signing: view.me.needs.signing };
  const began = performance.now();
  for (;;) {
    const admitted = await wait(content, view, entry);
    if (admitted.type === 'bye' || admitted.view.me.stage === 'denied' || admitted.view.me.stage === 'ended') return over(content, admitted.type === 'bye' ? view : admitted.view, admitted.type === 'bye' ? admitted.reason : admitted.view.me.stage, (performance.now() - began) / 1000);
    view = admitted.view;
    const seat = await tell<Seat>('me/seat');
    const talk = await Talk.begin(view.authority.end_to_end, { captions: view.grants.captions, phone: view.authority.help.phone });
    talk.people(view.present);
    let bye: Bye | undefined;
    const stop = listen<View>('me/socket', (message) => {
      if (message.type === 'view') talk.people((view = message.view).present);
      if (message.type === 'bye') bye = message;
    }, () => undefined);
    const { outcome, next } = await runCall(content, { token: seat.token, mayRename: false, name: view.me.name }, entry, talk);
    stop();
    entry = { ...next, signing: next.camera === false ? entry.signing ?? false : talk.signs };
    if (bye) return over(content, view, bye.reason, outcome.seconds ?? 0);
    view = await ask<View>('me').catch(() => view);
    if (view.me.stage === 'held' || view.me.stage === 'waiting') continue;
    if (outcome.reason === 'end.left') {
      await tell('me/leave').catch(() => undefined);
      return over(content, view, 'left', outcome.seconds ?? 0);
    }
    if (!outcome.mayRejoin) return over(content, view, 'ended', outcome.seconds ?? 0);
    await trouble(content, view, outcome.reason);
  }
}

/** What will happen, and why the browser is going to ask; agreeing and starting the check are one activation. */
function notice(content: HTMLElement, view: View): Promise<{ wanted: readonly DeviceKind[]; hash: string }> {
  setState('prejoin');
  setTitle('termin.title');
  const { appointment, authority } = view;
  const consent = view.notice.kind === 'consent';
  const [title, text, more] = [el('h2', { class: 'kern-heading-small' }), el('p', { class: 'kern-body' }), el('p', { class: 'kern-body notice__details' })];
  const details = el('details', {}, setText(el('summary', { class: 'kern-body' }), 'termin.details'), more);
  const box = el('section', { class: 'notice', id: 'notice' }, title, text, details);
  // What is agreed to is what was read: the text of the language in which the page stands when the button is pressed.
  let read = view.notice;
  const show = () => {
    const tag = language();
    const own = view.notices[tag];
    read = own ?? (tag === 'de-leicht' ? view.notices['de'] : undefined) ?? view.notice;
    [title.textContent, text.textContent, more.textContent] = [read.title, read.text, read.details];
    details.hidden = read.details === '';
  };
  show();
  onLanguage(show);
  const sends = view.grants.publish;
  return new Promise((done) => {
    const go = (wanted: readonly DeviceKind[]) => done({ wanted, hash: read.hash });
    const watch = button('check', consent ? 'termin.consent.watch' : 'termin.open', 'primary', () => go([]));
    const both = button('check', consent ? 'termin.consent.check' : 'termin.check', 'primary', () => go(['microphone', 'camera']));
    const audio = button('check-audio', consent ? 'termin.consent.audio' : 'termin.check.audio', 'secondary', () => go(['microphone']));
    showScreen(content, el('section', { class: 'card' }, heading('termin.yours'),
      el('p', { class: 'kern-body', id: 'subject' }, appointment.subject),
      line('termin.when', { date: () => dateIn(authority, appointment.starts_at), from: () => timeIn(authority, appointment.starts_at), to: () => timeIn(authority, appointment.ends_at) }),
      box,
      line(sends ? 'termin.why' : 'termin.why.watch'), el('div', { class: 'actions' }, ...(sends ? [both, audio] : [watch]))));
  });
}

async function prepare(content: HTMLElement, view: View, wanted: readonly DeviceKind[]): Promise<Entry> {
  const boxes = ASKED[view.me.role].map((need) => {
    const input = el('input', { type: 'checkbox', class: 'kern-form-check__checkbox', id: `need-${need}` });
    input.checked = view.me.needs[need];
    return { need, input, row: el('div', { class: 'kern-form-check' }, input, setText(el('label', { class: 'kern-label', for: `need-${need}` }), `need.${need}`)) };
  });
  const sound = el('p', { class: 'kern-body', role: 'status', id: 'speaker-said' });
  const network = setText(el('p', { class: 'kern-body', role: 'status', id: 'network-said' }), 'termin.network.running');
  let way: Network = 'none';
  const measured = testNetwork().then((found) => {
    way = found;
    setText(network, `termin.network.${found}`);
  });
  void measured;
  const person = { element: line('prejoin.name.shown', { name: view.me.name }), name: () => view.me.name };
  const tests = [network, el('div', { class: 'actions' }, button('test-speaker', 'termin.speaker', 'secondary', () => playTone().then(() => setText(sound, 'termin.speaker.played'), () => setText(sound, 'termin.speaker.failed')))), sound];
  const asked = boxes.length === 0 ? [] : [el('fieldset', { class: 'kern-fieldset needs' }, setText(el('legend', { class: 'kern-label' }), 'need.title'), ...boxes.map(({ row }) => row))];
  const entry = await (view.grants.publish
    ? checkDevices(content, person, wanted, {
        keys: { join: 'termin.wait', withoutCamera: 'termin.wait.audio', silent: 'termin.wait.silent' },
        extra: [el('section', { class: 'tests' }, setText(el('h2', { class: 'kern-heading-small' }), 'termin.tests'), ...tests), ...asked],
      })
    : listenOnly(content, view.me.name, [person.element, ...tests, ...asked]));
  // What the office knows already, and nobody was asked here, stays.
  const needs = { ...view.me.needs, ...Object.fromEntries(boxes.map(({ need, input }) => [need, input.checked])) };
  await tell('me/devices', { camera: entry.camera !== false, microphone: entry.microphone !== false, network: way, encryption: view.authority.end_to_end === 'off' || isAble() });
  await tell('me/needs', needs);
  await tell('me/wait');
  return { ...entry, signing: boxes.some(({ need, input }) => need === 'signing' && input.checked) };
}

/** Who may not send sound or pictures is asked for no camera and no microphone, only whether they hear. */
function listenOnly(content: HTMLElement, name: string, parts: readonly HTMLElement[]): Promise<Entry> {
  return new Promise((go) => showScreen(content, el('section', { class: 'card' }, heading('termin.tests'), ...parts,
    el('div', { class: 'actions' }, button('join', 'termin.wait', 'primary', () => go({ name, camera: false, microphone: false }))))));
}

/** The way that sound and pictures would take, tried for real; the best that stands is told. */
async function testNetwork(): Promise<Network> {
  try {
    const response = await fetch('check/session', { method: 'POST' });
    const { token } = (await response.json()) as { token?: string };
    if (!response.ok || !token) return 'none';
    const open = new Set<Way>();
    await probeMedia(token, (way, outcome) => void (outcome.result === 'ok' && open.add(way)));
    if (open.has('udp') || open.has('turn-udp')) return 'udp';
    if (open.has('tcp') || open.has('turn-tcp')) return 'tcp';
    return open.has('turn-tls') ? 'tls' : 'none';
  } catch {
    return 'none';
  }
}

/** Two short notes: heard, but not mistaken for a ring. */
async function playTone(): Promise<void> {
  const context = new AudioContext();
  try {
    for (const [at, frequency] of [[0, 523], [0.25, 659]] as const) {
      const source = new OscillatorNode(context, { frequency });
      source.connect(new GainNode(context, { gain: 0.2 })).connect(context.destination);
      source.start(context.currentTime + at);
      source.stop(context.currentTime + at + 0.2);
    }
    if (context.state !== 'running') await context.resume();
  } finally {
    setTimeout(() => void context.close(), 1_000);
  }
}

/** The waiting room; ends with admission, refusal or goodbye. Nothing is sent from here but what the desk is told. */
function wait(content: HTMLElement, first: View, entry: Entry): Promise<{ type: 'view'; view: View } | Bye> {
  setState('waiting');
  setTitle('wait.title');
  const position = el('p', { class: 'kern-body', role: 'status', id: 'position' });
  const since = el('p', { class: 'kern-body', id: 'since' });
  const message = el('div', { role: 'status', id: 'message' });
  const link = el('p', { class: 'kern-body', role: 'status', id: 'link-state' });
  const called = el('div', { role: 'alert', id: 'called' });
  const note = line(entry.camera !== false ? 'wait.private' : 'wait.private.audio');
  showScreen(content, el('section', { class: 'card' }, heading('wait.title'), called, position, since, message, note, line('wait.stay'), link));
  let view = first;
  const desk = new ServerClock(first.server_time);
  // Honest is what is known: when it was to begin, and since when one waits. How long others take, nobody knows.
  const clock = () => {
    const { authority, appointment: { starts_at } } = view;
    const late = desk.now() > Date.parse(starts_at) + LATE_MS;
    setText(position, view.me.stage === 'held' ? 'wait.held' : { key: late ? 'wait.late' : 'wait.at', args: { time: () => timeIn(authority, starts_at) } });
    if (!view.me.waiting_since) return;
    const minutes = Math.max(0, Math.floor((desk.now() - Date.parse(view.me.waiting_since)) / 60_000));
    setText(since, minutes < 1 ? 'wait.since.short' : minutes === 1 ? 'wait.since.one' : { key: 'wait.since', args: { minutes: String(minutes) } });
  };
  const timer = setInterval(clock, 15_000);
  return new Promise((over) => {
    const finish = (what: { type: 'view'; view: View } | Bye) => {
      clearInterval(timer);
      stop();
      over(what);
    };
    const stop = listen<View>('me/socket', (heard) => {
      if (heard.type === 'bye') return finish(heard);
      if (heard.type !== 'view') return;
      view = heard.view;
      desk.hear(view.server_time);
      const { stage, message: said } = view.me;
      clock();
      message.replaceChildren(...(said ? [alertBox('info', 'wait.message', el('p', { class: 'kern-body', id: 'message-text' }, said.text))] : []));
      if (stage === 'denied' || stage === 'ended') finish(heard);
      if (stage === 'admitted' || stage === 'in_call') {
        // Said, heard and seen; then the call, with time to read it.
        called.replaceChildren(alertBox('success', 'wait.admitted'));
        void playTone().catch(() => undefined);
        setTimeout(() => finish(heard), 1_500);
      }
    }, (yes) => setText(link, yes ? 'wait.link' : 'wait.link.broken'));
  });
}

function trouble(content: HTMLElement, view: View, reason: TextKey): Promise<void> {
  setState('ended');
  setTitle('trouble.title');
  return new Promise((again) => showScreen(content, el('section', { class: 'card' }, heading('trouble.title'), line(reason), ...phoneLine('trouble.phone', view),
    el('div', { class: 'actions' }, button('rejoin', 'end.rejoin', 'primary', () => again())))));
}

function over(content: HTMLElement, view: View, why: string, seconds: number): void {
  setState('ended');
  setTitle('end.title');
  const known: Record<string, TextKey> = { left: 'end.left', ended: 'end.closed', denied: 'over.denied', moved: 'end.duplicate', revoked: 'end.refused', session_over: 'problem.no-session', office_gone: 'problem.no-authority' };
  const minutes = String(Math.round(seconds / 60));
  showScreen(content, el('section', { class: 'card' }, heading('end.title'), line(known[why] ?? 'end.closed'),
    ...(why === 'denied' && view.me.message ? [alertBox('info', 'wait.message', el('p', { class: 'kern-body', id: 'message-text' }, view.me.message.text))] : []),
    ...(seconds >= 60 ? [minutes === '1' ? line('over.minute') : line('over.minutes', { minutes })] : []), ...phoneLine('over.next', view), line('end.close'),
    ...(why === 'left' ? [el('div', { class: 'actions' }, button('rejoin', 'end.rejoin', 'secondary', () => location.reload()))] : [])));
}

