//! What was found: one finding a check, for people and for programs.
//!
//! The JSON form is documented in `docs/doctor.md`; names of checks and severities don't change within a schema number.

use std::fmt::Write;

use serde::Serialize;

/// Number of the JSON form. A new field keeps it, a changed meaning raises it.
const SCHEMA: u32 = 1;

/// How bad it is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// As it should be.
    Ok,
    /// Not looked at; the text says what is missing for that.
    Skipped,
    /// Works, but worse than it could, or not for long.
    Warning,
    /// Calls fail because of it.
    Error,
}

impl Severity {
    /// Words of equal width, so that nobody needs colours.
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok     ",
            Self::Skipped => "skipped",
            Self::Warning => "WARNING",
            Self::Error => "ERROR  ",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Stable name, e.g. `certificate.expiry`.
    pub(crate) check: &'static str,
    pub(crate) severity: Severity,
    /// What was measured, in a sentence.
    pub(crate) measured: String,
    /// What to do, in plain words; nothing to do is `null`.
    pub(crate) remedy: Option<String>,
}

/// Everything that was looked at, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn ok(&mut self, check: &'static str, measured: impl Into<String>) {
        self.add(check, Severity::Ok, measured.into(), None);
    }

    pub(crate) fn skipped(&mut self, check: &'static str, measured: impl Into<String>) {
        self.add(check, Severity::Skipped, measured.into(), None);
    }

    pub(crate) fn warning(
        &mut self,
        check: &'static str,
        measured: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into());
        self.add(check, Severity::Warning, measured.into(), remedy);
    }

    pub(crate) fn error(
        &mut self,
        check: &'static str,
        measured: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into());
        self.add(check, Severity::Error, measured.into(), remedy);
    }

    pub(crate) fn add(
        &mut self,
        check: &'static str,
        severity: Severity,
        measured: String,
        remedy: Option<String>,
    ) {
        self.findings.push(Finding {
            check,
            severity,
            measured,
            remedy,
        });
    }

    /// Takes over what another report found.
    pub(crate) fn extend(&mut self, other: Self) {
        self.findings.extend(other.findings);
    }

    /// The worst severity; skipped checks are no blemish.
    pub(crate) fn result(&self) -> Severity {
        let worst = self.findings.iter().map(|finding| finding.severity).max();
        match worst {
            Some(Severity::Warning) => Severity::Warning,
            Some(Severity::Error) => Severity::Error,
            Some(Severity::Ok | Severity::Skipped) | None => Severity::Ok,
        }
    }

    #[cfg(test)]
    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// For a terminal, a mail or a ticket.
    pub(crate) fn text(&self) -> String {
        let widest = self.findings.iter().map(|f| f.check.len()).max();
        let widest = widest.unwrap_or(0);
        let mut out = String::new();
        for finding in &self.findings {
            let (word, check) = (finding.severity.word(), finding.check);
            // Writing to a string can't fail.
            let _ = writeln!(out, "{word}  {check:widest$}  {}", finding.measured);
            if let Some(remedy) = &finding.remedy {
                let indent = " ".repeat(word.len() + 2 + widest + 2);
                let _ = writeln!(out, "{indent}To do: {remedy}");
            }
        }
        let count = |severity| {
            let of = self.findings.iter().filter(|f| f.severity == severity);
            of.count()
        };
        let _ = write!(
            out,
            "\n{} error(s), {} warning(s), {} skipped, {} ok",
            count(Severity::Error),
            count(Severity::Warning),
            count(Severity::Skipped),
            count(Severity::Ok)
        );
        out
    }

    /// For programs. `target` is the address that was looked at from a client's side, if any.
    pub(crate) fn json(&self, target: Option<&str>) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            schema: u32,
            version: &'static str,
            target: Option<&'a str>,
            result: Severity,
            findings: &'a [Finding],
        }
        let document = Document {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            target,
            result: self.result(),
            findings: &self.findings,
        };
        serde_json::to_string_pretty(&document).expect("text and numbers are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.ok("dns", "one address");
        report.skipped("media.udp", "needs a token");
        report.warning("tls.version", "TLS 1.2", "Update it.");
        report
    }

    #[test]
    fn the_worst_finding_is_the_result_and_skipped_is_none() {
        let mut report = report();
        assert_eq!(report.result(), Severity::Warning);
        report.error("clock", "an hour", "Set it.");
        assert_eq!(report.result(), Severity::Error);
        let mut skipped = Report::default();
        skipped.skipped("x", "y");
        assert_eq!(skipped.result(), Severity::Ok);
    }

    #[test]
    fn every_severity_is_a_word_and_every_remedy_stands_below() {
        let text = report().text();
        assert!(text.contains("WARNING  tls.version  TLS 1.2\n"), "{text}");
        assert!(
            text.contains("\n                      To do: Update it."),
            "{text}"
        );
        assert!(
            text.ends_with("0 error(s), 1 warning(s), 1 skipped, 1 ok"),
            "{text}"
        );
    }

    #[test]
    fn the_json_form_is_the_documented_one() {
        let json: serde_json::Value =
            serde_json::from_str(&report().json(Some("https://x"))).unwrap();
        assert_eq!(json["schema"], 1);
        assert_eq!(json["target"], "https://x");
        assert_eq!(json["result"], "warning");
        assert_eq!(
            json["findings"][2],
            serde_json::json!({"check": "tls.version", "severity": "warning", "measured": "TLS 1.2", "remedy": "Update it."})
        );
        assert_eq!(json["findings"][0]["remedy"], serde_json::Value::Null);
    }
}
