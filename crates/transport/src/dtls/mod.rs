//! DTLS-SRTP, server role (RFC 5764, RFC 6347): the handshake of one transport behind a narrow trait of our own.
//!
//! Owns the order of things: hold the ClientHello, read which SRTP profiles and suites it offers, choose one profile and
//! one certificate, and only then make the library's state, with nothing left for it to choose. Refuses clients without an
//! acceptable profile. Whether a datagram may come here at all (ICE has validated its path) is the transport's business.

mod family;
mod hello;
mod record;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use schalter_model::{DropReason, SrtpProfile, Time};

pub use hello::{ClientHello, MalformedHello};

use crate::identity::CertificateKind;
use crate::{CryptoProfile, Identity, TransportFailureKind};
use family::FamilyServer;
use hello::{Collected, HelloCollector};

/// Largest datagram that DTLS sends: every path that carries IPv6 carries it.
const MTU: usize = 1200;
/// RFC 5764 §4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// `insufficient_security` (RFC 5246 §7.2.2).
const INSUFFICIENT_SECURITY: u8 = 71;
/// `handshake_failure`.
const HANDSHAKE_FAILURE: u8 = 40;

/// How a handshake ended well.
pub(crate) struct Outcome {
    /// The negotiated profile.
    pub(crate) profile: SrtpProfile,
    /// Exporter output (RFC 5764 §4.2); a secret.
    pub(crate) keying_material: Vec<u8>,
    /// The client's certificate, DER; its possession of the key is proven.
    pub(crate) peer_certificate: Vec<u8>,
}

/// What a library is set up with once the hello is known.
struct Setup {
    identity: Arc<Identity>,
    certificate: CertificateKind,
    profile: SrtpProfile,
    crypto: CryptoProfile,
}

/// What became of the datagrams and timeouts a library was given.
enum Handled {
    Complete(Outcome),
    Data(Bytes),
    Closed,
    Failed,
}

/// The server side of one DTLS association, as a library provides it. Never reads a clock.
trait DtlsServer: Send {
    /// Takes a datagram; `false` if it was of no use.
    fn handle(&mut self, setup: &Setup, now: Instant, datagram: &[u8]) -> bool;
    fn on_timeout(&mut self, now: Instant);
    fn next_timeout(&self) -> Option<Instant>;
    fn poll_transmit(&mut self) -> Option<Bytes>;
    fn poll_handled(&mut self) -> Option<Handled>;
    /// Sends application data; `false` if the association cannot.
    fn send(&mut self, now: Instant, data: &[u8]) -> bool;
    /// Queues `close_notify`.
    fn close(&mut self, now: Instant);
}

/// What a transport hears from its handshake.
pub(crate) enum DtlsEvent {
    Complete(Outcome),
    /// Application data, that is SCTP.
    Data(Bytes),
    /// The peer's `close_notify`.
    Closed,
    Failed(TransportFailureKind),
}

/// What the handshake of a transport may choose from.
pub(crate) struct DtlsConfig {
    pub(crate) epoch: Instant,
    pub(crate) identity: Arc<Identity>,
    pub(crate) crypto: CryptoProfile,
    pub(crate) handshake_timeout: Duration,
}

enum State {
    /// No complete hello yet.
    Waiting(HelloCollector),
    Running(Box<dyn DtlsServer>, Setup),
    Over,
}

/// DTLS of one transport.
pub(crate) struct Dtls {
    config: DtlsConfig,
    state: State,
    /// When an unfinished handshake has failed.
    deadline: Option<Time>,
    outgoing: VecDeque<Bytes>,
    events: VecDeque<DtlsEvent>,
}

impl Dtls {
    pub(crate) fn new(config: DtlsConfig) -> Self {
        Self {
            config,
            state: State::Waiting(HelloCollector::default()),
            deadline: None,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The peer can reach us from now on: the handshake's time starts.
    pub(crate) fn start(&mut self, now: Time) {
        if self.deadline.is_none() && matches!(self.state, State::Waiting(_)) {
            self.deadline = Some(now + self.config.handshake_timeout);
        }
    }

    fn instant(&self, now: Time) -> Instant {
        self.config.epoch + Duration::from_nanos(now.as_nanos())
    }

    /// Takes a datagram from a validated path.
    ///
    /// # Errors
    /// [`DropReason::DtlsMalformed`] if it was of no use.
    pub(crate) fn on_datagram(&mut self, now: Time, datagram: &[u8]) -> Result<(), DropReason> {
        let instant = self.instant(now);
        match &mut self.state {
            State::Waiting(collector) => match collector.push(datagram) {
                Ok(Collected::More) => Ok(()),
                Ok(Collected::Hello(hello, held)) => {
                    self.begin(instant, &hello, &held);
                    Ok(())
                }
                Err(MalformedHello) => Err(DropReason::DtlsMalformed),
            },
            State::Running(server, setup) => {
                let useful = server.handle(setup, instant, datagram);
                self.settle();
                if useful {
                    Ok(())
                } else {
                    Err(DropReason::DtlsMalformed)
                }
            }
            State::Over => Err(DropReason::DtlsMalformed),
        }
    }

    fn begin(&mut self, now: Instant, hello: &ClientHello, held: &[Bytes]) {
        let Some(profile) = choose_profile(hello, self.config.crypto) else {
            self.refuse(INSUFFICIENT_SECURITY, TransportFailureKind::NoSrtpProfile);
            return;
        };
        let setup = Setup {
            identity: Arc::clone(&self.config.identity),
            certificate: choose_certificate(hello, self.config.crypto),
            profile,
            crypto: self.config.crypto,
        };
        let Some(mut server) = FamilyServer::new(&setup) else {
            self.refuse(HANDSHAKE_FAILURE, TransportFailureKind::Dtls);
            return;
        };
        for datagram in held {
            // A repeated piece among them is of no use to the library; that is no error.
            server.handle(&setup, now, datagram);
        }
        self.state = State::Running(Box::new(server), setup);
        self.settle();
    }

    fn refuse(&mut self, alert: u8, kind: TransportFailureKind) {
        self.outgoing
            .push_back(Bytes::copy_from_slice(&record::fatal_alert(alert)));
        self.fail(kind);
    }

    fn fail(&mut self, kind: TransportFailureKind) {
        self.state = State::Over;
        self.deadline = None;
        self.events.push_back(DtlsEvent::Failed(kind));
    }

    /// Takes over what the library has for us.
    fn settle(&mut self) {
        let State::Running(server, _) = &mut self.state else {
            return;
        };
        while let Some(datagram) = server.poll_transmit() {
            self.outgoing.push_back(datagram);
        }
        while let State::Running(server, _) = &mut self.state {
            match server.poll_handled() {
                None => return,
                Some(Handled::Complete(outcome)) => {
                    self.deadline = None;
                    self.events.push_back(DtlsEvent::Complete(outcome));
                }
                Some(Handled::Data(data)) => self.events.push_back(DtlsEvent::Data(data)),
                Some(Handled::Closed) => {
                    self.state = State::Over;
                    self.deadline = None;
                    self.events.push_back(DtlsEvent::Closed);
                }
                Some(Handled::Failed) => self.fail(TransportFailureKind::Dtls),
            }
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Time) {
        if self.deadline.is_some_and(|at| at <= now) {
            self.fail(TransportFailureKind::Dtls);
            return;
        }
        let instant = self.instant(now);
        if let State::Running(server, _) = &mut self.state {
            server.on_timeout(instant);
            self.settle();
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        let library = match &self.state {
            State::Running(server, _) => server.next_timeout().map(|at| {
                let nanos = at.saturating_duration_since(self.config.epoch).as_nanos();
                Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }),
            State::Waiting(_) | State::Over => None,
        };
        [library, self.deadline].into_iter().flatten().min()
    }

    pub(crate) fn poll_event(&mut self) -> Option<DtlsEvent> {
        self.events.pop_front()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.outgoing.pop_front()
    }

    /// Sends application data; `false` before and after the association.
    pub(crate) fn send(&mut self, now: Time, data: &[u8]) -> bool {
        let instant = self.instant(now);
        let State::Running(server, _) = &mut self.state else {
            return false;
        };
        let sent = server.send(instant, data);
        self.settle();
        sent
    }

    /// Ends the association; queues `close_notify` if there is one.
    pub(crate) fn close(&mut self, now: Time) {
        let instant = self.instant(now);
        if let State::Running(server, _) = &mut self.state {
            server.close(instant);
            while let Some(datagram) = server.poll_transmit() {
                self.outgoing.push_back(datagram);
            }
        }
        self.state = State::Over;
        self.deadline = None;
    }
}

/// AES-GCM before SHA-1, whatever the client prefers: it costs a fifth and the profile decides the CPU per packet.
fn choose_profile(hello: &ClientHello, crypto: CryptoProfile) -> Option<SrtpProfile> {
    SrtpProfile::ALL
        .into_iter()
        .filter(|profile| match (crypto, profile) {
            (CryptoProfile::Bsi, SrtpProfile::Aes128CmSha1_80) => false,
            (CryptoProfile::Bsi | CryptoProfile::Standard, _) => true,
        })
        .find(|profile| hello.offers(*profile))
}

/// ECDSA for whoever takes it, else RSA; the strict profile has ECDSA only (see [`CryptoProfile::Bsi`]).
fn choose_certificate(hello: &ClientHello, crypto: CryptoProfile) -> CertificateKind {
    match crypto {
        CryptoProfile::Standard if !hello.takes_ecdsa() && hello.takes_rsa() => {
            CertificateKind::Rsa
        }
        CryptoProfile::Standard | CryptoProfile::Bsi => CertificateKind::Ecdsa,
    }
}
