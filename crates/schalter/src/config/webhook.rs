//! `webhook`: who is told of rooms, with which key, and how much may wait for a receiver that doesn't take it.

use std::collections::BTreeMap;
use std::time::Duration;

use schalter_signaling::authority::ApiKey;
use schalter_webhook::{AddressPolicy, Limits, Network, Target};

use super::document::{Complaint, Place, Value};
use super::livekit;
use crate::keys::DEVELOPMENT_KEY;

/// Most events that may wait for a receiver.
const MOST_EVENTS: i64 = 1_000_000;
/// Fewest bytes: the largest event, with metadata and attributes at their limits, must fit.
const FEWEST_BYTES: i64 = 1 << 20;
/// Most bytes, all of which wait in memory, too.
const MOST_BYTES: i64 = 1 << 30;
/// Longest that an event may be tried for, in seconds: a week.
const LONGEST_AGE: i64 = 7 * 86_400;

/// Webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Webhook {
    /// Receivers, each of which gets every event; without any nobody is told anything.
    pub(crate) targets: Vec<Target>,
    /// Name of the key that signs, and whose authority's rooms are told of.
    pub(crate) api_key: String,
    /// Which addresses requests may be sent to.
    pub(crate) addresses: AddressPolicy,
    /// Bounds, each for one receiver.
    pub(crate) limits: Limits,
}

impl Webhook {
    pub(super) fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut webhook = Self::default();
        let limits = &mut webhook.limits;
        let mut group = value.group()?;
        group.take("allow_private", &mut webhook.addresses, |v| {
            let list = v.list()?;
            let networks = list
                .iter()
                .map(|v| v.parse::<Network>("a range of addresses such as 10.0.0.0/8"));
            Ok(AddressPolicy::new(networks.collect::<Result<_, _>>()?))
        })?;
        group.take("api_key", &mut webhook.api_key, |v| {
            Ok(v.text()?.to_owned())
        })?;
        group.take("max_events", &mut limits.events, |v| {
            v.number(100..=MOST_EVENTS)
        })?;
        group.take("max_bytes", &mut limits.bytes, |v| {
            v.number(FEWEST_BYTES..=MOST_BYTES)
        })?;
        group.take("max_age_seconds", &mut limits.age, |v| {
            Ok(Duration::from_secs(v.number(60..=LONGEST_AGE)?))
        })?;
        group.take("request_seconds", &mut limits.request, |v| {
            Ok(Duration::from_secs(v.number(1..=60)?))
        })?;
        let addresses = webhook.addresses.clone();
        group.take("urls", &mut webhook.targets, |v| targets(v, &addresses))?;
        group.finish(livekit::advice)?;
        if !webhook.targets.is_empty() && webhook.api_key.is_empty() {
            return value.complain("receivers can't tell who calls without webhook.api_key");
        }
        if webhook.targets.is_empty() && !webhook.api_key.is_empty() {
            return value.complain("without webhook.urls nobody is told anything");
        }
        Ok(webhook)
    }

    /// Checks that the key is there. Without any key in the file there is the development key.
    pub(super) fn check(&self, keys: &BTreeMap<String, ApiKey>) -> Result<(), Complaint> {
        let known = keys.contains_key(&self.api_key)
            || (keys.is_empty() && self.api_key == DEVELOPMENT_KEY);
        if self.targets.is_empty() || known {
            return Ok(());
        }
        // It may be the secret, put in the wrong place.
        Err(Complaint::new(
            Place::of("webhook.api_key"),
            "there is no such key in keys",
        ))
    }
}

/// Complaints don't repeat URLs: their paths and queries may be secrets.
fn targets(value: &Value<'_>, addresses: &AddressPolicy) -> Result<Vec<Target>, Complaint> {
    let mut targets: Vec<Target> = Vec::new();
    for value in value.list()? {
        let target =
            Target::parse(value.text()?).or_else(|error| value.complain(error.to_string()))?;
        if targets.contains(&target) {
            return value.complain("this URL stands here twice");
        }
        if !target.is_allowed(addresses) {
            return value.complain(
                "requests to this address must be allowed by webhook.allow_private: it is not public, or the URL has no TLS",
            );
        }
        targets.push(target);
    }
    Ok(targets)
}
