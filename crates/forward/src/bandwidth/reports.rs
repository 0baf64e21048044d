//! An estimate for receivers without transport-wide feedback: theirs (draft-alvestrand-rmcat-remb-03), bounded by what
//! the loss in their reports allows (draft-ietf-rmcat-gcc-02 §6).

use std::time::Duration;

use schalter_model::Time;

/// Loss shares as in [`super::loss`], in 1/256.
const FREE: u8 = 5;
const HEAVY: u8 = 26;
/// Growth a second while loss is free.
const GROWTH: f64 = 0.08;
/// A report older than this does not count as time in which the rate was proven.
const LONGEST: Duration = Duration::from_secs(2);
/// Least time between two reductions, because several blocks of one report tell of the same loss.
const BETWEEN: Duration = Duration::from_millis(300);

/// What receivers themselves say.
#[derive(Debug)]
pub(super) struct Reports {
    remb: Option<f64>,
    by_loss: f64,
    grown: Option<Time>,
    cut: Option<Time>,
}

impl Reports {
    pub(super) fn new(start: f64) -> Self {
        Self {
            remb: None,
            by_loss: start,
            grown: None,
            cut: None,
        }
    }

    pub(super) fn on_remb(&mut self, rate: f64) {
        if self.remb.is_none() {
            self.by_loss = self.by_loss.max(rate);
        }
        self.remb = Some(rate);
    }

    /// Takes a report block's loss; `busy` says that the estimate is being used.
    pub(super) fn on_report(&mut self, now: Time, fraction_lost: u8, busy: bool) {
        let elapsed = self
            .grown
            .map_or(Duration::ZERO, |grown| now - grown)
            .min(LONGEST);
        self.grown = Some(now);
        if fraction_lost >= HEAVY {
            if self.cut.is_none_or(|cut| now - cut >= BETWEEN) {
                self.cut = Some(now);
                self.by_loss = self.estimate() * (1.0 - f64::from(fraction_lost) / 512.0);
            }
        } else if fraction_lost < FREE && busy {
            self.by_loss *= 1.0 + GROWTH * elapsed.as_secs_f64();
        }
    }

    /// Keeps the loss bound within the limits of configuration.
    pub(super) fn clamp(&mut self, min: f64, max: f64) {
        self.by_loss = self.by_loss.clamp(min, max);
    }

    pub(super) fn estimate(&self) -> f64 {
        self.remb
            .map_or(self.by_loss, |remb| remb.min(self.by_loss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receivers_estimate_is_bounded_by_loss() {
        let mut reports = Reports::new(600e3);
        reports.on_remb(2e6);
        assert_eq!(reports.estimate(), 2e6);
        for n in 1..=5 {
            reports.on_report(Time::from_millis(1_000 * n), 64, true);
        }
        let cut = reports.estimate();
        assert!(cut < 1.1e6, "{cut}");
        reports.on_report(Time::from_millis(6_000), 13, true);
        assert_eq!(reports.estimate(), cut);
        for n in 7..=20 {
            reports.on_report(Time::from_millis(1_000 * n), 0, true);
        }
        assert_eq!(reports.estimate(), 2e6);
        reports.on_remb(500e3);
        assert_eq!(reports.estimate(), 500e3);
    }
}
