// In a page: one participant, made of the unmodified client library and of devices that can be recognised.
import './peers.js';
import { LogLevel, Room, RoomEvent, setLogLevel, Track, VideoPreset } from 'livekit-client';
import { clockCamera, listen, now, show, sleep, toneMic, watch } from './rig.js';

setLogLevel(LogLevel.warn);

let room;
const events = [];
const messages = [];
const videos = new Map();
const audios = new Map();
const note = (name, detail = {}) => events.push({ name, at: now(), ...detail });

/** Joins; resolves when the library says it is connected. */
async function join({ url, token, options = {}, relay }) {
  if (relay) window.mediaRelay = relay;
  room = new Room(options);
  room
    .on(RoomEvent.TrackSubscribed, (track, publication, participant) => {
      note('subscribed', { identity: participant.identity, kind: track.kind, sid: publication.trackSid });
      if (track.kind === Track.Kind.Audio) return void audios.set(participant.identity, listen(track.mediaStreamTrack));
      const video = show();
      track.attach(video.element);
      videos.set(participant.identity, video);
    })
    .on(RoomEvent.TrackUnsubscribed, (track, publication, participant) => {
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
    .on(RoomEvent.ParticipantConnected, (participant) => note('joined', { identity: participant.identity }))
    .on(RoomEvent.ParticipantDisconnected, (participant) => note('left', { identity: participant.identity }))
    .on(RoomEvent.SignalReconnecting, () => note('signal-reconnecting'))
    .on(RoomEvent.Reconnecting, () => note('reconnecting'))
    .on(RoomEvent.Reconnected, () => note('reconnected'))
    .on(RoomEvent.Disconnected, (reason) => note('disconnected', { reason }))
    .on(RoomEvent.DataReceived, (payload, participant, _kind, topic) =>
      messages.push({ text: new TextDecoder().decode(payload.length > 200 ? payload.slice(0, 200) : payload), bytes: payload.length, from: participant?.identity, topic, at: now() }));
  await room.connect(url, token);
  return { sid: room.localParticipant.sid, roomName: room.name };
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

window.client = {
  askFor,
  join,
  publish,
  unpublish: (kind) => room.localParticipant.unpublishTrack(mine[kind].mediaStreamTrack, true),
  mute: (kind) => mine[kind].mute(),
  unmute: (kind) => mine[kind].unmute(),
  /** How loud the own tone is, 0 to 1. */
  speak: (gain) => void (mine.loudness.value = gain),
  leave: () => room.disconnect(),
  sid: () => room.localParticipant.sid,
  others: () => [...room.remoteParticipants.values()].map((p) => ({ identity: p.identity, sid: p.sid, name: p.name })),
  events: () => events,
  messages: () => messages,
  send: (text, options = {}) => room.localParticipant.publishData(new TextEncoder().encode(text), options),
  /** Waits until somebody's picture (barcode read) or sound arrives. */
  seen: (identity, ms) => until(() => videos.get(identity)?.meter.report().good > 0, ms, `video of ${identity}`),
  heard: (identity, ms) => until(() => audios.has(identity), ms, `audio of ${identity}`),
  happened: (name, match, ms) => until(() => events.find((e) => e.name === name && Object.entries(match).every(([k, v]) => e[k] === v)), ms, `${name} ${JSON.stringify(match)}`),
  received: (text, ms) => until(() => messages.find((m) => m.text.startsWith(text)), ms, `message ${text}`),
  resetMeters: () => videos.forEach(({ meter }) => meter.reset()),
  video: (identity) => videos.get(identity)?.meter.report() ?? null,
  /** Waits until somebody's sound has a level between `least` and `most`. */
  level: (identity, least, most, ms) => until(() => {
    const { rms } = audios.get(identity)();
    return rms >= least && rms <= most;
  }, ms, `${identity} between ${least} and ${most}`),
  audio: (identity) => audios.get(identity)?.() ?? null,
};

// For the kit's own test, which has no server.
window.rig = { clockCamera, toneMic, listen, watch };
