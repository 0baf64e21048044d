//! What a participant shows of itself — name, metadata, attributes — and how it changes, by its own wish or the room
//! service's. Refuses what is beyond the limits, and changes nothing then.

use std::collections::HashMap;
use std::sync::Arc;

use super::Room;
use super::participant::ParticipantKey;
use super::priority::SIGNING_ATTRIBUTE;

/// A change; what is `None` stays.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProfileChange<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) metadata: Option<&'a str>,
    /// Set as named; an empty value removes one.
    pub(super) attributes: &'a HashMap<String, String>,
}

impl Room {
    /// What of a change is beyond the limits, if anything is.
    ///
    /// # Errors
    /// A text that says what.
    pub(super) fn check_profile(
        &self,
        key: ParticipantKey,
        change: ProfileChange<'_>,
    ) -> Result<(), &'static str> {
        let limits = &self.config.limits;
        let Some(participant) = self.participants.get(&key) else {
            return Ok(());
        };
        let kept = participant
            .attributes
            .iter()
            .filter(|(name, _)| !change.attributes.contains_key(*name));
        let new = change
            .attributes
            .iter()
            .filter(|(_, value)| !value.is_empty());
        let size: usize = kept.chain(new).map(|(k, v)| k.len() + v.len()).sum();
        if change
            .name
            .is_some_and(|name| name.len() > limits.name_bytes)
        {
            Err("name is too long")
        } else if change
            .metadata
            .is_some_and(|metadata| metadata.len() > limits.metadata_bytes)
        {
            Err("metadata is too long")
        } else if size > limits.attributes_bytes {
            Err("attributes are too long")
        } else {
            Ok(())
        }
    }

    /// Takes a change over that was checked. Telling others, and a refresh token that says the same, is the caller's.
    pub(super) fn change_profile(&mut self, key: ParticipantKey, change: ProfileChange<'_>) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let signed = participant.attributes.get(SIGNING_ATTRIBUTE).cloned();
        if let Some(name) = change.name {
            name.clone_into(&mut participant.name);
        }
        if let Some(metadata) = change.metadata {
            metadata.clone_into(&mut participant.metadata);
        }
        for (name, value) in change.attributes {
            if value.is_empty() {
                participant.attributes.remove(name);
            } else {
                participant.attributes.insert(name.clone(), value.clone());
            }
        }
        // The next refresh token must say the same, or a reconnect would undo it.
        let claims = &mut Arc::make_mut(&mut participant.grants).claims;
        claims.name = Some(participant.name.clone());
        claims.metadata = Some(participant.metadata.clone());
        claims.attributes = Some(participant.attributes.clone());
        if participant.attributes.get(SIGNING_ATTRIBUTE) != signed.as_ref() {
            self.rank_anew(key);
        }
    }
}
