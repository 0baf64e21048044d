//! Whatever clients do in whatever order, nothing but media sockets is reached and nothing grows without bound.

mod rig;

use std::collections::BTreeSet;

use rig::{Rig, address, client_of, from, target, target6, user};
use schalter_model::{Carrier, Path, StreamId};
use schalter_stun::{attribute, method};
use schalter_testkit::turn_client::{TurnAttribute, TurnClient, UDP, channel_data, unwrap_relayed};
use schalter_testkit::{Random, for_each_seed};
use schalter_turn::{MAX_ANSWER_LEN, Received, TurnLimits};

const CLIENTS: u64 = 12;
const LIMITS: TurnLimits = TurnLimits {
    allocations: 8,
    allocations_per_user: 3,
    unproven_answers_per_second: 1_000,
};

fn path(n: u64) -> Path {
    let mut path = from(5_000 + n as u16);
    if n.is_multiple_of(3) {
        path.carrier = Carrier::Stream(StreamId(n));
    }
    path
}

fn peer(random: &mut Random) -> std::net::SocketAddr {
    match random.below(8) {
        0 => address("127.0.0.1:22"),
        1 => address("203.0.113.1:22"),
        2 => address("198.51.100.9:7884"),
        3 | 4 => target6(),
        _ => target(),
    }
}

fn datagram(random: &mut Random, client: &mut TurnClient) -> Vec<u8> {
    let channel = 0x3fff + random.below(4) as u16;
    let peer = peer(random);
    let family = [1 + random.below(2) as u8, 0, 0, 0];
    let mut bytes = match random.below(24) {
        0 => client.allocate(),
        1 => {
            let both = TurnAttribute::Bytes(attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
            client.request(method::ALLOCATE, &[UDP, both])
        }
        2 => client.request_again(method::ALLOCATE, &[UDP]),
        3..=5 => client.permit(peer),
        6..=8 => client.bind(channel, peer),
        9 => client.refresh(random.below(6) as u32 * 400),
        10 => {
            let lifetime = TurnAttribute::Bytes(attribute::LIFETIME, &[0; 4]);
            let family = TurnAttribute::Bytes(attribute::REQUESTED_ADDRESS_FAMILY, &family);
            client.request(method::REFRESH, &[lifetime, family])
        }
        11..=16 => channel_data(channel, b"payload"),
        _ => client.send(peer, b"payload"),
    };
    if random.chance(0.05) {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

#[test]
fn relays_reach_media_sockets_only() {
    for_each_seed(50, |seed| {
        let mut random = Random::new(seed);
        let mut rig = Rig::with(vec![target(), target6()], LIMITS);
        let mut clients: Vec<_> = (0..CLIENTS).map(|n| client_of(user(n % 4))).collect();
        let mut relayed = BTreeSet::new();
        let mut told = BTreeSet::new();
        for _ in 0..2_000 {
            let n = random.below(CLIENTS);
            let bytes = datagram(&mut random, &mut clients[n as usize]);
            if let Ok(Received::Relayed {
                path: inner,
                payload,
            }) = rig.take(path(n), &bytes)
            {
                assert!(bytes.get(payload).is_some());
                let local = inner.local.unwrap();
                assert!([target().ip(), target6().ip()].contains(&local));
                assert_eq!(inner.remote.ip(), local, "of the same family");
                relayed.insert(inner.remote);
                let mut wrap = rig.turn.wrap(rig.now, &inner).expect("it was just used");
                assert_eq!(wrap.outer, path(n));
                let mut out = [0; 200];
                let len = wrap.finish(&mut out, 7).unwrap();
                assert!(unwrap_relayed(&out[..len]).is_some());
            }
            let mut out = [0; MAX_ANSWER_LEN];
            while let Some((to, len)) = rig.turn.poll_transmit(&mut out) {
                assert_eq!(to, path(n));
                // The request may have been damaged, its transaction id, too.
                if let Some(answer) = clients[n as usize].read_answer(&out[..len]) {
                    told.extend(answer.relayed);
                }
            }
            let counters = rig.turn.counters();
            assert!(counters.allocations <= LIMITS.allocations as u64);
            match random.below(100) {
                0 => rig.pass(random.below(400)),
                1 => rig.turn.on_stream_closed(StreamId(n)),
                _ => {}
            }
        }
        assert!(relayed.is_subset(&told), "only what a client was told");
        let through = rig.turn.counters().relayed_in;
        assert!(through > 20, "{through} of 2,000 got through");
        rig.pass(4_000);
        assert_eq!(rig.turn.counters().allocations, 0);
        assert_eq!(rig.turn.next_timeout(), None);
    });
}
