// The way to the server, step by step, as a call goes it: the WebSocket, and each way that sound and pictures could take. A way
// is tried by a peer connection of its own that is shown no other way; it counts when encryption stands, not before.

export type Way = 'udp' | 'tcp' | 'turn-udp' | 'turn-tcp' | 'turn-tls';
export const WAYS: readonly Way[] = ['udp', 'tcp', 'turn-udp', 'turn-tcp', 'turn-tls'];

/** What came of a step. `places` are addresses with ports, for whoever opens firewalls. */
export interface Outcome {
  readonly result: 'ok' | 'failed' | 'absent';
  readonly places: readonly string[];
  readonly milliseconds?: number;
  /** What the server said, if it said no. */
  readonly status?: number;
}

const PATIENCE_MS = 8_000;

/** Whether signaling comes through: the upgrade to a WebSocket, and the server's first message on it. */
export function probeWebSocket(token: string): Promise<Outcome> {
  const begun = performance.now();
  const url = new URL('rtc', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  url.search = new URLSearchParams({ access_token: token, auto_subscribe: '0', protocol: '16', sdk: 'js' }).toString();
  url.hash = '';
  return new Promise((done) => {
    const socket = new WebSocket(url);
    const end = (result: 'ok' | 'failed') => {
      clearTimeout(timer);
      socket.onmessage = socket.onerror = socket.onclose = null;
      socket.close();
      done({ result, places: [url.host], milliseconds: Math.round(performance.now() - begun) });
    };
    const timer = setTimeout(end, PATIENCE_MS, 'failed');
    socket.onmessage = () => end('ok');
    socket.onerror = socket.onclose = () => end('failed');
  });
}

interface Session {
  readonly answer: string;
  readonly servers: readonly RTCIceServer[];
  close(): Promise<void>;
}

class Refused extends Error {
  constructor(readonly status: number) {
    super(`the server answers ${status}`);
  }
}

/** Has the server answer an offer, by HTTP (WHEP). */
async function exchange(token: string, offer: string): Promise<Session> {
  const authorization = `Bearer ${token}`;
  const response = await fetch('whep/v1', {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/sdp' },
    body: offer,
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (response.status !== 201) throw new Refused(response.status);
  const at = new URL(response.headers.get('location') ?? '', response.url);
  return {
    answer: await response.text(),
    servers: readIceServers(response.headers.get('link') ?? ''),
    close: async () => void (await fetch(at, { method: 'DELETE', headers: { authorization } }).catch(() => undefined)),
  };
}

/** Reads the ICE servers of a Link field (RFC 9725 §4.6): `<turn:host>; rel="ice-server"; username="…"; credential="…"`. */
export function readIceServers(link: string): RTCIceServer[] {
  return [...link.matchAll(/<((?:turns?|stuns?):[^>]*)>((?:\s*;\s*[\w-]+=(?:"(?:[^"\\]|\\.)*"|[^;,"]*))*)/g)].map(([, url, rest]) => {
    const parameter = (name: string) =>
      new RegExp(`;\\s*${name}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^;,"]*))`).exec(rest ?? '')?.slice(1).find((text) => text !== undefined)?.replace(/\\(.)/g, '$1');
    return { urls: url ?? '', username: parameter('username') ?? '', credential: parameter('credential') ?? '' };
  });
}

/** Which way a TURN address is, if it is one. */
export function wayOf(url: string): Way | undefined {
  if (/^turns:/.test(url)) return /transport=udp/.test(url) ? undefined : 'turn-tls';
  if (/^turn:/.test(url)) return /transport=tcp/.test(url) ? 'turn-tcp' : 'turn-udp';
  return undefined;
}

/** Where the candidates of an answer are, and the answer with those of one transport alone. */
function only(answer: string, transport: 'udp' | 'tcp'): { places: string[]; sdp: string } {
  const places = new Set<string>();
  const lines = answer.split(/\r?\n/).filter((line) => {
    if (!line.startsWith('a=candidate:')) return true;
    const [, , kind, , address, port] = line.split(' ');
    if (kind?.toLowerCase() !== transport) return false;
    places.add(`${address} Port ${port}`);
    return true;
  });
  return { places: [...places], sdp: lines.join('\r\n') };
}

/** Tries one way. `turn` is the server to go through, for the ways that are no direct ones. */
async function probeWay(token: string, way: Way, turn?: RTCIceServer): Promise<Outcome> {
  const pc = new RTCPeerConnection(turn ? { iceServers: [turn], iceTransportPolicy: 'relay' } : {});
  let session: Session | undefined;
  try {
    pc.addTransceiver('audio', { direction: 'recvonly' });
    await pc.setLocalDescription();
    session = await exchange(token, pc.localDescription?.sdp ?? '');
    const { places, sdp } = only(session.answer, way === 'tcp' ? 'tcp' : 'udp');
    if (places.length === 0) return { result: 'absent', places };
    const begun = performance.now();
    await pc.setRemoteDescription({ type: 'answer', sdp });
    const connected = await settled(pc);
    const milliseconds = Math.round(performance.now() - begun);
    return { result: connected ? 'ok' : 'failed', places: turn ? [placeOf(String(turn.urls))] : places, milliseconds };
  } finally {
    pc.close();
    await session?.close();
  }
}

/** Host and port of a TURN address, in words. */
function placeOf(url: string): string {
  const host = url.replace(/^turns?:/, '').replace(/\?.*/, '');
  const match = /^(.*):(\d+)$/.exec(host);
  return match ? `${match[1]} Port ${match[2]}` : `${host} Port ${url.startsWith('turns') ? 5349 : 3478}`;
}

function settled(pc: RTCPeerConnection): Promise<boolean> {
  return new Promise((done) => {
    const timer = setTimeout(done, PATIENCE_MS, false);
    const look = () => {
      if (pc.connectionState !== 'connected' && pc.connectionState !== 'failed') return;
      clearTimeout(timer);
      done(pc.connectionState === 'connected');
    };
    pc.addEventListener('connectionstatechange', look);
    look();
  });
}

/** Tries every way that the server offers, one after the other, and tells each as soon as it is known. */
export async function probeMedia(token: string, tell: (way: Way, outcome: Outcome) => void): Promise<void> {
  let servers: readonly RTCIceServer[] = [];
  try {
    const pc = new RTCPeerConnection();
    pc.addTransceiver('audio', { direction: 'recvonly' });
    const offer = await pc.createOffer();
    pc.close();
    const session = await exchange(token, offer.sdp ?? '');
    servers = session.servers;
    await session.close();
  } catch (error) {
    const status = error instanceof Refused ? { status: error.status } : {};
    for (const way of WAYS) tell(way, { result: way === 'udp' ? 'failed' : 'absent', places: [], ...status });
    return;
  }
  for (const way of WAYS) {
    const turn = servers.find((server) => wayOf(String(server.urls)) === way);
    const direct = way === 'udp' || way === 'tcp';
    if (!direct && !turn) {
      tell(way, { result: 'absent', places: [] });
      continue;
    }
    const outcome = await probeWay(token, way, turn).catch((error: unknown): Outcome => ({
      result: 'failed',
      places: turn ? [placeOf(String(turn.urls))] : [],
      ...(error instanceof Refused ? { status: error.status } : {}),
    }));
    tell(way, outcome);
  }
}
