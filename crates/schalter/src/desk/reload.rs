//! What of the desk a reload replaces: its case systems' keys, and the secrets of those who are told of events.

use schalter_desk::http::{DeskKey, DeskKeys};
use schalter_model::AuthorityId;
use schalter_webhook::{Secrets, Target};

use crate::config::{Desk, DeskWebhook};

/// Every key of every office.
pub(super) fn keys_of(config: &Desk) -> Vec<DeskKey> {
    let offices = config.authorities.iter();
    let keys = offices.flat_map(|office| office.keys.iter().filter_map(|key| key.of(&office.id)));
    keys.collect()
}

/// The secrets of each receiver, in their order.
pub(super) fn secrets_of(config: &Desk) -> Vec<Secrets> {
    let receivers = config.webhooks.iter();
    receivers.map(|one| Secrets::new(&one.secrets)).collect()
}

/// Receivers and keys of a desk that runs.
pub(crate) struct Replaceable {
    keys: DeskKeys,
    authorities: Vec<AuthorityId>,
    receivers: Vec<(AuthorityId, Target, Secrets)>,
}

impl Replaceable {
    pub(super) fn new(keys: DeskKeys, config: &Desk, secrets: Vec<Secrets>) -> Self {
        let named = |one: &DeskWebhook| (one.authority.clone(), one.target.clone());
        let receivers = config.webhooks.iter().map(named).zip(secrets);
        Self {
            keys,
            authorities: config
                .authorities
                .iter()
                .map(|one| one.id.clone())
                .collect(),
            receivers: receivers
                .map(|((authority, target), secrets)| (authority, target, secrets))
                .collect(),
        }
    }

    /// Takes over the keys of offices that run, and the secrets of receivers that do. Offices and receivers that are new or gone take a restart;
    /// the keys of an office that is gone are good for nothing at once.
    pub(crate) fn replace(&self, fresh: &Desk) {
        let mut keys = keys_of(fresh);
        keys.retain(|key| self.authorities.contains(key.authority()));
        self.keys.replace(keys);
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
