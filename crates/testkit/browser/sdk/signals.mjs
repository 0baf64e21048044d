// Tones and pictures as raw samples, for a client without a canvas: made, and recognised again after decoding.
import { COLS, ROWS, STRIP, VALUE_MOD, decodeBits, encodeBits } from '../lib/barcode.mjs';

export const RATE = 48_000;
/** Samples a tone is measured over. */
export const WINDOW = RATE / 5;

function* cells(width, height) {
  const [w, h] = [width / COLS, (height * STRIP) / ROWS];
  for (let i = 0; i < COLS * ROWS; i++) {
    const [col, row] = [i % COLS, Math.floor(i / COLS)];
    yield [Math.round(col * w), Math.round(row * h), Math.round((col + 1) * w), Math.round((row + 1) * h)];
  }
}

/** An RGBA picture of one colour with the sender's barcode and something that moves. */
export function paint(width, height, [red, green, blue], sender) {
  const pixels = new Uint32Array(width * height).fill((255 << 24) | (blue << 16) | (green << 8) | red);
  const fill = (left, top, right, bottom, value) => {
    for (let y = top; y < bottom; y++) pixels.fill(value, y * width + left, y * width + right);
  };
  const now = Date.now();
  const shift = Math.floor(now / 20) % (width - 40);
  fill(shift, Math.floor((height * 3) / 4), shift + 40, Math.floor((height * 7) / 8), 0xffffffff);
  const bits = encodeBits(sender, now);
  let i = 0;
  for (const [left, top, right, bottom] of cells(width, height)) fill(left, top, right, bottom, bits[i++] ? 0xffffffff : 0xff000000);
  return new Uint8Array(pixels.buffer);
}

/** `{ id, value }` of an RGBA picture, or null. */
export function readPicture(data, width, height) {
  const bits = [];
  for (const [left, top, right, bottom] of cells(width, height)) {
    const [x, y] = [Math.floor((left + right) / 2), Math.floor((top + bottom) / 2)];
    let sum = 0;
    for (let dy = -1; dy < 1; dy++) for (let dx = -1; dx < 1; dx++) sum += data[((y + dy) * width + x + dx) * 4 + 1];
    bits.push(sum / 4 > 127 ? 1 : 0);
  }
  return decodeBits(bits);
}

/** Mean colour of the middle of an RGBA picture. */
export function middleColour(data, width, height) {
  const sum = [0, 0, 0];
  let count = 0;
  for (let y = Math.floor(height / 3); y < (height * 2) / 3; y += 2) {
    for (let x = Math.floor(width / 3); x < (width * 2) / 3; x += 2) {
      for (let c = 0; c < 3; c++) sum[c] += data[(y * width + x) * 4 + c];
      count++;
    }
  }
  return sum.map((value) => Math.round(value / count));
}

/** The strongest frequency of 100–2000 Hz and the level of a window of samples (−1 to 1). */
export function dominant(samples) {
  let [best, hz] = [0, 0];
  const step = RATE / samples.length;
  const shaped = samples.map((sample, i) => sample * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / samples.length)));
  for (let candidate = 100; candidate <= 2_000; candidate += step) {
    const k = 2 * Math.cos((2 * Math.PI * candidate) / RATE); // Goertzel
    let [a, b] = [0, 0];
    for (const sample of shaped) [a, b] = [sample + k * a - b, a];
    const power = a * a + b * b - k * a * b;
    if (power > best) [best, hz] = [power, candidate];
  }
  return { hz, rms: Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length) };
}

export { VALUE_MOD };
