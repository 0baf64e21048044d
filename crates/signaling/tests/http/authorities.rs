//! Authorities share a server and nothing else, whatever they call their rooms and people.

use std::time::Duration;

use bytes::Bytes;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{DataPacket, DisconnectReason, JoinResponse, SessionDescription};
use prost::Message as _;
use schalter_shard::control::Event;
use schalter_signaling::{JoinStage, SignalingConfig};
use schalter_transport::ChannelId;

use crate::support::{Server, Socket, claims, eventually};

const ULM: &str = "key";
const BONN: &str = "other-key";

/// A recorded offer of a browser.
const OFFER: &str = include_str!("../../../fuzz/corpus/sdp/chromium-dual-publish.sdp");

async fn join(server: &Server, key: &str, room: &str, identity: &str) -> (Socket, JoinResponse) {
    let token = server.token_by(key, &claims(room, identity));
    let path = format!("/rtc?access_token={token}");
    let mut socket = server.connect(&path).await.unwrap();
    let Some(Response::Join(join)) = socket.message().await else {
        panic!("no join")
    };
    (socket, join)
}

async fn refused(server: &Server, key: &str, room: &str) -> Option<(u16, String)> {
    let token = server.token_by(key, &claims(room, "somebody"));
    let path = format!("/rtc?access_token={token}");
    server.connect(&path).await.err()
}

async fn answers(socket: &mut Socket) {
    socket.say(Request::Ping(1)).await;
    socket.until(|m| matches!(m, Response::Pong(_))).await;
}

#[tokio::test]
async fn rooms_of_one_name_stay_apart() {
    let server = Server::start(SignalingConfig::default()).await;
    let (mut alice, in_ulm) = join(&server, ULM, "r", "alice").await;
    let (mut namesake, in_bonn) = join(&server, BONN, "r", "alice").await;
    assert_ne!(in_ulm.room.unwrap().sid, in_bonn.room.unwrap().sid);
    assert!(in_bonn.other_participants.is_empty());
    assert_eq!(server.signaling.stats().rooms, 2);
    // The same identity replaces nobody over there.
    answers(&mut alice).await;
    answers(&mut namesake).await;
    eventually("both are active", || {
        server.signaling.stats().joins_connected == 2
    })
    .await;
    let (_carol, join) = join(&server, BONN, "r", "carol").await;
    let sids: Vec<_> = join.other_participants.iter().map(|p| &p.sid).collect();
    assert_eq!(sids, [&in_bonn.participant.unwrap().sid]);
}

#[tokio::test]
async fn data_stays_with_its_authority_even_by_name() {
    let server = Server::start(SignalingConfig::default()).await;
    let (mut alice, _) = join(&server, ULM, "r", "alice").await;
    let (_bob, _) = join(&server, ULM, "r", "bob").await;
    let (_spy, spy) = join(&server, BONN, "r", "bob").await;
    let offer = SessionDescription {
        r#type: "offer".into(),
        sdp: OFFER.into(),
        id: 1,
        ..SessionDescription::default()
    };
    alice.say(Request::Offer(offer)).await;
    alice.until(|m| matches!(m, Response::Answer(_))).await;
    let opened = server.media.opened();
    let [_, (_, bob), _, (shard, publisher)] = opened[..] else {
        panic!("{opened:?}")
    };
    let mut user = livekit_protocol::UserPacket::default();
    #[expect(deprecated, reason = "old clients name session ids")]
    user.destination_sids.push(spy.participant.unwrap().sid);
    let by_sid = livekit_protocol::data_packet::Value::User(user);
    let packets = [
        DataPacket::default(),
        DataPacket {
            value: Some(by_sid),
            ..DataPacket::default()
        },
        DataPacket {
            destination_identities: vec!["bob".into()],
            ..DataPacket::default()
        },
    ];
    for packet in packets {
        server.media.report(
            shard,
            Event::Data {
                transport: publisher,
                channel: ChannelId(1),
                label: "_reliable".into(),
                binary: true,
                data: Bytes::from(packet.encode_to_vec()),
            },
        );
    }
    eventually("all are relayed", || {
        server.signaling.stats().data_relayed == 3
    })
    .await;
    assert_eq!(server.media.receivers(), [[bob], [bob]]);
}

#[tokio::test]
async fn a_session_can_not_be_continued_from_another_authority() {
    let server = Server::start(SignalingConfig::default()).await;
    let (mut alice, in_ulm) = join(&server, ULM, "r", "alice").await;
    let sid = in_ulm.participant.unwrap().sid;
    let token = server.token_by(BONN, &claims("r", "alice"));
    let path = format!("/rtc?access_token={token}&reconnect=1&sid={sid}");
    // First without such a room over there, then with one.
    for failures in [1, 2] {
        let mut thief = server.connect(&path).await.unwrap();
        let Some(Response::Leave(leave)) = thief.message().await else {
            panic!("no leave")
        };
        assert_eq!(leave.reason(), DisconnectReason::StateMismatch);
        assert!(thief.message().await.is_none());
        let stats = server.signaling.stats();
        assert_eq!(stats.failures_at(JoinStage::Resume), failures);
        assert_eq!(stats.resumes, 0);
        answers(&mut alice).await;
        let (namesake, _) = join(&server, BONN, "r", "alice").await;
        drop(namesake);
    }
}

#[tokio::test]
async fn each_authority_has_a_number_of_rooms_of_its_own() {
    let mut config = SignalingConfig::default();
    config.limits.rooms_per_authority = 1;
    config.room.departure_timeout = Duration::ZERO;
    let server = Server::start(config).await;
    let full = Some((403, "too many rooms".to_owned()));
    let (mut alice, _) = join(&server, ULM, "one", "alice").await;
    assert_eq!(refused(&server, ULM, "two").await, full);
    let (_bob, _) = join(&server, BONN, "two", "bob").await;
    assert_eq!(refused(&server, BONN, "one").await, full);
    alice.say(Request::Leave(Default::default())).await;
    eventually("ulm's room is gone", || server.signaling.stats().rooms == 1).await;
    let (_alice, _) = join(&server, ULM, "two", "alice").await;
    assert_eq!(refused(&server, BONN, "three").await, full);
}

#[tokio::test]
async fn each_authoritys_room_has_seats_of_its_own() {
    let mut config = SignalingConfig::default();
    config.limits.participants_per_room = 1;
    let server = Server::start(config).await;
    let (_alice, _) = join(&server, ULM, "r", "alice").await;
    let (_bob, _) = join(&server, BONN, "r", "bob").await;
    for key in [ULM, BONN] {
        let refusal = refused(&server, key, "r").await;
        assert_eq!(refusal, Some((403, "room is full".to_owned())));
    }
}
