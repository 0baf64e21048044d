// The symbols of the controls: strokes on a 24 × 24 field, decoration beside a text that says the same.

const PATHS = {
  microphone: ['M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3z', 'M6 11a6 6 0 0 0 12 0', 'M12 17v4', 'M9 21h6'],
  'microphone-off': ['M15 9V6a3 3 0 0 0-5.9-.8', 'M9 9v2a3 3 0 0 0 4.6 2.5', 'M6 11a6 6 0 0 0 9.6 4.8', 'M18 11a6 6 0 0 1-.4 2.2', 'M12 17v4', 'M9 21h6', 'M4 3l16 18'],
  camera: ['M4 7h10a1 1 0 0 1 1 1v8a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V8a1 1 0 0 1 1-1z', 'M15 11l6-3.5v9L15 13'],
  'camera-off': ['M9 7h5a1 1 0 0 1 1 1v5', 'M13 17H4a1 1 0 0 1-1-1V8a1 1 0 0 1 1-1', 'M15 11l6-3.5v9l-3-1.8', 'M4 3l16 18'],
  screen: ['M4 5h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1z', 'M8 21h8', 'M12 14V8', 'M9 10.5L12 8l3 2.5'],
  'screen-off': ['M4 5h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1z', 'M8 21h8', 'M9.5 8.5l5 5', 'M14.5 8.5l-5 5'],
  text: ['M4 5h16a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1h-9l-5 4v-4H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1z', 'M7 9h10', 'M7 12h6'],
  locked: ['M6 11h12a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1z', 'M8 11V8a4 4 0 0 1 8 0v3', 'M12 15v2'],
  unlocked: ['M6 11h12a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1z', 'M8 11V8a4 4 0 0 1 7.8-1.3', 'M12 15v2'],
  pin: ['M9 4h6', 'M10 4v6l-3 3v1h10v-1l-3-3V4', 'M12 14v6'],
  leave: ['M10 4H5a1 1 0 0 0-1 1v14a1 1 0 0 0 1 1h5', 'M9 12h11', 'M16 8l4 4-4 4'],
} as const;

export type IconName = keyof typeof PATHS;

const SVG = 'http://www.w3.org/2000/svg';

/** Draws a symbol that assistive technology skips. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', 'icon');
  for (const d of PATHS[name]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}
