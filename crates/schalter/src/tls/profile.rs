//! Which versions, suites, groups and signatures TLS may use.
//!
//! The standard profile is the library's own: TLS 1.3 and 1.2, AEAD suites with ECDHE only. The profile `bsi` keeps to
//! TR-02102-2: AES-GCM, the NIST curves (§3.3, §3.4), RSA-PSS and ECDSA signatures, the extended master secret (§3.3.4.4).

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ResolvesServerCert;
use rustls::sign::{Signer, SigningKey};
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme, SupportedCipherSuite};
use schalter_transport::CryptoProfile;

/// TR-02102-2 §3.3.1.1 (TLS 1.2) and §3.4.4 (TLS 1.3), as far as the library has them.
const BSI_SUITES: [SupportedCipherSuite; 6] = [
    aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// Sessions that clients may continue, in memory only. A client that is not among them pays one full handshake.
const SESSIONS: usize = 1_024;

/// The provider of a profile.
pub(super) fn provider(profile: CryptoProfile) -> CryptoProvider {
    let standard = aws_lc_rs::default_provider();
    match profile {
        CryptoProfile::Standard => standard,
        CryptoProfile::Bsi => CryptoProvider {
            cipher_suites: BSI_SUITES.to_vec(),
            kx_groups: vec![
                aws_lc_rs::kx_group::SECP256R1,
                aws_lc_rs::kx_group::SECP384R1,
            ],
            ..standard
        },
    }
}

/// The configuration of a server, certificates by `resolver`.
pub(super) fn server_config(
    profile: CryptoProfile,
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: &[&[u8]],
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider(profile)))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("every profile has suites of both versions")
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
    config.require_ems = profile == CryptoProfile::Bsi;
    Arc::new(config)
}

/// The key as the profile lets it sign.
pub(super) fn restricted(key: Arc<dyn SigningKey>, profile: CryptoProfile) -> Arc<dyn SigningKey> {
    match profile {
        CryptoProfile::Standard => key,
        CryptoProfile::Bsi => Arc::new(WithoutPkcs1(key)),
    }
}

/// Never signs with PKCS #1 v1.5 padding, which TR-02102-2 §3.3.2 and §3.4.2 no longer name.
#[derive(Debug)]
struct WithoutPkcs1(Arc<dyn SigningKey>);

impl SigningKey for WithoutPkcs1 {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let pkcs1 = [
            SignatureScheme::RSA_PKCS1_SHA1,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ];
        let others = offered.iter().filter(|scheme| !pkcs1.contains(scheme));
        self.0.choose_scheme(&others.copied().collect::<Vec<_>>())
    }

    fn public_key(&self) -> Option<rustls::pki_types::SubjectPublicKeyInfoDer<'_>> {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}
