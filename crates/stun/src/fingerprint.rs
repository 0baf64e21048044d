//! FINGERPRINT (RFC 8489 §14.7).

use crate::{ATTRIBUTE_HEAD, HEADER_LEN};

/// What FINGERPRINT is combined with, so that another CRC-32 in the packet doesn't pass for one (RFC 8489 §14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// The value of FINGERPRINT over a message up to it, whose end the length field must pretend to be.
pub(crate) fn fingerprint(before: &[u8]) -> [u8; 4] {
    let len = (before.len() - HEADER_LEN + ATTRIBUTE_HEAD + 4) as u16;
    let mut crc = !0;
    crc = crc32_update(crc, &before[..2]);
    crc = crc32_update(crc, &len.to_be_bytes());
    crc = crc32_update(crc, &before[4..]);
    (!crc ^ FINGERPRINT_XOR).to_be_bytes()
}

/// CRC-32 of ITU-T V.42, one table step a byte: checks are a hundred bytes and rare, so no faster one is worth its code.
fn crc32_update(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        (crc >> 8) ^ CRC32[usize::from(crc as u8 ^ byte)]
    })
}

const CRC32: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};
