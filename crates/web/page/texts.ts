// The words on the page: loaded from files, so that an office can replace them, and switchable while a call runs.

import type german from './texts/de.json';

export type TextKey = keyof typeof german;
export type Language = 'de' | 'en' | 'de-leicht';
const LANGUAGES: readonly Language[] = ['de', 'en', 'de-leicht'];

/** A text with its blanks filled; a blank can hold another text or a way to write something, which then follow the language too. */
export interface Message {
  readonly key: TextKey;
  readonly args?: Readonly<Record<string, string | Message | (() => string)>>;
}

const STORED = 'language';
const tables = new Map<Language, Record<string, string>>();
const shown = new WeakMap<Element, { text?: Message; label?: Message }>();
const listeners = new Set<() => void>();
let override: ((language: Language) => Promise<Record<string, string>>) | undefined;
let current: Language = 'de';
let title: Message | undefined;

export function language(): Language {
  return current;
}

/** German unless this person chose otherwise here before. */
export function preferredLanguage(): Language {
  return chosenBefore() ?? 'de';
}

function chosenBefore(): Language | undefined {
  try {
    return LANGUAGES.find((known) => known === localStorage.getItem(STORED));
  } catch {
    return undefined; // storage is switched off
  }
}

/** Loads a language if needed and rewrites every text on the page; `chosen` if a person asked for it, who then gets it next time. */
export async function useLanguage(next: Language, chosen = true): Promise<void> {
  await load(next);
  current = next;
  // Leichte Sprache is German, and has to be read out as German.
  document.documentElement.lang = next === 'de-leicht' ? 'de' : next;
  document.documentElement.dataset['language'] = next;
  try {
    if (chosen) localStorage.setItem(STORED, next);
  } catch {
    // the choice holds for this page only
  }
  for (const element of document.querySelectorAll('[data-text], [data-label]')) render(element);
  renderTitle();
  for (const listener of listeners) listener();
}

/** Speaks the language that the office knows of somebody, unless they chose one here. */
export async function offerLanguage(tag: string | null): Promise<void> {
  const known = LANGUAGES.find((language) => language === tag);
  if (known && known !== current && !chosenBefore()) await useLanguage(known, false);
}

/** Words of a language other than the page's, such as for a letter to somebody who reads that one. */
export async function wordsIn(language: Language): Promise<(message: Message | TextKey) => string> {
  const table = await load(language);
  return (message) => fill(message, table);
}

async function load(language: Language): Promise<Record<string, string>> {
  const known = tables.get(language);
  if (known) return known;
  const answer = await fetch(`assets/texts/${language}.json`);
  if (!answer.ok) throw new Error(`texts ${language}: ${answer.status}`);
  const table = { ...((await answer.json()) as Record<string, string>), ...(await override?.(language)) };
  tables.set(language, table);
  return table;
}

/** Where an office's own words come from; what it does not know keeps ours. Tables are loaded anew with it. */
export async function useOverrides(load: (language: Language) => Promise<Record<string, string>>): Promise<void> {
  override = load;
  tables.clear();
  await useLanguage(current, false);
}

/** Calls `listener` after each change of language. */
export function onLanguage(listener: () => void): void {
  listeners.add(listener);
}

/** A text that an office may have besides ours, in the language of now; without it `otherwise`. */
export function officesText(name: string, otherwise: string): string {
  return tables.get(current)?.[name] ?? otherwise;
}

export function translate(message: Message | TextKey): string {
  return fill(message, tables.get(current));
}

function fill(message: Message | TextKey, table: Readonly<Record<string, string>> | undefined): string {
  const { key, args } = typeof message === 'string' ? { key: message, args: undefined } : message;
  const template = table?.[key] ?? key;
  return template.replace(/\{(\w+)\}/g, (blank, name: string) => {
    const value = args?.[name];
    if (typeof value === 'function') return value();
    return value === undefined ? blank : typeof value === 'string' ? value : fill(value, table);
  });
}

/** Sets what an element says. */
export function setText<E extends Element>(element: E, message: Message | TextKey): E {
  remember(element, { text: typeof message === 'string' ? { key: message } : message });
  return element;
}

/** Sets an element's accessible name. */
export function setLabel<E extends Element>(element: E, message: Message | TextKey): E {
  remember(element, { label: typeof message === 'string' ? { key: message } : message });
  return element;
}

/** Empties an element and forgets its text. */
export function clearText(element: Element): void {
  shown.delete(element);
  element.removeAttribute('data-text');
  element.textContent = '';
}

export function setTitle(key: TextKey): void {
  title = { key };
  renderTitle();
}

function remember(element: Element, part: { text?: Message; label?: Message }): void {
  const all = { ...shown.get(element), ...part };
  shown.set(element, all);
  if (all.text) element.setAttribute('data-text', all.text.key);
  if (all.label) element.setAttribute('data-label', all.label.key);
  render(element);
}

function render(element: Element): void {
  const all = shown.get(element);
  const text = all?.text ?? keyOf(element, 'data-text');
  if (text) {
    const words = translate(text);
    if (element.textContent !== words) element.textContent = words; // an equal text must not be announced again
  }
  if (all?.label) element.setAttribute('aria-label', translate(all.label));
}

/** Elements written in HTML carry their key as an attribute only. */
function keyOf(element: Element, attribute: string): Message | undefined {
  const key = element.getAttribute(attribute);
  return key === null ? undefined : { key: key as TextKey };
}

function renderTitle(): void {
  const page = translate('document.title');
  document.title = title ? `${translate(title)} – ${page}` : page;
}
