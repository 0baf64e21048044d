//! `schalter token`, and the links that the first start prints.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schalter_signaling::authority::{ApiKey, KeyRing};
use schalter_signaling::token::{Claims, VideoClaims};

use crate::cli::TokenArgs;
use crate::config::Config;
use crate::state::random_secret;
use crate::{Failure, keys, say};

/// Bytes of randomness in the name that each token from the command line has, so that it can be withdrawn alone.
const JTI_BYTES: usize = 12;

pub(crate) fn run(args: &TokenArgs) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref()).map_err(Failure::setup)?;
    let ring = keys::load(&config)?.ring;
    let key = signing_key(&ring, args.key.as_deref())?;
    let claims = Claims {
        jti: Some(random_secret(JTI_BYTES)),
        identity: Some(args.identity.clone()),
        name: args.name.clone(),
        video: Some(VideoClaims {
            room: Some(args.room.clone()),
            room_join: Some(true),
            can_publish: args.no_publish.then_some(false),
            can_subscribe: args.no_subscribe.then_some(false),
            can_publish_data: args.no_data.then_some(false),
            can_update_own_metadata: args.update_own_metadata.then_some(true),
            hidden: args.hidden.then_some(true),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    };
    let token = mint(&ring, &key.name, &claims, args.valid_for)?;
    // What this server would refuse is better refused here.
    ring.verify(&token, unix_now())
        .and_then(|grants| grants.require_join().map(|_| ()))
        .map_err(|error| Failure::setup(format!("such a token would be refused: {error}")))?;
    match &args.link {
        Some(base) => say(&page_link(base, &token)),
        None => say(&token),
    }
    Ok(())
}

fn signing_key<'a>(ring: &'a KeyRing, name: Option<&str>) -> Result<&'a ApiKey, Failure> {
    if let Some(name) = name {
        return ring
            .key(name)
            .ok_or_else(|| Failure::setup(format!("no API key is called {name}")));
    }
    let mut keys = ring.iter();
    match (keys.next(), keys.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(Failure::setup(
            "the configuration has several API keys: choose one with --key",
        )),
    }
}

/// Signs `claims`, valid from now.
pub(crate) fn mint(
    ring: &KeyRing,
    key: &str,
    claims: &Claims,
    valid_for: Duration,
) -> Result<String, Failure> {
    ring.mint(key, claims, unix_now(), valid_for)
        .map_err(Failure::setup)
}

/// A link to the page. The token stands in the fragment, which browsers never send.
pub(crate) fn page_link(base: &str, token: &str) -> String {
    format!("{}/#token={token}", base.trim_end_matches('/'))
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
