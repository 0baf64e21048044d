//! The set of withdrawn tokens: what it covers, its bounds, and that it forgets exactly what no longer matters.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it doesn't expect may panic"
)]

use std::time::Duration;

use schalter_model::AuthorityId;
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::revocation::{
    Revocation, RevocationLimits, Revocations, RevocationsFull, Withdrawn,
};
use schalter_signaling::token::{Claims, Grants, MAX_TOKEN_LIFETIME_SECS, VideoClaims};

const NOW: u64 = 1_800_000_000;

fn authority(name: &str) -> AuthorityId {
    AuthorityId::new(name).unwrap()
}

fn limits(total: usize, per_authority: usize) -> RevocationLimits {
    RevocationLimits {
        total,
        per_authority,
    }
}

fn before(tenant: &str, identity: &str, at: u64) -> Revocation {
    Revocation {
        authority: authority(tenant),
        identity: identity.into(),
        withdrawn: Withdrawn::IssuedBefore {
            room: "r".into(),
            at,
        },
    }
}

/// What a token that was issued at `iat`, and lives as long as a token may, is found to grant when it is about to end.
fn oldest(identity: &str, iat: u64) -> (Grants, u64) {
    let secret = "a secret of thirty-two characters";
    let key = ApiKey::new("k", secret, authority("ulm"), KeyScopes::ALL).unwrap();
    let ring = KeyRing::new([key]).unwrap();
    let claims = Claims {
        iat: Some(iat),
        identity: Some(identity.into()),
        video: Some(VideoClaims {
            room: Some("r".into()),
            room_join: Some(true),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    };
    let ttl = Duration::from_secs(MAX_TOKEN_LIFETIME_SECS);
    let token = ring.mint("k", &claims, iat, ttl).unwrap();
    let end = iat + MAX_TOKEN_LIFETIME_SECS + schalter_signaling::token::CLOCK_LEEWAY_SECS;
    let grants = ring.verify(&token, end).unwrap();
    assert!(ring.verify(&token, end + 1).is_err());
    (grants, end)
}

#[test]
fn a_revocation_is_remembered_as_long_as_a_token_of_before_could_be_accepted() {
    let mut set = Revocations::new(limits(10, 10));
    set.add(before("ulm", "anna", NOW), NOW).unwrap();
    let (grants, end) = oldest("anna", NOW - 1);
    set.forget_ended(end);
    assert!(set.covers(&grants));
    let until = before("ulm", "anna", NOW).until();
    set.forget_ended(until - 1);
    assert_eq!(set.len(), 1);
    set.forget_ended(until);
    assert!(set.is_empty() && !set.covers(&grants));
    assert!(until > end && until - end < 60, "{}", until - end);
}

#[test]
fn the_time_itself_is_not_before() {
    let mut set = Revocations::new(limits(10, 10));
    set.add(before("ulm", "anna", NOW), NOW).unwrap();
    assert!(set.covers(&oldest("anna", NOW - 1).0));
    assert!(!set.covers(&oldest("anna", NOW).0));
    // A weaker one changes nothing, a stronger one counts.
    set.add(before("ulm", "anna", NOW - 10), NOW).unwrap();
    assert!(set.covers(&oldest("anna", NOW - 1).0));
    set.add(before("ulm", "anna", NOW + 1), NOW).unwrap();
    assert!(set.covers(&oldest("anna", NOW).0));
    assert_eq!(set.len(), 1);
}

#[test]
fn a_full_set_takes_none_until_others_have_ended_and_tenants_have_bounds_of_their_own() {
    let mut set = Revocations::new(limits(3, 2));
    set.add(before("ulm", "a", NOW - 1_000), NOW).unwrap();
    set.add(before("ulm", "b", NOW), NOW).unwrap();
    assert_eq!(set.add(before("ulm", "c", NOW), NOW), Err(RevocationsFull));
    set.add(before("bonn", "a", NOW), NOW).unwrap();
    assert_eq!(set.add(before("bonn", "b", NOW), NOW), Err(RevocationsFull));
    assert_eq!(set.len(), 3);
    assert!(set.covers(&oldest("a", NOW - 1_001).0));
    // The oldest of ulm's has ended: its place is free, for ulm only by its own bound.
    let later = before("ulm", "a", NOW - 1_000).until();
    set.add(before("ulm", "c", later), later).unwrap();
    assert!(!set.covers(&oldest("a", NOW - 1_001).0));
    assert!(set.covers(&oldest("b", NOW - 1).0));
    assert_eq!(
        set.add(before("ulm", "d", later), later),
        Err(RevocationsFull)
    );
    assert_eq!(set.all().len(), 3);
}
