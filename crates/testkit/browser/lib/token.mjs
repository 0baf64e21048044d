// LiveKit access tokens (JWT, HS256), made with nothing but node:crypto.
import crypto from 'node:crypto';

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/**
 * Signs a token. `video` is merged into a grant that lets its holder join `room`; `claims` are merged into the top level.
 */
export function token({ key, secret, room, identity, name, ttl = 3600, video = {}, claims = {} }) {
  const now = Math.floor(Date.now() / 1000);
  const payload = { iss: key, sub: identity, nbf: now - 10, exp: now + ttl, ...(name === undefined ? {} : { name }), video: { room, roomJoin: true, ...video }, ...claims };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(payload)}`;
  return `${signed}.${crypto.createHmac('sha256', secret).update(signed).digest('base64url')}`;
}
