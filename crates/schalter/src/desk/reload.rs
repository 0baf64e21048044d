//! What of the desk a reload replaces: its offices with their texts, notices, logos, colours, retention and logins, its case systems' keys, and
//! the secrets of those who are told of events. Offices and receivers that are new or gone take a restart.

use std::sync::Arc;

use schalter_desk::http::pages::{OfficePages, Offices};
use schalter_desk::http::{DeskKey, DeskKeys};
use schalter_desk::login::{Login, Logins};
use schalter_desk::{Authorities, Desk};
use schalter_model::AuthorityId;
use schalter_webhook::{Secrets, Target};

use crate::config::{self, DeskWebhook};

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

/// The secrets of each receiver, in their order.
pub(super) fn secrets_of(config: &config::Desk) -> Vec<Secrets> {
    let receivers = config.webhooks.iter();
    receivers.map(|one| Secrets::new(&one.secrets)).collect()
}

/// A receiver that is told of an office's events, and what signs for it.
pub(super) type Receiver = (AuthorityId, Target, Secrets);

/// Each receiver with its secrets, which come in their order.
pub(super) fn receivers_of(config: &config::Desk, secrets: Vec<Secrets>) -> Vec<Receiver> {
    let named = |one: &DeskWebhook| (one.authority.clone(), one.target.clone());
    let receivers = config.webhooks.iter().map(named).zip(secrets);
    receivers
        .map(|((authority, target), secrets)| (authority, target, secrets))
        .collect()
}

/// Receivers, keys and offices of a desk that runs.
pub(crate) struct Replaceable {
    pub(super) keys: DeskKeys,
    pub(super) receivers: Vec<Receiver>,
    pub(super) desk: Arc<Desk>,
    pub(super) login: Arc<Login>,
    pub(super) offices: Offices,
}

impl Replaceable {
    /// Takes over what offices that run are from now on, and the secrets of receivers that do. What lets somebody into an office that is gone, keys
    /// and logins, is good for nothing at once.
    pub(crate) fn replace(&self, fresh: &config::Desk) {
        let runs = |id: &AuthorityId| self.desk.authority(id).is_ok();
        let mut keys = keys_of(fresh);
        keys.retain(|key| runs(key.authority()));
        self.keys.replace(keys);
        self.desk.replace_authorities(authorities_of(fresh));
        self.offices.replace(pages_of(fresh));
        self.login
            .replace(logins_of(fresh).filter(|(id, _)| runs(id)));
        for webhook in &fresh.webhooks {
            let own = self.receivers.iter().find(|(authority, target, _)| {
                *authority == webhook.authority && *target == webhook.target
            });
            if let Some((_, _, secrets)) = own {
                secrets.replace(&webhook.secrets);
            }
        }
    }
}
