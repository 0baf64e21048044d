//! The JSON of appointments and events, in and out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::problem::Problem;
use crate::domain::{
    Appointment, Event, ExternalRef, LanguageTag, LinkToken, Name, Needs, Patch, Person, PersonId,
    PersonPatch, Role, Subject, Timestamp, When,
};
use crate::{Partner, PersonInput, Record};

/// A JSON object inside of another value. Derived readers take a list as well, for the members in their order.
#[derive(Clone, Debug, Default)]
pub struct Object<T>(pub T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let members = Map::deserialize(reader)?;
        T::deserialize(Value::Object(members))
            .map(Self)
            .map_err(D::Error::custom)
    }
}

/// Whom somebody is linked to: a person's id, or the place, from 0, in the same request's list.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum PartnerJson {
    /// By place.
    Place(usize),
    /// By id.
    Person(PersonId),
}

/// Somebody to be added.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonJson {
    role: Role,
    name: Name,
    #[serde(default)]
    needs: Object<Needs>,
    #[serde(default)]
    language: Option<LanguageTag>,
    #[serde(default)]
    linked_to: Option<PartnerJson>,
}

impl From<PersonJson> for PersonInput {
    fn from(json: PersonJson) -> Self {
        Self {
            role: json.role,
            name: json.name,
            needs: json.needs.0,
            language: json.language,
            linked_to: match json.linked_to {
                None => Partner::Nobody,
                Some(PartnerJson::Place(place)) => Partner::Place(place),
                Some(PartnerJson::Person(id)) => Partner::Person(id),
            },
        }
    }
}

/// An appointment to be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppointmentJson {
    #[serde(default)]
    external_ref: Option<ExternalRef>,
    subject: Subject,
    starts_at: Timestamp,
    ends_at: Timestamp,
    people: Vec<Object<PersonJson>>,
}

impl AppointmentJson {
    /// Takes it apart for [`crate::Desk::create`].
    pub fn into_parts(self) -> ((Option<ExternalRef>, Subject, When), Vec<PersonInput>) {
        let when = When {
            starts_at: self.starts_at,
            ends_at: self.ends_at,
        };
        let people = self.people.into_iter().map(|one| one.0.into()).collect();
        ((self.external_ref, self.subject, when), people)
    }
}

/// A change of plan, as a JSON merge patch (RFC 7396) of these members.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatchJson {
    subject: Option<Subject>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    #[serde(deserialize_with = "present")]
    external_ref: Option<Option<ExternalRef>>,
}

/// A change of somebody, as a JSON merge patch (RFC 7396) of these members.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PersonPatchJson {
    name: Option<Name>,
    role: Option<Role>,
    #[serde(deserialize_with = "present")]
    language: Option<Option<LanguageTag>>,
    #[serde(deserialize_with = "present")]
    linked_to: Option<Option<PersonId>>,
}

impl From<PersonPatchJson> for PersonPatch {
    fn from(json: PersonPatchJson) -> Self {
        Self {
            name: json.name,
            role: json.role,
            language: json.language,
            linked_to: json.linked_to,
        }
    }
}

/// Tells `null` from a member that is not there.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    reader: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(reader).map(Some)
}

impl From<PatchJson> for Patch {
    fn from(json: PatchJson) -> Self {
        Self {
            subject: json.subject,
            starts_at: json.starts_at,
            ends_at: json.ends_at,
            external_ref: json.external_ref,
        }
    }
}

/// The URL with which somebody joins.
pub fn join_url(public_url: &str, role: Role, token: &LinkToken) -> String {
    let token = token.reveal();
    match role {
        Role::Official => format!("{public_url}/amt#einladung={token}"),
        Role::Citizen | Role::Interpreter | Role::Companion | Role::Captioner | Role::Observer => {
            format!("{public_url}/termin#{token}")
        }
    }
}

/// An appointment; `links` are the fresh ones, told this once.
pub fn appointment(
    appointment: &Appointment,
    links: &[(PersonId, LinkToken)],
    public_url: &str,
    now: Timestamp,
) -> Value {
    let people: Vec<Value> = appointment
        .people
        .iter()
        .map(|one| {
            let mut value = person(one);
            if let Some((_, token)) = links.iter().find(|(id, _)| *id == one.id) {
                value["join_url"] = join_url(public_url, one.role, token).into();
            }
            value
        })
        .collect();
    json!({
        "id": appointment.id,
        "external_ref": appointment.external_ref,
        "subject": appointment.subject,
        "starts_at": appointment.when.starts_at,
        "ends_at": appointment.when.ends_at,
        "state": appointment.state,
        "outcome": appointment.outcome,
        "version": appointment.version,
        "late": appointment.is_late(now),
        "people": people,
    })
}

fn person(person: &Person) -> Value {
    let stage = person.lobby_stage();
    json!({
        "id": person.id,
        "role": person.role,
        "name": person.name,
        "needs": person.needs,
        "language": person.language,
        "linked_to": person.linked_to,
        "stage": stage.label(),
        "link": person.link_state(),
        "other_device": person.other.is_some(),
        "notice_agreed": person.agreed.is_some(),
        "devices": person.devices,
        "waiting_since": stage.waiting_since(),
    })
}

/// Everything that is kept of an appointment, and what proves it (`docs/audit.md`).
pub fn record(record: &Record, public_url: &str, now: Timestamp) -> Value {
    let appointment = &record.appointment;
    let agreed = appointment.people.iter().filter_map(|person| {
        let agreed = person.agreed?;
        Some(json!({ "person": person.id, "notice": agreed.notice, "at": agreed.at }))
    });
    let proof = record.proof.as_ref();
    let events = record.events.iter().map(|one| {
        let mut value = event(one);
        if let Some(place) = proof.and_then(|proof| proof.places.get(&one.seq)) {
            let hashes = place.proof.iter().map(|hash| STANDARD.encode(hash));
            value["audit"] = json!({
                "epoch": place.epoch.to_string(),
                "index": place.index,
                "proof": hashes.collect::<Vec<_>>(),
            });
        }
        value
    });
    json!({
        "appointment": self::appointment(appointment, &[], public_url, now),
        "created_at": appointment.created_at,
        "over_at": appointment.over_at,
        "call": record.call().map(|call| json!({
            "began_at": call.began_at,
            "ended_at": call.ended_at,
            "seconds": call.seconds(),
        })),
        "agreed": agreed.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
        "audit": proof.map(|proof| json!({
            "key": STANDARD.encode(proof.key.reveal()),
            "checkpoints": proof.notes,
        })),
    })
}

/// What receivers tell an event's repetitions by: visible ASCII. Numbers alone would come again after a database was begun anew.
pub fn event_id(event: &Event) -> String {
    format!("evt_{}_{}", event.appointment, event.seq)
}

/// An event, in the answer to a replay and in the body of a webhook alike (Standard Webhooks: `type`, `timestamp`, `data`).
pub fn event(event: &Event) -> Value {
    let mut data = json!({ "appointment": event.appointment, "by": event.by });
    let fact = &event.fact;
    if let Some(person) = &fact.person {
        data["person"] = json!(person);
    }
    if let Some(role) = fact.role {
        data["role"] = json!(role);
    }
    if let Some(notice) = fact.notice {
        data["notice"] = json!(notice);
    }
    if let Some(outcome) = &fact.outcome {
        data["outcome"] = json!(outcome);
    }
    json!({
        "id": event_id(event),
        "seq": event.seq,
        "type": fact.kind,
        "timestamp": event.at,
        "data": data,
    })
}

/// A parameter of a query, read with its own type's words for what is wrong.
///
/// # Errors
/// 400, naming the parameter.
pub fn parameter<T>(name: &str, value: Option<&str>) -> Result<Option<T>, Problem>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    value
        .map(|text| {
            text.parse()
                .map_err(|error| Problem::malformed(format!("{name}: {error}")))
        })
        .transpose()
}
