//! Messages as proto JSON, for clients that speak it.
//!
//! What newer clients say of themselves is passed on with values of enums that this build doesn't know. Binary frames
//! carry them; the JSON writer refuses the whole message. Then the values are left out, never the message.

use livekit_protocol::{
    AudioTrackFeature, BackupCodecPolicy, DataTrackInfo, PacketTrailerFeature, ParticipantInfo,
    SignalResponse, TrackInfo, TrackSource, TrackType, VideoLayer, VideoQuality, WebhookEvent,
    client_info, encryption, signal_response::Message, video_layer,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a message; `None` if it is none. Whole numbers may be written as `3.0`, too, as proto3 JSON has it.
pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    serde_json::from_slice(text).ok().or_else(|| {
        let mut value = serde_json::from_slice(text).ok()?;
        write_whole_numbers(&mut value);
        serde_json::from_value(value).ok()
    })
}

/// The first whole number that a 64-bit float can't tell from its neighbour.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn write_whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64()
                && float.fract() == 0.0
                && float.abs() < EXACT
            {
                *value = (float as i64).into();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(write_whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(write_whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Writes a message; `None` if it can't be written at all.
pub fn write(response: &SignalResponse) -> Option<String> {
    serde_json::to_string(response)
        .or_else(|_| {
            let mut response = response.clone();
            leave_out_unknown(&mut response);
            serde_json::to_string(&response)
        })
        .ok()
}

/// Writes what integrators are told; `None` if it can't be written at all.
pub fn write_event(event: &WebhookEvent) -> Option<String> {
    serde_json::to_string(event)
        .or_else(|_| {
            let mut event = event.clone();
            event.participant.iter_mut().for_each(participant);
            event.track.iter_mut().for_each(track);
            serde_json::to_string(&event)
        })
        .ok()
}

fn leave_out_unknown(response: &mut SignalResponse) {
    // Only these repeat what clients said.
    match &mut response.message {
        Some(Message::Join(join)) => {
            join.participant.iter_mut().for_each(participant);
            join.other_participants.iter_mut().for_each(participant);
        }
        Some(Message::Update(update)) => update.participants.iter_mut().for_each(participant),
        Some(Message::TrackPublished(published)) => published.track.iter_mut().for_each(track),
        Some(Message::PublishDataTrackResponse(response)) => {
            response.info.iter_mut().for_each(data_track);
        }
        Some(Message::UnpublishDataTrackResponse(response)) => {
            response.info.iter_mut().for_each(data_track);
        }
        // An echo that its sender knows; the reason says enough.
        Some(Message::RequestResponse(response)) => response.request = None,
        _ => {}
    }
}

/// Leaves out of a participant what this build can't write.
pub(super) fn participant(info: &mut ParticipantInfo) {
    list::<client_info::Capability>(&mut info.capabilities);
    info.tracks.iter_mut().for_each(track);
    info.data_tracks.iter_mut().for_each(data_track);
}

/// Leaves out of a track what this build can't write.
pub(super) fn track(info: &mut TrackInfo) {
    one::<TrackType>(&mut info.r#type);
    one::<TrackSource>(&mut info.source);
    one::<encryption::Type>(&mut info.encryption);
    one::<BackupCodecPolicy>(&mut info.backup_codec_policy);
    list::<AudioTrackFeature>(&mut info.audio_features);
    list::<PacketTrailerFeature>(&mut info.packet_trailer_features);
    for codec in &mut info.codecs {
        one::<video_layer::Mode>(&mut codec.video_layer_mode);
        codec.layers.iter_mut().for_each(layer);
    }
    #[expect(deprecated, reason = "clients read this copy")]
    info.layers.iter_mut().for_each(layer);
}

fn layer(layer: &mut VideoLayer) {
    one::<VideoQuality>(&mut layer.quality);
}

fn data_track(info: &mut DataTrackInfo) {
    one::<encryption::Type>(&mut info.encryption);
    if serde_json::to_string(info).is_err() {
        info.frame_encoding = None;
        info.schema = None;
    }
}

fn one<E: TryFrom<i32>>(value: &mut i32) {
    if E::try_from(*value).is_err() {
        *value = 0;
    }
}

fn list<E: TryFrom<i32>>(values: &mut Vec<i32>) {
    values.retain(|value| E::try_from(*value).is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use livekit_protocol::{ParticipantUpdate, SimulcastCodecInfo};

    #[test]
    fn whole_numbers_are_read_however_they_are_written() {
        use livekit_protocol::CreateRoomRequest;
        let seconds = |text: &str| {
            let text = format!("{{\"name\":\"x\",\"empty_timeout\":{text}}}");
            read::<CreateRoomRequest>(text.as_bytes()).map(|room| room.empty_timeout)
        };
        for text in ["300", "300.0", "3e2", "\"300\""] {
            assert_eq!(seconds(text), Some(300), "{text}");
        }
        for text in ["300.5", "-1", "-1.0", "4294967296.0", "1e300", "true"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn values_that_only_newer_clients_know_don_t_stop_a_message() {
        let quality = VideoLayer {
            quality: 77,
            ..VideoLayer::default()
        };
        #[expect(deprecated, reason = "clients read this copy")]
        let newer = TrackInfo {
            sid: "TR_x".into(),
            r#type: 77,
            source: 77,
            encryption: 77,
            backup_codec_policy: 77,
            audio_features: vec![1, 77],
            packet_trailer_features: vec![77],
            layers: vec![quality.clone()],
            codecs: vec![SimulcastCodecInfo {
                video_layer_mode: 77,
                layers: vec![quality],
                ..SimulcastCodecInfo::default()
            }],
            ..TrackInfo::default()
        };
        let info = ParticipantInfo {
            sid: "PA_x".into(),
            capabilities: vec![1, 77],
            tracks: vec![newer],
            ..ParticipantInfo::default()
        };
        let event = WebhookEvent {
            event: "track_published".into(),
            participant: Some(info.clone()),
            track: info.tracks.first().cloned(),
            ..WebhookEvent::default()
        };
        assert!(serde_json::to_string(&event).is_err());
        let text = write_event(&event).unwrap();
        let read: WebhookEvent = serde_json::from_str(&text).unwrap();
        assert_eq!(read.track.unwrap().sid, "TR_x");
        assert_eq!(read.participant.unwrap().capabilities, [1]);
        let response = SignalResponse {
            message: Some(Message::Update(ParticipantUpdate {
                participants: vec![info],
            })),
        };
        assert!(
            serde_json::to_string(&response).is_err(),
            "else this module is not needed"
        );
        let text = write(&response).unwrap();
        let read: SignalResponse = serde_json::from_str(&text).unwrap();
        let Some(Message::Update(update)) = read.message else {
            panic!("{text}")
        };
        let info = &update.participants[0];
        assert_eq!(
            (info.sid.as_str(), &info.capabilities[..]),
            ("PA_x", &[1][..])
        );
        assert_eq!(info.tracks[0].sid, "TR_x");
        assert_eq!(info.tracks[0].audio_features, [1]);
    }
}
