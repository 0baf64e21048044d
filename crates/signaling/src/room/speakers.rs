//! Who speaks: the media plane's audio levels, gathered and told as changes.

use std::collections::BTreeSet;

use livekit_protocol::{SpeakerInfo, SpeakersChanged, signal_response::Message};
use schalter_model::{Time, TrackId};

use super::participant::ParticipantKey;
use super::{Room, Timer};
use crate::ids::ConnectionId;

/// Levels are told in steps of an eighth: enough for a ring around a picture, and few changes.
pub(super) const LEVEL_STEPS: f32 = 8.0;

/// Changes that wait to be told.
#[derive(Debug, Default)]
pub(super) struct Speakers {
    changed: BTreeSet<ParticipantKey>,
    due: Option<Time>,
    sent: Option<Time>,
}

/// A track's loudness as last reported.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Loudness {
    level: f32,
    active: bool,
    /// What clients were told of it, in steps; 0 is silence.
    told: u8,
}

impl Loudness {
    /// How loud clients were told that it is, in steps.
    pub(super) fn told(self) -> u8 {
        self.told
    }

    fn steps(self) -> u8 {
        if self.active {
            // An active speaker is never told as silent.
            (self.level.clamp(0.0, 1.0) * LEVEL_STEPS).ceil().max(1.0) as u8
        } else {
            0
        }
    }
}

impl Room {
    pub(super) fn on_audio_level(&mut self, track: TrackId, level: f32, active: bool) {
        let Some(track) = self.tracks.get_mut(&track) else {
            return;
        };
        // A level that isn't a number is silence.
        let level = if level.is_finite() { level } else { 0.0 };
        track.loudness.level = level;
        track.loudness.active = active && !track.info.muted;
        let owner = track.owner;
        if track.loudness.steps() != track.loudness.told {
            self.speakers.changed.insert(owner);
            self.schedule_speakers();
        }
    }

    /// As loud as another room's listeners were told.
    pub(super) fn on_loudness(&mut self, track: TrackId, steps: u8) {
        self.on_audio_level(track, f32::from(steps) / LEVEL_STEPS, steps > 0);
    }

    /// Silence, because the track is muted or ends.
    pub(super) fn silence(&mut self, track: TrackId) {
        self.on_audio_level(track, 0.0, false);
    }

    fn schedule_speakers(&mut self) {
        if self.speakers.due.is_some() {
            return;
        }
        let interval = self.config.speaker_interval;
        let at = self
            .speakers
            .sent
            .map_or(self.now, |sent| self.now.max(sent + interval));
        self.speakers.due = Some(at);
        self.arm(at, Timer::Speakers);
    }

    pub(super) fn on_speaker_timer(&mut self) {
        self.end_simulated_speech();
        if self.speakers.due.is_none_or(|due| due > self.now) {
            return;
        }
        self.speakers.due = None;
        self.speakers.sent = Some(self.now);
        self.links.note_change();
        for key in std::mem::take(&mut self.speakers.changed) {
            let Some(participant) = self.participants.get(&key) else {
                continue;
            };
            let mut loudest = 0;
            let mut before = 0;
            let sid = participant.sid.to_string();
            for id in participant.published.clone() {
                if let Some(track) = self.tracks.get_mut(&id) {
                    before = before.max(track.loudness.told);
                    track.loudness.told = track.loudness.steps();
                    loudest = loudest.max(track.loudness.told);
                }
            }
            if loudest != before {
                let to = self.listeners(key);
                self.send_to(to, speaker(sid, loudest));
            }
            self.note_speaking(key, loudest > 0);
        }
    }

    /// The loudest that clients were told of these tracks.
    pub(super) fn told_loudness(&self, tracks: &[TrackId]) -> u8 {
        let tracks = tracks.iter().filter_map(|id| self.tracks.get(id));
        tracks.map(|track| track.loudness.told).max().unwrap_or(0)
    }

    fn note_speaking(&mut self, key: ParticipantKey, speaks: bool) {
        if let Some(participant) = self.participants.get_mut(&key)
            && std::mem::replace(&mut participant.speaks, speaks) != speaks
        {
            self.rank_anew(key);
        }
    }

    /// Tells listeners that a track which ends was the one heard, before its subscriptions are gone.
    pub(super) fn forget_speaker(&mut self, track: TrackId) {
        let Some(ending) = self.tracks.get(&track) else {
            return;
        };
        let owner = ending.owner;
        if ending.loudness.told == 0 {
            return;
        }
        let Some(participant) = self.participants.get(&owner) else {
            return;
        };
        let mut others = participant.published.clone();
        others.retain(|id| *id != track);
        let rest = self.told_loudness(&others);
        if rest < ending.loudness.told {
            let (to, sid) = (self.listeners(owner), participant.sid.to_string());
            self.send_to(to, speaker(sid, rest));
        }
    }

    /// Those who may hear of a speaker: itself and who gets a track of it.
    fn listeners(&self, speaker: ParticipantKey) -> Vec<ConnectionId> {
        let Some(published) = self.participants.get(&speaker).map(|p| &p.published) else {
            return Vec::new();
        };
        self.participants
            .iter()
            .filter(|(key, p)| {
                // Who asked to be told that it speaks is told what is the case when that is over.
                **key == speaker && !p.simulation.speaks()
                    || published.iter().any(|id| p.subscriptions.contains_key(id))
            })
            .filter_map(|(_, p)| p.connection)
            .collect()
    }
}

pub(super) fn speaker(sid: String, steps: u8) -> Message {
    Message::SpeakersChanged(SpeakersChanged {
        speakers: vec![SpeakerInfo {
            sid,
            level: f32::from(steps) / LEVEL_STEPS,
            active: steps > 0,
        }],
    })
}
