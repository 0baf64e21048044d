// One participant with the unmodified Node SDK, told what to do in JSON lines: the same commands as participant.py.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import readline from 'node:readline';
import * as rtc from '@livekit/rtc-node';
import { RATE, VALUE_MOD, WINDOW, dominant, middleColour, paint, readPicture } from './signals.mjs';

const manifest = createRequire(import.meta.url).resolve('@livekit/rtc-node').replace(/dist\/[^/]+$/, 'package.json');
const { name: packageName, version } = JSON.parse(fs.readFileSync(manifest, 'utf8'));
const answer = (value) => fs.writeSync(3, `${JSON.stringify(value)}\n`);
const seconds = () => performance.now() / 1000;
const sleep = (ms) => new Promise((later) => setTimeout(later, ms));

/** Looks at every decoded frame of one track. */
class Eye {
  constructor() {
    this.reset();
  }
  reset() {
    Object.assign(this, { frames: 0, good: 0, longest: 0, ids: {}, sizes: {}, colour: null, last: null, since: seconds(), latencies: [] });
  }
  async watch(track) {
    for await (const { frame } of new rtc.VideoStream(track)) {
      const now = seconds();
      const { data, width, height } = frame.convert(rtc.VideoBufferType.RGBA);
      this.frames++;
      this.longest = Math.max(this.longest, now - (this.last ?? this.since));
      this.last = now;
      this.sizes[`${width}x${height}`] = (this.sizes[`${width}x${height}`] ?? 0) + 1;
      const found = readPicture(data, width, height);
      if (found) {
        this.good++;
        this.ids[found.id] = (this.ids[found.id] ?? 0) + 1;
        this.latencies.push((((Date.now() - found.value) % VALUE_MOD) + VALUE_MOD) % VALUE_MOD);
      }
      this.colour = middleColour(data, width, height);
    }
  }
  report() {
    const now = seconds();
    const { frames, good, ids, sizes, colour } = this;
    const longest = Math.max(this.longest, now - (this.last ?? this.since));
    const latencyMs = [...this.latencies].sort((a, b) => a - b)[this.latencies.length >> 1] ?? null;
    return { frames, good, ids, sizes, colour, fps: frames / Math.max(0.001, now - this.since), maxGapMs: Math.round(longest * 1000), latencyMs };
  }
}

/** Listens to the last moment of one track. */
class Ear {
  samples = new Float64Array(WINDOW);
  frames = 0;
  async listen(track) {
    for await (const { data } of new rtc.AudioStream(track, { sampleRate: RATE, numChannels: 1, frameSizeMs: 100 })) {
      this.samples.copyWithin(0, data.length);
      this.samples.set(Float64Array.from(data, (sample) => sample / 32_768), WINDOW - data.length);
      this.frames++;
    }
  }
  report() {
    return { ...dominant(this.samples), frames: this.frames };
  }
}

const eyes = new Map();
const ears = new Map();
const events = [];
const messages = [];
const note = (name, detail = null) => events.push({ name, detail });
let room;

async function hum(source, hz) {
  const size = RATE / 10;
  if (!Number.isInteger(hz / 10)) throw new Error('a block holds whole periods');
  const block = Int16Array.from({ length: size }, (_, i) => Math.sin((2 * Math.PI * hz * i) / RATE) * 0.3 * 32_767);
  for (;;) await source.captureFrame(new rtc.AudioFrame(block, RATE, 1, size));
}

async function show(source, { id, colour, width, height, fps }) {
  for (;;) {
    source.captureFrame(new rtc.VideoFrame(paint(width, height, colour, id), width, height, rtc.VideoBufferType.RGBA));
    await sleep(1000 / fps);
  }
}

/** Byte `i` of a stream that can be recognised wherever it is cut, as in page/exchange.js. */
const patternAt = (i) => (i * 31 + (i >> 8) * 7) & 255;
const CHUNK = 60_000;
const got = { texts: [], bytes: [], numbers: [], transcriptions: [], frames: {}, dataTracks: [], ended: [] };

/** Listens to what participants exchange beside pictures and sound. This SDK has no data tracks. */
function listen() {
  for (const topic of ['text', 'lk.transcription']) {
    room.registerTextStreamHandler(topic, async (reader, { identity }) => got.texts.push({ from: identity, topic, attributes: reader.info.attributes, text: await reader.readAll() }));
  }
  room.registerByteStreamHandler('bytes', async (reader, { identity }) => {
    const entry = { from: identity, announced: reader.info.totalSize, size: 0, wrong: 0, done: false };
    got.bytes.push(entry);
    for await (const chunk of reader) for (const byte of chunk) entry.wrong += byte === patternAt(entry.size++) ? 0 : 1;
    entry.done = true;
  });
}

function registerMethods(local) {
  local.registerRpcMethod('echo', async ({ callerIdentity, payload }) => `${callerIdentity}:${payload}`);
  local.registerRpcMethod('fail', async () => {
    throw new rtc.RpcError(101, 'on purpose', 'more');
  });
}

const told = (promise) => promise.then(() => ({}), (error) => ({ error: `${error.name}: ${error.message}` }));

const describe = ({ identity, name, metadata, attributes, trackPublications }) => {
  const tracks = Object.fromEntries([...trackPublications.values()].map(({ sid, muted }) => [sid, { muted }]));
  return [identity, { name, metadata, attributes, tracks }];
};

const commands = {
  async join({ url, token, singlePeerConnection, e2ee }) {
    room = new rtc.Room();
    room
      .on(rtc.RoomEvent.TrackSubscribed, (track, _publication, other) => {
        const video = track.kind === rtc.TrackKind.KIND_VIDEO;
        note('subscribed', `${other.identity} ${video ? 'video' : 'audio'}`);
        const sense = video ? new Eye() : new Ear();
        (video ? eyes : ears).set(other.identity, sense);
        void (video ? sense.watch(track) : sense.listen(track));
      })
      .on(rtc.RoomEvent.ParticipantConnected, (other) => note('participant_connected', other.identity))
      .on(rtc.RoomEvent.ParticipantDisconnected, (other) => note('participant_disconnected', other.identity))
      .on(rtc.RoomEvent.Reconnecting, () => note('reconnecting'))
      .on(rtc.RoomEvent.Reconnected, () => note('reconnected'))
      .on(rtc.RoomEvent.Disconnected, (reason) => note('disconnected', rtc.DisconnectReason[reason]))
      .on(rtc.RoomEvent.TrackUnsubscribed, (_track, _publication, other) => note('unsubscribed', other.identity))
      .on(rtc.RoomEvent.DataReceived, (payload, participant, kind, topic) =>
        topic === 'number' ? got.numbers.push(Number(new TextDecoder().decode(payload))) : messages.push({ text: new TextDecoder().decode(payload), from: participant?.identity ?? null, topic: topic ?? null, kind: rtc.DataPacketKind[kind] }));
    listen();
    const encryption = e2ee && { keyProviderOptions: { sharedKey: new TextEncoder().encode(e2ee.key) } };
    await room.connect(url, token, { autoSubscribe: true, dynacast: false, ...(singlePeerConnection === undefined ? {} : { singlePeerConnection }), ...(encryption ? { encryption } : {}) });
    registerMethods(room.localParticipant);
    return { sid: room.localParticipant.sid };
  },
  async publish(wish) {
    const local = room.localParticipant;
    const microphone = new rtc.AudioSource(RATE, 1);
    const heard = await local.publishTrack(rtc.LocalAudioTrack.createAudioTrack('microphone', microphone), new rtc.TrackPublishOptions({ source: rtc.TrackSource.SOURCE_MICROPHONE }));
    void hum(microphone, wish.hz);
    const camera = new rtc.VideoSource(wish.width, wish.height);
    const options = new rtc.TrackPublishOptions({ source: rtc.TrackSource.SOURCE_CAMERA, videoCodec: rtc.VideoCodec.VP8, simulcast: wish.simulcast });
    const seen = await local.publishTrack(rtc.LocalVideoTrack.createVideoTrack('camera', camera), options);
    void show(camera, wish);
    return { audio: heard.sid, video: seen.sid };
  },
  send: ({ text, reliable = true, topic = '', to = [] }) =>
    room.localParticipant.publishData(new TextEncoder().encode(text), { reliable, topic, destination_identities: to }),
  /** All that can be asked, so that whoever waits needs one question. */
  async state() {
    const reports = (senses) => Object.fromEntries([...senses].map(([who, sense]) => [who, sense.report()]));
    const people = Object.fromEntries([room.localParticipant, ...room.remoteParticipants.values()].map(describe));
    return {
      video: reports(eyes), audio: reports(ears), events, messages, sid: room.localParticipant.sid, others: [...room.remoteParticipants.keys()],
      room: { name: room.name, metadata: room.metadata }, people,
    };
  },
  async reset() {
    for (const eye of eyes.values()) eye.reset();
  },
  async codecs() {
    const { publisherStats, subscriberStats } = await room.getRtcStats();
    const every = [...publisherStats, ...subscriberStats].map(({ stats }) => stats);
    const names = new Map(every.filter((s) => s.case === 'codec').map(({ value }) => [value.rtc.id, value.codec.mimeType]));
    return [...new Set(every.filter((s) => s.case === 'inboundRtp').map(({ value }) => names.get(value.stream.codecId) ?? ''))].sort();
  },
  leave: () => room.disconnect(),
  exchanged: () => got,
  sendText: ({ text, topic = 'text', to, attributes }) => room.localParticipant.sendText(text, { topic, attributes, destinationIdentities: to }).then(() => undefined),
  async sendBytes({ size, to }) {
    const writer = await room.localParticipant.streamBytes({ name: 'pattern', topic: 'bytes', totalSize: size, destinationIdentities: to });
    for (let at = 0; at < size; at += CHUNK) await writer.write(Uint8Array.from({ length: Math.min(CHUNK, size - at) }, (_, i) => patternAt(at + i)));
    await writer.close();
  },
  callRpc: ({ to, method, payload = '' }) =>
    room.localParticipant.performRpc({ destinationIdentity: to, method, payload }).then((value) => ({ value }), ({ code, message, data }) => ({ code, message, data })),
  setName: ({ value }) => told(room.localParticipant.updateName(value)),
  setMetadata: ({ value }) => told(room.localParticipant.updateMetadata(value)),
  setAttributes: ({ value }) => told(room.localParticipant.setAttributes(value)),
};

answer({ sdk: `${packageName} ${version}` });
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, name, wish } = JSON.parse(line);
  // Not awaited: a question may come while a command is under way.
  void (async () => commands[name](wish))().then(
    (value) => answer({ id, value: value ?? null }),
    (error) => answer({ id, error: `${error?.constructor?.name}: ${error?.message ?? error}` }),
  );
}
process.exit(0);
