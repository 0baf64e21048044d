//! Tokens: nothing that wasn't signed is ever accepted, and refusals don't panic.
//!
//! The second half signs the input, so that the claims behind the signature are reached as well.
use std::sync::LazyLock;
use std::time::Duration;

use schalter_model::AuthorityId;
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::token::{Claims, VideoClaims};

static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let secret = "0123456789abcdefghijklmnopqrstuvwxyz";
    let key = ApiKey::new("key", secret, AuthorityId::default(), KeyScopes::ALL);
    KeyRing::new([key.expect("a good key")]).expect("one key")
});

/// Does it with one input.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    assert!(RING.verify(text, 0).is_err());

    let mut parts = text.split('\n').map(str::to_owned);
    let claims = Claims {
        // Minting says when, unless the claims do.
        iat: Some(0),
        identity: parts.next(),
        name: parts.next(),
        metadata: parts.next(),
        kind: parts.next(),
        video: Some(VideoClaims {
            room: parts.next(),
            room_join: Some(true),
            can_publish_sources: Some(parts.collect()),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    };
    let token = RING.mint("key", &claims, 0, Duration::from_secs(1));
    if let Ok(grants) = RING.verify(&token.expect("the key exists"), 0) {
        assert_eq!(grants.claims, claims);
        let _ = (grants.require_join(), grants.require_admin());
    }
}
