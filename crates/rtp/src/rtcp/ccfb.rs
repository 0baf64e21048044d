//! Congestion control feedback: which packets of which streams arrived, and when (RFC 8888 §3.1).
//!
//! Owns the layout in both directions. Whoever receives packets keeps the arrival times and decides how many fit in one
//! message; see [`super::RtcpWriter::congestion_control`]. Refuses reports on more packets of a stream than the RFC
//! allows, so that a sequence number means one packet.

use crate::RtcpError;
use crate::wire::{Cursor, Reader};

/// Most packets of one stream that a report may speak of: a quarter of the sequence numbers (§3.1).
pub const MAX_PACKET_REPORTS: usize = 16_384;
/// Longest offset that has an encoding, in 1/1024 s: just below 8 s.
pub const MAX_ARRIVAL_OFFSET: u16 = 0x1FFD;

/// The packet arrived more than [`MAX_ARRIVAL_OFFSET`] before the report.
const OVER_RANGE: u16 = 0x1FFE;
/// The time of arrival is not known, or after the report's.
const UNAVAILABLE: u16 = 0x1FFF;
const OFFSET_BITS: u16 = 0x1FFF;
const RECEIVED: u16 = 0x8000;
/// Least length of a stream's report: SSRC, first sequence number, count; in bytes.
const STREAM_HEADER_LEN: usize = 8;
/// Length of the report timestamp at the end, in bytes.
const TIMESTAMP_LEN: usize = 4;

/// The two bits of explicit congestion notification in the IP header (RFC 3168 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ecn {
    /// The sender does not take part.
    #[default]
    NotCapable,
    /// ECT(1): a low-latency sender (RFC 9331).
    Capable1,
    /// ECT(0).
    Capable0,
    /// A router marked the packet instead of dropping it.
    Congested,
}

impl Ecn {
    fn decode(word: u16) -> Self {
        match word >> 13 & 3 {
            1 => Self::Capable1,
            2 => Self::Capable0,
            3 => Self::Congested,
            _ => Self::NotCapable,
        }
    }

    fn bits(self) -> u16 {
        match self {
            Self::NotCapable => 0,
            Self::Capable1 => 1,
            Self::Capable0 => 2,
            Self::Congested => 3,
        }
    }
}

/// When a packet arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArrivalOffset {
    /// So long before the report timestamp, in 1/1024 s; at most [`MAX_ARRIVAL_OFFSET`].
    Before(u16),
    /// Longer before than can be said.
    OverRange,
    /// Not known, or after the report timestamp.
    Unavailable,
}

/// What is said about a packet that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketArrival {
    /// The mark that the packet had then; of several copies the worst.
    pub ecn: Ecn,
    /// When the first copy came.
    pub offset: ArrivalOffset,
}

impl PacketArrival {
    /// Reads a metric block; `None` if the packet had not arrived, whatever the other bits.
    fn decode(word: u16) -> Option<Self> {
        let offset = match word & OFFSET_BITS {
            OVER_RANGE => ArrivalOffset::OverRange,
            UNAVAILABLE => ArrivalOffset::Unavailable,
            offset => ArrivalOffset::Before(offset),
        };
        (word & RECEIVED != 0).then(|| Self {
            ecn: Ecn::decode(word),
            offset,
        })
    }

    fn encode(self) -> Result<u16, RtcpError> {
        let offset = match self.offset {
            ArrivalOffset::Before(offset) if offset > MAX_ARRIVAL_OFFSET => {
                return Err(RtcpError::Unencodable);
            }
            ArrivalOffset::Before(offset) => offset,
            ArrivalOffset::OverRange => OVER_RANGE,
            ArrivalOffset::Unavailable => UNAVAILABLE,
        };
        Ok(RECEIVED | self.ecn.bits() << 13 | offset)
    }
}

/// Arrivals of packets of any number of streams, as their receiver saw them (RFC 8888 §3.1).
#[derive(Clone, Copy, Debug)]
pub struct CongestionFeedback<'a> {
    /// Who received the packets.
    pub sender_ssrc: u32,
    /// When the report was made on the receiver's clock: the middle 32 bits of an NTP timestamp, so 1/65536 s.
    pub report_timestamp: u32,
    streams: StreamReports<'a>,
}

impl<'a> CongestionFeedback<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let sender_ssrc = reader.u32()?;
        let reports = reader.take(reader.len().checked_sub(TIMESTAMP_LEN)?)?;
        let streams = StreamReports(Reader::new(reports));
        let mut walk = streams;
        while !walk.0.is_empty() {
            StreamReport::read(&mut walk.0)?;
        }
        Some(Self {
            sender_ssrc,
            report_timestamp: reader.u32()?,
            streams,
        })
    }

    /// The reports on single streams; a stream may come more than once.
    #[must_use]
    pub fn streams(&self) -> StreamReports<'a> {
        self.streams
    }
}

/// The streams of one feedback message; see [`CongestionFeedback::streams`].
#[derive(Clone, Copy, Debug)]
pub struct StreamReports<'a>(Reader<'a>);

impl<'a> Iterator for StreamReports<'a> {
    type Item = StreamReport<'a>;

    fn next(&mut self) -> Option<StreamReport<'a>> {
        StreamReport::read(&mut self.0)
    }
}

/// Arrivals of consecutive packets of one stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamReport<'a> {
    /// The stream.
    pub ssrc: u32,
    /// RTP sequence number of the first packet reported on.
    pub begin_sequence: u16,
    packets: PacketReports<'a>,
}

impl<'a> StreamReport<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let ssrc = reader.u32()?;
        let begin_sequence = reader.u16()?;
        let count = usize::from(reader.u16()?);
        if count > MAX_PACKET_REPORTS {
            return None;
        }
        let packets = PacketReports(Reader::new(reader.take(count * 2)?));
        if !count.is_multiple_of(2) {
            let _padding = reader.u16()?;
        }
        Some(Self {
            ssrc,
            begin_sequence,
            packets,
        })
    }

    /// One item per packet, starting at [`Self::begin_sequence`], at most [`MAX_PACKET_REPORTS`]; `None` if it has not
    /// arrived.
    #[must_use]
    pub fn packets(&self) -> PacketReports<'a> {
        self.packets
    }
}

/// The packets of one stream's report; see [`StreamReport::packets`].
#[derive(Clone, Copy, Debug)]
pub struct PacketReports<'a>(Reader<'a>);

impl Iterator for PacketReports<'_> {
    type Item = Option<PacketArrival>;

    fn next(&mut self) -> Option<Option<PacketArrival>> {
        self.0.u16().map(PacketArrival::decode)
    }
}

/// One stream's part of a feedback message to be written.
#[derive(Clone, Copy, Debug)]
pub struct StreamArrivals<'a> {
    /// The stream.
    pub ssrc: u32,
    /// RTP sequence number of the first of [`Self::packets`].
    pub begin_sequence: u16,
    /// Consecutive packets, at most [`MAX_PACKET_REPORTS`]; `None` if one has not arrived.
    pub packets: &'a [Option<PacketArrival>],
}

impl StreamArrivals<'_> {
    /// Bytes that the report takes, beside the 16 of the message around all reports.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        STREAM_HEADER_LEN + self.packets.len().next_multiple_of(2) * 2
    }

    pub(super) fn write(&self, cursor: &mut Cursor<'_>) -> Result<(), RtcpError> {
        if self.packets.len() > MAX_PACKET_REPORTS {
            return Err(RtcpError::Unencodable);
        }
        let count = u16::try_from(self.packets.len()).map_err(|_| RtcpError::Unencodable)?;
        cursor.put(&self.ssrc.to_be_bytes())?;
        cursor.put(&self.begin_sequence.to_be_bytes())?;
        cursor.put(&count.to_be_bytes())?;
        for packet in self.packets {
            let word = packet.map_or(Ok(0), PacketArrival::encode)?;
            cursor.put(&word.to_be_bytes())?;
        }
        if !count.is_multiple_of(2) {
            cursor.put(&[0, 0])?;
        }
        Ok(())
    }
}
