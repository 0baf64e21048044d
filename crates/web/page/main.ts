// The way through the page: link, device check, call, end, and back into the call.

import { runCall } from './call';
import { showEnd } from './end';
import { readLink, type Link } from './link';
import { showPrejoin } from './prejoin';
import { showStart } from './start';
import { language, onLanguage, preferredLanguage, setText, useLanguage, type Language } from './texts';
import { el } from './dom';

async function main(): Promise<void> {
  const content = required('content');
  await useLanguage(preferredLanguage());
  wireLanguageButton(required('language'));
  wireSkipLink(content);
  // A link opened in a window that shows this page already changes the fragment only.
  window.addEventListener('hashchange', () => location.reload());
  const link = readLink(location.hash);
  if (typeof link === 'string') showStart(content, link);
  else await consult(content, link);
}

async function consult(content: HTMLElement, link: Link): Promise<void> {
  let entry = await showPrejoin(content, link);
  for (;;) {
    const { outcome, next } = await runCall(content, link, entry);
    await showEnd(content, outcome);
    entry = next;
  }
}

function wireLanguageButton(button: HTMLElement): void {
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
function wireSkipLink(content: HTMLElement): void {
  document.querySelector('.skip')?.addEventListener('click', (event) => {
    event.preventDefault();
    content.focus();
  });
}

function required(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html lacks #${id}`);
  return element;
}

void main();
