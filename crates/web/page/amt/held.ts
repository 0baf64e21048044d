// A change is of the version that somebody saw. What moved on besides, such as somebody who began to wait, doesn't stop it; what they decided by does.

import { ask, call } from '../talk/api';
import type { Card, CardPerson } from '../talk/view';
import { codeOf } from './problems';

/** Times that a change is sent anew because something else moved on. */
const TRIES = 5;

/** Sends a change of `seen`, as often as only other things than it is about moved on: `same` says whether what it is about is as it was seen. */
export async function held<T>(seen: Card, same: (now: Card) => boolean, method: string, path: string, body?: unknown): Promise<T> {
  let { version } = seen;
  for (let tries = 1; ; tries++) {
    try {
      return await call<T>(method, `appointments/${seen.id}${path}`, body, { 'if-match': `"${version}"` });
    } catch (problem) {
      if (codeOf(problem) !== 'stale' || tries >= TRIES) throw problem;
      const now = await ask<Card>(`appointments/${seen.id}`);
      if (!same(now)) throw problem;
      ({ version } = now);
    }
  }
}

/** Whether somebody is as they were seen, as far as the plan tells of them. */
export function samePerson(one: CardPerson): (now: Card) => boolean {
  return ({ people }) => people.some((now) => now.id === one.id && now.name === one.name && now.role === one.role && now.language === one.language && now.linked_to === one.linked_to && now.link === one.link);
}

/** Whether there are the same people. */
export function samePeople(card: Card): (now: Card) => boolean {
  return ({ people }) => people.length === card.people.length && people.every(({ id }, place) => id === card.people[place]?.id);
}
