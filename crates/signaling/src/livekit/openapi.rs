//! The room service as OpenAPI 3.1 describes it: one path for each method, and the schemas of its bodies.
//!
//! Answers are described by the tables that complete them; requests by those here, which leave out what is refused.
//! A test holds both against the definitions.

use livekit_protocol::data_packet;
use serde_json::{Map, Value, json};

use super::full_json::{self, Kind, Message, Names, names};
use super::room_service::Method;
use Kind::{Bytes, Enum, Flag, List, Long, Number, Text, Texts};

/// A method: what it is for, what its token must grant, its request, and the schema of its answer.
struct Operation {
    method: Method,
    summary: &'static str,
    grant: &'static str,
    request: &'static Message,
    /// Fields that must not be left out.
    required: &'static [&'static str],
    answer: &'static str,
}

const PARTICIPANT_TRACKS: &Message = &[("participant_sid", Text), ("track_sids", Texts)];

const CREATE_ROOM: &Message = &[
    ("name", Text),
    ("empty_timeout", Number),
    ("departure_timeout", Number),
    ("max_participants", Number),
    ("metadata", Text),
    ("sync_streams", Flag),
];
const LIST_ROOMS: &Message = &[("names", Texts)];
const ROOM_ONLY: &Message = &[("room", Text)];
const PARTICIPANT: &Message = &[("room", Text), ("identity", Text)];
const REMOVE_PARTICIPANT: &Message = &[
    ("room", Text),
    ("identity", Text),
    ("revoke_token_ts", Long),
];
const MUTE_TRACK: &Message = &[
    ("room", Text),
    ("identity", Text),
    ("track_sid", Text),
    ("muted", Flag),
];
const UPDATE_PARTICIPANT: &Message = &[
    ("room", Text),
    ("identity", Text),
    ("metadata", Text),
    ("permission", Kind::Message(full_json::PERMISSION)),
    ("name", Text),
    ("attributes", Kind::Map),
];
const UPDATE_SUBSCRIPTIONS: &Message = &[
    ("room", Text),
    ("identity", Text),
    ("track_sids", Texts),
    ("subscribe", Flag),
    ("participant_tracks", List(PARTICIPANT_TRACKS)),
];
const SEND_DATA: &Message = &[
    ("room", Text),
    ("data", Bytes),
    ("kind", Enum(names!(data_packet::Kind))),
    ("destination_sids", Texts),
    ("destination_identities", Texts),
    ("topic", Kind::Maybe(None)),
    ("nonce", Bytes),
];
const UPDATE_METADATA: &Message = &[("room", Text), ("metadata", Text)];
const MOVE_PARTICIPANT: &Message = &[
    ("room", Text),
    ("identity", Text),
    ("destination_room", Text),
];

const ADMIN: &str = "`roomAdmin` with `room`";

const OPERATIONS: &[Operation] = &[
    Operation {
        method: Method::CreateRoom,
        summary: "Make a room, or get the one that is there as it is",
        grant: "`roomCreate`",
        request: CREATE_ROOM,
        required: &["name"],
        answer: "Room",
    },
    Operation {
        method: Method::ListRooms,
        summary: "List all rooms of the key's authority, or those named, the oldest first",
        grant: "`roomList`",
        request: LIST_ROOMS,
        required: &[],
        answer: "ListRoomsResponse",
    },
    Operation {
        method: Method::DeleteRoom,
        summary: "End a room for everybody",
        grant: "`roomCreate`",
        request: ROOM_ONLY,
        required: &["room"],
        answer: "Empty",
    },
    Operation {
        method: Method::UpdateRoomMetadata,
        summary: "Replace a room's metadata",
        grant: ADMIN,
        request: UPDATE_METADATA,
        required: &["room"],
        answer: "Room",
    },
    Operation {
        method: Method::ListParticipants,
        summary: "List who is in a room",
        grant: ADMIN,
        request: ROOM_ONLY,
        required: &["room"],
        answer: "ListParticipantsResponse",
    },
    Operation {
        method: Method::GetParticipant,
        summary: "Describe one participant",
        grant: ADMIN,
        request: PARTICIPANT,
        required: &["room", "identity"],
        answer: "ParticipantInfo",
    },
    Operation {
        method: Method::RemoveParticipant,
        summary: "End a participant's session, and withdraw its tokens",
        grant: ADMIN,
        request: REMOVE_PARTICIPANT,
        required: &["room", "identity"],
        answer: "Empty",
    },
    Operation {
        method: Method::MutePublishedTrack,
        summary: "Mute a track at the server",
        grant: ADMIN,
        request: MUTE_TRACK,
        required: &["room", "identity", "track_sid"],
        answer: "MuteRoomTrackResponse",
    },
    Operation {
        method: Method::UpdateParticipant,
        summary: "Change a participant's name, metadata, attributes or permissions",
        grant: ADMIN,
        request: UPDATE_PARTICIPANT,
        required: &["room", "identity"],
        answer: "ParticipantInfo",
    },
    Operation {
        method: Method::UpdateSubscriptions,
        summary: "Subscribe a participant to tracks, or unsubscribe it",
        grant: ADMIN,
        request: UPDATE_SUBSCRIPTIONS,
        required: &["room", "identity"],
        answer: "Empty",
    },
    Operation {
        method: Method::SendData,
        summary: "Send data to everybody, or to those named",
        grant: ADMIN,
        request: SEND_DATA,
        required: &["room"],
        answer: "Empty",
    },
    Operation {
        method: Method::MoveParticipant,
        summary: "Move a participant to another room",
        grant: "`roomAdmin` with `room`, and `destinationRoom`",
        request: MOVE_PARTICIPANT,
        required: &["room", "identity", "destination_room"],
        answer: "Empty",
    },
    Operation {
        method: Method::ForwardParticipant,
        summary: "Show a participant in another room, too",
        grant: "`roomAdmin` with `room`, and `destinationRoom`",
        request: MOVE_PARTICIPANT,
        required: &["room", "identity", "destination_room"],
        answer: "Empty",
    },
];

/// The paths and schemas of the room service, to be merged into the document of all endpoints.
#[must_use]
pub fn openapi() -> Value {
    let paths: Map<_, _> = OPERATIONS
        .iter()
        .map(|operation| {
            let path = format!("/twirp/livekit.RoomService/{}", operation.method.name());
            (path, json!({ "post": operation.describe() }))
        })
        .collect();
    let mut schemas: Map<_, _> = full_json::ANSWERS
        .iter()
        .map(|(name, message)| ((*name).to_owned(), object(message, Side::Answer)))
        .collect();
    schemas.insert(
        "Empty".to_owned(),
        json!({ "type": "object", "additionalProperties": false }),
    );
    json!({ "paths": paths, "components": { "schemas": schemas } })
}

impl Operation {
    fn describe(&self) -> Value {
        let mut request = object(self.request, Side::Request);
        if !self.required.is_empty() {
            request["required"] = json!(self.required);
            for field in self.required {
                request["properties"][field]["minLength"] = json!(1);
            }
        }
        // Who moderates the room that stays is not who ends it, and who is looked at not who goes.
        match self.method {
            Method::DeleteRoom => request["properties"]["room"]["examples"] = json!(["old"]),
            Method::RemoveParticipant | Method::MoveParticipant => {
                request["properties"]["identity"]["examples"] = json!(["visitor"]);
            }
            Method::CreateRoom
            | Method::ListRooms
            | Method::UpdateRoomMetadata
            | Method::ListParticipants
            | Method::GetParticipant
            | Method::MutePublishedTrack
            | Method::UpdateParticipant
            | Method::UpdateSubscriptions
            | Method::SendData
            | Method::ForwardParticipant
            | Method::PerformRpc => {}
        }
        let mut responses: Map<_, _> = ["400", "401", "403", "404", "408", "429", "503"]
            .iter()
            .map(|status| ((*status).to_owned(), refusal()))
            .collect();
        for status in self.refusals() {
            responses.insert((*status).to_owned(), refusal());
        }
        responses.insert(
            "200".to_owned(),
            json!({
                "description": "Done.",
                "content": { "application/json": {
                    "schema": { "$ref": format!("#/components/schemas/{}", self.answer) }
                } }
            }),
        );
        json!({
            "operationId": self.method.name(),
            "tags": ["room service"],
            "summary": self.summary,
            "description": format!("The token's key has the scope `admin`, and its claim `video` grants {}.", self.grant),
            "security": [{ "roomToken": [] }],
            "requestBody": {
                "required": true,
                "content": { "application/json": { "schema": request } }
            },
            "responses": responses,
        })
    }

    /// Statuses beside those that every method has.
    fn refusals(&self) -> &'static [&'static str] {
        match self.method {
            Method::CreateRoom => &["501"],
            Method::MoveParticipant | Method::ForwardParticipant => &["409", "412"],
            Method::RemoveParticipant
            | Method::MutePublishedTrack
            | Method::UpdateParticipant
            | Method::UpdateSubscriptions => &["412"],
            Method::ListRooms
            | Method::DeleteRoom
            | Method::UpdateRoomMetadata
            | Method::ListParticipants
            | Method::GetParticipant
            | Method::SendData
            | Method::PerformRpc => &[],
        }
    }
}

fn refusal() -> Value {
    json!({ "$ref": "#/components/responses/TwirpError" })
}

/// Whether a body is read or written: readers take more than writers write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Answer,
}

fn object(message: &Message, side: Side) -> Value {
    let properties: Map<_, _> = message
        .iter()
        .map(|(name, kind)| {
            let mut schema = schema(*kind, side);
            if side == Side::Request && *name == "name" {
                schema["maxLength"] = json!(LONGEST_NAME);
            }
            if let Some(example) = example(name) {
                schema["examples"] = json!([example]);
            }
            ((*name).to_owned(), schema)
        })
        .collect();
    let mut object = json!({ "type": "object", "properties": properties });
    if side == Side::Answer {
        let always = message
            .iter()
            .filter(|(_, kind)| !matches!(kind, Kind::Maybe(_)));
        object["required"] = always.map(|(name, _)| *name).collect();
        object["additionalProperties"] = json!(false);
    }
    object
}

/// The default of `limits.name_bytes`; characters here, which may be several bytes each.
const LONGEST_NAME: usize = 256;

/// What a field may look like, so that examples hang together.
fn example(field: &str) -> Option<&'static str> {
    Some(match field {
        "room" => "demo",
        "destination_room" => "counter-2",
        "identity" => "citizen",
        "track_sid" => "TR_AMx1q2w3e4r5t6",
        _ => return None,
    })
}

fn schema(kind: Kind, side: Side) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Bytes => {
            json!({ "type": "string", "contentEncoding": "base64", "pattern": "^([A-Za-z0-9+/]{4})*$" })
        }
        Kind::Number => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        Kind::Long if side == Side::Request => {
            json!({ "type": ["integer", "string"], "pattern": "^-?[0-9]+$" })
        }
        Kind::Long => json!({ "type": "string", "pattern": "^-?[0-9]+$" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Enum(names) => json!({ "enum": all(names, side) }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Enums(names) => json!({ "type": "array", "items": { "enum": all(names, side) } }),
        Kind::List(message) => json!({ "type": "array", "items": object(message, side) }),
        Kind::Map => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Message(message) => {
            let mut inner = object(message, side);
            inner["type"] = json!(["object", "null"]);
            inner
        }
        Kind::Maybe(Some(message)) => object(message, side),
        Kind::Maybe(None) if side == Side::Request => json!({ "type": ["string", "null"] }),
        Kind::Maybe(None) => json!({ "type": ["string", "integer"] }),
    }
}

/// Highest number of a value in the enumerations of the definition, with room to grow.
const LAST_VALUE: i32 = 255;

/// The values of an enumeration: answers have names, requests may have numbers instead.
fn all(names: Names, side: Side) -> Vec<Value> {
    let known = (0..=LAST_VALUE).filter_map(|value| Some((value, names(value)?)));
    known
        .flat_map(|(value, name)| {
            let number = (side == Side::Request).then(|| value.into());
            [Some(name.into()), number]
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use livekit_protocol::{
        CreateRoomRequest, DeleteRoomRequest, ForwardParticipantRequest, ListParticipantsRequest,
        ListRoomsRequest, MoveParticipantRequest, MuteRoomTrackRequest, ParticipantTracks,
        RoomParticipantIdentity, SendDataRequest, UpdateParticipantRequest,
        UpdateRoomMetadataRequest, UpdateSubscriptionsRequest,
    };

    use super::*;
    use crate::livekit::full_json::tests::{check, check_without};

    #[test]
    fn every_field_of_a_request_is_described_or_refused() {
        check_without::<CreateRoomRequest>(
            CREATE_ROOM,
            &[
                "room_preset",
                "node_id",
                "tags",
                "egress",
                "min_playout_delay",
                "max_playout_delay",
                "replay_enabled",
                "agents",
            ],
        );
        check::<ListRoomsRequest>(LIST_ROOMS);
        check::<DeleteRoomRequest>(ROOM_ONLY);
        check::<ListParticipantsRequest>(ROOM_ONLY);
        check_without::<RoomParticipantIdentity>(PARTICIPANT, &["revoke_token_ts"]);
        check::<RoomParticipantIdentity>(REMOVE_PARTICIPANT);
        check::<MuteRoomTrackRequest>(MUTE_TRACK);
        check::<UpdateParticipantRequest>(UPDATE_PARTICIPANT);
        check::<UpdateSubscriptionsRequest>(UPDATE_SUBSCRIPTIONS);
        check::<ParticipantTracks>(PARTICIPANT_TRACKS);
        check::<SendDataRequest>(SEND_DATA);
        check::<UpdateRoomMetadataRequest>(UPDATE_METADATA);
        check::<MoveParticipantRequest>(MOVE_PARTICIPANT);
        check::<ForwardParticipantRequest>(MOVE_PARTICIPANT);
    }

    #[test]
    fn every_answer_that_is_referred_to_is_described() {
        let document = openapi();
        for operation in OPERATIONS {
            let schemas = &document["components"]["schemas"];
            assert!(
                schemas[operation.answer].is_object(),
                "{}",
                operation.answer
            );
        }
    }
}
