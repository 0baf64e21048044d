//! Congestion control feedback (RFC 8888 §3.1): vectors made from the RFC's figures, limits, and reading what is written.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use proptest::prelude::*;
use schalter_rtp::RtcpError;
use schalter_rtp::rtcp::{
    ArrivalOffset, CongestionFeedback, Ecn, MAX_ARRIVAL_OFFSET, MAX_PACKET_REPORTS, PacketArrival,
    Rtcp, RtcpWriter, StreamArrivals, compound,
};

/// V=2, FMT=11, PT=205; two streams, three packets (odd: padded) and two.
const TWO_STREAMS: [u8; 40] = [
    0x8B, 0xCD, 0x00, 0x09, // header, 9 words follow
    0x00, 0x00, 0x00, 0x01, // sender
    0x11, 0x22, 0x33, 0x44, // first stream
    0xFF, 0xFF, 0x00, 0x03, // begin_seq 65535, three reports
    0x80, 0x00, 0x00, 0x00, // arrived with the report; lost
    0xE4, 0x00, 0x00, 0x00, // CE, 1 s before; padding
    0x55, 0x66, 0x77, 0x88, // second stream
    0x00, 0x07, 0x00, 0x02, // begin_seq 7, two reports
    0xBF, 0xFE, 0xDF, 0xFF, // ECT(1), over range; ECT(0), unavailable
    0xAB, 0xCD, 0x12, 0x34, // report timestamp
];

fn arrival(ecn: Ecn, offset: ArrivalOffset) -> Option<PacketArrival> {
    Some(PacketArrival { ecn, offset })
}

fn parse(bytes: &[u8]) -> Result<CongestionFeedback<'_>, RtcpError> {
    let packet = compound(bytes).next().unwrap()?;
    let Rtcp::CongestionControl(feedback) = packet else {
        panic!("{packet:?}");
    };
    Ok(feedback)
}

type Streams = Vec<(u32, u16, Vec<Option<PacketArrival>>)>;

fn read(feedback: &CongestionFeedback<'_>) -> Streams {
    let stream =
        |s: schalter_rtp::rtcp::StreamReport<'_>| (s.ssrc, s.begin_sequence, s.packets().collect());
    feedback.streams().map(stream).collect()
}

fn write(streams: &Streams, out: &mut [u8]) -> Result<usize, RtcpError> {
    let parts: Vec<_> = streams
        .iter()
        .map(|(ssrc, begin_sequence, packets)| StreamArrivals {
            ssrc: *ssrc,
            begin_sequence: *begin_sequence,
            packets,
        })
        .collect();
    let expected = 16 - 4 + parts.iter().map(StreamArrivals::encoded_len).sum::<usize>();
    let mut writer = RtcpWriter::new(out);
    writer.congestion_control(1, 0xABCD_1234, &parts)?;
    let len = writer.finish();
    assert_eq!(len, expected);
    Ok(len)
}

fn two_streams() -> Streams {
    let first = vec![
        arrival(Ecn::NotCapable, ArrivalOffset::Before(0)),
        None,
        arrival(Ecn::Congested, ArrivalOffset::Before(1_024)),
    ];
    let second = vec![
        arrival(Ecn::Capable1, ArrivalOffset::OverRange),
        arrival(Ecn::Capable0, ArrivalOffset::Unavailable),
    ];
    vec![(0x1122_3344, 65_535, first), (0x5566_7788, 7, second)]
}

#[test]
fn the_layout_of_the_rfc_is_read_and_written() {
    let feedback = parse(&TWO_STREAMS).unwrap();
    assert_eq!(feedback.sender_ssrc, 1);
    assert_eq!(feedback.report_timestamp, 0xABCD_1234);
    assert_eq!(read(&feedback), two_streams());
    let mut out = [0xEE; 64];
    let len = write(&two_streams(), &mut out).unwrap();
    assert_eq!(out[..len], TWO_STREAMS);
}

#[test]
fn bits_of_a_packet_that_did_not_arrive_mean_nothing() {
    let mut bytes = TWO_STREAMS;
    bytes[18..20].copy_from_slice(&[0x7F, 0xFE]);
    assert_eq!(read(&parse(&bytes).unwrap()), two_streams());
}

#[test]
fn reports_of_no_packets_and_of_no_streams_are_legal() {
    let empty = vec![(5, 9, Vec::new())];
    for streams in [Vec::new(), empty] {
        let mut out = [0; 64];
        let len = write(&streams, &mut out).unwrap();
        assert_eq!(read(&parse(&out[..len]).unwrap()), streams);
    }
}

#[test]
fn a_quarter_of_the_sequence_numbers_is_the_limit() {
    let mut out = vec![0; 40_000];
    let most = vec![(1, 60_000, vec![None; MAX_PACKET_REPORTS])];
    let len = write(&most, &mut out).unwrap();
    assert_eq!(read(&parse(&out[..len]).unwrap()), most);
    let more = vec![(1, 60_000, vec![None; MAX_PACKET_REPORTS + 1])];
    assert_eq!(write(&more, &mut out), Err(RtcpError::Unencodable));
    // The same from a peer, with all the bytes that it announces.
    out[..2].copy_from_slice(&[0x8B, 205]);
    out[2..4].copy_from_slice(&8_197_u16.to_be_bytes());
    out[14..16].copy_from_slice(&16_385_u16.to_be_bytes());
    assert_eq!(parse(&out[..8_198 * 4]).err(), Some(RtcpError::Malformed));
}

#[test]
fn an_offset_that_means_something_else_cannot_be_written() {
    let mut out = [0; 64];
    let at = |offset| {
        vec![(
            1,
            0,
            vec![arrival(Ecn::NotCapable, ArrivalOffset::Before(offset))],
        )]
    };
    let len = write(&at(MAX_ARRIVAL_OFFSET), &mut out).unwrap();
    assert_eq!(read(&parse(&out[..len]).unwrap()), at(MAX_ARRIVAL_OFFSET));
    for offset in [0x1FFE, 0x1FFF, 0x2000, u16::MAX] {
        assert_eq!(write(&at(offset), &mut out), Err(RtcpError::Unencodable));
    }
}

#[test]
fn bodies_that_end_early_are_malformed() {
    // Every cut at a word boundary, with a header that says so: only whole streams before a timestamp are right.
    let whole = [3, 7, 10];
    for words in 1..10_usize {
        let mut bytes = TWO_STREAMS[..words * 4].to_vec();
        bytes[3] = words as u8 - 1;
        assert_eq!(parse(&bytes).is_ok(), whole.contains(&words), "{words}");
    }
}

fn packet() -> impl Strategy<Value = Option<PacketArrival>> {
    let ecn = prop_oneof![
        Just(Ecn::NotCapable),
        Just(Ecn::Capable0),
        Just(Ecn::Capable1),
        Just(Ecn::Congested)
    ];
    let offset = prop_oneof![
        (0..=MAX_ARRIVAL_OFFSET).prop_map(ArrivalOffset::Before),
        Just(ArrivalOffset::OverRange),
        Just(ArrivalOffset::Unavailable)
    ];
    prop::option::of((ecn, offset).prop_map(|(ecn, offset)| PacketArrival { ecn, offset }))
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        streams in prop::collection::vec(
            (any::<u32>(), any::<u16>(), prop::collection::vec(packet(), 0..40)), 0..6),
        room in 0_usize..900,
    ) {
        let mut out = vec![0; room];
        match write(&streams, &mut out) {
            Ok(len) => prop_assert_eq!(read(&parse(&out[..len]).unwrap()), streams),
            Err(error) => prop_assert_eq!(error, RtcpError::NoSpace),
        }
    }

    #[test]
    fn any_body_ends(body in prop::collection::vec(any::<[u8; 4]>(), 0..400)) {
        let words = u16::try_from(body.len()).unwrap().to_be_bytes();
        let bytes = [&[0x8B, 205, words[0], words[1]][..], body.as_flattened()].concat();
        if let Ok(feedback) = parse(&bytes) {
            let items: usize = feedback.streams().map(|s| 1 + s.packets().count()).sum();
            prop_assert!(items * 2 <= bytes.len());
        }
    }
}
