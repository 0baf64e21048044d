//! From when to when people talked, as the events of an appointment tell it.

use std::collections::BTreeSet;

use super::event::{Event, EventKind};
use super::time::Timestamp;

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// When the first came.
    pub began_at: Timestamp,
    /// When the last was gone, or it was ended; `None` while somebody is there.
    pub ended_at: Option<Timestamp>,
}

impl Call {
    /// The call of an appointment with these events, in order; `None` if nobody ever came.
    pub fn of(events: &[Event]) -> Option<Self> {
        let mut call: Option<Self> = None;
        let mut there = BTreeSet::new();
        for event in events {
            match event.fact.kind {
                EventKind::Joined => {
                    there.extend(event.fact.person.as_ref());
                    let call = call.get_or_insert(Self {
                        began_at: event.at,
                        ended_at: None,
                    });
                    call.ended_at = None;
                }
                // Who is sent away has left, though the room's word for it comes too late to count.
                EventKind::Left | EventKind::Held | EventKind::LinkRevoked => {
                    let gone = event.fact.person.as_ref();
                    let was_there = gone.is_some_and(|person| there.remove(person));
                    if let Some(call) = &mut call
                        && was_there
                        && there.is_empty()
                    {
                        call.ended_at = Some(event.at);
                    }
                }
                EventKind::Ended => {
                    if let Some(call) = &mut call {
                        call.ended_at.get_or_insert(event.at);
                    }
                    there.clear();
                }
                EventKind::Created
                | EventKind::Changed
                | EventKind::Cancelled
                | EventKind::Waiting
                | EventKind::Admitted
                | EventKind::Denied
                | EventKind::NoShow
                | EventKind::Consent
                | EventKind::LinkIssued
                | EventKind::LinkOpened => {}
            }
        }
        call
    }

    /// How long it was, in whole seconds; `None` while somebody is there.
    pub fn seconds(&self) -> Option<u64> {
        Some(self.ended_at?.since_s(self.began_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AppointmentId, Fact, PersonId};

    /// Events at seconds, each of somebody told by a number, or of nobody.
    fn call(events: &[(u64, EventKind, u8)]) -> Option<(u64, Option<u64>, Option<u64>)> {
        let zero = Timestamp::from_ms(0);
        let events: Vec<Event> = (1..)
            .zip(events)
            .map(|(seq, (at, kind, person))| Event {
                authority: "a".to_owned(),
                seq,
                at: zero.plus_s(*at),
                appointment: AppointmentId::from_random([1; 16]),
                by: "system".to_owned(),
                fact: Fact {
                    person: (*person > 0).then(|| PersonId::from_random([*person; 16])),
                    ..Fact::plain(*kind)
                },
            })
            .collect();
        let call = Call::of(&events)?;
        let ended = call.ended_at.map(|at| at.since_s(zero));
        Some((call.began_at.since_s(zero), ended, call.seconds()))
    }

    #[test]
    fn it_lasts_from_the_first_who_came_to_the_last_who_left() {
        use EventKind::{Admitted, Ended, Held, Joined, Left, LinkRevoked};
        assert_eq!(call(&[(1, Admitted, 1), (9, Ended, 0)]), None);
        let two = [(5, Joined, 1), (7, Joined, 2), (20, Left, 1)];
        assert_eq!(call(&two), Some((5, None, None)));
        let with = |more: &[(u64, EventKind, u8)]| call(&[&two, more].concat());
        assert_eq!(with(&[(30, Left, 2)]), Some((5, Some(30), Some(25))));
        assert_eq!(with(&[(30, Ended, 0)]), Some((5, Some(30), Some(25))));
        // Ended much later, when the doors closed.
        assert_eq!(
            with(&[(30, Left, 2), (900, Ended, 0)]),
            Some((5, Some(30), Some(25)))
        );
        assert_eq!(with(&[(30, Held, 2)]), Some((5, Some(30), Some(25))));
        assert_eq!(with(&[(30, LinkRevoked, 2)]), Some((5, Some(30), Some(25))));
        // Somebody who is not there changes nothing; who returns does.
        assert_eq!(with(&[(30, LinkRevoked, 1)]), Some((5, None, None)));
        let again = [(30, Left, 2), (40, Joined, 2)];
        assert_eq!(with(&again), Some((5, None, None)));
        assert_eq!(
            with(&[&again[..], &[(50, Left, 2)]].concat()),
            Some((5, Some(50), Some(45)))
        );
    }
}
