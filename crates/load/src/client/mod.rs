//! The client side of one peer: an ICE agent towards one candidate, DTLS as client, SRTP.
//!
//! Owns what a browser would do before and below RTP, and no more: no socket, no clock. Refuses the DTLS server role and
//! more than one remote candidate, which servers with one UDP port never need.

mod dtls;
mod ice;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use schalter_model::SrtpProfile;
use schalter_transport::Fingerprint;
use schalter_transport::srtp::{DtlsRole, Inbound, Outbound, SessionKeys, SrtpLimits};

pub use dtls::Certificate;
pub use ice::{IceCredentials, IceRole};

use dtls::Handshake;
use ice::Checks;

use crate::error::LoadError;

/// How long a peer may take from its first check to media.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What both SDPs said about one peer.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Who nominates.
    pub role: IceRole,
    /// Our credentials.
    pub local: IceCredentials,
    /// The server's.
    pub remote: IceCredentials,
    /// Where the server listens.
    pub candidate: SocketAddr,
    /// What the server's certificate must be.
    pub fingerprints: Vec<Fingerprint>,
    /// The SRTP profile to offer, the only one.
    pub profile: SrtpProfile,
}

/// What a datagram turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Connectivity checks, handshakes: dealt with.
    Handled,
    /// An RTP packet in the first bytes of the datagram.
    Rtp(usize),
    /// An RTCP packet in the first bytes of the datagram.
    Rtcp(usize),
    /// Not authentic, a duplicate, or not understood.
    Dropped,
}

/// What happened to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// Media can flow.
    Connected,
    /// The server said goodbye.
    Closed,
    /// Over.
    Failed(String),
}

/// One peer.
pub struct ClientPeer {
    profile: SrtpProfile,
    fingerprints: Vec<Fingerprint>,
    checks: Checks,
    handshake: Handshake,
    started: bool,
    deadline: Option<Instant>,
    media: Option<(Outbound, Inbound)>,
    outgoing: VecDeque<Bytes>,
    events: VecDeque<ClientEvent>,
}

impl ClientPeer {
    /// Starts checking.
    ///
    /// # Errors
    /// [`LoadError::Handshake`] when the DTLS library refuses its configuration.
    pub fn new(
        now: Instant,
        config: ClientConfig,
        certificate: &Arc<Certificate>,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            profile: config.profile,
            checks: Checks::new(
                now,
                config.role,
                config.local,
                &config.remote,
                config.candidate,
            ),
            handshake: Handshake::new(certificate, config.profile)?,
            fingerprints: config.fingerprints,
            started: false,
            deadline: Some(now + CONNECT_TIMEOUT),
            media: None,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
        })
    }

    /// Whether media can flow.
    pub fn connected(&self) -> bool {
        self.media.is_some()
    }

    /// Takes one datagram; media is decrypted in place.
    pub fn on_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) -> Incoming {
        match datagram {
            [128..=191, kind, ..] => {
                let rtcp = (192..=223).contains(&*kind);
                let Some((_, inbound)) = &mut self.media else {
                    return Incoming::Dropped;
                };
                let opened = if rtcp {
                    inbound.open_rtcp(datagram)
                } else {
                    inbound.open_rtp(datagram)
                };
                match opened {
                    Ok(len) if rtcp => Incoming::Rtcp(len),
                    Ok(len) => Incoming::Rtp(len),
                    Err(_) => Incoming::Dropped,
                }
            }
            [0..=3, ..] => self.on_stun(now, from, datagram),
            [20..=63, ..] => {
                let result = self.handshake.on_datagram(now, datagram);
                self.after_handshake(result);
                Incoming::Handled
            }
            _ => Incoming::Dropped,
        }
    }

    fn on_stun(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Incoming {
        let Some(heard) = self.checks.on_message(now, from, datagram) else {
            return Incoming::Dropped;
        };
        self.outgoing.extend(heard.answer);
        if heard.nominated && !self.started {
            self.started = true;
            let result = self.handshake.start(now);
            self.after_handshake(result);
        }
        Incoming::Handled
    }

    fn after_handshake(&mut self, result: Result<Option<dtls::Progress>, LoadError>) {
        while let Some(datagram) = self.handshake.poll_transmit() {
            self.outgoing.push_back(datagram);
        }
        match result {
            Ok(None) => {}
            Ok(Some(dtls::Progress::Closed)) => {
                self.media = None;
                self.events.push_back(ClientEvent::Closed);
            }
            Ok(Some(dtls::Progress::Complete { keys, certificate })) => {
                match self.take_keys(&keys, &certificate) {
                    Ok(()) => {
                        self.deadline = None;
                        self.events.push_back(ClientEvent::Connected);
                    }
                    Err(error) => self.fail(error.to_string()),
                }
            }
            // A record that came too late or twice is no reason to give up; the deadline is.
            Err(_) if self.media.is_some() || self.deadline.is_some() => {}
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn take_keys(&mut self, keys: &[u8], certificate: &[u8]) -> Result<(), LoadError> {
        if !self
            .fingerprints
            .iter()
            .any(|fingerprint| dtls::is_fingerprint_of(fingerprint, certificate))
        {
            return Err(LoadError::Handshake(
                "the certificate is not the one of the SDP".to_owned(),
            ));
        }
        let contexts = SessionKeys::from_exporter(self.profile, keys, DtlsRole::Client)
            .and_then(|keys| {
                // A subscriber in a large room hears hundreds of streams.
                keys.into_contexts(SrtpLimits {
                    max_inbound_ssrcs: 4_096,
                    ..SrtpLimits::default()
                })
            })
            .map_err(|error| LoadError::Handshake(error.to_string()))?;
        self.media = Some(contexts);
        Ok(())
    }

    fn fail(&mut self, why: String) {
        self.deadline = None;
        self.media = None;
        self.events.push_back(ClientEvent::Failed(why));
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// The next datagram for the server's candidate.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.outgoing.pop_front()
    }

    /// When [`Self::on_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        [
            Some(self.checks.next_timeout()),
            self.handshake.next_timeout(),
            self.deadline,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Lets time pass.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|at| at <= now) {
            let stage = if self.started { "DTLS" } else { "ICE" };
            self.fail(format!("no connection after {CONNECT_TIMEOUT:?} ({stage})"));
        }
        self.outgoing.extend(self.checks.on_timeout(now));
        let result = self.handshake.on_timeout(now);
        self.after_handshake(result.map(|()| None));
    }

    /// Seals the RTP packet in the first `len` bytes of `buffer`; `None` before the handshake is done.
    pub fn seal_rtp(&mut self, buffer: &mut [u8], len: usize) -> Option<usize> {
        self.media.as_mut()?.0.seal_rtp(buffer, len).ok()
    }

    /// Seals the RTCP packet in the first `len` bytes of `buffer`; `None` before the handshake is done.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Option<usize> {
        self.media.as_mut()?.0.seal_rtcp(buffer, len).ok()
    }

    /// Says goodbye; drain [`Self::poll_transmit`] afterwards.
    pub fn close(&mut self, now: Instant) {
        self.handshake.close(now);
        self.after_handshake(Ok(None));
        self.media = None;
    }
}
