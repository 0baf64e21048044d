//! No log of ours has a token, however much an operator asks to be logged.

use schalter_load::livekit::{Grant, mint};

use crate::server::{ADMIN_TOKEN, KEY, SECRET, Server, command, folder};

#[tokio::test]
async fn no_token_is_logged_at_any_level() {
    for level in ["info", "debug", "trace"] {
        let folder = folder(&format!("log-{level}"));
        let mut command = command(&folder, &[], "");
        command.env("SCHALTER_LOG", level);
        let server = Server::start_as(&folder, command);
        let grant = Grant {
            room: "secret-room",
            identity: "secret-anna",
        };
        let token = mint(KEY, SECRET, &grant).unwrap();
        let forged = format!("{token}x");
        // Let in and refused, in the query and in the header, by WebSocket and without.
        let (_anna, join) = server.join_with(&token).await.unwrap();
        assert_eq!(server.join_with(&forged).await.err().unwrap().0, 401);
        let path = format!("/rtc/validate?access_token={token}");
        assert_eq!(server.get(&path).await.0, 200);
        let sid = join.participant.unwrap().sid;
        server.resume_with(&token, &sid).await;
        for token in [&token, &forged] {
            let request = format!(
                "POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                 Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            );
            let (status, body) = server.exchange(&request).await;
            assert_eq!(status, 401, "{body}");
        }
        assert_eq!(server.admin("GET /v1/rooms").await.0, 200);
        let log = server.log();
        assert!(log.contains("participant joins"), "{level}: {log}");
        assert_eq!(log.contains("DEBUG"), level != "info");
        let parts = token.split('.');
        for secret in parts.skip(1).chain(["access_token", SECRET, ADMIN_TOKEN]) {
            assert!(!log.contains(secret), "{level}: {secret} in {log}");
        }
        for name in ["secret-room", "secret-anna", "127.0.0.1"] {
            assert!(level != "info" || !log.contains(name), "{name} in {log}");
        }
    }
}
