// In a page: the unmodified clients of WHIP and WHEP, with devices that can be recognised and meters that recognise them.
import './peers.js';
import { WebRTCPlayer } from '@eyevinn/webrtc-player';
import { WHIPClient as CompleteOffer } from '@eyevinn/whip-web-client';
import { WHEPClient } from 'whip-whep/whep.js';
import { WHIPClient } from 'whip-whep/whip.js';
import { clockCamera, listen, now, show, sleep, toneMic, watch } from './rig.js';

/** Every request that a client made, with the answer's status. */
const requests = [];
const fetched = window.fetch.bind(window);
window.fetch = async (input, init = {}) => {
  const answer = await fetched(input, init);
  const { 'If-Match': ifMatch } = init.headers ?? {};
  requests.push({ method: init.method ?? 'GET', path: new URL(String(input), location.href).pathname, status: answer.status, ifMatch, candidates: (init.body?.match?.(/a=candidate/g) ?? []).length });
  return answer;
};

let client;
let meters = [];
let ears = [];

const LAYERS = [['q', 4, 150_000], ['h', 2, 500_000], ['f', 1, 1_700_000]];
const encodings = (simulcast) => (simulcast ? LAYERS.map(([rid, scaleResolutionDownBy, maxBitrate]) => ({ rid, scaleResolutionDownBy, maxBitrate })) : [{ maxBitrate: 1_500_000 }]);

function devices({ id, hz, width, height }) {
  return new MediaStream([...toneMic(hz).getAudioTracks(), ...clockCamera({ id, width, height }).getVideoTracks()]);
}

/**
 * Has the encoder keep the camera's size, however little CPU or bandwidth there is at first: Chromium halves it else, and a machine that is
 * always busy never shows it enough room to go back. What is looked at is what the server makes of a size.
 */
async function keepSize(pc) {
  const sender = pc.getSenders().find(({ track }) => track?.kind === 'video');
  await sender.setParameters({ ...sender.getParameters(), degradationPreference: 'maintain-framerate-and-resolution' });
}

const publish = {
  /** Offers at once and trickles its candidates. */
  async trickling({ url, token, simulcast, ...looks }) {
    const stream = devices(looks);
    const pc = new RTCPeerConnection();
    for (const track of stream.getTracks()) {
      pc.addTransceiver(track, { direction: 'sendonly', streams: [stream], sendEncodings: track.kind === 'video' ? encodings(simulcast) : undefined });
    }
    const whip = new WHIPClient();
    await keepSize(pc);
    await whip.publish(pc, url, token);
    client = { stop: () => whip.stop(), restart: () => whip.restart() };
  },
  /** Offers once its candidates are gathered. */
  async complete({ url, token, ...looks }) {
    const whip = new CompleteOffer({ endpoint: url, opts: { authkey: token, iceServers: [], noTrickleIce: true } });
    await whip.ingest(devices(looks));
    await whip.getResourceUrl();
    await keepSize(window.peerConnections.at(-1));
    client = { stop: () => whip.destroy() };
  },
};

const play = {
  /** Any number of sections, told apart by their place. */
  async trickling({ url, token, sounds = 1, pictures = 1 }) {
    const pc = new RTCPeerConnection();
    for (let i = 0; i < sounds; i++) pc.addTransceiver('audio', { direction: 'recvonly' });
    for (let i = 0; i < pictures; i++) pc.addTransceiver('video', { direction: 'recvonly' });
    pc.ontrack = ({ track, streams }) => {
      if (track.kind === 'audio') return void ears.push(listen(track));
      const { element, meter } = show();
      element.srcObject = new MediaStream([track]);
      meters.push(Object.assign(meter, { stream: streams[0]?.id }));
    };
    const whep = new WHEPClient();
    await whep.view(pc, url, token);
    client = { stop: () => whep.stop(), restart: () => whep.restart() };
  },
  /** A player with an element of its own. */
  async complete({ url, token }) {
    const video = Object.assign(document.createElement('video'), { autoplay: true, muted: true, playsInline: true, width: 320 });
    document.body.append(video);
    const player = new WebRTCPlayer({ video, type: 'whep', iceServers: [] });
    await player.load(new URL(url), `Bearer ${token}`);
    const tracks = () => video.srcObject?.getTracks() ?? [];
    await until(() => tracks().length === 2, 10_000, 'both tracks');
    meters.push(watch(video));
    ears.push(listen(tracks().find((track) => track.kind === 'audio')));
    client = { stop: () => player.unload() };
  },
};

async function until(check, ms, what) {
  const end = now() + ms;
  for (;;) {
    const value = check();
    if (value) return value;
    if (now() > end) throw new Error(`${what} not within ${ms} ms; requests: ${JSON.stringify(requests)}; seen: ${JSON.stringify(meters.map((meter) => meter.report()))}`);
    await sleep(20);
  }
}

/** The sender whose frames a place has shown since its meter was reset, if it is one. */
const shownAt = (place) => {
  const ids = Object.keys(meters[place]?.report().ids ?? {});
  return ids.length === 1 ? Number(ids[0]) : undefined;
};

window.client = {
  publish: ({ how, relay, ...wish }) => ((window.mediaRelay = relay), publish[how](wish)),
  play: ({ how, relay, ...wish }) => ((window.mediaRelay = relay), play[how](wish)),
  stop: () => client.stop(),
  /** Restarts ICE; resolves once the new pair is the one in use. */
  async restart() {
    const [pc] = window.peerConnections;
    const pair = async () => {
      const all = await window.allStats();
      return all.find((s) => s.type === 'transport')?.selectedCandidatePairId;
    };
    const before = await pair();
    await client.restart();
    for (const end = now() + 10_000; now() < end; await sleep(50)) {
      const after = await pair();
      if (after && after !== before && pc.connectionState === 'connected') return;
    }
    throw new Error(`no new candidate pair within 10 s: ${JSON.stringify(requests)}`);
  },
  requests: () => requests,
  state: () => window.peerConnections.at(-1).connectionState,
  /** Waits for a picture whose barcode can be read, at a place. */
  seen: (place, ms) => until(() => meters[place]?.report().good > 0, ms, `a picture at ${place}`),
  /** Waits until a place shows this sender and nobody else; others' frames before that don't count. */
  shows: (place, id, ms) => until(() => {
    if (shownAt(place) === id) return true;
    if (meters[place]?.report().good > 0) meters[place].reset();
    return false;
  }, ms, `${id} at ${place}`),
  resetMeters: () => meters.forEach((meter) => meter.reset()),
  streams: () => meters.map(({ stream }) => stream),
  video: (place) => meters[place]?.report() ?? null,
  audio: (place) => ears[place]?.() ?? null,
  /** Waits until a place sounds like this. */
  sounds: (place, hz, ms) => until(() => {
    const heard = ears[place]?.();
    return heard?.rms > 0.01 && Math.abs(heard.hz - hz) <= 6;
  }, ms, `${hz} Hz at ${place}`),
};
