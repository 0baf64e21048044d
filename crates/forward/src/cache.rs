//! The retransmission cache of one encoding: every packet's plaintext once, for first sends and resends alike.
//!
//! A byte ring for payloads and extension elements, written front to back, and a ring of [`Stored`] entries by
//! sequence number. A packet is found as long as neither ring has come round. Also answers whether a sequence
//! number was seen before.

use schalter_model::Time;

use crate::frame::Place;
use crate::settings::CacheSize;

/// Number of extension elements that pass from publisher to subscriber.
pub(crate) const PASSED_KINDS: usize = 4;

/// Which extension element; its number is its place in a consumer's id table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PassedKind {
    AudioLevel = 0,
    VideoOrientation = 1,
    AbsCaptureTime = 2,
    DependencyDescriptor = 3,
}

/// Room for the elements of one packet: a descriptor of at most 255 bytes and the three short ones.
const MAX_ELEMENTS_LEN: usize = 320;

/// The elements of one packet that subscribers may want, as kind, length, value.
#[derive(Debug)]
pub(crate) struct PassedElements {
    bytes: [u8; MAX_ELEMENTS_LEN],
    len: usize,
}

impl PassedElements {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; MAX_ELEMENTS_LEN],
            len: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends an element; one that does not fit (repeated elements) is left out.
    pub(crate) fn push(&mut self, kind: PassedKind, value: &[u8]) {
        let end = self.len + 2 + value.len();
        let Ok(len) = u8::try_from(value.len()) else {
            return;
        };
        if let Some(slot) = self.bytes.get_mut(self.len..end) {
            slot[0] = kind as u8;
            slot[1] = len;
            slot[2..].copy_from_slice(value);
            self.len = end;
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Walks over elements as [`PassedElements`] laid them out: index into an id table, value.
#[inline]
pub(crate) fn passed_elements(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let [kind, len, tail @ ..] = rest else {
            return None;
        };
        let (value, after) = tail.split_at_checked(usize::from(*len))?;
        rest = after;
        Some((usize::from(*kind) % PASSED_KINDS, value))
    })
}

/// Where the running numbers of a packet are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Numbering {
    #[default]
    None,
    /// Payload descriptor of RFC 7741. Receivers want ids without gaps.
    Vp8,
    /// Payload descriptor of RFC 9628. References are by distance of ids, so that gaps stay.
    Vp9,
    /// Dependency descriptor. References are by distance of frame numbers, so that gaps stay.
    Descriptor,
}

/// What is known of a cached packet beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// Unwrapped source sequence number; 0 is an empty slot.
    pub(crate) seq: u64,
    /// When it came.
    pub(crate) arrived: Time,
    /// Where its bytes start, counted from the first byte ever stored.
    pub(crate) at: u64,
    pub(crate) timestamp: u32,
    pub(crate) elements_len: u16,
    pub(crate) payload_len: u16,
    /// Where the primary block starts inside a RED payload (RFC 2198).
    pub(crate) red_primary_at: u16,
    /// Which of its running numbers are rewritten.
    pub(crate) numbering: Numbering,
    /// VP8 or VP9 picture id, or the dependency descriptor's frame number.
    pub(crate) picture_id: Option<u16>,
    /// VP8 or VP9 base layer index.
    pub(crate) tl0picidx: Option<u8>,
    /// Where it lies in the structure of its encoding.
    pub(crate) place: Place,
    /// Index into the producer's formats.
    pub(crate) format: u8,
    pub(crate) marker: bool,
    /// Decoding can start here; for audio, always.
    pub(crate) starts: bool,
    /// Came while the track was muted: known, but nobody's.
    pub(crate) withheld: bool,
}

impl Stored {
    pub(crate) const EMPTY: Self = Self {
        seq: 0,
        arrived: Time::ZERO,
        at: 0,
        timestamp: 0,
        elements_len: 0,
        payload_len: 0,
        red_primary_at: 0,
        numbering: Numbering::None,
        picture_id: None,
        tl0picidx: None,
        place: Place {
            frame: 0,
            ends_frame: false,
        },
        format: 0,
        marker: false,
        starts: false,
        withheld: false,
    };
}

/// Both rings of one encoding. Empty (no memory) until the first packet.
#[derive(Debug)]
pub(crate) struct PacketCache {
    entries: Box<[Stored]>,
    bytes: Box<[u8]>,
    /// Bytes ever written, with what was skipped at the ring's end.
    written: u64,
    size: CacheSize,
}

impl PacketCache {
    pub(crate) fn new(size: CacheSize) -> Self {
        let size = CacheSize {
            packets: size.packets.clamp(64, 16_384).next_power_of_two(),
            bytes: size.bytes.max(4_096),
        };
        Self {
            entries: Box::default(),
            bytes: Box::default(),
            written: 0,
            size,
        }
    }

    /// How many sequence numbers back a packet can be found.
    pub(crate) fn window(&self) -> u64 {
        self.size.packets as u64
    }

    #[inline]
    fn index(&self, seq: u64) -> usize {
        seq as usize & (self.size.packets - 1)
    }

    /// Whether this sequence number was stored, its bytes kept or not.
    #[inline]
    pub(crate) fn has_seen(&self, seq: u64) -> bool {
        self.entries
            .get(self.index(seq))
            .is_some_and(|stored| stored.seq == seq)
    }

    /// Stores a packet and answers its entry with its place; too large ones are known but not kept.
    pub(crate) fn insert(&mut self, entry: Stored, elements: &[u8], payload: &[u8]) -> Stored {
        if self.entries.is_empty() {
            self.entries = vec![Stored::EMPTY; self.size.packets].into_boxed_slice();
            self.bytes = vec![0; self.size.bytes].into_boxed_slice();
        }
        let ring = self.bytes.len();
        let len = elements.len() + payload.len();
        let mut stored = entry;
        if len > ring || len > usize::from(u16::MAX) {
            stored.withheld = true;
        } else {
            let mut start = (self.written % ring as u64) as usize;
            if start + len > ring {
                self.written += (ring - start) as u64;
                start = 0;
            }
            stored.at = self.written;
            stored.elements_len = elements.len() as u16;
            stored.payload_len = payload.len() as u16;
            let (head, tail) = self.bytes[start..start + len].split_at_mut(elements.len());
            head.copy_from_slice(elements);
            tail.copy_from_slice(payload);
            self.written += len as u64;
        }
        let index = self.index(stored.seq);
        self.entries[index] = stored;
        stored
    }

    /// A packet with its elements and payload, if it is still whole and not withheld.
    #[inline]
    pub(crate) fn find(&self, seq: u64) -> Option<(&Stored, &[u8], &[u8])> {
        let stored = self.entries.get(self.index(seq))?;
        if stored.seq != seq
            || stored.withheld
            || self.written - stored.at > self.bytes.len() as u64
        {
            return None;
        }
        let start = (stored.at % self.bytes.len() as u64) as usize;
        let middle = start + usize::from(stored.elements_len);
        let end = middle + usize::from(stored.payload_len);
        Some((
            stored,
            self.bytes.get(start..middle)?,
            self.bytes.get(middle..end)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(packets: usize, bytes: usize) -> PacketCache {
        PacketCache::new(CacheSize { packets, bytes })
    }

    fn entry(seq: u64) -> Stored {
        Stored {
            seq,
            ..Stored::EMPTY
        }
    }

    #[test]
    fn a_packet_is_found_until_either_ring_comes_round() {
        let mut cache = cache(64, 4_096);
        for seq in 100..200 {
            cache.insert(entry(seq), &[seq as u8], &[seq as u8; 99]);
        }
        // 4,096 bytes hold 40 packets of 100 bytes; the entries would reach back 64.
        assert!(cache.has_seen(136) && !cache.has_seen(135));
        assert!(cache.find(150).is_none());
        for seq in 162..200 {
            let (_, elements, payload) = cache.find(seq).unwrap();
            assert_eq!(
                (elements, payload),
                (&[seq as u8][..], &[seq as u8; 99][..])
            );
        }
    }

    #[test]
    fn withheld_packets_are_known_and_not_given_out() {
        let mut cache = cache(64, 4_096);
        let hidden = Stored {
            withheld: true,
            ..entry(7)
        };
        cache.insert(hidden, &[], b"secret");
        assert!(cache.has_seen(7));
        assert!(cache.find(7).is_none());
    }

    #[test]
    fn elements_that_do_not_fit_are_left_out() {
        let mut elements = PassedElements::new();
        elements.push(PassedKind::DependencyDescriptor, &[1; 255]);
        elements.push(PassedKind::DependencyDescriptor, &[2; 255]);
        elements.push(PassedKind::AudioLevel, &[3]);
        let read: Vec<_> = passed_elements(elements.as_bytes())
            .map(|(kind, value)| (kind, value.len()))
            .collect();
        assert_eq!(read, [(3, 255), (0, 1)]);
    }
}
