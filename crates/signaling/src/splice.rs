//! Overwrites the routing fields of a `DataPacket` in its bytes.
//!
//! The decoder drops fields it doesn't know, so a relayed packet is never decoded and encoded again: every field
//! that the server doesn't own is copied as it came (protobuf wire format, proto3). Refuses groups, field number
//! 0, varints beyond ten bytes and lengths beyond the packet.

const KIND: u32 = 1;
const USER: u32 = 2;
const SPEAKER: u32 = 3;
const IDENTITY: u32 = 4;
const DESTINATIONS: u32 = 5;
const TRANSCRIPTION: u32 = 7;
const METRICS: u32 = 8;
const SEQUENCE: u32 = 16;
const SID: u32 = 17;
const ENCRYPTED: u32 = 18;

const USER_SID: u32 = 1;
const USER_DESTINATION_SIDS: u32 = 3;
const USER_TOPIC: u32 = 4;
const USER_IDENTITY: u32 = 5;
const USER_DESTINATIONS: u32 = 6;

const ENCRYPTED_BY: u32 = 1;

/// Bytes that are no well-formed `DataPacket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed data packet")]
pub struct MalformedPacket;

/// What routing must know of a packet. Borrows from the packet's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketView<'a> {
    /// The identity the sender claims.
    pub claimed_identity: &'a str,
    /// Identities it is for; the outer list, or the user packet's where that is empty.
    pub destinations: Vec<&'a str>,
    /// Session ids it is for (old clients).
    pub destination_sids: Vec<&'a str>,
    /// Number among the sender's reliable packets, 0 if it has none.
    pub sequence: u32,
    /// What it carries.
    pub payload: Payload,
    /// The topic of a user packet that is all it carries, empty where that names none.
    pub topic: Option<&'a str>,
    /// Whether all it carries is a packet that is said to be encrypted, by an algorithm.
    pub encrypted: bool,
}

/// What a packet carries, as far as routing must tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// Anything that is simply forwarded.
    #[default]
    Other,
    /// A list of speakers: only servers may say who speaks.
    Speakers,
    /// A transcription: only agents may send it.
    Transcription,
    /// Metrics for the server.
    Metrics,
}

/// The fields that the server sets.
#[derive(Clone, Copy, Debug)]
pub struct Overwrite<'a> {
    /// Whether it came over the lossy channel.
    pub lossy: bool,
    /// The sender's session id, empty for hidden senders and the server itself.
    pub sid: &'a str,
    /// The sender's identity, likewise.
    pub identity: &'a str,
}

struct Field<'a> {
    number: u32,
    /// Tag and value as they came.
    raw: &'a [u8],
    value: Value<'a>,
}

enum Value<'a> {
    Varint(u64),
    Fixed,
    Bytes(&'a [u8]),
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<Field<'a>>, MalformedPacket> {
        let start = self.0;
        if start.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| MalformedPacket)?;
        if number == 0 {
            return Err(MalformedPacket);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed
            }
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| MalformedPacket)?;
                Value::Bytes(self.take(len)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed
            }
            _ => return Err(MalformedPacket),
        };
        let raw = &start[..start.len() - self.0.len()];
        Ok(Some(Field { number, raw, value }))
    }

    fn varint(&mut self) -> Result<u64, MalformedPacket> {
        let mut value = 0u64;
        for shift in 0..10 {
            let (byte, rest) = self.0.split_first().ok_or(MalformedPacket)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(MalformedPacket)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], MalformedPacket> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(MalformedPacket)?;
        self.0 = rest;
        Ok(taken)
    }
}

fn text(value: &Value<'_>) -> Result<(), MalformedPacket> {
    match value {
        Value::Bytes(bytes) => std::str::from_utf8(bytes)
            .map(|_| ())
            .map_err(|_| MalformedPacket),
        Value::Varint(_) | Value::Fixed => Err(MalformedPacket),
    }
}

fn as_text<'a>(value: &Value<'a>) -> Result<&'a str, MalformedPacket> {
    match value {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| MalformedPacket),
        Value::Varint(_) | Value::Fixed => Err(MalformedPacket),
    }
}

/// Reads what routing needs.
///
/// # Errors
/// [`MalformedPacket`] if the bytes are no protobuf message or a routing field has another type.
pub fn view(packet: &[u8]) -> Result<PacketView<'_>, MalformedPacket> {
    let mut view = PacketView::default();
    let mut inner = Vec::new();
    // Decoders take the last of several payloads, of kinds that may not be known here: only where there is one is it known which.
    let mut payloads = 0_u32;
    let mut fields = Fields(packet);
    while let Some(field) = fields.next()? {
        if !matches!(
            field.number,
            KIND | IDENTITY | DESTINATIONS | SID | SEQUENCE
        ) {
            payloads += 1;
        }
        match field.number {
            IDENTITY => view.claimed_identity = as_text(&field.value)?,
            DESTINATIONS => view.destinations.push(as_text(&field.value)?),
            SID => text(&field.value)?,
            SEQUENCE => {
                let Value::Varint(value) = field.value else {
                    return Err(MalformedPacket);
                };
                view.sequence = value as u32;
            }
            USER => {
                let Value::Bytes(user) = field.value else {
                    return Err(MalformedPacket);
                };
                view.payload = Payload::Other;
                view.topic = Some("");
                let mut fields = Fields(user);
                while let Some(field) = fields.next()? {
                    match field.number {
                        USER_DESTINATIONS => inner.push(as_text(&field.value)?),
                        USER_DESTINATION_SIDS => view.destination_sids.push(as_text(&field.value)?),
                        USER_SID | USER_IDENTITY => text(&field.value)?,
                        USER_TOPIC => view.topic = Some(as_text(&field.value)?),
                        _ => {}
                    }
                }
            }
            ENCRYPTED => view.encrypted = says_algorithm(&field.value)?,
            SPEAKER => view.payload = Payload::Speakers,
            TRANSCRIPTION => view.payload = Payload::Transcription,
            METRICS => view.payload = Payload::Metrics,
            _ => {}
        }
    }
    if view.destinations.is_empty() {
        view.destinations = inner;
    }
    if payloads != 1 {
        (view.topic, view.encrypted) = (None, false);
    }
    Ok(view)
}

/// Whether an `EncryptedPacket` names an algorithm; the first of the enumeration is none.
fn says_algorithm(value: &Value<'_>) -> Result<bool, MalformedPacket> {
    let Value::Bytes(bytes) = value else {
        return Err(MalformedPacket);
    };
    let mut says = false;
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        if let (ENCRYPTED_BY, Value::Varint(algorithm)) = (field.number, field.value) {
            says = algorithm != 0;
        }
    }
    Ok(says)
}

/// Writes the packet with the server's fields in place of the sender's; `destinations` become both lists.
///
/// # Errors
/// [`MalformedPacket`] if the bytes are no protobuf message.
pub fn overwrite(
    packet: &[u8],
    fields: Overwrite<'_>,
    destinations: &[&str],
) -> Result<Vec<u8>, MalformedPacket> {
    let listed: usize = destinations.iter().map(|d| d.len() + 6).sum();
    let mut out = Vec::with_capacity(
        packet.len() + 2 * (fields.sid.len() + fields.identity.len() + listed) + 32,
    );
    if fields.lossy {
        put_varint(&mut out, u64::from(KIND << 3));
        put_varint(&mut out, 1);
    }
    let mut user_seen = false;
    let mut rest = Fields(packet);
    while let Some(field) = rest.next()? {
        match (field.number, field.value) {
            (KIND | IDENTITY | DESTINATIONS | SID, _) => {}
            (USER, Value::Bytes(user)) => {
                let mut inner = Vec::with_capacity(
                    user.len() + fields.sid.len() + fields.identity.len() + listed + 16,
                );
                let mut parts = Fields(user);
                while let Some(part) = parts.next()? {
                    if !matches!(part.number, USER_SID | USER_IDENTITY | USER_DESTINATIONS) {
                        inner.extend_from_slice(part.raw);
                    }
                }
                // Occurrences of one message field are merged by decoders: lists must stand in one of them only.
                if !user_seen {
                    put_text(&mut inner, USER_SID, fields.sid);
                    put_text(&mut inner, USER_IDENTITY, fields.identity);
                    for destination in destinations {
                        put_bytes(&mut inner, USER_DESTINATIONS, destination.as_bytes());
                    }
                    user_seen = true;
                }
                put_bytes(&mut out, USER, &inner);
            }
            _ => out.extend_from_slice(field.raw),
        }
    }
    put_text(&mut out, IDENTITY, fields.identity);
    for destination in destinations {
        put_bytes(&mut out, DESTINATIONS, destination.as_bytes());
    }
    put_text(&mut out, SID, fields.sid);
    Ok(out)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_text(out: &mut Vec<u8>, number: u32, value: &str) {
    if !value.is_empty() {
        put_bytes(out, number, value.as_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_varint(out, u64::from(number << 3 | 2));
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use livekit_protocol::{DataPacket, UserPacket, data_packet};
    use prost::Message;

    fn sent() -> DataPacket {
        #[expect(deprecated, reason = "old clients fill these fields")]
        let user = UserPacket {
            participant_sid: "PA_forged".into(),
            participant_identity: "mallory".into(),
            payload: vec![1, 2, 3],
            topic: Some("t".into()),
            destination_identities: vec!["bob".into()],
            ..Default::default()
        };
        DataPacket {
            participant_identity: "mallory".into(),
            sequence: 7,
            value: Some(data_packet::Value::User(user)),
            ..Default::default()
        }
    }

    #[test]
    fn the_senders_claims_are_replaced_and_the_rest_is_kept() {
        let mut bytes = sent().encode_to_vec();
        // Field 200, which no decoder of ours knows.
        put_bytes(&mut bytes, 200, b"future");
        let seen = view(&bytes).unwrap();
        assert_eq!((seen.sequence, &seen.destinations[..]), (7, &["bob"][..]));
        let fields = Overwrite {
            lossy: true,
            sid: "PA_real",
            identity: "alice",
        };
        let out = overwrite(&bytes, fields, &seen.destinations).unwrap();
        let read = DataPacket::decode(&out[..]).unwrap();
        assert_eq!(read.participant_identity, "alice");
        assert_eq!(read.participant_sid, "PA_real");
        assert_eq!(read.destination_identities, ["bob"]);
        assert_eq!(read.sequence, 7);
        #[expect(deprecated, reason = "old clients read this field")]
        let kind = read.kind;
        assert_eq!(kind, 1);
        let Some(data_packet::Value::User(user)) = read.value else {
            panic!("no user packet")
        };
        #[expect(deprecated, reason = "old clients read these fields")]
        {
            assert_eq!(user.participant_sid, "PA_real");
            assert_eq!(user.participant_identity, "alice");
            assert_eq!(user.destination_identities, ["bob"]);
        }
        assert_eq!(user.payload, [1, 2, 3]);
        assert_eq!(user.topic.as_deref(), Some("t"));
        assert!(out.windows(6).any(|w| w == b"future"));
    }

    #[test]
    fn a_second_user_packet_adds_no_destination() {
        let mut bytes = sent().encode_to_vec();
        bytes.extend(sent().encode_to_vec());
        let fields = Overwrite {
            lossy: false,
            sid: "",
            identity: "",
        };
        let out = overwrite(&bytes, fields, &["carol"]).unwrap();
        let read = DataPacket::decode(&out[..]).unwrap();
        assert_eq!(read.destination_identities, ["carol"]);
        let Some(data_packet::Value::User(user)) = read.value else {
            panic!("no user packet")
        };
        #[expect(deprecated, reason = "old clients read these fields")]
        {
            assert_eq!(user.destination_identities, ["carol"]);
            assert_eq!(user.participant_identity, "");
        }
    }

    #[test]
    fn broken_packets_are_refused_without_panic() {
        for bad in [
            &[0x00][..],
            &[0x0a, 0x05, 1],
            &[0x0b],
            &[0xff; 11],
            &[0x22, 0x01, 0xff],
            &[0x80],
        ] {
            assert_eq!(view(bad), Err(MalformedPacket), "{bad:?}");
        }
    }
}
