// The way through the page: link, device check, call, end, and back into the call.

import { runCall } from './call';
import { showEnd } from './end';
import { readLink, type Link } from './link';
import { showPrejoin } from './prejoin';
import { showStart } from './start';
import { required, wireLanguageButton, wireSkipLink } from './head';
import { preferredLanguage, useLanguage } from './texts';

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

void main();
