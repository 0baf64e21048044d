//! Wrapping counters made monotonic.

use proptest::prelude::*;
use schalter_rtp::seq::{SequenceUnwrapper, TimestampUnwrapper, is_newer_u16, is_newer_u32};

#[test]
fn the_first_value_starts_one_cycle_above_zero() {
    assert_eq!(SequenceUnwrapper::new().unwrap(7), 65_536 + 7);
    assert_eq!(TimestampUnwrapper::new().unwrap(7), (1 << 32) + 7);
}

#[test]
fn a_wrap_counts_on_and_a_late_packet_goes_back() {
    let mut unwrapper = SequenceUnwrapper::new();
    assert_eq!(unwrapper.unwrap(65_535), 131_071);
    assert_eq!(unwrapper.unwrap(1), 131_073);
    assert_eq!(unwrapper.unwrap(65_534), 131_070);
    assert_eq!(unwrapper.unwrap(0), 131_072);
    assert_eq!(unwrapper.highest(), Some(131_073));
}

#[test]
fn going_back_before_the_first_value_never_underflows() {
    let mut unwrapper = SequenceUnwrapper::new();
    unwrapper.unwrap(0);
    assert_eq!(unwrapper.unwrap(65_535), 65_535);
    assert_eq!(unwrapper.unwrap(32_768), 32_768);
}

#[test]
fn peeking_changes_nothing() {
    let mut unwrapper = SequenceUnwrapper::new();
    unwrapper.unwrap(10);
    let before = unwrapper;
    assert_eq!(unwrapper.peek(20), 65_556);
    assert_eq!(unwrapper, before);
}

#[test]
fn newer_is_decided_across_the_wrap() {
    assert!(is_newer_u16(0, 65_535) && !is_newer_u16(65_535, 0) && !is_newer_u16(5, 5));
    assert!(is_newer_u32(0, u32::MAX) && !is_newer_u32(u32::MAX, 0) && !is_newer_u32(5, 5));
}

proptest! {
    #[test]
    fn exactly_one_of_two_different_values_is_newer(a: u16, b: u16, c: u32, d: u32) {
        prop_assume!(a != b && c != d);
        prop_assert_ne!(is_newer_u16(a, b), is_newer_u16(b, a));
        prop_assert_ne!(is_newer_u32(c, d), is_newer_u32(d, c));
    }

    #[test]
    fn steps_below_half_the_range_are_followed_exactly(start: u16, steps in prop::collection::vec(-32_768_i64..32_768, 0..200)) {
        let mut unwrapper = SequenceUnwrapper::new();
        let mut highest = i64::try_from(unwrapper.unwrap(start)).unwrap();
        for step in steps {
            let value = highest + step;
            let low = u16::try_from(value.rem_euclid(65_536)).unwrap();
            prop_assert_eq!(i64::try_from(unwrapper.unwrap(low)).unwrap(), value);
            highest = highest.max(value);
        }
    }

    #[test]
    fn timestamps_keep_their_low_bits_and_stay_near(values in prop::collection::vec(any::<u32>(), 1..200)) {
        let mut unwrapper = TimestampUnwrapper::new();
        for value in values {
            let before = unwrapper.highest();
            let extended = unwrapper.unwrap(value);
            prop_assert_eq!(extended % (1 << 32), u64::from(value));
            if let Some(before) = before {
                prop_assert!(extended.abs_diff(before) <= 1 << 31);
            }
        }
    }
}
