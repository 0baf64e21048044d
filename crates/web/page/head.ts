// What every page has at its top: the button for the language and the link past it.

import { el } from './dom';
import { language, onLanguage, setText, useLanguage, type Language } from './texts';

export function wireLanguageButton(button: HTMLElement): void {
  const other = (): Language => (language() === 'de' ? 'en' : 'de');
  // The label is written in the language it leads to, and must be read in that language.
  const label = setText(el('span', { class: 'kern-label' }), 'language.switch');
  const mark = () => label.setAttribute('lang', other());
  mark();
  onLanguage(mark);
  button.append(label);
  button.addEventListener('click', () => void useLanguage(other()));
}

/** Moves the focus itself: following the link would overwrite the fragment, and with it the token. */
export function wireSkipLink(content: HTMLElement): void {
  document.querySelector('.skip')?.addEventListener('click', (event) => {
    event.preventDefault();
    content.focus();
  });
}

export function required(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page lacks #${id}`);
  return element;
}
