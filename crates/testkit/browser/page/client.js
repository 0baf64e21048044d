// In a page: one participant, made of the unmodified client library and of devices that can be recognised.
import './peers.js';
import { encryption } from './encryption.js';
import { LogLevel, Room, RoomEvent, setLogLevel, Track, VideoPreset } from 'livekit-client';
import { exchange } from './exchange.js';
import { clockCamera, listen, now, show, sleep, toneMic, watch } from './rig.js';

setLogLevel(LogLevel.warn);

let room;
let secrets;
const events = [];
const messages = [];
const videos = new Map();
const audios = new Map();
const note = (name, detail = {}) => events.push({ name, at: now(), ...detail });

/**
 * Joins; resolves when the library says it is connected. `connect` are its options for connecting. `without` names codecs that the browser shall not receive. `e2ee` names a passphrase: everything is encrypted with it, unless
 * `off` says that the worker passes everything through.
 */
async function join({ url, token, options = {}, connect, relay, e2ee, without }) {
  if (relay) window.mediaRelay = relay;
  if (without) window.withoutCodecs = without;
  secrets = e2ee && (await encryption(e2ee));
  room = new Room(secrets ? { ...options, encryption: secrets.options } : options);
  room
    .on(RoomEvent.TrackSubscribed, take)
    .on(RoomEvent.TrackUnsubscribed, (track, publication, participant) => {
      taken.delete(track);
      note('unsubscribed', { identity: participant.identity, kind: track.kind, sid: publication.trackSid });
      if (track.kind === Track.Kind.Audio) return void audios.delete(participant.identity);
      const entry = videos.get(participant.identity);
      entry?.meter.stop();
      entry?.element.remove();
      videos.delete(participant.identity);
    })
    .on(RoomEvent.TrackMuted, (publication, participant) => note('muted', { identity: participant.identity, kind: publication.kind }))
    .on(RoomEvent.TrackUnmuted, (publication, participant) => note('unmuted', { identity: participant.identity, kind: publication.kind }))
    .on(RoomEvent.TrackUnpublished, (publication, participant) => note('unpublished', { identity: participant.identity, kind: publication.kind }))
    .on(RoomEvent.LocalTrackUnpublished, (publication) => note('own-unpublished', { kind: publication.kind }))
    .on(RoomEvent.ParticipantConnected, (participant) => note('joined', { identity: participant.identity }))
    .on(RoomEvent.ParticipantDisconnected, (participant) => note('left', { identity: participant.identity }))
    .on(RoomEvent.SignalReconnecting, () => note('signal-reconnecting'))
    .on(RoomEvent.Reconnecting, () => note('reconnecting'))
    .on(RoomEvent.Reconnected, () => note('reconnected'))
    .on(RoomEvent.EncryptionError, (error, participant) => note('encryption-error', { text: error.message, identity: participant?.identity }))
    .on(RoomEvent.ActiveSpeakersChanged, (speakers) => note('speakers', { who: speakers.map((p) => p.identity).join() }))
    .on(RoomEvent.TrackStreamStateChanged, (publication, state, participant) => note('stream', { identity: participant.identity, state }))
    .on(RoomEvent.Disconnected, (reason) => note('disconnected', { reason }))
    .on(RoomEvent.DataReceived, (payload, participant, _kind, topic) =>
      messages.push({ text: new TextDecoder().decode(payload.length > 200 ? payload.slice(0, 200) : payload), bytes: payload.length, from: participant?.identity, topic, at: now() }));
  Object.assign(window.client, exchange(room));
  if (secrets && !e2ee.off) await room.setE2EEEnabled(true);
  await room.connect(url, token, connect);
  return { sid: room.localParticipant.sid, roomName: room.name };
}

const taken = new WeakSet();

/** Shows or listens to somebody's track, once. */
function take(track, publication, participant) {
  if (taken.has(track)) return;
  taken.add(track);
  note('subscribed', { identity: participant.identity, kind: track.kind, sid: publication.trackSid });
  if (track.kind === Track.Kind.Audio) return void audios.set(participant.identity, listen(track.mediaStreamTrack));
  const video = show();
  track.attach(video.element);
  videos.set(participant.identity, video);
}

/**
 * Takes the tracks that the library has and has not told of: until its attempt to reconnect is over, it keeps news of
 * tracks for later, and it may say that it is back up to two seconds sooner (2.23.0: `emitWhenConnected`, `pendingReconnect`).
 */
function takeUntold() {
  for (const participant of room.remoteParticipants.values()) {
    for (const publication of participant.trackPublications.values()) {
      const { track } = publication;
      if (!track || taken.has(track)) continue;
      note('untold', { identity: participant.identity, kind: track.kind });
      take(track, publication, participant);
    }
  }
}

const mine = {};

/**
 * What a camera may cost unless a test says otherwise. The library's presets for these sizes stop at 20 frames a second,
 * of which Chromium makes 23 to 24: with them a test of the frame rate judges the client.
 */
const VIDEO_ENCODING = { maxBitrate: 1_500_000, maxFramerate: 30 };

/** Publishes a camera, a microphone or both; resolves to the track sids. `lower` are the layers below the camera's own. */
async function publish({ id, hz, deviceAudio = false, width, height, fps, lower, video = {}, audio = {} }) {
  const sids = {};
  if (hz !== undefined || deviceAudio) {
    const stream = deviceAudio ? await navigator.mediaDevices.getUserMedia({ audio: true }) : toneMic(hz);
    mine.loudness = stream.loudness;
    mine.audio = (await room.localParticipant.publishTrack(stream.getAudioTracks()[0], { source: Track.Source.Microphone, name: 'microphone', ...audio })).track;
    sids.audio = mine.audio.sid;
  }
  if (id !== undefined) {
    const [track] = clockCamera({ id, width, height, fps }).getVideoTracks();
    if (lower) video.videoSimulcastLayers = lower.map((layer) => new VideoPreset(layer.width, layer.height, layer.maxBitrate, layer.maxFramerate));
    mine.video = (await room.localParticipant.publishTrack(track, { source: Track.Source.Camera, name: 'camera', simulcast: false, videoEncoding: VIDEO_ENCODING, ...video })).track;
    sids.video = mine.video.sid;
  }
  return sids;
}

async function until(check, ms, what) {
  const end = now() + ms;
  for (;;) {
    const value = check();
    if (value) return value;
    if (now() > end) throw new Error(`${what} not within ${ms} ms; events: ${JSON.stringify(events.slice(-12))}`);
    await sleep(20);
  }
}

/** Asks for a quality of somebody's picture; resolves to the ms until it is seen in `size`. */
async function askFor(identity, quality, size, ms) {
  const publication = [...room.remoteParticipants.values()].find((p) => p.identity === identity).videoTrackPublications.values().next().value;
  const { meter } = videos.get(identity);
  const asked = now();
  publication.setVideoQuality(quality);
  await until(() => meter.report().size === size, ms, `${identity} in ${size}`);
  const change = meter.report().changes.at(-1);
  return change && change.at >= asked ? change.at - asked : 0;
}

/** Somebody's tone with fewer of it than this is silence. */
const SILENT = 0.02;
const silences = new Map();

/** Notes from now on when somebody could not be heard, several times in each of the meter's spans. */
function watchSilence(identity) {
  clearInterval(silences.get(identity)?.timer);
  const found = { since: now(), first: null, last: null };
  found.timer = setInterval(() => {
    const rms = audios.get(identity)?.().rms;
    if (rms >= SILENT) return;
    found.first ??= now();
    found.last = now();
  }, 20);
  silences.set(identity, found);
}

window.client = {
  askFor,
  watchSilence,
  /** When somebody was silent first and last since it was watched, as wall clock; `null`: never. */
  silence: (identity) => {
    const { first, last } = silences.get(identity);
    return { first, last };
  },
  join,
  publish,
  unpublish: (kind) => room.localParticipant.unpublishTrack(mine[kind].mediaStreamTrack, true),
  mute: (kind) => mine[kind].mute(),
  unmute: (kind) => mine[kind].unmute(),
  /** How loud the own tone is, 0 to 1. */
  speak: (gain) => void (mine.loudness.value = gain),
  /** Keeps the page's thread busy, as a slow machine would: no camera draws meanwhile. */
  hang: (ms) => {
    const end = now() + ms;
    while (now() < end);
  },
  /** Exchanges the key, or derives the next one from it without telling anybody. */
  setKey: (passphrase, index) => secrets.keys.set(passphrase, index),
  ratchet: () => secrets.keys.ratchetKey(),
  /** Frames of the next `ms` as the encoders made them, in base64. */
  frames: async (ms) => {
    const frames = await secrets.frames(() => sleep(ms));
    const text = (data) => btoa(Array.from(new Uint8Array(data), (byte) => String.fromCharCode(byte)).join(''));
    return frames.map(({ type, data }) => ({ type, data: text(data) }));
  },
  /** In what somebody's tracks are sent, as the server says. */
  mimeTypes: (identity) => [...room.getParticipantByIdentity(identity).trackPublications.values()].map((publication) => publication.mimeType),
  /** Has what is received of somebody wait for so many milliseconds before it is played. */
  buffer: (identity, ms) => {
    for (const { track } of room.getParticipantByIdentity(identity).trackPublications.values()) track.receiver.jitterBufferTarget = ms;
  },
  encrypted: (identity) => [...room.getParticipantByIdentity(identity).trackPublications.values()].map((publication) => publication.isEncrypted),
  leave: () => room.disconnect(),
  simulate: (scenario, arg) => room.simulateScenario(scenario, arg),
  /** The library says that it is back before its attempt is over; what happens in between, it answers by starting again. */
  settled: async (ms) => {
    await until(() => !room.engine.attemptingReconnect && !room.engine.reconnectTimeout, ms, 'the end of reconnecting');
    takeUntold();
  },
  sid: () => room.localParticipant.sid,
  /** What the library knows of the room and of somebody in it, itself if nobody is named. */
  about: (identity) => {
    const { name, metadata, attributes, permissions, trackPublications } = room.getParticipantByIdentity(identity ?? room.localParticipant.identity);
    const tracks = [...trackPublications.values()].map(({ source, isMuted }) => ({ source, muted: isMuted }));
    return { room: { name: room.name, metadata: room.metadata }, name, metadata, attributes, tracks, canPublish: permissions.canPublish, canSubscribe: permissions.canSubscribe };
  },
  others: () => [...room.remoteParticipants.values()].map((p) => ({ identity: p.identity, sid: p.sid, name: p.name })),
  events: () => events,
  messages: () => messages,
  send: (text, options = {}) => room.localParticipant.publishData(new TextEncoder().encode(text), options),
  /** Waits until somebody's picture (barcode read) or sound arrives. */
  seen: (identity, ms) => until(() => videos.get(identity)?.meter.report().good > 0, ms, `video of ${identity}`),
  heard: (identity, ms) => until(() => audios.has(identity), ms, `audio of ${identity}`),
  forgetEvents: () => void events.splice(0),
  happened: (name, match, ms) => until(() => events.find((e) => e.name === name && Object.entries(match).every(([k, v]) => e[k] === v)), ms, `${name} ${JSON.stringify(match)}`),
  received: (text, ms) => until(() => messages.find((m) => m.text.startsWith(text)), ms, `message ${text}`),
  resetMeters: () => videos.forEach(({ meter }) => meter.reset()),
  video: (identity) => videos.get(identity)?.meter.report() ?? null,
  /** Waits until the browser encodes its own camera in `width`: how soon is its own bandwidth estimate's affair. */
  encodes: async (width, ms) => {
    const end = now() + ms;
    for (;;) {
      const layers = [...(await mine.video.sender.getStats()).values()].filter(({ type, framesEncoded }) => type === 'outbound-rtp' && framesEncoded > 0);
      if (layers.some(({ frameWidth }) => frameWidth === width)) return;
      if (now() > end) throw new Error(`not encoded ${width} wide within ${ms} ms: ${JSON.stringify(layers.map(({ rid, frameWidth, targetBitrate, qualityLimitationReason }) => ({ rid, frameWidth, targetBitrate, qualityLimitationReason })))}`);
      await sleep(100);
    }
  },
  /** Waits until somebody's sound has a level between `least` and `most`. */
  level: (identity, least, most, ms) => until(() => {
    const rms = audios.get(identity)?.().rms;
    return rms >= least && rms <= most; // never while there is none
  }, ms, `${identity} between ${least} and ${most}`),
  audio: (identity) => audios.get(identity)?.() ?? null,
};

// For the kit's own test, which has no server.
window.rig = { clockCamera, toneMic, listen, watch };
