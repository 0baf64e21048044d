//! Any datagrams, and any attributes under right credentials, at any time: the server does not panic, holds its bounds, and
//! lets nothing through but to its media socket.

use std::time::Duration;

use schalter_model::{Path, ShardId, Time, WallClock};
use schalter_stun::{BINDING, attribute, method};
use schalter_testkit::turn_client::{TurnAttribute, TurnClient};
use schalter_turn::{
    MAX_ANSWER_LEN, Received, Secret, Turn, TurnConfig, TurnLimits, UserName, is_turn,
};

const METHODS: [u16; 8] = [
    BINDING,
    method::ALLOCATE,
    method::REFRESH,
    method::SEND,
    method::DATA,
    method::CREATE_PERMISSION,
    method::CHANNEL_BIND,
    0xfff,
];
const KINDS: [u16; 12] = [
    attribute::LIFETIME,
    attribute::XOR_PEER_ADDRESS,
    attribute::DATA,
    attribute::CHANNEL_NUMBER,
    attribute::REQUESTED_ADDRESS_FAMILY,
    attribute::ADDITIONAL_ADDRESS_FAMILY,
    attribute::EVEN_PORT,
    attribute::REQUESTED_TRANSPORT,
    attribute::RESERVATION_TOKEN,
    attribute::DONT_FRAGMENT,
    0x7abc,
    0xfabc,
];
const TARGET: ([u8; 4], u16) = ([203, 0, 113, 1], 7_882);
const LIMITS: TurnLimits = TurnLimits {
    allocations: 2,
    allocations_per_user: 2,
    unproven_answers_per_second: 50,
};

/// Does it with one input.
pub fn run(input: &[u8]) {
    let secret = Secret::new([1; Secret::LEN]);
    let user = UserName::new(1_000, 0, ShardId(0), 1);
    let mut client = TurnClient::new(&user.to_string(), secret.password(&user).as_str());
    let mut turn = Turn::new(TurnConfig {
        node: 0,
        shard: ShardId(0),
        secret,
        wall: WallClock::new(0),
        seed: 1,
        targets: vec![TARGET.into()],
        limits: LIMITS,
    });
    let mut now = Time::ZERO;
    let mut rest = input;
    while let [op, len, after @ ..] = rest {
        let (chunk, next) = after.split_at(after.len().min(usize::from(*len)));
        rest = next;
        let path = Path::udp(([192, 0, 2, 1], 9 + u16::from(op >> 6)).into(), None);
        let datagram = match op & 0x0f {
            0 => {
                now += Duration::from_secs(u64::from(*len) * 4);
                turn.on_timeout(now);
                continue;
            }
            1 => chunk.to_vec(),
            2 => [&[0x40], chunk].concat(),
            other => request(
                &mut client,
                METHODS[usize::from(other) % METHODS.len()],
                chunk,
            ),
        };
        if !is_turn(&datagram) {
            continue;
        }
        if let Ok(Received::Relayed {
            path: inner,
            payload,
        }) = turn.on_datagram(now, path, &datagram)
        {
            assert!(datagram.get(payload).is_some());
            assert_eq!(inner.local, Some(TARGET.0.into()));
            assert_eq!(inner.remote.ip(), std::net::IpAddr::from(TARGET.0));
            assert_ne!(inner.remote.port(), TARGET.1);
            assert!(turn.wrap(now, &inner).is_ok());
        }
        let mut out = [0; MAX_ANSWER_LEN];
        while let Some((to, len)) = turn.poll_transmit(&mut out) {
            assert_eq!(to, path);
            let _ = client.read_answer(&out[..len]);
        }
        assert!(turn.counters().allocations <= LIMITS.allocations as u64);
    }
}

/// A request with right credentials, as soon as there was a challenge, and attributes of the fuzzer's choice.
fn request(client: &mut TurnClient, number: u16, mut bytes: &[u8]) -> Vec<u8> {
    let mut attributes = Vec::new();
    while let [kind, len, rest @ ..] = bytes {
        let kind = KINDS[usize::from(*kind) % KINDS.len()];
        // Lengths around those that are right, and the target now and then.
        let (value, next) = rest.split_at(rest.len().min(usize::from(len & 0x1f)));
        bytes = next;
        attributes.push(if kind == attribute::XOR_PEER_ADDRESS && len & 0x80 != 0 {
            TurnAttribute::Address(kind, TARGET.into())
        } else {
            TurnAttribute::Bytes(kind, value)
        });
        if attributes.len() == 20 {
            break;
        }
    }
    client.request(number, &attributes)
}
