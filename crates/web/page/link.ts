// The link that brought somebody here. Everything is in the fragment, which no browser sends to a server; the token is
// read for display only and never believed: the server checks it.

export interface Link {
  readonly token: string;
  readonly identity: string;
  readonly name: string;
  readonly mayRename: boolean;
  readonly mayPublish: boolean;
}

export type LinkProblem = 'nothing' | 'invalid' | 'expired';

interface Claims {
  sub?: unknown;
  name?: unknown;
  exp?: unknown;
  video?: { roomJoin?: unknown; canPublish?: unknown; canUpdateOwnMetadata?: unknown };
}

export function readLink(fragment: string, now: number = Date.now()): Link | LinkProblem {
  const token = new URLSearchParams(fragment.replace(/^#/, '')).get('token');
  if (!token) return 'nothing';
  const claims = readClaims(token);
  if (typeof claims?.sub !== 'string' || claims.video?.roomJoin !== true) return 'invalid';
  if (typeof claims.exp === 'number' && claims.exp * 1000 <= now) return 'expired';
  return {
    token,
    identity: claims.sub,
    name: typeof claims.name === 'string' ? claims.name : '',
    mayRename: claims.video.canUpdateOwnMetadata === true,
    mayPublish: claims.video.canPublish !== false,
  };
}

function readClaims(token: string): Claims | undefined {
  const payload = token.split('.')[1];
  if (payload === undefined) return undefined;
  try {
    const bytes = Uint8Array.from(atob(payload.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === 'object' && claims !== null ? (claims as Claims) : undefined;
  } catch {
    return undefined;
  }
}

/** The server that served this page is the one to talk to. */
export function serverUrl(): string {
  return `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}`;
}
