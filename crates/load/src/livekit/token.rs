//! Access tokens (HS256), minted here because the generator plays the integrator too.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;

use crate::error::LoadError;

/// Long enough for any run.
const VALID_FOR: Duration = Duration::from_secs(6 * 3600);

/// Who may join what.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The room.
    pub room: &'a str,
    /// The participant.
    pub identity: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Video<'a> {
    room: &'a str,
    room_join: bool,
    can_publish: bool,
    can_subscribe: bool,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    name: &'a str,
    nbf: u64,
    exp: u64,
    video: Video<'a>,
}

/// Signs a token.
///
/// # Errors
/// [`LoadError::Signaling`] when the library refuses.
pub fn mint(key: &str, secret: &str, grant: &Grant<'_>) -> Result<String, LoadError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let claims = Claims {
        iss: key,
        sub: grant.identity,
        name: grant.identity,
        // Clocks of two machines differ.
        nbf: now.saturating_sub(30),
        exp: now + VALID_FOR.as_secs(),
        video: Video {
            room: grant.room,
            room_join: true,
            can_publish: true,
            can_subscribe: true,
        },
    };
    encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .map_err(|error| LoadError::Signaling(format!("token: {error}")))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn tokens_name_key_participant_and_room() {
        let token = mint(
            "k",
            "0123456789abcdef0123456789abcdef",
            &Grant {
                room: "r",
                identity: "i",
            },
        )
        .unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!((&claims["iss"], &claims["sub"]), (&"k".into(), &"i".into()));
        assert_eq!(claims["video"]["room"], "r");
        assert_eq!(claims["video"]["roomJoin"], true);
    }
}
