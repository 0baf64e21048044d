//! A certificate chain with its key, read from PEM and looked at before anybody is shown it.

use std::path::Path;
use std::sync::Arc;

use instant_acme::CertificateIdentifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureAlgorithm};
use schalter_transport::CryptoProfile;
use x509_parser::public_key::PublicKey;

use super::{profile, unix_now};

/// From how many days before its end on a certificate is worth a warning.
const WARN_DAYS: i64 = 14;
const DAY: i64 = 86_400;
/// TR-02102-2 §3.6: RSA keys have at least so many bits.
const BSI_RSA_BITS: usize = 3_000;

/// A chain and its key that fit each other, and what the first certificate says of itself.
#[derive(Debug)]
pub(crate) struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    begins_at: i64,
    ends_at: i64,
    rsa_bits: Option<usize>,
}

/// The same certificates make the same identity; the key fits both.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

impl Eq for Certificate {}

/// What is wrong with a certificate or key. The texts repeat nothing of either.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error(
        "there is no certificate in it: a PEM block CERTIFICATE is expected, the server's own first"
    )]
    NoCertificate,
    #[error("this is no certificate that can be read ({0})")]
    Unreadable(String),
    #[error(
        "there is no private key in it: a PEM block PRIVATE KEY is expected, without a passphrase"
    )]
    NoKey,
    #[error("this is no private key that can be used ({0})")]
    UnusableKey(String),
    #[error("the key does not fit the certificate")]
    Mismatch,
    #[error(
        "crypto_profile bsi takes certificates with an ECDSA key, or an RSA key of at least {BSI_RSA_BITS} bits; this \
         one has {0}"
    )]
    NotBsi(String),
}

/// Which of the two an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blamed {
    /// The chain, or both.
    Certificate,
    /// The key.
    Key,
}

impl CertificateError {
    pub(crate) fn blamed(&self) -> Blamed {
        match self {
            Self::NoCertificate | Self::Unreadable(_) | Self::NotBsi(_) => Blamed::Certificate,
            Self::NoKey | Self::UnusableKey(_) | Self::Mismatch => Blamed::Key,
        }
    }
}

impl Certificate {
    /// Reads a chain (the server's own certificate first) and its key from PEM.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub(crate) fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| CertificateError::Unreadable(error.to_string()))?;
        let own = chain.first().ok_or(CertificateError::NoCertificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(own)
            .map_err(|error| CertificateError::Unreadable(error.to_string()))?;
        let names = names(&parsed);
        let validity = parsed.validity();
        let (begins_at, ends_at) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        let rsa_bits = match parsed.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => Some(key.key_size()),
            Ok(_) | Err(_) => None,
        };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey)?;
        let provider = profile::provider(CryptoProfile::Standard);
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
            if error == rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
                CertificateError::Mismatch
            } else {
                CertificateError::UnusableKey(error.to_string())
            }
        })?;
        Ok(Self {
            key: Arc::new(key),
            names,
            begins_at,
            ends_at,
            rsa_bits,
        })
    }

    /// By which its authority knows it in renewals (RFC 9773 §4.1); `None` if it names no key of an authority.
    pub(crate) fn acme_id(&self) -> Option<CertificateIdentifier<'static>> {
        let id = CertificateIdentifier::try_from(self.key.cert.first()?).ok()?;
        Some(id.into_owned())
    }

    /// Reads both files.
    ///
    /// # Errors
    /// What is wrong, and with which of the files.
    pub(crate) fn from_files(chain: &Path, key: &Path) -> Result<Self, (Blamed, String)> {
        let read = |path: &Path, blamed| {
            std::fs::read(path).map_err(|error| (blamed, format!("{}: {error}", path.display())))
        };
        let chain_pem = read(chain, Blamed::Certificate)?;
        let key_pem = read(key, Blamed::Key)?;
        Self::from_pem(&chain_pem, &key_pem).map_err(|error| {
            let blamed = error.blamed();
            let path = match blamed {
                Blamed::Certificate => chain,
                Blamed::Key => key,
            };
            (blamed, format!("{}: {error}", path.display()))
        })
    }

    /// The same, fit for a profile.
    ///
    /// # Errors
    /// [`CertificateError::NotBsi`].
    pub(crate) fn fit_for(&self, profile: CryptoProfile) -> Result<Self, CertificateError> {
        if profile == CryptoProfile::Bsi {
            let algorithm = self.key.key.algorithm();
            let weak = match (algorithm, self.rsa_bits) {
                (SignatureAlgorithm::ECDSA, _) => None,
                (SignatureAlgorithm::RSA, Some(bits)) if bits >= BSI_RSA_BITS => None,
                (SignatureAlgorithm::RSA, Some(bits)) => Some(format!("an RSA key of {bits} bits")),
                (other, _) => Some(format!("a key for {other:?}")),
            };
            if let Some(weak) = weak {
                return Err(CertificateError::NotBsi(weak));
            }
        }
        let key = profile::restricted(Arc::clone(&self.key.key), profile);
        Ok(Self {
            key: Arc::new(CertifiedKey::new(self.key.cert.clone(), key)),
            names: self.names.clone(),
            ..*self
        })
    }

    pub(crate) fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// DNS names and addresses that it is for.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Seconds since 1970.
    pub(crate) fn ends_at(&self) -> i64 {
        self.ends_at
    }

    /// Seconds since 1970.
    pub(crate) fn begins_at(&self) -> i64 {
        self.begins_at
    }

    /// What an operator should know of its time now, with what to do; `None` if all is well.
    pub(crate) fn warning(&self) -> Option<String> {
        let now = unix_now();
        let days = (self.ends_at - now) / DAY;
        if self.ends_at <= now {
            let remedy = "browsers refuse it; put a new one into the files and reload";
            return Some(format!(
                "the certificate has expired {} days ago: {remedy}",
                -days
            ));
        }
        if self.begins_at > now {
            return Some("the certificate is not valid yet: look at the clock".to_owned());
        }
        (days < WARN_DAYS).then(|| {
            format!(
                "the certificate expires in {days} days: put a new one into the files and reload"
            )
        })
    }

    /// Names and days left, for the operator.
    pub(crate) fn summary(&self) -> String {
        let days = (self.ends_at - unix_now()) / DAY;
        format!(
            "certificate for {}, {days} days left",
            self.names.join(", ")
        )
    }
}

/// A certificate for [`super::Tls::challenge`] and its key (PKCS #8). Nothing compares them: the extension that proves is critical
/// (RFC 8737 §3), and whoever does not know it reads no further.
pub(crate) fn proof_key(
    certificate: CertificateDer<'static>,
    key: &[u8],
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    let key = PrivatePkcs8KeyDer::from(key.to_vec());
    let provider = profile::provider(CryptoProfile::Standard);
    let key = provider.key_provider.load_private_key(key.into())?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate], key)))
}

fn names(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Vec<String> {
    use x509_parser::extensions::GeneralName;
    let alternative = certificate.subject_alternative_name();
    let Ok(Some(alternative)) = alternative else {
        return Vec::new();
    };
    let names = &alternative.value.general_names;
    let read = names.iter().filter_map(|name| {
        if let GeneralName::DNSName(name) = name {
            return Some((*name).to_owned());
        }
        if let GeneralName::IPAddress(bytes) = name {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|b| std::net::IpAddr::from(b).to_string());
            let v6 = <[u8; 16]>::try_from(*bytes).map(|b| std::net::IpAddr::from(b).to_string());
            return v4.or(v6).ok();
        }
        None
    });
    read.collect()
}
