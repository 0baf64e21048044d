//! A record that was exported, verified by whoever holds it: without the server, and without the log.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::note::VerifyingKey;
use crate::tree::{is_included, leaf_hash};
use crate::{Checkpoint, CheckpointError, CommitmentKey, Epoch, Hash, Opening, Origin};

/// Why nothing can be said of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is none.
    #[error("not a record: {0}")]
    Malformed(String),
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It was exported by a server without a log.
    #[error("the record has no proofs: the server had no log, or it failed")]
    Nothing,
    /// A checkpoint in it.
    #[error("a checkpoint in the record: {0}")]
    Checkpoint(CheckpointError),
    /// It has none of that epoch.
    #[error("event {0}: the record has no checkpoint of its epoch {1}")]
    NoCheckpoint(u64, Epoch),
    /// The record says itself that it can't prove an event.
    #[error(
        "event {0}: the record has no proof for it: its epoch was deleted, or it was not in the log"
    )]
    NoProof(u64),
    /// The proof is wrong.
    #[error("event {0}: it is not in the log as the record tells it")]
    NotIncluded(u64),
    /// The event is of somebody else.
    #[error("event {0}: it is of another appointment")]
    Strange(u64),
    /// Events are in another order than their numbers, or one stands there twice.
    #[error("event {0}: it stands in the wrong place")]
    Order(u64),
}

/// What a record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The checkpoints that its events are proven against.
    pub checkpoints: Vec<Checkpoint>,
    /// Events that are in the log as it tells them.
    pub proven: usize,
    /// Everything that is wrong. The record is good if it is empty.
    pub doubts: Vec<Doubt>,
}

#[derive(Deserialize)]
struct Record {
    appointment: Appointment,
    events: Vec<Event>,
    audit: Option<Audit>,
}

#[derive(Deserialize)]
struct Appointment {
    id: String,
}

#[derive(Deserialize)]
struct Audit {
    key: String,
    checkpoints: Vec<String>,
}

#[derive(Deserialize)]
struct Event {
    seq: u64,
    #[serde(rename = "type")]
    kind: String,
    timestamp: String,
    data: Data,
    audit: Option<Place>,
}

// Whatever else an event says would be proven by nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    appointment: String,
    by: String,
    person: Option<String>,
    role: Option<String>,
    notice: Option<String>,
    outcome: Option<String>,
}

#[derive(Deserialize)]
struct Place {
    epoch: String,
    index: u64,
    proof: Vec<String>,
}

/// Verifies a record, or each of several under `records`.
///
/// # Errors
/// [`RecordError`].
pub fn verify(json: &str, trusted: &[VerifyingKey]) -> Result<Vec<Report>, RecordError> {
    let malformed = |error: serde_json::Error| RecordError::Malformed(error.to_string());
    let mut value: Value = serde_json::from_str(json).map_err(malformed)?;
    let records: Vec<Record> = match value.get_mut("records") {
        Some(several) => serde_json::from_value(several.take()).map_err(malformed)?,
        None => vec![serde_json::from_value(value).map_err(malformed)?],
    };
    records.iter().map(|record| one(record, trusted)).collect()
}

fn bytes(what: &str, text: &str) -> Result<Hash, RecordError> {
    let bytes = STANDARD.decode(text).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| RecordError::Malformed(format!("{what}: 32 bytes in base64 are expected")))
}

fn one(record: &Record, trusted: &[VerifyingKey]) -> Result<Report, RecordError> {
    let mut report = Report::default();
    let Some(audit) = &record.audit else {
        report.doubts.push(Doubt::Nothing);
        return Ok(report);
    };
    let key = CommitmentKey::new(bytes("audit.key", &audit.key)?);
    let mut known: Vec<(Epoch, Checkpoint)> = Vec::new();
    for note in &audit.checkpoints {
        match Checkpoint::open(note, trusted) {
            Ok((checkpoint, _)) => match checkpoint.origin.parse::<Origin>() {
                Ok(origin) => known.push((origin.epoch, checkpoint)),
                Err(error) => {
                    let text = format!("{}: {error}", checkpoint.origin);
                    return Err(RecordError::Malformed(text));
                }
            },
            Err(error) => report.doubts.push(Doubt::Checkpoint(error)),
        }
    }
    let mut former = None;
    for event in &record.events {
        let seq = event.seq;
        if former.is_some_and(|former| former >= seq) {
            report.doubts.push(Doubt::Order(seq));
        }
        former = Some(seq);
        match proven(event, &record.appointment.id, &key, &known)? {
            Ok(()) => report.proven += 1,
            Err(doubt) => report.doubts.push(doubt),
        }
    }
    report.checkpoints = known.into_iter().map(|(_, one)| one).collect();
    Ok(report)
}

fn proven(
    event: &Event,
    appointment: &str,
    key: &CommitmentKey,
    known: &[(Epoch, Checkpoint)],
) -> Result<Result<(), Doubt>, RecordError> {
    let (seq, data) = (event.seq, &event.data);
    if data.appointment != appointment {
        return Ok(Err(Doubt::Strange(seq)));
    }
    let Some(place) = &event.audit else {
        return Ok(Err(Doubt::NoProof(seq)));
    };
    let epoch: Epoch = place
        .epoch
        .parse()
        .map_err(|_| RecordError::Malformed(format!("event {seq}: audit.epoch is no epoch")))?;
    let proof = place.proof.iter().map(|hash| bytes("proof", hash));
    let proof = proof.collect::<Result<Vec<Hash>, _>>()?;
    let Some((_, checkpoint)) = known.iter().find(|(known, _)| *known == epoch) else {
        return Ok(Err(Doubt::NoCheckpoint(seq, epoch)));
    };
    let opening = Opening {
        seq,
        at: &event.timestamp,
        kind: &event.kind,
        appointment: &data.appointment,
        by: &data.by,
        person: data.person.as_deref(),
        role: data.role.as_deref(),
        notice: data.notice.as_deref(),
        outcome: data.outcome.as_deref(),
    };
    let leaf = leaf_hash(&opening.leaf(key).to_bytes());
    let included = is_included(leaf, place.index, checkpoint.size, &proof, &checkpoint.root);
    Ok(if included {
        Ok(())
    } else {
        Err(Doubt::NotIncluded(seq))
    })
}
