//! Answers of the server API as JSON: every field is there, in snake case, as LiveKit's server writes them.
//!
//! Proto3 JSON leaves out fields with their default value and writes names in camel case; parsers of the format take
//! both, but who reads such an answer by hand relies on `num_participants: 0`. The generated code doesn't know what it
//! leaves out, so the messages that are answered are described here. A test holds them against the definitions.

use livekit_protocol::{
    AudioTrackFeature, BackupCodecPolicy, DeleteRoomResponse, DisconnectReason,
    ForwardParticipantResponse, ListParticipantsResponse, ListRoomsResponse,
    MoveParticipantResponse, MuteRoomTrackResponse, PacketTrailerFeature, ParticipantInfo,
    RemoveParticipantResponse, Room, SendDataResponse, TrackSource, TrackType,
    UpdateSubscriptionsResponse, VideoQuality, client_info, encryption, participant_info,
    video_layer,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::json;

/// The name of an enumeration's value, if it has one.
pub(super) type Names = fn(i32) -> Option<&'static str>;

/// The names of an enumeration of the definition.
macro_rules! names {
    ($enumeration:ty) => {
        |value| {
            let value = <$enumeration>::try_from(value).ok()?;
            Some(value.as_str_name())
        }
    };
}
pub(super) use names;

/// What stands where a field has its default value, and what a field is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// In base64.
    Bytes,
    /// 32 bits.
    Number,
    /// 64 bits: text, since JavaScript's numbers have fewer.
    Long,
    Flag,
    /// A name.
    Enum(Names),
    /// A list of texts.
    Texts,
    /// A list of names.
    Enums(Names),
    List(&'static Message),
    /// From text to text.
    Map,
    /// `null` where it is not set.
    Message(&'static Message),
    /// Left out where it is not set, as members of a `oneof` and `optional` ones are.
    Maybe(Option<&'static Message>),
}

/// A message: its fields in the order of the definition.
pub(super) type Message = [(&'static str, Kind)];

use Kind::{Enum, Enums, Flag, List, Long, Maybe, Number, Text};

const CODEC: &Message = &[("mime", Text), ("fmtp_line", Text)];

const TIMED_VERSION: &Message = &[("unix_micro", Long), ("ticks", Number)];

const ROOM: &Message = &[
    ("sid", Text),
    ("name", Text),
    ("empty_timeout", Number),
    ("departure_timeout", Number),
    ("max_participants", Number),
    ("creation_time", Long),
    ("creation_time_ms", Long),
    ("turn_password", Text),
    ("enabled_codecs", List(CODEC)),
    ("metadata", Text),
    ("num_participants", Number),
    ("num_publishers", Number),
    ("active_recording", Flag),
    ("version", Kind::Message(TIMED_VERSION)),
];

pub(super) const PERMISSION: &Message = &[
    ("can_subscribe", Flag),
    ("can_publish", Flag),
    ("can_publish_data", Flag),
    ("can_publish_sources", Enums(names!(TrackSource))),
    ("hidden", Flag),
    ("recorder", Flag),
    ("can_update_metadata", Flag),
    ("agent", Flag),
    ("can_subscribe_metrics", Flag),
    ("can_manage_agent_session", Flag),
];

const LAYER: &Message = &[
    ("quality", Enum(names!(VideoQuality))),
    ("width", Number),
    ("height", Number),
    ("bitrate", Number),
    ("ssrc", Number),
    ("spatial_layer", Number),
    ("rid", Text),
    ("repair_ssrc", Number),
];

const SIMULCAST_CODEC: &Message = &[
    ("mime_type", Text),
    ("mid", Text),
    ("cid", Text),
    ("layers", List(LAYER)),
    ("video_layer_mode", Enum(names!(video_layer::Mode))),
    ("sdp_cid", Text),
];

const TRACK: &Message = &[
    ("sid", Text),
    ("type", Enum(names!(TrackType))),
    ("name", Text),
    ("muted", Flag),
    ("width", Number),
    ("height", Number),
    ("simulcast", Flag),
    ("disable_dtx", Flag),
    ("source", Enum(names!(TrackSource))),
    ("layers", List(LAYER)),
    ("mime_type", Text),
    ("mid", Text),
    ("codecs", List(SIMULCAST_CODEC)),
    ("stereo", Flag),
    ("disable_red", Flag),
    ("encryption", Enum(names!(encryption::Type))),
    ("stream", Text),
    ("version", Kind::Message(TIMED_VERSION)),
    ("audio_features", Enums(names!(AudioTrackFeature))),
    ("backup_codec_policy", Enum(names!(BackupCodecPolicy))),
    (
        "packet_trailer_features",
        Enums(names!(PacketTrailerFeature)),
    ),
];

const ENCODING: &Message = &[("well_known", Maybe(None)), ("custom", Maybe(None))];

const SCHEMA_ID: &Message = &[("name", Text), ("encoding", Kind::Message(ENCODING))];

const DATA_TRACK: &Message = &[
    ("pub_handle", Number),
    ("sid", Text),
    ("name", Text),
    ("encryption", Enum(names!(encryption::Type))),
    ("frame_encoding", Maybe(Some(ENCODING))),
    ("schema", Maybe(Some(SCHEMA_ID))),
];

const PARTICIPANT: &Message = &[
    ("sid", Text),
    ("identity", Text),
    ("state", Enum(names!(participant_info::State))),
    ("tracks", List(TRACK)),
    ("metadata", Text),
    ("joined_at", Long),
    ("joined_at_ms", Long),
    ("name", Text),
    ("version", Number),
    ("permission", Kind::Message(PERMISSION)),
    ("region", Text),
    ("is_publisher", Flag),
    ("kind", Enum(names!(participant_info::Kind))),
    ("attributes", Kind::Map),
    ("disconnect_reason", Enum(names!(DisconnectReason))),
    ("kind_details", Enums(names!(participant_info::KindDetail))),
    ("data_tracks", List(DATA_TRACK)),
    ("client_protocol", Number),
    ("capabilities", Enums(names!(client_info::Capability))),
];

const LIST_ROOMS: &Message = &[("rooms", List(ROOM))];

const LIST_PARTICIPANTS: &Message = &[("participants", List(PARTICIPANT))];

const MUTE_TRACK: &Message = &[("track", Kind::Message(TRACK))];

/// Every answer that has fields, by the name of its message.
pub(super) const ANSWERS: &[(&str, &Message)] = &[
    ("Room", ROOM),
    ("ListRoomsResponse", LIST_ROOMS),
    ("ParticipantInfo", PARTICIPANT),
    ("ListParticipantsResponse", LIST_PARTICIPANTS),
    ("MuteRoomTrackResponse", MUTE_TRACK),
];

impl Kind {
    /// What stands for a field that was left out; `None`: nothing.
    fn empty(self) -> Option<Value> {
        Some(match self {
            Self::Text | Self::Bytes => "".into(),
            Self::Number => 0.into(),
            Self::Long => "0".into(),
            Self::Flag => false.into(),
            Self::Enum(names) => names(0).unwrap_or_default().into(),
            Self::Texts | Self::Enums(_) | Self::List(_) => Vec::<Value>::new().into(),
            Self::Map => Map::new().into(),
            Self::Message(_) => Value::Null,
            Self::Maybe(_) => return None,
        })
    }

    /// Fills in what is missing inside of a field.
    fn complete(self, value: Value) -> Value {
        match (self, value) {
            (Self::List(message), Value::Array(list)) => {
                let each = list.into_iter().map(|value| complete(value, message));
                each.collect()
            }
            (Self::Message(message) | Self::Maybe(Some(message)), value) => {
                complete(value, message)
            }
            (_, value) => value,
        }
    }
}

/// The name of a field in proto3 JSON.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        camel.push_str(&first.to_ascii_uppercase());
        camel.push_str(rest);
    }
    camel
}

fn complete(value: Value, message: &Message) -> Value {
    let Value::Object(mut fields) = value else {
        return value;
    };
    let mut full = Map::new();
    for (name, kind) in message {
        let value = fields.remove(&camel(name));
        let value = value.map_or_else(|| kind.empty(), |value| Some(kind.complete(value)));
        if let Some(value) = value {
            full.insert((*name).to_owned(), value);
        }
    }
    full.into()
}

/// A message that is an answer of the server API.
pub(super) trait Answer: prost::Message + Serialize {
    /// Fills in what its JSON leaves out.
    fn complete(value: Value) -> Value {
        value
    }

    /// Leaves out what newer clients said of themselves and this build can't write.
    fn leave_out_unknown(&mut self) {}
}

impl Answer for DeleteRoomResponse {}
impl Answer for RemoveParticipantResponse {}
impl Answer for UpdateSubscriptionsResponse {}
impl Answer for SendDataResponse {}
impl Answer for MoveParticipantResponse {}
impl Answer for ForwardParticipantResponse {}

impl Answer for Room {
    fn complete(value: Value) -> Value {
        complete(value, ROOM)
    }
}

impl Answer for ListRoomsResponse {
    fn complete(value: Value) -> Value {
        complete(value, LIST_ROOMS)
    }
}

impl Answer for ParticipantInfo {
    fn complete(value: Value) -> Value {
        complete(value, PARTICIPANT)
    }

    fn leave_out_unknown(&mut self) {
        json::participant(self);
    }
}

impl Answer for ListParticipantsResponse {
    fn complete(value: Value) -> Value {
        complete(value, LIST_PARTICIPANTS)
    }

    fn leave_out_unknown(&mut self) {
        self.participants.iter_mut().for_each(json::participant);
    }
}

impl Answer for MuteRoomTrackResponse {
    fn complete(value: Value) -> Value {
        complete(value, MUTE_TRACK)
    }

    fn leave_out_unknown(&mut self) {
        self.track.iter_mut().for_each(json::track);
    }
}

/// Writes an answer; `None` if it can't be written at all.
pub(super) fn write<A: Answer>(mut answer: A) -> Option<Vec<u8>> {
    let value = serde_json::to_value(&answer).or_else(|_| {
        answer.leave_out_unknown();
        serde_json::to_value(&answer)
    });
    serde_json::to_vec(&A::complete(value.ok()?)).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use livekit_protocol::{
        Codec, DataTrackFrameEncoding, DataTrackInfo, DataTrackSchemaEncoding, DataTrackSchemaId,
        ParticipantPermission, SimulcastCodecInfo, TimedVersion, TrackInfo, VideoLayer,
    };
    use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
    use serde::forward_to_deserialize_any;

    use super::*;

    /// Learns the names of a message's fields from its generated reader.
    struct Names<'a>(&'a mut Vec<&'static str>);

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.extend(fields);
            Err(Self::Error::custom("only the names are wanted"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(Self::Error::custom("no message"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    /// Whether a table has the fields of the definition, all of them and no other.
    pub(in crate::livekit) fn check<T: for<'de> Deserialize<'de>>(message: &Message) {
        check_without::<T>(message, &[]);
    }

    /// The same, but for fields that are left out on purpose.
    pub(in crate::livekit) fn check_without<T: for<'de> Deserialize<'de>>(
        message: &Message,
        left_out: &[&str],
    ) {
        let mut names = Vec::new();
        assert!(T::deserialize(Names(&mut names)).is_err());
        assert!(!names.is_empty());
        // The reader takes both spellings.
        for name in &names {
            let fields = message.iter().map(|(field, _)| *field);
            let known = fields
                .chain(left_out.iter().copied())
                .any(|field| field == *name || camel(field) == *name);
            assert!(known, "{name} of {}", std::any::type_name::<T>());
        }
        let described = message.iter().map(|(field, _)| field);
        for field in described.chain(left_out) {
            assert!(names.contains(field), "{field}");
            assert!(names.contains(&&*camel(field)), "{field}");
        }
    }

    #[test]
    fn every_field_of_the_definitions_is_described() {
        check::<Room>(ROOM);
        check::<Codec>(CODEC);
        check::<TimedVersion>(TIMED_VERSION);
        check::<ParticipantInfo>(PARTICIPANT);
        check::<ParticipantPermission>(PERMISSION);
        check::<TrackInfo>(TRACK);
        check::<SimulcastCodecInfo>(SIMULCAST_CODEC);
        check::<VideoLayer>(LAYER);
        check::<DataTrackInfo>(DATA_TRACK);
        check::<DataTrackFrameEncoding>(ENCODING);
        check::<DataTrackSchemaEncoding>(ENCODING);
        check::<DataTrackSchemaId>(SCHEMA_ID);
    }

    /// Two of everything that can be there, one of them with nothing but defaults.
    fn participant() -> ParticipantInfo {
        #[expect(deprecated, reason = "clients read this copy")]
        let track = TrackInfo {
            sid: "TR_x".into(),
            layers: vec![VideoLayer::default()],
            codecs: vec![SimulcastCodecInfo {
                layers: vec![VideoLayer {
                    width: 640,
                    ..VideoLayer::default()
                }],
                ..SimulcastCodecInfo::default()
            }],
            version: Some(TimedVersion {
                unix_micro: 7,
                ticks: 0,
            }),
            audio_features: vec![1],
            ..TrackInfo::default()
        };
        ParticipantInfo {
            sid: "PA_x".into(),
            attributes: [("keep_thisKey".to_owned(), String::new())].into(),
            tracks: vec![track, TrackInfo::default()],
            data_tracks: vec![
                DataTrackInfo::default(),
                DataTrackInfo {
                    schema: Some(DataTrackSchemaId {
                        name: "s".into(),
                        encoding: Some(DataTrackSchemaEncoding::default()),
                    }),
                    frame_encoding: Some(DataTrackFrameEncoding::default()),
                    ..DataTrackInfo::default()
                },
            ],
            permission: Some(ParticipantPermission::default()),
            capabilities: vec![1],
            ..ParticipantInfo::default()
        }
    }

    #[test]
    fn answers_say_the_same_as_the_message_with_every_field() {
        let participant = participant();
        let written = write(participant.clone()).unwrap();
        let read: ParticipantInfo = serde_json::from_slice(&written).unwrap();
        assert_eq!(read, participant);
        let value: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(value["attributes"]["keep_thisKey"], "");
        assert_eq!(value["joined_at_ms"], "0");
        assert_eq!(value["state"], "JOINING");
        assert_eq!(value["kind_details"], serde_json::json!([]));
        assert_eq!(value["permission"]["can_publish_data"], false);
        assert_eq!(value["tracks"][0]["version"]["unix_micro"], "7");
        assert_eq!(value["tracks"][1]["version"], Value::Null);
        assert_eq!(value["tracks"][0]["codecs"][0]["layers"][0]["width"], 640);
        assert!(value["data_tracks"][0].get("schema").is_none());
        assert_eq!(value["data_tracks"][1]["schema"]["name"], "s");
    }

    #[test]
    fn an_empty_room_has_every_field() {
        let written = write(Room::default()).unwrap();
        let value: Value = serde_json::from_slice(&written).unwrap();
        let expected = serde_json::json!({
            "sid": "", "name": "", "empty_timeout": 0, "departure_timeout": 0, "max_participants": 0,
            "creation_time": "0", "creation_time_ms": "0", "turn_password": "", "enabled_codecs": [],
            "metadata": "", "num_participants": 0, "num_publishers": 0, "active_recording": false,
            "version": null,
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn what_only_newer_clients_know_does_not_stop_an_answer() {
        let newer = ParticipantInfo {
            sid: "PA_x".into(),
            capabilities: vec![1, 77],
            ..ParticipantInfo::default()
        };
        let list = ListParticipantsResponse {
            participants: vec![newer],
        };
        let value: Value = serde_json::from_slice(&write(list).unwrap()).unwrap();
        assert_eq!(value["participants"][0]["sid"], "PA_x");
        assert_eq!(
            value["participants"][0]["capabilities"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
}
