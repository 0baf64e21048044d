//! A queue that stays, and whose it is.
//!
//! Owns the judgement of one episode: a queue of our own keeps the link busy and shrinks when less is sent; one that
//! stays while less arrives is a neighbour's, or no queue but a longer way. A small queue that nobody drains would
//! become the base of all delays, so it is judged too, only later.

use std::time::Duration;

use schalter_model::Time;

/// A high queue that stays for so long means that the estimate is too high, although nothing grows.
const HIGH_FOR: Duration = Duration::from_millis(400);
/// A small one is given more time: jitter may look like it for a while.
const LOW_FOR: Duration = Duration::from_millis(2_000);
/// A queue that shrank by a quarter, or by this, is on its way out.
const RELIEF: Duration = Duration::from_millis(60);
/// If less than this share arrives of what did before, the link is not busy with us.
const BUSY: f64 = 0.85;
/// The estimate goes back to what it was up to this multiple of what arrived then.
const TRUST: f64 = 1.5;

/// What a look at the queue found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Finding {
    /// Too early to tell.
    Wait,
    /// It shrinks.
    Shrinks,
    /// It stays, and the link is busy: too much is sent.
    Stays,
    /// It is not ours; the estimate should not have been cut below this.
    Foreign(f64),
}

/// An episode in which a queue stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) since: Time,
    /// What stood then, or was about to.
    pub(super) most: Duration,
    /// What arrived then, in bits per second.
    pub(super) carried: f64,
    /// The estimate before it was cut for this queue.
    pub(super) before: f64,
    /// It was cut for the queue as it stands.
    pub(super) cut: bool,
}

impl Standing {
    /// Looks at what stands, as packets show it that were sent up to `told`, while `acked` arrives.
    pub(super) fn look(&self, told: Time, queue: Duration, high: bool, acked: f64) -> Finding {
        // Only packets sent since the beginning can tell whether sending less helped.
        let patience = if high { HIGH_FOR } else { LOW_FOR };
        if told - self.since < patience {
            return Finding::Wait;
        }
        if queue <= self.most * 3 / 4 || queue + RELIEF <= self.most {
            return Finding::Shrinks;
        }
        if self.cut && acked < self.carried * BUSY {
            Finding::Foreign(self.before.min(self.carried * TRUST))
        } else {
            Finding::Stays
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_stays_while_less_arrives_is_not_ours() {
        let standing = Standing {
            since: Time::ZERO,
            most: Duration::from_millis(100),
            carried: 1e6,
            before: 2e6,
            cut: true,
        };
        let look = |at, queue, acked| {
            let at = Time::from_millis(at);
            standing.look(at, Duration::from_millis(queue), true, acked)
        };
        assert_eq!(look(300, 100, 1e6), Finding::Wait);
        assert_eq!(look(500, 60, 1e6), Finding::Shrinks);
        assert_eq!(look(500, 100, 1e6), Finding::Stays);
        assert_eq!(look(500, 100, 0.5e6), Finding::Foreign(1.5e6));
    }
}
