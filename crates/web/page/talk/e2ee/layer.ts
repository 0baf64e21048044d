// Which encryption is on, as the page may say it: drawn from what each track and each person is really in, never from what was configured. Where
// in doubt it says less.

import type { PeerState } from './agreement';

/** What an office wants: never, where all browsers can, or nothing else. */
export type Policy = 'off' | 'possible' | 'required';

export type Layer =
  /** Nobody else is there. */
  | { readonly kind: 'alone' }
  /** Some are still being agreed with. */
  | { readonly kind: 'agreeing' }
  /** Nobody between can see or read anything, if the codes are the same on both sides: that is for people to compare. */
  | { readonly kind: 'end' }
  /** The same among those who can; others get nothing, and nothing of theirs is shown: where the office wants nothing else. */
  | { readonly kind: 'without'; readonly names: readonly string[] }
  /** As far as the server only. */
  | { readonly kind: 'transport'; readonly why: 'office' | 'own' }
  | { readonly kind: 'transport'; readonly why: 'other'; readonly names: readonly string[] };

export interface Facts {
  readonly policy: Policy;
  /** Whether this browser can and may. */
  readonly able: boolean;
  /** Whether it sends in the clear. */
  readonly clear: boolean;
  /** Whether it encrypts, and all that it publishes. */
  readonly own: boolean;
  readonly people: readonly { readonly identity: string; readonly name: string; readonly peer: PeerState | undefined; readonly encrypted: boolean }[];
}

export function layerOf({ policy, able, clear, own, people }: Facts): Layer {
  if (!able) return { kind: 'transport', why: policy === 'off' ? 'office' : 'own' };
  if (people.length === 0) return clear || !own ? { kind: 'agreeing' } : { kind: 'alone' };
  // Somebody who can't, or sends in the clear, for whatever reason.
  const open = people.filter(({ peer, encrypted }) => peer?.stage === 'unable' || (peer?.stage === 'ready' && (peer.clear || !encrypted)));
  if (open.length > 0 && policy === 'required') {
    if (clear || !own || people.some(({ peer }) => peer?.stage !== 'ready' && peer?.stage !== 'unable')) return { kind: 'agreeing' };
    return { kind: 'without', names: open.map(({ name }) => name) };
  }
  if (open.length > 0) {
    const unable = open.filter(({ peer }) => peer?.stage === 'unable');
    return { kind: 'transport', why: 'other', names: (unable.length > 0 ? unable : open).map(({ name }) => name) };
  }
  if (clear || !own || people.some(({ peer }) => peer?.stage !== 'ready')) return { kind: 'agreeing' };
  return { kind: 'end' };
}
