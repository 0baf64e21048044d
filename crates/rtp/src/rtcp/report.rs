//! Reports, source descriptions and goodbyes (RFC 3550 §6.4–6.6).

use crate::wire::Reader;

/// Length of one report block, in bytes.
const REPORT_BLOCK_LEN: usize = 24;
/// SDES item type of the canonical name (RFC 3550 §6.5.1).
pub(super) const SDES_CNAME: u8 = 1;

/// Reception quality of one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start, signed 24 bits; duplicates make it negative.
    pub cumulative_lost: i32,
    /// Highest sequence number received; the cycle count is in the upper 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter, in timestamp ticks.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, or 0.
    pub last_sr: u32,
    /// Time since that report was received, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let ssrc = reader.u32()?;
        let fraction_lost = reader.u8()?;
        let lost = reader.u24()?;
        Some(Self {
            ssrc,
            fraction_lost,
            // Shifting the 24 bits to the top and back extends the sign.
            cumulative_lost: (lost << 8).cast_signed() >> 8,
            highest_sequence: reader.u32()?,
            jitter: reader.u32()?,
            last_sr: reader.u32()?,
            delay_since_last_sr: reader.u32()?,
        })
    }

    /// Encodes the block; the loss counter saturates at 24 bits (RFC 3550 §A.3).
    pub(super) fn encode(&self) -> [u8; REPORT_BLOCK_LEN] {
        let lost = self
            .cumulative_lost
            .clamp(-(1 << 23), (1 << 23) - 1)
            .cast_unsigned()
            & 0x00FF_FFFF;
        let mut bytes = [0; REPORT_BLOCK_LEN];
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        for (slot, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *slot = word.to_be_bytes();
        }
        bytes
    }
}

/// The report blocks of a sender or receiver report.
#[derive(Clone, Copy, Debug)]
pub struct ReportBlocks<'a>(Reader<'a>);

impl<'a> ReportBlocks<'a> {
    fn read(reader: &mut Reader<'a>, count: u8) -> Option<Self> {
        reader
            .take(usize::from(count) * REPORT_BLOCK_LEN)
            .map(|bytes| Self(Reader::new(bytes)))
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        ReportBlock::read(&mut self.0)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let blocks = self.0.len() / REPORT_BLOCK_LEN;
        (blocks, Some(blocks))
    }
}

impl ExactSizeIterator for ReportBlocks<'_> {}

/// Sender report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug)]
pub struct SenderReport<'a> {
    /// The reporting sender.
    pub ssrc: u32,
    /// NTP time of the report, 32.32 fixed-point seconds since 1900.
    pub ntp: u64,
    /// The same instant in the sender's RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent since the start, modulo 2^32.
    pub packet_count: u32,
    /// Payload bytes sent since the start, modulo 2^32.
    pub octet_count: u32,
    /// What this sender receives from others.
    pub reports: ReportBlocks<'a>,
}

impl<'a> SenderReport<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, count: u8) -> Option<Self> {
        Some(Self {
            ssrc: reader.u32()?,
            ntp: reader.u64()?,
            rtp_timestamp: reader.u32()?,
            packet_count: reader.u32()?,
            octet_count: reader.u32()?,
            reports: ReportBlocks::read(reader, count)?,
        })
    }

    /// The middle 32 bits of the NTP time, as a report block's `last_sr` refers to this report.
    #[must_use]
    pub fn compact_ntp(&self) -> u32 {
        crate::wire::low32(self.ntp >> 16)
    }
}

/// Receiver report (RFC 3550 §6.4.2).
#[derive(Clone, Copy, Debug)]
pub struct ReceiverReport<'a> {
    /// The reporting receiver.
    pub ssrc: u32,
    /// What it receives.
    pub reports: ReportBlocks<'a>,
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, count: u8) -> Option<Self> {
        Some(Self {
            ssrc: reader.u32()?,
            reports: ReportBlocks::read(reader, count)?,
        })
    }
}

/// Source description (RFC 3550 §6.5); only the canonical names are looked at.
#[derive(Clone, Copy, Debug)]
pub struct SourceDescription<'a> {
    chunks: SdesChunks<'a>,
}

impl<'a> SourceDescription<'a> {
    pub(super) fn read(reader: Reader<'a>, count: u8) -> Option<Self> {
        let chunks = SdesChunks {
            reader,
            left: count,
        };
        // Walked once here, so that an iteration that ends early is an error and not a silent loss.
        (chunks.count() == usize::from(count)).then_some(Self { chunks })
    }

    /// The chunks, one a source.
    #[must_use]
    pub fn chunks(&self) -> SdesChunks<'a> {
        self.chunks
    }
}

/// One source of a source description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdesChunk<'a> {
    /// The source.
    pub ssrc: u32,
    /// Its canonical name; `None` if there is none or it is not UTF-8.
    pub cname: Option<&'a str>,
}

/// The chunks of a source description.
#[derive(Clone, Copy, Debug)]
pub struct SdesChunks<'a> {
    reader: Reader<'a>,
    left: u8,
}

impl<'a> SdesChunks<'a> {
    fn read_chunk(&mut self) -> Option<SdesChunk<'a>> {
        let start = self.reader.len();
        let ssrc = self.reader.u32()?;
        let mut cname = None;
        loop {
            match self.reader.u8()? {
                0 => break,
                item => {
                    let len = usize::from(self.reader.u8()?);
                    let text = self.reader.take(len)?;
                    if item == SDES_CNAME && cname.is_none() {
                        cname = core::str::from_utf8(text).ok();
                    }
                }
            }
        }
        let used = start - self.reader.len();
        self.reader.take(used.wrapping_neg() % 4)?;
        Some(SdesChunk { ssrc, cname })
    }
}

impl<'a> Iterator for SdesChunks<'a> {
    type Item = SdesChunk<'a>;

    fn next(&mut self) -> Option<SdesChunk<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.read_chunk()
    }
}

/// Goodbye: sources that stop sending (RFC 3550 §6.6).
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a> {
    sources: ByeSources<'a>,
    reason: Option<&'a [u8]>,
}

impl<'a> Bye<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, count: u8) -> Option<Self> {
        let sources = ByeSources(Reader::new(reader.take(usize::from(count) * 4)?));
        let reason = match reader.u8() {
            Some(len) => Some(reader.take(usize::from(len))?),
            None => None,
        };
        Some(Self { sources, reason })
    }

    /// The sources that leave.
    #[must_use]
    pub fn sources(&self) -> ByeSources<'a> {
        self.sources
    }

    /// Why they leave, if said; the peer's text, not checked.
    #[must_use]
    pub fn reason(&self) -> Option<&'a [u8]> {
        self.reason
    }
}

/// The sources of a goodbye.
#[derive(Clone, Copy, Debug)]
pub struct ByeSources<'a>(Reader<'a>);

impl Iterator for ByeSources<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0.u32()
    }
}
