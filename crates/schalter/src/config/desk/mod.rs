//! `desk`: the consultation's authorities, where they are found and who is told.

mod audit;
mod authority;
mod files;
mod keys;
mod officials;
mod webhooks;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use schalter_desk::http::pages::Site;
use schalter_desk::login::sessions::SessionTimes;
use schalter_model::AuthorityId;
use schalter_signaling::authority::ApiKey;

use super::document::{Complaint, Group, Place, Value};
use super::read::DAY;
use crate::{check, demo};

pub(crate) use audit::{Audit, signing_key};
pub(crate) use authority::Office;
pub(crate) use webhooks::DeskWebhook;

/// Authorities of one server.
const MOST_AUTHORITIES: usize = 500;

/// The consultation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Desk {
    /// Nothing of it is configured: an office is made up, and ends with the process.
    pub(crate) demo: bool,
    /// File of the store; without one it is `desk.db` in the state directory.
    pub(crate) database: Option<PathBuf>,
    /// Where citizens and officials find the pages; without it where the server itself believes to be.
    pub(crate) public_url: Option<String>,
    /// The log that proves what happened, if there is one.
    pub(crate) audit: Option<Audit>,
    /// How long officials stay logged in.
    pub(crate) sessions: SessionTimes,
    /// Whose appointments they are; at least one.
    pub(crate) authorities: Vec<Office>,
    /// Who is told of them.
    pub(crate) webhooks: Vec<DeskWebhook>,
}

impl Desk {
    /// The demo.
    pub(crate) fn demo() -> Self {
        Self {
            demo: true,
            database: None,
            public_url: None,
            audit: Some(Audit::default()),
            sessions: SessionTimes::default(),
            authorities: vec![demo::office()],
            webhooks: Vec::new(),
        }
    }

    pub(super) fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        if value.is_text() {
            let demo = |text: &str| (text == "demo").then(Self::demo);
            return value.read("demo, or a group with authorities", demo);
        }
        let mut desk = Self {
            demo: false,
            database: None,
            public_url: None,
            audit: Some(Audit::default()),
            sessions: SessionTimes::default(),
            authorities: Vec::new(),
            webhooks: Vec::new(),
        };
        let mut group = value.group()?;
        group.take("database", &mut desk.database, |v| {
            Ok(Some(v.text()?.into()))
        })?;
        group.take("public_url", &mut desk.public_url, |v| {
            let site = Site::new(v.text()?, []);
            match site {
                Ok(site) => Ok(Some(site.public_url().to_owned())),
                Err(error) => v.complain(error.to_string()),
            }
        })?;
        group.take("audit", &mut desk.audit, audit::read)?;
        group.take("sessions", &mut desk.sessions, session_times)?;
        group.take("authorities", &mut desk.authorities, authorities)?;
        if desk.authorities.is_empty() {
            return value.complain("appointments need desk.authorities");
        }
        if let Some(webhooks) = group.value("webhooks") {
            desk.webhooks = webhooks::read(&webhooks, &desk.authorities)?;
        }
        group.finish(|_| None)?;
        Ok(desk)
    }

    /// Checks what only the whole file tells: `bound` are the addresses that pages are served on.
    pub(super) fn check<'a>(
        &self,
        bound: impl IntoIterator<Item = &'a IpAddr>,
        keys: &BTreeMap<String, ApiKey>,
    ) -> Result<(), Complaint> {
        // Whoever has such a key lets anybody into the rooms of the authority, past the waiting room.
        for (index, office) in self.authorities.iter().enumerate() {
            let development = keys.is_empty() && office.id == AuthorityId::default();
            let check = office.id.as_str() == check::NAME;
            if development || check || keys.values().any(|key| key.authority == office.id) {
                return Err(Complaint::new(
                    Place::of("desk.authorities").index(index).key("id"),
                    "another key has this authority: it would open rooms past the waiting room",
                ));
            }
        }
        let public = bound.into_iter().any(|ip| !ip.is_loopback());
        let demo = self
            .authorities
            .iter()
            .position(|office| !office.logins.demo.is_empty());
        if let (Some(index), true) = (demo, public) {
            let place = if self.demo {
                Place::of("desk")
            } else {
                let office = Place::of("desk.authorities").index(index);
                office.key("officials").key("demo")
            };
            return Err(Complaint::new(
                place,
                "local officials have no password: only a server whose bind_addresses are loopback may have them",
            ));
        }
        Ok(())
    }
}

impl Desk {
    /// Whether a server that runs by this one would run by `other` with nothing but a reload, which takes over offices and receivers,
    /// but not where they are kept and found.
    pub(super) fn runs_as(&self, other: &Self) -> bool {
        self.without_replaced() == other.without_replaced()
    }

    /// Takes over what a reload does of `other`. Answers whether any of it is another.
    pub(crate) fn take_over(&mut self, other: &Self) -> bool {
        let same = self.authorities == other.authorities && self.webhooks == other.webhooks;
        self.authorities.clone_from(&other.authorities);
        self.webhooks.clone_from(&other.webhooks);
        !same
    }

    /// Whether anybody can be a local official, without a password.
    pub(crate) fn has_local_officials(&self) -> bool {
        let mut offices = self.authorities.iter();
        offices.any(|office| !office.logins.demo.is_empty())
    }

    fn without_replaced(&self) -> Self {
        let mut desk = self.clone();
        desk.authorities.clear();
        desk.webhooks.clear();
        desk
    }
}

fn session_times(value: &Value<'_>) -> Result<SessionTimes, Complaint> {
    let mut times = SessionTimes::default();
    let mut group = value.group()?;
    group.take("idle_s", &mut times.idle, |v| {
        Ok(Duration::from_secs(v.number(60..=DAY)?))
    })?;
    group.take("longest_s", &mut times.longest, |v| {
        Ok(Duration::from_secs(v.number(60..=DAY)?))
    })?;
    group.finish(|_| None)?;
    if times.idle > times.longest {
        return value.complain("desk.sessions.idle_s is longer than longest_s");
    }
    Ok(times)
}

fn authorities(value: &Value<'_>) -> Result<Vec<Office>, Complaint> {
    let mut offices: Vec<Office> = Vec::new();
    for value in bounded(value, MOST_AUTHORITIES)? {
        let office = authority::read(&value)?;
        if offices.iter().any(|other| other.id == office.id) {
            return value.complain("this id stands here twice");
        }
        // A link names its key only, and a bearer key stands for its authority.
        let clash = offices
            .iter()
            .flat_map(|other| &other.logins.link_keys)
            .any(|key| office.logins.link_keys.iter().any(|own| own.id == key.id));
        if clash {
            return value.complain("a link key of another authority has this id already");
        }
        offices.push(office);
    }
    Ok(offices)
}

/// The values of a list that has a bound.
fn bounded<'n>(value: &Value<'n>, most: usize) -> Result<Vec<Value<'n>>, Complaint> {
    let values = value.list()?;
    if values.len() > most {
        return value.complain(format!("at most {most} stand here"));
    }
    Ok(values)
}

/// The value of a key that must be there.
fn required<'n>(
    value: &Value<'n>,
    group: &mut Group<'n>,
    key: &str,
) -> Result<Value<'n>, Complaint> {
    match group.value(key) {
        Some(found) => Ok(found),
        None => value.complain(format!("{key} is missing")),
    }
}

#[cfg(test)]
mod tests;
