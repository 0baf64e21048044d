//! Sockets that are open: framing, limits, how they end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::SinkExt;
use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    DataPacket, DisconnectReason, MuteTrackRequest, SessionDescription, SignalRequest,
    leave_request,
};
use prost::Message as _;
use schalter_shard::control::Event;
use schalter_signaling::{JoinStage, SignalingConfig};
use schalter_transport::ChannelId;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{PATIENCE, Server, claims, eventually};

#[tokio::test]
async fn a_session_begins_with_join_and_refresh_token_and_answers_pings() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    assert!(matches!(alice.message().await, Some(Response::Join(_))));
    let Response::RefreshToken(token) = alice
        .until(|m| matches!(m, Response::RefreshToken(_)))
        .await
    else {
        panic!()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let grants = server.keys.load().verify(&token, now.as_secs()).unwrap();
    assert_eq!(grants.identity, "alice");
    alice.say(Request::Ping(1)).await;
    alice.until(|m| matches!(m, Response::Pong(_))).await;
    eventually("alice is active", || {
        server.signaling.stats().joins_connected == 1
    })
    .await;
    let opened = server.media.opened();
    assert_eq!(opened.len(), 1, "the publisher's opens with its offer");
}

#[tokio::test]
async fn participants_are_spread_over_shards() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut sockets = Vec::new();
    for n in 0..4 {
        sockets.push(server.join("r", &format!("p{n}")).await);
    }
    let shards: Vec<_> = server.media.opened().iter().map(|(s, _)| s.0).collect();
    assert_eq!(shards, [0, 1, 0, 1]);
}

#[tokio::test]
async fn text_frames_are_answered_in_json() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    let text = r#"{"pingReq":{"timestamp":"5"}}"#;
    alice.stream.send(Message::text(text)).await.unwrap();
    loop {
        if let Some(Message::Text(text)) = alice.frame().await
            && text.contains("pongResp")
        {
            assert!(text.contains(r#""lastPingTimestamp":"5""#), "{text}");
            break;
        }
    }
}

#[tokio::test]
async fn malformed_frames_and_unknown_requests_are_answered_and_survived() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    // Field 1000, an empty message: what a newer client may ask.
    let newer = vec![0xc2, 0x3e, 0];
    let frames = [
        (Message::binary(vec![0xff; 9]), Reason::InvalidRequest),
        (Message::binary(newer), Reason::UnsupportedType),
        (Message::text("{"), Reason::InvalidRequest),
    ];
    for (frame, reason) in frames {
        alice.stream.send(frame).await.unwrap();
        let answer = alice
            .until(|m| matches!(m, Response::RequestResponse(_)))
            .await;
        let Response::RequestResponse(answer) = answer else {
            panic!()
        };
        assert_eq!(answer.reason(), reason);
    }
    let mute = MuteTrackRequest {
        sid: "TR_x".into(),
        muted: true,
    };
    alice.say(Request::Mute(mute)).await;
    alice
        .until(|m| matches!(m, Response::RequestResponse(_)))
        .await;
    assert_eq!(server.signaling.stats().messages_malformed, 2);
}

#[tokio::test]
async fn a_message_beyond_the_limit_ends_the_socket_and_one_at_it_does_not() {
    let mut config = SignalingConfig::default();
    config.limits.message_bytes = 10_000;
    let server = Server::start(config).await;
    let mut alice = server.join("r", "alice").await;
    alice
        .stream
        .send(Message::binary(vec![0xff; 10_000]))
        .await
        .unwrap();
    alice.say(Request::Ping(1)).await;
    alice.until(|m| matches!(m, Response::Pong(_))).await;
    // The server may close before all of it is written.
    let _ = alice.stream.send(Message::binary(vec![0xff; 10_001])).await;
    while alice.message().await.is_some() {}
    eventually("the socket is gone", || {
        server.signaling.stats().connections == 0
    })
    .await;
    assert_eq!(server.signaling.stats().messages_oversized, 1);
}

#[tokio::test]
async fn who_asks_too_fast_waits_but_loses_nothing() {
    let mut config = SignalingConfig::default();
    config.limits.messages_per_second = 20;
    config.limits.message_burst = 10;
    let server = Server::start(config).await;
    let mut alice = server.join("r", "alice").await;
    let start = std::time::Instant::now();
    for n in 0..20 {
        alice.say(Request::Ping(n)).await;
    }
    for _ in 0..20 {
        alice.until(|m| matches!(m, Response::Pong(_))).await;
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(450), "{took:?}");
    let delayed = server.signaling.stats().messages_delayed;
    assert!((1..=10).contains(&delayed), "{delayed}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let mut config = SignalingConfig::default();
    config.limits.send_queue = 8;
    config.limits.messages_per_second = 1_000_000;
    config.limits.message_burst = 1_000_000;
    let server = Server::start(config).await;
    let mut alice = server.join("r", "alice").await;
    // Every mute of an unknown track is answered with its own size: the answers fill socket and queue.
    let mute = SignalRequest {
        message: Some(Request::Mute(MuteTrackRequest {
            sid: "x".repeat(100_000),
            muted: true,
        })),
    }
    .encode_to_vec();
    let flood = async {
        for _ in 0..2_000 {
            if alice
                .stream
                .send(Message::Binary(mute.clone().into()))
                .await
                .is_err()
            {
                break;
            }
            if server.signaling.stats().slow_clients > 0 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, flood).await.unwrap();
    eventually("counted", || server.signaling.stats().slow_clients == 1).await;
    eventually("its session is over", || {
        server.signaling.stats().participants == 0
    })
    .await;
}

#[tokio::test]
async fn resuming_a_session_of_a_room_that_is_gone_makes_no_room() {
    let server = Server::start(SignalingConfig::default()).await;
    let token = server.token(&claims("r", "ghost"));
    let path = format!("/rtc?access_token={token}&reconnect=1&sid=PA_unknown");
    let mut socket = server.connect(&path).await.unwrap();
    let Some(Response::Leave(leave)) = socket.message().await else {
        panic!()
    };
    assert_eq!(leave.reason(), DisconnectReason::StateMismatch);
    assert_eq!(leave.action, 2);
    assert!(socket.message().await.is_none(), "closed after leave");
    let stats = server.signaling.stats();
    assert_eq!((stats.rooms, stats.failures_at(JoinStage::Resume)), (0, 1));
}

#[tokio::test]
async fn a_lost_socket_is_resumed_with_its_session() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    let Some(Response::Join(join)) = alice.message().await else {
        panic!()
    };
    let sid = join.participant.unwrap().sid;
    eventually("alice is active", || {
        server.signaling.stats().joins_connected == 1
    })
    .await;
    drop(alice);
    eventually("the socket is gone", || {
        server.signaling.stats().connections == 0
    })
    .await;
    let token = server.token(&claims("r", "alice"));
    let path = format!("/rtc?access_token={token}&reconnect=1&sid={sid}");
    let mut alice = server.connect(&path).await.unwrap();
    assert!(matches!(
        alice.message().await,
        Some(Response::Reconnect(_))
    ));
    assert_eq!(server.signaling.stats().resumes, 1);
    assert_eq!(server.signaling.stats().participants, 1);
}

#[tokio::test]
async fn a_reliable_packet_that_finds_the_rooms_mailbox_full_ends_its_senders_session() {
    let mut config = SignalingConfig::default();
    config.limits.room_mailbox = 1;
    let server = Server::start(config).await;
    let mut alice = server.join("r", "alice").await;
    let mut bob = server.join("r", "bob").await;
    let offer = SessionDescription {
        r#type: "offer".into(),
        sdp: include_str!("../../../fuzz/corpus/sdp/chromium-dual-publish.sdp").into(),
        id: 1,
        ..SessionDescription::default()
    };
    alice.say(Request::Offer(offer)).await;
    alice.until(|m| matches!(m, Response::Answer(_))).await;
    let (shard, publisher) = server.media.opened()[2];
    // This thread runs the room, too: all of these wait before it looks again.
    for sequence in 1..=20 {
        let packet = DataPacket {
            sequence,
            ..DataPacket::default()
        };
        let event = Event::Data {
            transport: publisher,
            channel: ChannelId(1),
            label: "_reliable".into(),
            binary: true,
            data: packet.encode_to_vec().into(),
        };
        server.media.report(shard, event);
    }
    let response = alice
        .until(|m| matches!(m, Response::RequestResponse(_)))
        .await;
    let Response::RequestResponse(response) = response else {
        panic!()
    };
    assert_eq!(response.reason(), Reason::LimitExceeded);
    let leave = alice.until(|m| matches!(m, Response::Leave(_))).await;
    let Response::Leave(leave) = leave else {
        panic!()
    };
    assert_eq!(leave.action, 2, "it begins anew");
    assert!(alice.message().await.is_none());
    let stats = server.signaling.stats();
    assert_eq!(stats.data_leaves, 1);
    assert!(stats.data_overload > 0);
    let sent = server.media.receivers().len() as u64;
    assert_eq!(sent, stats.data_relayed, "nothing after the gap");
    bob.say(Request::Ping(1)).await;
    bob.until(|m| matches!(m, Response::Pong(_))).await;
}

#[tokio::test]
async fn the_same_identity_ends_the_older_socket() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut old = server.join("r", "alice").await;
    let mut new = server.join("r", "alice").await;
    let leave = old.until(|m| matches!(m, Response::Leave(_))).await;
    let Response::Leave(leave) = leave else {
        panic!()
    };
    assert_eq!(leave.reason(), DisconnectReason::DuplicateIdentity);
    assert!(old.message().await.is_none());
    new.say(Request::Ping(1)).await;
    new.until(|m| matches!(m, Response::Pong(_))).await;
}

#[tokio::test]
async fn shutdown_tells_everybody_and_lets_nobody_in() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    let mut bob = server.join("other", "bob").await;
    let down = server.signaling.clone();
    let shutdown = tokio::spawn(async move { down.shutdown(PATIENCE).await });
    for socket in [&mut alice, &mut bob] {
        let leave = socket.until(|m| matches!(m, Response::Leave(_))).await;
        let Response::Leave(leave) = leave else {
            panic!()
        };
        assert_eq!(leave.reason(), DisconnectReason::ServerShutdown);
        assert_eq!(leave.action(), leave_request::Action::Reconnect);
        assert!(socket.message().await.is_none());
    }
    tokio::time::timeout(PATIENCE, shutdown)
        .await
        .unwrap()
        .unwrap();
    let token = server.token(&claims("r", "carol"));
    let refusal = server
        .connect(&format!("/rtc?access_token={token}"))
        .await
        .err();
    assert_eq!(refusal.map(|(status, _)| status), Some(503));
    assert_eq!(server.signaling.stats().rooms, 0);
}

#[tokio::test]
async fn an_empty_room_is_forgotten() {
    let mut config = SignalingConfig::default();
    config.room.departure_timeout = Duration::ZERO;
    let server = Server::start(config).await;
    let mut alice = server.join("r", "alice").await;
    alice.say(Request::Leave(Default::default())).await;
    eventually("no room is left", || server.signaling.stats().rooms == 0).await;
    let mut again = server.join("r", "alice").await;
    assert!(matches!(again.message().await, Some(Response::Join(_))));
}

#[tokio::test]
async fn a_clients_close_is_answered_before_the_socket_ends() {
    let server = Server::start(SignalingConfig::default()).await;
    for code in [CloseCode::Normal, CloseCode::Away] {
        let mut alice = server.join("r", "alice").await;
        alice.until(|m| matches!(m, Response::Join(_))).await;
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        alice.stream.close(Some(frame)).await.unwrap();
        let answered = loop {
            match alice.frame().await {
                Some(Message::Close(frame)) => break frame.map(|frame| frame.code),
                Some(_) => {}
                None => break None,
            }
        };
        assert_eq!(answered, Some(code), "RFC 6455 §5.5.1");
    }
}
