// What an office makes of the page: its name, logo, colours, words, help line and links. Everything is text or an <img>.

import { el } from '../dom';
import { language, onLanguage, setLabel, setText, useLanguage, useOverrides, type Language, type TextKey } from '../texts';
import { ask, Problem } from './api';
import type { Office } from './view';

/** WCAG 2.1, 1.4.3: what normal text needs. Colours below it are not used at all. */
export const LOWEST_CONTRAST = 4.5;
export const LANGUAGE_NAMES: Readonly<Record<Language, string>> = { de: 'Deutsch', en: 'English', 'de-leicht': 'Leichte Sprache' };
const WHITE = '#ffffff';

let shown: string | undefined;

/** Dresses the page in an office's own; asking twice for the same changes nothing. */
export async function useOffice(office: Office): Promise<void> {
  if (shown === office.id) return;
  shown = office.id;
  setText(place('office-name'), { key: 'office.name', args: { name: office.name } });
  const logo = place('office-logo') as HTMLImageElement;
  if (office.theme.logo_url) logo.src = new URL(office.theme.logo_url, location.href).href;
  logo.hidden = !office.theme.logo_url;
  help(office);
  links(office);
  colours(office.theme.colours?.primary ?? undefined, office.theme.colours?.on_primary ?? undefined);
  wireLanguages(place('language') as HTMLSelectElement, office.languages);
  await useOverrides((next) => ask<Record<string, string>>(`texts/${next}?authority=${encodeURIComponent(office.id)}`).catch(() => ({})));
}

function place(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page lacks #${id}`);
  return element;
}

/** An office without a number has no title that leads nowhere. */
function help({ help: { phone, text } }: Office): void {
  const line = phone ? [setText(el('span'), 'help.title'), ' ', call(phone)] : [];
  place('help').replaceChildren(...line, ...(text ? [el('span', { class: 'help__text' }, text)] : []));
}

/**
 * Help stands in its place before it is known whose appointment it is, and if that never comes to be known. Where there is one office only it
 * (or named in the page's address, as frames do) it is known from the start, with its name and looks; of several, each line is shown: nothing
 * but the link says which of them it is.
 */
export async function whereToAsk(): Promise<void> {
  const authority = new URLSearchParams(location.search).get('authority');
  try {
    const office = await ask<Office>(`office${authority ? `?authority=${encodeURIComponent(authority)}` : ''}`);
    if (shown === undefined) await useOffice(office); // what the link said meanwhile is surer
  } catch (problem) {
    const offices = problem instanceof Problem ? problem.body['offices'] : undefined;
    if (Array.isArray(offices)) helpOfAll(offices as { name: string; phone: string }[]);
  }
}

/** So many lines stand in a row; more unfold. */
const MOST_LINES = 3;

function helpOfAll(offices: readonly { readonly name: string; readonly phone: string }[]): void {
  const reachable = offices.filter(({ phone }) => phone !== '');
  if (shown !== undefined || reachable.length === 0) return;
  const lines = reachable.map(({ name, phone }) => el('li', {}, `${name}: `, call(phone)));
  const list = el('ul', { class: 'help__all' }, ...lines);
  const title = setText(el('span'), 'help.title');
  place('help').replaceChildren(...(reachable.length <= MOST_LINES ? [title, list] : [el('details', {}, el('summary', {}, title), list)]));
}

function call(phone: string): HTMLElement {
  return el('a', { class: 'kern-link', href: `tel:${phone.replace(/[^+\d]/g, '')}` }, phone);
}

function links(office: Office): void {
  const items: HTMLElement[] = [];
  for (const name of ['imprint', 'privacy', 'accessibility', 'feedback'] as const) {
    const target = office.links[name];
    const href = target && safe(name === 'feedback' && !/^\w+:/.test(target) ? `mailto:${target}` : target);
    // A mail is written in a program of its own: only pages open a tab, and that is said.
    const tab = !!href && /^https?:/.test(href);
    if (href) items.push(el('li', {}, el('a', { class: 'kern-link', href, ...(tab ? { rel: 'noopener', target: '_blank' } : {}) }, setText(el('span'), `link.${name}`), ...(tab ? [' ', setText(el('span', { class: 'kern-sr-only' }), 'link.newtab')] : []))));
  }
  place('links').replaceChildren(...items);
}

/** A link may lead to a page or a mail address; nothing else is worth being pressed, and `javascript:` least of all. */
function safe(target: string): string | undefined {
  try {
    const url = new URL(target, location.href);
    return ['https:', 'http:', 'mailto:', 'tel:'].includes(url.protocol) ? url.href : undefined;
  } catch {
    return undefined;
  }
}

export function wireLanguages(select: HTMLSelectElement, offered: readonly string[]): void {
  const known = (Object.keys(LANGUAGE_NAMES) as Language[]).filter((name) => offered.includes(name));
  select.replaceChildren(...known.map((name) => el('option', { value: name, lang: name === 'en' ? 'en' : 'de' }, LANGUAGE_NAMES[name])));
  setLabel(select, 'language.choose');
  const follow = () => (select.value = language());
  follow();
  if (!select.dataset['wired']) {
    select.dataset['wired'] = '';
    onLanguage(follow);
    select.addEventListener('change', () => void useLanguage(select.value as Language));
  }
}

/** An office's colours for what one presses; kept only where they can be read. In the dark KERN's own colours stay. */
function colours(primary: string | undefined, on: string = WHITE): void {
  const style = document.documentElement.style;
  const names = ['--office-primary', '--office-on-primary'] as const;
  for (const name of names) style.removeProperty(name);
  delete document.documentElement.dataset['office'];
  const readable = primary && contrast(primary, on) >= LOWEST_CONTRAST && contrast(primary, WHITE) >= LOWEST_CONTRAST;
  if (!readable) {
    if (primary) console.warn('the colours of this office have too little contrast and are not used');
    return;
  }
  style.setProperty(names[0], primary);
  style.setProperty(names[1], on);
  document.documentElement.dataset['office'] = '';
}

/** The contrast of two `#rrggbb` colours (WCAG 2.1, 1.4.3); 0 for what is no colour. */
export function contrast(one: string, other: string): number {
  const [a, b] = [luminance(one), luminance(other)];
  if (a === undefined || b === undefined) return 0;
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

function luminance(colour: string): number | undefined {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(colour);
  if (!match) return undefined;
  const [r = 0, g = 0, b = 0] = match.slice(1).map((part) => {
    const value = parseInt(part, 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** A time as people at the office read it. */
export function timeIn(office: Office, time: string): string {
  return new Date(time).toLocaleTimeString(locale(), { hour: '2-digit', minute: '2-digit', timeZone: office.time_zone });
}

export function dateIn(office: Office, time: string): string {
  return new Date(time).toLocaleDateString(locale(), { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric', timeZone: office.time_zone });
}

/** A day with its time, on the clock of whoever reads: for when no office is known yet. */
export function instant(time: string): string {
  return new Date(time).toLocaleString(locale(), { dateStyle: 'full', timeStyle: 'short' });
}

function locale(): string {
  return language() === 'en' ? 'en-GB' : 'de-DE';
}

export function button(id: string, key: TextKey, style: 'primary' | 'secondary' | 'tertiary', act?: () => unknown): HTMLButtonElement {
  const made = el('button', { type: 'button', id, class: `kern-btn kern-btn--${style}` }, setText(el('span', { class: 'kern-label' }), key));
  if (act) made.addEventListener('click', () => void act());
  return made;
}

export function alertBox(kind: 'info' | 'success' | 'warning' | 'danger', title: Node | TextKey, ...body: Node[]): HTMLElement {
  const words = el('span', { class: 'kern-title' });
  if (typeof title === 'string') setText(words, title);
  else words.append(title);
  return el('div', { class: `kern-alert kern-alert--${kind}` },
    el('div', { class: 'kern-alert__header' }, el('span', { class: `kern-icon kern-icon--${kind}`, 'aria-hidden': 'true' }), words),
    ...(body.length > 0 ? [el('div', { class: 'kern-alert__body' }, ...body)] : []));
}
