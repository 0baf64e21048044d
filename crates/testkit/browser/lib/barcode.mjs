// A machine-readable picture: a two-row strip along the top sixth of a frame, 24 cells a row.
// 48 bits = sync 1011 | sender (8) | value (28: a frame number or milliseconds) | CRC-8 (8).
// The layout is relative to the frame, so it survives down-scaling and re-encoding. Works in Node and in a page.
export const COLS = 24;
export const ROWS = 2;
export const STRIP = 1 / 6;
export const VALUE_MOD = 2 ** 28;

function crc8(bytes) {
  let c = 0;
  for (const byte of bytes) {
    c ^= byte;
    for (let i = 0; i < 8; i++) c = c & 0x80 ? ((c << 1) ^ 0x07) & 0xff : (c << 1) & 0xff;
  }
  return c;
}

export function encodeBits(id, value) {
  const v = Math.floor(value) % VALUE_MOD;
  const bytes = [0xb0 | ((id >> 4) & 0xf), ((id & 0xf) << 4) | ((v >>> 24) & 0xf), (v >>> 16) & 255, (v >>> 8) & 255, v & 255];
  bytes.push(crc8(bytes));
  return bytes.flatMap((byte) => [7, 6, 5, 4, 3, 2, 1, 0].map((i) => (byte >> i) & 1));
}

/** `{ id, value }`, or null where sync or checksum do not match. */
export function decodeBits(bits) {
  const bytes = Array.from({ length: 6 }, (_, i) => bits.slice(i * 8, i * 8 + 8).reduce((b, bit) => (b << 1) | bit, 0));
  if (bytes[0] >> 4 !== 0xb || crc8(bytes.slice(0, 5)) !== bytes[5]) return null;
  return { id: ((bytes[0] & 0xf) << 4) | (bytes[1] >> 4), value: (bytes[1] & 0xf) * 2 ** 24 + ((bytes[2] << 16) | (bytes[3] << 8) | bytes[4]) };
}

export function drawBarcode(context, width, height, id, value) {
  const cellHeight = (height * STRIP) / ROWS;
  const cellWidth = width / COLS;
  encodeBits(id, value).forEach((bit, i) => {
    context.fillStyle = bit ? '#fff' : '#000';
    context.fillRect(Math.round((i % COLS) * cellWidth), Math.round(Math.floor(i / COLS) * cellHeight), Math.ceil(cellWidth), Math.ceil(cellHeight));
  });
}

const CELL = 8; // pixels a cell is scaled to before its middle is read
let scratch;

/** Reads the strip of a video or canvas. */
export function readBarcode(source, width = source.videoWidth ?? source.width, height = source.videoHeight ?? source.height) {
  if (!width || !height) return null;
  if (!scratch) {
    const canvas = Object.assign(document.createElement('canvas'), { width: COLS * CELL, height: ROWS * CELL });
    scratch = canvas.getContext('2d', { willReadFrequently: true });
  }
  scratch.drawImage(source, 0, 0, width, height * STRIP, 0, 0, COLS * CELL, ROWS * CELL);
  const { data } = scratch.getImageData(0, 0, COLS * CELL, ROWS * CELL);
  const bits = [];
  for (let row = 0; row < ROWS; row++) {
    for (let col = 0; col < COLS; col++) {
      let sum = 0;
      for (let y = 3; y < 5; y++) for (let x = 3; x < 5; x++) sum += data[((row * CELL + y) * COLS * CELL + col * CELL + x) * 4 + 1];
      bits.push(sum / 4 > 127 ? 1 : 0);
    }
  }
  return decodeBits(bits);
}
