//! The API keys: configured, or a development key made at the first start.

use schalter_model::AuthorityId;
use schalter_signaling::authority::{ApiKey, KeyError, KeyRing, KeyScopes};

use crate::Failure;
use crate::config::Config;
use crate::state::{StateDir, random_secret};

/// Name of the generated key.
pub(crate) const DEVELOPMENT_KEY: &str = "development";
/// File of its secret in the state directory.
const DEVELOPMENT_KEY_FILE: &str = "development-key";
/// Bytes of randomness in it.
const DEVELOPMENT_KEY_BYTES: usize = 36;

/// The keys that a configuration asks for.
pub(crate) struct Keys {
    pub(crate) ring: KeyRing,
    /// Nothing was configured: the ring holds the development key only.
    pub(crate) development: bool,
}

/// Collects the configured keys, or makes (and later finds again) the development key.
pub(crate) fn load(config: &Config) -> Result<Keys, Failure> {
    if config.keys.is_empty() {
        let state = StateDir::open(config.state_dir.as_deref())?;
        let secret = state.file_or(DEVELOPMENT_KEY_FILE, || {
            Ok(random_secret(DEVELOPMENT_KEY_BYTES))
        })?;
        let key = ApiKey::new(
            DEVELOPMENT_KEY,
            secret.trim(),
            AuthorityId::default(),
            KeyScopes::ALL,
        )
        .map_err(Failure::setup)?;
        return Ok(Keys {
            ring: KeyRing::new([key]).map_err(Failure::setup)?,
            development: true,
        });
    }
    Ok(Keys {
        ring: ring(config).map_err(Failure::setup)?,
        development: false,
    })
}

/// `ring` with the server's own keys beside.
pub(crate) fn beside(own: &[ApiKey], ring: &KeyRing) -> Result<KeyRing, KeyError> {
    KeyRing::new(ring.iter().chain(own).cloned())
}

/// Collects the configured keys.
pub(crate) fn ring(config: &Config) -> Result<KeyRing, KeyError> {
    KeyRing::new(config.keys.values().cloned())
}
