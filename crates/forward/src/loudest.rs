//! In a big room only the loudest speakers are forwarded, by the levels that publishers write into their packets
//! (RFC 6464). Forty open microphones are a noise that nobody understands, and forty streams for every listener.
//!
//! Owns who is heard of a room. Nobody is cut within a word: who spoke lately keeps its place, and a newcomer takes that of
//! who has been quiet longest, within two packets. A track without levels is not judged and always forwarded. Refuses
//! to look into the sound itself.
//!
//! Each shard decides for its own listeners over the tracks that it has: its publishers', and copies of those that somebody
//! on it subscribes to. Copies travel between shards whether or not they are heard, because the other shard needs
//! their levels; they cross once, so that fan-out is what is saved. Two shards see the same levels a moment apart, and may
//! differ for that moment, or where their listeners chose different tracks.

use std::time::Duration;

use schalter_model::{MediaKind, RoomId, Time};

use crate::config::ProducerConfig;
use crate::router::Router;

/// Who is heard in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoudestConfig {
    /// How many speakers are heard at once; 0: all.
    pub most: usize,
    /// Rooms with fewer audio tracks than this forward all of them.
    pub from: usize,
}

impl Default for LoudestConfig {
    /// The six loudest of twenty or more: more people at once understand nothing, and below twenty a room's noise is
    /// bearable.
    fn default() -> Self {
        Self { most: 6, from: 20 }
    }
}

/// Decibels above silence (127 below full scale) that speech has, −50 dBov; below is a room's noise.
const SPEECH: u32 = 77;
/// One packet this loud, −40 dBov, is enough; softer speech takes two, because a click is one.
const SURE: u32 = 87;
/// Packets of speech after which a softer speaker is one.
const RUN: u8 = 2;
/// Who spoke within this time keeps its place: pauses between sentences are shorter.
const HOLD: Duration = Duration::from_millis(1_500);
/// Longer than between two syllables: here a place may change to somebody louder.
const PAUSE: Duration = Duration::from_millis(300);
/// So many decibels louder, a newcomer doesn't wait for the hold ...
const LOUDER: u32 = 6;
/// ... and so many, for nothing: what it takes the place of is drowned anyway.
const DROWNS: u32 = 12;
/// Peaks fall by this much a second, in decibels: who is as loud as another was waits for most of the hold.
const RELEASE: u64 = 6;
/// Decibels from silence to the loudest.
const RANGE: u32 = 127;
/// Fixed-point scale of peaks.
const SCALE: u32 = 256;

/// How loud a track is and was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Voice {
    /// Decibels above silence, times [`SCALE`], as of `at`.
    peak: u32,
    at: Option<Time>,
    spoke: Option<Time>,
    /// Packets of speech in a row.
    run: u8,
    sure: bool,
}

impl Voice {
    fn observe(&mut self, now: Time, loudness: u32) {
        self.peak = self.peak(now).max(loudness * SCALE);
        self.at = Some(now);
        self.sure = loudness >= SURE;
        if loudness >= SPEECH {
            self.spoke = Some(now);
            self.run = self.run.saturating_add(1);
        } else {
            self.run = 0;
        }
    }

    fn peak(&self, now: Time) -> u32 {
        let Some(at) = self.at else {
            return 0;
        };
        let millis = u64::try_from((now - at).as_millis()).unwrap_or(u64::MAX);
        let fallen = millis.saturating_mul(RELEASE * u64::from(SCALE)) / 1_000;
        self.peak
            .saturating_sub(u32::try_from(fallen).unwrap_or(u32::MAX))
    }

    /// How long it has said nothing.
    fn idle(&self, now: Time) -> Duration {
        self.spoke.map_or(Duration::MAX, |spoke| now - spoke)
    }

    fn speaks(&self) -> bool {
        self.sure || self.run >= RUN
    }

    fn is_louder(&self, now: Time, other: &Self, by: u32) -> bool {
        self.peak(now) >= other.peak(now) + by * SCALE
    }
}

/// What becomes of a member's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Heard,
    /// It is heard from now on, in place of another.
    Enters {
        leaves: Option<u32>,
    },
    Withheld,
}

/// One room.
#[derive(Debug)]
pub(crate) struct Stage {
    members: usize,
    heard: Vec<(u32, Voice)>,
}

impl Stage {
    fn new(config: &LoudestConfig) -> Self {
        Self {
            members: 0,
            heard: Vec::with_capacity(config.most),
        }
    }

    fn is_big(&self, config: &LoudestConfig) -> bool {
        config.most > 0 && self.members >= config.from
    }

    /// Takes a packet's level in −dBov, 0 to 127; `voice` is the member's.
    fn on_packet(
        &mut self,
        config: &LoudestConfig,
        now: Time,
        member: u32,
        voice: &mut Voice,
        level: Option<u8>,
    ) -> Turn {
        if let Some(level) = level {
            voice.observe(now, RANGE - u32::from(level).min(RANGE));
        }
        if !self.is_big(config) || voice.at.is_none() {
            return Turn::Heard;
        }
        if let Some((_, heard)) = self.heard.iter_mut().find(|(of, _)| *of == member) {
            *heard = *voice;
            return Turn::Heard;
        }
        if self.heard.len() < config.most {
            self.heard.push((member, *voice));
            return Turn::Enters { leaves: None };
        }
        let Some(place) = voice
            .speaks()
            .then(|| self.place_for(now, voice))
            .flatten()
            .and_then(|place| self.heard.get_mut(place))
        else {
            return Turn::Withheld;
        };
        let (leaves, _) = std::mem::replace(place, (member, *voice));
        Turn::Enters {
            leaves: Some(leaves),
        }
    }

    /// Whose place somebody who speaks may take.
    fn place_for(&self, now: Time, voice: &Voice) -> Option<usize> {
        let all = || self.heard.iter().map(|(_, heard)| heard).enumerate();
        let (quiet, longest) = all().max_by_key(|(_, heard)| heard.idle(now))?;
        let idle = longest.idle(now);
        if idle >= HOLD || idle >= PAUSE && voice.is_louder(now, longest, LOUDER) {
            return Some(quiet);
        }
        let (soft, softest) = all().min_by_key(|(_, heard)| heard.peak(now))?;
        voice.is_louder(now, softest, DROWNS).then_some(soft)
    }

    fn forget(&mut self, member: u32) {
        self.heard.retain(|(of, _)| *of != member);
    }
}

/// The room in which a track competes; `None` if it is always forwarded.
pub(crate) fn competes_in(config: &ProducerConfig) -> Option<RoomId> {
    let judged = config.kind == MediaKind::Audio
        && config.extensions.audio_level.is_some()
        && config.encodings.len() == 1;
    config.room.filter(|_| judged)
}

impl Router {
    /// Puts a track into its room, or another one than before.
    pub(crate) fn enter_room(&mut self, now: Time, index: u32) {
        let Some(producer) = self.producers.of_mut(index) else {
            return;
        };
        let room = competes_in(&producer.config);
        if producer.competes == room {
            return;
        }
        self.leave_room(index);
        let (Some(room), Some(producer)) = (room, self.producers.of_mut(index)) else {
            return;
        };
        producer.competes = Some(room);
        let config = self.config.loudest;
        let stage = self.stages.entry(room);
        let stage = stage.or_insert_with(|| Stage::new(&config));
        stage.members += 1;
        if stage.members != config.from {
            return;
        }
        // The room became big: who was loudest until now goes on without a break.
        let members = self.producers.iter();
        let mut loudest: Vec<_> = members
            .filter(|(_, producer)| producer.competes == Some(room))
            .filter(|(_, producer)| !producer.muted && producer.voice.at.is_some())
            .map(|(index, producer)| (index, producer.voice))
            .collect();
        loudest.sort_by_key(|(index, voice)| (std::cmp::Reverse(voice.peak(now)), *index));
        loudest.truncate(config.most);
        stage.heard.clear();
        stage.heard.extend(loudest);
    }

    /// Takes a track out of its room: everything of it is forwarded.
    pub(crate) fn leave_room(&mut self, index: u32) {
        let Some(producer) = self.producers.of_mut(index) else {
            return;
        };
        producer.withheld_from = None;
        let Some(room) = producer.competes.take() else {
            return;
        };
        if let Some(stage) = self.stages.get_mut(&room) {
            stage.members -= 1;
            stage.forget(index);
            if stage.members == 0 {
                self.stages.remove(&room);
            } else if !stage.is_big(&self.config.loudest) {
                stage.heard.clear();
            }
        }
    }

    /// A muted track needs no place.
    pub(crate) fn yield_place(&mut self, index: u32) {
        let room = self.producers.of(index).and_then(|p| p.competes);
        if let Some(stage) = room.and_then(|room| self.stages.get_mut(&room)) {
            stage.forget(index);
        }
    }

    /// A packet with number `seq` came of a track, with this level where it has one: decides whether it is forwarded.
    #[inline]
    pub(crate) fn on_voice(&mut self, now: Time, index: u32, seq: u64, level: Option<u8>) {
        let Some(producer) = self.producers.of_mut(index) else {
            return;
        };
        let Some(stage) = producer
            .competes
            .and_then(|room| self.stages.get_mut(&room))
        else {
            return;
        };
        let config = &self.config.loudest;
        match stage.on_packet(config, now, index, &mut producer.voice, level) {
            Turn::Heard => producer.withheld_from = None,
            Turn::Enters { leaves } => {
                producer.withheld_from = None;
                if let Some(leaves) = leaves {
                    self.withhold(leaves, None);
                }
            }
            Turn::Withheld if producer.withheld_from.is_none() => self.withhold(index, Some(seq)),
            Turn::Withheld => {}
        }
    }

    /// Forwards nothing of a track from its newest packet on, if that has the number `own`, else from the one after it.
    /// What was on its way before keeps its place.
    fn withhold(&mut self, index: u32, own: Option<u64>) {
        let Some(producer) = self.producers.of_mut(index) else {
            return;
        };
        let slot = producer.slots.first();
        let highest = slot.and_then(|slot| self.encodings.of(*slot));
        let highest = highest.map_or(0, |encoding| encoding.highest);
        let from = own.filter(|own| *own == highest).unwrap_or(highest + 1);
        producer.withheld_from = Some(from);
        for consumer in &producer.consumers {
            if let Some(consumer) = self.consumers.of_mut(*consumer) {
                // What comes later goes on with the next number: nothing looks lost.
                consumer.rewriter.close();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: LoudestConfig = LoudestConfig { most: 2, from: 3 };

    struct Room {
        stage: Stage,
        voices: Vec<Voice>,
        now: Time,
    }

    impl Room {
        fn new(members: usize) -> Self {
            let mut stage = Stage::new(&CONFIG);
            stage.members = members;
            Self {
                stage,
                voices: vec![Voice::default(); members],
                now: Time::from_millis(1_000),
            }
        }

        /// One packet each of members with these levels, then 20 ms.
        fn say(&mut self, levels: &[(u32, u8)]) -> Vec<Turn> {
            let turns = levels.iter().map(|(member, dbov)| {
                let voice = &mut self.voices[*member as usize];
                let stage = &mut self.stage;
                stage.on_packet(&CONFIG, self.now, *member, voice, Some(*dbov))
            });
            let turns = turns.collect();
            self.now += Duration::from_millis(20);
            turns
        }

        fn go_on(&mut self, millis: u64, levels: &[(u32, u8)]) -> Vec<Turn> {
            (0..millis / 20).flat_map(|_| self.say(levels)).collect()
        }

        fn heard(&self) -> Vec<u32> {
            let mut heard: Vec<_> = self.stage.heard.iter().map(|(of, _)| *of).collect();
            heard.sort_unstable();
            heard
        }
    }

    #[test]
    fn a_small_room_hears_everybody() {
        let mut room = Room::new(2);
        let turns = room.go_on(1_000, &[(0, 20), (1, 90)]);
        assert!(turns.iter().all(|turn| *turn == Turn::Heard));
    }

    #[test]
    fn a_loud_newcomer_enters_with_its_first_packet_in_place_of_who_is_quiet() {
        let mut room = Room::new(3);
        room.go_on(2_000, &[(0, 25), (1, 100), (2, 100)]);
        assert_eq!(room.heard(), [0, 1]);
        let turns = room.say(&[(0, 25), (1, 100), (2, 30)]);
        assert_eq!(turns[2], Turn::Enters { leaves: Some(1) });
        assert_eq!(room.heard(), [0, 2]);
    }

    #[test]
    fn softer_speech_takes_two_packets_and_a_click_none() {
        let mut room = Room::new(3);
        room.go_on(2_000, &[(0, 25), (1, 100), (2, 100)]);
        let quiet = (0, 25);
        assert_eq!(room.say(&[quiet, (2, 45)])[1], Turn::Withheld);
        room.go_on(100, &[quiet, (2, 100)]);
        assert_eq!(room.say(&[quiet, (2, 45)])[1], Turn::Withheld);
        let second = room.say(&[quiet, (2, 45)])[1];
        assert_eq!(second, Turn::Enters { leaves: Some(1) });
    }

    #[test]
    fn pauses_between_words_keep_the_place_and_a_long_one_loses_it() {
        let mut room = Room::new(3);
        room.go_on(2_000, &[(0, 30), (1, 30), (2, 100)]);
        // Who is as loud has to wait.
        room.go_on(800, &[(0, 30), (1, 90), (2, 30)]);
        assert_eq!(room.heard(), [0, 1]);
        room.go_on(900, &[(0, 30), (1, 90), (2, 30)]);
        assert_eq!(room.heard(), [0, 2]);
    }

    #[test]
    fn no_syllable_is_cut_by_somebody_louder() {
        let mut room = Room::new(3);
        room.go_on(2_000, &[(0, 30), (1, 30), (2, 100)]);
        room.go_on(280, &[(0, 30), (1, 90), (2, 22)]);
        assert_eq!(room.heard(), [0, 1]);
        room.go_on(100, &[(0, 30), (1, 90), (2, 22)]);
        assert_eq!(room.heard(), [0, 2], "a pause, and louder by 8 decibels");
    }

    #[test]
    fn equals_dont_take_turns() {
        let mut room = Room::new(3);
        room.go_on(500, &[(0, 30), (1, 30)]);
        let mut changes = 0;
        for n in 0..500_u32 {
            // Three who talk all the time, each with syllables of its own rhythm.
            let level = |member: u32| (member, if (n + member * 3) % 10 < 7 { 30 } else { 60 });
            let turns = room.say(&[level(0), level(1), level(2)]);
            let enters = |turn: &&Turn| matches!(turn, Turn::Enters { .. });
            changes += turns.iter().filter(enters).count();
        }
        assert_eq!(changes, 0);
    }

    #[test]
    fn noise_all_the_time_gives_way_to_speech() {
        let mut room = Room::new(3);
        room.go_on(2_000, &[(0, 48), (1, 47), (2, 100)]);
        let turns = room.say(&[(0, 48), (1, 47), (2, 28)]);
        assert_eq!(turns[2], Turn::Enters { leaves: Some(0) });
    }

    #[test]
    fn a_track_without_levels_is_not_judged() {
        let mut room = Room::new(3);
        room.go_on(500, &[(0, 30), (1, 30)]);
        let voice = &mut room.voices[2];
        let turn = room.stage.on_packet(&CONFIG, room.now, 2, voice, None);
        assert_eq!(turn, Turn::Heard);
    }
}
