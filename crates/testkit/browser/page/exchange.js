// In a page: what participants exchange beside pictures and sound. The commands are those of ../sdk/participant.*.
import { RpcError } from 'livekit-client';

/** Byte `i` of a stream that can be recognised wherever it is cut. */
const patternAt = (i) => (i * 31 + (i >> 8) * 7) & 255;
const CHUNK = 60_000;
const sleep = (ms) => new Promise((later) => setTimeout(later, ms));

/** Everything a room can exchange; `events` are to be registered before it connects. */
export function exchange(room) {
  const got = { texts: [], bytes: [], numbers: [], transcriptions: [], frames: {}, dataTracks: [], ended: [] };
  const own = new Map();

  room.registerRpcMethod('echo', async ({ callerIdentity, payload }) => `${callerIdentity}:${payload}`);
  room.registerRpcMethod('fail', async () => {
    throw new RpcError(101, 'on purpose', 'more');
  });
  for (const topic of ['text', 'lk.transcription']) {
    room.registerTextStreamHandler(topic, async (reader, { identity }) => got.texts.push({ from: identity, topic, attributes: reader.info.attributes, text: await reader.readAll() }));
  }
  room.registerByteStreamHandler('bytes', async (reader, { identity }) => {
    const entry = { from: identity, announced: reader.info.size, size: 0, wrong: 0, done: false };
    got.bytes.push(entry);
    for await (const chunk of reader) for (const byte of chunk) entry.wrong += byte === patternAt(entry.size++) ? 0 : 1;
    entry.done = true;
  });
  room
    .on('dataReceived', (payload, participant, _kind, topic) => {
      if (topic === 'number') got.numbers.push(Number(new TextDecoder().decode(payload)));
    })
    .on('transcriptionReceived', (segments, participant) => got.transcriptions.push({ from: participant?.identity, text: segments.map((s) => s.text).join('') }))
    .on('dataTrackPublished', async (track) => {
      const { name, sid } = track.info;
      got.dataTracks.push({ from: track.publisherIdentity, name, sid });
      const frames = (got.frames[name] = { count: 0, wrong: 0, sizes: {} });
      const reader = track.subscribe({ bufferSize: 200 }).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        frames.count++;
        frames.wrong += value.payload.every((byte, i) => byte === patternAt(i)) ? 0 : 1;
        frames.sizes[value.payload.length] = (frames.sizes[value.payload.length] ?? 0) + 1;
      }
    })
    .on('dataTrackUnpublished', (sid) => got.ended.push(sid));

  const local = () => room.localParticipant;
  const destination = (to) => (to ? { destinationIdentities: to } : {});
  const told = (promise) => promise.then(() => ({}), (error) => ({ error: `${error.name}: ${error.message}` }));
  return {
    exchanged: () => got,
    sendText: ({ text, topic = 'text', to, attributes }) => local().sendText(text, { topic, attributes, ...destination(to) }).then(() => undefined),
    async sendBytes({ size, to, pauseMs = 0 }) {
      const writer = await local().streamBytes({ name: 'pattern', topic: 'bytes', totalSize: size, ...destination(to) });
      for (let at = 0; at < size; at += CHUNK) {
        await writer.write(Uint8Array.from({ length: Math.min(CHUNK, size - at) }, (_, i) => patternAt(at + i)));
        if (pauseMs) await sleep(pauseMs);
      }
      await writer.close();
    },
    /** Numbers from 0, one reliable packet each. */
    async sendNumbers({ count, pauseMs = 0 }) {
      for (let n = 0; n < count; n++) {
        await local().publishData(new TextEncoder().encode(String(n)), { reliable: true, topic: 'number' });
        if (pauseMs) await sleep(pauseMs);
      }
    },
    callRpc: ({ to, method, payload = '' }) =>
      local().performRpc({ destinationIdentity: to, method, payload }).then((value) => ({ value }), ({ code, message, data }) => ({ code, message, data })),
    setName: ({ value }) => told(local().setName(value)),
    setMetadata: ({ value }) => told(local().setMetadata(value)),
    setAttributes: ({ value }) => told(local().setAttributes(value)),
    permit: ({ all, only = [] }) => local().setTrackSubscriptionPermissions(all, only.map((participantIdentity) => ({ participantIdentity, allowAll: true }))),
    async publishDataTrack({ name }) {
      const track = await local().publishDataTrack({ name });
      own.set(name, track);
      return track.info.sid;
    },
    async pushFrames({ name, count, size }) {
      for (let n = 0; n < count; n++) {
        await own.get(name).tryPush({ payload: Uint8Array.from({ length: size }, (_, i) => patternAt(i)) });
        await sleep(10);
      }
    },
    unpublishDataTrack: ({ name }) => own.get(name).unpublish(),
  };
}
