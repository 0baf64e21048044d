//! When a certificate is to be renewed: at a moment in the window that its authority suggests (ACME Renewal Information, RFC 9773),
//! and without one by its age.
//!
//! Owns how often the authority is asked, and what an answer is worth. Asks nobody itself. All moments are Unix time in seconds.

/// Without a suggestion a certificate is renewed when less than a third of its time is left: 30 days of 90.
const LEFT: i64 = 3;
/// A suggestion of a later moment than this is not followed: when a tenth of its time is left. What the authority says of weeks that
/// are gone with the certificate leaves the site without any.
const LEFT_AT_LEAST: i64 = 10;
/// Bounds of what an authority may say of the next time to ask it (RFC 9773 §4.3.2).
const SOONEST: i64 = 60;
const LATEST: i64 = 86_400;
/// Between two requests that fail; doubled each time, up to where RFC 9773 §4.3.3 sees failure for longer.
const FIRST_RETRY: i64 = 60;
const LAST_RETRY: i64 = 6 * 3_600;
/// A certificate that was just got is not replaced before, whatever the authority suggests: one that says of each new one that it is
/// late would have us order without end.
const HOLD: i64 = 6 * 3_600;

/// A suggested window (RFC 9773 §4.2): not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    start: i64,
    end: i64,
}

impl Window {
    /// `None` if it ends before it begins, which counts as no answer.
    pub(super) fn new(start: i64, end: i64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// The moment of the window at a share of it, of 2³².
    fn at(self, share: u32) -> i64 {
        let length = i128::from(self.end) - i128::from(self.start);
        let into = (length * i128::from(share)) >> 32;
        i64::try_from(i128::from(self.start) + into).unwrap_or(self.end)
    }
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A window, and in how many seconds to ask again.
    Window(Window, i64),
    /// This authority, or this certificate, knows nothing of it.
    Unsupported,
    /// No answer, or none that can be read.
    Failed,
}

/// What the authority said of one certificate, and when to ask it again.
#[derive(Debug, Default)]
pub(super) struct Suggestion {
    /// The certificate it is about.
    certificate: Option<String>,
    /// The window with the moment that was drawn from it.
    chosen: Option<(Window, i64)>,
    ask_at: i64,
    retry: i64,
    /// Before that it is not followed.
    held_until: i64,
}

impl Suggestion {
    /// Whether the authority is to be asked now of this certificate.
    pub(super) fn is_due(&self, certificate: &str, now: i64) -> bool {
        self.certificate.as_deref() != Some(certificate) || now >= self.ask_at
    }

    /// When it is to be asked again.
    pub(super) fn ask_at(&self) -> i64 {
        self.ask_at
    }

    /// Takes what came of asking about `certificate`. `share` of 2³² is drawn evenly, so that certificates of one hour are not renewed
    /// in one hour; the moment stays as long as the window does. Returns whether the moment is another than before.
    pub(super) fn on_answer(
        &mut self,
        certificate: &str,
        now: i64,
        answer: Answer,
        share: u32,
    ) -> bool {
        if self.certificate.as_deref() != Some(certificate) {
            let held_until = match self.certificate {
                Some(_) => now.saturating_add(HOLD),
                // From before this process.
                None => i64::MIN,
            };
            *self = Self {
                certificate: Some(certificate.to_owned()),
                held_until,
                ..Self::default()
            };
        }
        match answer {
            Answer::Window(window, again) => {
                self.retry = 0;
                self.ask_at = now.saturating_add(again.clamp(SOONEST, LATEST));
                let is_new = self.chosen.is_none_or(|(before, _)| before != window);
                if is_new {
                    self.chosen = Some((window, window.at(share)));
                }
                is_new
            }
            Answer::Unsupported => {
                self.ask_at = now.saturating_add(LATEST);
                self.chosen.take().is_some()
            }
            Answer::Failed => {
                self.retry = (2 * self.retry).clamp(FIRST_RETRY, LAST_RETRY);
                self.ask_at = now.saturating_add(self.retry);
                false
            }
        }
    }

    /// When a certificate of this validity is to be renewed.
    pub(super) fn renew_at(&self, certificate: Option<&str>, begins: i64, ends: i64) -> i64 {
        let lifetime = ends.saturating_sub(begins);
        let chosen = self
            .chosen
            .filter(|_| certificate.is_some() && self.certificate.as_deref() == certificate);
        match chosen {
            // Without a suggestion nothing would be held, so nothing of age is.
            Some((_, at)) => at
                .max(self.held_until.min(ends - lifetime / LEFT))
                .min(ends - lifetime / LEFT_AT_LEAST),
            None => ends - lifetime / LEFT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const BEGINS: i64 = 1_000 * DAY;
    const ENDS: i64 = BEGINS + 90 * DAY;
    const HALF: u32 = 1 << 31;

    fn renew_at(suggestion: &Suggestion) -> i64 {
        suggestion.renew_at(Some("a"), BEGINS, ENDS)
    }

    fn window(start: i64, end: i64) -> Answer {
        Answer::Window(Window::new(start, end).unwrap(), 3_600)
    }

    #[test]
    fn without_a_suggestion_a_third_of_the_time_is_left() {
        let mut suggestion = Suggestion::default();
        assert_eq!(renew_at(&suggestion), BEGINS + 60 * DAY);
        assert!(suggestion.is_due("a", BEGINS));
        suggestion.on_answer("a", BEGINS, Answer::Unsupported, 0);
        assert_eq!(renew_at(&suggestion), BEGINS + 60 * DAY);
        assert!(!suggestion.is_due("a", BEGINS + DAY - 1));
        assert!(suggestion.is_due("a", BEGINS + DAY));
    }

    #[test]
    fn a_window_says_when_and_keeps_its_moment_while_it_stays() {
        let mut suggestion = Suggestion::default();
        let (start, end) = (BEGINS + 40 * DAY, BEGINS + 42 * DAY);
        assert!(suggestion.on_answer("a", BEGINS, window(start, end), HALF));
        assert_eq!(renew_at(&suggestion), start + DAY);
        // The same again: nothing is drawn anew.
        assert!(!suggestion.on_answer("a", BEGINS, window(start, end), 0));
        assert_eq!(renew_at(&suggestion), start + DAY);
        // An authority that has to revoke: at once.
        assert!(suggestion.on_answer("a", BEGINS, window(BEGINS - DAY, BEGINS), u32::MAX));
        assert!(renew_at(&suggestion) < BEGINS);
        // Of another certificate it says nothing.
        assert_eq!(
            suggestion.renew_at(Some("b"), BEGINS, ENDS),
            BEGINS + 60 * DAY
        );
        assert_eq!(suggestion.renew_at(None, BEGINS, ENDS), BEGINS + 60 * DAY);
        assert!(suggestion.is_due("b", BEGINS));
    }

    #[test]
    fn a_window_that_is_too_late_is_not_waited_for() {
        let mut suggestion = Suggestion::default();
        suggestion.on_answer("a", BEGINS, window(ENDS + DAY, ENDS + 2 * DAY), 0);
        assert_eq!(renew_at(&suggestion), ENDS - 9 * DAY);
        suggestion.on_answer("a", BEGINS, window(i64::MIN, i64::MAX), u32::MAX);
        assert_eq!(renew_at(&suggestion), ENDS - 9 * DAY);
    }

    #[test]
    fn a_new_certificate_is_kept_for_six_hours_whatever_is_suggested() {
        let mut suggestion = Suggestion::default();
        let past = || window(BEGINS - 2, BEGINS - 1);
        suggestion.on_answer("a", BEGINS, past(), 0);
        assert_eq!(renew_at(&suggestion), BEGINS - 2);
        suggestion.on_answer("b", BEGINS, past(), 0);
        let at = |suggestion: &Suggestion, ends| suggestion.renew_at(Some("b"), BEGINS, ends);
        assert_eq!(at(&suggestion, ENDS), BEGINS + 6 * 3_600);
        // One that lives for less than that goes by its age.
        assert_eq!(at(&suggestion, BEGINS + 9), BEGINS + 6);
        // A later answer does not hold it for longer.
        suggestion.on_answer("b", BEGINS + 3_600, past(), 0);
        assert_eq!(at(&suggestion, ENDS), BEGINS + 6 * 3_600);
    }

    #[test]
    fn an_empty_window_is_none() {
        assert_eq!(Window::new(5, 5), None);
        assert_eq!(Window::new(6, 5), None);
        assert!(Window::new(5, 6).is_some());
    }

    #[test]
    fn what_the_authority_says_of_asking_again_is_kept_within_a_minute_and_a_day() {
        for (said, kept) in [
            (0, 60),
            (59, 60),
            (60, 60),
            (61, 61),
            (DAY - 1, DAY - 1),
            (DAY, DAY),
            (DAY + 1, DAY),
            (i64::MAX, DAY),
        ] {
            let mut suggestion = Suggestion::default();
            let window = Window::new(ENDS - 2, ENDS - 1).unwrap();
            suggestion.on_answer("a", BEGINS, Answer::Window(window, said), 0);
            assert_eq!(suggestion.ask_at(), BEGINS + kept, "{said}");
        }
    }

    #[test]
    fn failures_are_repeated_ever_more_seldom_and_change_nothing() {
        let mut suggestion = Suggestion::default();
        let (start, end) = (BEGINS + 40 * DAY, BEGINS + 42 * DAY);
        suggestion.on_answer("a", BEGINS, window(start, end), 0);
        let mut waits = Vec::new();
        for _ in 0..11 {
            assert!(!suggestion.on_answer("a", BEGINS, Answer::Failed, 0));
            waits.push(suggestion.ask_at() - BEGINS);
        }
        assert_eq!(waits[..3], [60, 120, 240]);
        assert_eq!(waits[8..], [15_360, 21_600, 21_600]);
        assert_eq!(renew_at(&suggestion), start);
        // An answer in between begins anew.
        suggestion.on_answer("a", BEGINS, window(start, end), 0);
        suggestion.on_answer("a", BEGINS, Answer::Failed, 0);
        assert_eq!(suggestion.ask_at() - BEGINS, 60);
    }
}
