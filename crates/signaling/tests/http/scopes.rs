//! What a key may do at most bounds its tokens on every way, whatever they grant.

use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{MuteTrackRequest, ParticipantPermission, request_response::Reason};
use schalter_model::AuthorityId;
use schalter_signaling::SignalingConfig;
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::token::{Claims, VideoClaims};
use serde_json::json;

use crate::support::{SECRET, Server, Socket, join_request};

const JOIN: KeyScopes = KeyScopes {
    join: true,
    admin: false,
};
const ADMIN: KeyScopes = KeyScopes {
    join: false,
    admin: true,
};

/// Claims for everything there is.
fn greedy(identity: &str) -> Claims {
    Claims {
        identity: Some(identity.into()),
        video: Some(VideoClaims {
            room: Some("r".into()),
            room_join: Some(true),
            room_admin: Some(true),
            room_create: Some(true),
            room_list: Some(true),
            room_record: Some(true),
            destination_room: Some("s".into()),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    }
}

async fn server() -> Server {
    let server = Server::start(SignalingConfig::default()).await;
    let key = |name, scopes| ApiKey::new(name, SECRET, AuthorityId::default(), scopes).unwrap();
    let ring = KeyRing::new([key("join", JOIN), key("admin", ADMIN)]).unwrap();
    server.keys.store(ring.into());
    server
}

async fn joined(socket: &mut Socket) -> Option<ParticipantPermission> {
    let first = socket.message().await;
    let Some(Response::Join(join)) = first else {
        panic!("a join expected: {first:?}")
    };
    join.participant?.permission
}

#[tokio::test]
async fn a_join_only_keys_token_with_room_admin_joins_and_moderates_nothing() {
    let server = server().await;
    let token = server.token_by("join", &greedy("eve"));
    let mut victim = server
        .connect(&format!(
            "/rtc?access_token={}",
            server.token_by("join", &greedy("victim"))
        ))
        .await
        .unwrap();
    joined(&mut victim).await;
    let mut eve = server
        .connect(&format!("/rtc?access_token={token}"))
        .await
        .unwrap();
    let permission = joined(&mut eve).await.unwrap();
    #[expect(deprecated, reason = "clients read these fields, too")]
    let more = (permission.hidden, permission.recorder, permission.agent);
    assert_eq!(more, (false, false, false));
    assert!(!permission.can_update_metadata && !permission.can_manage_agent_session);
    // Another's track is not hers to mute over the WebSocket.
    let mute = MuteTrackRequest {
        sid: "TR_x".into(),
        muted: true,
    };
    eve.say(Request::Mute(mute)).await;
    let mut fresh = None;
    let refused = loop {
        match eve.message().await.unwrap() {
            Response::RefreshToken(token) => fresh = Some(token),
            Response::RequestResponse(refused) => break refused,
            _ => {}
        }
    };
    assert_eq!(refused.reason(), Reason::NotFound);
    // Neither her token nor what she was given for reconnecting calls anything.
    let fresh = fresh.expect("it comes right after the join");
    for token in [&token, &fresh] {
        for (method, body) in [
            ("ListRooms", json!({})),
            ("CreateRoom", json!({"name": "s"})),
            ("DeleteRoom", json!({"room": "r"})),
            ("ListParticipants", json!({"room": "r"})),
            (
                "RemoveParticipant",
                json!({"room": "r", "identity": "victim"}),
            ),
            (
                "ForwardParticipant",
                json!({"room": "r", "identity": "victim", "destination_room": "s"}),
            ),
        ] {
            let (status, answer) = server.ask_with(method, token, &body).await;
            assert_eq!(
                (status, &answer["code"]),
                (403, &json!("permission_denied")),
                "{method}"
            );
        }
    }
    assert_eq!(server.signaling.stats().participants, 2);
}

#[tokio::test]
async fn an_admin_only_keys_token_joins_nothing() {
    let server = server().await;
    let token = server.token_by("admin", &greedy("backend"));
    let request = join_request();
    for path in [
        format!("/rtc?access_token={token}"),
        format!("/rtc/v1?join_request={request}&access_token={token}"),
        format!("/rtc?reconnect=1&sid=PA_x&access_token={token}"),
    ] {
        let (status, text) = server.connect(&path).await.err().unwrap();
        assert_eq!(status, 403, "{text}");
        assert!(text.contains("may not be used to join"), "{text}");
    }
    for path in [
        format!("/rtc/validate?access_token={token}"),
        format!("/rtc/v1/validate?join_request={request}&access_token={token}"),
    ] {
        assert_eq!(server.get(&path, "").await.0, 403);
    }
    let (status, _) = server.ask_with("ListRooms", &token, &json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(server.signaling.stats().participants, 0);
}
