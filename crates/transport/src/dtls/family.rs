//! DTLS 1.2 on `rtc-dtls`.
//!
//! Our own gate stands in front of it: the library copies handshake fragments into memory before anything is
//! authenticated, so only fragments that a real client may send get through, a bounded number of them, and after the
//! handshake no plaintext record at all (RFC 6347 §4.1.2.7 lets us discard; a client that lost our last flight repeats its
//! Finished under keys, and that is enough to make the library repeat ours).

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_dtls::crypto_provider::{RTCCryptoProvider, SignatureScheme};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use schalter_model::SrtpProfile;

use super::record::{ALERT, Fragments, HANDSHAKE, Records};
use super::{DtlsServer, Handled, MTU, Outcome, Setup};
use crate::CryptoProfile;
use crate::identity::CertificateKind;
use crate::srtp::exporter_len;

/// The peer's address as the library sees it: always the same, so that a client that changes network keeps its session.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4);
/// Time between retransmissions of a flight; the library gives up after seven of them.
const FLIGHT_INTERVAL: Duration = Duration::from_secs(1);
/// Handshake fragments taken before keys are in use. A client needs about ten, times the flights it repeats; the library's
/// reassembly recurses once per fragment.
const FRAGMENTS_MAX: usize = 512;
/// No handshake message of a client is longer: its certificate is the longest.
const MESSAGE_MAX: usize = 16 * 1024;
/// Bytes taken before the handshake is complete, for what the library queues until it has keys.
const HANDSHAKE_BYTES_MAX: usize = 128 * 1024;

pub(super) struct FamilyServer {
    endpoint: Endpoint,
    events: VecDeque<Handled>,
    outgoing: VecDeque<Bytes>,
    complete: bool,
    fragments: usize,
    bytes: usize,
}

fn certificate(setup: &Setup, provider: &dyn RTCCryptoProvider) -> Option<Certificate> {
    let credential = setup.identity.credential(setup.certificate);
    let scheme = match setup.certificate {
        CertificateKind::Ecdsa => SignatureScheme::EcdsaP256Sha256,
        CertificateKind::Rsa => SignatureScheme::RsaPkcs1Sha256,
    };
    let key = provider
        .crypto()
        .import_signing_key(scheme, &credential.private_key)
        .ok()?;
    Some(Certificate::from_signing_key(
        vec![credential.certificate.clone().into()],
        key,
    ))
}

/// ECDHE with AEAD in either profile. BSI TR-02102-2 (3.3.1) knows AES-GCM and AES-CCM, not ChaCha20; its certificate is ECDSA.
fn cipher_suites(crypto: CryptoProfile) -> Vec<CipherSuiteId> {
    match crypto {
        CryptoProfile::Standard => vec![
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
            CipherSuiteId::Tls_Ecdhe_Rsa_With_ChaCha20_Poly1305_Sha256,
        ],
        CryptoProfile::Bsi => vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256],
    }
}

const fn library_profile(profile: SrtpProfile) -> SrtpProtectionProfile {
    match profile {
        SrtpProfile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        SrtpProfile::AeadAes256Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
        SrtpProfile::Aes128CmSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    }
}

impl FamilyServer {
    /// A server that takes exactly the profile and the certificate of `setup`; `None` if the library refuses them.
    pub(super) fn new(setup: &Setup) -> Option<Self> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let config = ConfigBuilder::default()
            .with_certificates(vec![certificate(setup, provider.as_ref())?])
            .with_crypto_provider(provider)
            .with_cipher_suites(cipher_suites(setup.crypto))
            .with_srtp_protection_profiles(vec![library_profile(setup.profile)])
            // Fingerprints instead of chains (RFC 8827 §6.5); the signature over the handshake is checked all the same.
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_flight_interval(FLIGHT_INTERVAL)
            .with_mtu(MTU)
            .build(false, None)
            .ok()?;
        Some(Self {
            endpoint: Endpoint::new(PEER, TransportProtocol::UDP, Some(Arc::new(config))),
            events: VecDeque::new(),
            outgoing: VecDeque::new(),
            complete: false,
            fragments: 0,
            bytes: 0,
        })
    }

    /// What of a datagram the library may see; `None` for nothing.
    fn admit(&mut self, datagram: &[u8]) -> Option<BytesMut> {
        let mut admitted = BytesMut::with_capacity(datagram.len());
        for record in Records::new(datagram) {
            let Ok(record) = record else { break };
            if record.epoch == 0 {
                if self.complete {
                    continue;
                }
                if record.content_type == HANDSHAKE {
                    for fragment in Fragments::new(record.body) {
                        let fragment = fragment.ok()?;
                        self.fragments += 1;
                        if fragment.message_len > MESSAGE_MAX || self.fragments > FRAGMENTS_MAX {
                            return None;
                        }
                    }
                }
            }
            admitted.extend_from_slice(record.whole);
        }
        if !self.complete {
            self.bytes += admitted.len();
            if self.bytes > HANDSHAKE_BYTES_MAX {
                return None;
            }
        }
        (!admitted.is_empty()).then_some(admitted)
    }

    /// Moves what the library wants sent; tells whether a fatal alert in plaintext is among it.
    fn drain(&mut self) -> bool {
        let mut fatal = false;
        while let Some(transmit) = self.endpoint.poll_transmit() {
            fatal |= Records::new(&transmit.message).any(|record| {
                record.is_ok_and(|r| {
                    r.content_type == ALERT && r.epoch == 0 && r.body.first() == Some(&2)
                })
            });
            self.outgoing.push_back(transmit.message.freeze());
        }
        fatal
    }

    fn outcome(&self, setup_profile: SrtpProfile) -> Option<Outcome> {
        let state = self.endpoint.get_connection_state(PEER)?;
        if state.srtp_protection_profile() != library_profile(setup_profile) {
            return None;
        }
        let keys = state
            .export_keying_material(super::EXPORTER_LABEL, &[], exporter_len(setup_profile))
            .ok()?;
        Some(Outcome {
            profile: setup_profile,
            keying_material: keys.as_ref().to_vec(),
            peer_certificate: state.peer_certificates.first()?.clone(),
        })
    }
}

impl DtlsServer for FamilyServer {
    fn handle(&mut self, setup: &Setup, now: Instant, datagram: &[u8]) -> bool {
        let Some(admitted) = self.admit(datagram) else {
            return false;
        };
        let result = self.endpoint.read(now, PEER, None, admitted);
        let fatal = self.drain();
        let Ok(events) = result else {
            // The library reports a record it could not use the same way as the end of the handshake; the alert it sends
            // (or echoes) tells them apart.
            if fatal && !self.complete {
                self.events.push_back(Handled::Failed);
            }
            return false;
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    self.complete = true;
                    self.events.push_back(match self.outcome(setup.profile) {
                        Some(outcome) => Handled::Complete(outcome),
                        None => Handled::Failed,
                    });
                }
                EndpointEvent::ApplicationData(data) => {
                    self.events.push_back(Handled::Data(data.freeze()));
                }
                EndpointEvent::PeerClosed => self.events.push_back(Handled::Closed),
                _ => {}
            }
        }
        if fatal && !self.complete {
            self.events.push_back(Handled::Failed);
        }
        true
    }

    fn on_timeout(&mut self, now: Instant) {
        if self.endpoint.poll_timeout(&PEER).is_none_or(|at| at > now) {
            return;
        }
        if self.endpoint.handle_timeout(PEER, now).is_err() && !self.complete {
            self.events.push_back(Handled::Failed);
        }
        self.drain();
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout(&PEER)
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        self.outgoing.pop_front()
    }

    fn poll_handled(&mut self) -> Option<Handled> {
        self.events.pop_front()
    }

    fn send(&mut self, now: Instant, data: &[u8]) -> bool {
        let sent = self.endpoint.write(now, PEER, data).is_ok();
        self.drain();
        sent
    }

    fn close(&mut self, now: Instant) {
        self.endpoint.stop(now, PEER);
        self.drain();
    }
}
