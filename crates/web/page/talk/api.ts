// Talks to the desk: JSON over the same origin. A refusal becomes a `Problem` (RFC 9457), whose code chooses the words.

import type { Day, Bye } from './view';

/** What the desk said no with; `code` is the last part of its type, or `offline` when nothing came back. */
export class Problem extends Error {
  readonly code: string;
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  /** How many seconds to leave it alone, if it said so. */
  readonly retryAfter: number | undefined;

  constructor(code: string, status: number, body: Readonly<Record<string, unknown>> = {}, retryAfter?: number) {
    super(code);
    this.code = code;
    this.status = status;
    this.body = body;
    this.retryAfter = retryAfter;
  }
}

export async function call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`desk/v1/${path}`, {
      method,
      credentials: 'same-origin',
      headers: { accept: 'application/json', ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new Problem('offline', 0);
  }
  const answer: unknown = await response.json().catch(() => undefined);
  if (response.ok) return answer as T;
  const problem = (typeof answer === 'object' && answer !== null ? answer : {}) as Record<string, unknown>;
  const type = typeof problem['type'] === 'string' ? problem['type'] : '';
  const wait = Number(response.headers.get('retry-after'));
  throw new Problem(type.split(/[/:#]/).pop() || String(response.status), response.status, problem, wait > 0 ? wait : undefined);
}

export const ask = <T>(path: string): Promise<T> => call<T>('GET', path);
export const tell = <T>(path: string, body: unknown = {}): Promise<T> => call<T>('POST', path, body);

type Told<T> = { type: 'view'; view: T } | { type: 'day'; day: Day } | Bye;

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;

/** Hears from the desk until closed or told goodbye; a broken connection is taken up again by itself. */
export function listen<T>(path: string, heard: (message: Told<T>) => void, standing: (yes: boolean) => void): () => void {
  let socket: WebSocket | undefined;
  let over = false;
  let wait = FIRST_RETRY_MS;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const open = () => {
    socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/desk/v1/${path}`);
    socket.addEventListener('message', ({ data }) => {
      wait = FIRST_RETRY_MS;
      standing(true);
      const message = JSON.parse(String(data)) as Told<T>;
      if (message.type === 'bye') over = true;
      heard(message);
    });
    socket.addEventListener('close', () => {
      if (over) return;
      standing(false);
      timer = setTimeout(open, wait);
      wait = Math.min(wait * 2, LONGEST_RETRY_MS);
    });
  };
  open();
  return () => {
    over = true;
    clearTimeout(timer);
    socket?.close();
  };
}
