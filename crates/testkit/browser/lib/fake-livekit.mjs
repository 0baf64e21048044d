// A room without a server, for looking at the call screen: same names as livekit-client, and people made of canvases.
// Only Room is replaced; everything else is the library's own. Tests drive it by `window.fakeRoom`.
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

class Person {
  constructor(identity, name, { camera = true, microphone = true, speaking = false, hue = 200, screen = false, isLocal = false } = {}) {
    Object.assign(this, { identity, name, isLocal, isSpeaking: speaking, isMicrophoneEnabled: microphone, isCameraEnabled: camera, isScreenShareEnabled: screen, sid: `PA_${identity}` });
    this.trackPublications = new Map();
    this.tracks = { [Track.Source.Camera]: paintedTrack(hue), [Track.Source.ScreenShare]: paintedTrack(hue + 120) };
  }
  /** What is received of this person: `subscribed` tells what the page asked for. */
  get videoTrackPublications() {
    return new Map([[0, { kind: 'video', setSubscribed: (yes) => (this.subscribed = yes) }]]);
  }
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
  async publishData(packet, { topic, destinationIdentities: to }) { (window.sentData ??= []).push({ topic, to, bytes: [...packet], at: performance.now() }); }
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
  canPlaybackAudio = true;
  localParticipant = new Person('kim', 'Kim Müller', { isLocal: true, camera: false, microphone: false, hue: 20 });
  constructor() {
    super();
    window.fakeRoom = this;
  }
  async connect() {
    await new Promise((connected) => (this.finishConnecting = connected));
  }
  join(identity, name, options) {
    const person = new Person(identity, name, options);
    this.remoteParticipants.set(identity, person);
    this.emit(RoomEvent.ParticipantConnected, person);
  }
  part(identity) {
    const person = this.remoteParticipants.get(identity);
    this.remoteParticipants.delete(identity);
    this.emit(RoomEvent.ParticipantDisconnected, person);
  }
  change(identity, properties) {
    const person = Object.assign(this.remoteParticipants.get(identity) ?? this.localParticipant, properties);
    this.emit(RoomEvent.TrackMuted, {}, person);
  }
  receive(identity, topic, bytes) {
    this.emit(RoomEvent.DataReceived, new Uint8Array(bytes), this.remoteParticipants.get(identity), undefined, topic);
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
