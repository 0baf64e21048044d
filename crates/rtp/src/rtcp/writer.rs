//! Writes RTCP packets one after another into a caller's buffer.
//!
//! Owns lengths and padding. A packet that does not fit leaves the buffer's earlier packets untouched. The
//! caller decides what belongs in one compound and in which order (RFC 3550 §6.1).

use super::feedback::REMB_IDENTIFIER;
use super::report::SDES_CNAME;
use super::transport_cc::Feedback;
use super::{ReportBlock, StreamArrivals, format, packet_type};
use crate::RtcpError;
use crate::wire::{Cursor, Full};

/// Largest count in a packet header (5 bits).
const MAX_COUNT: usize = 31;
/// Length of the packet header and the two SSRCs of a feedback message, in bytes.
const FEEDBACK_HEADER_LEN: usize = 12;

/// The sender's part of a sender report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SenderInfo {
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
}

/// Appends RTCP packets to a buffer; [`Self::finish`] answers the length of the compound.
#[derive(Debug)]
pub struct RtcpWriter<'a> {
    cursor: Cursor<'a>,
}

impl<'a> RtcpWriter<'a> {
    /// Starts an empty compound at the front of `out`.
    #[must_use]
    pub fn new(out: &'a mut [u8]) -> Self {
        Self {
            cursor: Cursor::new(out),
        }
    }

    /// Length of what has been written so far, in bytes; a multiple of 4.
    #[must_use]
    pub fn finish(self) -> usize {
        self.cursor.len()
    }

    /// Length of what has been written so far, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cursor.len()
    }

    /// Tells whether nothing has been written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a sender report with at most 31 report blocks (RFC 3550 §6.4.1).
    ///
    /// # Errors
    /// [`RtcpError::Unencodable`] for too many blocks, [`RtcpError::NoSpace`].
    pub fn sender_report(
        &mut self,
        sender: &SenderInfo,
        reports: &[ReportBlock],
    ) -> Result<(), RtcpError> {
        self.packet(
            count(reports.len())?,
            packet_type::SENDER_REPORT,
            |cursor| {
                cursor.put(&sender.ssrc.to_be_bytes())?;
                cursor.put(&sender.ntp.to_be_bytes())?;
                cursor.put(&sender.rtp_timestamp.to_be_bytes())?;
                cursor.put(&sender.packet_count.to_be_bytes())?;
                cursor.put(&sender.octet_count.to_be_bytes())?;
                put_reports(cursor, reports)
            },
        )
    }

    /// Appends a receiver report with at most 31 report blocks (RFC 3550 §6.4.2).
    ///
    /// # Errors
    /// [`RtcpError::Unencodable`] for too many blocks, [`RtcpError::NoSpace`].
    pub fn receiver_report(&mut self, ssrc: u32, reports: &[ReportBlock]) -> Result<(), RtcpError> {
        self.packet(
            count(reports.len())?,
            packet_type::RECEIVER_REPORT,
            |cursor| {
                cursor.put(&ssrc.to_be_bytes())?;
                put_reports(cursor, reports)
            },
        )
    }

    /// Appends a source description of one source: its canonical name (RFC 3550 §6.5.1).
    ///
    /// # Errors
    /// [`RtcpError::Unencodable`] if the name is longer than 255 bytes, [`RtcpError::NoSpace`].
    pub fn sdes_cname(&mut self, ssrc: u32, cname: &str) -> Result<(), RtcpError> {
        let len = u8::try_from(cname.len()).map_err(|_| RtcpError::Unencodable)?;
        self.packet(1, packet_type::SOURCE_DESCRIPTION, |cursor| {
            cursor.put(&ssrc.to_be_bytes())?;
            cursor.put(&[SDES_CNAME, len])?;
            cursor.put(cname.as_bytes())?;
            // The list ends with at least one zero byte and goes on to the next 32-bit boundary.
            cursor.put([0; 4].get(..4 - cursor.len() % 4).unwrap_or(&[0]))?;
            Ok(())
        })
    }

    /// Appends a goodbye of at most 31 sources (RFC 3550 §6.6).
    ///
    /// # Errors
    /// [`RtcpError::Unencodable`] for too many sources, [`RtcpError::NoSpace`].
    pub fn bye(&mut self, sources: &[u32]) -> Result<(), RtcpError> {
        self.packet(count(sources.len())?, packet_type::BYE, |cursor| {
            sources
                .iter()
                .try_for_each(|ssrc| Ok(cursor.put(&ssrc.to_be_bytes())?))
        })
    }

    /// Appends a generic NACK for these sequence numbers, oldest first (RFC 4585 §6.2.1).
    ///
    /// Numbers at most 16 after the first of an entry share it. An empty list writes nothing.
    ///
    /// # Errors
    /// [`RtcpError::NoSpace`]: the message is written whole or not at all.
    pub fn nack(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        lost: &[u16],
    ) -> Result<(), RtcpError> {
        if lost.is_empty() {
            return Ok(());
        }
        self.feedback(
            format::NACK,
            packet_type::TRANSPORT_FEEDBACK,
            [sender_ssrc, media_ssrc],
            |cursor| {
                let mut rest = lost;
                while let Some((&first, mut tail)) = rest.split_first() {
                    let mut mask = 0_u16;
                    while let Some((&next, after)) = tail.split_first() {
                        match next.wrapping_sub(first) {
                            0 => {}
                            distance @ 1..=16 => mask |= 1 << (distance - 1),
                            _ => break,
                        }
                        tail = after;
                    }
                    cursor.put(&first.to_be_bytes())?;
                    cursor.put(&mask.to_be_bytes())?;
                    rest = tail;
                }
                Ok(())
            },
        )
    }

    /// Appends a picture loss indication (RFC 4585 §6.3.1).
    ///
    /// # Errors
    /// [`RtcpError::NoSpace`].
    pub fn pli(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Result<(), RtcpError> {
        let ssrcs = [sender_ssrc, media_ssrc];
        self.feedback(
            format::PLI,
            packet_type::PAYLOAD_FEEDBACK,
            ssrcs,
            |_| Ok(()),
        )
    }

    /// Appends a full intra request for (stream, request number) entries (RFC 5104 §4.3.1).
    ///
    /// # Errors
    /// [`RtcpError::NoSpace`].
    pub fn fir(&mut self, sender_ssrc: u32, entries: &[(u32, u8)]) -> Result<(), RtcpError> {
        self.feedback(
            format::FIR,
            packet_type::PAYLOAD_FEEDBACK,
            [sender_ssrc, 0],
            |cursor| {
                for (ssrc, request) in entries {
                    cursor.put(&ssrc.to_be_bytes())?;
                    cursor.put(&[*request, 0, 0, 0])?;
                }
                Ok(())
            },
        )
    }

    /// Appends a receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 §2.2).
    ///
    /// The bitrate has 18 significant bits on the wire; it is rounded down.
    ///
    /// # Errors
    /// [`RtcpError::Unencodable`] for more than 255 streams, [`RtcpError::NoSpace`].
    pub fn remb(
        &mut self,
        sender_ssrc: u32,
        bitrate_bps: u64,
        ssrcs: &[u32],
    ) -> Result<(), RtcpError> {
        let streams = u8::try_from(ssrcs.len()).map_err(|_| RtcpError::Unencodable)?;
        let exponent = (64 - bitrate_bps.leading_zeros()).saturating_sub(18);
        let coded = exponent << 18 | crate::wire::low32(bitrate_bps >> exponent);
        self.feedback(
            format::APPLICATION,
            packet_type::PAYLOAD_FEEDBACK,
            [sender_ssrc, 0],
            |cursor| {
                cursor.put(&REMB_IDENTIFIER)?;
                cursor.put(&(u32::from(streams) << 24 | coded).to_be_bytes())?;
                ssrcs
                    .iter()
                    .try_for_each(|ssrc| Ok(cursor.put(&ssrc.to_be_bytes())?))
            },
        )
    }

    /// Appends transport-wide feedback and answers how many of `packets` it covers
    /// (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
    ///
    /// `packets` are consecutive transport-wide sequence numbers with their arrival time in 250 µs ticks
    /// of any clock, `None` if missing. The message stops early when the buffer is full, when two
    /// arrivals are too far apart for a delta (about 8 s), or after 65535 packets; call again with the
    /// rest and the next `fb_count`. It starts a new reference time, so at least one packet is covered
    /// if there is any and 24 bytes are free.
    ///
    /// # Errors
    /// [`RtcpError::NoSpace`] if not even one packet fits.
    pub fn transport_cc(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        fb_count: u8,
        packets: &[(u16, Option<i64>)],
    ) -> Result<usize, RtcpError> {
        if packets.is_empty() {
            return Ok(0);
        }
        // Whole words only, because the message is padded to one; 16 bits of length bound it as well.
        let room = (self.cursor.room() & !3).min(usize::from(u16::MAX) * 4);
        let room = room.saturating_sub(FEEDBACK_HEADER_LEN);
        let feedback = Feedback::plan(packets, room).ok_or(RtcpError::NoSpace)?;
        let ssrcs = [sender_ssrc, media_ssrc];
        self.feedback(
            format::TRANSPORT_CC,
            packet_type::TRANSPORT_FEEDBACK,
            ssrcs,
            |cursor| feedback.write(fb_count, cursor),
        )?;
        Ok(feedback.packet_count())
    }

    /// Appends congestion control feedback on any number of streams (RFC 8888 §3.1).
    ///
    /// `report_timestamp` is now on the clock of the arrivals: the middle 32 bits of an NTP timestamp. The message takes
    /// 16 bytes and [`StreamArrivals::encoded_len`] of each stream.
    ///
    /// # Errors
    /// [`RtcpError::Unencodable`] for more than [`MAX_PACKET_REPORTS`](super::MAX_PACKET_REPORTS) packets of a stream,
    /// an offset above [`MAX_ARRIVAL_OFFSET`](super::MAX_ARRIVAL_OFFSET), or more than 256 kB; [`RtcpError::NoSpace`].
    pub fn congestion_control(
        &mut self,
        sender_ssrc: u32,
        report_timestamp: u32,
        streams: &[StreamArrivals<'_>],
    ) -> Result<(), RtcpError> {
        self.packet(
            format::CONGESTION_CONTROL,
            packet_type::TRANSPORT_FEEDBACK,
            |cursor| {
                cursor.put(&sender_ssrc.to_be_bytes())?;
                for stream in streams {
                    stream.write(cursor)?;
                }
                Ok(cursor.put(&report_timestamp.to_be_bytes())?)
            },
        )
    }

    fn feedback(
        &mut self,
        fmt: u8,
        packet_type: u8,
        ssrcs: [u32; 2],
        body: impl FnOnce(&mut Cursor<'a>) -> Result<(), RtcpError>,
    ) -> Result<(), RtcpError> {
        self.packet(fmt, packet_type, |cursor| {
            ssrcs
                .iter()
                .try_for_each(|ssrc| cursor.put(&ssrc.to_be_bytes()))?;
            body(cursor)
        })
    }

    /// Frames what `body` writes: header in front, padding behind, everything or nothing.
    fn packet(
        &mut self,
        count: u8,
        packet_type: u8,
        body: impl FnOnce(&mut Cursor<'a>) -> Result<(), RtcpError>,
    ) -> Result<(), RtcpError> {
        let start = self.cursor.len();
        let written = self.try_packet(start, count, packet_type, body);
        if written.is_err() {
            self.cursor.rewind(start);
        }
        written
    }

    fn try_packet(
        &mut self,
        start: usize,
        count: u8,
        packet_type: u8,
        body: impl FnOnce(&mut Cursor<'a>) -> Result<(), RtcpError>,
    ) -> Result<(), RtcpError> {
        self.cursor.put(&[0x80 | count, packet_type, 0, 0])?;
        body(&mut self.cursor)?;
        let padding: &[u8] = match (self.cursor.len() - start) % 4 {
            1 => &[0, 0, 3],
            2 => &[0, 2],
            3 => &[1],
            _ => &[],
        };
        if !padding.is_empty() {
            self.cursor.put(padding)?;
            self.cursor.patch(start, &[0xA0 | count]);
        }
        let words = (self.cursor.len() - start) / 4 - 1;
        let words = u16::try_from(words).map_err(|_| RtcpError::Unencodable)?;
        self.cursor.patch(start + 2, &words.to_be_bytes());
        Ok(())
    }
}

fn count(items: usize) -> Result<u8, RtcpError> {
    match u8::try_from(items) {
        Ok(count) if items <= MAX_COUNT => Ok(count),
        Ok(_) | Err(_) => Err(RtcpError::Unencodable),
    }
}

fn put_reports(cursor: &mut Cursor<'_>, reports: &[ReportBlock]) -> Result<(), RtcpError> {
    reports
        .iter()
        .try_for_each(|report| Ok(cursor.put(&report.encode())?))
}

impl From<Full> for RtcpError {
    fn from(_: Full) -> Self {
        Self::NoSpace
    }
}
