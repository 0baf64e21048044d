//! What a room has to do at a time, in order. Whoever armed a timer judges, when it fires, whether it still counts.

use schalter_model::{Time, TrackId};

use super::Room;
use super::participant::ParticipantKey;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Empty,
    Presence,
    RoomUpdate,
    Speakers,
    Join(ParticipantKey),
    Answer(ParticipantKey),
    Requirement(ParticipantKey),
    Data(ParticipantKey),
    Refresh(ParticipantKey),
    Remove(ParticipantKey),
    QualityDown(TrackId),
    Connections,
}

impl Room {
    pub(super) fn arm(&mut self, at: Time, timer: Timer) {
        self.timers.insert((at, timer));
    }

    pub(super) fn fire_timers(&mut self) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > self.now {
                return;
            }
            self.timers.pop_first();
            match timer {
                Timer::Empty => self.on_empty_timer(),
                Timer::Presence => self.flush_presence(),
                Timer::RoomUpdate => self.on_room_update_timer(),
                Timer::Speakers => self.on_speaker_timer(),
                Timer::Join(key) => self.on_join_timer(key),
                Timer::Answer(key) => self.on_answer_timer(key, at),
                Timer::Requirement(key) => self.on_requirement_timer(key, at),
                Timer::Data(key) => self.on_data_timer(key),
                Timer::Refresh(key) => self.on_refresh_timer(key, at),
                Timer::Remove(key) => self.on_remove_timer(key, at),
                Timer::QualityDown(track) => self.on_quality_timer(track, at),
                Timer::Connections => self.on_connections_timer(at),
            }
        }
    }
}
