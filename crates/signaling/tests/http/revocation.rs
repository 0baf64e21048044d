//! Tokens that were withdrawn: who is refused with which, for how long, and what happens at the limits.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use livekit_protocol::DisconnectReason;
use livekit_protocol::signal_response::Message as Response;
use schalter_signaling::revocation::{Revocation, RevocationStore};
use schalter_signaling::token::Claims;
use schalter_signaling::{KeptRevocations, Outside, SignalingConfig};
use serde_json::json;

use crate::room_service::everything;
use crate::support::{Server, Socket, claims, eventually, join_request};

const REVOKED: (u16, &str) = (401, "token has been revoked");

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}

/// Claims of alice in `r`, issued so many seconds from now.
fn issued(after: i64) -> Claims {
    Claims {
        iat: now().checked_add_signed(after),
        ..claims("r", "alice")
    }
}

fn named(jti: &str) -> Claims {
    Claims {
        jti: Some(jti.into()),
        ..claims("r", "alice")
    }
}

impl Server {
    async fn enter(&self, token: &str) -> Result<Socket, (u16, String)> {
        self.connect(&format!("/rtc?access_token={token}")).await
    }

    /// Holds a token to be refused as revoked on every way in.
    async fn is_revoked(&self, token: &str) {
        let request = join_request();
        for path in ["/rtc?", "/rtc?reconnect=1&sid=PA_x&"] {
            let (status, text) = self
                .connect(&format!("{path}access_token={token}"))
                .await
                .err()
                .unwrap();
            assert_eq!((status, text.as_str()), REVOKED, "{path}");
        }
        for path in [
            "/rtc/validate?".to_owned(),
            format!("/rtc/v1/validate?join_request={request}&"),
        ] {
            let (status, _, text) = self.get(&format!("{path}access_token={token}"), "").await;
            assert_eq!((status, text.as_str()), REVOKED, "{path}");
        }
        let (status, text) = self
            .connect(&format!(
                "/rtc/v1?join_request={request}&access_token={token}"
            ))
            .await
            .err()
            .unwrap();
        assert_eq!((status, text.as_str()), REVOKED);
    }

    async fn remove(&self, revoke_token_ts: i64) -> (u16, String) {
        let body = json!({"room": "r", "identity": "alice", "revoke_token_ts": revoke_token_ts.to_string()});
        let (status, answer) = self.ask("RemoveParticipant", &everything(), &body).await;
        let code = answer["code"].as_str().unwrap_or_default();
        (status, code.to_owned())
    }
}

/// The token that a client is given to come back with.
async fn refreshed(socket: &mut Socket) -> String {
    let message = socket
        .until(|m| matches!(m, Response::RefreshToken(_)))
        .await;
    let Response::RefreshToken(token) = message else {
        unreachable!("asked for")
    };
    token
}

async fn removed(socket: &mut Socket) {
    let last = socket.until(|m| matches!(m, Response::Leave(_))).await;
    let Response::Leave(leave) = last else {
        unreachable!("asked for")
    };
    assert_eq!(leave.reason(), DisconnectReason::ParticipantRemoved);
}

const DONE: u16 = 200;

#[tokio::test]
async fn who_is_removed_is_refused_with_every_token_that_was_issued_until_then() {
    let server = Server::start(SignalingConfig::default()).await;
    let token = server.token(&issued(-100));
    let mut alice = server.enter(&token).await.unwrap();
    let fresh = refreshed(&mut alice).await;
    assert_eq!(server.remove(0).await.0, DONE);
    removed(&mut alice).await;
    server.is_revoked(&token).await;
    // Minted after the token was, and as old as it is.
    server.is_revoked(&fresh).await;
    // The minute after, as the protocol has it: pages ask for a new token at once.
    server.is_revoked(&server.token(&issued(50))).await;
    // Older than can be told.
    let undated = Claims {
        iat: Some(0),
        ..claims("r", "alice")
    };
    server.is_revoked(&server.token(&undated)).await;

    let later = server.token(&issued(70));
    let mut alice = server.enter(&later).await.unwrap();
    let fresh = refreshed(&mut alice).await;
    drop(alice);
    server.enter(&fresh).await.unwrap();
    // Nobody else, nowhere else, and no other authority's.
    server.join("r", "bob").await;
    server.join("s", "alice").await;
    let namesake = server.token_by("other-key", &issued(-100));
    server.enter(&namesake).await.unwrap();
    assert_eq!(server.signaling.stats().revocations, 1);
    assert!(server.signaling.stats().revoked_refused >= 20);
}

#[tokio::test]
async fn a_revocation_outlives_its_room_and_needs_nobody_to_be_there() {
    let server = Server::start(SignalingConfig::default()).await;
    let token = server.token(&issued(-100));
    // Neither the participant nor the room is there: what counts is that nobody comes.
    assert_eq!(server.remove(now() as i64 - 50).await.0, DONE);
    server.is_revoked(&token).await;
    let mut alice = server.enter(&server.token(&issued(-40))).await.unwrap();
    let body = json!({"room": "r"});
    server.ask("DeleteRoom", &everything(), &body).await;
    alice.until(|m| matches!(m, Response::Leave(_))).await;
    server.is_revoked(&token).await;
    // An earlier time takes nothing back.
    assert_eq!(server.remove(now() as i64 - 5_000).await.0, DONE);
    server.is_revoked(&token).await;
    // Without a time, whoever isn't there is told to be missing.
    assert_eq!(server.remove(0).await, (404, "not_found".to_owned()));
    server.enter(&server.token(&issued(-40))).await.unwrap();
}

#[tokio::test]
async fn one_token_is_withdrawn_by_its_name_with_what_was_refreshed_from_it() {
    let server = Server::start(SignalingConfig::default()).await;
    let (first, second) = (server.token(&named("one")), server.token(&named("two")));
    let mut alice = server.enter(&first).await.unwrap();
    let fresh = refreshed(&mut alice).await;
    assert_eq!(server.remove(-1).await.0, DONE);
    removed(&mut alice).await;
    server.is_revoked(&first).await;
    server.is_revoked(&fresh).await;
    // Also for another room: it is the token that is gone.
    let mut elsewhere = claims("s", "alice");
    elsewhere.jti = Some("one".into());
    server.is_revoked(&server.token(&elsewhere)).await;
    let mut bob = claims("r", "bob");
    bob.jti = Some("one".into());
    server.enter(&server.token(&bob)).await.unwrap();
    server.enter(&second).await.unwrap();
}

#[tokio::test]
async fn a_token_without_a_name_can_t_be_withdrawn_alone_and_its_owner_stays() {
    let server = Server::start(SignalingConfig::default()).await;
    let _alice = server.join("r", "alice").await;
    let refused = server.remove(-1).await;
    assert_eq!(refused, (412, "failed_precondition".to_owned()));
    for bad in [-2, now() as i64 * 2, i64::MAX] {
        let refused = server.remove(bad).await;
        assert_eq!(refused, (400, "invalid_argument".to_owned()), "{bad}");
    }
    assert_eq!(server.signaling.stats().participants, 1);
    assert_eq!(server.signaling.stats().revocations, 0);
}

#[tokio::test]
async fn whoever_moved_is_kept_out_of_the_room_that_it_was_removed_from() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.enter(&server.token(&issued(-100))).await.unwrap();
    refreshed(&mut alice).await;
    let body = json!({"room": "r", "identity": "alice", "destination_room": "s"});
    let (status, _) = server.ask("MoveParticipant", &everything(), &body).await;
    assert_eq!(status, DONE);
    let moving = refreshed(&mut alice).await;
    assert_eq!(server.remove(now() as i64).await.0, DONE);
    // It is in the other room by right, and its token for that is as old as the first.
    server.enter(&moving).await.unwrap();
    let mut admin = everything();
    admin.video.as_mut().unwrap().room = Some("s".into());
    let body = json!({"room": "s", "identity": "alice"});
    let (status, _) = server.ask("RemoveParticipant", &admin, &body).await;
    assert_eq!(status, DONE);
    server.is_revoked(&moving).await;
}

#[tokio::test]
async fn at_the_limit_the_participant_goes_and_the_caller_is_told_that_it_may_come_back() {
    let mut config = SignalingConfig::default();
    config.limits.revocations_per_authority = 1;
    let server = Server::start(config).await;
    let body = json!({"room": "r", "identity": "bob"});
    let bob = server.token(&claims("r", "bob"));
    let _bob = server.enter(&bob).await.unwrap();
    let (status, _) = server.ask("RemoveParticipant", &everything(), &body).await;
    assert_eq!(status, DONE);
    let mut alice = server.join("r", "alice").await;
    let refused = server.remove(0).await;
    assert_eq!(refused, (429, "resource_exhausted".to_owned()));
    removed(&mut alice).await;
    // Nobody was forgotten for it.
    server.is_revoked(&bob).await;
    server.join("r", "alice").await;
    // The same once more takes no place.
    assert_eq!(server.remove(0).await.1, "resource_exhausted");
    let again =
        json!({"room": "r", "identity": "bob", "revoke_token_ts": (now() + 100).to_string()});
    let (status, _) = server.ask("RemoveParticipant", &everything(), &again).await;
    assert_eq!(status, DONE);
}

/// Remembers what it was told, or fails.
#[derive(Default)]
struct Store {
    kept: Mutex<Vec<Revocation>>,
    fails: bool,
}

impl RevocationStore for Store {
    fn append(&self, revocation: &Revocation) -> io::Result<usize> {
        if self.fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut kept = self.kept.lock().unwrap();
        kept.push(revocation.clone());
        Ok(kept.len())
    }

    fn rewrite(&self, all: &[Revocation]) -> io::Result<()> {
        *self.kept.lock().unwrap() = all.to_vec();
        Ok(())
    }
}

fn outside(store: &Arc<Store>) -> Outside {
    Outside {
        revocations: Some(KeptRevocations {
            revocations: store.kept.lock().unwrap().clone(),
            store: store.clone(),
        }),
        ..Outside::default()
    }
}

#[tokio::test]
async fn what_was_kept_holds_in_the_next_process() {
    let store = Arc::new(Store::default());
    let server = Server::start_with(SignalingConfig::default(), outside(&store)).await;
    let token = server.token(&issued(-100));
    for ts in [1_000, now() as i64 - 50, now() as i64 - 60] {
        assert_eq!(server.remove(ts).await.0, DONE);
    }
    // The first was about no token that could be good.
    assert_eq!(store.kept.lock().unwrap().len(), 2);
    let next = Server::start_with(SignalingConfig::default(), outside(&store)).await;
    next.is_revoked(&token).await;
    assert_eq!(next.signaling.stats().revocations, 1);
    next.enter(&next.token(&issued(-40))).await.unwrap();
}

#[tokio::test]
async fn the_store_is_written_anew_when_most_of_it_is_history() {
    let store = Arc::new(Store::default());
    let server = Server::start_with(SignalingConfig::default(), outside(&store)).await;
    let from = now() as i64 - 5_000;
    for n in 0..1_003 {
        assert_eq!(server.remove(from + n).await.0, DONE);
    }
    assert_eq!(store.kept.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_disk_that_refuses_is_told_and_the_revocation_holds_meanwhile() {
    let store = Arc::new(Store {
        fails: true,
        ..Store::default()
    });
    let server = Server::start_with(SignalingConfig::default(), outside(&store)).await;
    let token = server.token(&issued(-100));
    let mut alice = server.enter(&token).await.unwrap();
    assert_eq!(server.remove(0).await, (500, "internal".to_owned()));
    removed(&mut alice).await;
    server.is_revoked(&token).await;
    assert_eq!(server.signaling.stats().revocations_unkept, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_races_with_the_removal_does_not_stay() {
    let server = Arc::new(Server::start(SignalingConfig::default()).await);
    for round in 0..40 {
        let token = server.token(&named(&format!("token-{round}")));
        let _first = server.enter(&token).await.unwrap();
        // Each of them may be before or after the removal, or in the middle of it.
        let joins: Vec<_> = (0..4)
            .map(|_| {
                let (server, token) = (Arc::clone(&server), token.clone());
                tokio::spawn(async move { server.enter(&token).await })
            })
            .collect();
        assert_eq!(server.remove(-1).await.0, DONE);
        let mut sockets = Vec::new();
        for join in joins {
            sockets.extend(join.await.unwrap());
        }
        eventually("nobody is there", || {
            server.signaling.stats().participants == 0
        })
        .await;
    }
}
