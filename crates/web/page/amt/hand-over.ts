// What is sent to somebody: the link, told once, to copy, as a calendar file and as a mail in their language.

import { el } from '../dom';
import { setText } from '../texts';
import { LANGUAGE_NAMES, button } from '../talk/office';
import type { Card, CardPerson, Office } from '../talk/view';
import { Field } from './fields';
import { invitation, type Invitation } from './invitation';

export type Invited = Pick<CardPerson, 'id' | 'name' | 'role' | 'language'> & { readonly join_url: string };

/** Those of a fresh card whose link was told with it. */
export function invited(card: Card): Invited[] {
  return card.people.flatMap((one) => (one.join_url ? [{ ...one, join_url: one.join_url }] : []));
}

/** Shows the links in `place` and moves the focus there. */
export async function handOver(office: Office, card: Pick<Card, 'id' | 'starts_at' | 'ends_at'>, people: readonly Invited[], place: HTMLElement): Promise<void> {
  const parts = await Promise.all(people.map(async (one) => part(one, await invitation(office, card, one))));
  const heading = setText(el('h3', { class: 'kern-heading-small', tabindex: '-1' }), 'edit.links');
  place.replaceChildren(el('section', { class: 'made' }, heading, setText(el('p', { class: 'kern-body' }), 'edit.links.once'), ...parts));
  heading.focus();
}

function part(one: Invited, { mail, subject, calendar }: Invitation): HTMLElement {
  const said = el('p', { class: 'kern-body', role: 'status', id: `copied-${one.id}` });
  const copied = (field: Field<HTMLInputElement | HTMLTextAreaElement>, id: string) => {
    field.control.readOnly = true;
    const copy = button(`copy-${id}-${one.id}`, 'create.copy', 'secondary', () => {
      field.control.select();
      return navigator.clipboard.writeText(field.control.value).then(() => setText(said, 'create.copied'), () => setText(said, 'check.copy.byhand'));
    });
    setText(copy.firstElementChild ?? copy, id === 'link' ? 'edit.copy.link' : 'edit.copy.mail');
    return copy;
  };
  const link = new Field(`link-${one.id}`, 'create.link', el('input', { class: 'kern-form-input__input' }));
  link.control.value = one.join_url;
  const text = new Field(`mail-${one.id}`, 'create.mail', el('textarea', { class: 'kern-form-input__input', rows: '7', lang: one.language?.slice(0, 2) ?? 'de' }));
  text.control.value = mail;
  const anchor = (id: string, href: string, key: 'create.ics' | 'edit.mailto', attributes: Record<string, string> = {}) =>
    el('a', { class: 'kern-btn kern-btn--secondary', id: `${id}-${one.id}`, href, ...attributes }, setText(el('span', { class: 'kern-label' }), key));
  const spoken = LANGUAGE_NAMES[one.language as keyof typeof LANGUAGE_NAMES];
  return el('section', { class: 'made__one', 'data-person': one.id },
    setText(el('h4', { class: 'kern-title' }), { key: 'talk.person', args: { name: one.name, why: { key: `role.${one.role}` } } }),
    ...(spoken ? [setText(el('p', { class: 'kern-body' }), { key: 'edit.language.is', args: { language: spoken } })] : []),
    link.element, el('div', { class: 'actions' }, copied(link, 'link'),
      anchor('ics', URL.createObjectURL(new Blob([calendar], { type: 'text/calendar' })), 'create.ics', { download: 'termin.ics' })),
    text.element, el('div', { class: 'actions' }, copied(text, 'mail'),
      anchor('mailto', `mailto:?subject=${encodeURIComponent(subject)}&body=${encodeURIComponent(mail.replace(/\n/g, '\r\n'))}`, 'edit.mailto')), said);
}
