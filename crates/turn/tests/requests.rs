//! What each request brings, and by which code it is refused (RFC 8656 §7 to §12, RFC 8489 §9.2).

#![expect(
    clippy::unwrap_used,
    reason = "part of tests: a panic is a failed test"
)]

mod rig;

use rig::{NODE, Rig, SHARD, START, address, client, client_of, from, target, target6, user};
use schalter_model::{Carrier, DropReason, Path, ShardId, StreamId, TurnRefusal};
use schalter_stun::{StunClass, StunMessage, StunWriter, TransactionId, attribute, method};
use schalter_testkit::turn_client::{TurnAttribute, TurnClient, UDP, channel_data, unwrap_relayed};
use schalter_turn::{MAX_ANSWER_LEN, Received, TurnLimits, UserName, challenge, user_of};

const V4: TurnAttribute<'_> =
    TurnAttribute::Bytes(attribute::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]);
const V6: TurnAttribute<'_> =
    TurnAttribute::Bytes(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
const V6_TOO: TurnAttribute<'_> =
    TurnAttribute::Bytes(attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);

/// The first request's 401, then another one's answer.
fn ask(
    rig: &mut Rig,
    client: &mut TurnClient,
    path: Path,
    number: u16,
    attributes: &[TurnAttribute<'_>],
) -> schalter_testkit::turn_client::TurnAnswer {
    let first = client.allocate();
    if rig.ask(client, path, &first).error == Some(401) {
        let request = client.request(number, attributes);
        return rig.ask(client, path, &request);
    }
    panic!("the first request must be challenged");
}

#[test]
fn an_allocation_is_a_made_up_port_on_the_advertised_address() {
    let mut rig = Rig::new();
    let mut client = client();
    let answer = rig.allocate(&mut client, from(5000));
    let [relayed] = answer.relayed[..] else {
        panic!("{answer:?}");
    };
    assert_eq!(relayed.ip(), target().ip());
    assert!(relayed.port() >= 49_152);
    assert_eq!(answer.mapped, Some(from(5000).remote));
    assert_eq!(answer.lifetime, Some(600));
    let counters = rig.turn.counters();
    assert_eq!((counters.allocations, counters.allocated), (1, 1));
    assert_eq!(counters.refusals.of(TurnRefusal::Unauthorized), 1);
}

#[test]
fn newer_password_algorithms_work_and_their_list_can_not_be_shortened() {
    let mut rig = Rig::new();
    let mut modern = client().modern();
    rig.allocate(&mut modern, from(5000));
    let mut tricked = client().modern();
    let first = tricked.allocate();
    rig.ask(&mut tricked, from(5001), &first);
    // As if somebody had offered only MD5 in our name.
    let request = tricked.request(method::ALLOCATE, &[UDP]);
    let short = shorten_algorithms(&request);
    assert_eq!(rig.ask(&mut tricked, from(5001), &short).error, Some(400));
}

/// The request with another list of algorithms; its integrity no longer matters, as the list is looked at first.
fn shorten_algorithms(request: &[u8]) -> Vec<u8> {
    let message = StunMessage::parse(request).unwrap();
    let list = message.attribute(attribute::PASSWORD_ALGORITHMS).unwrap();
    let at = list.as_ptr() as usize - request.as_ptr() as usize;
    let mut changed = request.to_vec();
    changed[at + 1] = 1;
    changed
}

#[test]
fn a_repeated_allocate_gets_the_same_answer_and_another_one_none() {
    let mut rig = Rig::new();
    let mut client = client();
    let answer = rig.allocate(&mut client, from(5000));
    let again = client.request_again(method::ALLOCATE, &[UDP]);
    assert_eq!(rig.ask(&mut client, from(5000), &again), answer);
    let another = client.allocate();
    assert_eq!(rig.ask(&mut client, from(5000), &another).error, Some(437));
    assert_eq!(rig.turn.counters().allocations, 1);
}

#[test]
fn credentials_must_be_ours_for_this_shard_and_of_today() {
    let mut rig = Rig::new();
    let mut code = |mut client: TurnClient| {
        ask(&mut rig, &mut client, from(5000), method::ALLOCATE, &[UDP]).error
    };
    let name = user(1).to_string();
    assert_eq!(code(TurnClient::new(&name, "guess")), Some(401));
    assert_eq!(code(TurnClient::new("somebody", "guess")), Some(401));
    let old = UserName::new(START, NODE, SHARD, 1);
    assert_eq!(code(client_of(old)), Some(401), "run out");
    let elsewhere = UserName::new(START + 60, NODE, ShardId(1), 1);
    assert_eq!(code(client_of(elsewhere)), Some(403), "another shard");
    let elsewhere = UserName::new(START + 60, NODE + 1, SHARD, 1);
    assert_eq!(code(client_of(elsewhere)), Some(403), "another node");
    assert_eq!(code(client()), None);
}

#[test]
fn credentials_that_run_out_do_not_end_what_they_began() {
    let mut rig = Rig::new();
    let mut client = client_of(UserName::new(START + 60, NODE, SHARD, 1));
    rig.allocate(&mut client, from(5000));
    rig.pass(100);
    let refresh = client.refresh(600);
    assert_eq!(rig.ask(&mut client, from(5000), &refresh).error, None);
    let elsewhere = client.allocate();
    // The nonce is of another address, so it is asked for again.
    assert_eq!(
        rig.ask(&mut client, from(5001), &elsewhere).error,
        Some(438)
    );
    let elsewhere = client.allocate();
    assert_eq!(
        rig.ask(&mut client, from(5001), &elsewhere).error,
        Some(401)
    );
}

#[test]
fn an_old_nonce_is_replaced() {
    let mut rig = Rig::new();
    let mut client = client_of(UserName::new(START + 86_400, NODE, SHARD, 1));
    rig.allocate(&mut client, from(5000));
    for _ in 0..8 {
        rig.pass(500);
        let refresh = client.refresh(3_600);
        let answer = rig.ask(&mut client, from(5000), &refresh);
        if answer.error == Some(438) {
            let refresh = client.refresh(3_600);
            assert_eq!(rig.ask(&mut client, from(5000), &refresh).error, None);
            assert!(rig.now.as_millis() > 3_600_000);
            return;
        }
        assert_eq!(answer.error, None);
    }
    panic!("no 438 in more than an hour");
}

#[test]
fn what_an_allocate_lacks_or_asks_too_much_has_its_code() {
    let even = |flags| [flags];
    let (plain, pair) = (even(0), even(0x80));
    let even_port = TurnAttribute::Bytes(attribute::EVEN_PORT, &plain);
    let port_pair = TurnAttribute::Bytes(attribute::EVEN_PORT, &pair);
    let token = TurnAttribute::Bytes(attribute::RESERVATION_TOKEN, &[0; 8]);
    let tcp = TurnAttribute::Bytes(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
    let dont_fragment = TurnAttribute::Bytes(attribute::DONT_FRAGMENT, &[]);
    let family9 = TurnAttribute::Bytes(attribute::REQUESTED_ADDRESS_FAMILY, &[9, 0, 0, 0]);
    let short = TurnAttribute::Bytes(attribute::REQUESTED_TRANSPORT, &[17]);
    let unknown = TurnAttribute::Bytes(0x7ead, &[1, 2, 3, 4]);
    let optional = TurnAttribute::Bytes(0xfead, &[1]);
    let cases: &[(&[TurnAttribute<'_>], Option<u16>)] = &[
        (&[], Some(400)),
        (&[short], Some(400)),
        (&[tcp], Some(442)),
        (&[UDP, family9], Some(440)),
        (&[UDP, V4, V6_TOO], Some(400)),
        (&[UDP, token], Some(508)),
        (&[UDP, token, even_port], Some(400)),
        (&[UDP, port_pair], Some(508)),
        (&[UDP, port_pair, V6_TOO], Some(400)),
        (&[UDP, unknown], Some(420)),
        (&[UDP, dont_fragment], None),
        (&[UDP, optional], None),
        (&[UDP, V4], None),
        (&[UDP, even_port], None),
    ];
    let mut rig = Rig::new();
    for (n, (attributes, expected)) in cases.iter().enumerate() {
        let path = from(6000 + n as u16);
        let answer = ask(&mut rig, &mut client(), path, method::ALLOCATE, attributes);
        assert_eq!(answer.error, *expected, "{attributes:?}");
        assert!(answer.authentic, "{attributes:?}");
        if *expected == Some(420) {
            assert_eq!(answer.unknown, Some(vec![0x7e, 0xad]));
        }
    }
}

#[test]
fn an_even_port_is_even() {
    let mut rig = Rig::new();
    let even = TurnAttribute::Bytes(attribute::EVEN_PORT, &[0]);
    for n in 0..20 {
        let path = from(6000 + n);
        let answer = ask(
            &mut rig,
            &mut client(),
            path,
            method::ALLOCATE,
            &[UDP, even],
        );
        assert!(answer.relayed[0].port().is_multiple_of(2));
    }
}

#[test]
fn families_are_had_as_far_as_they_are_advertised() {
    let mut rig = Rig::new();
    let mut both = client();
    let attributes = [UDP, V6_TOO];
    let answer = ask(
        &mut rig,
        &mut both,
        from(5000),
        method::ALLOCATE,
        &attributes,
    );
    let ips: Vec<_> = answer.relayed.iter().map(|a| a.ip()).collect();
    assert_eq!(ips, [target().ip(), target6().ip()]);
    // One of the two is given back, the other stays.
    let lifetime = TurnAttribute::Bytes(attribute::LIFETIME, &[0; 4]);
    let refresh = both.request(method::REFRESH, &[lifetime, V4]);
    assert_eq!(rig.ask(&mut both, from(5000), &refresh).lifetime, Some(0));
    let permit = both.permit(target());
    assert_eq!(rig.ask(&mut both, from(5000), &permit).error, Some(443));
    let permit = both.permit(target6());
    assert_eq!(rig.ask(&mut both, from(5000), &permit).error, None);
    let refresh = both.request(method::REFRESH, &[V4]);
    assert_eq!(rig.ask(&mut both, from(5000), &refresh).error, Some(443));

    let mut rig = Rig::with(vec![target()], TurnLimits::default());
    let answer = ask(
        &mut rig,
        &mut client(),
        from(5000),
        method::ALLOCATE,
        &attributes,
    );
    assert_eq!(answer.relayed.len(), 1);
    assert_eq!(answer.address_error, Some((2, 440)));
    let answer = ask(
        &mut rig,
        &mut client(),
        from(5001),
        method::ALLOCATE,
        &[UDP, V6],
    );
    assert_eq!(answer.error, Some(440));

    let mut rig = Rig::with(vec![target6()], TurnLimits::default());
    let answer = ask(
        &mut rig,
        &mut client(),
        from(5000),
        method::ALLOCATE,
        &[UDP],
    );
    assert_eq!(
        answer.error,
        Some(440),
        "IPv4 is what a request without family means"
    );
    let answer = ask(
        &mut rig,
        &mut client(),
        from(5001),
        method::ALLOCATE,
        &attributes,
    );
    assert_eq!(answer.address_error, Some((1, 440)));
    assert_eq!(answer.relayed[0].ip(), target6().ip());
}

#[test]
fn only_media_sockets_are_permitted() {
    let mut rig = Rig::new();
    let mut client = client();
    rig.allocate(&mut client, from(5000));
    for foreign in ["198.51.100.1:7884", "127.0.0.1:22", "203.0.113.2:7884"] {
        let permit = client.permit(address(foreign));
        assert_eq!(rig.ask(&mut client, from(5000), &permit).error, Some(403));
        let bind = client.bind(0x4000, address(foreign));
        assert_eq!(rig.ask(&mut client, from(5000), &bind).error, Some(403));
    }
    // The right address with the port of something else on this host.
    let bind = client.bind(0x4000, address("203.0.113.1:22"));
    assert_eq!(rig.ask(&mut client, from(5000), &bind).error, Some(403));
    // A permission is for an address, whatever the port, and opens only the one that is a media socket.
    let permit = client.permit(address("203.0.113.1:22"));
    assert_eq!(rig.ask(&mut client, from(5000), &permit).error, None);
    let other_port = client.send(address("203.0.113.1:22"), b"ssh");
    assert_eq!(
        rig.take(from(5000), &other_port),
        Err(DropReason::TurnForeignPeer)
    );
    let own_relay = client.send(address("203.0.113.1:50000"), b"loop");
    assert_eq!(
        rig.take(from(5000), &own_relay),
        Err(DropReason::TurnForeignPeer)
    );
    let refusals = rig.turn.counters().refusals;
    assert_eq!(refusals.of(TurnRefusal::Forbidden), 7);
}

#[test]
fn one_foreign_peer_spoils_the_whole_permission() {
    let mut rig = Rig::new();
    let mut client = client();
    rig.allocate(&mut client, from(5000));
    let peer = |a| TurnAttribute::Address(attribute::XOR_PEER_ADDRESS, a);
    let both = [peer(target()), peer(address("198.51.100.1:1"))];
    let request = client.request(method::CREATE_PERMISSION, &both);
    assert_eq!(rig.ask(&mut client, from(5000), &request).error, Some(403));
    let send = client.send(target(), b"x");
    assert_eq!(
        rig.take(from(5000), &send),
        Err(DropReason::TurnNoPermission)
    );
    let none = client.request(method::CREATE_PERMISSION, &[]);
    assert_eq!(rig.ask(&mut client, from(5000), &none).error, Some(400));
    let many = [peer(target()); 17];
    let many = client.request(method::CREATE_PERMISSION, &many);
    assert_eq!(rig.ask(&mut client, from(5000), &many).error, Some(508));
}

#[test]
fn payload_goes_through_both_ways_by_indication_and_by_channel() {
    let mut rig = Rig::new();
    let mut client = client();
    let relayed = rig.allocate(&mut client, from(5000)).relayed[0];
    let permit = client.permit(target());
    rig.ask(&mut client, from(5000), &permit);
    let send = client.send(target(), b"payload");
    let Ok(Received::Relayed { path, payload }) = rig.take(from(5000), &send) else {
        panic!("relayed");
    };
    assert_eq!(&send[payload], b"payload");
    assert_eq!((path.remote, path.local), (relayed, Some(target().ip())));
    assert!(matches!(path.carrier, Carrier::Relay(_)));

    let mut wrap = rig.turn.wrap(rig.now, &path).unwrap();
    assert_eq!(wrap.outer, from(5000));
    let mut buffer = [0; 100];
    let at = wrap.headroom();
    buffer[at..at + 6].copy_from_slice(b"answer");
    let len = wrap.finish(&mut buffer, 6).unwrap();
    assert_eq!(
        unwrap_relayed(&buffer[..len]),
        Some((Err(target()), &b"answer"[..]))
    );

    let bind = client.bind(0x4001, target());
    assert_eq!(rig.ask(&mut client, from(5000), &bind).error, None);
    let data = channel_data(0x4001, b"payload");
    let Ok(Received::Relayed {
        path: by_channel,
        payload,
    }) = rig.take(from(5000), &data)
    else {
        panic!("relayed");
    };
    assert_eq!((by_channel, &data[payload]), (path, &b"payload"[..]));
    let mut wrap = rig.turn.wrap(rig.now, &path).unwrap();
    buffer[4..10].copy_from_slice(b"answer");
    let len = wrap.finish(&mut buffer, 6).unwrap();
    assert_eq!(&buffer[..len], channel_data(0x4001, b"answer"));
    let counters = rig.turn.counters();
    assert_eq!((counters.relayed_in, counters.relayed_bytes_in), (2, 14));
}

#[test]
fn channels_keep_their_peer() {
    let mut rig = Rig::new();
    let mut client = client();
    ask(
        &mut rig,
        &mut client,
        from(5000),
        method::ALLOCATE,
        &[UDP, V6_TOO],
    );
    let mut bind = |number, peer| {
        let request = client.bind(number, peer);
        rig.ask(&mut client, from(5000), &request).error
    };
    assert_eq!(bind(0x3fff, target()), Some(400));
    assert_eq!(bind(0x5000, target()), Some(400));
    assert_eq!(bind(0x4000, target()), None);
    assert_eq!(bind(0x4000, target()), None, "again");
    assert_eq!(bind(0x4001, target()), Some(400), "two channels of a peer");
    assert_eq!(bind(0x4000, target6()), Some(400), "two peers of a channel");
    assert_eq!(bind(0x4001, target6()), None);
}

#[test]
fn permission_channel_and_allocation_run_out() {
    let mut rig = Rig::new();
    let mut client = client();
    rig.allocate(&mut client, from(5000));
    let bind = client.bind(0x4000, target());
    rig.ask(&mut client, from(5000), &bind);
    let data = channel_data(0x4000, b"x");
    let Ok(Received::Relayed { path, .. }) = rig.take(from(5000), &data) else {
        panic!("relayed");
    };
    rig.pass(301);
    assert_eq!(
        rig.take(from(5000), &data),
        Err(DropReason::TurnNoPermission)
    );
    assert_eq!(
        rig.turn.wrap(rig.now, &path).unwrap_err(),
        DropReason::TurnNoPermission
    );
    let permit = client.permit(target());
    rig.ask(&mut client, from(5000), &permit);
    assert!(
        rig.take(from(5000), &data).is_ok(),
        "the channel lasts longer"
    );
    let refresh = client.refresh(3_600);
    rig.ask(&mut client, from(5000), &refresh);
    rig.pass(300);
    let permit = client.permit(target());
    rig.ask(&mut client, from(5000), &permit);
    assert_eq!(
        rig.take(from(5000), &data),
        Err(DropReason::TurnNoPermission),
        "the channel has run out"
    );
    let send = client.send(target(), b"x");
    assert!(rig.take(from(5000), &send).is_ok());
    rig.pass(3_300);
    assert_eq!(rig.turn.counters().allocations, 0);
    assert_eq!(
        rig.take(from(5000), &send),
        Err(DropReason::TurnNoAllocation)
    );
    assert_eq!(
        rig.turn.wrap(rig.now, &path).unwrap_err(),
        DropReason::TurnNoAllocation
    );
    assert_eq!(rig.turn.next_timeout(), None);
}

#[test]
fn lifetimes_are_held_between_ten_minutes_and_an_hour() {
    let mut rig = Rig::new();
    let mut client = client();
    rig.allocate(&mut client, from(5000));
    for (asked, given) in [(1, 600), (900, 900), (u32::MAX, 3_600)] {
        let refresh = client.refresh(asked);
        let answer = rig.ask(&mut client, from(5000), &refresh);
        assert_eq!(answer.lifetime, Some(given), "{asked}");
    }
    // A shorter lifetime counts, too.
    let refresh = client.refresh(600);
    rig.ask(&mut client, from(5000), &refresh);
    rig.pass(600);
    assert_eq!(rig.turn.counters().allocations, 0);
}

#[test]
fn an_allocation_belongs_to_its_user_and_ends_when_it_says_so() {
    let mut rig = Rig::new();
    let mut first = client();
    rig.allocate(&mut first, from(5000));
    let mut second = client_of(user(2));
    let refresh = second.refresh(600);
    assert_eq!(rig.ask(&mut second, from(5000), &refresh).error, Some(401));
    let refresh = second.refresh(600);
    assert_eq!(rig.ask(&mut second, from(5000), &refresh).error, Some(441));
    let end = first.refresh(0);
    assert_eq!(rig.ask(&mut first, from(5000), &end).lifetime, Some(0));
    assert_eq!(rig.turn.counters().allocations, 0);
    let end = first.refresh(0);
    assert_eq!(rig.ask(&mut first, from(5000), &end).error, Some(437));
}

#[test]
fn quotas_hold_and_what_ends_counts_no_longer() {
    let limits = TurnLimits {
        allocations: 3,
        allocations_per_user: 2,
        ..TurnLimits::default()
    };
    let mut rig = Rig::with(vec![target()], limits);
    let mut one = client();
    for port in 1..=2 {
        one.forget_challenge();
        rig.allocate(&mut one, from(port));
    }
    let over = ask(&mut rig, &mut client(), from(3), method::ALLOCATE, &[UDP]);
    assert_eq!(over.error, Some(486));
    rig.allocate(&mut client_of(user(2)), from(4));
    let full = ask(
        &mut rig,
        &mut client_of(user(3)),
        from(5),
        method::ALLOCATE,
        &[UDP],
    );
    assert_eq!(full.error, Some(508));
    let end = one.refresh(0);
    assert_eq!(rig.ask(&mut one, from(2), &end).error, None);
    rig.allocate(&mut client(), from(3));
}

#[test]
fn a_stream_is_one_client_and_takes_its_allocation_along() {
    let mut rig = Rig::new();
    let stream = |id| Path {
        carrier: Carrier::Stream(StreamId(id)),
        ..from(5000)
    };
    let mut client = client();
    rig.allocate(&mut client, stream(1));
    client.forget_challenge();
    // The same address through another stream is somebody else.
    rig.allocate(&mut client, stream(2));
    let bind = client.bind(0x4000, target());
    rig.ask(&mut client, stream(2), &bind);
    let data = channel_data(0x4000, b"hello");
    let Ok(Received::Relayed { path, .. }) = rig.take(stream(2), &data) else {
        panic!("relayed");
    };
    let wrap = rig.turn.wrap(rig.now, &path).unwrap();
    assert_eq!(wrap.wrapped_len(5), 12, "padded");
    rig.turn.on_stream_closed(StreamId(2));
    assert_eq!(rig.turn.counters().allocations, 1);
    assert!(rig.turn.wrap(rig.now, &path).is_err());
    assert_eq!(
        rig.take(stream(2), &data),
        Err(DropReason::TurnNoAllocation)
    );
}

#[test]
fn who_has_proven_nothing_gets_few_answers_over_udp() {
    let limits = TurnLimits {
        unproven_answers_per_second: 10,
        ..TurnLimits::default()
    };
    let mut rig = Rig::with(vec![target()], limits);
    let request = client().allocate();
    let mut answered = 0;
    for n in 0..100 {
        answered += usize::from(rig.take(from(1_000 + n), &request).is_ok());
        while rig.turn.poll_transmit(&mut [0; MAX_ANSWER_LEN]).is_some() {}
    }
    assert_eq!(answered, 10);
    let stream = Path {
        carrier: Carrier::Stream(StreamId(1)),
        ..from(1)
    };
    assert!(rig.take(stream, &request).is_ok(), "a stream is proof");
    rig.pass(1);
    assert!(rig.take(from(1), &request).is_ok());
}

#[test]
fn a_binding_request_learns_its_address() {
    let mut rig = Rig::new();
    let mut out = [0; 64];
    let id = TransactionId([9; 12]);
    let writer = StunWriter::new(&mut out, StunClass::Request, 1, id).unwrap();
    let len = writer.fingerprint().unwrap();
    assert!(schalter_turn::is_turn(&out[..len]));
    assert_eq!(rig.take(from(5000), &out[..len]), Ok(Received::Taken));
    let answer = rig.answer(from(5000)).unwrap();
    let message = StunMessage::parse(&answer).unwrap();
    assert_eq!(message.xor_mapped_address(), Some(from(5000).remote));
    assert_eq!(message.verify_fingerprint(), Some(true));
}

#[test]
fn a_relay_does_not_lead_through_another() {
    let mut rig = Rig::new();
    let mut client = client();
    rig.allocate(&mut client, from(5000));
    let bind = client.bind(0x4000, target());
    rig.ask(&mut client, from(5000), &bind);
    let Ok(Received::Relayed { path, .. }) = rig.take(from(5000), &channel_data(0x4000, b"x"))
    else {
        panic!("relayed");
    };
    let inner = client.allocate();
    assert_eq!(rig.take(path, &inner), Err(DropReason::TurnForeignPeer));
    let inner = channel_data(0x4000, b"x");
    assert_eq!(rig.take(path, &inner), Err(DropReason::TurnForeignPeer));
}

#[test]
fn anybody_with_the_secret_can_ask_for_credentials() {
    let mut rig = Rig::new();
    let mut client = client();
    let path = Path {
        carrier: Carrier::Stream(StreamId(1)),
        ..from(5000)
    };
    let first = client.allocate();
    assert_eq!(user_of(&first), None);
    let mut out = [0; MAX_ANSWER_LEN];
    let len = challenge(&rig::secret(), START, path.remote, &first, &mut out).unwrap();
    assert_eq!(client.on_answer(&out[..len]).error, Some(401));
    let second = client.allocate();
    let named = user_of(&second).unwrap();
    assert_eq!((named.node(), named.shard()), (NODE, SHARD));
    assert_eq!(
        challenge(&rig::secret(), START, path.remote, &second, &mut out),
        None
    );
    assert_eq!(rig.ask(&mut client, path, &second).error, None);
}

#[test]
fn what_no_client_sends_is_dropped() {
    let mut rig = Rig::new();
    let mut out = [0; 64];
    for (class, number) in [
        (StunClass::Indication, method::DATA),
        (StunClass::Success, method::ALLOCATE),
        (StunClass::Error, method::REFRESH),
        (StunClass::Indication, method::ALLOCATE),
        (StunClass::Indication, method::SEND),
    ] {
        let writer = StunWriter::new(&mut out, class, number, TransactionId([1; 12])).unwrap();
        let len = writer.finish();
        assert_eq!(
            rig.take(from(1), &out[..len]),
            Err(DropReason::TurnMalformed),
            "{class:?} {number}"
        );
    }
    for bad in [&[0x40][..], &[0x40, 0, 0, 9, 1], &[0x4f, 0, 0xff, 0xff]] {
        assert_eq!(rig.take(from(1), bad), Err(DropReason::TurnMalformed));
    }
    assert_eq!(
        rig.take(from(1), &channel_data(0x4000, b"x")),
        Err(DropReason::TurnNoAllocation)
    );
    assert!(rig.answer(from(1)).is_none());
}
