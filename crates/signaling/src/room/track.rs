//! A published track: what its publisher asked for, what was seen of it, and which quality is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use livekit_protocol::{
    AddTrackRequest, BackupCodecPolicy, SimulcastCodecInfo, TimedVersion, TrackInfo, TrackSource,
    TrackType, VideoLayer, VideoQuality, video_layer,
};
use schalter_forward::{Codec, ConsumerTarget, ProducerConfig, Rank};
use schalter_model::{MediaKind, Time, TrackId};

use super::demand::Demand;
use super::forward::LinkId;
use super::participant::{ParticipantKey, flags};
use super::speakers::Loudness;
use crate::sdp::CodecKind;

/// Which layers a publisher is asked to send: all up to this one, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    Nothing,
    UpTo(Quality),
}

/// The three steps of `VideoQuality` that name a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quality {
    Low,
    Medium,
    High,
}

impl Quality {
    pub(super) const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// `Off` and numbers beyond the definition count as high: what a newer client means can't be less than all.
    pub(super) fn of(value: i32) -> Self {
        match VideoQuality::try_from(value) {
            Ok(VideoQuality::Low) => Self::Low,
            Ok(VideoQuality::Medium) => Self::Medium,
            Ok(VideoQuality::High | VideoQuality::Off) | Err(_) => Self::High,
        }
    }

    pub(super) const fn wire(self) -> VideoQuality {
        match self {
            Self::Low => VideoQuality::Low,
            Self::Medium => VideoQuality::Medium,
            Self::High => VideoQuality::High,
        }
    }

    /// The quality that an RTP stream id stands for.
    fn of_rid(rid: &str) -> Option<Self> {
        match rid {
            "q" => Some(Self::Low),
            "h" => Some(Self::Medium),
            "f" => Some(Self::High),
            _ => None,
        }
    }

    const fn rid(self) -> &'static str {
        match self {
            Self::Low => "q",
            Self::Medium => "h",
            Self::High => "f",
        }
    }
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) id: TrackId,
    pub(super) sid: Arc<str>,
    pub(super) owner: ParticipantKey,
    pub(super) kind: MediaKind,
    /// The client's ids of it, as they stand in its SDP.
    pub(super) cids: Vec<String>,
    pub(super) info: TrackInfo,
    /// As sent to the shard, once its section was negotiated.
    pub(super) producer: Option<ProducerConfig>,
    /// Others know it.
    pub(super) announced: bool,
    pub(super) subscribers: BTreeSet<ParticipantKey>,
    pub(super) loudness: Loudness,
    /// The publisher knows that somebody gets it.
    pub(super) subscribed_told: bool,
    /// What the publisher was asked to send of the codec that it named first, and of the second.
    pub(super) demand: Demand,
    pub(super) backup_demand: Demand,
    /// The same pictures in the second codec, while they are published.
    pub(super) backup: Option<TrackId>,
    /// It is the second codec of this track, and nobody else knows of it.
    pub(super) backup_of: Option<TrackId>,
    /// A second codec whose first packet has arrived.
    pub(super) started: bool,
    /// Everybody gets the second codec.
    pub(super) regressed: bool,
    /// When that ends.
    pub(super) return_at: Option<Time>,
    /// What rooms that it is forwarded to want of it.
    pub(super) wanted_elsewhere: BTreeMap<LinkId, Wanted>,
}

impl Track {
    /// A track as requested, before its section is negotiated.
    pub(super) fn new(
        id: TrackId,
        sid: Arc<str>,
        owner: ParticipantKey,
        request: &AddTrackRequest,
        now_micros: u64,
    ) -> Self {
        let info = describe(&sid, request, now_micros);
        let mut cids = vec![request.cid.clone()];
        for codec in &request.simulcast_codecs {
            if !codec.cid.is_empty() && !cids.contains(&codec.cid) {
                cids.push(codec.cid.clone());
            }
        }
        let kind = match request.r#type() {
            TrackType::Audio => MediaKind::Audio,
            TrackType::Video | TrackType::Data => MediaKind::Video,
        };
        Self {
            cids,
            ..Self::described(id, sid, owner, kind, info)
        }
    }

    /// A track of which this much is known, and nothing has happened yet.
    pub(super) fn described(
        id: TrackId,
        sid: Arc<str>,
        owner: ParticipantKey,
        kind: MediaKind,
        info: TrackInfo,
    ) -> Self {
        Self {
            id,
            sid,
            owner,
            kind,
            cids: Vec::new(),
            info,
            producer: None,
            announced: false,
            subscribers: BTreeSet::new(),
            loudness: Loudness::default(),
            subscribed_told: false,
            demand: Demand::default(),
            backup_demand: Demand::default(),
            backup: None,
            backup_of: None,
            started: false,
            regressed: false,
            return_at: None,
            wanted_elsewhere: BTreeMap::new(),
        }
    }

    /// Whether simulcast was negotiated, and so qualities are RTP streams.
    fn has_rids(&self) -> bool {
        self.producer
            .as_ref()
            .is_some_and(|p| p.encodings.iter().any(|e| e.rid.is_some()))
    }

    /// Takes over what the SDP says: mid and layers' stream ids.
    pub(super) fn negotiated(&mut self, config: ProducerConfig) {
        let mid = config.mid.as_deref().unwrap_or_default().to_owned();
        self.producer = Some(config);
        let has_rids = self.has_rids();
        #[expect(deprecated, reason = "clients read this copy")]
        {
            self.info.simulcast = has_rids;
        }
        self.info.mid.clone_from(&mid);
        if let Some(codec) = self.info.codecs.first_mut() {
            codec.mid = mid;
        }
        self.edit_layers(|layer| {
            let quality = Quality::of(layer.quality);
            if has_rids {
                layer.rid = quality.rid().to_owned();
            }
        });
    }

    /// The codec that a track will come in, before any packet shows it.
    pub(super) fn expect(&mut self, codec: Codec) {
        let mime = CodecKind::of(codec).mime();
        mime.clone_into(&mut self.info.mime_type);
        if let Some(first) = self.info.codecs.first_mut() {
            mime.clone_into(&mut first.mime_type);
        }
    }

    /// Takes over what the first packet of an encoding showed. Returns whether anything is new.
    pub(super) fn seen(&mut self, encoding: u8, ssrc: u32, codec: Codec) -> bool {
        let before = self.info.clone();
        let quality = self.quality_of(encoding);
        let single = !self.has_rids();
        self.expect(codec);
        let lowest = self.lowest_layer();
        self.edit_layers(|layer| {
            let of_layer = Quality::of(layer.quality);
            // Without simulcast one stream carries all layers; it is told with the lowest.
            if (single && Some(of_layer) == lowest) || (!single && of_layer == quality) {
                layer.ssrc = ssrc;
            }
        });
        before != self.info
    }

    fn lowest_layer(&self) -> Option<Quality> {
        self.layers().map(|l| Quality::of(l.quality)).min()
    }

    fn layers(&self) -> impl Iterator<Item = &VideoLayer> {
        #[expect(deprecated, reason = "clients read this copy")]
        self.info.layers.iter()
    }

    fn edit_layers(&mut self, edit: impl Fn(&mut VideoLayer)) {
        let apply = |layers: &mut Vec<VideoLayer>| {
            for (index, layer) in layers.iter_mut().enumerate() {
                layer.spatial_layer = index as i32;
                edit(layer);
            }
        };
        #[expect(deprecated, reason = "clients read this copy")]
        apply(&mut self.info.layers);
        if let Some(codec) = self.info.codecs.first_mut() {
            apply(&mut codec.layers);
        }
    }

    /// The quality of an encoding: by its stream id, else by its place from the top.
    fn quality_of(&self, encoding: u8) -> Quality {
        let Some(config) = &self.producer else {
            return Quality::High;
        };
        let index = usize::from(encoding);
        if let Some(quality) = config
            .encodings
            .get(index)
            .and_then(|e| e.rid.as_deref())
            .and_then(Quality::of_rid)
        {
            return quality;
        }
        match config.encodings.len().saturating_sub(index + 1) {
            0 => Quality::High,
            1 => Quality::Medium,
            _ => Quality::Low,
        }
    }

    /// The best quality there is.
    pub(super) fn top(&self) -> Quality {
        self.layers()
            .map(|layer| Quality::of(layer.quality))
            .max()
            .unwrap_or(Quality::High)
    }

    /// The lowest quality that fills a picture of this size without enlarging it.
    pub(super) fn quality_for(&self, width: u32, height: u32) -> Quality {
        // Pictures are fitted into their element, so one side that suffices is enough.
        self.layers()
            .filter(|layer| layer.width > 0 && layer.height > 0)
            .filter(|layer| layer.width >= width || layer.height >= height)
            .map(|layer| Quality::of(layer.quality))
            .min()
            .unwrap_or_else(|| self.top())
    }

    /// What the shard is told of a wish.
    pub(super) fn target(&self, wanted: Wanted, rank: Rank) -> ConsumerTarget {
        let count = self.producer.as_ref().map_or(1, |p| p.encodings.len());
        let best = match wanted {
            Wanted::Nothing => 0,
            Wanted::UpTo(quality) => (0..count.min(usize::from(u8::MAX)) as u8)
                .filter(|index| self.quality_of(*index) <= quality)
                .max()
                .unwrap_or(0),
        };
        ConsumerTarget {
            paused: wanted == Wanted::Nothing,
            max_encoding: best,
            max_spatial: self.spatial_for(wanted, count),
            rank,
            ..ConsumerTarget::default()
        }
    }

    /// The highest spatial layer that a wish reaches: only one encoding that is many qualities carries them as such.
    fn spatial_for(&self, wanted: Wanted, encodings: usize) -> u8 {
        let Wanted::UpTo(quality) = wanted else {
            return u8::MAX;
        };
        // What a client declares may be less than what it sends: who wants the best gets all of it.
        if encodings > 1 || quality >= self.top() {
            return u8::MAX;
        }
        let reached = self
            .layers()
            .filter(|layer| Quality::of(layer.quality) <= quality);
        reached.count().saturating_sub(1) as u8
    }
}

/// Layers as a client asked for them, lowest quality first, without what only media shows.
fn layers(asked: &[VideoLayer]) -> Vec<VideoLayer> {
    let mut layers: Vec<_> = asked
        .iter()
        .take(Quality::ALL.len())
        .map(|layer| VideoLayer {
            quality: layer.quality,
            width: layer.width,
            height: layer.height,
            bitrate: layer.bitrate,
            ..VideoLayer::default()
        })
        .collect();
    layers.sort_by_key(|layer| layer.quality);
    layers
}

fn describe(sid: &str, request: &AddTrackRequest, now_micros: u64) -> TrackInfo {
    let video = request.r#type() == TrackType::Video;
    let own_layers = layers(&request.layers);
    let mode = |codec: &str, asked: i32| {
        if !video {
            return 0;
        }
        let named = video_layer::Mode::try_from(asked).unwrap_or(video_layer::Mode::Unused);
        if named != video_layer::Mode::Unused {
            return named as i32;
        }
        if matches!(codec, "vp9" | "av1") {
            video_layer::Mode::MultipleSpatialLayersPerStream as i32
        } else {
            video_layer::Mode::OneSpatialLayerPerStream as i32
        }
    };
    let mut codecs: Vec<_> = request
        .simulcast_codecs
        .iter()
        .map(|codec| {
            let name = codec.codec.to_ascii_lowercase();
            SimulcastCodecInfo {
                mime_type: mime_text(&name, video),
                cid: codec.cid.clone(),
                layers: if codec.layers.is_empty() {
                    own_layers.clone()
                } else {
                    layers(&codec.layers)
                },
                video_layer_mode: mode(&name, codec.video_layer_mode),
                ..SimulcastCodecInfo::default()
            }
        })
        .collect();
    if codecs.is_empty() {
        codecs.push(SimulcastCodecInfo {
            cid: request.cid.clone(),
            layers: own_layers.clone(),
            video_layer_mode: mode("", 0),
            ..SimulcastCodecInfo::default()
        });
    }
    let stream = match (request.stream.is_empty(), request.source()) {
        (false, _) => request.stream.clone(),
        (true, TrackSource::Camera | TrackSource::Microphone) => "camera".to_owned(),
        (true, TrackSource::ScreenShare | TrackSource::ScreenShareAudio) => "screen".to_owned(),
        (true, TrackSource::Unknown) => String::new(),
    };
    let policy = if video {
        request.backup_codec_policy
    } else {
        BackupCodecPolicy::Simulcast as i32
    };
    #[expect(deprecated, reason = "clients read these copies")]
    TrackInfo {
        sid: sid.to_owned(),
        r#type: request.r#type,
        name: request.name.clone(),
        muted: request.muted,
        width: request.width,
        height: request.height,
        simulcast: video
            && own_layers.len() > 1
            && codecs.first().is_some_and(|c| {
                c.video_layer_mode == video_layer::Mode::OneSpatialLayerPerStream as i32
            }),
        disable_dtx: request.disable_dtx,
        source: request.source,
        layers: own_layers,
        codecs,
        stereo: request.stereo,
        disable_red: request.disable_red,
        encryption: request.encryption,
        stream,
        version: Some(TimedVersion {
            unix_micro: now_micros as i64,
            ticks: 0,
        }),
        audio_features: flags(request.audio_features.clone()),
        backup_codec_policy: policy,
        packet_trailer_features: flags(request.packet_trailer_features.clone()),
        ..TrackInfo::default()
    }
}

fn mime_text(codec: &str, video: bool) -> String {
    if codec.is_empty() || codec.contains('/') {
        codec.to_owned()
    } else if video {
        format!("video/{codec}")
    } else {
        format!("audio/{codec}")
    }
}
