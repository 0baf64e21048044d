//! Order, backoff and bounds, by virtual time.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::backoff::{FIRST_WAIT, LONGEST_WAIT};

const SECOND: Duration = Duration::from_secs(1);
/// When the tests play, in milliseconds since 1970.
const UNIX_MS: u64 = 1_800_000_000_000;

fn limits() -> Limits {
    Limits {
        events: 100,
        bytes: 100_000,
        age: Duration::from_secs(3_600),
        ..Limits::default()
    }
}

struct Bench {
    outbox: Outbox,
    now: Time,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self {
            outbox: Outbox::new(limits, [7; 32]),
            now: Time::ZERO,
        }
    }

    fn unix_ms(&self) -> u64 {
        UNIX_MS + self.now.as_millis()
    }

    fn push(&mut self, room: &str, body: &str) {
        let event = Waiting {
            room: room.into(),
            body: body.into(),
            unix_ms: self.unix_ms(),
        };
        self.outbox.push(self.now, self.unix_ms(), event);
    }

    fn next(&mut self) -> Option<(Sequence, String)> {
        let delivery = self.outbox.poll_delivery(self.now)?;
        Some((delivery.sequence, delivery.body.to_string()))
    }

    /// Everything that is due, as bodies; it stays under way.
    fn due(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next())
            .map(|(_, body)| body)
            .collect()
    }

    fn end(&mut self, sequence: Sequence, outcome: Outcome) {
        self.outbox.on_outcome(self.now, sequence, outcome);
    }

    fn dropped(&mut self, reason: DropReason) -> u64 {
        self.outbox.take_dropped()[reason as usize]
    }
}

#[test]
fn a_rooms_next_event_follows_when_the_former_was_taken() {
    let mut bench = Bench::new(limits());
    for body in ["a1", "a2", "a3"] {
        bench.push("a", body);
    }
    bench.push("b", "b1");
    let (first, body) = bench.next().unwrap();
    assert_eq!(body, "a1");
    assert_eq!(bench.due(), ["b1"], "another room does not wait");
    bench.end(first, Outcome::Taken);
    let (second, body) = bench.next().unwrap();
    assert_eq!(body, "a2");
    bench.end(second, Outcome::Again(None));
    assert_eq!(bench.due(), [""; 0], "a3 waits behind a2");
    bench.now += LONGEST_WAIT;
    assert_eq!(bench.due(), ["a2"]);
}

#[test]
fn what_a_receiver_never_takes_is_given_up_and_the_next_follows() {
    let mut bench = Bench::new(limits());
    bench.push("a", "a1");
    bench.push("a", "a2");
    let (first, _) = bench.next().unwrap();
    bench.end(first, Outcome::Refused);
    assert_eq!(bench.dropped(DropReason::Refused), 1);
    assert_eq!(bench.due(), ["a2"]);
}

#[test]
fn waits_double_with_jitter_up_to_a_minute() {
    let mut bench = Bench::new(Limits {
        age: Duration::from_secs(86_400),
        ..limits()
    });
    bench.push("a", "a1");
    let mut waits = Vec::new();
    for attempt in 0..12_u32 {
        let (sequence, _) = bench.next().expect("it is due");
        bench.end(sequence, Outcome::Again(None));
        let at = bench.outbox.poll_timeout().unwrap();
        let wait = at - bench.now;
        let whole = FIRST_WAIT.saturating_mul(1 << attempt).min(LONGEST_WAIT);
        assert!(
            wait >= whole / 2 && wait <= whole,
            "attempt {attempt}: {wait:?} of {whole:?}"
        );
        assert!(bench.next().is_none(), "not before its time");
        waits.push(wait);
        bench.now = at;
    }
    let longest: HashSet<_> = waits[6..].iter().collect();
    assert!(
        longest.len() > 1,
        "without jitter all were equal: {waits:?}"
    );
}

#[test]
fn a_receivers_wish_for_a_pause_is_heard_within_bounds() {
    for (asked, least, most) in [(20, 20, 20), (100_000, 60, 60), (0, 0, 1)] {
        let mut bench = Bench::new(limits());
        bench.push("a", "a1");
        let (sequence, _) = bench.next().unwrap();
        bench.end(sequence, Outcome::Again(Some(Duration::from_secs(asked))));
        let wait = bench.outbox.poll_timeout().unwrap() - bench.now;
        assert!(
            wait >= SECOND * least && wait <= SECOND * most,
            "{asked}: {wait:?}"
        );
    }
}

#[test]
fn requests_at_once_are_bounded_and_a_receiver_that_is_down_is_asked_by_one() {
    let mut bench = Bench::new(limits());
    for room in 0..50 {
        bench.push(&format!("r{room}"), "x");
    }
    let mut under_way: Vec<_> = std::iter::from_fn(|| bench.next()).collect();
    assert_eq!(under_way.len(), AT_ONCE);
    for (sequence, _) in under_way.drain(..) {
        bench.end(sequence, Outcome::Again(None));
    }
    under_way.extend(std::iter::from_fn(|| bench.next()));
    assert_eq!(under_way.len(), 1, "eight failures: it is down");
    let (sequence, _) = under_way.remove(0);
    bench.end(sequence, Outcome::Taken);
    let again: Vec<_> = std::iter::from_fn(|| bench.next()).collect();
    assert_eq!(again.len(), AT_ONCE, "it is back: nobody waits");
    let mut taken = 1;
    let mut ready = again;
    while let Some((sequence, _)) = ready.pop() {
        bench.end(sequence, Outcome::Taken);
        taken += 1;
        ready.extend(std::iter::from_fn(|| bench.next()));
    }
    assert_eq!(taken, 50, "without time passing");
    assert_eq!(bench.outbox.size(), (0, 0));
    assert_eq!(bench.outbox.poll_timeout(), None);
}

#[test]
fn the_oldest_make_room_for_the_newest() {
    let mut bench = Bench::new(Limits {
        events: 3,
        ..limits()
    });
    bench.push("a", "a0");
    let (under_way, _) = bench.next().unwrap();
    for body in ["a1", "a2", "a3", "a4"] {
        bench.push("a", body);
    }
    assert_eq!(bench.outbox.size().0, 3);
    assert_eq!(bench.dropped(DropReason::Events), 2);
    bench.end(under_way, Outcome::Taken);
    let (sequence, body) = bench.next().unwrap();
    assert_eq!(body, "a3", "what was under way stayed, a1 and a2 are gone");
    bench.end(sequence, Outcome::Taken);
    assert_eq!(bench.due(), ["a4"]);
}

#[test]
fn bytes_are_bounded_and_what_never_fits_is_refused() {
    let mut bench = Bench::new(Limits {
        bytes: 3 * (100 + 1 + OVERHEAD),
        ..limits()
    });
    let body = "x".repeat(100);
    for _ in 0..5 {
        bench.push("a", &body);
    }
    assert_eq!(bench.outbox.size(), (3, 3 * (101 + OVERHEAD)));
    assert_eq!(bench.dropped(DropReason::Bytes), 2);
    bench.push("a", &"x".repeat(1_000));
    assert_eq!(bench.dropped(DropReason::Bytes), 1);
    assert_eq!(bench.outbox.size().0, 3, "no other had to go for it");
}

#[test]
fn an_event_that_is_too_old_is_dropped_and_its_rooms_next_follows() {
    let mut bench = Bench::new(Limits {
        age: 10 * SECOND,
        ..limits()
    });
    bench.push("a", "a1");
    let (sequence, _) = bench.next().unwrap();
    bench.now += 8 * SECOND;
    bench.push("a", "a2");
    bench.now += 3 * SECOND;
    assert!(bench.next().is_none());
    assert_eq!(bench.dropped(DropReason::Age), 0, "its answer may yet come");
    bench.end(sequence, Outcome::Again(None));
    assert_eq!(bench.dropped(DropReason::Age), 1);
    assert_eq!(bench.due(), ["a2"]);
}

#[test]
fn time_in_the_spool_counts_for_age() {
    let mut bench = Bench::new(Limits {
        age: 10 * SECOND,
        ..limits()
    });
    for (body, seconds) in [("old", 11), ("young", 4)] {
        let event = Waiting {
            room: body.into(),
            body: body.into(),
            unix_ms: UNIX_MS - seconds * 1_000,
        };
        bench.outbox.push(bench.now, UNIX_MS, event);
    }
    assert_eq!(bench.due(), ["young"]);
    assert_eq!(bench.dropped(DropReason::Age), 1);
}

/// Replays notes as a spool would.
fn replayed(notes: &[Note]) -> Vec<Sequence> {
    let mut waiting = Vec::new();
    for note in notes {
        match note {
            Note::Put(sequence, _) => waiting.push(*sequence),
            Note::Done(sequence) => waiting.retain(|other| other != sequence),
        }
    }
    waiting
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever receivers do: each room's events come in order, none twice after it was taken, bounds hold, and the
    /// spool's notes tell exactly what waits.
    #[test]
    fn order_and_bounds_hold_whatever_happens(
        steps in prop::collection::vec((0_u8..6, 0_usize..4, 0_u64..40), 1..300)
    ) {
        let bounds = Limits { events: 20, bytes: 3_000, age: 120 * SECOND, ..limits() };
        let mut bench = Bench::new(bounds);
        let mut pushed = 0_u64;
        let mut under_way: Vec<(Sequence, String)> = Vec::new();
        let mut last: HashMap<usize, u64> = HashMap::new();
        let mut taken = HashSet::new();
        let mut notes = Vec::new();
        for (kind, room, number) in steps {
            match kind {
                0 | 1 => {
                    pushed += 1;
                    bench.push(&format!("r{room}"), &format!("{room}:{pushed}"));
                }
                2 => bench.now += SECOND * u32::try_from(number).unwrap(),
                _ if under_way.is_empty() => under_way.extend(bench.next()),
                3 => under_way.extend(bench.next()),
                _ => {
                    let index = usize::try_from(number).unwrap() % under_way.len();
                    let (sequence, body) = under_way.remove(index);
                    let (room, number) = body.split_once(':').unwrap();
                    let (room, number): (usize, u64) = (room.parse().unwrap(), number.parse().unwrap());
                    if kind == 4 {
                        prop_assert!(taken.insert(body.clone()), "{} twice", body);
                        let before = last.insert(room, number);
                        prop_assert!(before.is_none_or(|before| before < number), "{} after {:?}", body, before);
                        bench.end(sequence, Outcome::Taken);
                    } else {
                        bench.end(sequence, Outcome::Again(None));
                    }
                }
            }
            let rooms: HashSet<_> = under_way.iter().map(|(_, body)| body.split_once(':').unwrap().0).collect();
            prop_assert_eq!(rooms.len(), under_way.len(), "one of each room at most");
            prop_assert!(under_way.len() <= AT_ONCE);
            let (events, bytes) = bench.outbox.size();
            prop_assert!(events <= 20 && bytes <= 3_000);
            notes.extend(bench.outbox.take_notes());
            let all: Vec<_> = bench.outbox.all().collect();
            prop_assert_eq!(replayed(&notes), replayed(&all));
        }
        // When the receiver takes everything, nothing is left behind.
        while bench.outbox.size().0 > 0 {
            under_way.extend(bench.next());
            match under_way.pop() {
                Some((sequence, _)) => bench.end(sequence, Outcome::Taken),
                // Everything may have become too old just now; what still waits has a time.
                None if bench.outbox.size().0 == 0 => {}
                None => bench.now = bench.outbox.poll_timeout().expect("what waits has a time").max(bench.now),
            }
        }
        prop_assert_eq!(bench.outbox.size(), (0, 0));
        prop_assert!(bench.outbox.rooms.is_empty() && bench.outbox.due.is_empty());
    }
}
