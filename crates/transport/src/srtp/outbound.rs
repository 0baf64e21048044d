//! What we send: one index, one set of bytes.
//!
//! Under AES-GCM two different packets with one index give away the authentication key, under AES-CM the exclusive or
//! of their payloads. So a stream remembers which indexes it used and refuses them. Retransmissions belong into a
//! stream of their own (RFC 4588), where they have sequence numbers of their own. For a peer that negotiated none,
//! [`Outbound::allow_resend`] makes a stream remember its tags: a packet is sealed again only if that yields the very
//! tag of the first time, which is to say that not a byte differs, header extensions included.

use std::fmt;

use schalter_model::SrtpProfile;
use schalter_rtp::packet;

use super::cipher::{Cipher, Kind};
use super::index::{Seen, Window, guess};
use super::keys::MasterKey;
use super::streams::{Found, HighestIndex, Streams};
use super::{RTCP_CLEAR_LEN, SrtpError, SrtpLimits, rtcp_overhead, rtp_overhead};

/// How far back packets may be sealed out of order: 1,984, more than a pacer or a jumping layer holds back.
type SentWindow = Window<32>;
/// How many tags a stream with [`Outbound::allow_resend`] remembers: 8 KiB for about a second of video.
const REMEMBERED_TAGS: usize = 512;
/// Bytes of a tag that are remembered; 64 bits tell a changed packet from the same one.
const TAG_PREFIX: usize = 8;
/// Last SRTCP index (RFC 3711 §3.4): 31 bits.
const MAX_RTCP_INDEX: u32 = (1 << 31) - 1;

/// Seals RTP and RTCP for one peer.
pub struct Outbound {
    profile: SrtpProfile,
    rtp: Cipher,
    rtcp: Cipher,
    streams: Streams<SentStream>,
    /// One counter for all senders: gaps are no harm to a receiver, and no sender's end can lead to reuse.
    next_rtcp_index: u32,
}

#[derive(Default)]
struct SentStream {
    /// `None` before the first packet.
    sent: Option<SentWindow>,
    tags: Option<Box<TagMemory>>,
}

impl HighestIndex for SentStream {
    fn highest(&self) -> Option<u64> {
        self.sent.as_ref().map(Window::highest)
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("profile", &self.profile)
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

impl Outbound {
    pub(super) fn new(
        profile: SrtpProfile,
        master: &MasterKey,
        limits: SrtpLimits,
    ) -> Result<Self, SrtpError> {
        Ok(Self {
            profile,
            rtp: Cipher::new(profile, Kind::Rtp, master)?,
            rtcp: Cipher::new(profile, Kind::Rtcp, master)?,
            streams: Streams::new(limits.max_outbound_ssrcs),
            // Some receivers take index 0 for "none yet", so the first packet gets 1.
            next_rtcp_index: 1,
        })
    }

    /// The profile in use.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Seals the RTP packet in the first `len` bytes of `buffer` in place; answers the length of the SRTP packet, which
    /// is [`rtp_overhead`] longer.
    ///
    /// Packets may come out of order within the window, also across a roll-over of the sequence number. A stream should
    /// start with a sequence number below 2¹⁵, so that a peer that misses the first roll-over can tell
    /// (RFC 3711 §3.3.1).
    ///
    /// # Errors
    /// Any of [`SrtpError`] but `KeyLength`; the buffer must not be sent then.
    pub fn seal_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let header_len = buffer
            .get(..len)
            .ok_or(SrtpError::NoSpace)
            .and_then(|clear| packet::header_len(clear).map_err(|_| SrtpError::Malformed))?;
        let sealed_len = len + rtp_overhead(self.profile);
        let packet = buffer.get_mut(..sealed_len).ok_or(SrtpError::NoSpace)?;
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);

        let stream = Self::stream(&mut self.streams, ssrc)?;
        let first = SentWindow::starting_at(sequence.into());
        let sent = stream.sent.get_or_insert(first);
        let index = outbound_index(sent.highest(), sequence)?;
        match sent.check(index) {
            Seen::New => {
                self.rtp.seal_rtp(packet, header_len, ssrc, index)?;
                sent.mark(index);
                if let Some(tags) = &mut stream.tags {
                    tags.remember(index, &packet[len..]);
                }
                Ok(sealed_len)
            }
            Seen::TooOld => Err(SrtpError::IndexTooOld),
            Seen::Before => {
                let first_tag = stream
                    .tags
                    .as_ref()
                    .and_then(|tags| tags.of(index))
                    .ok_or(SrtpError::IndexReused)?;
                self.rtp.seal_rtp(packet, header_len, ssrc, index)?;
                if packet[len..].starts_with(&first_tag) {
                    Ok(sealed_len)
                } else {
                    // What must never be seen is not left lying about.
                    packet.fill(0);
                    Err(SrtpError::IndexReused)
                }
            }
        }
    }

    /// Seals the RTCP compound packet in the first `len` bytes of `buffer` in place; answers the length of the SRTCP
    /// packet, which is [`rtcp_overhead`] longer.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`], [`SrtpError::NoSpace`], [`SrtpError::KeyExhausted`] or [`SrtpError::Crypto`]; the
    /// buffer must not be sent then.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        if len < RTCP_CLEAR_LEN || buffer.first().is_some_and(|first| first >> 6 != 2) {
            return Err(SrtpError::Malformed);
        }
        let sealed_len = len + rtcp_overhead(self.profile);
        let packet = buffer.get_mut(..sealed_len).ok_or(SrtpError::NoSpace)?;
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let index = self.next_rtcp_index;
        if index > MAX_RTCP_INDEX {
            return Err(SrtpError::KeyExhausted);
        }
        self.next_rtcp_index += 1;
        self.rtcp.seal_rtcp(packet, ssrc, index)?;
        Ok(sealed_len)
    }

    /// Lets packets of `ssrc` be sealed again, as long as they are the same byte for byte: for a peer without a
    /// retransmission stream. Costs 8 KiB for the stream.
    ///
    /// # Errors
    /// [`SrtpError::TooManySsrcs`].
    pub fn allow_resend(&mut self, ssrc: u32) -> Result<(), SrtpError> {
        Self::stream(&mut self.streams, ssrc)?
            .tags
            .get_or_insert_with(|| Box::new(TagMemory::new()));
        Ok(())
    }

    /// Gives up the state of a stream that ended. If it comes back, it goes on after its highest sequence number.
    pub fn forget(&mut self, ssrc: u32) {
        self.streams.forget(ssrc);
    }

    fn stream(streams: &mut Streams<SentStream>, ssrc: u32) -> Result<&mut SentStream, SrtpError> {
        let sent = match streams.find(ssrc) {
            Found::Live(_) => None,
            Found::Ended(highest) => Some(Some(SentWindow::resumed_after(highest))),
            Found::Unknown => Some(None),
        };
        if let Some(sent) = sent {
            if !streams.has_room() {
                return Err(SrtpError::TooManySsrcs);
            }
            return Ok(streams.insert(ssrc, SentStream { sent, tags: None }));
        }
        match streams.find(ssrc) {
            Found::Live(stream) => Ok(stream),
            Found::Ended(_) | Found::Unknown => Err(SrtpError::TooManySsrcs),
        }
    }
}

fn outbound_index(highest: u64, sequence: u16) -> Result<u64, SrtpError> {
    guess(highest, sequence).ok_or(if highest > u64::from(u16::MAX) {
        SrtpError::KeyExhausted
    } else {
        SrtpError::IndexTooOld
    })
}

/// The tags of the last packets of one stream, by index.
struct TagMemory([(u64, [u8; TAG_PREFIX]); REMEMBERED_TAGS]);

/// An index that no packet has: those end at 48 bits.
const NO_INDEX: u64 = u64::MAX;

impl TagMemory {
    const fn new() -> Self {
        Self([(NO_INDEX, [0; TAG_PREFIX]); REMEMBERED_TAGS])
    }

    fn remember(&mut self, index: u64, tag: &[u8]) {
        if let Some(prefix) = tag.first_chunk() {
            self.0[index as usize % REMEMBERED_TAGS] = (index, *prefix);
        }
    }

    fn of(&self, index: u64) -> Option<[u8; TAG_PREFIX]> {
        let (known, prefix) = self.0[index as usize % REMEMBERED_TAGS];
        (known == index).then_some(prefix)
    }
}
