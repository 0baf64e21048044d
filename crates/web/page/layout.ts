// How large tiles are: as large as all of them can be without scrolling, but never too small to see a face.

const GAP = 8;
const RATIO = 16 / 9;
/** Below this a face, and a signing hand even more, cannot be made out; the page scrolls instead. In rem: who has text twice as large needs faces so, too, and names and buttons on a tile grow with the text. */
const SMALLEST = 9;
const SMALLEST_SCREEN = 17.5;
/** What a shared screen takes of the height, because it is there to be read. */
const SCREEN_SHARE = 0.68;

/** Sizes the tiles in `area`, so that `below` fits under them. `place` is where they stand on the page, wherever one has scrolled to. */
export function arrange(area: HTMLElement, below: readonly HTMLElement[], place: HTMLElement = area): void {
  const style = getComputedStyle(area);
  const width = area.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const top = place.getBoundingClientRect().top + window.scrollY;
  const height = window.innerHeight - top - below.reduce((sum, part) => sum + part.offsetHeight, 0) - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const [smallest, smallestScreen] = [Math.min(SMALLEST * rem, width), Math.min(SMALLEST_SCREEN * rem, width)];
  const screens = area.querySelectorAll('[data-source="screen_share"]').length;
  const pinned = area.querySelectorAll('[data-pinned]').length;
  const people = area.children.length - screens - pinned;
  // Each screen has a row of its own.
  const screen = screens === 0 ? 0 : Math.max(largest(1, width, (height * SCREEN_SHARE) / screens, smallest), smallestScreen);
  // What is pinned shares one row: side by side while two fit, as large as a screen would be.
  const columns = width >= 2 * SMALLEST_SCREEN * rem ? pinned : Math.min(pinned, 1);
  const large = pinned === 0 ? 0 : Math.max(smallest, Math.min((width - (columns - 1) * GAP) / columns, height * SCREEN_SHARE * RATIO));
  const rest = pinned === 0 ? 0 : large / RATIO + GAP;
  const person = largest(people, width, height - screens * (screen / RATIO + GAP) - rest, smallest);
  area.style.setProperty('--pinned-width', `${Math.floor(large)}px`);
  area.style.setProperty('--screen-width', `${Math.floor(screen)}px`);
  area.style.setProperty('--tile-width', `${Math.floor(person)}px`);
}

/** The greatest width at which `count` tiles fit into a box, and no less than `smallest`. */
function largest(count: number, width: number, height: number, smallest: number): number {
  let best = smallest;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const across = (width - (columns - 1) * GAP) / columns;
    const down = ((height - (rows - 1) * GAP) / rows) * RATIO;
    best = Math.max(best, Math.min(across, down));
  }
  return best;
}
