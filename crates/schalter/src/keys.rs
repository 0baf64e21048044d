//! The API keys: configured, or a development key made at the first start.

use schalter_model::AuthorityId;
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};

use crate::Failure;
use crate::config::{Config, Scope};
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
    let keys = config
        .keys
        .iter()
        .map(|(name, key)| {
            let scopes = KeyScopes {
                join: key.scopes.contains(&Scope::Join),
                admin: key.scopes.contains(&Scope::Admin),
            };
            ApiKey::new(name, &key.secret, key.authority.clone(), scopes)
                .map_err(|error| Failure::setup(format!("keys.{name}: {error}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Keys {
        ring: KeyRing::new(keys).map_err(Failure::setup)?,
        development: false,
    })
}
