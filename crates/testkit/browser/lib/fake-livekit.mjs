// A room without a server, for looking at the call screen: same names as livekit-client, and people made of canvases.
// Only Room is replaced; everything else is the library's own. Tests drive it by `window.fakeRoom`.
import { Agreement } from '../../../web/page/talk/e2ee/agreement.ts';
import { ConnectionState, LocalAudioTrack, LocalVideoTrack, RoomEvent, Track } from 'livekit-client';
export * from 'livekit-client';

function paintedTrack(hue) {
  const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 360 });
  const context = canvas.getContext('2d');
  const paint = () => {
    context.fillStyle = `hsl(${hue} 40% 40%)`;
    context.fillRect(0, 0, 640, 360);
    context.fillStyle = `hsl(${hue} 60% 75%)`;
    context.beginPath();
    context.arc(320, 150, 70, 0, 7);
    context.arc(320, 400, 150, 0, 7);
    context.fill();
  };
  paint();
  setInterval(paint, 100);
  const source = canvas.captureStream(10);
  return {
    attach: (element) => Object.assign(element, { srcObject: source }),
    detach: (element) => Object.assign(element, { srcObject: null }),
  };
}

const AGREE = 'e2ee-agree';
const SEALED = 'e2ee';

class Person {
  constructor(identity, name, { camera = true, microphone = true, speaking = false, hue = 200, screen = false, isLocal = false } = {}) {
    Object.assign(this, { identity, name, isLocal, isSpeaking: speaking, isMicrophoneEnabled: microphone, isCameraEnabled: camera, isScreenShareEnabled: screen, sid: `PA_${identity}` });
    this.sound = { attachedElements: [], attach: () => this.sound.attachedElements[this.sound.attachedElements.push(document.createElement('audio')) - 1], detach: () => this.sound.attachedElements.splice(0) };
    this.trackPublications = new Map();
    this.tracks = { [Track.Source.Camera]: paintedTrack(hue), [Track.Source.ScreenShare]: paintedTrack(hue + 120) };
  }
  /** What is received of this person: `subscribed` tells what the page asked for. */
  get videoTrackPublications() {
    return new Map([[0, { kind: 'video', setSubscribed: (yes) => (this.subscribed = yes) }]]);
  }
  get audioTrackPublications() { return new Map([[0, { kind: 'audio', track: this.sound }]]); }
  getTrackPublication(source) {
    const on = source === Track.Source.Camera ? this.isCameraEnabled : this.isScreenShareEnabled;
    return { isMuted: !on, videoTrack: on ? this.tracks[source] : undefined, trackName: this.trackName };
  }
  async publishTrack(track) {
    if (track instanceof LocalVideoTrack) this.isCameraEnabled = true;
    if (track instanceof LocalAudioTrack) this.isMicrophoneEnabled = true;
    window.fakeRoom.emit(RoomEvent.LocalTrackPublished, {}, this);
  }
  async setMicrophoneEnabled(on) { this.isMicrophoneEnabled = on; }
  async setCameraEnabled(on, _, { name } = {}) { Object.assign(this, { isCameraEnabled: on, trackName: name }); }
  async publishData(packet, { topic, destinationIdentities: to }) {
    // What browsers agree on among themselves is between the page and the one who is there.
    if (topic === AGREE) return window.fakeRoom.partners.get(to[0])?.take(this.identity, packet);
    (window.sentData ??= []).push({ topic, to, bytes: [...packet], at: performance.now() });
  }
  async setScreenShareEnabled(on) { this.isScreenShareEnabled = on; }
  async setName(name) { this.name = name; }
}

class Emitter {
  handlers = [];
  on(event, handler) {
    this.handlers.push([event, handler]);
    return this;
  }
  once(event, handler) { return this.on(event, handler); }
  removeAllListeners() { this.handlers = []; }
  emit(event, ...values) {
    for (const [name, handler] of [...this.handlers]) if (name === event) handler(...values);
  }
}

export class Room extends Emitter {
  remoteParticipants = new Map();
  /** Those who encrypt, as far as anybody can without a server: keys and messages. */
  partners = new Map();
  canPlaybackAudio = true;
  localParticipant = new Person('kim', 'Kim Müller', { isLocal: true, camera: false, microphone: false, hue: 20 });
  constructor() {
    super();
    window.fakeRoom = this;
  }
  async connect() {
    await new Promise((connected) => (this.finishConnecting = connected));
  }
  getParticipantByIdentity(identity) { return identity === this.localParticipant.identity ? this.localParticipant : this.remoteParticipants.get(identity); }
  async setE2EEEnabled(on) {
    this.isE2EEEnabled = on;
    this.emit(RoomEvent.ParticipantEncryptionStatusChanged, on, this.localParticipant);
  }
  off(event, handler) { this.handlers = this.handlers.filter(([name, one]) => name !== event || one !== handler); }
  join(identity, name, options) {
    const person = new Person(identity, name, options);
    this.remoteParticipants.set(identity, person);
    if (options?.encrypts !== undefined) {
      const none = () => undefined;
      const partner = new Agreement({ me: identity, able: options.encrypts, yields: true }, {
        send: (_, message) => this.emit(RoomEvent.DataReceived, message, person, undefined, AGREE), encrypt: async () => undefined, decrypt: async () => undefined, clear: none, changed: none });
      this.partners.set(identity, partner);
      void partner.begin().then(() => partner.present(new Map([[this.localParticipant.identity, this.localParticipant.sid]])));
    }
    this.emit(RoomEvent.ParticipantConnected, person);
  }
  /** Everybody else goes and somebody comes, and nobody is told. */
  exchange(identity, name) {
    this.remoteParticipants = new Map([[identity, new Person(identity, name)]]);
  }
  part(identity) {
    const person = this.remoteParticipants.get(identity);
    this.remoteParticipants.delete(identity);
    this.partners.get(identity)?.end();
    this.partners.delete(identity);
    this.emit(RoomEvent.ParticipantDisconnected, person);
  }
  change(identity, properties) {
    const person = Object.assign(this.remoteParticipants.get(identity) ?? this.localParticipant, properties);
    this.emit(RoomEvent.TrackMuted, {}, person);
  }
  async receive(identity, topic, bytes) {
    const payload = new Uint8Array(bytes);
    const sealed = await this.partners.get(identity)?.seal({ topic, to: '', payload });
    this.emit(RoomEvent.DataReceived, sealed ?? payload, this.remoteParticipants.get(identity), undefined, sealed ? SEALED : topic);
  }
  reconnecting(yes) {
    this.emit(RoomEvent.ConnectionStateChanged, yes ? ConnectionState.Reconnecting : ConnectionState.Connected);
  }
  speak(identities) {
    this.emit(RoomEvent.ActiveSpeakersChanged, identities.map((identity) => this.remoteParticipants.get(identity)));
  }
  quality(how) {
    this.emit(RoomEvent.ConnectionQualityChanged, how, this.localParticipant);
  }
  blockAudio(yes) {
    this.canPlaybackAudio = !yes;
    this.emit(RoomEvent.AudioPlaybackStatusChanged);
  }
  async startAudio() { this.blockAudio(false); }
  async disconnect(reason = 1) { this.emit(RoomEvent.Disconnected, reason); }
}
