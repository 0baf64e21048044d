// The two pages of the consultation share one bundle: `/termin` for citizens, `/amt` for officials.

import { amt } from './amt/amt';
import { required, wireSkipLink } from './head';
import { wireLanguages } from './talk/office';
import { termin } from './termin/termin';
import { preferredLanguage, useLanguage } from './texts';

async function main(): Promise<void> {
  const content = required('content');
  await useLanguage(preferredLanguage(), false);
  wireLanguages(required('language') as HTMLSelectElement, ['de', 'en', 'de-leicht']);
  wireSkipLink(content);
  // A link opened in a window that shows this page already changes the fragment only.
  window.addEventListener('hashchange', () => location.reload());
  if (document.documentElement.dataset['page'] === 'amt') await amt(content, location.hash);
  else await termin(content, location.hash.slice(1));
}

void main();
