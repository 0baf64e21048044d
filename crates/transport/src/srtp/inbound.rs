//! What the peer sends us: authenticate, refuse replays, decrypt in place.

use std::fmt;

use schalter_model::{DropReason, SrtpProfile};
use schalter_rtp::{RtpError, packet};

use super::cipher::{Cipher, Kind};
use super::index::{Seen, Window, guess};
use super::keys::MasterKey;
use super::streams::{Found, HighestIndex, Streams};
use super::{RTCP_CLEAR_LEN, SrtpError, SrtpLimits, rtcp_overhead, rtp_overhead};

/// Replay window of an RTP stream: 1,984 packets, the better part of a second of the fastest screen share.
type RtpWindow = Window<32>;
/// Replay window of an RTCP sender: 192 packets, many seconds of feedback.
type RtcpWindow = Window<4>;

impl<const WORDS: usize> HighestIndex for Window<WORDS> {
    fn highest(&self) -> Option<u64> {
        Some(Self::highest(self))
    }
}

/// Opens SRTP and SRTCP of one peer.
///
/// A packet that fails authentication changes nothing but its own buffer, whose content is undefined then.
pub struct Inbound {
    profile: SrtpProfile,
    rtp: Cipher,
    rtcp: Cipher,
    rtp_streams: Streams<RtpWindow>,
    rtcp_streams: Streams<RtcpWindow>,
    /// The stream that the last new one is.
    new_stream: Option<u32>,
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("profile", &self.profile)
            .field("streams", &self.streams())
            .finish_non_exhaustive()
    }
}

impl Inbound {
    pub(super) fn new(
        profile: SrtpProfile,
        master: &MasterKey,
        limits: SrtpLimits,
    ) -> Result<Self, SrtpError> {
        Ok(Self {
            profile,
            rtp: Cipher::new(profile, Kind::Rtp, master)?,
            rtcp: Cipher::new(profile, Kind::Rtcp, master)?,
            rtp_streams: Streams::new(limits.max_inbound_ssrcs),
            rtcp_streams: Streams::new(limits.max_inbound_ssrcs),
            new_stream: None,
        })
    }

    /// Opens an SRTP packet in place; answers the length of the plain RTP packet at the buffer's start.
    ///
    /// # Errors
    /// [`DropReason::SrtpTruncated`], [`DropReason::RtpMalformed`], [`DropReason::SrtpReplay`],
    /// [`DropReason::SrtpAuth`], or [`DropReason::SrtpTooManySsrcs`].
    pub fn open_rtp(&mut self, datagram: &mut [u8]) -> Result<usize, DropReason> {
        let header_len = packet::header_len(datagram).map_err(|error| {
            if error == RtpError::Truncated {
                DropReason::SrtpTruncated
            } else {
                DropReason::RtpMalformed
            }
        })?;
        let plain_len = datagram
            .len()
            .checked_sub(rtp_overhead(self.profile))
            .filter(|len| *len >= header_len)
            .ok_or(DropReason::SrtpTruncated)?;
        let sequence = u16::from_be_bytes([datagram[2], datagram[3]]);
        let ssrc = u32::from_be_bytes([datagram[8], datagram[9], datagram[10], datagram[11]]);

        let authentic = |cipher: &Cipher, datagram: &mut [u8], index| {
            cipher
                .open_rtp(datagram, header_len, ssrc, index)
                .map_err(|_| DropReason::SrtpAuth)
        };
        let room = self.rtp_streams.has_room();
        match self.rtp_streams.find(ssrc) {
            Found::Live(window) => {
                let index = inbound_index(window.highest(), sequence)?;
                admit(window.check(index))?;
                authentic(&self.rtp, datagram, index)?;
                window.mark(index);
            }
            Found::Ended(_) | Found::Unknown if !room => return Err(DropReason::SrtpTooManySsrcs),
            Found::Ended(highest) => {
                let index = inbound_index(highest, sequence)?;
                let mut window = RtpWindow::resumed_after(highest);
                admit(window.check(index))?;
                authentic(&self.rtp, datagram, index)?;
                window.mark(index);
                self.rtp_streams.insert(ssrc, window);
                self.new_stream = Some(ssrc);
            }
            Found::Unknown => {
                let index = u64::from(sequence);
                authentic(&self.rtp, datagram, index)?;
                self.rtp_streams
                    .insert(ssrc, RtpWindow::starting_at(index))
                    .mark(index);
                self.new_stream = Some(ssrc);
            }
        }
        Ok(plain_len)
    }

    /// The SSRC of a stream that began since the last call, the newest if several did.
    pub fn take_new_stream(&mut self) -> Option<u32> {
        self.new_stream.take()
    }

    /// Opens an SRTCP packet in place; answers the length of the plain RTCP compound packet at the buffer's start.
    ///
    /// # Errors
    /// [`DropReason::SrtpTruncated`], [`DropReason::RtcpMalformed`], [`DropReason::SrtpReplay`],
    /// [`DropReason::SrtpAuth`] (also for a packet that is not encrypted), or [`DropReason::SrtpTooManySsrcs`].
    pub fn open_rtcp(&mut self, datagram: &mut [u8]) -> Result<usize, DropReason> {
        let plain_len = datagram
            .len()
            .checked_sub(rtcp_overhead(self.profile))
            .filter(|len| *len >= RTCP_CLEAR_LEN)
            .ok_or(DropReason::SrtpTruncated)?;
        if datagram[0] >> 6 != 2 {
            return Err(DropReason::RtcpMalformed);
        }
        let ssrc = u32::from_be_bytes([datagram[4], datagram[5], datagram[6], datagram[7]]);
        let index = self.rtcp.rtcp_index(datagram).ok_or(DropReason::SrtpAuth)?;

        let authentic = |cipher: &Cipher, datagram: &mut [u8]| {
            cipher
                .open_rtcp(datagram, ssrc, index)
                .map_err(|_| DropReason::SrtpAuth)
        };
        let room = self.rtcp_streams.has_room();
        match self.rtcp_streams.find(ssrc) {
            Found::Live(window) => {
                admit(window.check(index.into()))?;
                authentic(&self.rtcp, datagram)?;
                window.mark(index.into());
            }
            Found::Ended(_) | Found::Unknown if !room => return Err(DropReason::SrtpTooManySsrcs),
            Found::Ended(highest) => {
                let mut window = RtcpWindow::resumed_after(highest);
                admit(window.check(index.into()))?;
                authentic(&self.rtcp, datagram)?;
                window.mark(index.into());
                self.rtcp_streams.insert(ssrc, window);
                self.new_stream = Some(ssrc);
            }
            Found::Unknown => {
                authentic(&self.rtcp, datagram)?;
                self.rtcp_streams
                    .insert(ssrc, RtcpWindow::starting_at(index.into()))
                    .mark(index.into());
                self.new_stream = Some(ssrc);
            }
        }
        Ok(plain_len)
    }

    /// Gives up the state of a stream that ended, so that it no longer counts against the limit. Its packets stay
    /// known as replays.
    pub fn forget(&mut self, ssrc: u32) {
        self.rtp_streams.forget(ssrc);
        self.rtcp_streams.forget(ssrc);
    }

    /// How many streams have state: RTP and RTCP.
    pub fn streams(&self) -> (usize, usize) {
        (self.rtp_streams.len(), self.rtcp_streams.len())
    }
}

/// The index of a packet of a known stream.
fn inbound_index(highest: u64, sequence: u16) -> Result<u64, DropReason> {
    match guess(highest, sequence) {
        Some(index) => Ok(index),
        // Before the first roll-over there is no lap to fall back to: it can only be a jump ahead.
        None if highest <= u64::from(u16::MAX) => Ok(u64::from(sequence)),
        None => Err(DropReason::SrtpReplay),
    }
}

fn admit(seen: Seen) -> Result<(), DropReason> {
    match seen {
        Seen::New => Ok(()),
        Seen::Before | Seen::TooOld => Err(DropReason::SrtpReplay),
    }
}
