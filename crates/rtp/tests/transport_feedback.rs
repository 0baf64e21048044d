//! Transport-wide congestion control feedback: chunk coding, splitting, hostile input.

use proptest::prelude::*;
use schalter_rtp::RtcpError;
use schalter_rtp::rtcp::{Rtcp, RtcpWriter, TransportCc, compound};

type Arrivals = Vec<(u16, Option<i64>)>;

fn arrivals(base: u16, ticks: &[Option<i64>]) -> Arrivals {
    (0..)
        .zip(ticks)
        .map(|(index, ticks)| (base.wrapping_add(index), *ticks))
        .collect()
}

fn feedback(bytes: &[u8]) -> TransportCc<'_> {
    let mut packets = compound(bytes);
    let Some(Ok(Rtcp::TransportCc(feedback))) = packets.next() else {
        panic!("not feedback")
    };
    assert!(packets.next().is_none());
    feedback
}

fn write(packets: &[(u16, Option<i64>)], room: usize) -> Result<(Vec<u8>, usize), RtcpError> {
    let mut bytes = vec![0xAA; room];
    let mut writer = RtcpWriter::new(&mut bytes);
    let consumed = writer.transport_cc(1, 2, 3, packets)?;
    let len = writer.finish();
    bytes.truncate(len);
    Ok((bytes, consumed))
}

/// Turns feedback into absolute ticks, counted from the (wrapped) reference time.
fn read_back(feedback: &TransportCc<'_>) -> Arrivals {
    let mut time = i64::from(feedback.reference_time) * 256;
    let mut sequence = feedback.base_sequence;
    let mut read = Vec::new();
    for delta in feedback.deltas() {
        read.push((
            sequence,
            delta.map(|delta| {
                time += i64::from(delta);
                time
            }),
        ));
        sequence = sequence.wrapping_add(1);
    }
    read
}

#[test]
fn hand_made_feedback_with_all_chunk_kinds_is_read() {
    let bytes = [
        0x8F,
        205,
        0,
        8,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        2, // header, SSRCs
        0,
        100,
        0,
        18,
        0,
        0,
        5,
        9, // base 100, 18 packets, reference 5, count 9
        0x20,
        3, // run of 3 small deltas
        0b1100_0110,
        0b0100_0000, // two bits each: missing, small, large, small, missing × 3
        0b1010_0000,
        0, // one bit each: received, then missing × 13, of which 7 count
        1,
        2,
        3, // deltas of the run
        4,
        0xFF,
        0xFE,
        6, // of the two-bit vector: 4, −2, 6
        5, // of the one-bit vector
        0,
        0, // up to a whole word
    ];
    let feedback = feedback(&bytes);
    assert_eq!((feedback.sender_ssrc, feedback.media_ssrc), (1, 2));
    assert_eq!((feedback.base_sequence, feedback.status_count), (100, 18));
    assert_eq!((feedback.reference_time, feedback.fb_count), (5, 9));
    let mut expected = vec![
        Some(1),
        Some(2),
        Some(3),
        None,
        Some(4),
        Some(-2),
        Some(6),
        None,
        None,
        None,
    ];
    expected.push(Some(5));
    expected.extend([None; 7]);
    assert_eq!(feedback.deltas().len(), 18);
    assert_eq!(feedback.deltas().collect::<Vec<_>>(), expected);
}

#[test]
fn steady_arrivals_become_one_run() {
    let packets = arrivals(
        65_530,
        &(0..100).map(|n| Some(1000 + 40 * n)).collect::<Vec<_>>(),
    );
    let (bytes, consumed) = write(&packets, 1200).unwrap();
    assert_eq!(consumed, 100);
    // Header and fixed fields, one chunk, 100 deltas, 2 bytes of padding.
    assert_eq!(bytes.len(), 124);
    assert_eq!((bytes[0], &bytes[122..]), (0xAF, &[0, 2][..]));
    assert_eq!(read_back(&feedback(&bytes)), packets);
}

#[test]
fn scattered_losses_become_one_bit_vectors() {
    let packets = arrivals(
        0,
        &(0..28)
            .map(|n| (n % 3 != 0).then_some(10 * n))
            .collect::<Vec<_>>(),
    );
    let (bytes, consumed) = write(&packets, 1200).unwrap();
    assert_eq!(consumed, 28);
    assert_eq!([bytes[20] >> 6, bytes[22] >> 6], [0b10, 0b10]);
    assert_eq!(read_back(&feedback(&bytes)), packets);
}

#[test]
fn large_and_negative_deltas_become_two_bit_vectors() {
    let packets = arrivals(
        0,
        &[
            Some(100),
            None,
            Some(5000),
            Some(4000),
            Some(4001),
            None,
            Some(4002),
        ],
    );
    let (bytes, consumed) = write(&packets, 1200).unwrap();
    assert_eq!((consumed, bytes[20] >> 6), (7, 0b11));
    assert_eq!(read_back(&feedback(&bytes)), packets);
}

#[test]
fn a_gap_too_long_for_a_delta_ends_the_message() {
    let packets = arrivals(0, &[Some(0), Some(1), None, Some(1 + 32_768), Some(40_000)]);
    let (bytes, consumed) = write(&packets, 1200).unwrap();
    assert_eq!(consumed, 3);
    assert_eq!(read_back(&feedback(&bytes)), packets[..3]);
    let (bytes, rest) = write(&packets[consumed..], 1200).unwrap();
    assert_eq!(
        (rest, read_back(&feedback(&bytes))),
        (2, packets[3..].to_vec())
    );
}

#[test]
fn times_at_the_ends_of_the_clock_do_not_overflow() {
    for packets in [
        arrivals(0, &[Some(i64::MIN), Some(i64::MAX)]),
        arrivals(0, &[Some(i64::MAX), Some(i64::MIN)]),
        arrivals(0, &[Some(i64::MIN + 300), Some(i64::MIN)]),
    ] {
        let (_, consumed) = write(&packets, 1200).unwrap();
        assert!(consumed >= 1);
    }
}

#[test]
fn nothing_to_report_writes_nothing_and_no_room_is_an_error() {
    assert_eq!(write(&[], 1200).unwrap(), (vec![], 0));
    let one = arrivals(0, &[Some(5)]);
    assert_eq!(write(&one, 24).unwrap().1, 1);
    assert_eq!(write(&one, 23).unwrap_err(), RtcpError::NoSpace);
}

#[test]
fn chunks_that_lie_are_malformed() {
    let message = |status_count: u8, tail: [u8; 4]| {
        let mut bytes = vec![
            0x8F,
            205,
            0,
            5,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            2,
            0,
            0,
            0,
            status_count,
            0,
            0,
            0,
            0,
        ];
        bytes.extend(tail);
        bytes
    };
    for (bytes, why) in [
        (message(3, [0x20, 3, 1, 2]), "a delta is missing"),
        (message(1, [0x60, 1, 0, 0]), "a reserved symbol"),
        (message(1, [0, 0, 0, 0]), "runs of nothing"),
        (message(200, [0, 10, 0, 10]), "too few chunks"),
    ] {
        assert!(
            matches!(compound(&bytes).next(), Some(Err(RtcpError::Malformed))),
            "{why}"
        );
    }
    assert_eq!(
        feedback(&message(2, [0x20, 2, 1, 2]))
            .deltas()
            .collect::<Vec<_>>(),
        [Some(1), Some(2)]
    );
}

fn any_ticks() -> impl Strategy<Value = Vec<Option<i64>>> {
    let step = prop_oneof![
        6 => (0_i64..300).prop_map(Some),
        2 => Just(None),
        1 => (-33_000_i64..33_000).prop_map(Some),
    ];
    (
        0_i64..1 << 30,
        prop::collection::vec((step, 1_usize..20), 1..60),
    )
        .prop_map(|(start, steps)| {
            let mut time = start;
            let mut ticks = Vec::new();
            for (step, repeat) in steps {
                for _ in 0..repeat {
                    ticks.push(step.map(|step| {
                        time += step;
                        time
                    }));
                }
            }
            ticks
        })
}

proptest! {
    #[test]
    fn feedback_in_pieces_of_any_size_says_everything_once(base: u16, ticks in any_ticks(), room in 24_usize..1300) {
        let packets = arrivals(base, &ticks);
        let mut rest = &packets[..];
        while !rest.is_empty() {
            let (bytes, consumed) = write(rest, room).unwrap();
            prop_assert!(consumed > 0 && bytes.len() <= room && bytes.len() % 4 == 0);
            let feedback = feedback(&bytes);
            // The clock starts so high that the 24-bit reference time wraps: compare modulo its range.
            let wrap = |packets: &[(u16, Option<i64>)]| -> Arrivals {
                packets.iter().map(|(sequence, time)| (*sequence, time.map(|time| time.rem_euclid(1 << 32)))).collect()
            };
            prop_assert_eq!(wrap(&read_back(&feedback)), wrap(&rest[..consumed]));
            rest = &rest[consumed..];
        }
    }
}
