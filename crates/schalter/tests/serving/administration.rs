//! What an operator does over the admin listener, as `docs/administration.md` promises it.

use livekit_protocol::DisconnectReason;
use livekit_protocol::signal_response::Message as Response;
use schalter_load::livekit::{Grant, mint};

use crate::server::{KEY, SECRET, Server, Socket};

/// The text value of a key in an answer that has it once.
fn value<'a>(json: &'a str, key: &str) -> &'a str {
    let (_, rest) = json.split_once(&format!("\"{key}\":\"")).unwrap();
    rest.split_once('"').unwrap().0
}

async fn told_to_leave(socket: &mut Socket) -> DisconnectReason {
    socket
        .until(|message| match message {
            Response::Leave(leave) => Some(leave.reason()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn rooms_can_be_listed_and_ended() {
    let server = Server::start("rooms", "");
    assert_eq!(server.admin("GET /v1/rooms").await.2, "{\"rooms\":[]}\n");
    let (mut alice, _) = server.join("talk", "alice").await.unwrap();
    let (_, head, list) = server.admin("GET /v1/rooms").await;
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(value(&list, "name"), "talk");
    assert_eq!(value(&list, "authority"), "default");
    assert!(list.contains("\"participants\":1") && value(&list, "since").ends_with('Z'));
    let sid = value(&list, "sid");
    let (status, _, detail) = server.admin(&format!("GET /v1/rooms/{sid}")).await;
    assert_eq!(status, 200);
    assert_eq!(value(&detail, "identity"), "alice");

    assert_eq!(
        server.admin(&format!("DELETE /v1/rooms/{sid}")).await.0,
        204
    );
    assert_eq!(
        told_to_leave(&mut alice).await,
        DisconnectReason::RoomDeleted
    );
    server.until_metric("schalter_rooms", 0.0).await;
    assert_eq!(
        server.admin(&format!("DELETE /v1/rooms/{sid}")).await.0,
        404
    );
}

#[tokio::test]
async fn a_participant_can_be_removed() {
    let server = Server::start("remove", "");
    let (mut alice, join) = server.join("talk", "alice").await.unwrap();
    let (_bob, _) = server.join("talk", "bob").await.unwrap();
    let room = join.room.unwrap().sid;
    let alice_sid = join.participant.unwrap().sid;
    let path = format!("/v1/rooms/{room}/participants/{alice_sid}");
    assert_eq!(server.admin(&format!("DELETE {path}")).await.0, 204);
    assert_eq!(
        told_to_leave(&mut alice).await,
        DisconnectReason::ParticipantRemoved
    );
    assert_eq!(server.admin(&format!("DELETE {path}")).await.0, 404);
    assert_eq!(server.metric("schalter_participants").await, 1.0);
}

#[tokio::test]
async fn a_draining_server_is_not_ready_makes_no_room_and_goes_on_with_its_calls() {
    let server = Server::start("drain", "");
    let (_alice, _) = server.join("talk", "alice").await.unwrap();
    assert_eq!(
        server.admin("GET /v1/drain").await.2,
        "{\"draining\":false}\n"
    );
    assert_eq!(server.admin("PUT /v1/drain").await.0, 204);
    assert_eq!(
        server.admin("GET /v1/drain").await.2,
        "{\"draining\":true}\n"
    );
    let (status, _, reason) = server.admin_as("GET /readyz", None).await;
    assert_eq!((status, reason.as_str()), (503, "draining\n"));
    assert_eq!(server.admin_as("GET /livez", None).await.0, 200);
    let (status, reason) = server.join("other", "carol").await.err().unwrap();
    assert_eq!(status, 503);
    assert!(reason.contains("draining"), "{reason}");
    let (_bob, _) = server.join("talk", "bob").await.unwrap();
    assert_eq!(server.metric("schalter_participants").await, 2.0);
    assert_eq!(server.admin("DELETE /v1/drain").await.0, 204);
    assert_eq!(server.admin_as("GET /readyz", None).await.0, 200);
    let (_carol, _) = server.join("other", "carol").await.unwrap();
}

#[tokio::test]
async fn errors_are_problems_and_only_bearers_of_the_token_get_in() {
    let server = Server::start("problem", "");
    let participant_token = mint(
        KEY,
        SECRET,
        &Grant {
            room: "r",
            identity: "i",
        },
    )
    .unwrap();
    for (request, token, status) in [
        ("GET /v1/rooms", None, 401),
        ("GET /v1/rooms", Some("wrong"), 401),
        ("GET /v1/rooms", Some(participant_token.as_str()), 401),
        ("DELETE /v1/rooms/RM_x", None, 401),
        ("PUT /v1/drain", None, 401),
    ] {
        let (got, head, body) = server.admin_as(request, token).await;
        assert_eq!(got, status, "{request}");
        assert!(
            head.contains("content-type: application/problem+json"),
            "{head}"
        );
        assert!(head.contains("www-authenticate: bearer"), "{head}");
        assert!(body.contains(&format!("\"status\":{status}")), "{body}");
    }
    for (request, status) in [
        ("GET /v1/rooms/RM_x", 404),
        ("DELETE /v1/rooms/RM_x", 404),
        ("DELETE /v1/rooms/RM_x/participants/PA_x", 404),
        ("POST /v1/rooms", 405),
        ("GET /nothing", 404),
    ] {
        let (got, head, body) = server.admin(request).await;
        assert_eq!(got, status, "{request}: {body}");
        assert!(
            head.contains("content-type: application/problem+json"),
            "{request}: {head}"
        );
        assert!(body.contains("\"detail\":\""), "{body}");
    }
    // Nothing of it is on the public port.
    let mut public = tokio::net::TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    let request = format!(
        "GET /v1/rooms HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        crate::server::ADMIN_TOKEN
    );
    tokio::io::AsyncWriteExt::write_all(&mut public, request.as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut public, &mut answer)
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}
