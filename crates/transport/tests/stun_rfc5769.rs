//! The test vectors of RFC 5769, and that what we write we can read.

use schalter_transport::stun::{
    BINDING, IntegrityKey, StunClass, StunError, StunMessage, StunWriter, TransactionId, attribute,
    username_of,
};

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

const REQUEST: &str = "
    00010058 2112a442 b7e7a701 bc34d686 fa87dfae
    80220010 5354554e 20746573 7420636c 69656e74
    00240004 6e0001ff
    80290008 932ff9b1 51263b36
    00060009 6576746a 3a683676 59202020
    00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
    80280004 e57a3bcf";
const IPV4_RESPONSE: &str = "
    0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
    8022000b 74657374 20766563 746f7220
    00200008 0001a147 e112a643
    00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
    80280004 c07d4c96";
const IPV6_RESPONSE: &str = "
    01010048 2112a442 b7e7a701 bc34d686 fa87dfae
    8022000b 74657374 20766563 746f7220
    00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
    00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
    80280004 c8fb0b4c";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    let pairs = digits.as_chunks().0;
    pairs.iter().map(|[h, l]| (h << 4 | l) as u8).collect()
}

#[test]
fn the_sample_request_is_read_and_verified() {
    let bytes = hex(REQUEST);
    let message = StunMessage::parse(&bytes).unwrap();
    assert_eq!(
        (message.class(), message.method()),
        (StunClass::Request, BINDING)
    );
    assert_eq!(message.transaction_id().0[..], bytes[8..20]);
    assert_eq!(message.username(), Some((&b"evtj"[..], &b"h6vY"[..])));
    assert_eq!(username_of(&bytes), message.username());
    assert_eq!(message.priority(), Some(0x6e00_01ff));
    assert!(message.attribute(attribute::ICE_CONTROLLED).is_some());
    assert!(message.attribute(attribute::USE_CANDIDATE).is_none());
    assert!(message.verify_integrity(&IntegrityKey::new(PASSWORD)));
    assert!(!message.verify_integrity(&IntegrityKey::new(b"another")));
    assert_eq!(message.verify_fingerprint(), Some(true));
}

#[test]
fn the_sample_responses_are_read_and_verified() {
    for (text, address) in [
        (IPV4_RESPONSE, "192.0.2.1:32853"),
        (
            IPV6_RESPONSE,
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ),
    ] {
        let bytes = hex(text);
        let message = StunMessage::parse(&bytes).unwrap();
        assert_eq!(message.class(), StunClass::Success);
        assert_eq!(message.xor_mapped_address(), Some(address.parse().unwrap()));
        assert!(message.verify_integrity(&IntegrityKey::new(PASSWORD)));
        assert_eq!(message.verify_fingerprint(), Some(true));
    }
}

#[test]
fn every_changed_bit_is_noticed() {
    let bytes = hex(REQUEST);
    let key = IntegrityKey::new(PASSWORD);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let accepted = StunMessage::parse(&changed)
            .is_ok_and(|m| m.verify_integrity(&key) && m.verify_fingerprint() == Some(true));
        assert!(!accepted, "bit {bit}");
    }
}

#[test]
fn every_shorter_or_longer_datagram_is_refused() {
    let bytes = hex(REQUEST);
    for len in 0..bytes.len() {
        assert_eq!(
            StunMessage::parse(&bytes[..len]).err(),
            Some(StunError::Malformed),
            "{len}"
        );
        assert_eq!(username_of(&bytes[..len]), None, "{len}");
    }
    let mut longer = bytes;
    longer.extend([0; 4]);
    assert!(StunMessage::parse(&longer).is_err());
}

#[test]
fn what_follows_the_integrity_attribute_does_not_count() {
    let key = IntegrityKey::new(PASSWORD);
    let mut out = [0; 256];
    let id = TransactionId([7; 12]);
    let mut writer = StunWriter::new(&mut out, StunClass::Request, BINDING, id).unwrap();
    writer.attribute(attribute::USERNAME, b"a:b").unwrap();
    writer.integrity(&key).unwrap();
    writer.attribute(attribute::USE_CANDIDATE, &[]).unwrap();
    let len = writer.fingerprint().unwrap();
    let message = StunMessage::parse(&out[..len]).unwrap();
    assert!(message.verify_integrity(&key));
    assert!(message.attribute(attribute::USE_CANDIDATE).is_none());
    assert_eq!(message.username(), Some((&b"a"[..], &b"b"[..])));
}

#[test]
fn what_is_written_is_read_back() {
    let key = IntegrityKey::new(b"secret");
    let addresses = ["198.51.100.7:9", "[2001:db8::1]:65535"];
    let classes = [
        StunClass::Request,
        StunClass::Indication,
        StunClass::Success,
        StunClass::Error,
    ];
    for method in [BINDING, 0x003, 0xABC, 0xFFF] {
        for class in classes {
            for address in addresses {
                let mut out = [0xFF; 200];
                let id = TransactionId([0x5A; 12]);
                let mut writer = StunWriter::new(&mut out, class, method, id).unwrap();
                writer.xor_mapped_address(address.parse().unwrap()).unwrap();
                writer.error_code(487).unwrap();
                writer.integrity(&key).unwrap();
                let len = writer.fingerprint().unwrap();
                let message = StunMessage::parse(&out[..len]).unwrap();
                assert_eq!((message.class(), message.method()), (class, method));
                assert_eq!(message.transaction_id(), id);
                assert_eq!(message.xor_mapped_address(), Some(address.parse().unwrap()));
                assert_eq!(message.error_code(), Some(487));
                assert!(message.verify_integrity(&key));
                assert_eq!(message.verify_fingerprint(), Some(true));
            }
        }
    }
}

#[test]
fn an_ipv4_address_from_a_dual_stack_socket_is_told_as_ipv4() {
    let mut out = [0; 64];
    let id = TransactionId([1; 12]);
    let mut writer = StunWriter::new(&mut out, StunClass::Success, BINDING, id).unwrap();
    writer
        .xor_mapped_address("[::ffff:192.0.2.9]:40000".parse().unwrap())
        .unwrap();
    let len = writer.finish();
    assert_eq!(
        StunMessage::parse(&out[..len])
            .unwrap()
            .xor_mapped_address(),
        Some("192.0.2.9:40000".parse().unwrap())
    );
}

#[test]
fn a_small_buffer_is_refused_and_not_overrun() {
    let key = IntegrityKey::new(b"secret");
    for room in 0..52 {
        let mut out = vec![0; room];
        let result = StunWriter::new(
            &mut out,
            StunClass::Success,
            BINDING,
            TransactionId([0; 12]),
        )
        .and_then(|mut writer| {
            writer.integrity(&key)?;
            writer.fingerprint()
        });
        assert_eq!(result, Err(StunError::NoSpace), "{room}");
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), fix in 0..3) {
        let mut bytes = bytes;
        if fix > 0 && bytes.len() >= 20 {
            let len = (bytes.len() - 20) as u16;
            bytes[0] &= 0x3F;
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            bytes[4..8].copy_from_slice(&0x2112_A442_u32.to_be_bytes());
        }
        let _ = username_of(&bytes);
        if let Ok(message) = StunMessage::parse(&bytes) {
            let _ = (message.username(), message.priority(), message.error_code());
            let _ = (message.xor_mapped_address(), message.verify_fingerprint());
            let _ = message.verify_integrity(&IntegrityKey::new(b"x"));
            let _ = message.attributes().count();
        }
    }
}
