//! `desk.authorities[].keys`: what an office's case systems may do over `/v1`.

use std::fmt;
use std::path::Path;

use schalter_desk::http::{DeskKey, Scope};
use schalter_model::AuthorityId;

use super::{bounded, required};
use crate::config::document::{Complaint, Value};
use crate::config::read::secret_from;

/// Keys of one authority.
const MOST_KEYS: usize = 50;
/// Longest name of a key, in characters. It stands in events.
const MAX_ID_LEN: usize = 64;

/// One key. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) id: String,
    secret: String,
    pub(crate) scopes: Vec<Scope>,
}

impl Key {
    /// As the desk knows it. What could be wrong with it was looked at when it was read.
    pub(crate) fn of(&self, authority: &AuthorityId) -> Option<DeskKey> {
        DeskKey::new(
            &self.id,
            authority.clone(),
            self.scopes.clone(),
            &self.secret,
        )
        .ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

pub(super) fn read(value: &Value<'_>) -> Result<Vec<Key>, Complaint> {
    let mut keys: Vec<Key> = Vec::new();
    for value in bounded(value, MOST_KEYS)? {
        let key = one(&value)?;
        if keys.iter().any(|other| other.id == key.id) {
            return value.complain("this id stands here twice");
        }
        keys.push(key);
    }
    Ok(keys)
}

fn one(value: &Value<'_>) -> Result<Key, Complaint> {
    let mut group = value.group()?;
    let id = required(value, &mut group, "id")?;
    let text = id.text()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !(1..=MAX_ID_LEN).contains(&text.len()) || !text.bytes().all(plain) {
        return id.complain(format!(
            "a key's id has 1 to {MAX_ID_LEN} characters of a–z, A–Z, 0–9, '-', '_' and '.'"
        ));
    }
    let file = required(value, &mut group, "secret_file")?;
    let secret = secret_from(&file, Path::new(file.text()?))?;
    let list = required(value, &mut group, "scopes")?;
    let scopes: Vec<Scope> = list
        .list()?
        .iter()
        .map(|value| {
            value.read(
                "appointments:read, appointments:write, events:read or audit:read",
                Scope::parse,
            )
        })
        .collect::<Result<_, _>>()?;
    if scopes.is_empty() {
        return list.complain("a key without scopes would be of no use; leave the key out");
    }
    group.finish(|_| None)?;
    if let Err(error) = DeskKey::new(text, AuthorityId::default(), Vec::new(), &secret) {
        return file.complain(format!("{error}; `openssl rand -base64 36` makes one"));
    }
    Ok(Key {
        id: text.to_owned(),
        secret,
        scopes,
    })
}
