// What the desk said no with, in words for officials.

import type { TextKey } from '../texts';
import { Problem } from '../talk/api';
import { problemText } from '../talk/talk';

const KNOWN = ['stale', 'not-scheduled', 'role-fixed', 'wrong-window', 'wrong-partner', 'no-citizen', 'too-many-people', 'not-waiting', 'not-in-call', 'no-person', 'no-appointment', 'ended', 'cancelled',
  'room', 'busy', 'store', 'no-session', 'link-revoked', 'invalid', 'too-many-tries'] as const;

export function codeOf(problem: unknown): string {
  return problem instanceof Problem ? problem.code : 'other';
}

export function officialText(problem: unknown): TextKey {
  const code = codeOf(problem);
  const known = KNOWN.find((one) => one === code);
  return known ? `amt.problem.${known}` : problemText(code);
}
