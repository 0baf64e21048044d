//! One peer: ICE-lite decides where it is, DTLS who it is, SRTP protects its media and SCTP carries its channels.
//!
//! Owns the order between the four: nothing but STUN before a path is validated, no media and no channel before the
//! certificate is the announced one. Sans-IO: datagrams and time in, datagrams, events and the next timeout out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use schalter_model::{Carrier, DropReason, Path, SrtpProfile, Time, Ufrag};

use crate::channels::Channels;
use crate::config::TransportFailureKind;
use crate::config::{DataError, TransportConfig, TransportError, TransportEvent, TransportLimits};
use crate::dtls::{Dtls, DtlsConfig, DtlsEvent, Outcome};
use crate::ice::{IceEvent, IceFailure, IceLite, MAX_ICE_RESPONSE_LEN};
use crate::identity::matches_any;
use crate::srtp::{self, DtlsRole, Inbound, Outbound, SessionKeys, SrtpError};
use crate::{ChannelId, DataChannelConfig, Fingerprint, LocalIce, RemoteIce};

/// Answers to checks that wait for [`Transport::poll_transmit`]; the oldest gives way, and the peer asks again.
const STUN_ANSWERS_MAX: usize = 16;

struct StunAnswer {
    path: Path,
    len: usize,
    bytes: [u8; MAX_ICE_RESPONSE_LEN],
}

/// What the peer's identity is worth so far.
enum Peer {
    /// The handshake runs.
    Unknown,
    /// Keys came from outside of DTLS and wait for the first path.
    Keyed(Box<Media>),
    /// Whoever brought the keys answers for who the peer is.
    Vouched,
    /// The handshake is done, the SDP with the fingerprint is not here.
    Unverified(Outcome),
    /// The certificate (DER) is the announced one.
    Verified { certificate: Vec<u8> },
    /// The transport has failed or was closed.
    Over,
}

struct Media {
    profile: SrtpProfile,
    outbound: Outbound,
    inbound: Inbound,
}

impl Media {
    fn new(
        profile: SrtpProfile,
        keying_material: &[u8],
        limits: &TransportLimits,
    ) -> Result<Self, SrtpError> {
        let keys = SessionKeys::from_exporter(profile, keying_material, DtlsRole::Server)?;
        let (outbound, inbound) = keys.into_contexts(limits.srtp)?;
        Ok(Self {
            profile,
            outbound,
            inbound,
        })
    }
}

/// One peer connection's server side.
pub struct Transport {
    epoch: Instant,
    limits: TransportLimits,
    ice: IceLite,
    dtls: Dtls,
    peer: Peer,
    /// As the peer's SDP announced them, once it is known.
    fingerprints: Option<Vec<Fingerprint>>,
    media: Option<Media>,
    channels: Channels,
    stun_answers: VecDeque<StunAnswer>,
    events: VecDeque<TransportEvent>,
}

impl Transport {
    /// Makes a transport that waits for connectivity checks.
    ///
    /// # Errors
    /// [`TransportError::Channel`] when one of the channels to open has too long a label or there are too many.
    pub fn new(now: Time, config: TransportConfig) -> Result<Self, TransportError> {
        let limits = config.limits;
        let mut transport = Self {
            epoch: config.epoch,
            limits,
            ice: IceLite::new(now, &config.ice, config.challenges, limits.ice),
            dtls: Dtls::new(DtlsConfig {
                epoch: config.epoch,
                identity: config.identity,
                crypto: config.crypto,
                handshake_timeout: limits.dtls_handshake_timeout,
            }),
            peer: Peer::Unknown,
            fingerprints: None,
            media: None,
            channels: Channels::new(limits),
            stun_answers: VecDeque::new(),
            events: VecDeque::new(),
        };
        for channel in config.channels {
            transport.open_channel(now, channel)?;
        }
        Ok(transport)
    }

    /// Makes a transport whose SRTP keys were agreed on outside of DTLS, by somebody who answers for who the peer is
    /// (RFC 5763 leaves other key exchanges open; a simulation wants keys that it can repeat). It is connected as soon as
    /// a connectivity check is valid. Without DTLS it has no data channels.
    ///
    /// `keying_material` is laid out as the DTLS exporter's output, we being the server (RFC 5764 §4.2).
    ///
    /// # Errors
    /// [`TransportError::Keys`] unless there are [`srtp::exporter_len`] bytes, [`TransportError::Channel`] when channels
    /// are to be opened.
    pub fn with_keys(
        now: Time,
        config: TransportConfig,
        profile: SrtpProfile,
        keying_material: &[u8],
    ) -> Result<Self, TransportError> {
        if !config.channels.is_empty() {
            return Err(DataError::NotOpen.into());
        }
        let mut transport = Self::new(now, config)?;
        let media = Media::new(profile, keying_material, &transport.limits)?;
        transport.dtls.close(now);
        transport.peer = Peer::Keyed(Box::new(media));
        Ok(transport)
    }

    /// Tells the peer's side of the SDP. May come late (a finished handshake is held until then) and again. A certificate that
    /// is not among `fingerprints` fails the transport, at whatever time.
    pub fn set_remote(&mut self, now: Time, ice: RemoteIce, fingerprints: Vec<Fingerprint>) {
        self.ice.set_remote(ice);
        if let Peer::Verified { certificate } = &self.peer
            && !matches_any(certificate, &fingerprints)
        {
            self.fail(now, TransportFailureKind::FingerprintMismatch);
            return;
        }
        self.fingerprints = Some(fingerprints);
        self.verify(now);
        self.pump(now);
    }

    /// Starts a new ICE generation; checks for the old one count until the first for the new one (RFC 8445 §9).
    pub fn restart_ice(&mut self, _now: Time, ice: &LocalIce) {
        self.ice.restart(ice);
    }

    /// Whether checks for this user are for this transport now.
    pub fn serves(&self, ufrag: &Ufrag) -> bool {
        self.ice.serves(ufrag)
    }

    /// Takes a STUN datagram: a check, or the answer to a question of ours. What it is answered is queued for
    /// [`Self::poll_transmit`].
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn on_stun(&mut self, now: Time, path: Path, datagram: &[u8]) -> Result<(), DropReason> {
        let mut bytes = [0; MAX_ICE_RESPONSE_LEN];
        let answer = self.ice.on_request(now, path, datagram, &mut bytes)?;
        if answer.len > 0 {
            if self.stun_answers.len() == STUN_ANSWERS_MAX {
                self.stun_answers.pop_front();
            }
            self.stun_answers.push_back(StunAnswer {
                path,
                len: answer.len,
                bytes,
            });
        }
        self.pump(now);
        Ok(())
    }

    /// Takes a DTLS datagram.
    ///
    /// # Errors
    /// [`DropReason::DtlsBeforeIce`] unless a check succeeded on `path`; otherwise why it, or a message in it, was dropped.
    pub fn on_dtls(&mut self, now: Time, path: Path, datagram: &[u8]) -> Result<(), DropReason> {
        if !self.ice.is_validated(&path) {
            return Err(DropReason::DtlsBeforeIce);
        }
        let result = self.dtls.on_datagram(now, datagram);
        match (self.pump(now), result) {
            (Some(dropped), Ok(())) => Err(dropped),
            (_, result) => result,
        }
    }

    /// Authenticates and decrypts an SRTP packet in place; answers the length of the RTP packet.
    ///
    /// By UDP it may come from where no check came from: that it is authentic and new says more of it than an address would, and
    /// whoever could bring it from elsewhere could as well have let it pass. Only where we *send* to needs a proof, for which
    /// [`Self::poll_transmit`] asks then (RFC 7675 §5.1).
    ///
    /// # Errors
    /// Why it was dropped; the bytes are then of no use.
    pub fn open_rtp(
        &mut self,
        now: Time,
        path: Path,
        datagram: &mut [u8],
    ) -> Result<usize, DropReason> {
        let media = open_from(&self.ice, &mut self.media, &path)?;
        let len = media.inbound.open_rtp(datagram)?;
        self.on_media(now, &path);
        Ok(len)
    }

    /// Authenticates and decrypts an SRTCP packet in place; answers the length of the RTCP packet. Where it may come from is said
    /// at [`Self::open_rtp`].
    ///
    /// # Errors
    /// Why it was dropped; the bytes are then of no use.
    pub fn open_rtcp(
        &mut self,
        now: Time,
        path: Path,
        datagram: &mut [u8],
    ) -> Result<usize, DropReason> {
        let media = open_from(&self.ice, &mut self.media, &path)?;
        let len = media.inbound.open_rtcp(datagram)?;
        self.on_media(now, &path);
        Ok(len)
    }

    fn on_media(&mut self, now: Time, path: &Path) {
        self.ice.on_media(now, path);
        while let Some(event) = self.ice.poll_event() {
            self.on_ice(now, event);
        }
    }

    /// Encrypts the RTP packet in the first `len` bytes of `buffer` in place; answers the length of the SRTP packet.
    ///
    /// # Errors
    /// [`SealError::NotReady`] before [`Self::media_ready`], else what SRTP refused.
    pub fn seal_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SealError> {
        let media = self.media.as_mut().ok_or(SealError::NotReady)?;
        Ok(media.outbound.seal_rtp(buffer, len)?)
    }

    /// Encrypts the RTCP packet in the first `len` bytes of `buffer` in place; answers the length of the SRTCP packet.
    ///
    /// # Errors
    /// [`SealError::NotReady`] before [`Self::media_ready`], else what SRTP refused.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SealError> {
        let media = self.media.as_mut().ok_or(SealError::NotReady)?;
        Ok(media.outbound.seal_rtcp(buffer, len)?)
    }

    /// Whether media can flow: the peer is verified and a path to it is known.
    pub fn media_ready(&self) -> bool {
        self.media.is_some() && self.ice.selected().is_some()
    }

    /// Where to send to.
    pub fn path(&self) -> Option<Path> {
        self.ice.selected()
    }

    /// Whether a question to a path that has to prove itself waits for [`Self::poll_transmit`].
    pub fn has_challenge(&self) -> bool {
        self.ice.has_challenge()
    }

    /// The SSRC of a stream that the peer began to send since the last call, as its last authentic packet showed.
    pub fn take_new_stream(&mut self) -> Option<u32> {
        self.media.as_mut()?.inbound.take_new_stream()
    }

    /// Whether a check succeeded on `path`, so that a demultiplexer may send its datagrams here.
    pub fn is_validated(&self, path: &Path) -> bool {
        self.ice.is_validated(path)
    }

    /// Forgets a path that can carry nothing any more, see [`IceLite::forget_path`](crate::ice::IceLite::forget_path).
    pub fn forget_path(&mut self, now: Time, path: &Path) {
        self.ice.forget_path(path);
        self.pump(now);
    }

    /// What protects the media.
    pub fn srtp_profile(&self) -> Option<SrtpProfile> {
        self.media.as_ref().map(|media| media.profile)
    }

    /// Bytes that [`Self::seal_rtp`] appends; the largest of all profiles before one is negotiated.
    pub fn rtp_overhead(&self) -> usize {
        self.srtp_profile()
            .map_or(srtp::MAX_SRTP_OVERHEAD, srtp::rtp_overhead)
    }

    /// Writes the next datagram to send into `out`, which should hold 1,500 bytes; answers where to and its length. One
    /// that does not fit is dropped, which its protocol takes for a loss.
    pub fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<(Path, usize)> {
        if let Some(answer) = self.poll_answer(now, out) {
            return Some(answer);
        }
        let path = self.ice.selected()?;
        while let Some(datagram) = self.dtls.poll_transmit() {
            if let Some(target) = out.get_mut(..datagram.len()) {
                target.copy_from_slice(&datagram);
                return Some((path, datagram.len()));
            }
        }
        None
    }

    /// Like [`Self::poll_transmit`], but only what answers a check, on the path that it came by, or asks another path than the one
    /// in use for proof.
    pub fn poll_answer(&mut self, now: Time, out: &mut [u8]) -> Option<(Path, usize)> {
        while let Some(answer) = self.stun_answers.pop_front() {
            if let Some(target) = out.get_mut(..answer.len) {
                target.copy_from_slice(&answer.bytes[..answer.len]);
                return Some((answer.path, answer.len));
            }
        }
        self.ice.write_challenge(now, out)
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// When [`Self::on_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        let sctp = self.channels.sctp.next_timeout().map(|at| {
            let nanos = at.saturating_duration_since(self.epoch).as_nanos();
            Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        });
        [self.ice.next_timeout(), self.dtls.next_timeout(), sctp]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets time pass.
    pub fn on_timeout(&mut self, now: Time) {
        self.ice.on_timeout(now);
        self.dtls.on_timeout(now);
        self.channels.sctp.on_timeout(self.instant(now));
        self.pump(now);
    }

    /// Opens a data channel, now or as soon as SCTP is up.
    ///
    /// # Errors
    /// [`DataError::LabelTooLong`], [`DataError::TooManyChannels`], or [`DataError::NotOpen`] when the transport is over.
    pub fn open_channel(
        &mut self,
        now: Time,
        config: DataChannelConfig,
    ) -> Result<ChannelId, DataError> {
        let instant = self.instant(now);
        let channel = self.channels.open(instant, config)?;
        self.pump(now);
        Ok(channel)
    }

    /// Closes a data channel; [`TransportEvent::ChannelClosed`] follows when the peer has agreed.
    ///
    /// # Errors
    /// [`DataError::UnknownChannel`].
    pub fn close_channel(&mut self, now: Time, channel: ChannelId) -> Result<(), DataError> {
        let instant = self.instant(now);
        self.channels.close(instant, channel, &mut self.events)?;
        self.pump(now);
        Ok(())
    }

    /// The channel with this label, open or about to be.
    pub fn channel_by_label(&self, label: &str) -> Option<ChannelId> {
        self.channels.by_label(label)
    }

    /// Sends a message. On a reliable channel that is not open yet it waits (bounded), on another it is refused.
    ///
    /// # Errors
    /// [`DataError::UnknownChannel`], [`DataError::TooLarge`], [`DataError::BufferFull`], [`DataError::NotOpen`], or
    /// [`DataError::NotText`].
    pub fn send_data(
        &mut self,
        now: Time,
        channel: ChannelId,
        binary: bool,
        data: Bytes,
    ) -> Result<(), DataError> {
        let instant = self.instant(now);
        self.channels.send(instant, channel, binary, data)?;
        self.pump(now);
        Ok(())
    }

    /// Says goodbye (SCTP ABORT, DTLS `close_notify`); drain [`Self::poll_transmit`] afterwards. Reports no event.
    pub fn close(&mut self, now: Time) {
        self.channels.sctp.abort(self.instant(now));
        self.flush_sctp(now);
        self.dtls.close(now);
        self.ice.stop_challenges();
        self.media = None;
        self.peer = Peer::Over;
    }

    fn instant(&self, now: Time) -> Instant {
        self.epoch + Duration::from_nanos(now.as_nanos())
    }

    /// Lets the four talk to each other until none has anything to say. Answers the last reason why a message was dropped.
    fn pump(&mut self, now: Time) -> Option<DropReason> {
        let mut dropped = None;
        while let Some(event) = self.ice.poll_event() {
            self.on_ice(now, event);
        }
        while let Some(event) = self.dtls.poll_event() {
            match event {
                DtlsEvent::Complete(outcome) => {
                    self.peer = Peer::Unverified(outcome);
                    self.verify(now);
                }
                DtlsEvent::Data(packet) => {
                    let instant = self.instant(now);
                    // Before the certificate is verified, SCTP is not started and only holds the first of these.
                    if let Err(reason) = self.channels.sctp.on_packet(instant, packet) {
                        dropped = Some(reason);
                    }
                }
                DtlsEvent::Closed => {
                    self.close(now);
                    self.events.push_back(TransportEvent::Closed);
                }
                DtlsEvent::Failed(kind) => self.fail(now, kind),
            }
        }
        let instant = self.instant(now);
        dropped = self.channels.settle(instant, &mut self.events).or(dropped);
        self.flush_sctp(now);
        dropped
    }

    fn flush_sctp(&mut self, now: Time) {
        while let Some(packet) = self.channels.sctp.poll_transmit() {
            self.dtls.send(now, &packet);
        }
    }

    fn on_ice(&mut self, now: Time, event: IceEvent) {
        let event = match event {
            IceEvent::Connected(_) => {
                self.dtls.start(now);
                self.events.push_back(TransportEvent::Connecting);
                self.start_keyed();
                return;
            }
            IceEvent::PathChanged(_) => TransportEvent::PathChanged,
            IceEvent::Disconnected => TransportEvent::Disconnected,
            IceEvent::Reconnected => TransportEvent::Reconnected,
            IceEvent::Failed(failure) => {
                let kind = match failure {
                    IceFailure::NeverConnected => TransportFailureKind::NeverConnected,
                    IceFailure::ConsentLost => TransportFailureKind::ConsentLost,
                };
                self.fail(now, kind);
                return;
            }
        };
        self.events.push_back(event);
    }

    /// Takes the keys into use if the handshake is done and the peer is who its SDP says.
    fn verify(&mut self, now: Time) {
        let (Peer::Unverified(outcome), Some(fingerprints)) = (&self.peer, &self.fingerprints)
        else {
            return;
        };
        if !matches_any(&outcome.peer_certificate, fingerprints) {
            self.fail(now, TransportFailureKind::FingerprintMismatch);
            return;
        }
        let profile = outcome.profile;
        let Ok(media) = Media::new(profile, &outcome.keying_material, &self.limits) else {
            self.fail(now, TransportFailureKind::Dtls);
            return;
        };
        let Peer::Unverified(outcome) = std::mem::replace(&mut self.peer, Peer::Over) else {
            return;
        };
        self.peer = Peer::Verified {
            certificate: outcome.peer_certificate,
        };
        self.media = Some(media);
        self.events.push_back(TransportEvent::Connected { profile });
        let instant = self.instant(now);
        self.channels.sctp.start(instant);
    }

    /// Takes keys that came with the transport into use, now that there is a path.
    fn start_keyed(&mut self) {
        let peer = std::mem::replace(&mut self.peer, Peer::Vouched);
        let Peer::Keyed(media) = peer else {
            self.peer = peer;
            return;
        };
        let profile = media.profile;
        self.media = Some(*media);
        self.events.push_back(TransportEvent::Connected { profile });
    }

    fn fail(&mut self, now: Time, kind: TransportFailureKind) {
        if matches!(self.peer, Peer::Over) {
            return;
        }
        self.close(now);
        self.events.push_back(TransportEvent::Failed(kind));
    }
}

fn open_from<'a>(
    ice: &IceLite,
    media: &'a mut Option<Media>,
    path: &Path,
) -> Result<&'a mut Media, DropReason> {
    if path.carrier != Carrier::Udp && !ice.is_validated(path) {
        return Err(DropReason::UnknownPeer);
    }
    media.as_mut().ok_or(DropReason::SrtpBeforeKeys)
}

/// Why a packet could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The handshake has not brought keys, or the transport is over.
    #[error("no keys")]
    NotReady,
    /// SRTP refused the packet.
    #[error(transparent)]
    Srtp(#[from] SrtpError),
}
