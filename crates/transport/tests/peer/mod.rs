//! A client on the webrtc family's DTLS and SCTP, and a network in memory between it and a [`Transport`].
//!
//! Time is ours: it moves only when nothing is in flight, to the next timer of either side.

#![expect(dead_code, reason = "each test binary uses another part")]
#![expect(
    clippy::unwrap_used,
    reason = "part of tests: a panic is a failed test"
)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::ConfigBuilder;
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier, ReliabilityType, ServerConfig, StreamEvent,
};
use rtc_shared::TransportProtocol;
use schalter_model::{DropReason, Path, ShardId, SrtpProfile, Time, Ufrag};
use schalter_transport::ice::ChallengeSecret;
use schalter_transport::srtp::{
    DtlsRole, Inbound, Outbound, SessionKeys, SrtpLimits, exporter_len,
};
use schalter_transport::stun::{
    BINDING, IntegrityKey, StunClass, StunWriter, TransactionId, attribute,
};
use schalter_transport::{
    CryptoProfile, Dcep, Fingerprint, FingerprintHash, Identity, LocalIce, RemoteIce, Transport,
    TransportConfig, TransportEvent, TransportLimits,
};

pub(crate) const GCM_128: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
pub(crate) const GCM_256: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm;
pub(crate) const SHA1_80: SrtpProtectionProfile =
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;
pub(crate) const SHA1_32: SrtpProtectionProfile =
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32;

const PASSWORD: &str = "a-password-of-22-chars";
const CLIENT_UFRAG: &str = "client";
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

/// Key generation takes long; every test may share it.
pub(crate) static IDENTITY: LazyLock<Arc<Identity>> =
    LazyLock::new(|| Arc::new(Identity::generate().unwrap()));

pub(crate) fn path(port: u16) -> Path {
    Path::udp(SocketAddr::from(([127, 0, 0, 1], port)), None)
}

pub(crate) struct ClientConfigOf {
    pub(crate) profiles: Vec<SrtpProtectionProfile>,
    pub(crate) suites: Vec<CipherSuiteId>,
    pub(crate) mtu: usize,
    /// Sends INIT by itself, as browsers do.
    pub(crate) initiates_sctp: bool,
}

impl Default for ClientConfigOf {
    fn default() -> Self {
        Self {
            profiles: vec![SHA1_80, GCM_256, GCM_128],
            suites: vec![
                CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
                CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
            ],
            mtu: 1200,
            initiates_sctp: true,
        }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) enum ClientEvent {
    Open {
        stream: u16,
        config: schalter_transport::DataChannelConfig,
    },
    Ack {
        stream: u16,
    },
    Message {
        stream: u16,
        ppi: PayloadProtocolIdentifier,
        data: Bytes,
    },
    Reset {
        stream: u16,
    },
}

pub(crate) struct Client {
    pub(crate) dtls: Endpoint,
    config: Option<Arc<rtc_dtls::config::HandshakeConfig>>,
    pub(crate) certificate: Vec<u8>,
    pub(crate) complete: bool,
    pub(crate) closed: bool,
    pub(crate) failed: bool,
    initiates_sctp: bool,
    sctp: rtc_sctp::Endpoint,
    pub(crate) association: Option<(AssociationHandle, Association)>,
    pub(crate) established: bool,
    pub(crate) events: Vec<ClientEvent>,
    /// Channels whose ACK waits for our COOKIE ACK, if that was lost.
    unacknowledged: Vec<u16>,
    transaction: u8,
}

fn fingerprint_of(certificate: &[u8]) -> Fingerprint {
    Fingerprint {
        hash: FingerprintHash::Sha256,
        digest: aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate)
            .as_ref()
            .to_vec(),
    }
}

impl Client {
    fn new(config: ClientConfigOf) -> Self {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let certificate =
            Certificate::generate_self_signed(vec!["client".to_owned()], provider.crypto())
                .unwrap();
        let der = certificate.certificate[0].to_vec();
        let dtls = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![certificate])
            .with_cipher_suites(config.suites)
            .with_srtp_protection_profiles(config.profiles)
            .with_insecure_skip_verify(true)
            .with_mtu(config.mtu)
            .build(true, None)
            .unwrap();
        Self {
            dtls: Endpoint::new(SERVER, TransportProtocol::UDP, None),
            config: Some(Arc::new(dtls)),
            certificate: der,
            complete: false,
            closed: false,
            failed: false,
            initiates_sctp: config.initiates_sctp,
            sctp: rtc_sctp::Endpoint::new(
                SERVER,
                TransportProtocol::UDP,
                Arc::new(EndpointConfig::new()),
                Some(Arc::new(ServerConfig::default())),
            ),
            association: None,
            established: false,
            events: Vec::new(),
            unacknowledged: Vec::new(),
            transaction: 0,
        }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        fingerprint_of(&self.certificate)
    }

    /// Of the certificate that the server has shown.
    pub(crate) fn server_fingerprint(&self) -> Option<Fingerprint> {
        let state = self.dtls.get_connection_state(SERVER)?;
        Some(fingerprint_of(state.peer_certificates.first()?))
    }

    /// A check, as an ICE agent sends it.
    pub(crate) fn check(&mut self, ufrag: Ufrag, password: &str) -> Vec<u8> {
        self.transaction += 1;
        let mut out = vec![0; 256];
        let mut writer = StunWriter::new(
            &mut out,
            StunClass::Request,
            BINDING,
            TransactionId([self.transaction; 12]),
        )
        .unwrap();
        let user = format!("{ufrag}:{CLIENT_UFRAG}");
        writer
            .attribute(attribute::USERNAME, user.as_bytes())
            .unwrap();
        writer
            .attribute(attribute::PRIORITY, &[0, 0, 1, 0])
            .unwrap();
        writer
            .attribute(attribute::ICE_CONTROLLING, &[7; 8])
            .unwrap();
        writer.attribute(attribute::USE_CANDIDATE, &[]).unwrap();
        writer
            .integrity(&IntegrityKey::new(password.as_bytes()))
            .unwrap();
        let len = writer.fingerprint().unwrap();
        out.truncate(len);
        out
    }

    fn read(&mut self, now: Instant, datagram: &[u8]) {
        match self.dtls.read(now, SERVER, None, BytesMut::from(datagram)) {
            Ok(events) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => {
                            self.complete = true;
                            if self.initiates_sctp {
                                self.association = Some(
                                    self.sctp
                                        .connect(now, ClientConfig::default(), SERVER)
                                        .unwrap(),
                                );
                            }
                        }
                        EndpointEvent::ApplicationData(data) => self.on_sctp(now, data.freeze()),
                        EndpointEvent::PeerClosed => self.closed = true,
                        _ => {}
                    }
                }
            }
            Err(_) => self.failed = true,
        }
        self.pump(now);
    }

    fn on_sctp(&mut self, now: Instant, packet: Bytes) {
        match self.sctp.handle(now, SERVER, None, packet) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association = Some((handle, association));
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Some((known, association)) = &mut self.association
                    && *known == handle
                {
                    association.handle_event(event);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn pump(&mut self, now: Instant) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => self.established = true,
                Event::AssociationLost { id, .. } => {
                    self.events.push(ClientEvent::Reset { stream: id });
                }
                Event::Stream(StreamEvent::Readable { id }) => {
                    while let Ok(Some(message)) = association.stream(id).unwrap().read_sctp() {
                        let data = message.to_payload(usize::MAX).unwrap().freeze();
                        if message.ppi == PayloadProtocolIdentifier::Dcep {
                            match Dcep::parse(&data).unwrap() {
                                Dcep::Open(config) => {
                                    self.unacknowledged.push(id);
                                    self.events.push(ClientEvent::Open { stream: id, config });
                                }
                                Dcep::Ack => self.events.push(ClientEvent::Ack { stream: id }),
                            }
                        } else {
                            self.events.push(ClientEvent::Message {
                                stream: id,
                                ppi: message.ppi,
                                data,
                            });
                        }
                    }
                }
                Event::Stream(_) | Event::HandshakeFailed { .. } | Event::DatagramReceived | _ => {}
            }
        }
        if self.established {
            for id in self.unacknowledged.drain(..) {
                let mut stream = association.stream(id).unwrap();
                stream
                    .write_with_ppi(now, &Dcep::Ack.to_bytes(), PayloadProtocolIdentifier::Dcep)
                    .unwrap();
            }
        }
        while let Some(transmit) = association.poll_transmit(now) {
            if let Payload::RawEncode(packets) = transmit.message {
                for packet in packets {
                    let _ = self.dtls.write(now, SERVER, &packet);
                }
            }
        }
    }

    /// The client's end of the negotiated SRTP session.
    pub(crate) fn media(&self, profile: SrtpProfile) -> (Outbound, Inbound) {
        let keys = self
            .dtls
            .get_connection_state(SERVER)
            .unwrap()
            .export_keying_material("EXTRACTOR-dtls_srtp", &[], exporter_len(profile))
            .unwrap();
        SessionKeys::from_exporter(profile, keys.as_ref(), DtlsRole::Client)
            .unwrap()
            .into_contexts(SrtpLimits::default())
            .unwrap()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let sctp = self
            .association
            .as_ref()
            .and_then(|(_, a)| a.poll_timeout());
        [self.dtls.poll_timeout(&SERVER), sctp]
            .into_iter()
            .flatten()
            .min()
    }

    fn on_timeout(&mut self, now: Instant) {
        if self.dtls.handle_timeout(SERVER, now).is_err() {
            self.failed = true;
        }
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.pump(now);
    }
}

/// Which datagrams get lost.
pub(crate) type Loss = Box<dyn FnMut(Direction, usize) -> bool>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

pub(crate) struct Pair {
    pub(crate) epoch: Instant,
    pub(crate) now: Time,
    pub(crate) server: Transport,
    pub(crate) client: Client,
    /// The path that the client sends from.
    pub(crate) path: Path,
    pub(crate) ufrag: Ufrag,
    /// Called with the direction and the number of the DTLS datagram in it.
    pub(crate) loss: Loss,
    counts: [usize; 2],
    pub(crate) events: VecDeque<TransportEvent>,
    pub(crate) drops: Vec<DropReason>,
    /// Where the server sent DTLS to last.
    pub(crate) sent_to: Option<Path>,
}

pub(crate) struct PairConfig {
    pub(crate) client: ClientConfigOf,
    pub(crate) crypto: CryptoProfile,
    pub(crate) channels: Vec<schalter_transport::DataChannelConfig>,
    pub(crate) limits: TransportLimits,
}

impl Default for PairConfig {
    fn default() -> Self {
        Self {
            client: ClientConfigOf::default(),
            crypto: CryptoProfile::Standard,
            channels: Vec::new(),
            limits: TransportLimits::default(),
        }
    }
}

impl Pair {
    pub(crate) fn new(config: PairConfig) -> Self {
        let epoch = Instant::now();
        let now = Time::from_millis(1);
        let ufrag = Ufrag::new(0, ShardId(0), 7);
        let server = Transport::new(
            now,
            TransportConfig {
                epoch,
                identity: Arc::clone(&IDENTITY),
                crypto: config.crypto,
                ice: LocalIce {
                    ufrag,
                    password: PASSWORD.into(),
                },
                challenges: ChallengeSecret::new([1; ChallengeSecret::LEN]),
                channels: config.channels,
                limits: config.limits,
            },
        )
        .unwrap();
        Self {
            epoch,
            now,
            server,
            client: Client::new(config.client),
            path: path(1000),
            ufrag,
            loss: Box::new(|_, _| false),
            counts: [0; 2],
            events: VecDeque::new(),
            drops: Vec::new(),
            sent_to: None,
        }
    }

    /// A pair whose server knows the client's fingerprint.
    pub(crate) fn introduced(config: PairConfig) -> Self {
        let mut pair = Self::new(config);
        let fingerprint = pair.client.fingerprint();
        pair.introduce(vec![fingerprint]);
        pair
    }

    pub(crate) fn introduce(&mut self, fingerprints: Vec<Fingerprint>) {
        let ice = RemoteIce {
            ufrag: CLIENT_UFRAG.into(),
            password: "the-client's-own-password".into(),
        };
        self.server.set_remote(self.now, ice, fingerprints);
    }

    pub(crate) fn instant(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.now.as_nanos())
    }

    /// Checks connectivity from the client's path and asserts that it was answered.
    pub(crate) fn check(&mut self) {
        let check = self.client.check(self.ufrag, PASSWORD);
        self.server.on_stun(self.now, self.path, &check).unwrap();
        let mut out = [0; 1500];
        let (to, _) = self.server.poll_transmit(self.now, &mut out).unwrap();
        assert_eq!(to, self.path);
    }

    /// Sends the first flight.
    pub(crate) fn connect(&mut self) {
        self.check();
        let config = self.client.config.take().unwrap();
        let now = self.instant();
        self.client.dtls.connect(now, SERVER, config, None).unwrap();
    }

    /// Moves datagrams until none is left.
    pub(crate) fn exchange(&mut self) {
        let mut out = [0; 1500];
        loop {
            let mut moved = false;
            let now = self.instant();
            self.client.pump(now);
            while let Some(transmit) = self.client.dtls.poll_transmit() {
                moved = true;
                self.counts[0] += 1;
                if (self.loss)(Direction::ToServer, self.counts[0]) {
                    continue;
                }
                if let Err(reason) = self.server.on_dtls(self.now, self.path, &transmit.message) {
                    self.drops.push(reason);
                }
            }
            while let Some((to, len)) = self.server.poll_transmit(self.now, &mut out) {
                moved = true;
                self.sent_to = Some(to);
                self.counts[1] += 1;
                if !(self.loss)(Direction::ToClient, self.counts[1]) {
                    self.client.read(now, &out[..len]);
                }
            }
            while let Some(event) = self.server.poll_event() {
                self.events.push_back(event);
            }
            if !moved {
                return;
            }
        }
    }

    /// Lets time pass until `done`, with checks every two seconds as a browser sends them, for at most `limit`.
    pub(crate) fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        let mut next_check = self.now + Duration::from_secs(2);
        loop {
            self.exchange();
            if done(self) {
                return true;
            }
            let client = self.client.next_timeout().map(|at| {
                Time::from_nanos(at.saturating_duration_since(self.epoch).as_nanos() as u64)
            });
            let next = [self.server.next_timeout(), client, Some(next_check)]
                .into_iter()
                .flatten()
                .min()
                .expect("checks never end");
            if next > end {
                self.now = end;
                return false;
            }
            // Never stand still: a timer that does not go away would spin.
            self.now = next.max(self.now + Duration::from_micros(100));
            if self.now >= next_check {
                next_check = self.now + Duration::from_secs(2);
                let check = self.client.check(self.ufrag, PASSWORD);
                let _ = self.server.on_stun(self.now, self.path, &check);
            }
            let now = self.instant();
            self.client.on_timeout(now);
            self.server.on_timeout(self.now);
        }
    }

    pub(crate) fn run_until_connected(&mut self) -> bool {
        self.run(Duration::from_secs(40), |pair| {
            pair.saw_connected().is_some()
        })
    }

    pub(crate) fn run_until_sctp(&mut self) {
        assert!(
            self.run(Duration::from_secs(40), |pair| pair.client.established),
            "no SCTP"
        );
        self.exchange();
    }

    pub(crate) fn saw_connected(&self) -> Option<SrtpProfile> {
        self.events.iter().find_map(|event| {
            if let TransportEvent::Connected { profile } = event {
                Some(*profile)
            } else {
                None
            }
        })
    }

    pub(crate) fn saw(&self, wanted: &TransportEvent) -> bool {
        self.events.contains(wanted)
    }

    /// The client opens a channel and says so.
    pub(crate) fn client_opens(
        &mut self,
        stream: u16,
        config: &schalter_transport::DataChannelConfig,
    ) {
        let now = self.instant();
        let (_, association) = self.client.association.as_mut().unwrap();
        let mut handle = association
            .open_stream(stream, PayloadProtocolIdentifier::Binary)
            .unwrap();
        handle
            .set_reliability_params(false, ReliabilityType::Reliable, 0)
            .unwrap();
        handle
            .write_with_ppi(
                now,
                &Dcep::Open(config.clone()).to_bytes(),
                PayloadProtocolIdentifier::Dcep,
            )
            .unwrap();
        self.exchange();
    }

    pub(crate) fn client_sends(
        &mut self,
        stream: u16,
        ppi: PayloadProtocolIdentifier,
        data: &[u8],
    ) {
        let now = self.instant();
        let (_, association) = self.client.association.as_mut().unwrap();
        association
            .stream(stream)
            .unwrap()
            .write_with_ppi(now, data, ppi)
            .unwrap();
        self.exchange();
    }
}
