//! Any datagram, as it is and with a header that makes it STUN: the parser and a lite agent neither panic nor answer.

use schalter_model::{Path, ShardId, Time, Ufrag};
use schalter_transport::LocalIce;
use schalter_transport::ice::{ChallengeSecret, IceLimits, IceLite, MAX_ICE_RESPONSE_LEN};
use schalter_transport::stun::{IntegrityKey, StunMessage, username_of};

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// Does it with one input.
pub fn run(datagram: &[u8]) {
    check(datagram);
    if let Ok(len) = u16::try_from(datagram.len().saturating_sub(20))
        && datagram.len() >= 20
    {
        let mut repaired = datagram.to_vec();
        repaired[0] &= 0x3F;
        repaired[2..4].copy_from_slice(&len.to_be_bytes());
        repaired[4..8].copy_from_slice(&MAGIC_COOKIE);
        check(&repaired);
    }
}

fn check(datagram: &[u8]) {
    let key = IntegrityKey::new(b"a password nobody knows");
    let user = username_of(datagram);
    if let Ok(message) = StunMessage::parse(datagram) {
        let _ = (message.class(), message.method(), message.priority());
        let _ = (message.error_code(), message.xor_mapped_address());
        let _ = message.verify_fingerprint();
        assert!(!message.verify_integrity(&key));
        if let Some(authentic) = message.username() {
            assert_eq!(user, Some(authentic));
        }
    }
    let ice = LocalIce {
        ufrag: Ufrag::new(0, ShardId(0), 0),
        password: "a password nobody knows".into(),
    };
    let mut agent = IceLite::new(
        Time::ZERO,
        &ice,
        ChallengeSecret::new([1; ChallengeSecret::LEN]),
        IceLimits::default(),
    );
    let path = Path::udp(([192, 0, 2, 1], 9).into(), None);
    let mut out = [0; MAX_ICE_RESPONSE_LEN];
    let answer = agent.on_request(Time::ZERO, path, datagram, &mut out);
    assert!(answer.is_err() || answer.is_ok_and(|response| response.len == 0));
    assert!(!agent.is_validated(&path));
}
