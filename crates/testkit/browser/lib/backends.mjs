// Backends with the SDKs for servers: each calls the room service by its own means. Requests and answers are proto3 JSON.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { ParticipantPermission } from '@livekit/protocol';
import { RoomServiceClient } from 'livekit-server-sdk';
import { startSdk } from './sdk.mjs';

/** The library's own manifest, which its exports hide. */
function versionOf(name) {
  const main = createRequire(import.meta.url).resolve(name);
  return JSON.parse(fs.readFileSync(`${main.slice(0, main.lastIndexOf(`/${name}/`))}/${name}/package.json`, 'utf8')).version;
}

const bytes = (base64) => new Uint8Array(Buffer.from(base64, 'base64'));

/** How the Node SDK's client is asked for what a request says. */
const NODE_CALLS = {
  create_room: (client, request) => client.createRoom(request),
  list_rooms: async (client, { names }) => ({ rooms: await client.listRooms(names) }),
  delete_room: (client, { room }) => client.deleteRoom(room),
  update_room_metadata: (client, { room, metadata }) => client.updateRoomMetadata(room, metadata),
  list_participants: async (client, { room }) => ({ participants: await client.listParticipants(room) }),
  get_participant: (client, { room, identity }) => client.getParticipant(room, identity),
  remove_participant: (client, { room, identity }) => client.removeParticipant(room, identity),
  mute_published_track: async (client, { room, identity, trackSid, muted }) => ({ track: await client.mutePublishedTrack(room, identity, trackSid, muted) }),
  update_participant: (client, { room, identity, metadata, permission, name, attributes }) =>
    client.updateParticipant(room, identity, { metadata, name, attributes, permission: permission && ParticipantPermission.fromJson(permission) }),
  update_subscriptions: (client, { room, identity, trackSids, subscribe }) => client.updateSubscriptions(room, identity, trackSids, subscribe),
  send_data: (client, { room, data, kind = 'RELIABLE', topic, destinationIdentities }) =>
    client.sendData(room, bytes(data), kind === 'LOSSY' ? 1 : 0, { topic, destinationIdentities }),
  move_participant: (client, { room, identity, destinationRoom }) => client.moveParticipant(room, identity, destinationRoom),
  forward_participant: (client, { room, identity, destinationRoom }) => client.forwardParticipant(room, identity, destinationRoom),
};

/** A message of the SDK, or a list or group of them, as plain JSON. */
function plain(value) {
  if (value === undefined || value === null) return {};
  if (typeof value.toJson === 'function') return value.toJson();
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]));
}

/** A backend of a kind, `node` or `python`, for `server`; `secret` in place of the server's own. */
export async function startBackend(kind, server, { secret = server.api.secret } = {}) {
  const { key } = server.api;
  if (kind === 'node') {
    const client = new RoomServiceClient(server.url, key, secret);
    return {
      sdk: `livekit-server-sdk ${versionOf('livekit-server-sdk')}`,
      call: (method, request) =>
        NODE_CALLS[method](client, request).then(plain, (error) => {
          throw new Error(error.code === undefined ? String(error) : `${error.code} ${error.status}: ${error.message}`);
        }),
      close: async () => undefined,
    };
  }
  const process = await startSdk('api');
  await process.ask('open', { url: server.url, key, secret });
  return { sdk: process.sdk, call: (method, request) => process.ask('call', { method, request }), close: process.close };
}
