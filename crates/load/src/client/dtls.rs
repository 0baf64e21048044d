//! DTLS 1.2 as client, on `rtc-dtls`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_dtls::crypto_provider::{RTCCryptoProvider, SignatureScheme};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use schalter_model::SrtpProfile;
use schalter_transport::srtp::exporter_len;
use schalter_transport::{Fingerprint, FingerprintHash};

use crate::error::LoadError;

/// The library wants an address; one peer has one association, so any will do.
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4);
/// Time between retransmissions of a flight. Shorter than a browser's second: on loopback a lost flight means a full
/// socket buffer, and hundreds of peers that connect at once should not wait.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(500);
/// RFC 5764 §4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// The certificate that all peers of one run present.
pub struct Certificate {
    der: Vec<u8>,
    private_key: Vec<u8>,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// Makes a self-signed ECDSA certificate.
    ///
    /// # Errors
    /// [`LoadError::Handshake`] when the crypto library refuses.
    pub fn generate() -> Result<Arc<Self>, LoadError> {
        let refused = |error: rcgen::Error| LoadError::Handshake(error.to_string());
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(refused)?;
        let certificate = rcgen::CertificateParams::new(Vec::new())
            .and_then(|params| params.self_signed(&key))
            .map_err(refused)?;
        let der = certificate.der().to_vec();
        Ok(Arc::new(Self {
            fingerprint: Fingerprint {
                hash: FingerprintHash::Sha256,
                digest: digest_of(FingerprintHash::Sha256, &der),
            },
            der,
            private_key: key.serialize_der(),
        }))
    }

    /// What goes into the SDP.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

fn digest_of(hash: FingerprintHash, certificate: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        FingerprintHash::Sha256 => &digest::SHA256,
        FingerprintHash::Sha384 => &digest::SHA384,
        FingerprintHash::Sha512 => &digest::SHA512,
    };
    digest::digest(algorithm, certificate).as_ref().to_vec()
}

pub(super) fn is_fingerprint_of(fingerprint: &Fingerprint, certificate: &[u8]) -> bool {
    digest_of(fingerprint.hash, certificate) == fingerprint.digest
}

/// What a datagram brought.
pub(super) enum Progress {
    Complete { keys: Vec<u8>, certificate: Vec<u8> },
    Closed,
}

pub(super) struct Handshake {
    endpoint: Endpoint,
    config: Arc<HandshakeConfig>,
    profile: SrtpProfile,
}

fn failed(error: impl std::fmt::Display) -> LoadError {
    LoadError::Handshake(error.to_string())
}

impl Handshake {
    pub(super) fn new(certificate: &Certificate, profile: SrtpProfile) -> Result<Self, LoadError> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let key = provider
            .crypto()
            .import_signing_key(SignatureScheme::EcdsaP256Sha256, &certificate.private_key)
            .map_err(failed)?;
        let library_profile = match profile {
            SrtpProfile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            SrtpProfile::AeadAes256Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
            SrtpProfile::Aes128CmSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        };
        let config = ConfigBuilder::default()
            .with_certificates(vec![rtc_dtls::crypto::Certificate::from_signing_key(
                vec![certificate.der.clone().into()],
                key,
            )])
            .with_crypto_provider(provider)
            // RSA too: Debian's Janus has an RSA certificate.
            .with_cipher_suites(vec![
                CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
                CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
            ])
            .with_srtp_protection_profiles(vec![library_profile])
            // Fingerprints instead of chains (RFC 8827 §6.5), checked by the owner.
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Request)
            .with_flight_interval(FLIGHT_INTERVAL)
            .with_mtu(1_200)
            .build(true, None)
            .map_err(failed)?;
        Ok(Self {
            endpoint: Endpoint::new(SERVER, TransportProtocol::UDP, None),
            config: Arc::new(config),
            profile,
        })
    }

    pub(super) fn start(&mut self, now: Instant) -> Result<Option<Progress>, LoadError> {
        self.endpoint
            .connect(now, SERVER, self.config.clone(), None)
            .map_err(failed)?;
        Ok(None)
    }

    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<Option<Progress>, LoadError> {
        let events = self
            .endpoint
            .read(now, SERVER, None, BytesMut::from(datagram))
            .map_err(failed)?;
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => return self.complete().map(Some),
                EndpointEvent::PeerClosed => return Ok(Some(Progress::Closed)),
                // SCTP is not spoken here.
                _ => {}
            }
        }
        Ok(None)
    }

    fn complete(&self) -> Result<Progress, LoadError> {
        let state = self
            .endpoint
            .get_connection_state(SERVER)
            .ok_or_else(|| failed("no state after the handshake"))?;
        let keys = state
            .export_keying_material(EXPORTER_LABEL, &[], exporter_len(self.profile))
            .map_err(failed)?;
        let certificate = state
            .peer_certificates
            .first()
            .ok_or_else(|| failed("the server showed no certificate"))?;
        Ok(Progress::Complete {
            keys: keys.as_ref().to_vec(),
            certificate: certificate.clone(),
        })
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout(&SERVER)
    }

    pub(super) fn on_timeout(&mut self, now: Instant) -> Result<(), LoadError> {
        match self.next_timeout() {
            Some(at) if at <= now => self.endpoint.handle_timeout(SERVER, now).map_err(failed),
            _ => Ok(()),
        }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.endpoint
            .poll_transmit()
            .map(|transmit| transmit.message.freeze())
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.endpoint.stop(now, SERVER);
    }
}
