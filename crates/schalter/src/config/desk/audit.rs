//! `desk.audit`: the log that proves what happened.

use std::path::{Path, PathBuf};

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use schalter_audit::note::{NoteError, SigningKey};
use schalter_desk::ledger::{LedgerRules, Period};

use crate::config::document::{Complaint, Value};

/// Days that an epoch is kept after its end: as long as the regular time until claims lapse.
const KEEP_DAYS: u32 = 3 * 366;
/// A century.
const MOST_KEEP_DAYS: i64 = 36_600;
/// Bytes of the log's name.
const MAX_NAME: usize = 200;

/// Where the log is and what it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audit {
    /// Its folder; beside the database without one.
    pub(crate) folder: Option<PathBuf>,
    /// What checkpoints begin with; from where the pages are, once and for all, without one.
    pub(crate) name: Option<String>,
    /// File with what signs; generated in the folder without one.
    pub(crate) key_file: Option<PathBuf>,
    /// Epochs.
    pub(crate) rules: LedgerRules,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            folder: None,
            name: None,
            key_file: None,
            rules: LedgerRules {
                period: Period::Month,
                keep_days: KEEP_DAYS,
            },
        }
    }
}

/// Reads what signs out of a file: PKCS #8 of Ed25519 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
///
/// # Errors
/// What is wrong with the file, or with the name. Nothing of what is in it.
pub(crate) fn signing_key(name: &str, file: &Path) -> Result<SigningKey, String> {
    let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(&pem)
        .map_err(|_| format!("{}: {}", file.display(), NoteError::SigningKey))?;
    SigningKey::from_pkcs8(name, der.secret_pkcs8_der()).map_err(|error| error.to_string())
}

pub(super) fn read(value: &Value<'_>) -> Result<Option<Audit>, Complaint> {
    if value.is_text() {
        let off = |text: &str| (text == "off").then_some(None);
        return value.read("off, or a group", off);
    }
    let mut audit = Audit::default();
    let mut group = value.group()?;
    group.take("folder", &mut audit.folder, |v| Ok(Some(v.text()?.into())))?;
    group.take("name", &mut audit.name, |v| {
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        v.read(
            "a name without spaces and +, such as termin.example.org",
            |text| {
                let fits = (1..=MAX_NAME).contains(&text.len()) && !text.contains(odd);
                fits.then(|| Some(text.to_owned()))
            },
        )
    })?;
    group.take("key_file", &mut audit.key_file, |v| {
        let path = PathBuf::from(v.text()?);
        match signing_key("x", &path) {
            Ok(_) => Ok(Some(path)),
            Err(error) => v.complain(error),
        }
    })?;
    group.take("epoch", &mut audit.rules.period, |v| {
        v.read("day, month or year", |text| match text {
            "day" => Some(Period::Day),
            "month" => Some(Period::Month),
            "year" => Some(Period::Year),
            _ => None,
        })
    })?;
    group.take("keep_days", &mut audit.rules.keep_days, |v| {
        v.number(1..=MOST_KEEP_DAYS)
    })?;
    group.finish(|_| None)?;
    Ok(Some(audit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(audit: &str) -> Result<Option<Audit>, String> {
        let yaml = format!("desk:\n  audit: {audit}\n  authorities: [{{id: ulm, name: Ulm}}]\n");
        let config = Config::parse("x", &yaml).map_err(|error| error.to_string())?;
        Ok(config.desk.expect("it is there").audit)
    }

    #[test]
    fn there_is_a_log_unless_it_is_off() {
        let yaml = "desk: {authorities: [{id: ulm, name: Ulm}]}\n";
        let config = Config::parse("x", yaml).expect("it is right");
        assert_eq!(
            config.desk.expect("it is there").audit,
            Some(Audit::default())
        );
        assert_eq!(read("off"), Ok(None));
        let audit =
            read("{folder: /srv/log, name: termin.example.org/a, epoch: year, keep_days: 36600}");
        let audit = audit.expect("it is right").expect("it is on");
        assert_eq!(audit.folder, Some(PathBuf::from("/srv/log")));
        assert_eq!(audit.name.as_deref(), Some("termin.example.org/a"));
        assert_eq!(
            audit.rules,
            LedgerRules {
                period: Period::Year,
                keep_days: 36_600
            }
        );
        let long = "x".repeat(MAX_NAME);
        assert!(read(&format!("{{name: {long}}}")).is_ok());
    }

    #[test]
    fn what_can_not_be_is_said_with_its_key() {
        let long = format!("{{name: {}}}", "x".repeat(MAX_NAME + 1));
        for (audit, key, words) in [
            ("on", "desk.audit", "off, or a group"),
            ("{name: a b}", "desk.audit.name", "without spaces"),
            ("{name: a+b}", "desk.audit.name", "without spaces"),
            ("{name: ''}", "desk.audit.name", "without spaces"),
            (&long, "desk.audit.name", "without spaces"),
            ("{epoch: week}", "desk.audit.epoch", "day, month or year"),
            ("{keep_days: 0}", "desk.audit.keep_days", "1"),
            ("{keep_days: 36601}", "desk.audit.keep_days", "36600"),
            (
                "{key_file: /nonexistent}",
                "desk.audit.key_file",
                "/nonexistent",
            ),
            ("{key_file: /dev/null}", "desk.audit.key_file", "PKCS #8"),
            ("{kepp_days: 1}", "kepp_days", "no such key"),
        ] {
            let said = read(audit).expect_err(audit);
            assert!(
                said.contains(key) && said.contains(words),
                "{audit}: {said}"
            );
        }
    }
}
