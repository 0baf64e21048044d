// The screen for somebody who came without a usable link.

import { el, setState, showScreen } from './dom';
import type { LinkProblem } from './link';
import { setText, setTitle } from './texts';

export function showStart(content: HTMLElement, problem: LinkProblem): void {
  setState('start');
  setTitle('start.title');
  const card = el('section', { class: 'card' }, setText(el('h1', { class: 'kern-heading-medium' }), 'start.title'));
  if (problem !== 'nothing') card.append(setText(el('p', { class: 'kern-body notice' }), `start.${problem}`));
  card.append(
    setText(el('p', { class: 'kern-body' }), 'start.nothing'),
    setText(el('p', { class: 'kern-body' }), 'start.how'),
  );
  showScreen(content, card);
}
