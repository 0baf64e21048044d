//! One video stream, put in order: which pictures are whole, what is missing and has to be asked for.
//!
//! Asks as browsers do: NACK again and again, then a key frame. Whether a whole picture can be decoded is
//! [`super::picture`]'s.

use std::collections::BTreeMap;

use schalter_rtp::packet::RtpPacket;
use schalter_rtp::seq::SequenceUnwrapper;

use super::MILLI;
use super::picture::{Decoder, Head, Size};

/// Between two requests for the same packet, ns.
const ASK_EVERY: u64 = 50 * MILLI;
/// Packets asked for at a time.
const ASK_MAX: usize = 64;
/// How long the next packet may be missing before a key frame is asked for, and before one that came is taken, ns.
const PATIENCE: u64 = 250 * MILLI;
/// Between two requests for a key frame, ns.
const KEY_EVERY: u64 = 500 * MILLI;
/// Packets that may wait behind a missing one.
const BUFFER: usize = 2_048;

#[derive(Debug)]
struct Piece {
    timestamp: u32,
    marker: bool,
    head: Head,
}

impl Piece {
    fn is_media(&self) -> bool {
        !matches!(self.head, Head::Blank)
    }
}

/// One video stream.
#[derive(Debug, Default)]
pub(super) struct Video {
    pub(super) sequence: SequenceUnwrapper,
    next: Option<u64>,
    highest: u64,
    pieces: BTreeMap<u64, Piece>,
    decoder: Decoder,
    /// Since when the next packet is missing, ns.
    stuck_since: Option<u64>,
    /// The last picture was whole and of no use.
    is_broken: bool,
    asked_at: u64,
    key_asked_at: u64,
    pub(super) last_frame: Option<u64>,
}

/// A picture that could be decoded: its size if it says one, and how long after the one before it came, in ms.
pub(super) struct ShownFrame {
    pub(super) size: Option<Size>,
    pub(super) gap: u64,
}

impl Video {
    /// The place of a packet that is missing.
    pub(super) fn missing(&self, original: u16) -> Option<u64> {
        let next = self.next?;
        let number = next + u64::from(original.wrapping_sub(next as u16));
        (number <= self.highest && !self.pieces.contains_key(&number)).then_some(number)
    }

    /// Takes a packet, or what it was before it was sent again.
    pub(super) fn insert(&mut self, number: u64, packet: &RtpPacket<'_>, head: Head) {
        self.highest = self.highest.max(number);
        if self.next.is_some_and(|next| number < next) || self.pieces.len() >= BUFFER {
            return;
        }
        let piece = Piece {
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            head,
        };
        self.pieces.insert(number, piece);
    }

    /// Takes what is in order; answers the pictures shown with their gap in ms, and the number of pictures given up.
    pub(super) fn advance(&mut self, now: u64) -> (Vec<ShownFrame>, u64) {
        let (mut shown, mut given_up) = (Vec::new(), 0);
        loop {
            if let Some(next) = self.next {
                if let Some(end) = self.whole_picture(next) {
                    let rest = self.pieces.split_off(&(end + 1));
                    let picture = std::mem::replace(&mut self.pieces, rest);
                    self.next = Some(end + 1);
                    self.stuck_since = None;
                    match self.decode(now, &picture) {
                        Some(Ok(frame)) => shown.push(frame),
                        Some(Err(())) => given_up += 1,
                        None => {}
                    }
                    continue;
                }
                if self.first_gap(next).is_none() {
                    self.stuck_since = None;
                    break;
                }
                let since = *self.stuck_since.get_or_insert(now);
                if now.saturating_sub(since) < PATIENCE && self.pieces.len() < BUFFER {
                    break;
                }
            }
            // Decoding starts, or starts again, with a key frame; the newest there is.
            let from = self.next.unwrap_or(0);
            let key = self
                .pieces
                .range(from + 1..)
                .rev()
                .find(|(_, p)| p.head.is_key());
            let start = match (self.next, key) {
                (_, Some((number, _))) => Some(*number),
                (None, None) => self
                    .pieces
                    .iter()
                    .find(|(_, p)| p.head.is_key())
                    .map(|(n, _)| *n),
                (Some(_), None) => None,
            };
            let Some(start) = start else {
                if self.pieces.len() >= BUFFER {
                    self.pieces.clear();
                }
                break;
            };
            let rest = self.pieces.split_off(&start);
            let skipped = std::mem::replace(&mut self.pieces, rest);
            if self.next.is_some() {
                let mut stamps: Vec<u32> = skipped.values().map(|p| p.timestamp).collect();
                stamps.dedup();
                given_up += stamps.len() as u64;
            }
            self.next = Some(start);
            self.stuck_since = None;
        }
        (shown, given_up)
    }

    /// A picture whose packets are all here; `None` for padding between pictures, which is nothing to see.
    fn decode(
        &mut self,
        now: u64,
        picture: &BTreeMap<u64, Piece>,
    ) -> Option<Result<ShownFrame, ()>> {
        if !picture.values().any(Piece::is_media) {
            return None;
        }
        // Browsers wait for the marker, and without it they drop the picture when the next one is whole.
        let is_ended = picture.values().any(|p| p.marker);
        let decoded = self.decoder.picture(picture.values().map(|p| &p.head));
        let Some(size) = decoded.ok().filter(|_| is_ended) else {
            self.is_broken = true;
            return Some(Err(()));
        };
        self.is_broken = false;
        let gap = self
            .last_frame
            .map_or(0, |at| now.saturating_sub(at) / MILLI);
        self.last_frame = Some(now);
        Some(Ok(ShownFrame { size, gap }))
    }

    /// The last packet of the picture (or padding) that starts with `next`, if all of it is here: the one with the marker, or
    /// the one before another picture's.
    fn whole_picture(&self, next: u64) -> Option<u64> {
        let mut run = (next..)
            .zip(self.pieces.range(next..))
            .take_while(|(expected, (number, _))| expected == *number)
            .map(|(number, (_, piece))| (number, piece))
            .peekable();
        while let Some((number, piece)) = run.next() {
            let other = |(_, after): &(u64, &Piece)| {
                piece.is_media() && after.is_media() && after.timestamp != piece.timestamp
            };
            let is_padding = number == next && !piece.is_media();
            if piece.marker || is_padding || run.peek().is_some_and(other) {
                return Some(number);
            }
        }
        None
    }

    fn first_gap(&self, next: u64) -> Option<u64> {
        (next..=self.highest).find(|number| !self.pieces.contains_key(number))
    }

    /// Whether a key frame has to be asked for now.
    pub(super) fn wants_key_frame(&mut self, now: u64) -> bool {
        let stuck = self
            .stuck_since
            .is_some_and(|since| now.saturating_sub(since) >= PATIENCE);
        let wanted = (stuck || self.is_broken || self.next.is_none())
            && now.saturating_sub(self.key_asked_at) >= KEY_EVERY;
        if wanted {
            self.key_asked_at = now;
        }
        wanted
    }

    /// Packets that have to be asked for now.
    pub(super) fn due_requests(&mut self, now: u64) -> Vec<u16> {
        let Some(next) = self.next else {
            return Vec::new();
        };
        if now.saturating_sub(self.asked_at) < ASK_EVERY {
            return Vec::new();
        }
        let missing: Vec<u16> = (next..self.highest)
            .filter(|number| !self.pieces.contains_key(number))
            .take(ASK_MAX)
            .map(|number| number as u16)
            .collect();
        if !missing.is_empty() {
            self.asked_at = now;
        }
        missing
    }
}
