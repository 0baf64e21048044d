// A participant whose peer connections are GStreamer's: signalling here (v0, two connections), media in a process of its own.
import WebSocket from 'ws';
import { DataPacket, SignalRequest, SignalResponse, TrackType } from '@livekit/protocol';
import { startSdk } from './sdk.mjs';

/** What the server calls its channels. */
const RELIABLE = '_reliable';
const LOSSY = '_lossy';

/** The offer's track ids by kind, as its `a=msid` or `a=ssrc` lines name them. */
function trackIds(sdp) {
  const sections = sdp.split(/^m=/m).slice(1);
  return sections.flatMap((section) => {
    const [, id] = /msid:\S+ (\S+)/.exec(section) ?? [];
    return id ? [{ kind: section.split(' ', 1)[0], id }] : [];
  });
}

/** Starts a participant; `relayPort` leads its media through a relay of ours, `turn` has it use nothing but the TURN server that it is handed. */
export async function startGstreamer(server, { room, identity, relayPort, turn = false }) {
  const sdk = await startSdk('gstreamer');
  const relayed = (sdp) => (relayPort === undefined ? sdp : sdp.replaceAll(` ${server.udpPort} typ host`, ` ${relayPort} typ host`));
  const token = server.token({ room, identity });
  const socket = new WebSocket(`${server.wsUrl}/rtc?access_token=${token}&auto_subscribe=1&protocol=15&sdk=unknown`);
  const send = (message) => socket.send(new SignalRequest({ message }).toBinary());
  const waiting = [];
  const failures = [];
  let work = Promise.resolve();
  const act = {
    async join({ iceServers }) {
      if (!turn) return;
      const { urls: [url], username, credential } = iceServers.find(({ urls }) => urls[0].startsWith('turn:'));
      const user = `${encodeURIComponent(username)}:${encodeURIComponent(credential)}`;
      await sdk.ask('relay', { uri: url.replace('turn:', `turn://${user}@`) });
    },
    async offer({ sdp, type, id }) {
      send({ case: 'answer', value: { type: 'answer', sdp: await sdk.ask('subscribe', { sdp: relayed(sdp) }), id } });
    },
    async answer({ sdp }) {
      await sdk.ask('published', { sdp: relayed(sdp) });
    },
  };
  socket.on('message', (data) => {
    const { message } = SignalResponse.fromBinary(new Uint8Array(data));
    const asked = waiting.findIndex(({ name }) => name === message.case);
    if (asked >= 0) waiting.splice(asked, 1)[0].resolve(message.value);
    // One after the other, as they came.
    if (act[message.case]) work = work.then(() => act[message.case](message.value)).catch((error) => failures.push(error));
  });
  const next = (name) => new Promise((resolve) => waiting.push({ name, resolve }));
  const joined = next('join');
  await new Promise((open, failed) => socket.once('open', open).once('error', failed));
  await joined;

  return {
    ...sdk,
    failures,
    async publish({ hz, colour }) {
      const sdp = await sdk.ask('publish', { hz, colour, channels: [RELIABLE, LOSSY] });
      for (const { kind, id } of trackIds(sdp)) {
        const published = next('trackPublished');
        send({ case: 'addTrack', value: { cid: id, name: kind, type: kind === 'audio' ? TrackType.AUDIO : TrackType.VIDEO, width: 320, height: 180 } });
        await published;
      }
      send({ case: 'offer', value: { type: 'offer', sdp, id: 1 } });
    },
    send(text, reliable = true) {
      const packet = new DataPacket({ value: { case: 'user', value: { payload: new TextEncoder().encode(text) } } });
      return sdk.ask('send', { label: reliable ? RELIABLE : LOSSY, data: Buffer.from(packet.toBinary()).toString('base64') });
    },
    /** The texts that arrived, with the channel each came on. */
    async texts() {
      const { messages } = await sdk.state();
      return messages.map(({ label, data }) => {
        const { value } = DataPacket.fromBinary(Buffer.from(data, 'base64'));
        return { label, text: value.case === 'user' ? new TextDecoder().decode(value.value.payload) : value.case };
      });
    },
    async close() {
      socket.close();
      await sdk.close();
    },
  };
}
