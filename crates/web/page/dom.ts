// Makes elements. Text enters a page through `textContent` only, so that a name is never markup.

export type Child = Node | string;

/** Creates an element with attributes and children; strings become text nodes. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export type PageState = 'start' | 'prejoin' | 'waiting' | 'day' | 'connecting' | 'connected' | 'reconnecting' | 'ended';

/** States where the page is; styles and tests read it. */
export function setState(state: PageState): void {
  document.documentElement.dataset['state'] = state;
}

/** Replaces the screen and moves the focus to its heading, so that a screen reader starts there. */
export function showScreen(content: HTMLElement, screen: HTMLElement): void {
  content.replaceChildren(screen);
  const heading = screen.querySelector('h1');
  heading?.setAttribute('tabindex', '-1');
  heading?.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}
