//! RTCP: compound packets as an iterator of borrowed views, and a writer (RFC 3550 §6, RFC 4585, RFC 5104).
//!
//! Owns the byte layout of what browsers and servers send each other. Reduced-size packets (RFC 5506) are
//! accepted: nothing is required to come first. Packet types that Schalter has no use for are framed and
//! reported as [`Rtcp::Unknown`], never an error. Refuses decisions: nothing here knows a stream.

mod ccfb;
mod feedback;
mod report;
mod transport_cc;
mod writer;

pub use ccfb::{
    ArrivalOffset, CongestionFeedback, Ecn, MAX_ARRIVAL_OFFSET, MAX_PACKET_REPORTS, PacketArrival,
    PacketReports, StreamArrivals, StreamReport, StreamReports,
};
pub use feedback::{Fir, FirEntries, LostSequences, Nack, Remb, RembSsrcs};
pub use report::{
    Bye, ByeSources, ReceiverReport, ReportBlock, ReportBlocks, SdesChunk, SdesChunks,
    SenderReport, SourceDescription,
};
pub use transport_cc::{Deltas, TransportCc};
pub use writer::{RtcpWriter, SenderInfo};

use crate::RtcpError;
use crate::wire::Reader;

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
pub(crate) mod packet_type {
    pub(crate) const SENDER_REPORT: u8 = 200;
    pub(crate) const RECEIVER_REPORT: u8 = 201;
    pub(crate) const SOURCE_DESCRIPTION: u8 = 202;
    pub(crate) const BYE: u8 = 203;
    pub(crate) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(crate) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Feedback message types, the `FMT` field (RFC 4585 §6.2, §6.3, RFC 5104 §4.3, RFC 8888 §3.1).
pub(crate) mod format {
    pub(crate) const NACK: u8 = 1;
    pub(crate) const CONGESTION_CONTROL: u8 = 11;
    pub(crate) const TRANSPORT_CC: u8 = 15;
    pub(crate) const PLI: u8 = 1;
    pub(crate) const FIR: u8 = 4;
    pub(crate) const APPLICATION: u8 = 15;
}

/// One RTCP packet of a compound.
#[derive(Clone, Copy, Debug)]
pub enum Rtcp<'a> {
    /// Sender report (RFC 3550 §6.4.1).
    SenderReport(SenderReport<'a>),
    /// Receiver report (RFC 3550 §6.4.2).
    ReceiverReport(ReceiverReport<'a>),
    /// Source description (RFC 3550 §6.5).
    SourceDescription(SourceDescription<'a>),
    /// Goodbye (RFC 3550 §6.6).
    Bye(Bye<'a>),
    /// Generic negative acknowledgement (RFC 4585 §6.2.1).
    Nack(Nack<'a>),
    /// Picture loss indication (RFC 4585 §6.3.1).
    Pli {
        /// Who asks.
        sender_ssrc: u32,
        /// The stream that needs a key frame.
        media_ssrc: u32,
    },
    /// Full intra request (RFC 5104 §4.3.1).
    Fir(Fir<'a>),
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03).
    Remb(Remb<'a>),
    /// Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportCc(TransportCc<'a>),
    /// Congestion control feedback by stream (RFC 8888).
    CongestionControl(CongestionFeedback<'a>),
    /// A well-framed packet of another kind.
    Unknown {
        /// The packet type, second byte.
        packet_type: u8,
        /// The count or `FMT` field, low five bits of the first byte.
        fmt: u8,
    },
}

/// Iterates over the packets of an RTCP datagram (after SRTCP decryption).
///
/// A packet whose body is wrong yields an error and the next one is still read; broken framing yields an
/// error and ends the iteration.
#[must_use]
pub fn compound(datagram: &[u8]) -> Compound<'_> {
    Compound {
        reader: Reader::new(datagram),
    }
}

/// The packets of one datagram; see [`compound`].
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Rtcp<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        Some(match Frame::read(&mut self.reader) {
            Ok(frame) => frame.parse(),
            Err(error) => {
                self.reader = Reader::new(&[]);
                Err(error)
            }
        })
    }
}

impl core::iter::FusedIterator for Compound<'_> {}

/// One packet, framed but not interpreted.
struct Frame<'a> {
    padded: bool,
    /// Report count, source count, subtype or feedback message type, by packet type.
    count: u8,
    packet_type: u8,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, RtcpError> {
        let [flags, packet_type] = reader.array().ok_or(RtcpError::Truncated)?;
        if flags >> 6 != 2 {
            return Err(RtcpError::Version);
        }
        let words = reader.u16().ok_or(RtcpError::Truncated)?;
        let body = reader
            .take(usize::from(words) * 4)
            .ok_or(RtcpError::Truncated)?;
        Ok(Self {
            padded: flags & 0x20 != 0,
            count: flags & 0x1F,
            packet_type,
            body,
        })
    }

    fn parse(self) -> Result<Rtcp<'a>, RtcpError> {
        let body = self.unpadded()?;
        let mut reader = Reader::new(body);
        let parsed = match (self.packet_type, self.count) {
            (packet_type::SENDER_REPORT, count) => {
                SenderReport::read(&mut reader, count).map(Rtcp::SenderReport)
            }
            (packet_type::RECEIVER_REPORT, count) => {
                ReceiverReport::read(&mut reader, count).map(Rtcp::ReceiverReport)
            }
            (packet_type::SOURCE_DESCRIPTION, count) => {
                SourceDescription::read(reader, count).map(Rtcp::SourceDescription)
            }
            (packet_type::BYE, count) => Bye::read(&mut reader, count).map(Rtcp::Bye),
            (packet_type::TRANSPORT_FEEDBACK, format::NACK) => {
                Nack::read(&mut reader).map(Rtcp::Nack)
            }
            (packet_type::TRANSPORT_FEEDBACK, format::TRANSPORT_CC) => {
                TransportCc::read(&mut reader).map(Rtcp::TransportCc)
            }
            (packet_type::TRANSPORT_FEEDBACK, format::CONGESTION_CONTROL) => {
                CongestionFeedback::read(&mut reader).map(Rtcp::CongestionControl)
            }
            (packet_type::PAYLOAD_FEEDBACK, format::PLI) => feedback::read_pli(&mut reader),
            (packet_type::PAYLOAD_FEEDBACK, format::FIR) => Fir::read(&mut reader).map(Rtcp::Fir),
            (packet_type::PAYLOAD_FEEDBACK, format::APPLICATION) if Remb::is_remb(body) => {
                Remb::read(&mut reader).map(Rtcp::Remb)
            }
            (packet_type, fmt) => Some(Rtcp::Unknown { packet_type, fmt }),
        };
        parsed.ok_or(RtcpError::Malformed)
    }

    fn unpadded(&self) -> Result<&'a [u8], RtcpError> {
        if !self.padded {
            return Ok(self.body);
        }
        match self.body.last() {
            Some(&padding) if padding > 0 => {
                let end = self
                    .body
                    .len()
                    .checked_sub(usize::from(padding))
                    .ok_or(RtcpError::Padding)?;
                self.body.get(..end).ok_or(RtcpError::Padding)
            }
            Some(_) | None => Err(RtcpError::Padding),
        }
    }
}
