//! Who this node is in DTLS: one ECDSA and one RSA certificate, self-signed, made at process start.
//!
//! Peers check the fingerprint in the SDP, no chain and no name (RFC 8122, RFC 8827 §6.5); so a certificate lives as long
//! as the process and carries nothing that could identify an installation.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::{digest, rsa};
use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
};

use crate::{Fingerprint, FingerprintHash};

/// Which of our certificates a client is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateKind {
    /// ECDSA on P-256: what every client that we know takes.
    Ecdsa,
    /// RSA 2048, for clients that offer ECDHE-RSA suites only.
    Rsa,
}

/// Our certificates and their private keys.
pub struct Identity {
    ecdsa: Credential,
    rsa: Credential,
}

/// One certificate with its key.
pub(crate) struct Credential {
    /// X.509, DER.
    pub(crate) certificate: Vec<u8>,
    /// PKCS #8, DER; a secret.
    pub(crate) private_key: Vec<u8>,
    fingerprint: Fingerprint,
}

/// A key or certificate could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct IdentityError(String);

impl Identity {
    /// Makes both certificates with fresh keys from the crypto library's randomness. Takes tens to hundreds of
    /// milliseconds (RSA); call once at start.
    ///
    /// # Errors
    /// [`IdentityError`] when the crypto library refuses.
    pub fn generate() -> Result<Self, IdentityError> {
        let ecdsa = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| IdentityError(error.to_string()))?;
        let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048)
            .and_then(|key| {
                AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key)
                    .map(|der| der.as_ref().to_vec())
            })
            .map_err(|_| IdentityError("no RSA key".to_owned()))?;
        let rsa = KeyPair::from_pkcs8_der_and_sign_algo(&rsa.into(), &PKCS_RSA_SHA256)
            .map_err(|error| IdentityError(error.to_string()))?;
        Ok(Self {
            ecdsa: Credential::self_sign(&ecdsa)?,
            rsa: Credential::self_sign(&rsa)?,
        })
    }

    /// The SHA-256 fingerprints that go into the SDP, of the certificate that nearly every client is shown first.
    #[must_use]
    pub fn fingerprints(&self) -> [Fingerprint; 2] {
        [&self.ecdsa, &self.rsa].map(|credential| credential.fingerprint.clone())
    }

    pub(crate) fn credential(&self, kind: CertificateKind) -> &Credential {
        match kind {
            CertificateKind::Ecdsa => &self.ecdsa,
            CertificateKind::Rsa => &self.rsa,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("ecdsa", &self.ecdsa.fingerprint)
            .field("rsa", &self.rsa.fingerprint)
            .finish()
    }
}

impl Credential {
    fn self_sign(key: &KeyPair) -> Result<Self, IdentityError> {
        let mut params =
            CertificateParams::new(Vec::new()).map_err(|error| IdentityError(error.to_string()))?;
        let mut name = DistinguishedName::new();
        name.push(rcgen::DnType::CommonName, "WebRTC");
        params.distinguished_name = name;
        let certificate = params
            .self_signed(key)
            .map_err(|error| IdentityError(error.to_string()))?
            .der()
            .to_vec();
        Ok(Self {
            fingerprint: digest_of(&certificate, FingerprintHash::Sha256),
            certificate,
            private_key: key.serialize_der(),
        })
    }
}

/// The fingerprint of a DER certificate.
pub(crate) fn digest_of(certificate: &[u8], hash: FingerprintHash) -> Fingerprint {
    let algorithm = match hash {
        FingerprintHash::Sha256 => &digest::SHA256,
        FingerprintHash::Sha384 => &digest::SHA384,
        FingerprintHash::Sha512 => &digest::SHA512,
    };
    Fingerprint {
        hash,
        digest: digest::digest(algorithm, certificate).as_ref().to_vec(),
    }
}

/// Whether one of `announced` is the fingerprint of `certificate`.
pub(crate) fn matches_any(certificate: &[u8], announced: &[Fingerprint]) -> bool {
    announced
        .iter()
        .any(|fingerprint| digest_of(certificate, fingerprint.hash) == *fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_match_with_every_hash_and_only_their_certificate() {
        let identity = Identity::generate().unwrap();
        let ecdsa = &identity.credential(CertificateKind::Ecdsa).certificate;
        let rsa = &identity.credential(CertificateKind::Rsa).certificate;
        for hash in [
            FingerprintHash::Sha256,
            FingerprintHash::Sha384,
            FingerprintHash::Sha512,
        ] {
            let announced = [digest_of(ecdsa, hash)];
            assert!(matches_any(ecdsa, &announced));
            assert!(!matches_any(rsa, &announced));
        }
        assert!(!matches_any(ecdsa, &[]));
        let [first, second] = identity.fingerprints();
        assert!(matches_any(ecdsa, &[first]));
        assert!(matches_any(rsa, &[second]));
    }
}
