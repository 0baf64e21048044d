//! TLS of ours: which certificate is shown, what may be negotiated, and how both change while connections go on.
//!
//! One `rustls` configuration lives as long as the process. A certificate is looked up for each handshake, so a new one
//! holds for the next connection and touches none that is open. A client that offers nothing but `acme-tls/1` is a
//! certificate authority's validation (RFC 8737 §3) and gets the challenge's certificate, if there is one for its name.

mod certificate;
mod profile;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use schalter_transport::CryptoProfile;

pub(crate) use certificate::{Blamed, Certificate, proof_key};

/// Protocol name of a certificate authority's validation (RFC 8737 §3).
const ALPN_ACME: &[u8] = b"acme-tls/1";

/// What is negotiated with clients that name protocols, the preferred first. HTTP/2 is not among them: its WebSockets
/// (RFC 8441) are not what browsers and client libraries use, and they would come beside it on a second connection.
/// `stun.turn` (RFC 7443) is for TURN clients that name it; those that name nothing are understood by what they send.
const ALPN: [&[u8]; 3] = [b"http/1.1", b"stun.turn", ALPN_ACME];

/// The certificate in force and the challenges of a certificate authority.
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    certificate: ArcSwapOption<Certificate>,
    /// By domain. One for each that is being validated, for some seconds in months.
    challenges: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Without a certificate every handshake fails, but those of validations.
    pub(crate) fn new(profile: CryptoProfile, certificate: Option<Arc<Certificate>>) -> Self {
        let shown = Arc::new(Shown {
            certificate: ArcSwapOption::new(certificate),
            challenges: Mutex::default(),
        });
        Self {
            config: profile::server_config(profile, Arc::clone(&shown) as _, &ALPN),
            shown,
        }
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Shows another certificate from the next handshake on. Answers whether it is another one.
    pub(crate) fn show(&self, certificate: Arc<Certificate>) -> bool {
        let before = self.shown.certificate.swap(Some(Arc::clone(&certificate)));
        before.is_none_or(|before| *before != *certificate)
    }

    pub(crate) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.shown.certificate.load_full()
    }

    /// Seconds until the certificate ends, below zero if it has; `None` while there is none.
    pub(crate) fn seconds_left(&self) -> Option<i64> {
        let certificate = self.shown.certificate.load();
        Some(certificate.as_ref()?.ends_at() - unix_now())
    }

    /// Answers validations of `domain` with this certificate from now on, or no longer.
    pub(crate) fn challenge(&self, domain: &str, certificate: Option<Arc<CertifiedKey>>) {
        let challenges = &self.shown.challenges;
        let mut challenges = challenges.lock().unwrap_or_else(PoisonError::into_inner);
        match certificate {
            Some(certificate) => challenges.insert(domain.to_owned(), certificate),
            None => challenges.remove(domain),
        };
    }
}

/// Whether a connection that has negotiated this is a validation, which is over with the handshake.
pub(crate) fn is_validation(alpn: Option<&[u8]>) -> bool {
    alpn == Some(ALPN_ACME)
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let only_acme = hello
            .alpn()
            .is_some_and(|mut names| names.next() == Some(ALPN_ACME) && names.next().is_none());
        if only_acme {
            let challenges = self
                .challenges
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            return challenges
                .get(&hello.server_name()?.to_ascii_lowercase())
                .cloned();
        }
        let certificate = self.certificate.load();
        certificate.as_ref().map(|certificate| certificate.key())
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
