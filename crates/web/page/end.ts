// The screen after a call, or after a call that could not begin.

import { el, setState, showScreen } from './dom';
import { setText, setTitle, type Message, type TextKey } from './texts';

/** How a call ended. */
export interface Outcome {
  readonly reason: TextKey;
  /** False when the call could not begin. */
  readonly succeeded: boolean;
  readonly mayRejoin: boolean;
  /** How long the person was connected, if ever. */
  readonly seconds?: number;
}

/** Shows the end; resolves when the person wants to join again. */
export function showEnd(content: HTMLElement, outcome: Outcome): Promise<void> {
  setState('ended');
  const heading: TextKey = outcome.succeeded ? 'end.title' : 'end.failed.title';
  setTitle(heading);
  const card = el(
    'section',
    { class: 'card' },
    setText(el('h1', { class: 'kern-heading-medium' }), heading),
    setText(el('p', { class: 'kern-body' }), outcome.reason),
  );
  if (outcome.seconds !== undefined) {
    card.append(setText(el('p', { class: 'kern-body' }), { key: 'end.duration', args: { duration: duration(outcome.seconds) } }));
  }
  if (outcome.succeeded) card.append(setText(el('p', { class: 'kern-body' }), 'end.close'));
  return new Promise((rejoin) => {
    if (outcome.mayRejoin) {
      const style = outcome.succeeded ? 'kern-btn--secondary' : 'kern-btn--primary';
      const button = el('button', { type: 'button', class: `kern-btn ${style}`, id: 'rejoin' }, setText(el('span', { class: 'kern-label' }), 'end.rejoin'));
      button.addEventListener('click', () => rejoin(), { once: true });
      card.append(el('div', { class: 'actions' }, button));
    }
    showScreen(content, card);
  });
}

function duration(seconds: number): Message {
  const minutes = Math.round(seconds / 60);
  if (minutes < 1) return { key: 'end.duration.short' };
  if (minutes === 1) return { key: 'end.duration.minute' };
  return { key: 'end.duration.minutes', args: { minutes: String(minutes) } };
}
