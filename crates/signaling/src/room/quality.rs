//! How good participants' connections are, told to themselves and to who gets tracks of them.
//!
//! The media plane scores each transport every few seconds ([`schalter_forward::MediaQuality::score`]). Here a participant's
//! scores become one of the protocol's four steps, steadily: down at once, up slowly, and neither for a score on the edge.
//! A transport that went silent is `LOST`, whatever came before. Only changes are told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use livekit_protocol::{
    ConnectionQuality, ConnectionQualityInfo, ConnectionQualityUpdate, signal_response::Message,
};
use schalter_forward::{BEST_SCORE, MediaQuality, QUALITY_INTERVAL};
use schalter_model::{Time, TransportId};

use super::participant::{Participant, ParticipantKey};
use super::transport::TransportRole;
use super::{Room, Timer};

/// From this score up a connection is good, from the other excellent.
const GOOD: f32 = 3.0;
const EXCELLENT: f32 = 4.0;
/// By so much a score must be beyond the edge for the step to change.
const MARGIN: f32 = 0.15;
/// Scores fall at once, and rise by this share of the way at each look.
const RISE: f32 = 0.5;
/// What a transport that was silent begins with when it is back: it has to show that it is better.
const RETURNED: f32 = 2.0;
/// A score older than two intervals is of media that no longer flow.
const FRESH: Duration = QUALITY_INTERVAL.saturating_mul(2);
/// What is worse is told at once, but not one by one when a network of many fails.
const SOON: Duration = Duration::from_millis(500);

/// When connections are looked at.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// The next look at everybody's scores.
    look: Option<Time>,
    /// The timer that counts.
    due: Option<Time>,
    told: Option<Time>,
}

/// A score that doesn't flicker, and its step.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Steady {
    score: f32,
    quality: ConnectionQuality,
}

impl Default for Steady {
    fn default() -> Self {
        Self {
            score: BEST_SCORE,
            quality: ConnectionQuality::Excellent,
        }
    }
}

impl Steady {
    fn observe(&mut self, score: f32) {
        self.score = if score < self.score {
            score
        } else {
            self.score + (score - self.score) * RISE
        };
        let at_best = step(self.score + MARGIN);
        let at_worst = step(self.score - MARGIN);
        if at_best < step_of(self.quality) {
            self.quality = quality_of(at_best);
        } else if at_worst > step_of(self.quality) {
            self.quality = quality_of(at_worst);
        }
    }

    fn returned() -> Self {
        Self {
            score: RETURNED,
            quality: ConnectionQuality::Poor,
        }
    }
}

/// Steps by rank; the protocol's numbers have `LOST` above all.
fn step(score: f32) -> u8 {
    u8::from(score >= GOOD) + u8::from(score >= EXCELLENT)
}

fn step_of(quality: ConnectionQuality) -> u8 {
    match quality {
        ConnectionQuality::Lost | ConnectionQuality::Poor => 0,
        ConnectionQuality::Good => 1,
        ConnectionQuality::Excellent => 2,
    }
}

fn quality_of(step: u8) -> ConnectionQuality {
    match step {
        0 => ConnectionQuality::Poor,
        1 => ConnectionQuality::Good,
        _ => ConnectionQuality::Excellent,
    }
}

/// What is known of one transport.
#[derive(Clone, Copy, Debug, Default)]
struct TransportQuality {
    scored: Option<(Time, f32)>,
    silent: bool,
}

/// What is known of a participant's connection, and what it was told of others'.
#[derive(Debug, Default)]
pub(super) struct ConnectionState {
    publisher: TransportQuality,
    subscriber: TransportQuality,
    steady: Steady,
    /// Back from silence: until then only a new score counts, not that there is none.
    returned_until: Option<Time>,
    told: BTreeMap<ParticipantKey, ConnectionQuality>,
    /// As another room sees it, which it is really in.
    elsewhere: Option<SeenQuality>,
}

/// How a room sees somebody's connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SeenQuality {
    quality: ConnectionQuality,
    /// In tenths.
    score: u8,
}

impl ConnectionState {
    fn of(&mut self, role: TransportRole) -> &mut TransportQuality {
        match role {
            TransportRole::Publisher => &mut self.publisher,
            TransportRole::Subscriber => &mut self.subscriber,
        }
    }

    fn is_silent(&self) -> bool {
        self.publisher.silent || self.subscriber.silent
    }

    fn look(&mut self, now: Time) {
        if self.is_silent() {
            return;
        }
        let scores = [self.publisher.scored, self.subscriber.scored];
        let fresh = scores.into_iter().flatten();
        let fresh = fresh.filter(|(at, _)| now - *at <= FRESH);
        let score = fresh.map(|(_, score)| score).reduce(f32::min);
        if score.is_none() && self.returned_until.is_some_and(|until| now < until) {
            return;
        }
        self.steady.observe(score.unwrap_or(BEST_SCORE));
    }

    /// It is there again, and has to show how good it is.
    fn come_back(&mut self, now: Time) {
        self.publisher.scored = None;
        self.subscriber.scored = None;
        self.steady = Steady::returned();
        self.returned_until = Some(now + FRESH);
    }

    /// Of somebody who is in another room.
    pub(super) fn seen_elsewhere(seen: SeenQuality) -> Self {
        Self {
            elsewhere: Some(seen),
            ..Self::default()
        }
    }

    pub(super) fn see_elsewhere(&mut self, seen: SeenQuality) {
        self.elsewhere = Some(seen);
    }

    pub(super) fn seen(&self) -> SeenQuality {
        SeenQuality {
            quality: self.quality(),
            score: (self.score() * 10.0).round() as u8,
        }
    }

    fn quality(&self) -> ConnectionQuality {
        if let Some(seen) = self.elsewhere {
            seen.quality
        } else if self.is_silent() {
            ConnectionQuality::Lost
        } else {
            self.steady.quality
        }
    }

    /// Protocol's score: 0 where there is no connection.
    fn score(&self) -> f32 {
        if let Some(seen) = self.elsewhere {
            f32::from(seen.score) / 10.0
        } else if self.is_silent() {
            0.0
        } else {
            self.steady.score
        }
    }

    /// The client may have missed what it was told.
    pub(super) fn forget_told(&mut self) {
        self.told.clear();
    }
}

impl Room {
    pub(super) fn on_quality(&mut self, transport: TransportId, quality: MediaQuality) {
        let Some((key, role)) = self.by_transport.get(&transport).copied() else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let state = &mut participant.connection_quality;
        let score = quality.score();
        state.of(role).scored = Some((self.now, score));
        // What is better waits for its turn.
        if score < state.steady.score {
            let before = state.quality();
            state.look(self.now);
            if state.quality() != before {
                self.tell_connections_soon();
            }
        }
    }

    /// A transport went silent, or is back.
    pub(super) fn on_silence(&mut self, key: ParticipantKey, role: TransportRole, silent: bool) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let state = &mut participant.connection_quality;
        let before = state.is_silent();
        state.of(role).silent = silent;
        if before == state.is_silent() {
            return;
        }
        if before {
            state.come_back(self.now);
        }
        self.tell_connections_soon();
    }

    fn tell_connections_soon(&mut self) {
        let soonest = self.connections.told.map(|told| told + SOON);
        let at = soonest.map_or(self.now, |at| at.max(self.now));
        if self.connections.due.is_some_and(|due| at < due) {
            self.connections.due = Some(at);
            self.arm(at, Timer::Connections);
        }
    }

    /// Looks at connections from now on; again: no change.
    pub(super) fn start_connections(&mut self) {
        if self.connections.due.is_none() {
            self.look_next();
        }
    }

    fn look_next(&mut self) {
        let at = *self
            .connections
            .look
            .get_or_insert(self.now + QUALITY_INTERVAL);
        self.connections.due = Some(at);
        self.arm(at, Timer::Connections);
    }

    pub(super) fn on_connections_timer(&mut self, at: Time) {
        if self.connections.due != Some(at) {
            return;
        }
        self.connections.due = None;
        self.connections.told = Some(self.now);
        self.links.note_change();
        if self.connections.look.is_some_and(|look| look <= self.now) {
            self.connections.look = None;
            for participant in self.participants.values_mut() {
                participant.connection_quality.look(self.now);
            }
        }
        self.tell_connections();
        if self.participants.is_empty() {
            self.connections.look = None;
        } else {
            self.look_next();
        }
    }

    fn tell_connections(&mut self) {
        let keys: Vec<_> = self.participants.keys().copied().collect();
        for key in keys {
            let Some(participant) = self.participants.get(&key) else {
                continue;
            };
            if participant.connection.is_none() || !participant.is_active() {
                continue;
            }
            let visible = self.visible_connections(key, participant);
            let told = &participant.connection_quality.told;
            let mut updates = Vec::new();
            let mut known = BTreeMap::new();
            for other in visible {
                let Some(of) = self.participants.get(&other).filter(|of| of.is_active()) else {
                    continue;
                };
                let quality = of.connection_quality.quality();
                if told.get(&other) != Some(&quality) {
                    updates.push(ConnectionQualityInfo {
                        participant_sid: of.sid.to_string(),
                        quality: quality as i32,
                        score: of.connection_quality.score(),
                    });
                }
                known.insert(other, quality);
            }
            if let Some(participant) = self.participants.get_mut(&key) {
                participant.connection_quality.told = known;
            }
            if !updates.is_empty() {
                let update = ConnectionQualityUpdate { updates };
                self.send(key, Message::ConnectionQuality(update));
            }
        }
    }

    /// Whose connections concern a participant: its own, and those of who it gets tracks of.
    fn visible_connections(
        &self,
        key: ParticipantKey,
        participant: &Participant,
    ) -> BTreeSet<ParticipantKey> {
        let tracks = participant.subscriptions.keys();
        let owners = tracks.filter_map(|track| self.tracks.get(track).map(|track| track.owner));
        owners.chain([key]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(scores: &[f32]) -> Vec<ConnectionQuality> {
        let mut steady = Steady::default();
        let steps = scores.iter().map(|score| {
            steady.observe(*score);
            steady.quality
        });
        steps.collect()
    }

    #[test]
    fn what_is_bad_is_told_at_once_and_what_is_better_has_to_last() {
        use ConnectionQuality::{Excellent, Good, Poor};
        let course = course(&[4.5, 2.0, 4.5, 4.5, 4.5, 4.5]);
        assert_eq!(course, [Excellent, Poor, Good, Good, Excellent, Excellent]);
    }

    #[test]
    fn a_score_on_the_edge_changes_nothing() {
        let edge = [4.05, 3.95, 3.9, 4.1, 3.86, 4.14];
        assert!(
            course(&edge)
                .iter()
                .all(|quality| *quality == ConnectionQuality::Excellent)
        );
        let from_below = [3.5, 4.05, 3.95, 4.1, 3.9, 4.1];
        assert!(
            course(&from_below)
                .iter()
                .all(|quality| *quality == ConnectionQuality::Good)
        );
    }

    #[test]
    fn the_worse_transport_counts_while_its_score_is_fresh() {
        let mut state = ConnectionState::default();
        let at = Time::from_millis(1_000);
        state.of(TransportRole::Publisher).scored = Some((at, 4.5));
        state.of(TransportRole::Subscriber).scored = Some((at, 2.0));
        state.look(at);
        assert_eq!(state.quality(), ConnectionQuality::Poor);
        for _ in 0..4 {
            state.look(at + FRESH + Duration::from_secs(1));
        }
        assert_eq!(state.quality(), ConnectionQuality::Excellent);
    }
}
