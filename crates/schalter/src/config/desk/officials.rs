//! `desk.authorities[].officials`: how an authority's officials log in.

use std::path::Path;

use schalter_desk::login::oidc::{Admitted, ClaimRule, OidcProvider, is_issuer};
use schalter_desk::login::signed_link::LinkKey;
use schalter_desk::login::{DemoOfficial, Logins, Official};

use crate::config::document::{Complaint, Value};
use crate::config::read::secret_from;

/// Local officials of one authority: more is no evaluation.
const MOST_DEMO: usize = 20;
/// Keys of one authority's case systems.
const MOST_LINK_KEYS: usize = 10;
/// Scopes, levels of assurance and values of a claim that a provider is asked for.
const MOST_WORDS: usize = 50;

pub(super) fn read(value: &Value<'_>) -> Result<Logins, Complaint> {
    let mut logins = Logins::default();
    let mut group = value.group()?;
    group.take("demo", &mut logins.demo, demo)?;
    group.take("oidc", &mut logins.oidc, |v| oidc(v).map(Some))?;
    group.take("link_keys", &mut logins.link_keys, |v| {
        let keys = super::bounded(v, MOST_LINK_KEYS)?;
        keys.iter().map(link_key).collect()
    })?;
    group.finish(|_| None)?;
    Ok(logins)
}

fn demo(value: &Value<'_>) -> Result<Vec<DemoOfficial>, Complaint> {
    let mut officials: Vec<DemoOfficial> = Vec::new();
    for value in super::bounded(value, MOST_DEMO)? {
        let mut group = value.group()?;
        let id = super::required(&value, &mut group, "id")?.text()?;
        let name = super::required(&value, &mut group, "name")?.text()?;
        group.finish(|_| None)?;
        let Some(official) = Official::new(id, name, None) else {
            return value.complain(
                "an official has an id of 1 to 128 and a name of 1 to 100 characters, in one line",
            );
        };
        if officials.iter().any(|other| other.id == official.id) {
            return value.complain("this id stands here twice");
        }
        officials.push(DemoOfficial {
            id: official.id,
            name: official.name.into(),
        });
    }
    Ok(officials)
}

fn oidc(value: &Value<'_>) -> Result<OidcProvider, Complaint> {
    let mut group = value.group()?;
    let issuer = super::required(value, &mut group, "issuer")?.read(
        "the issuer's address as it stands in its tokens, which begins with https://",
        |text| is_issuer(text).then(|| text.to_owned()),
    )?;
    let client_id = super::required(value, &mut group, "client_id")?
        .text()?
        .to_owned();
    let mut provider = OidcProvider {
        issuer,
        client_id,
        client_secret: None,
        scopes: vec!["profile".to_owned()],
        acr_values: Vec::new(),
        rule: ClaimRule {
            admitted: Admitted::Everyone,
            id: "sub".to_owned(),
            name: "name".to_owned(),
        },
    };
    group.take("client_secret_file", &mut provider.client_secret, |v| {
        let secret = secret_from(v, Path::new(v.text()?))?;
        if secret.is_empty() {
            return v.complain("the file is empty");
        }
        Ok(Some(secret))
    })?;
    group.take("scopes", &mut provider.scopes, words)?;
    group.take("acr_values", &mut provider.acr_values, words)?;
    group.take("id_claim", &mut provider.rule.id, claim_name)?;
    group.take("name_claim", &mut provider.rule.name, claim_name)?;
    let allow = super::required(value, &mut group, "allow")?;
    provider.rule.admitted = admitted(&allow)?;
    group.finish(|_| None)?;
    Ok(provider)
}

fn admitted(value: &Value<'_>) -> Result<Admitted, Complaint> {
    if value.is_text() {
        return value.read("everyone, or a group with claim and values", |text| {
            (text == "everyone").then_some(Admitted::Everyone)
        });
    }
    let mut group = value.group()?;
    let claim = claim_name(&super::required(value, &mut group, "claim")?)?;
    let wanted = super::required(value, &mut group, "values")?;
    let values = words(&wanted)?;
    group.finish(|_| None)?;
    if values.is_empty() {
        return wanted.complain("without a value nobody could log in");
    }
    Ok(Admitted::Having { claim, values })
}

fn claim_name(value: &Value<'_>) -> Result<String, Complaint> {
    value.read("a claim's name", |text| {
        let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        fits.then(|| text.to_owned())
    })
}

/// Words without blanks: a blank separates them on the wire (RFC 6749 §3.3).
fn words(value: &Value<'_>) -> Result<Vec<String>, Complaint> {
    let values = super::bounded(value, MOST_WORDS)?;
    values
        .iter()
        .map(|value| {
            value.read("a word without blanks", |text| {
                let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
                fits.then(|| text.to_owned())
            })
        })
        .collect()
}

fn link_key(value: &Value<'_>) -> Result<LinkKey, Complaint> {
    let mut group = value.group()?;
    let id = super::required(value, &mut group, "id")?.text()?;
    let (file, key) = match (group.value("secret_file"), group.value("public_key_file")) {
        (Some(file), None) => {
            let secret = secret_from(&file, Path::new(file.text()?))?;
            (file, LinkKey::shared(id, &secret))
        }
        (None, Some(file)) => {
            let pem = secret_from(&file, Path::new(file.text()?))?;
            (file, LinkKey::public(id, &pem))
        }
        (_, _) => {
            return value
                .complain("a key has either secret_file (HS256) or public_key_file (EdDSA)");
        }
    };
    group.finish(|_| None)?;
    key.or_else(|error| file.complain(error.to_string()))
}
