//! ClientHello and DCEP from whoever sends them: any bytes are read or refused, none panics.

mod peer;

use peer::{ClientConfigOf, Pair, PairConfig};
use proptest::prelude::*;
use schalter_model::DropReason;
use schalter_transport::{ClientHello, DataChannelConfig, Dcep, Reliability};

/// A hello with the given suites and extensions.
fn hello(suites: &[u16], extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![0xfe, 0xfd];
    out.extend([7; 32]);
    out.extend([0, 0]);
    out.extend((suites.len() as u16 * 2).to_be_bytes());
    out.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    out.extend([1, 0]);
    let body: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, body)| {
            [
                &kind.to_be_bytes()[..],
                &(body.len() as u16).to_be_bytes(),
                body,
            ]
            .concat()
        })
        .collect();
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

/// A datagram with one handshake record of one fragment.
fn fragment(message: &[u8], offset: usize, len: usize) -> Vec<u8> {
    let u24 = |value: usize| (value as u32).to_be_bytes()[1..].to_vec();
    let mut body = vec![1];
    body.extend(u24(message.len()));
    body.extend([0, 0]);
    body.extend(u24(offset));
    body.extend(u24(len));
    body.extend(&message[offset..offset + len]);
    let mut out = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

fn use_srtp(profiles: &[u16]) -> (u16, Vec<u8>) {
    let list: Vec<u8> = profiles
        .iter()
        .flat_map(|profile| profile.to_be_bytes())
        .collect();
    (
        14,
        [&(list.len() as u16).to_be_bytes()[..], &list, &[0]].concat(),
    )
}

#[test]
fn what_decides_is_read_from_a_hello() {
    let read = ClientHello::parse(&hello(
        &[0xc02f, 0xc02b],
        &[
            (23, vec![]),
            use_srtp(&[1, 8, 7]),
            (43, vec![4, 0xfe, 0xfc, 0xfe, 0xfd]),
        ],
    ))
    .unwrap();
    assert_eq!(read.srtp_profiles, [1, 8, 7]);
    assert_eq!(read.cipher_suites, [0xc02f, 0xc02b]);
    assert!(read.offers_dtls13 && read.takes_ecdsa() && read.takes_rsa());
    let rsa_only = ClientHello::parse(&hello(&[0xc030], &[])).unwrap();
    assert!(rsa_only.takes_rsa() && !rsa_only.takes_ecdsa());
}

#[test]
fn a_truncated_hello_is_refused_at_every_length() {
    let whole = hello(&[0xc02b], &[use_srtp(&[7])]);
    let ends = whole.len() - (4 + 5) - 2;
    for len in 0..whole.len() {
        // One without extensions is complete; that is the only shorter one.
        assert_eq!(
            ClientHello::parse(&whole[..len]).is_ok(),
            len == ends,
            "{len}"
        );
    }
}

#[test]
fn a_flood_of_pieces_is_dropped_at_a_bound() {
    let mut pair = Pair::introduced(PairConfig::default());
    pair.check();
    let message = hello(&[0xc02b], &[(1000, vec![0; 4000])]);
    let mut refused = 0;
    for index in 0..200 {
        let piece = fragment(&message, index * 2, 1);
        match pair.server.on_dtls(pair.now, pair.path, &piece) {
            Ok(()) => {}
            Err(DropReason::DtlsMalformed) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused >= 10, "{refused}");
    pair.connect();
    assert!(
        pair.run_until_connected(),
        "a real client still gets through"
    );
}

#[test]
fn a_hello_in_pieces_out_of_order_and_twice_is_put_together() {
    let mut pair = Pair::introduced(PairConfig::default());
    pair.check();
    // A profile that we refuse: the alert shows that the whole was read.
    let message = hello(&[0xc02b], &[use_srtp(&[2])]);
    let half = message.len() / 2;
    let pieces = [
        (half, message.len() - half),
        (half, 3),
        (0, 5),
        (3, half - 3),
    ];
    for (offset, len) in pieces {
        assert!(pair.events.is_empty());
        let piece = fragment(&message, offset, len);
        pair.server.on_dtls(pair.now, pair.path, &piece).unwrap();
    }
    pair.exchange();
    let failed = schalter_transport::TransportFailureKind::NoSrtpProfile;
    assert!(pair.saw(&schalter_transport::TransportEvent::Failed(failed)));
}

proptest! {
    #[test]
    fn any_bytes_as_hello_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = ClientHello::parse(&bytes);
    }

    #[test]
    fn a_damaged_hello_is_read_or_refused(at in 0_usize..80, with: u8) {
        let mut bytes = hello(&[0xc02b, 0xc02f], &[use_srtp(&[1, 7]), (43, vec![2, 0xfe, 0xfd])]);
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = ClientHello::parse(&bytes);
    }

    #[test]
    fn any_bytes_as_dcep_are_read_as_what_they_are_written_from(
        bytes in prop::collection::vec(any::<u8>(), 0..64), open: bool,
    ) {
        let mut bytes = bytes;
        if open && !bytes.is_empty() {
            bytes[0] = 3;
        }
        if let Ok(message) = Dcep::parse(&bytes) {
            prop_assert_eq!(Dcep::parse(&message.to_bytes()), Ok(message));
        }
    }

    #[test]
    fn every_channel_is_read_as_it_was_written(
        label in ".{0,40}", protocol in ".{0,10}", ordered: bool, kind in 0..3_u8, value: u32,
    ) {
        let reliability = match kind {
            0 => Reliability::Reliable,
            1 => Reliability::MaxRetransmits(value),
            _ => Reliability::MaxLifetimeMs(value),
        };
        let open = Dcep::Open(DataChannelConfig {
            label: label.as_str().into(), protocol: protocol.as_str().into(), ordered, reliability,
        });
        prop_assert_eq!(Dcep::parse(&open.to_bytes()), Ok(open));
    }

    #[test]
    fn any_datagrams_in_a_handshake_are_survived(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
        after in 0_usize..6,
    ) {
        let mut pair = Pair::introduced(PairConfig {
            client: ClientConfigOf::default(), ..PairConfig::default()
        });
        // Up to somewhere in the handshake, then noise that looks like DTLS.
        pair.loss = Box::new(move |to, number| to == peer::Direction::ToServer && number > after);
        pair.connect();
        pair.exchange();
        for mut datagram in datagrams {
            if datagram.len() > 13 {
                datagram[0] = 20 + datagram[0] % 4;
                datagram[1..3].copy_from_slice(&[0xfe, 0xfd]);
                datagram[3] = 0;
                datagram[4] %= 2;
                let len = (datagram.len() - 13) as u16;
                datagram[11..13].copy_from_slice(&len.to_be_bytes());
            }
            let _ = pair.server.on_dtls(pair.now, pair.path, &datagram);
        }
        pair.exchange();
    }
}
