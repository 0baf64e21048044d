//! Rooms that another part of the server guides: made by joins though others are not, left for good, and heard of.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use livekit_protocol::DisconnectReason;
use livekit_protocol::signal_response::Message as Response;
use schalter_model::AuthorityId;
use schalter_signaling::config::RoomDefaults;
use schalter_signaling::token::Claims;
use schalter_signaling::{Clear, Outside, Presence, RoomObserver, SignalingConfig};

use crate::support::{Server, claims, eventually};

#[derive(Default)]
struct Heard(Mutex<Vec<Presence>>);

impl RoomObserver for Heard {
    fn on_presence(&self, presence: Presence) {
        self.0.lock().unwrap().push(presence);
    }
}

fn ulm() -> AuthorityId {
    AuthorityId::new("ulm").unwrap()
}

#[tokio::test]
async fn who_is_dismissed_is_out_by_every_token_of_that_admission_and_by_no_other() {
    let heard = Arc::new(Heard::default());
    let config = SignalingConfig {
        guided: [(ulm(), Clear::Taken)].into_iter().collect(),
        room: RoomDefaults {
            auto_create: false,
            ..RoomDefaults::default()
        },
        ..SignalingConfig::default()
    };
    let outside = Outside {
        observer: Some(heard.clone()),
        ..Outside::default()
    };
    let server = Server::start_with(config, outside).await;
    let token = |identity: &str, jti: &str| {
        let claims = Claims {
            jti: Some(jti.to_owned()),
            ..claims("apt", identity)
        };
        server.token(&claims)
    };
    let path = |token: &str| format!("/rtc?access_token={token}");
    let bonn = server.token_by("other-key", &claims("apt", "per.1"));
    let refused = server.connect(&path(&bonn)).await.err().unwrap();
    assert_eq!(refused.0, 404, "joins make no other rooms: {}", refused.1);

    let own = token("per.1", "first");
    let mut person = server.connect(&path(&own)).await.unwrap();
    let events = || {
        let heard = heard.0.lock().unwrap();
        heard
            .iter()
            .map(|p| (p.room.to_string(), p.identity.to_string(), p.came))
            .collect::<Vec<_>>()
    };
    let one = |came| ("apt".to_owned(), "per.1".to_owned(), came);
    eventually("it came", || events() == [one(true)]).await;

    server
        .signaling
        .dismiss(&ulm(), "apt", "per.1", ("first", Duration::from_secs(60)))
        .await
        .unwrap();
    let Response::Leave(leave) = person.until(|m| matches!(m, Response::Leave(_))).await else {
        panic!("until() answers what was waited for")
    };
    assert_eq!(leave.reason(), DisconnectReason::ParticipantRemoved);
    eventually("it left", || events() == [one(true), one(false)]).await;
    for token in [own, token("per.1", "first")] {
        assert_eq!(server.connect(&path(&token)).await.err().unwrap().0, 401);
    }
    let _other = server
        .connect(&path(&token("per.2", "first")))
        .await
        .unwrap();
    let _again = server
        .connect(&path(&token("per.1", "second")))
        .await
        .unwrap();

    // Who isn't there, and where nothing is.
    for (room, identity) in [("apt", "per.9"), ("none", "per.1")] {
        let jti = ("first", Duration::from_secs(60));
        let dismissed = server.signaling.dismiss(&ulm(), room, identity, jti).await;
        assert_eq!(dismissed, Ok(()));
    }
    server.signaling.close_room(&ulm(), "none").await;
    server.signaling.close_room(&ulm(), "apt").await;
    eventually("the room is gone", || server.signaling.stats().rooms == 0).await;
}
