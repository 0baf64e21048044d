// Keeps the faces in sight: tiles as large as fit at the top of a call, and small in one row once they would be scrolled away, or where text is
// written on a narrow screen. Nobody's picture is then paused for being out of sight, and who reads sees who speaks.

import { el } from './dom';
import { arrange } from './layout';

/** As in the stylesheet. */
const NARROW = matchMedia('(max-width: 40rem)');
/** What of the first row must be left before the faces are moved to the top, in CSS pixels. */
const LEAST_SEEN = 24;
/** What a row of small faces takes of the height at most. */
const STRIP_SHARE = 0.18;
const STRIP_GAP = 4;
const RATIO = 16 / 9;

export class Faces {
  readonly element: HTMLElement;
  readonly #tiles: HTMLElement;
  readonly #writing: () => boolean;
  readonly #move = () => this.#follow();
  readonly #size = () => this.arrange(this.#below);
  #below: readonly HTMLElement[] = [];
  /** How far the end of the first row is from the beginning of the element, when the tiles had their full size. */
  #firstRow = 0;

  /** `writing` tells whether the pane for text is open. */
  constructor(tiles: HTMLElement, writing: () => boolean) {
    [this.#tiles, this.#writing] = [tiles, writing];
    this.element = el('div', { class: 'faces' }, tiles);
    window.addEventListener('scroll', this.#move, { passive: true });
    window.addEventListener('resize', this.#size);
  }

  /** Sizes the tiles anew, so that `below` fits under them where there is room. */
  arrange(below: readonly HTMLElement[]): void {
    this.#below = below;
    const strip = NARROW.matches && this.#writing();
    this.element.toggleAttribute('data-strip', strip);
    if (strip) this.#dock(false);
    if (strip || this.#docked) return this.#row();
    document.documentElement.style.scrollPaddingTop = '';
    // What sticks to the top of the window moves on the page: what it sticks in does not.
    const sticks = getComputedStyle(this.element).position === 'sticky';
    arrange(this.#tiles, below, (sticks && this.element.parentElement) || this.#tiles);
    this.#follow();
  }

  end(): void {
    window.removeEventListener('scroll', this.#move);
    window.removeEventListener('resize', this.#size);
    document.documentElement.style.scrollPaddingTop = '';
  }

  get #docked(): boolean {
    return this.element.hasAttribute('data-docked');
  }

  #follow(): void {
    if (this.element.hasAttribute('data-strip')) return;
    const top = this.element.getBoundingClientRect().top;
    if (!this.#docked) {
      const ends = [...this.#tiles.children].map((tile) => tile.getBoundingClientRect().bottom);
      this.#firstRow = ends.length > 0 ? Math.min(...ends) - top : Infinity;
    }
    const gone = top + this.#firstRow < LEAST_SEEN;
    if (gone === this.#docked) return;
    this.#dock(gone);
    if (gone) this.#row();
    else this.arrange(this.#below);
  }

  /** What the tiles leave stays free, so that nothing below jumps. */
  #dock(yes: boolean): void {
    if (yes) this.element.style.minHeight = `${this.element.offsetHeight}px`;
    this.element.toggleAttribute('data-docked', yes);
    if (!yes) this.element.style.minHeight = '';
  }

  #row(): void {
    const count = Math.max(1, this.#tiles.children.length);
    const style = getComputedStyle(this.#tiles);
    const width = this.#tiles.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const each = Math.min((width - (count - 1) * STRIP_GAP) / count, window.innerHeight * STRIP_SHARE * RATIO);
    this.#tiles.style.setProperty('--tile-width', `${Math.floor(each)}px`);
    // What has the focus must not lie under the row.
    document.documentElement.style.scrollPaddingTop = `${this.#tiles.offsetHeight + 8}px`;
  }
}
