//! What an office says of encryption between browsers, as the server holds everybody in its rooms to it.

use livekit_protocol::encryption::Type as Encryption;
use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{AddTrackRequest, TrackSource};
use schalter_desk::{Clock, SystemClock};
use serde_json::json;

use crate::desk::Browser;
use crate::server::{Server, Socket, write_config};

/// What a browser sends that publishes by WHIP.
const OFFER: &str = include_str!("../../../signaling/tests/data/chromium-whip.sdp");
const REFUSED: &str = "schalter_unencrypted_tracks_refused_total";

fn office(end_to_end: &str) -> String {
    format!(
        "desk:\n  authorities:\n    - id: ulm\n      name: Stadt Ulm\n      officials: {{demo: [{{id: kim, name: Kim Amt}}]}}\n      end_to_end: {end_to_end}\n"
    )
}

async fn reload(server: &Server, end_to_end: &str) {
    write_config(&server.folder, &office(end_to_end));
    let (status, _, body) = server.admin("POST /v1/reload").await;
    assert_eq!(status, 200, "{body}");
}

/// A token for the room of a new appointment.
async fn seat(official: &mut Browser<'_>) -> String {
    let starts_at = SystemClock.now().plus_s(60);
    let body = json!({
        "subject": "Ausweis", "starts_at": starts_at, "ends_at": starts_at.plus_s(1_800),
        "people": [{"role": "citizen", "name": "Robin"}]
    });
    let (_, made) = official.post("/desk/v1/appointments", body).await;
    let path = format!(
        "/desk/v1/appointments/{}/seat",
        made["id"].as_str().unwrap()
    );
    let (status, seat) = official.post(&path, json!({})).await;
    assert_eq!(status, 200, "{seat}");
    seat["token"].as_str().unwrap().to_owned()
}

/// Asks for a microphone's track; why it is refused, if it is.
async fn publish(socket: &mut Socket, cid: &str, encryption: Encryption) -> Option<Reason> {
    let request = AddTrackRequest {
        cid: cid.to_owned(),
        source: TrackSource::Microphone as i32,
        encryption: encryption as i32,
        ..AddTrackRequest::default()
    };
    socket.say(Request::AddTrack(request)).await;
    socket
        .until(|message| match message {
            Response::TrackPublished(_) => Some(None),
            Response::RequestResponse(refused) => Some(Some(refused.reason())),
            _ => None,
        })
        .await
}

/// The status of an offer by WHIP, and what is said.
async fn whip(server: &Server, token: &str) -> (u16, String) {
    let request = format!(
        "POST /whip/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{OFFER}",
        OFFER.len()
    );
    server.exchange(&request).await
}

#[tokio::test]
async fn what_an_office_requires_counts_for_calls_that_begin_and_what_it_no_longer_does_at_once() {
    let server = Server::start("desk-encryption", &office("possible"));
    let mut official = Browser::new(&server);
    let body = json!({"authority": "ulm", "official": "kim"});
    assert_eq!(official.post("/desk/v1/login/demo", body).await.0, 200);
    let (mut running, _) = server.join_with(&seat(&mut official).await).await.unwrap();
    assert_eq!(publish(&mut running, "one", Encryption::None).await, None);

    reload(&server, "required").await;
    assert_eq!(publish(&mut running, "two", Encryption::None).await, None);
    let token = seat(&mut official).await;
    let (mut begun, _) = server.join_with(&token).await.unwrap();
    assert_eq!(
        publish(&mut begun, "one", Encryption::None).await,
        Some(Reason::NotAllowed)
    );
    assert_eq!(publish(&mut begun, "one", Encryption::Gcm).await, None);
    let (status, problem) = whip(&server, &token).await;
    assert_eq!(status, 403, "{problem}");
    assert!(problem.contains("encrypted"), "{problem}");
    assert_eq!(server.metric(REFUSED).await, 1.0);

    reload(&server, "possible").await;
    assert_eq!(publish(&mut begun, "two", Encryption::None).await, None);
    assert_eq!(server.metric(REFUSED).await, 1.0);
}
