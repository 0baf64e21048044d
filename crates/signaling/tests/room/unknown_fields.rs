//! What is relayed between clients keeps fields that this build doesn't know, byte for byte; only what the server
//! says of the sender is spliced in.

use livekit_protocol::{DataPacket, UserPacket, data_packet::Value, data_stream};
use prost::Message as _;

use crate::support::World;

/// Field numbers of a data packet that the server writes: kind, identity, destinations, sid.
const OWN: [u64; 4] = [1, 4, 5, 17];
/// Those of a user packet: sid, identity, destinations.
const OWN_OF_USER: [u64; 3] = [1, 5, 6];
const USER: u64 = 2;
/// The stream header, chunk and trailer, and an RPC request.
const MESSAGES: [u64; 4] = [13, 14, 15, 10];

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in 0.. {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// Fields as number, tag and value as they came, and the value alone of those with a length.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let start = bytes;
        let tag = varint(&mut bytes);
        let mut value = Vec::new();
        let len = match tag & 7 {
            0 => {
                varint(&mut bytes);
                0
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        value.extend_from_slice(&bytes[..len]);
        bytes = &bytes[len..];
        let raw = start[..start.len() - bytes.len()].to_vec();
        out.push((tag >> 3, raw, value));
    }
    out
}

fn without(bytes: &[u8], own: &[u64]) -> Vec<u8> {
    fields(bytes)
        .into_iter()
        .filter(|(number, ..)| !own.contains(number))
        .flat_map(|(_, raw, _)| raw)
        .collect()
}

/// Fields of every wire type, with numbers that nobody uses, one of them in a form that encoders don't write.
fn unknown() -> Vec<u8> {
    let mut bytes = Vec::new();
    // 1000: a varint with a superfluous byte. 1001: a text. 1002, 1003: fixed.
    bytes.extend([0xc0, 0x3e, 0x81, 0x00]);
    bytes.extend([0xca, 0x3e, 3, b'n', b'e', b'w']);
    bytes.extend([0xd1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8]);
    bytes.extend([0xdd, 0x3e, 1, 2, 3, 4]);
    bytes
}

fn nested(number: u64, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(number << 3 | 2, &mut bytes);
    prost::encoding::encode_varint(message.len() as u64, &mut bytes);
    bytes.extend_from_slice(message);
    bytes
}

/// Sends a packet from alice to bob and returns what bob gets.
fn relayed(label: &str, packet: &[u8]) -> Vec<u8> {
    let mut world = World::new();
    world.join("alice");
    world.join("bob");
    let alice = world.transports(0);
    world.data(alice, label, packet.to_vec());
    let sent = world.sent_data();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        DataPacket::decode(&sent[0].2[..])
            .unwrap()
            .participant_identity,
        "alice"
    );
    sent[0].2.to_vec()
}

#[test]
fn a_user_packet_keeps_what_is_unknown_inside_and_around_it() {
    let user = UserPacket {
        payload: vec![1, 2, 3],
        topic: Some("t".into()),
        ..UserPacket::default()
    };
    let user = [unknown(), user.encode_to_vec(), unknown()].concat();
    for label in ["_reliable", "_lossy"] {
        let packet = [unknown(), nested(USER, &user), unknown()].concat();
        let out = relayed(label, &packet);
        let around = [OWN.as_slice(), &[USER]].concat();
        assert_eq!(without(&out, &around), [unknown(), unknown()].concat());
        let inner: Vec<_> = fields(&out)
            .into_iter()
            .filter(|(number, ..)| *number == USER)
            .collect();
        assert_eq!(inner.len(), 1);
        assert_eq!(without(&inner[0].2, &OWN_OF_USER), user, "{label}");
    }
}

#[test]
fn streams_and_calls_pass_byte_for_byte() {
    for number in MESSAGES {
        let packet = [unknown(), nested(number, &unknown()), unknown()].concat();
        let out = relayed("_reliable", &packet);
        assert_eq!(without(&out, &OWN), packet, "field {number}");
    }
    let header = data_stream::Header {
        stream_id: "s".into(),
        topic: "chat".into(),
        ..data_stream::Header::default()
    };
    let header = [header.encode_to_vec(), unknown()].concat();
    let whole = DataPacket {
        sequence: 1,
        ..DataPacket::default()
    };
    let packet = [whole.encode_to_vec(), nested(MESSAGES[0], &header)].concat();
    let out = relayed("_reliable", &packet);
    assert_eq!(without(&out, &OWN), packet);
    let Some(Value::StreamHeader(read)) = DataPacket::decode(&out[..]).unwrap().value else {
        panic!("not a header")
    };
    assert_eq!(read.topic, "chat");
}

#[test]
fn a_payload_of_a_kind_that_nobody_knows_is_relayed() {
    let packet = nested(2000, b"whatever comes next");
    assert_eq!(without(&relayed("_reliable", &packet), &OWN), packet);
}
