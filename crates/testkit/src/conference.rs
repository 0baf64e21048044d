//! Who publishes and who watches whom, in the words of signaling.

use std::sync::Arc;

use schalter_forward::{
    CodecBinding, ConsumerConfig, ConsumerTarget, EncodingConfig, ExtensionIds, ProducerConfig,
};
use schalter_model::{MediaKind, ShardId, TrackId};
use schalter_shard::control::Command;

use crate::media::{AUDIO_LEVEL, MID, OPUS, REPAIRED_RID, RID, TRANSPORT_CC, VP8};
use crate::{Picture, Sim, SourceConfig};

/// Both kinds, as a camera with a microphone has them.
pub const BOTH: [MediaKind; 2] = [MediaKind::Video, MediaKind::Audio];

/// The track of a peer's camera or microphone.
pub fn track(peer: usize, kind: MediaKind) -> TrackId {
    TrackId(peer as u64 * 2 + 1 + u64::from(kind == MediaKind::Audio))
}

/// The stream of a peer's camera or microphone.
pub fn source(peer: usize, kind: MediaKind) -> SourceConfig {
    let ssrc = 0x1000_0000 + peer as u32 * 16;
    match kind {
        MediaKind::Video => SourceConfig::video(ssrc),
        MediaKind::Audio => SourceConfig::audio(ssrc + 4),
    }
}

fn outgoing_ssrc(subscriber: usize, publisher: usize, kind: MediaKind) -> u32 {
    let pair = subscriber as u32 * 1_024 + publisher as u32;
    0x2000_0000 + pair * 4 + if kind == MediaKind::Audio { 2 } else { 0 }
}

fn binding(kind: MediaKind) -> CodecBinding {
    match kind {
        MediaKind::Video => VP8,
        MediaKind::Audio => OPUS,
    }
}

fn extensions() -> ExtensionIds {
    ExtensionIds {
        mid: Some(MID),
        audio_level: Some(AUDIO_LEVEL),
        transport_cc: Some(TRANSPORT_CC),
        ..ExtensionIds::default()
    }
}

/// How a peer's track is negotiated with it.
pub fn producer_config(peer: usize, kind: MediaKind) -> ProducerConfig {
    let source = source(peer, kind);
    ProducerConfig {
        kind,
        mid: Some(source.mid().into()),
        codecs: vec![binding(kind)],
        encodings: vec![EncodingConfig {
            rid: None,
            ssrc: Some(source.ssrc),
            rtx_ssrc: Some(source.rtx_ssrc()),
        }],
        extensions: extensions(),
        transport_cc: true,
        room: None,
    }
}

/// How a subscription is negotiated with the subscriber.
pub fn consumer_config(subscriber: usize, publisher: usize, kind: MediaKind) -> ConsumerConfig {
    let ssrc = outgoing_ssrc(subscriber, publisher, kind);
    ConsumerConfig {
        ssrc,
        rtx_ssrc: Some(ssrc + 1),
        cname: Arc::from(format!("peer-{publisher}")),
        mid: Some(format!("{publisher}{}", source(publisher, kind).mid()).into()),
        codecs: vec![binding(kind)],
        extensions: extensions(),
        congestion_feedback: false,
        continues: false,
        target: ConsumerTarget {
            paused: false,
            max_encoding: 0,
            ..ConsumerTarget::default()
        },
    }
}

/// The streams of a camera that sends this picture, lowest encoding first.
pub fn streams(peer: usize, picture: &Picture) -> Vec<SourceConfig> {
    picture.streams(source(peer, MediaKind::Video).ssrc)
}

/// How a camera's picture is negotiated with its publisher: by stream ids, no SSRC is named.
pub fn picture_config(peer: usize, picture: &Picture) -> ProducerConfig {
    let encodings = streams(peer, picture).into_iter();
    let encodings = encodings.map(|stream| EncodingConfig {
        rid: stream.rid.map(Arc::from),
        ssrc: None,
        rtx_ssrc: None,
    });
    let plain = producer_config(peer, MediaKind::Video);
    ProducerConfig {
        encodings: encodings.collect(),
        extensions: ExtensionIds {
            rid: Some(RID),
            repaired_rid: Some(REPAIRED_RID),
            ..plain.extensions
        },
        ..plain
    }
}

impl Sim {
    /// Announces a peer's track to its shard, without the peer sending anything.
    pub fn add_producer(&mut self, peer: usize, kind: MediaKind) {
        let transport = self.peer(peer).config().transport;
        let command = Command::AddProducer {
            transport,
            track: track(peer, kind),
            config: producer_config(peer, kind),
        };
        self.command(self.home(peer), command);
    }

    /// A peer publishes camera and microphone from now on.
    pub fn publish(&mut self, peer: usize) {
        for kind in BOTH {
            self.add_producer(peer, kind);
            self.with_peer(peer, |now, sim_peer| {
                sim_peer.publish(now, source(peer, kind));
            });
        }
    }

    /// A peer publishes microphone and a camera with this picture from now on.
    pub fn publish_picture(&mut self, peer: usize, picture: &Picture) {
        let command = Command::AddProducer {
            transport: self.peer(peer).config().transport,
            track: track(peer, MediaKind::Video),
            config: picture_config(peer, picture),
        };
        self.command(self.home(peer), command);
        self.add_producer(peer, MediaKind::Audio);
        let mut all = streams(peer, picture);
        all.push(source(peer, MediaKind::Audio));
        self.with_peer(peer, |now, sim_peer| {
            for stream in all {
                sim_peer.publish(now, stream);
            }
        });
    }

    /// A peer subscribes to microphone and camera of another, all of the picture wanted.
    pub fn subscribe_picture(&mut self, subscriber: usize, publisher: usize, picture: &Picture) {
        self.subscribe_to(subscriber, publisher, MediaKind::Audio);
        let sources: Vec<_> = streams(publisher, picture)
            .iter()
            .map(|stream| stream.ssrc)
            .collect();
        let mut config = consumer_config(subscriber, publisher, MediaKind::Video);
        config.target.max_encoding = sources.len() as u8 - 1;
        let ssrc = config.ssrc;
        let command = Command::AddConsumer {
            transport: self.peer(subscriber).config().transport,
            track: track(publisher, MediaKind::Video),
            producer_shard: ShardId(self.home(publisher) as u8),
            config,
        };
        self.command(self.home(subscriber), command);
        self.with_peer(subscriber, |now, peer| {
            peer.subscribe_adaptive(now, ssrc, sources);
        });
    }

    /// A peer wants no more than this encoding of another's camera.
    pub fn want_encoding(&mut self, subscriber: usize, publisher: usize, max_encoding: u8) {
        let command = Command::SetConsumerTarget {
            transport: self.peer(subscriber).config().transport,
            track: track(publisher, MediaKind::Video),
            target: ConsumerTarget {
                paused: false,
                max_encoding,
                ..ConsumerTarget::default()
            },
        };
        self.command(self.home(subscriber), command);
    }

    /// A peer subscribes to one track of another.
    pub fn subscribe_to(&mut self, subscriber: usize, publisher: usize, kind: MediaKind) {
        let transport = self.peer(subscriber).config().transport;
        let config = consumer_config(subscriber, publisher, kind);
        let ssrc = config.ssrc;
        let command = Command::AddConsumer {
            transport,
            track: track(publisher, kind),
            producer_shard: ShardId(self.home(publisher) as u8),
            config,
        };
        self.command(self.home(subscriber), command);
        self.with_peer(subscriber, |now, peer| {
            peer.subscribe(now, kind, ssrc, source(publisher, kind).ssrc);
        });
    }

    /// A peer subscribes to camera and microphone of another.
    pub fn subscribe(&mut self, subscriber: usize, publisher: usize) {
        for kind in BOTH {
            self.subscribe_to(subscriber, publisher, kind);
        }
    }

    /// A peer ends its subscriptions to another. It still knows the streams: packets under way are no foreign ones.
    pub fn unsubscribe(&mut self, subscriber: usize, publisher: usize) {
        let transport = self.peer(subscriber).config().transport;
        for kind in BOTH {
            let command = Command::RemoveConsumer {
                transport,
                track: track(publisher, kind),
            };
            self.command(self.home(subscriber), command);
        }
    }

    /// Closes a peer's transport; the peer isn't told and goes on sending.
    pub fn close(&mut self, peer: usize) {
        let transport = self.peer(peer).config().transport;
        self.command(self.home(peer), Command::CloseTransport { transport });
    }
}
