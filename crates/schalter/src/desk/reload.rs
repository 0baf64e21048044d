//! What of the desk a reload replaces: which offices there are, their texts, notices, logos, colours, retention and logins, the keys of case systems
//! and of rooms, and who is told of events.

use std::sync::Arc;

use schalter_desk::http::pages::{OfficePages, Offices};
use schalter_desk::http::{DeskKey, DeskKeys};
use schalter_desk::login::{Login, Logins};
use schalter_desk::{Authorities, Desk};
use schalter_model::AuthorityId;
use schalter_signaling::Guided;
use schalter_signaling::authority::{ApiKey, KeyRing};

use super::seats::RoomKeys;
use super::telling::Telling;
use crate::config;

/// Every key of every office.
pub(super) fn keys_of(config: &config::Desk) -> Vec<DeskKey> {
    let offices = config.authorities.iter();
    let keys = offices.flat_map(|office| office.keys.iter().filter_map(|key| key.of(&office.id)));
    keys.collect()
}

/// Every office, as the domain asks for it.
pub(super) fn authorities_of(config: &config::Desk) -> Authorities {
    let offices = config.authorities.iter();
    offices
        .map(|office| (office.id.clone(), Arc::new(office.authority())))
        .collect()
}

/// What the pages of each office have of their own.
pub(super) fn pages_of(
    config: &config::Desk,
) -> impl Iterator<Item = (AuthorityId, OfficePages)> + '_ {
    let offices = config.authorities.iter();
    offices.map(|office| (office.id.clone(), office.pages.clone()))
}

/// How officials of each office log in.
pub(super) fn logins_of(config: &config::Desk) -> impl Iterator<Item = (AuthorityId, Logins)> + '_ {
    let offices = config.authorities.iter();
    offices.map(|office| (office.id.clone(), office.logins.clone()))
}

/// Receivers, keys and offices of a desk that runs.
pub(crate) struct Replaceable {
    pub(super) keys: DeskKeys,
    pub(super) room_keys: RoomKeys,
    pub(super) guided: Guided,
    pub(super) telling: Arc<Telling>,
    pub(super) desk: Arc<Desk>,
    pub(super) login: Arc<Login>,
    pub(super) offices: Offices,
    /// Where rooms of offices that are gone are ended.
    pub(super) tasks: tokio::runtime::Handle,
}

impl Replaceable {
    /// The keys of the desk's rooms as they are.
    pub(crate) fn room_keys(&self) -> Vec<ApiKey> {
        self.room_keys.all()
    }

    /// The same as they are to be: those of offices that stay, and new ones for those that come.
    ///
    /// # Errors
    /// What is needed to take over `fresh` is not there, and why.
    pub(crate) fn room_keys_of(&self, fresh: &config::Desk) -> Result<Vec<ApiKey>, String> {
        super::telling::check(&fresh.webhooks).map_err(|error| error.to_string())?;
        let authorities = super::guided(fresh);
        self.room_keys
            .of(authorities.keys())
            .map_err(|error| error.to_string())
    }

    /// Takes over which offices and receivers there are from now on, and what they are. `room_keys` are in signaling's ring already. What lets
    /// somebody into an office that is gone, keys and logins, is good for nothing at once, and its rooms end.
    pub(crate) fn replace(&self, fresh: &config::Desk, room_keys: KeyRing) {
        self.room_keys.replace(room_keys);
        self.guided.replace(super::guided(fresh));
        let gone = self.desk.replace_authorities(authorities_of(fresh));
        self.offices.replace(pages_of(fresh));
        self.keys.replace(keys_of(fresh));
        self.login.replace(logins_of(fresh));
        self.telling.replace(&fresh.webhooks);
        let desk = Arc::clone(&self.desk);
        self.tasks.spawn(async move {
            if let Err(error) = desk.note_retentions().await {
                tracing::error!(%error, "what is configured of retention could not be stored; the next sweep tries again");
            }
            for authority in gone {
                match desk.close_rooms(&authority).await {
                    Ok(()) => tracing::warn!(%authority, "an office is gone: its calls have ended, and what is stored of it stays"),
                    Err(error) => tracing::error!(%authority, %error, "an office is gone, and not all of its calls could be ended"),
                }
            }
        });
    }
}
