// The device check: why first, then the browser's question, then picture, level and choice of devices.

import { LocalAudioTrack, LocalVideoTrack } from 'livekit-client';
import { isGranted, listDevices, measure, open, type DeviceKind, type DeviceProblem, type Opened } from './devices';
import { el, setState, showScreen } from './dom';
import type { Link } from './link';
import { clearText, setLabel, setText, setTitle, type Message, type TextKey } from './texts';

/** What somebody enters a call with: open tracks on the first time, only the wish for them after that. */
export interface Entry {
  readonly name: string;
  readonly camera: LocalVideoTrack | boolean;
  readonly microphone: LocalAudioTrack | boolean;
  readonly speakerId?: string;
  /** Whether the camera shows somebody who signs. */
  readonly signing?: boolean;
}

/** Shows the device check; resolves when the person joins, or with nothing if they went back, where there is a way. */
export function showPrejoin(content: HTMLElement, link: Joining, addition: CheckAddition & { readonly back: TextKey }): Promise<Entry | undefined>;
export function showPrejoin(content: HTMLElement, link: Joining, addition?: Omit<CheckAddition, 'back'>): Promise<Entry>;
export async function showPrejoin(content: HTMLElement, link: Joining, addition: CheckAddition = {}): Promise<Entry | undefined> {
  setState('prejoin');
  setTitle('prejoin.title');
  if (!link.mayPublish) return watchOnly(content, link);
  const wanted = (await isGranted('microphone')) ? await grantedKinds() : await askFirst(content, addition.back);
  return wanted && check(content, who(link), wanted, addition);
}

type Joining = Pick<Link, 'name' | 'mayRename' | 'mayPublish'>;

/** What a page adds to the device check: fields between the devices and the way on, and other words on the buttons. */
export interface CheckAddition {
  readonly extra?: readonly HTMLElement[];
  readonly keys?: Readonly<Record<'join' | 'withoutCamera' | 'silent', TextKey>>;
  /** The words on the way back, where there is one. */
  readonly back?: TextKey;
}

const JOINING = { join: 'prejoin.join', withoutCamera: 'prejoin.join.withoutCamera', silent: 'prejoin.join.silent' } as const;

/** The person's line in the check, and the name to enter with. */
export interface Who {
  readonly element: HTMLElement;
  name(): string;
}

export async function grantedKinds(): Promise<readonly DeviceKind[]> {
  return (await isGranted('camera')) ? ['microphone', 'camera'] : ['microphone'];
}

/** Somebody whose token does not let them send has no devices to check. */
function watchOnly(content: HTMLElement, link: Pick<Link, 'name' | 'mayRename'>): Promise<Entry> {
  return new Promise((join) => {
    const button = action('prejoin.join', 'primary', 'join');
    button.addEventListener('click', () => join({ name: link.name, camera: false, microphone: false }), { once: true });
    showScreen(content, el('section', { class: 'card' }, heading('call.title'), who(link).element, el('div', { class: 'actions' }, button)));
  });
}

/** Says why before the browser asks. */
function askFirst(content: HTMLElement, back?: TextKey): Promise<readonly DeviceKind[] | undefined> {
  return new Promise((answer) => {
    const ask = action('prejoin.ask', 'primary', 'ask');
    const audioOnly = action('prejoin.ask.audio', 'secondary', 'ask-audio');
    ask.addEventListener('click', () => answer(['microphone', 'camera']), { once: true });
    audioOnly.addEventListener('click', () => answer(['microphone']), { once: true });
    const why = setText(el('p', { class: 'kern-body' }), 'prejoin.why');
    showScreen(content, el('section', { class: 'card' }, heading('prejoin.title'), why, el('div', { class: 'actions' }, ask, audioOnly, ...wayBack(back, () => answer(undefined)))));
  });
}

function wayBack(key: TextKey | undefined, go: () => void): HTMLElement[] {
  if (!key) return [];
  const made = action(key, 'tertiary', 'check-back');
  made.addEventListener('click', go, { once: true });
  return [made];
}

/** The check itself; resolves when the person goes on. */
export function checkDevices(content: HTMLElement, person: Who, first: readonly DeviceKind[], addition?: Omit<CheckAddition, 'back'>): Promise<Entry> {
  return check(content, person, first, addition ?? {}) as Promise<Entry>; // without a way back there is always an entry
}

async function check(content: HTMLElement, person: Who, first: readonly DeviceKind[], addition: CheckAddition): Promise<Entry | undefined> {
  const keys = addition.keys ?? JOINING;
  const preview = new Preview();
  const level = new Level();
  const problems = el('div', { class: 'problems', role: 'alert' });
  const pickers = el('div', { class: 'pickers' });
  const join = action(keys.join, 'primary', 'join');
  const joinWithout = action(keys.withoutCamera, 'secondary', 'join-audio');
  let goBack = () => {};
  let over = false;
  let camera: LocalVideoTrack | undefined;
  let microphone: LocalAudioTrack | undefined;
  let speakerId: string | undefined;
  const wanted = new Set<DeviceKind>(first);

  const use = async (opened: Opened) => {
    if (over) return stop(opened.camera, opened.microphone); // the browser was slower than the person
    if (opened.camera instanceof LocalVideoTrack) camera = opened.camera;
    if (opened.microphone instanceof LocalAudioTrack) microphone = opened.microphone;
    const failed = (Object.keys(opened) as DeviceKind[]).filter((kind) => typeof opened[kind] === 'string');
    problems.replaceChildren(...failed.map((kind) => problemBox(kind, opened[kind] as DeviceProblem, () => retry(kind))));
    show();
    await choices();
  };
  const retry = async (kind: DeviceKind) => {
    await use(await open([kind]));
    join.focus();
  };
  const show = () => {
    preview.show(camera);
    level.follow(microphone);
    joinWithout.hidden = camera === undefined;
    const key = camera ? keys.join : microphone ? keys.withoutCamera : keys.silent;
    setText(labelOf(join), key);
  };
  const change = async (kind: DeviceKind, track: LocalVideoTrack | LocalAudioTrack, id: string) => {
    try {
      await track.setDeviceId({ exact: id });
      problems.replaceChildren();
    } catch {
      problems.replaceChildren(problemBox(kind, 'failed', () => retry(kind)));
    }
    show();
  };
  const choices = async () => {
    const { cameras, microphones, speakers } = await listDevices();
    const rows: HTMLElement[] = [];
    const add = (key: TextKey, devices: MediaDeviceInfo[], selected: string | undefined, choose: (id: string) => void) => {
      if (devices.length > 0) rows.push(picker(key, devices, selected, choose));
    };
    if (camera) add('prejoin.camera', cameras, await camera.getDeviceId(false), (id) => camera && void change('camera', camera, id));
    if (microphone) add('prejoin.microphone', microphones, await microphone.getDeviceId(false), (id) => microphone && void change('microphone', microphone, id));
    if (speakers.length > 1) add('prejoin.speaker', speakers, speakerId, (id) => (speakerId = id));
    pickers.replaceChildren(...rows);
  };

  // The screen stands before the browser asks, so that its prompt does not cover an empty page.
  const left = wanted.has('camera') ? [preview.element] : [];
  showScreen(
    content,
    el('section', { class: 'card card--wide' }, heading('prejoin.title'), problems,
      el('div', { class: 'check' }, el('div', { class: 'check__media' }, ...left, level.element), el('div', { class: 'check__form' }, person.element, pickers)), ...(addition.extra ?? []), el('div', { class: 'actions' }, join, joinWithout, ...wayBack(addition.back, () => goBack()))),
  );
  show();
  const onDevices = () => void choices();
  navigator.mediaDevices?.addEventListener('devicechange', onDevices);

  return new Promise((done) => {
    const leave = () => {
      over = true;
      navigator.mediaDevices?.removeEventListener('devicechange', onDevices);
      preview.show(undefined);
      level.follow(undefined);
    };
    goBack = () => {
      leave();
      stop(camera, microphone);
      done(undefined);
    };
    const enter = (withCamera: boolean) => {
      leave();
      if (!withCamera) camera?.stop();
      done({
        name: person.name(),
        camera: (withCamera && camera) || false,
        microphone: microphone ?? false,
        ...(speakerId === undefined ? {} : { speakerId }),
      });
    };
    join.addEventListener('click', () => enter(true));
    joinWithout.addEventListener('click', () => enter(false));
    void open([...wanted]).then(use);
  });
}

function heading(key: TextKey): HTMLHeadingElement {
  return setText(el('h1', { class: 'kern-heading-medium' }), key);
}

function stop(...tracks: readonly unknown[]): void {
  for (const track of tracks) if (track instanceof LocalVideoTrack || track instanceof LocalAudioTrack) track.stop();
}

function action(key: TextKey, style: 'primary' | 'secondary' | 'tertiary', id: string): HTMLButtonElement {
  return el('button', { type: 'button', id, class: `kern-btn kern-btn--${style}` }, setText(el('span', { class: 'kern-label' }), key));
}

function labelOf(button: HTMLButtonElement): Element {
  return button.firstElementChild ?? button;
}

/** The name to enter with: a field where the token allows a change, otherwise a sentence. */
function who(link: Pick<Link, 'name' | 'mayRename'>): { element: HTMLElement; name: () => string } {
  if (!link.mayRename) {
    const name: string | Message = link.name || { key: 'participant.unnamed' };
    return { element: setText(el('p', { class: 'kern-body' }), { key: 'prejoin.name.shown', args: { name } }), name: () => link.name };
  }
  const input = el('input', { class: 'kern-form-input__input', id: 'name', type: 'text', autocomplete: 'name', maxlength: '256', 'aria-describedby': 'name-hint' });
  input.value = link.name;
  const element = el('div', { class: 'kern-form-input' },
    setText(el('label', { class: 'kern-label', for: 'name' }), 'prejoin.name'),
    setText(el('div', { class: 'kern-hint', id: 'name-hint' }), 'prejoin.name.hint'),
    input);
  return { element, name: () => input.value.trim() || link.name };
}

function problemBox(kind: DeviceKind, problem: DeviceProblem, retry: () => Promise<void>): HTMLElement {
  const button = action('device.retry', 'secondary', `retry-${kind}`);
  button.addEventListener('click', () => void retry(), { once: true });
  const title = setText(el('span', { class: 'kern-title' }), kind === 'camera' ? 'prejoin.camera' : 'prejoin.microphone');
  return el('div', { class: 'kern-alert kern-alert--warning' },
    el('div', { class: 'kern-alert__header' }, el('span', { class: 'kern-icon kern-icon--warning', 'aria-hidden': 'true' }), title),
    el('div', { class: 'kern-alert__body' }, setText(el('p', { class: 'kern-body' }), `device.${kind}.${problem}`), button));
}

function picker(key: TextKey, devices: MediaDeviceInfo[], selected: string | undefined, choose: (id: string) => void): HTMLElement {
  const id = key.replace('.', '-');
  const select = el('select', { class: 'kern-form-input__select', id });
  devices.forEach((device, index) => {
    const option = el('option', { value: device.deviceId }, device.label);
    if (!device.label) setText(option, { key: 'prejoin.device', args: { number: String(index + 1) } });
    option.selected = device.deviceId === selected;
    select.append(option);
  });
  select.addEventListener('change', () => choose(select.value));
  return el('div', { class: 'kern-form-input' }, setText(el('label', { class: 'kern-label', for: id }), key), el('div', { class: 'kern-form-input__select-wrapper' }, select));
}

/** The person's own picture, mirrored as people expect it. */
export class Preview {
  readonly #video = el('video', { class: 'mirrored', autoplay: '', playsinline: '' });
  readonly #off = setText(el('p', { class: 'stage__off kern-body' }), 'prejoin.preview.off');
  readonly element = el('div', { class: 'stage' }, this.#video, this.#off);
  #track: LocalVideoTrack | undefined;

  constructor() {
    this.#video.muted = true;
    setLabel(this.#video, 'prejoin.preview');
  }

  show(track: LocalVideoTrack | undefined): void {
    if (this.#track !== track) {
      this.#track?.detach(this.#video);
      track?.attach(this.#video);
      this.#track = track;
    }
    this.#video.hidden = track === undefined;
    this.#off.hidden = track !== undefined;
  }
}

/** The microphone's level as a bar and in words. */
class Level {
  readonly #bar = el('progress', { max: '1', value: '0', id: 'level' });
  readonly #words = el('p', { class: 'kern-body level__words', id: 'level-words' });
  readonly element = el('div', { class: 'kern-progress level' }, setText(el('label', { class: 'kern-label', for: 'level' }), 'prejoin.level'), this.#bar, this.#words);
  #stop: (() => void) | undefined;
  #source: MediaStreamTrack | undefined;

  follow(track: LocalAudioTrack | undefined): void {
    const source = track?.mediaStreamTrack;
    if (this.#source === source && this.#words.textContent !== '') return;
    this.#stop?.();
    this.#stop = undefined;
    this.#source = source;
    clearText(this.#words);
    this.#bar.value = 0;
    setText(this.#words, source ? 'prejoin.level.unmeasured' : 'prejoin.level.off');
    if (source) {
      this.#stop = measure(source, (level, loudness) => {
        this.#bar.value = level;
        setText(this.#words, `prejoin.level.${loudness}`);
      });
    }
  }
}
