//! Reads the configuration anew while the server runs. Keys take effect, which of them signs webhooks, the consultation's offices with their
//! keys and logins, its secrets, and the certificate; for the rest it tells what a restart would change. A file that is no good, or that would leave calls or webhooks without a key, changes
//! nothing. Calls go on whatever happens to the key that they began with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use schalter_signaling::Signaling;
use schalter_signaling::authority::{ApiKey, KeyError, KeyRing};
use serde::Serialize;

use crate::config::{Config, ConfigError, Desk, TlsSource};
use crate::desk::Replaceable;
use crate::keys;
use crate::ports::turn_by_tls;
use crate::tls::{Certificate, Tls};
use crate::turn::Told;
use crate::webhook::KeySigner;

/// What a reload changed, and what it would have if it could.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Reloaded {
    /// Names of keys that are new.
    pub(crate) added: Vec<String>,
    /// Names of keys that have another secret, authority or scope.
    pub(crate) changed: Vec<String>,
    /// Names of keys that are gone.
    pub(crate) removed: Vec<String>,
    /// Whether another certificate is shown from now on.
    pub(crate) certificate: bool,
    /// Whether anything of the consultation's offices and receivers is another from now on: which there are, and what they are.
    pub(crate) desk: bool,
    /// Parts of the file that are not as the server runs, and take a restart.
    pub(crate) needs_restart: Vec<&'static str>,
}

/// Why nothing was changed. The texts repeat no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error("the server was started without a configuration file")]
    NoFile,
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error(
        "keys: a reload doesn't take away all keys and begin with a development key; restart for that"
    )]
    NoKeys,
    #[error("keys: a reload doesn't end the development key; restart for that")]
    Development,
    #[error("keys: {0}")]
    Keys(#[from] KeyError),
    #[error(
        "webhook.api_key: a reload can't have webhooks signed by a key of another authority; restart for that"
    )]
    WebhookAuthority,
    #[error(
        "desk.authorities[].officials.demo: --lan lets the whole network in, and local officials have no password"
    )]
    LocalOfficials,
    #[error("desk: {0}")]
    Desk(String),
}

/// What is needed to change keys of the running server.
pub(crate) struct Reloader {
    pub(crate) path: Option<PathBuf>,
    /// The file as the server runs by it, keys as of the last reload.
    pub(crate) running: Mutex<Config>,
    pub(crate) ring: Arc<ArcSwap<KeyRing>>,
    pub(crate) signer: Option<Arc<KeySigner>>,
    /// The server's own keys, which no file names, without those of the desk's rooms.
    pub(crate) own: Vec<ApiKey>,
    pub(crate) tls: Option<Arc<Tls>>,
    /// Its certificates come from a certificate authority; a reload has none to show.
    pub(crate) acme: bool,
    /// What clients are told of TURN, where there is TURN.
    pub(crate) turn: Option<Told>,
    /// The port that TLS is on.
    pub(crate) tls_port: Option<u16>,
    pub(crate) signaling: Signaling,
    /// The pages are open to the whole network, whatever the file says.
    pub(crate) lan: bool,
    /// What is replaced of the consultation, where there is one.
    pub(crate) desk: Option<Arc<Replaceable>>,
}

impl Reloader {
    /// Reads the file and takes over what can be. Waits for the disk.
    ///
    /// # Errors
    /// [`ReloadError`]; then everything is as before.
    pub(crate) fn reload(&self) -> Result<Reloaded, ReloadError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path.as_deref().ok_or(ReloadError::NoFile)?;
        let fresh = Config::load(Some(path))?;
        if fresh.keys.is_empty() && !running.keys.is_empty() {
            return Err(ReloadError::NoKeys);
        }
        if running.keys.is_empty() && !fresh.keys.is_empty() {
            return Err(ReloadError::Development);
        }
        // The file can't tell that `--lan` opened the pages to everybody.
        if self.lan && fresh.desk.as_ref().is_some_and(Desk::has_local_officials) {
            return Err(ReloadError::LocalOfficials);
        }
        // What takes a restart may not be mixed with what doesn't: a made-up office and configured ones have nothing in common.
        let desk = match (&self.desk, &running.desk, &fresh.desk) {
            (Some(desk), Some(own), Some(fresh)) if own.demo == fresh.demo => Some((desk, fresh)),
            (_, _, _) => None,
        };
        let room_keys = match desk {
            Some((desk, fresh)) => desk.room_keys_of(fresh).map_err(ReloadError::Desk)?,
            None => self.room_keys(),
        };
        let own: Vec<_> = self.own.iter().chain(&room_keys).cloned().collect();
        let room_ring = KeyRing::new(room_keys)?;
        let mut reloaded = compare(&running.keys, &fresh.keys);
        reloaded.needs_restart = running.differing(&fresh);
        // Without keys in the file the certificate alone could change.
        if fresh.keys.is_empty() {
            let ring = self.without_desk()?;
            self.ring.store(Arc::new(keys::beside(&own, &ring)?));
            reloaded.certificate = self.show_certificate(&running, &fresh);
            reloaded.desk = replace_desk(&mut running, desk, room_ring);
            return Ok(reloaded);
        }
        let ring = keys::beside(&own, &keys::ring(&fresh)?)?;
        // Receivers that are configured only now begin with a restart.
        if let Some(signer) = &self.signer
            && !fresh.webhook.targets.is_empty()
        {
            let key = ring.key(&fresh.webhook.api_key);
            if key.is_none_or(|key| key.authority != *signer.authority()) {
                return Err(ReloadError::WebhookAuthority);
            }
        }
        // From here on nothing can fail.
        reloaded.certificate = self.show_certificate(&running, &fresh);
        self.ring.store(Arc::new(ring));
        if let Some(signer) = &self.signer
            && !fresh.webhook.targets.is_empty()
        {
            signer.sign_with(&fresh.webhook.api_key);
            running.webhook.api_key.clone_from(&fresh.webhook.api_key);
        }
        running.keys.clone_from(&fresh.keys);
        reloaded.desk = replace_desk(&mut running, desk, room_ring);
        drop(running);
        if !(reloaded.changed.is_empty() && reloaded.removed.is_empty()) {
            self.signaling.refresh_tokens();
        }
        Ok(reloaded)
    }

    /// The keys of the desk's rooms as they are.
    fn room_keys(&self) -> Vec<ApiKey> {
        self.desk
            .as_ref()
            .map(|desk| desk.room_keys())
            .unwrap_or_default()
    }

    /// The keys of the file, or the development key, as they are in force.
    fn without_desk(&self) -> Result<KeyRing, KeyError> {
        let rooms = self.room_keys();
        let own = |key: &ApiKey| self.own.contains(key) || rooms.contains(key);
        KeyRing::new(self.ring.load().iter().filter(|key| !own(key)).cloned())
    }

    /// Shows the certificate of `fresh`, and tells clients where TURN is by its name. Answers whether it is another one.
    fn show_certificate(&self, running: &Config, fresh: &Config) -> bool {
        let (Some(tls), Some(config)) = (&self.tls, &fresh.tls) else {
            return false;
        };
        match &config.source {
            TlsSource::Files(certificate) if !self.acme => {
                warn_of_time(certificate);
                let shown = tls.show(Arc::clone(certificate));
                // Under the name of the old one browsers would refuse the new one.
                if let Some(told) = &self.turn
                    && told.by_tls(turn_by_tls(running, Some(&**tls), self.tls_port))
                {
                    tracing::info!("clients are told another name for TURN over TLS from now on");
                }
                shown
            }
            TlsSource::Files(_) | TlsSource::Acme(_) => false,
        }
    }

    /// The same, told to the log.
    pub(crate) fn reload_and_tell(&self) {
        match self.reload() {
            Ok(Reloaded {
                added,
                changed,
                removed,
                certificate,
                desk,
                needs_restart,
            }) => {
                if desk {
                    tracing::info!(
                        "offices of the consultation are from now on as they stand in the file"
                    );
                }
                if certificate {
                    tracing::info!("another certificate is shown from now on");
                }
                tracing::info!(
                    added = added.len(),
                    changed = changed.len(),
                    removed = removed.len(),
                    "keys reloaded"
                );
                if !needs_restart.is_empty() {
                    tracing::warn!(parts = ?needs_restart, "these parts of the configuration changed and need a restart");
                }
            }
            Err(error) => {
                tracing::error!(%error, "nothing reloaded: keys and certificate stay as they were");
            }
        }
    }
}

/// Takes over what a reload does of the consultation. Answers whether any of it is another.
fn replace_desk(
    running: &mut Config,
    desk: Option<(&Arc<Replaceable>, &Desk)>,
    room_keys: KeyRing,
) -> bool {
    let (Some((desk, fresh)), Some(own)) = (desk, &mut running.desk) else {
        return false;
    };
    desk.replace(fresh, room_keys);
    own.take_over(fresh)
}

fn compare(before: &BTreeMap<String, ApiKey>, after: &BTreeMap<String, ApiKey>) -> Reloaded {
    let mut reloaded = Reloaded::default();
    for (name, key) in after {
        match before.get(name) {
            None => reloaded.added.push(name.clone()),
            Some(old) if old != key => reloaded.changed.push(name.clone()),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    reloaded.removed = gone.cloned().collect();
    reloaded
}

/// Tells the operator if a certificate is at its end.
pub(crate) fn warn_of_time(certificate: &Certificate) {
    if let Some(warning) = certificate.warning() {
        tracing::warn!("{warning}");
    }
}
