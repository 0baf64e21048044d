"""The barcode of a picture (lib/barcode.mjs): its sender and when it was made."""

COLS, ROWS, STRIP, VALUE_MOD = 24, 2, 1 / 6, 2**28


def crc8(data):
    c = 0
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = ((c << 1) ^ 0x07) & 0xFF if c & 0x80 else (c << 1) & 0xFF
    return c


def encode_bits(sender, value):
    data = (0xB << 36 | sender << 28 | value % VALUE_MOD).to_bytes(5, "big")
    data += bytes([crc8(data)])
    return [(byte >> i) & 1 for byte in data for i in range(7, -1, -1)]


def decode_bits(bits):
    data = bytes(int("".join(map(str, bits[i : i + 8])), 2) for i in range(0, 48, 8))
    if data[0] >> 4 != 0xB or crc8(data[:5]) != data[5]:
        return None
    whole = int.from_bytes(data[:5], "big")
    return (whole >> 28) & 0xFF, whole % VALUE_MOD


def cells(width, height):
    """The pixels of each cell: left, top, right, bottom."""
    w, h = width / COLS, height * STRIP / ROWS
    for i in range(COLS * ROWS):
        col, row = i % COLS, i // COLS
        yield round(col * w), round(row * h), round((col + 1) * w), round((row + 1) * h)


def read_barcode(picture):
    height, width = picture.shape[:2]
    bits = []
    for left, top, right, bottom in cells(width, height):
        x, y = (left + right) // 2, (top + bottom) // 2
        bits.append(int(int(picture[y, x, 1]) + int(picture[y - 1, x - 1, 1]) > 254))
    return decode_bits(bits)
