//! Feedback about single streams: NACK, PLI (RFC 4585), FIR (RFC 5104), REMB (draft-alvestrand-rmcat-remb).

use super::Rtcp;
use crate::wire::Reader;

/// The unique identifier of REMB among application layer feedback.
pub(super) const REMB_IDENTIFIER: [u8; 4] = *b"REMB";
/// Length of one FIR entry, in bytes.
const FIR_ENTRY_LEN: usize = 8;

pub(super) fn read_pli<'a>(reader: &mut Reader<'a>) -> Option<Rtcp<'a>> {
    Some(Rtcp::Pli {
        sender_ssrc: reader.u32()?,
        media_ssrc: reader.u32()?,
    })
}

/// Generic negative acknowledgement (RFC 4585 §6.2.1).
#[derive(Clone, Copy, Debug)]
pub struct Nack<'a> {
    /// Who misses packets.
    pub sender_ssrc: u32,
    /// The stream they belong to.
    pub media_ssrc: u32,
    entries: Reader<'a>,
}

impl<'a> Nack<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            sender_ssrc: reader.u32()?,
            media_ssrc: reader.u32()?,
            entries: *reader,
        })
    }

    /// The lost sequence numbers, in the order they are coded; duplicates are the peer's choice.
    #[must_use]
    pub fn lost(&self) -> LostSequences<'a> {
        LostSequences {
            entries: self.entries,
            next: 0,
            pending: 0,
        }
    }
}

/// The sequence numbers of a negative acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct LostSequences<'a> {
    entries: Reader<'a>,
    next: u16,
    /// Bit 0 stands for `next`, bit 1 for the number after it, and so on.
    pending: u32,
}

impl Iterator for LostSequences<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.pending == 0 {
            self.next = self.entries.u16()?;
            self.pending = u32::from(self.entries.u16()?) << 1 | 1;
        }
        let skip = self.pending.trailing_zeros();
        let lost = self.next.wrapping_add(u16::try_from(skip).unwrap_or(0));
        self.next = lost.wrapping_add(1);
        // In two steps: a shift by the full width is not defined.
        self.pending = self.pending >> skip >> 1;
        Some(lost)
    }
}

/// Full intra request (RFC 5104 §4.3.1).
#[derive(Clone, Copy, Debug)]
pub struct Fir<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    entries: FirEntries<'a>,
}

impl<'a> Fir<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let sender_ssrc = reader.u32()?;
        let _unused_media_ssrc = reader.u32()?;
        Some(Self {
            sender_ssrc,
            entries: FirEntries(*reader),
        })
    }

    /// The streams that need a key frame, with their request numbers.
    #[must_use]
    pub fn entries(&self) -> FirEntries<'a> {
        self.entries
    }
}

/// The entries (stream, request number) of a full intra request; a repeated number is a repeated request.
#[derive(Clone, Copy, Debug)]
pub struct FirEntries<'a>(Reader<'a>);

impl Iterator for FirEntries<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let mut entry = Reader::new(self.0.take(FIR_ENTRY_LEN)?);
        Some((entry.u32()?, entry.u8()?))
    }
}

/// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 §2.2).
#[derive(Clone, Copy, Debug)]
pub struct Remb<'a> {
    /// Who estimates.
    pub sender_ssrc: u32,
    /// The estimate for all streams together, in bits per second; saturates.
    pub bitrate_bps: u64,
    ssrcs: RembSsrcs<'a>,
}

impl<'a> Remb<'a> {
    pub(super) fn is_remb(body: &[u8]) -> bool {
        body.get(8..12)
            .is_some_and(|identifier| identifier == REMB_IDENTIFIER)
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let sender_ssrc = reader.u32()?;
        let _unused_media_ssrc = reader.u32()?;
        let _identifier = reader.u32()?;
        let count = usize::from(reader.u8()?);
        let coded = reader.u24()?;
        let (exponent, mantissa) = (coded >> 18, u64::from(coded & 0x3_FFFF));
        let fits = mantissa.leading_zeros() >= exponent;
        Some(Self {
            sender_ssrc,
            bitrate_bps: if fits { mantissa << exponent } else { u64::MAX },
            ssrcs: RembSsrcs(Reader::new(reader.take(count * 4)?)),
        })
    }

    /// The streams that the estimate is about.
    #[must_use]
    pub fn ssrcs(&self) -> RembSsrcs<'a> {
        self.ssrcs
    }
}

/// The streams of a bitrate estimate.
#[derive(Clone, Copy, Debug)]
pub struct RembSsrcs<'a>(Reader<'a>);

impl Iterator for RembSsrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.u32()
    }
}
