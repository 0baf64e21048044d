//! What a room's task decides before its room does.

use std::time::Duration;

use schalter_model::{AuthorityId, ShardId};
use schalter_shard::control::Command;
use schalter_transport::{Fingerprint, FingerprintHash};

use super::*;
use crate::authority::{ApiKey, KeyRing, KeyScopes};
use crate::config::SignalingConfig;
use crate::media::{MediaPlane, ShardInfo};
use crate::registry::Outside;
use crate::removal::Removed;
use crate::room::{ConnectionMode, RoomKey};
use crate::token::{Claims, TokenError, VideoClaims};

/// A media plane that does nothing.
struct Idle([ShardInfo; 1], [Fingerprint; 1]);

impl MediaPlane for Idle {
    fn shards(&self) -> &[ShardInfo] {
        &self.0
    }

    fn send(&self, _: ShardId, _: Command) {}

    fn fingerprints(&self) -> &[Fingerprint] {
        &self.1
    }

    fn node(&self) -> u16 {
        0
    }
}

fn registry(ring: &KeyRing) -> Arc<Registry> {
    let shard = ShardInfo {
        id: ShardId(0),
        candidates: Vec::new(),
        tcp_candidates: Vec::new(),
    };
    let fingerprint = Fingerprint {
        hash: FingerprintHash::Sha256,
        digest: vec![1; 32],
    };
    let media = Arc::new(Idle([shard], [fingerprint]));
    let keys = Arc::new(arc_swap::ArcSwap::from_pointee(ring.clone()));
    let (config, outside) = (SignalingConfig::default(), Outside::default());
    Arc::new(Registry::new(config, keys, media, outside))
}

#[tokio::test]
async fn a_join_whose_token_was_withdrawn_after_it_was_checked_is_refused() {
    let secret = "a secret of at least thirty-two bytes";
    let key = ApiKey::new("key", secret, AuthorityId::default(), KeyScopes::ALL).unwrap();
    let ring = KeyRing::new([key]).unwrap();
    let registry = registry(&ring);
    let claims = Claims {
        identity: Some("alice".into()),
        video: Some(VideoClaims {
            room: Some("r".into()),
            room_join: Some(true),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    };
    let ttl = Duration::from_secs(60);
    let token = ring
        .mint("key", &claims, registry.clock.unix_secs(), ttl)
        .unwrap();
    let grants = Arc::new(registry.verify(&token).unwrap());
    let key = RoomKey {
        authority: AuthorityId::default(),
        name: "r".into(),
    };
    let room = registry.room_or_new(&key, None).unwrap();
    let removed = Removed {
        room: key,
        identity: "alice".into(),
    };
    for withdrawn in [false, true] {
        if withdrawn {
            registry.revoke_issued_until_now(&removed).await.unwrap();
        }
        let (writer, _queue) = writer_queue(8);
        let (reply, answer) = oneshot::channel();
        let params = JoinParams {
            grants: Arc::clone(&grants),
            client: Default::default(),
            mode: ConnectionMode::Single,
            auto_subscribe: true,
            auto_subscribe_data_tracks: false,
            metadata: String::new(),
            attributes: HashMap::new(),
            offer: None,
            add_tracks: Vec::new(),
            resume: None,
            shard: ShardId(0),
        };
        let join = RoomMessage::Join {
            connection: registry.ids.connection(),
            params: Box::new(params),
            writer,
            reply,
        };
        room.control.send(join).await.ok().unwrap();
        let expected = if withdrawn {
            Err(JoinRefusal::Token(TokenError::Revoked))
        } else {
            Ok(())
        };
        assert_eq!(answer.await.unwrap(), expected);
    }
}
