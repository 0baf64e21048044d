//! Certificates from a certificate authority (ACME, RFC 8555): got, kept in the state directory, and got anew in time.
//!
//! Runs beside everything else and stops nothing: without a certificate TLS handshakes fail, with an old one they go on. A
//! trouble is told once, and again only if it becomes another.

mod client;
mod http;
mod order;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use schalter_transport::CryptoProfile;

use crate::Failure;
use crate::config::Acme;
use crate::state::StateDir;
use crate::tls::{Certificate, Tls, unix_now};
use client::Client;
pub(crate) use http::{Tokens, router};
use order::{Issued, Proofs};

/// Key and chain in the state directory.
const FILE: &str = "acme-certificate.pem";
/// A certificate is renewed when less than a third of its time is left, as authorities recommend: 30 days of 90.
const LEFT: i64 = 3;
/// Between two tries that fail; doubled each time, since authorities count them.
const FIRST_RETRY: Duration = Duration::from_secs(30);
const LAST_RETRY: Duration = Duration::from_secs(6 * 3_600);
/// Longest sleep. The clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(3_600);

/// Keeps a certificate in force.
pub(crate) struct Renewal {
    config: Acme,
    profile: CryptoProfile,
    client: Client,
    state: StateDir,
    tls: Arc<Tls>,
    tokens: Tokens,
    failures: Arc<AtomicU64>,
}

impl Renewal {
    /// Shows the certificate of the state directory, if there is one.
    ///
    /// # Errors
    /// What an operator can mend.
    pub(crate) fn new(
        config: Acme,
        profile: CryptoProfile,
        state: StateDir,
        tls: Arc<Tls>,
    ) -> Result<Self, Failure> {
        let client = Client::new(config.ca_file.as_deref())
            .map_err(|error| Failure::setup(format!("tls.acme: {error}")))?;
        let kept = state.read(FILE);
        let kept = kept.map_err(|error| Failure::setup(format!("{FILE} in state_dir: {error}")))?;
        if let Some(pem) = kept {
            match Certificate::from_pem(pem.as_bytes(), pem.as_bytes())
                .and_then(|certificate| certificate.fit_for(profile))
            {
                Ok(certificate) => {
                    tls.show(Arc::new(certificate));
                }
                Err(error) => {
                    tracing::warn!(%error, "the kept certificate is of no use; another is asked for")
                }
            }
        }
        Ok(Self {
            config,
            profile,
            client,
            state,
            tls,
            tokens: Tokens::default(),
            failures: Arc::default(),
        })
    }

    /// What port 80 answers to validations.
    pub(crate) fn tokens(&self) -> Tokens {
        self.tokens.clone()
    }

    /// Tries that failed.
    pub(crate) fn failures(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.failures)
    }

    /// Renews for ever.
    pub(crate) async fn run(self) {
        let mut retry = FIRST_RETRY;
        let mut told = None;
        loop {
            if let Some(wait) = self.wait() {
                tokio::time::sleep(wait.min(NAP)).await;
                continue;
            }
            match self.renew().await {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    told = None;
                }
                Err(trouble) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    if told.as_ref() != Some(&trouble) {
                        tracing::error!("no certificate (tls.acme): {trouble}");
                        told = Some(trouble);
                    }
                    tokio::time::sleep(retry).await;
                    retry = (2 * retry).min(LAST_RETRY);
                }
            }
        }
    }

    /// How long the certificate is good enough; `None` if another is needed now.
    fn wait(&self) -> Option<Duration> {
        let certificate = self.tls.certificate()?;
        let mut own = certificate.names().to_vec();
        let mut wanted = self.config.domains.clone();
        own.sort();
        wanted.sort();
        let lifetime = certificate.ends_at() - certificate.begins_at();
        let wait = certificate.ends_at() - lifetime / LEFT - unix_now();
        let wait = u64::try_from(wait).ok().filter(|wait| *wait > 0)?;
        (own == wanted).then(|| Duration::from_secs(wait))
    }

    async fn renew(&self) -> Result<(), String> {
        let proofs = Proofs {
            tls: &self.tls,
            http: self.config.http_port.map(|_| &self.tokens),
        };
        let issued = order::certificate(&self.config, &self.client, &self.state, &proofs).await;
        let Issued { chain, key } = issued.map_err(|trouble| trouble.to_string())?;
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes())
            .and_then(|certificate| certificate.fit_for(self.profile))
            .map_err(|error| error.to_string())?;
        let summary = certificate.summary();
        self.tls.show(Arc::new(certificate));
        tracing::info!("a certificate was issued: {summary}");
        // In force it is anyhow: at worst the next start asks for one again.
        let kept = self.state.replace(FILE, &format!("{key}{chain}"));
        kept.map_err(|error| format!("{FILE} can't be written to state_dir: {error}"))
    }
}

/// Whether the file of the configuration can be used; for `check-config`.
pub(crate) fn check_ca_file(path: &Path) -> Result<(), String> {
    Client::new(Some(path)).map(|_| ())
}
