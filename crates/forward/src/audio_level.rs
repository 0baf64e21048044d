//! Who speaks, from the levels that publishers write into their packets (RFC 6464).
//!
//! Levels are smoothed in decibels, fast up and slow down; speaking has a threshold for on, a lower one for off,
//! and a hold. Refuses to look into the sound itself.

use std::time::Duration;

use schalter_model::Time;

/// Least time between two events of one track.
const EVENT_INTERVAL: Duration = Duration::from_millis(400);
/// Louder than this (decibels above silence, −40 dBov) somebody speaks.
const ON_ABOVE: u32 = 87;
/// Quieter than this (−50 dBov), and the hold over, nobody does.
const OFF_BELOW: u32 = 77;
/// Pauses between words don't end speech.
const HOLD: Duration = Duration::from_millis(500);
/// Without packets for so long (DTX, mute) a track is silent.
const SILENT_AFTER: Duration = Duration::from_millis(600);
/// Decibels of one coarse step.
const STEP: u32 = 6;
/// Decibels from silence to the loudest.
const RANGE: u32 = 127;
/// Fixed-point scale of the smoothed level.
const SCALE: u32 = 256;

/// A change worth telling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LevelChange {
    /// 0 (silence) to 1 (loudest), linear amplitude.
    pub(crate) level: f32,
    pub(crate) active: bool,
}

/// Meter of one track.
#[derive(Debug, Default)]
pub(crate) struct LevelMeter {
    /// Smoothed decibels above silence, times [`SCALE`].
    smooth: u32,
    active: bool,
    last_loud: Option<Time>,
    last_packet: Option<Time>,
    told: (u32, bool),
    told_at: Option<Time>,
}

impl LevelMeter {
    /// Takes one packet's level in −dBov, 0 to 127.
    pub(crate) fn on_level(&mut self, now: Time, level_dbov: u8) -> Option<LevelChange> {
        let loudness = (RANGE - u32::from(level_dbov.min(127))) * SCALE;
        self.smooth = if loudness > self.smooth {
            self.smooth + (loudness - self.smooth) / 4
        } else {
            self.smooth - (self.smooth - loudness) / 16
        };
        self.last_packet = Some(now);
        self.judge(now)
    }

    /// Notices silence, which sends no packets.
    pub(crate) fn on_tick(&mut self, now: Time) -> Option<LevelChange> {
        if now - self.last_packet? > SILENT_AFTER {
            self.smooth = 0;
        }
        self.judge(now)
    }

    fn judge(&mut self, now: Time) -> Option<LevelChange> {
        let decibels = self.smooth / SCALE;
        if decibels >= ON_ABOVE {
            self.active = true;
        }
        if decibels >= OFF_BELOW {
            self.last_loud = Some(now);
        } else if self.last_loud.is_none_or(|last| now - last > HOLD) {
            self.active = false;
        }
        let state = (decibels / STEP, self.active);
        // While nobody speaks, steps of the noise floor interest nobody.
        let changed = state.1 != self.told.1 || (state.1 && state.0 != self.told.0);
        if !changed || self.told_at.is_some_and(|told| now - told < EVENT_INTERVAL) {
            return None;
        }
        self.told = state;
        self.told_at = Some(now);
        let level = if self.active {
            10_f32.powf((decibels as f32 - RANGE as f32) / 20.0)
        } else {
            0.0
        };
        Some(LevelChange {
            level,
            active: self.active,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(meter: &mut LevelMeter, from: u64, to: u64, dbov: u8) -> Vec<LevelChange> {
        (from..to)
            .step_by(20)
            .filter_map(|at| meter.on_level(Time::from_millis(at), dbov))
            .collect()
    }

    #[test]
    fn speech_starts_quickly_and_ends_after_the_hold() {
        let mut meter = LevelMeter::default();
        assert_eq!(run(&mut meter, 0, 1_000, 90), []);
        let started = run(&mut meter, 1_000, 1_400, 25);
        assert_eq!(started.len(), 1);
        assert!(started[0].active && started[0].level > 0.0);
        // A pause of 300 ms is no end.
        assert!(
            run(&mut meter, 1_400, 1_700, 90)
                .iter()
                .all(|change| change.active)
        );
        let ended = run(&mut meter, 1_700, 4_000, 90);
        assert!(
            ended
                .iter()
                .any(|change| !change.active && change.level == 0.0)
        );
    }

    #[test]
    fn events_keep_their_distance() {
        let mut meter = LevelMeter::default();
        let events: usize = (0..100)
            .map(|n| {
                run(
                    &mut meter,
                    n * 100,
                    n * 100 + 100,
                    if n % 2 == 0 { 0 } else { 60 },
                )
                .len()
            })
            .sum();
        assert!(events <= 10_000 / 400 + 1, "{events}");
    }

    #[test]
    fn a_track_that_stops_sending_falls_silent() {
        let mut meter = LevelMeter::default();
        run(&mut meter, 0, 1_000, 10);
        let mut changes = Vec::new();
        for at in (1_000..4_000).step_by(100) {
            changes.extend(meter.on_tick(Time::from_millis(at)));
        }
        assert_eq!(changes.last().map(|change| change.active), Some(false));
    }
}
