//! What an encoding misses, and when to ask its publisher for it (RFC 4585 §6.2.1).
//!
//! A gap is asked for after a small wait for reordered packets, then again about every round trip, until it is
//! filled, too old or asked for too often. The round trip is learnt from the answers themselves.

use std::time::Duration;

use schalter_model::Time;

use crate::settings::RouterConfig;

/// Longest list; with more missing, a keyframe is cheaper than repair.
const MAX_MISSING: usize = 256;
/// The same for what was lost while nothing came for as long as a packet may stay away: most of it is too old to be of
/// use, its sender has begun to forget it, and asked for, it would hold up what is new (Chromium sends repairs first;
/// 225 of them held a picture up for 0.7 s).
const MAX_MISSING_AFTER_SILENCE: u64 = 16;
/// Packets that overtake a missing one until it counts as lost at once.
const OVERTAKEN_BY: u64 = 4;
/// Time between two requests before any answer told the round trip.
const FIRST_RETRY: Duration = Duration::from_millis(60);
/// Least time between two requests for one packet: answers queue behind media.
const MIN_RETRY: Duration = Duration::from_millis(20);
/// Most time between two requests: a packet later than this is seldom of use.
const MAX_RETRY: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug)]
struct Missing {
    seq: u64,
    since: Time,
    due: Time,
    asked: Option<Time>,
    tries: u8,
}

/// Bounds and waits, from [`RouterConfig`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct NackPolicy {
    reorder_wait: Duration,
    max_age: Duration,
    max_tries: u8,
}

impl From<&RouterConfig> for NackPolicy {
    fn from(config: &RouterConfig) -> Self {
        Self {
            reorder_wait: config.reorder_wait,
            max_age: config.nack_max_age,
            max_tries: config.nack_max_tries,
        }
    }
}

/// The missing packets of one encoding, oldest first.
#[derive(Debug)]
pub(crate) struct NackList {
    missing: Vec<Missing>,
    newest_at: Option<Time>,
    round_trip: Option<Duration>,
    policy: NackPolicy,
}

/// Too much is missing for repair: ask for a keyframe instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hopeless;

impl NackList {
    pub(crate) fn new(policy: NackPolicy) -> Self {
        Self {
            missing: Vec::new(),
            newest_at: None,
            round_trip: None,
            policy,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.missing.clear();
    }

    /// Notes that `newest` came while the highest before it was `before`.
    ///
    /// # Errors
    /// [`Hopeless`] if the list would grow too long, or much was lost in a long silence; it is empty then.
    pub(crate) fn on_newest(
        &mut self,
        now: Time,
        before: u64,
        newest: u64,
    ) -> Result<(), Hopeless> {
        for missing in &mut self.missing {
            if missing.tries == 0 && newest - missing.seq >= OVERTAKEN_BY {
                missing.due = missing.due.min(now);
            }
        }
        let gap = newest - before - 1;
        let last = self.newest_at.replace(now);
        if gap == 0 {
            return Ok(());
        }
        let was_silent = last.is_some_and(|last| now - last >= self.policy.max_age);
        let too_much = self.missing.len() as u64 + gap > MAX_MISSING as u64
            || was_silent && gap > MAX_MISSING_AFTER_SILENCE;
        if too_much {
            self.missing.clear();
            return Err(Hopeless);
        }
        let wait = self.policy.reorder_wait;
        self.missing.extend((before + 1..newest).map(|seq| Missing {
            seq,
            since: now,
            due: if newest - seq >= OVERTAKEN_BY {
                now
            } else {
                now + wait
            },
            asked: None,
            tries: 0,
        }));
        Ok(())
    }

    /// Notes that a packet that was overtaken came after all.
    pub(crate) fn on_late(&mut self, now: Time, seq: u64, retransmitted: bool) {
        let Ok(index) = self.missing.binary_search_by_key(&seq, |m| m.seq) else {
            return;
        };
        let missing = self.missing.remove(index);
        if let (true, 1, Some(asked)) = (retransmitted, missing.tries, missing.asked) {
            let sample = now - asked;
            self.round_trip = Some(match self.round_trip {
                None => sample,
                Some(smooth) => (smooth * 7 + sample) / 8,
            });
        }
    }

    /// When to look again; `None` if nothing is missing.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.missing.iter().map(|m| m.due).min()
    }

    /// Puts at most `room` sequence numbers that are due into `out`, oldest first, and gives up what is hopeless.
    pub(crate) fn collect(&mut self, now: Time, room: usize, out: &mut Vec<u16>) {
        let policy = self.policy;
        self.missing
            .retain(|m| now - m.since < policy.max_age && m.tries < policy.max_tries.max(1));
        let retry = self.retry_after();
        for missing in &mut self.missing {
            if missing.due <= now && out.len() < room {
                out.push(missing.seq as u16);
                missing.tries += 1;
                missing.asked = Some(now);
                missing.due = now + retry;
            }
        }
    }

    fn retry_after(&self) -> Duration {
        self.round_trip.map_or(FIRST_RETRY, |smooth| {
            (smooth * 3 / 2).clamp(MIN_RETRY, MAX_RETRY)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> NackList {
        NackList::new(NackPolicy::from(&RouterConfig::default()))
    }

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn due(list: &mut NackList, now: Time) -> Vec<u16> {
        let mut out = Vec::new();
        list.collect(now, 100, &mut out);
        out
    }

    #[test]
    fn reordering_within_the_wait_is_not_asked_for() {
        let mut list = list();
        list.on_newest(ms(0), 10, 12).unwrap();
        assert_eq!(due(&mut list, ms(4)), []);
        list.on_late(ms(4), 11, false);
        assert_eq!(list.next_due(), None);
    }

    #[test]
    fn a_packet_overtaken_by_four_is_asked_for_at_once() {
        let mut list = list();
        list.on_newest(ms(0), 10, 12).unwrap();
        list.on_newest(ms(1), 12, 15).unwrap();
        assert_eq!(due(&mut list, ms(1)), [11]);
        assert_eq!(due(&mut list, ms(6)), [13, 14]);
    }

    #[test]
    fn requests_follow_the_learnt_round_trip_and_end() {
        let mut list = list();
        list.on_newest(ms(0), 10, 12).unwrap();
        assert_eq!(due(&mut list, ms(5)), [11]);
        list.on_late(ms(45), 11, true);
        list.on_newest(ms(50), 12, 14).unwrap();
        assert_eq!(due(&mut list, ms(55)), [13]);
        assert_eq!(due(&mut list, ms(114)), []);
        let mut asked = 1;
        for at in 115..2_000 {
            asked += due(&mut list, ms(at)).len();
        }
        assert_eq!(asked, 10);
        assert_eq!(list.next_due(), None);
    }

    #[test]
    fn much_that_was_lost_in_a_silence_is_given_up_and_little_is_asked_for() {
        for (gap, repair) in [(16, Ok(())), (17, Err(Hopeless))] {
            let mut list = list();
            list.on_newest(ms(0), 9, 10).unwrap();
            assert_eq!(list.on_newest(ms(1_000), 10, 11 + gap), repair, "{gap}");
            assert_eq!(list.next_due().is_some(), repair.is_ok());
        }
        let mut list = list();
        list.on_newest(ms(0), 9, 10).unwrap();
        list.on_newest(ms(999), 10, 100).unwrap();
    }

    #[test]
    fn age_ends_requests_too() {
        let mut list = list();
        list.on_newest(ms(0), 10, 12).unwrap();
        assert_eq!(due(&mut list, ms(1_000)), []);
        assert_eq!(list.next_due(), None);
    }

    #[test]
    fn a_huge_gap_is_hopeless() {
        let mut list = list();
        assert_eq!(list.on_newest(ms(0), 10, 400), Err(Hopeless));
        assert_eq!(list.next_due(), None);
    }
}
