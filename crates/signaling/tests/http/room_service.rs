//! The room service over HTTP: who may call what, both forms of bodies, and how refusals look.

use std::time::Duration;

use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{CreateRoomRequest, ListRoomsRequest, ListRoomsResponse, Room};
use prost::Message as _;
use schalter_signaling::SignalingConfig;
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::token::{Claims, VideoClaims};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{SECRET, Server, claims, eventually};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/protobuf";

/// Names of all methods, with a body in which the room is `r`.
fn methods() -> Vec<(&'static str, Value)> {
    let who = json!({"room": "r", "identity": "alice"});
    vec![
        ("CreateRoom", json!({"name": "r"})),
        ("ListRooms", json!({})),
        ("DeleteRoom", json!({"room": "r"})),
        ("ListParticipants", json!({"room": "r"})),
        ("GetParticipant", who.clone()),
        ("RemoveParticipant", who.clone()),
        (
            "MutePublishedTrack",
            json!({"room": "r", "identity": "alice", "track_sid": "TR_x", "muted": true}),
        ),
        ("UpdateParticipant", who.clone()),
        ("UpdateSubscriptions", who),
        ("SendData", json!({"room": "r", "data": "YQ=="})),
        ("UpdateRoomMetadata", json!({"room": "r", "metadata": "m"})),
        (
            "MoveParticipant",
            json!({"room": "r", "identity": "alice", "destination_room": "s"}),
        ),
        (
            "ForwardParticipant",
            json!({"room": "r", "identity": "alice", "destination_room": "s"}),
        ),
    ]
}

fn granting(edit: impl FnOnce(&mut VideoClaims)) -> Claims {
    let mut video = VideoClaims::default();
    edit(&mut video);
    Claims {
        video: Some(video),
        ..Claims::default()
    }
}

/// May do everything there is with room `r`.
pub(crate) fn everything() -> Claims {
    granting(|v| {
        v.room = Some("r".into());
        v.room_admin = Some(true);
        v.room_create = Some(true);
        v.room_list = Some(true);
        v.destination_room = Some("s".into());
    })
}

impl Server {
    async fn http(&self, head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses early may have stopped reading.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let end = answer
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("an answer");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (
            status,
            head.to_ascii_lowercase(),
            answer[end + 4..].to_vec(),
        )
    }

    async fn post(&self, method: &str, token: &str, form: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let head = format!(
            "POST /twirp/livekit.RoomService/{method} HTTP/1.1\r\nContent-Type: {form}\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {}",
            body.len()
        );
        let (status, head, body) = self.http(&head, body).await;
        let essence = form.split(';').next().unwrap();
        let expected = if status == 200 { essence } else { JSON };
        let answered = format!("content-type: {expected}");
        assert!(head.contains(&answered), "{method}: {head}");
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
        (status, body)
    }

    pub(crate) async fn ask(&self, method: &str, claims: &Claims, body: &Value) -> (u16, Value) {
        let token = self.token(claims);
        self.ask_with(method, &token, body).await
    }

    pub(crate) async fn ask_with(&self, method: &str, token: &str, body: &Value) -> (u16, Value) {
        let text = body.to_string();
        let (status, answer) = self.post(method, token, JSON, text.as_bytes()).await;
        (status, serde_json::from_slice(&answer).unwrap())
    }

    pub(crate) async fn refused(
        &self,
        method: &str,
        claims: &Claims,
        body: &Value,
    ) -> (u16, String) {
        let (status, answer) = self.ask(method, claims, body).await;
        let fields = answer.as_object().unwrap();
        assert_eq!(fields.len(), 2, "{method}: {answer}");
        assert!(!fields["msg"].as_str().unwrap().is_empty());
        (status, fields["code"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn every_method_answers_in_a_room_with_its_participant() {
    for (method, body) in methods() {
        let server = Server::start(SignalingConfig::default()).await;
        let mut alice = server.join("r", "alice").await;
        eventually("alice is connected", || {
            server.signaling.stats().joins_connected == 1
        })
        .await;
        let (status, answer) = server.ask(method, &everything(), &body).await;
        // The one track that could be muted is not there.
        if method == "MutePublishedTrack" {
            assert_eq!(
                (status, &answer["msg"]),
                (404, &json!("track does not exist"))
            );
            continue;
        }
        assert_eq!(status, 200, "{method}: {answer}");
        if ["RemoveParticipant", "MoveParticipant", "DeleteRoom"].contains(&method) {
            alice.until(|m| matches!(m, Response::Leave(_))).await;
        }
        if method == "GetParticipant" {
            assert_eq!(answer["identity"], "alice");
            assert_eq!(answer["permission"]["can_publish"], true);
        }
    }
}

#[tokio::test]
async fn a_grant_for_something_else_reaches_nothing() {
    let server = Server::start(SignalingConfig::default()).await;
    let _alice = server.join("r", "alice").await;
    let none = granting(|_| {});
    let joins = claims("r", "alice");
    let without = |edit: fn(&mut VideoClaims)| {
        let mut claims = everything();
        edit(claims.video.as_mut().unwrap());
        claims
    };
    for (method, body) in methods() {
        let mut insufficient = vec![none.clone(), joins.clone()];
        match method {
            "CreateRoom" | "DeleteRoom" => insufficient.push(without(|v| v.room_create = None)),
            "ListRooms" => insufficient.push(without(|v| v.room_list = None)),
            _ => {
                insufficient.push(without(|v| v.room_admin = None));
                insufficient.push(without(|v| v.room = Some("s".into())));
                insufficient.push(without(|v| v.room = None));
            }
        }
        if ["MoveParticipant", "ForwardParticipant"].contains(&method) {
            insufficient.push(without(|v| v.destination_room = None));
            insufficient.push(without(|v| v.destination_room = Some("t".into())));
        }
        for claims in &insufficient {
            let refused = server.refused(method, claims, &body).await;
            assert_eq!(
                refused,
                (401, "unauthenticated".to_owned()),
                "{method} {claims:?}"
            );
        }
    }
    assert_eq!(server.signaling.stats().rooms, 1);
    assert_eq!(server.signaling.stats().participants, 1);
}

#[tokio::test]
async fn a_token_that_is_none_is_refused_before_the_body_and_not_repeated() {
    let server = Server::start(SignalingConfig::default()).await;
    let good = server.token(&everything());
    let forged = format!("{good}x");
    for token in ["", "garbage", "a.b.c", &forged] {
        for (method, _) in methods() {
            let (status, answer) = server.post(method, token, JSON, b"{").await;
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!((status, &answer["code"]), (401, &json!("unauthenticated")));
            let text = answer.to_string();
            assert!(token.is_empty() || !text.contains(token), "{text}");
        }
    }
    let no_video = server.token(&Claims::default());
    let (status, _) = server.post("ListRooms", &no_video, JSON, b"{}").await;
    assert_eq!(status, 401);
    let request = "POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nContent-Type: application/json\r\n\
                   Content-Length: 2";
    let (status, ..) = server.http(request, b"{}").await;
    assert_eq!(status, 401, "without any header");
    // In the query it would stand in logs.
    let request = format!(
        "POST /twirp/livekit.RoomService/ListRooms?access_token={good} HTTP/1.1\r\n\
         Content-Type: application/json\r\nContent-Length: 2"
    );
    let (status, ..) = server.http(&request, b"{}").await;
    assert_eq!(status, 401, "the token is a header");
}

#[tokio::test]
async fn a_key_that_is_for_joining_only_calls_nothing() {
    let server = Server::start(SignalingConfig::default()).await;
    let scopes = KeyScopes {
        join: true,
        admin: false,
    };
    let key = ApiKey::new("key", SECRET, Default::default(), scopes).unwrap();
    server.keys.store(KeyRing::new([key]).unwrap().into());
    for (method, body) in methods() {
        let refused = server.refused(method, &everything(), &body).await;
        assert_eq!(refused, (403, "permission_denied".to_owned()), "{method}");
    }
}

#[tokio::test]
async fn what_is_no_call_is_told_as_twirp_does() {
    let server = Server::start(SignalingConfig::default()).await;
    let token = server.token(&everything());
    let call = async |verb: &str, path: &str, form: &str, body: &[u8]| {
        let head = format!(
            "{verb} {path} HTTP/1.1\r\nContent-Type: {form}\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}",
            body.len()
        );
        let (status, _, body) = server.http(&head, body).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        (status, answer["code"].as_str().unwrap().to_owned())
    };
    let list = "/twirp/livekit.RoomService/ListRooms";
    let bad_route = (404, "bad_route".to_owned());
    let malformed = (400, "malformed".to_owned());
    assert_eq!(call("GET", list, JSON, b"").await, bad_route);
    assert_eq!(call("PUT", list, JSON, b"{}").await, bad_route);
    assert_eq!(call("POST", list, "text/plain", b"{}").await, bad_route);
    assert_eq!(call("POST", list, JSON, b"{\"names\":").await, malformed);
    assert_eq!(call("POST", list, JSON, b"{\"names\":7}").await, malformed);
    assert_eq!(call("POST", list, JSON, b"").await, malformed);
    assert_eq!(call("POST", list, PROTOBUF, &[0x0a, 9]).await, malformed);
    for path in [
        "/twirp/livekit.RoomService/NoSuchMethod",
        "/twirp/livekit.RoomService/",
        "/twirp/livekit.Egress/ListEgress",
        "/twirp/x",
    ] {
        assert_eq!(call("POST", path, JSON, b"{}").await, bad_route, "{path}");
    }
    let unimplemented = (501, "unimplemented".to_owned());
    let path = "/twirp/livekit.RoomService/PerformRpc";
    let body = br#"{"room":"r"}"#;
    assert_eq!(call("POST", path, JSON, body).await, unimplemented);
}

#[tokio::test]
async fn protobuf_says_the_same_as_json() {
    let server = Server::start(SignalingConfig::default()).await;
    let token = server.token(&everything());
    let request = CreateRoomRequest {
        name: "r".into(),
        metadata: "mm".into(),
        ..CreateRoomRequest::default()
    };
    let (status, body) = server
        .post("CreateRoom", &token, PROTOBUF, &request.encode_to_vec())
        .await;
    assert_eq!(status, 200);
    let room = Room::decode(&body[..]).unwrap();
    assert_eq!((room.name.as_str(), room.metadata.as_str()), ("r", "mm"));
    let request = ListRoomsRequest::default().encode_to_vec();
    let (_, body) = server.post("ListRooms", &token, PROTOBUF, &request).await;
    let list = ListRoomsResponse::decode(&body[..]).unwrap();
    assert_eq!(list.rooms, [room]);
    let (_, body) = server
        .post(
            "ListRooms",
            &token,
            "application/json; charset=utf-8",
            b"{}",
        )
        .await;
    let read: ListRoomsResponse = serde_json::from_slice(&body).unwrap();
    assert_eq!(read, list);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_without_being_kept() {
    let mut config = SignalingConfig::default();
    config.limits.message_bytes = 1_000;
    let server = Server::start(config).await;
    let token = server.token(&everything());
    let body = format!(r#"{{"names":["{}"]}}"#, "x".repeat(1_000));
    let (status, answer) = server
        .post("ListRooms", &token, JSON, body.as_bytes())
        .await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, &answer["code"]), (400, &json!("invalid_argument")));
    assert_eq!(answer["msg"], "the body is longer than 1000 bytes");
    // One that doesn't say how long it is.
    let head = format!(
        "POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nContent-Type: {JSON}\r\n\
         Authorization: Bearer {token}\r\nTransfer-Encoding: chunked"
    );
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let (status, ..) = server.http(&head, chunk.as_bytes()).await;
    assert_eq!(status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_given_up() {
    let server = Server::start(SignalingConfig::default()).await;
    let token = server.token(&everything());
    let head = format!(
        "POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nContent-Type: {JSON}\r\n\
         Authorization: Bearer {token}\r\nContent-Length: 100"
    );
    let begun = tokio::time::Instant::now();
    let (status, _, answer) = server.http(&head, b"{").await;
    assert!(
        begun.elapsed() >= Duration::from_secs(10),
        "it was waited for"
    );
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        (status, &answer["code"]),
        (408, &json!("deadline_exceeded"))
    );
}

#[tokio::test]
async fn browsers_may_call_from_origins_that_are_allowed() {
    let server = Server::start(SignalingConfig {
        allowed_origins: vec!["https://ulm.example".into()],
        ..SignalingConfig::default()
    })
    .await;
    let list = "/twirp/livekit.RoomService/ListRooms HTTP/1.1";
    let (status, head, _) = server.http(&format!("OPTIONS {list}"), b"").await;
    assert_eq!(status, 204);
    assert!(
        head.contains("access-control-allow-methods: post"),
        "{head}"
    );
    assert!(head.contains("access-control-allow-headers: authorization, content-type"));
    let token = server.token(&everything());
    for (origin, expected) in [("https://ulm.example", 200), ("https://evil.example", 403)] {
        let head = format!(
            "POST {list}\r\nContent-Type: {JSON}\r\nAuthorization: Bearer {token}\r\n\
             Origin: {origin}\r\nContent-Length: 2"
        );
        let (status, ..) = server.http(&head, b"{}").await;
        assert_eq!(status, expected, "{origin}");
    }
}

#[tokio::test]
async fn another_authoritys_rooms_are_not_there() {
    let server = Server::start(SignalingConfig::default()).await;
    let _alice = server.join("r", "alice").await;
    let token = server.token_by("other-key", &everything());
    let (_, list) = server.ask_with("ListRooms", &token, &json!({})).await;
    assert_eq!(list, json!({"rooms": []}));
    for (method, body) in methods() {
        if ["CreateRoom", "ListRooms"].contains(&method) {
            continue;
        }
        let (status, answer) = server.ask_with(method, &token, &body).await;
        assert_eq!(
            (status, &answer["code"]),
            (404, &json!("not_found")),
            "{method}"
        );
    }
    assert_eq!(server.signaling.stats().participants, 1);
    // A namesake of the room is another room.
    let (status, _) = server
        .ask_with("CreateRoom", &token, &json!({"name": "r"}))
        .await;
    assert_eq!((status, server.signaling.stats().rooms), (200, 2));
}
