//! `desk.webhooks`: who is told of an authority's appointments.

use std::path::Path;

use schalter_model::AuthorityId;
use schalter_webhook::{AddressPolicy, Network, Secret, Target};

use super::{Office, bounded, required};
use crate::config::document::{Complaint, Value};
use crate::config::read::secret_from;

/// Receivers of one server.
const MOST_RECEIVERS: usize = 1_000;
/// Secrets of one receiver: the one, and the next while they are exchanged.
const MOST_SECRETS: usize = 2;

/// One receiver.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DeskWebhook {
    /// Where.
    pub(crate) target: Target,
    /// Which addresses it may have beside public ones.
    pub(crate) addresses: AddressPolicy,
    /// What signs, each a signature of its own (Standard Webhooks, `whsec_…`).
    pub(crate) secrets: Vec<Secret>,
    /// Whose appointments.
    pub(crate) authority: AuthorityId,
}

impl std::fmt::Debug for DeskWebhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeskWebhook")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

pub(super) fn read(value: &Value<'_>, offices: &[Office]) -> Result<Vec<DeskWebhook>, Complaint> {
    let mut webhooks: Vec<DeskWebhook> = Vec::new();
    for value in bounded(value, MOST_RECEIVERS)? {
        let webhook = one(&value, offices)?;
        let twice = webhooks
            .iter()
            .any(|other| other.target == webhook.target && other.authority == webhook.authority);
        if twice {
            return value.complain("this receiver stands here twice");
        }
        webhooks.push(webhook);
    }
    Ok(webhooks)
}

fn one(value: &Value<'_>, offices: &[Office]) -> Result<DeskWebhook, Complaint> {
    let mut group = value.group()?;
    let url = required(value, &mut group, "url")?;
    let target = Target::parse(url.text()?).or_else(|error| url.complain(error.to_string()))?;
    let mut addresses = AddressPolicy::default();
    group.take("allow_private", &mut addresses, |v| {
        let list = v.list()?;
        let networks = list
            .iter()
            .map(|v| v.parse::<Network>("a range of addresses such as 10.0.0.0/8"));
        Ok(AddressPolicy::new(networks.collect::<Result<_, _>>()?))
    })?;
    if !target.is_allowed(&addresses) {
        return url.complain(
            "requests to this address must be allowed by allow_private: it is not public, or the URL has no TLS",
        );
    }
    let files = required(value, &mut group, "secret_files")?;
    let mut secrets = Vec::new();
    for file in bounded(&files, MOST_SECRETS)? {
        let text = secret_from(&file, Path::new(file.text()?))?;
        let secret = Secret::parse(&text).or_else(|error| {
            file.complain(format!(
                "{error}; `echo \"whsec_$(openssl rand -base64 32)\"` makes one"
            ))
        })?;
        secrets.push(secret);
    }
    if secrets.is_empty() {
        return files.complain("a receiver needs a secret to know us by");
    }
    let authority = required(value, &mut group, "authority")?;
    let name = authority.text()?;
    let Some(office) = offices.iter().find(|office| office.id.as_str() == name) else {
        return authority.complain("there is no such authority in desk.authorities");
    };
    group.finish(|_| None)?;
    Ok(DeskWebhook {
        target,
        addresses,
        secrets,
        authority: office.id.clone(),
    })
}
