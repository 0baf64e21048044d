// Clients of WHIP and WHEP: pages with npm's, and processes with GStreamer's whipsink and with aiortc.
import { startSdk } from './sdk.mjs';

/** The endpoint of a protocol, of one participant's tracks if one is named. */
export function endpoint(server, protocol, { participant } = {}) {
  const query = participant === undefined ? '' : `?participant=${encodeURIComponent(participant)}`;
  return `${server.url}/${protocol}/v1${query}`;
}

/** What every client is told: where, and as whom. */
export const access = (server, protocol, { room, identity, participant, grant = {} }) => ({
  url: endpoint(server, protocol, { participant }),
  token: server.token({ room, identity, video: grant }),
});

/** Starts GStreamer with a whipsink that sends what can be recognised. */
export async function startWhipsink(server, { room, identity, id, hz }) {
  const sdk = await startSdk('whipsink');
  await sdk.ask('publish', { ...access(server, 'whip', { room, identity }), sender: id, hz });
  return sdk;
}

/** Starts a player with aiortc. */
export async function startAiortc(server, { room, identity, participant, sounds = 1, pictures = 1, relay = false }) {
  const sdk = await startSdk('aiortc');
  const answer = await sdk.ask('play', { ...access(server, 'whep', { room, identity, participant }), sounds, pictures, relay });
  return { ...sdk, answer };
}
