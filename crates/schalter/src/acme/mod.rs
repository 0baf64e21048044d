//! Certificates from a certificate authority (ACME, RFC 8555): got, kept in the state directory, and got anew in time.
//!
//! The authority is asked when it wants a certificate renewed (RFC 9773), and told which one an order replaces.
//!
//! Runs beside everything else and stops nothing: without a certificate TLS handshakes fail, with an old one they go on. A
//! trouble is told once, and again only if it becomes another.

mod client;
mod http;
mod order;
mod window;

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
use window::Suggestion;

/// Key and chain in the state directory.
const FILE: &str = "acme-certificate.pem";
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
        let mut suggestion = Suggestion::default();
        loop {
            self.ask(&mut suggestion).await;
            if let Some(wait) = self.wait(&suggestion) {
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

    /// Asks the authority when it wants the certificate renewed, if it is time to ask. What goes wrong is no trouble: then the
    /// certificate's age decides.
    async fn ask(&self, suggestion: &mut Suggestion) {
        let Some(certificate) = self.tls.certificate() else {
            return;
        };
        let Some(id) = certificate.acme_id() else {
            return;
        };
        if !suggestion.is_due(&id.to_string(), unix_now()) {
            return;
        }
        let answer = order::renewal_info(&self.config, &self.client, &self.state, &id).await;
        let is_new =
            suggestion.on_answer(&id.to_string(), unix_now(), answer.answer, rand::random());
        if is_new {
            let at = suggestion.renew_at(
                Some(&id.to_string()),
                certificate.begins_at(),
                certificate.ends_at(),
            );
            let hours = (at - unix_now()).max(0) / 3_600;
            let why = answer.explanation.unwrap_or_default();
            tracing::info!(%why, "the certificate authority suggests to renew the certificate in {hours} h");
        }
    }

    /// How long nothing is to be done for the certificate; `None` if another is needed now.
    fn wait(&self, suggestion: &Suggestion) -> Option<Duration> {
        let certificate = self.tls.certificate()?;
        let mut own = certificate.names().to_vec();
        let mut wanted = self.config.domains.clone();
        own.sort();
        wanted.sort();
        if own != wanted {
            return None;
        }
        let id = certificate.acme_id().map(|id| id.to_string());
        let (begins, ends) = (certificate.begins_at(), certificate.ends_at());
        let now = unix_now();
        let left = suggestion.renew_at(id.as_deref(), begins, ends) - now;
        let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
        let asked = id.map_or(u64::MAX, |_| {
            u64::try_from(suggestion.ask_at() - now).map_or(1, |wait| wait.max(1))
        });
        Some(Duration::from_secs(left.min(asked)))
    }

    async fn renew(&self) -> Result<(), String> {
        let proofs = Proofs {
            tls: &self.tls,
            http: self.config.http_port.map(|_| &self.tokens),
        };
        let replaced = self.tls.certificate();
        let replaced = replaced.and_then(|certificate| certificate.acme_id());
        let issued =
            order::certificate(&self.config, &self.client, &self.state, &proofs, replaced).await;
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
