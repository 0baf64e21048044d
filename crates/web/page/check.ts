// The page that tells whether a video consultation works here: what was tried, what is wrong in plain words, and what to tell
// the IT department. Nothing is sent to anybody: whoever wants to pass the result on copies it.

import { el, setState, showScreen } from './dom';
import { required, wireLanguageButton, wireSkipLink } from './head';
import { readLink } from './link';
import { probeMedia, probeWebSocket, WAYS, type Outcome, type Way } from './probe';
import { preferredLanguage, setText, setTitle, translate, useLanguage, type Message, type TextKey } from './texts';

type CheckName = 'browser' | 'devices' | 'websocket' | Way;
const CHECKS: readonly CheckName[] = ['browser', 'devices', 'websocket', ...WAYS];

/** How a line of the result reads. */
type Mark = 'ok' | 'hint' | 'failed' | 'absent' | 'running';
type Verdict = 'good' | 'detour' | 'nomedia' | 'nosignaling' | 'browser' | 'refused' | 'unavailable';

interface Line {
  readonly mark: Mark;
  readonly says: TextKey;
  readonly outcome?: Outcome;
}

const BADGE: Record<Mark, string> = { ok: 'success', hint: 'warning', failed: 'danger', absent: 'info', running: 'info' };

/** What an IT department opens, for each way. */
const TO_OPEN: Partial<Record<CheckName, TextKey>> = {
  websocket: 'check.it.websocket',
  udp: 'check.it.udp',
  tcp: 'check.it.tcp',
  'turn-udp': 'check.it.udp',
  'turn-tcp': 'check.it.tcp',
  'turn-tls': 'check.it.tls',
};

async function main(): Promise<void> {
  const content = required('content');
  await useLanguage(preferredLanguage());
  wireLanguageButton(required('language'));
  wireSkipLink(content);
  window.addEventListener('hashchange', () => location.reload());
  setTitle('check.title');
  await run(content);
}

async function run(content: HTMLElement): Promise<void> {
  setState('start');
  const lines = new Map<CheckName, Line>();
  const list = el('ul', { class: 'findings' });
  const rows = new Map(CHECKS.map((name) => [name, el('li', { class: 'finding', 'data-check': name })]));
  list.append(...rows.values());
  // One short sentence for each step; the whole list would be read out again and again.
  const progress = el('p', { class: 'kern-body', role: 'status', id: 'progress' });
  const verdict = el('div', { id: 'verdict' });
  const passOn = el('div', { class: 'passon' });
  const card = el('section', { class: 'card' },
    setText(el('h1', { class: 'kern-heading-medium' }), 'check.title'),
    setText(el('p', { class: 'kern-body' }), 'check.what'),
    progress, verdict, list, passOn);
  showScreen(content, card);

  const show = (name: CheckName, line: Line) => {
    lines.set(name, line);
    draw(rowOf(rows, name), name, line);
    if (line.mark !== 'running') setText(progress, { key: 'check.progress', args: { what: { key: `check.name.${name}` }, how: { key: `check.mark.${line.mark}` } } });
  };
  for (const name of CHECKS) show(name, { mark: 'running', says: 'check.running' });
  setText(progress, 'check.running');

  const result = await examine(show);
  setState('ended');
  setText(progress, { key: 'check.done', args: { verdict: { key: `check.verdict.${result}.title` } } });
  verdict.append(alert(result));
  passOn.append(...forIt(result, lines, () => void run(content)));
}

function rowOf<K, V>(map: ReadonlyMap<K, V>, key: K): V {
  const value = map.get(key);
  if (value === undefined) throw new Error('every check has its row');
  return value;
}

async function examine(show: (name: CheckName, line: Line) => void): Promise<Verdict> {
  const leave = (names: readonly CheckName[]) => names.forEach((name) => show(name, { mark: 'absent', says: 'check.says.nottried' }));
  const capable = typeof RTCPeerConnection === 'function' && typeof WebSocket === 'function';
  if (!capable || !window.isSecureContext) {
    show('browser', { mark: 'failed', says: capable ? 'check.says.browser.insecure' : 'check.says.browser.failed' });
    if (!capable) {
      leave(CHECKS.slice(1));
      return 'browser';
    }
  } else {
    show('browser', { mark: 'ok', says: 'check.says.browser.ok' });
  }
  show('devices', await devices());

  const token = await access();
  if (typeof token !== 'string') {
    leave(['websocket', ...WAYS]);
    return 'unavailable';
  }
  const signaling = await probeWebSocket(token);
  show('websocket', { mark: signaling.result === 'ok' ? 'ok' : 'failed', says: signaling.result === 'ok' ? 'check.says.websocket.ok' : 'check.says.websocket.failed', outcome: signaling });

  const media = new Map<Way, Outcome>();
  await probeMedia(token, (way, outcome) => {
    media.set(way, outcome);
    show(way, { mark: outcome.result === 'ok' ? 'ok' : outcome.result, says: outcome.status === undefined ? `check.says.${way}.${outcome.result}` : 'check.says.refused', outcome });
  });
  if ([...media.values()].some((outcome) => outcome.status !== undefined)) return 'refused';
  // What is closed but not needed is a hint and no failure.
  const open = WAYS.filter((way) => media.get(way)?.result === 'ok');
  if (open.length > 0)
    for (const [way, outcome] of media) if (outcome.result === 'failed') show(way, { mark: 'hint', says: `check.says.${way}.failed`, outcome });
  if (signaling.result !== 'ok') return 'nosignaling';
  if (open.length === 0) return 'nomedia';
  return open.includes('udp') ? 'good' : 'detour';
}

async function devices(): Promise<Line> {
  try {
    const kinds = new Set((await navigator.mediaDevices.enumerateDevices()).map((device) => device.kind));
    const [camera, microphone] = [kinds.has('videoinput'), kinds.has('audioinput')];
    if (camera && microphone) return { mark: 'ok', says: 'check.says.devices.ok' };
    return { mark: 'hint', says: microphone ? 'check.says.devices.nocamera' : camera ? 'check.says.devices.nomicrophone' : 'check.says.devices.none' };
  } catch {
    return { mark: 'hint', says: 'check.says.devices.unknown' };
  }
}

/** The token of the link that brought somebody here, else one that is good for this check alone. */
async function access(): Promise<string | undefined> {
  const link = readLink(location.hash);
  if (typeof link !== 'string') return link.token;
  try {
    const response = await fetch('check/session', { method: 'POST' });
    if (!response.ok) return undefined;
    const body: unknown = await response.json();
    return typeof body === 'object' && body !== null && 'token' in body && typeof body.token === 'string' ? body.token : undefined;
  } catch {
    return undefined;
  }
}

function says(line: Line): Message {
  const outcome = line.outcome;
  return { key: line.says, args: { milliseconds: String(outcome?.milliseconds ?? 0), status: String(outcome?.status ?? '') } };
}

function draw(row: HTMLElement, name: CheckName, line: Line): void {
  row.dataset['mark'] = line.mark;
  row.replaceChildren(
    el('span', { class: `kern-badge kern-badge--${BADGE[line.mark]}` }, setText(el('span', { class: 'kern-label kern-label--small' }), `check.mark.${line.mark}`)),
    el('div', { class: 'finding__text' },
      setText(el('h2', { class: 'kern-title' }), `check.name.${name}`),
      setText(el('p', { class: 'kern-body' }), says(line))));
}

function alert(verdict: Verdict): HTMLElement {
  const kind = verdict === 'good' ? 'success' : verdict === 'detour' || verdict === 'unavailable' ? 'warning' : 'danger';
  return el('div', { class: `kern-alert kern-alert--${kind}` },
    el('div', { class: 'kern-alert__header' },
      el('span', { class: `kern-icon kern-icon--${kind}`, 'aria-hidden': 'true' }),
      setText(el('span', { class: 'kern-title' }), `check.verdict.${verdict}.title`)),
    el('div', { class: 'kern-alert__body' }, setText(el('p', { class: 'kern-body' }), `check.verdict.${verdict}.text`)));
}

/** What to tell the IT department, and ways to take it along. */
function forIt(verdict: Verdict, lines: ReadonlyMap<CheckName, Line>, again: () => void): HTMLElement[] {
  const asked = new Set<string>();
  const wishes = [...lines].filter(([, line]) => line.mark === 'failed' || line.mark === 'hint').flatMap(([name, line]): Message[] => {
    const key = TO_OPEN[name];
    const place = line.outcome?.places.join(', ') ?? '';
    // The direct way and the detour may need the same port.
    if (!key || !place || asked.has(`${key} ${place}`)) return [];
    asked.add(`${key} ${place}`);
    return [{ key, args: { place } }];
  });
  const parts: HTMLElement[] = [];
  if (wishes.length > 0)
    parts.push(
      setText(el('h2', { class: 'kern-heading-small' }), 'check.it.title'),
      setText(el('p', { class: 'kern-body' }), 'check.it.how'),
      el('ul', { class: 'kern-body', id: 'wishes' }, ...wishes.map((wish) => setText(el('li'), wish))));
  const copied = el('p', { class: 'kern-body', role: 'status', id: 'copied' });
  const button = (id: string, key: TextKey, kind: string, act: () => void) => {
    const made = el('button', { type: 'button', class: `kern-btn kern-btn--${kind}`, id }, setText(el('span', { class: 'kern-label' }), key));
    made.addEventListener('click', act);
    return made;
  };
  const copy = (make: () => string) => () => {
    const text = make();
    // Where the clipboard is closed to the page, the text can be marked by hand.
    const fallback = () => {
      const area = el('textarea', { class: 'kern-form-input__input', rows: '12', readonly: '', id: 'report' });
      area.setAttribute('aria-label', translate('check.report'));
      area.value = text;
      document.getElementById('report')?.remove();
      copied.before(area);
      area.focus();
      area.select();
      setText(copied, 'check.copy.byhand');
    };
    if (!navigator.clipboard) return fallback();
    navigator.clipboard.writeText(text).then(() => setText(copied, 'check.copied'), fallback);
  };
  parts.push(
    el('div', { class: 'actions' },
      button('copy-text', 'check.copy.text', 'primary', copy(() => asText(verdict, lines, wishes))),
      button('copy-json', 'check.copy.json', 'secondary', copy(() => asJson(verdict, lines))),
      button('again', 'check.again', 'tertiary', again)),
    copied);
  return parts;
}

function asText(verdict: Verdict, lines: ReadonlyMap<CheckName, Line>, wishes: readonly Message[]): string {
  return [
    `${translate('check.title')}: ${location.host}, ${new Date().toISOString()}`,
    navigator.userAgent,
    '',
    translate(`check.verdict.${verdict}.title`),
    ...[...lines].map(([name, line]) => {
      const place = line.outcome?.places.length ? ` (${line.outcome.places.join(', ')})` : '';
      return `- ${translate(`check.mark.${line.mark}`)}: ${translate(`check.name.${name}`)}${place}. ${translate(says(line))}`;
    }),
    ...(wishes.length > 0 ? ['', translate('check.it.title'), ...wishes.map((wish) => `- ${translate(wish)}`)] : []),
  ].join('\n');
}

function asJson(verdict: Verdict, lines: ReadonlyMap<CheckName, Line>): string {
  const findings = [...lines].map(([check, { mark, outcome }]) => ({
    check,
    result: mark,
    places: outcome?.places ?? [],
    milliseconds: outcome?.milliseconds ?? null,
    status: outcome?.status ?? null,
  }));
  return JSON.stringify({ schema: 1, server: location.host, time: new Date().toISOString(), browser: navigator.userAgent, result: verdict, findings }, null, 2);
}

void main();
