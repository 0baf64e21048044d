//! Tracks as SDKs request them.

use livekit_protocol::{
    AddTrackRequest, SimulcastCodec, TrackSource, TrackType, VideoLayer, VideoQuality,
};

pub(crate) fn microphone(cid: &str) -> AddTrackRequest {
    AddTrackRequest {
        cid: cid.into(),
        source: TrackSource::Microphone as i32,
        ..AddTrackRequest::default()
    }
}

/// Simulcast VP8 with the three usual layers.
pub(crate) fn camera(cid: &str) -> AddTrackRequest {
    let layer = |quality: VideoQuality, width, height| VideoLayer {
        quality: quality as i32,
        width,
        height,
        ..VideoLayer::default()
    };
    AddTrackRequest {
        cid: cid.into(),
        r#type: TrackType::Video as i32,
        source: TrackSource::Camera as i32,
        width: 1280,
        height: 720,
        layers: vec![
            layer(VideoQuality::High, 1280, 720),
            layer(VideoQuality::Low, 320, 180),
            layer(VideoQuality::Medium, 640, 360),
        ],
        simulcast_codecs: vec![SimulcastCodec {
            codec: "vp8".into(),
            cid: cid.into(),
            ..SimulcastCodec::default()
        }],
        ..AddTrackRequest::default()
    }
}
