// In a page: one participant of Janus's video room, with the devices and meters of client.js. It says what Janus's API asks
// for, and adapts to nothing.
import './peers.js';
import { clockCamera, listen, now, show, sleep, toneMic } from './rig.js';

/** Janus drops sessions that are silent for a minute. */
const KEEPALIVE_MS = 25_000;
/** An address of nobody: Janus checks candidates itself, and would find a way around the relay. */
const NOBODY = { port: 9, priority: 1 };

const videos = new Map();
const audios = new Map();
let plugin;
let offered;

/** Opens a session with a handle of the video room; answers a function that asks it something, past the `ack`. */
async function open(url) {
  const socket = new WebSocket(url, 'janus-protocol');
  await new Promise((ready, failed) => Object.assign(socket, { onopen: ready, onerror: () => failed(new Error(`no WebSocket at ${url}`)) }));
  const waiting = new Map();
  let transactions = 0;
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    const asked = waiting.get(message.transaction);
    if (!asked || message.janus === 'ack') return;
    waiting.delete(message.transaction);
    const reason = message.error?.reason ?? message.plugindata?.data?.error;
    if (reason) asked.failed(new Error(`Janus: ${reason}`));
    else asked.done(message);
  };
  const request = (body) => new Promise((done, failed) => {
    const transaction = String(++transactions);
    waiting.set(transaction, { done, failed });
    socket.send(JSON.stringify({ ...body, transaction }));
  });
  const session_id = (await request({ janus: 'create' })).data.id;
  const handle_id = (await request({ janus: 'attach', session_id, plugin: 'janus.plugin.videoroom' })).data.id;
  setInterval(() => socket.send(JSON.stringify({ janus: 'keepalive', session_id, transaction: 'keepalive' })), KEEPALIVE_MS); // ends with the page
  return (body, jsep) => request({ janus: 'message', session_id, handle_id, body, ...(jsep ? { jsep } : {}) });
}

async function until(check, ms, what) {
  const end = now() + ms;
  for (;;) {
    const value = check();
    if (value) return value;
    if (now() > end) throw new Error(`${what} not within ${ms} ms`);
    await sleep(20);
  }
}

/**
 * Makes `room` without a limit of bit rates, and publishes camera and microphone there as `feed`. `sending` is what another
 * client sends with (`window.sending()` there): layers with their bit rates, and what gives way first.
 */
async function publish({ url, room, feed, id, hz, width, height, sending }) {
  plugin = await open(url);
  await plugin({ request: 'create', room, publishers: 2, bitrate: 0 });
  await plugin({ request: 'join', ptype: 'publisher', room, id: feed });
  const peer = new RTCPeerConnection();
  const tracks = { audio: toneMic(hz).getAudioTracks()[0], video: clockCamera({ id, width, height }).getVideoTracks()[0] };
  const senders = {};
  for (const [kind, track] of Object.entries(tracks)) {
    track.contentHint = sending[kind].contentHint;
    senders[kind] = peer.addTransceiver(track, { direction: 'sendonly', sendEncodings: sending[kind].encodings }).sender;
  }
  await peer.setLocalDescription();
  await until(() => peer.iceGatheringState === 'complete', 5_000, 'candidates');
  // The layers come in the client library's order, low first; Janus would take the first for the highest.
  const configured = await plugin({ request: 'publish' }, { type: 'offer', sdp: peer.localDescription.sdp, rid_order: 'lmh' });
  await peer.setRemoteDescription(configured.jsep);
  for (const [kind, sender] of Object.entries(senders)) {
    const { degradationPreference } = sending[kind];
    if (degradationPreference) await sender.setParameters({ ...sender.getParameters(), degradationPreference });
  }
  await until(() => peer.connectionState === 'connected', 10_000, 'the publisher\'s connection');
}

/** Asks for everything of `feed`; answers the port that Janus wants to send from. */
async function subscribe({ url, room, feed }) {
  plugin = await open(url);
  const attached = await plugin({ request: 'join', ptype: 'subscriber', room, streams: [{ feed }] });
  offered = attached.jsep;
  const ports = new Set([...offered.sdp.matchAll(/^a=candidate:\S+ \d+ udp \d+ \S+ (\d+) typ host/gim)].map(([, port]) => Number(port)));
  if (ports.size !== 1) throw new Error(`one candidate expected: ${offered.sdp}`);
  return [...ports][0];
}

/** Takes what `subscribe` was offered, through `relay`. What arrives is `identity`'s. */
async function start({ identity, relay }) {
  window.mediaRelay = relay;
  const peer = new RTCPeerConnection();
  peer.ontrack = ({ track }) => {
    if (track.kind === 'audio') return void audios.set(identity, listen(track));
    const video = show();
    video.element.srcObject = new MediaStream([track]);
    videos.set(identity, video);
  };
  await peer.setRemoteDescription(offered);
  await peer.setLocalDescription();
  const address = /^a=candidate:\S+ \d+ udp \d+ (\S+)/im.exec(offered.sdp)[1];
  const lines = peer.localDescription.sdp.split('\r\n').filter((line) => !line.startsWith('a=candidate:'));
  lines.splice(lines.findIndex((line) => line.startsWith('m=')) + 2, 0, `a=candidate:1 1 udp ${NOBODY.priority} ${address} ${NOBODY.port} typ host`, 'a=end-of-candidates');
  await plugin({ request: 'start' }, { type: 'answer', sdp: lines.join('\r\n') });
}

window.client = {
  publish,
  subscribe,
  start,
  resetMeters: () => videos.forEach(({ meter }) => meter.reset()),
  seen: (identity, ms) => until(() => videos.get(identity)?.meter.report().good > 0, ms, `video of ${identity}`),
  video: (identity) => videos.get(identity)?.meter.report() ?? null,
  audio: (identity) => audios.get(identity)?.() ?? null,
};
