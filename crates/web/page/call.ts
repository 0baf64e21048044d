// A call from connecting to its end: the room, its sound, what is said about it.

import {
  ConnectionError,
  ConnectionErrorReason,
  ConnectionState,
  DisconnectReason,
  LocalAudioTrack,
  LocalVideoTrack,
  LogLevel,
  Room,
  RoomEvent,
  setLogLevel,
  Track,
  type LocalParticipant,
  type Participant,
  type RemoteParticipant,
  type RoomOptions,
} from 'livekit-client';
import { Controls, type TextButton } from './controls';
import { CAMERA, MICROPHONE, problemOf, type DeviceKind } from './devices';
import { el, setState, showScreen } from './dom';
import type { Outcome } from './end';
import { Faces } from './faces';
import { serverUrl, type Link } from './link';
import type { Entry } from './prejoin';
import { Quality } from './quality';
import { ShareHint } from './share';
import { setText, setTitle, type Message, type TextKey } from './texts';
import { AS_SIGNING, nameOf, SIGNING, Tiles } from './tiles';

/** What a page adds to a call: panes and buttons of its own, and what they do with the room. */
export interface Addition {
  /** Shown beside how the connection is: one line. */
  readonly status: HTMLElement;
  /** Shown below the people, and beside them. */
  readonly below: HTMLElement;
  readonly beside: HTMLElement;
  /** What is written, a part of what is beside; hidden until it is opened. */
  readonly panes: HTMLElement;
  /** Opens and closes the text pane; the button is one of the controls. */
  readonly text: TextButton;
  readonly pins: true;
  /** Whom to call when the connection does not come back. */
  readonly phone: string;
  /** What the room needs besides. */
  options(): RoomOptions;
  /** Called once, before the room connects. */
  begin(room: Room, tiles: Tiles): Promise<void>;
  /** Called once the room is connected, before anything is published. */
  joined(): Promise<void>;
  /** Called after every change of who is there and what they send. */
  refresh(): void;
  end(): void;
}

/** Runs one call to its end; `next` is how to enter again. */
export async function runCall(content: HTMLElement, link: Pick<Link, 'token' | 'mayRename' | 'name'>, entry: Entry, addition?: Addition): Promise<{ outcome: Outcome; next: Entry }> {
  const call = new Call(entry, addition);
  showScreen(content, call.element);
  setTitle('call.title');
  return { outcome: await call.run(link), next: call.nextEntry() };
}

/** A connection that is gone for so long may stay so: then the page says whom to call. */
const HELP_AFTER_MS = 10_000;
/**
 * The library says that it is back before its attempt to reconnect is over, and keeps what it hears in between for the next time
 * (livekit-client 2.23.0: up to two seconds, `emitWhenConnected`). So long the page looks for itself, so often.
 */
const CATCH_UP_MS = 5_000;
const LOOK_MS = 250;
/** As in the stylesheet. */
const NARROW = matchMedia('(max-width: 40rem)');

setLogLevel(LogLevel.warn); // below that the library writes names and addresses to the console

function roomOptions(entry: Entry): RoomOptions {
  return {
    adaptiveStream: true,
    dynacast: true,
    audioCaptureDefaults: MICROPHONE,
    videoCaptureDefaults: CAMERA,
    ...(entry.speakerId === undefined ? {} : { audioOutput: { deviceId: entry.speakerId } }),
  };
}

class Call {
  readonly #entry: Entry;
  readonly #room: Room;
  readonly #tiles: Tiles;
  readonly #faces: Faces;
  readonly #addition: Addition | undefined;
  readonly #controls: Controls;
  readonly #connection = el('p', { class: 'call__connection kern-body', role: 'status' });
  readonly #news = el('p', { class: 'call__news kern-body', role: 'status' });
  readonly #alone = setText(el('p', { class: 'call__alone kern-body', hidden: '' }), 'call.alone');
  readonly #sound = el('div', { hidden: '' });
  readonly #unblock = soundButton();
  readonly #share = new ShareHint();
  readonly #quality = new Quality({ mayGoAlone: () => !this.#somebodySigns(), switch: (on) => void this.#switchPictures(on), stopSharing: () => this.#toggle(Track.Source.ScreenShare) });
  readonly element: HTMLElement;
  readonly #more: HTMLElement;
  readonly #sizes = new ResizeObserver(() => this.#arrange());
  #wishes: { camera: boolean; microphone: boolean };
  #began: number | undefined;
  #lost: ReturnType<typeof setTimeout> | undefined;
  #looking: ReturnType<typeof setInterval> | undefined;

  constructor(entry: Entry, addition?: Addition) {
    this.#entry = entry;
    this.#addition = addition;
    this.#tiles = new Tiles(addition?.pins ?? false);
    this.#faces = new Faces(this.#tiles.element, () => addition?.panes.hidden === false);
    this.#wishes = { camera: entry.camera !== false, microphone: entry.microphone !== false };
    this.#room = new Room({ ...roomOptions(entry), ...addition?.options() });
    this.#controls = new Controls({ toggle: (source) => this.#toggle(source), leave: () => void this.#room.disconnect() }, addition?.text);
    this.#more = el('div', { class: 'call__more' }, this.#quality.button, ...(addition ? [addition.below] : []));
    this.element = el('section', { class: 'call' },
      setText(el('h1', { class: 'kern-sr-only' }), 'call.title'),
      el('div', { class: 'call__status' }, this.#connection, ...(addition ? [addition.status] : []), this.#news),
      this.#quality.element, this.#unblock, this.#alone,
      ...(addition ? [el('div', { class: 'call__body' }, this.#faces.element, addition.beside)] : [this.#faces.element]),
      this.#more,
      this.#controls.element, this.#sound, this.#share.element);
    this.#unblock.querySelector('button')?.addEventListener('click', () => void this.#room.startAudio());
  }

  /** Connects, publishes and stays until the call is over. */
  async run(link: Pick<Link, 'token' | 'mayRename' | 'name'>): Promise<Outcome> {
    setState('connecting');
    this.#say(this.#connection, 'status.connecting');
    for (const part of [document.body, this.#faces.element, this.#more, this.#controls.element, ...(this.#addition ? [this.#addition.panes] : [])]) this.#sizes.observe(part);
    const ended = this.#listen();
    this.#refresh();
    try {
      await this.#addition?.begin(this.#room, this.#tiles);
      await this.#room.connect(serverUrl(), link.token);
    } catch (error) {
      this.#close();
      const reason = reasonOfFailure(error);
      return { reason, succeeded: reason === 'end.left', mayRejoin: reason !== 'end.refused' };
    }
    this.#began = performance.now();
    await this.#addition?.joined();
    this.#state(ConnectionState.Connected);
    this.#quality.begin();
    for (const participant of this.#room.remoteParticipants.values()) this.#tiles.update(participant);
    this.#refresh();
    await this.#publish(link);
    const reason = await ended;
    this.#close();
    const seconds = (performance.now() - this.#began) / 1000;
    return { reason: reasonOfEnd(reason), succeeded: true, mayRejoin: mayRejoin(reason), seconds };
  }

  #arrange(): void {
    // On a phone the people come first: what is below them is scrolled to.
    this.#faces.arrange(NARROW.matches ? [this.#controls.element] : [this.#more, this.#controls.element]);
  }

  nextEntry(): Entry {
    return { ...this.#entry, ...this.#wishes };
  }

  #listen(): Promise<DisconnectReason | undefined> {
    const room = this.#room;
    const update = (participant: Participant) => this.#update(participant);
    const updateSecond = (_: unknown, participant: Participant) => this.#update(participant);
    const updateThird = (_: unknown, __: unknown, participant: Participant) => this.#update(participant);
    room
      .on(RoomEvent.ParticipantConnected, (participant) => {
        update(participant);
        this.#say(this.#news, { key: 'status.joined', args: { name: nameOf(participant) } });
      })
      .on(RoomEvent.ParticipantDisconnected, (participant) => {
        this.#tiles.remove(participant);
        this.#refresh();
        this.#say(this.#news, { key: 'status.left', args: { name: nameOf(participant) } });
      })
      .on(RoomEvent.TrackSubscribed, (_, __, participant) => {
        this.#play(participant);
        update(participant);
      })
      .on(RoomEvent.TrackUnsubscribed, (track, _, participant) => {
        if (track.kind === Track.Kind.Audio) for (const element of track.detach()) element.remove();
        update(participant);
      })
      .on(RoomEvent.TrackPublished, (publication, participant) => {
        if (!this.#quality.pictured && publication.kind === Track.Kind.Video) publication.setSubscribed(false);
        update(participant);
      })
      .on(RoomEvent.TrackUnpublished, updateSecond)
      .on(RoomEvent.TrackMuted, updateSecond)
      .on(RoomEvent.TrackUnmuted, updateSecond)
      .on(RoomEvent.TrackStreamStateChanged, updateThird)
      .on(RoomEvent.LocalTrackPublished, updateSecond)
      .on(RoomEvent.LocalTrackUnpublished, updateSecond)
      .on(RoomEvent.ParticipantNameChanged, updateSecond)
      .on(RoomEvent.ParticipantPermissionsChanged, updateSecond)
      .on(RoomEvent.ActiveSpeakersChanged, () => {
        for (const participant of room.remoteParticipants.values()) update(participant);
        update(room.localParticipant);
      })
      .on(RoomEvent.ConnectionStateChanged, (state) => this.#state(state))
      .on(RoomEvent.ConnectionQualityChanged, (quality, participant) => participant.isLocal && this.#quality.observe(quality))
      .on(RoomEvent.AudioPlaybackStatusChanged, () => (this.#unblock.hidden = room.canPlaybackAudio));
    return new Promise((over) => room.once(RoomEvent.Disconnected, over));
  }

  #state(state: ConnectionState): void {
    switch (state) {
      case ConnectionState.Connected: {
        const again = document.documentElement.dataset['state'] === 'reconnecting';
        setState('connected');
        clearTimeout(this.#lost);
        this.#say(this.#connection, again ? 'status.reconnected' : 'status.connected');
        if (again) this.#catchUp();
        break;
      }
      case ConnectionState.Reconnecting:
      case ConnectionState.SignalReconnecting:
        if (document.documentElement.dataset['state'] === 'reconnecting') break; // it goes from one of the two to the other
        setState('reconnecting');
        this.#say(this.#connection, 'status.reconnecting');
        if (this.#addition?.phone) this.#lost = setTimeout((phone: string) => this.#say(this.#connection, { key: 'status.reconnecting.help', args: { phone } }), HELP_AFTER_MS, this.#addition.phone);
        break;
      case ConnectionState.Connecting:
      case ConnectionState.Disconnected:
        break; // `run` speaks for these
    }
  }

  #update(participant: Participant): void {
    this.#tiles.update(participant as LocalParticipant);
    this.#refresh();
  }

  #refresh(): void {
    const me = this.#room.localParticipant;
    const connected = this.#began !== undefined;
    if (connected) this.#tiles.update(me);
    this.#controls.update(me, connected);
    this.#quality.sharing(me.isScreenShareEnabled);
    this.#alone.hidden = !connected || this.#room.remoteParticipants.size > 0;
    this.#addition?.refresh();
    this.#arrange();
  }

  async #publish(link: Pick<Link, 'mayRename' | 'name'>): Promise<void> {
    const me = this.#room.localParticipant;
    const { name, camera, microphone, signing } = this.#entry;
    const as = signing ? AS_SIGNING : undefined;
    const attempt = async (kind: DeviceKind, work: () => Promise<unknown>) => {
      try {
        await work();
      } catch (error) {
        this.#trouble(kind, error);
      }
    };
    if (link.mayRename && name !== link.name) await me.setName(name).catch(() => undefined); // the old name stays
    await Promise.all([
      microphone && attempt('microphone', () => (microphone instanceof LocalAudioTrack ? me.publishTrack(microphone) : me.setMicrophoneEnabled(true))),
      camera && attempt('camera', () => (camera instanceof LocalVideoTrack ? me.publishTrack(camera, as) : me.setCameraEnabled(true, undefined, as))),
    ]);
  }

  async #toggle(source: Track.Source): Promise<void> {
    const me = this.#room.localParticipant;
    try {
      if (source === Track.Source.Microphone) {
        this.#wishes.microphone = !me.isMicrophoneEnabled;
        await me.setMicrophoneEnabled(this.#wishes.microphone);
      } else if (source === Track.Source.Camera) {
        this.#wishes.camera = !me.isCameraEnabled;
        await me.setCameraEnabled(this.#wishes.camera);
      } else {
        await this.#shareScreen(me);
      }
    } catch (error) {
      if (source === Track.Source.ScreenShare) this.#say(this.#news, 'call.screen.failed');
      else this.#trouble(source === Track.Source.Camera ? 'camera' : 'microphone', error);
    }
    this.#refresh();
  }

  /** Stops sharing, or starts it: the browser is asked for a window, and a whole screen is warned of. */
  async #shareScreen(me: LocalParticipant): Promise<void> {
    if (me.isScreenShareEnabled) return void (await me.setScreenShareEnabled(false));
    if (!(await this.#share.ask())) return;
    const shared = await me.setScreenShareEnabled(true, { contentHint: 'detail', selfBrowserSurface: 'exclude', surfaceSwitching: 'include', video: { displaySurface: 'window' } });
    if (shared?.track?.mediaStreamTrack.getSettings().displaySurface === 'monitor') this.#say(this.#news, 'share.monitor');
  }

  /** Somebody who signs speaks by their picture: it is never taken from anybody unasked. */
  #somebodySigns(): boolean {
    return [this.#room.localParticipant, ...this.#room.remoteParticipants.values()].some((one) => one.getTrackPublication(Track.Source.Camera)?.trackName === SIGNING);
  }

  /** One's own camera and everybody's pictures, screens included; what one wishes to send stays remembered. */
  async #switchPictures(on: boolean): Promise<void> {
    for (const { videoTrackPublications } of this.#room.remoteParticipants.values()) for (const publication of videoTrackPublications.values()) publication.setSubscribed(on);
    const me = this.#room.localParticipant;
    if (me.isCameraEnabled !== (on && this.#wishes.camera)) await me.setCameraEnabled(on && this.#wishes.camera).catch((error: unknown) => this.#trouble('camera', error));
    this.#refresh();
  }

  #trouble(kind: DeviceKind, error: unknown): void {
    this.#wishes[kind] = false;
    this.#say(this.#news, `device.${kind}.${problemOf(error)}`);
    this.#refresh();
  }

  /** Has everything of somebody heard that isn't yet. */
  #play({ audioTrackPublications }: RemoteParticipant): void {
    for (const { track } of audioTrackPublications.values()) if (track && track.attachedElements.length === 0) this.#sound.append(track.attach());
  }

  /** For a while looks by itself at who is there and what they send. */
  #catchUp(): void {
    clearInterval(this.#looking);
    const end = performance.now() + CATCH_UP_MS;
    this.#looking = setInterval(() => {
      if (performance.now() > end) clearInterval(this.#looking);
      const people = this.#room.remoteParticipants;
      this.#tiles.keep([...people.keys(), this.#room.localParticipant.identity]);
      for (const participant of people.values()) {
        if (!this.#quality.pictured) for (const publication of participant.videoTrackPublications.values()) publication.setSubscribed(false);
        this.#play(participant);
        this.#tiles.update(participant);
      }
      this.#refresh();
    }, LOOK_MS);
  }

  #say(where: Element, message: Message | TextKey): void {
    setText(where, message);
  }

  #close(): void {
    this.#sizes.disconnect();
    this.#faces.end();
    this.#quality.end();
    clearTimeout(this.#lost);
    clearInterval(this.#looking);
    this.#addition?.end();
    this.#tiles.clear();
    this.#sound.replaceChildren();
    for (const track of [this.#entry.camera, this.#entry.microphone]) if (typeof track !== 'boolean') track.stop();
    this.#room.removeAllListeners();
  }
}

function soundButton(): HTMLElement {
  const button = el('button', { type: 'button', class: 'kern-btn kern-btn--primary', id: 'start-audio' }, setText(el('span', { class: 'kern-label' }), 'call.audio.start'));
  return el('div', { class: 'call__sound', role: 'alert', hidden: '' }, setText(el('p', { class: 'kern-body' }), 'call.audio.blocked'), button);
}

function reasonOfFailure(error: unknown): TextKey {
  if (!(error instanceof ConnectionError)) return 'end.unreachable';
  const reason: ConnectionErrorReason = error.reason;
  switch (reason) {
    case ConnectionErrorReason.NotAllowed:
      return 'end.refused';
    case ConnectionErrorReason.Cancelled:
      return 'end.left';
    case ConnectionErrorReason.LeaveRequest:
      return reasonOfEnd(error.context as DisconnectReason);
    case ConnectionErrorReason.InternalError:
      return 'end.media'; // signalling stands, the peer connection does not
    case ConnectionErrorReason.ServerUnreachable:
    case ConnectionErrorReason.Timeout:
    case ConnectionErrorReason.WebSocket:
    case ConnectionErrorReason.ServiceNotFound:
      return 'end.unreachable';
  }
}

function reasonOfEnd(reason: DisconnectReason | undefined): TextKey {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
      return 'end.left';
    case DisconnectReason.DUPLICATE_IDENTITY:
      return 'end.duplicate';
    case DisconnectReason.PARTICIPANT_REMOVED:
      return 'end.removed';
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return 'end.closed';
    case DisconnectReason.SERVER_SHUTDOWN:
      return 'end.shutdown';
    case DisconnectReason.MEDIA_FAILURE:
      return 'end.encryption';
    default:
      return 'end.lost';
  }
}

/** Somebody who was sent away, whose consultation is closed, or whose browser can't, is not invited back. */
function mayRejoin(reason: DisconnectReason | undefined): boolean {
  return reason !== DisconnectReason.MEDIA_FAILURE && reason !== DisconnectReason.PARTICIPANT_REMOVED && reason !== DisconnectReason.ROOM_DELETED && reason !== DisconnectReason.ROOM_CLOSED;
}
