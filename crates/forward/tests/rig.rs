//! Publishers and subscribers made of bytes, for behaviour tests of the router.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schalter_forward::*;
use schalter_model::{MediaKind, Time, TrackId};
use schalter_rtp::rtcp::{Rtcp, compound};
use schalter_rtp::{RtcpWriter, RtpHeader, RtpPacket};

pub(crate) const VP8: CodecBinding = CodecBinding {
    payload_type: 96,
    codec: Codec::Vp8,
    rtx_payload_type: Some(97),
};
pub(crate) const OPUS: CodecBinding = CodecBinding {
    payload_type: 111,
    codec: Codec::Opus,
    rtx_payload_type: None,
};
pub(crate) const RED: CodecBinding = CodecBinding {
    payload_type: 63,
    codec: Codec::Red,
    rtx_payload_type: None,
};
pub(crate) const TRACK: TrackId = TrackId(7);
pub(crate) const PUBLISHER: Owner = Owner(0);
pub(crate) const SUBSCRIBER: Owner = Owner(1);
/// The subscriber's streams.
pub(crate) const OUT: u32 = 0xA000_0001;
pub(crate) const OUT_RTX: u32 = 0xA000_0002;

pub(crate) const IDS: ExtensionIds = ExtensionIds {
    mid: Some(1),
    rid: Some(2),
    repaired_rid: Some(3),
    audio_level: Some(4),
    transport_cc: Some(5),
    abs_send_time: None,
    abs_capture_time: Some(6),
    video_orientation: Some(7),
    dependency_descriptor: Some(8),
};

pub(crate) fn ms(millis: u64) -> Time {
    Time::from_millis(millis)
}

pub(crate) fn encoding(ssrc: u32) -> EncodingConfig {
    EncodingConfig {
        rid: None,
        ssrc: Some(ssrc),
        rtx_ssrc: Some(ssrc + 1_000),
    }
}

pub(crate) fn layer(rid: &str) -> EncodingConfig {
    EncodingConfig {
        rid: Some(rid.into()),
        ssrc: None,
        rtx_ssrc: None,
    }
}

pub(crate) fn video(encodings: Vec<EncodingConfig>) -> ProducerConfig {
    ProducerConfig {
        kind: MediaKind::Video,
        mid: Some("v".into()),
        codecs: vec![VP8],
        encodings,
        extensions: IDS,
        transport_cc: true,
        room: None,
    }
}

pub(crate) fn audio(codecs: Vec<CodecBinding>) -> ProducerConfig {
    ProducerConfig {
        kind: MediaKind::Audio,
        mid: Some("a".into()),
        codecs,
        encodings: vec![EncodingConfig {
            rtx_ssrc: None,
            ..encoding(500)
        }],
        extensions: IDS,
        transport_cc: false,
        room: None,
    }
}

pub(crate) fn subscription(codecs: Vec<CodecBinding>) -> ConsumerConfig {
    ConsumerConfig {
        ssrc: OUT,
        rtx_ssrc: Some(OUT_RTX),
        cname: Arc::from("stream"),
        mid: None,
        codecs,
        extensions: ExtensionIds::default(),
        congestion_feedback: false,
        continues: false,
        target: ConsumerTarget {
            paused: false,
            max_encoding: 3,
            ..ConsumerTarget::default()
        },
    }
}

/// One packet of a publisher.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) header: RtpHeader,
    pub(crate) elements: Vec<(u8, Vec<u8>)>,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let elements: Vec<_> = self
            .elements
            .iter()
            .map(|(id, value)| (*id, value.as_slice()))
            .collect();
        let mut out = vec![0; 2_000];
        let len = self.header.write(&elements, &mut out).unwrap();
        out.truncate(len);
        out.extend_from_slice(&self.payload);
        out
    }

    pub(crate) fn with(mut self, id: u8, value: &[u8]) -> Self {
        self.elements.push((id, value.to_vec()));
        self
    }

    /// The packet as retransmission (RFC 4588).
    pub(crate) fn into_rtx(mut self, ssrc: u32, sequence: u16) -> Self {
        let mut payload = self.header.sequence.to_be_bytes().to_vec();
        payload.extend_from_slice(&self.payload);
        self.header.sequence = sequence;
        self.header.ssrc = ssrc;
        self.header.payload_type += 1;
        self.payload = payload;
        self
    }
}

/// A VP8 packet: one frame in one packet, its number in the picture id and in the last bytes.
pub(crate) fn vp8(ssrc: u32, sequence: u16, timestamp: u32, keyframe: bool) -> Packet {
    let [high, low] = (sequence & 0x7fff).to_be_bytes();
    let frame_tag = u8::from(!keyframe);
    let mut payload = vec![
        0x90,
        0xC0,
        high | 0x80,
        low,
        sequence as u8,
        frame_tag,
        0,
        0,
    ];
    payload.extend_from_slice(&[0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
    payload.extend_from_slice(&ssrc.to_be_bytes());
    payload.extend_from_slice(&sequence.to_be_bytes());
    Packet {
        header: RtpHeader {
            marker: true,
            payload_type: 96,
            sequence,
            timestamp,
            ssrc,
        },
        elements: Vec::new(),
        payload,
    }
}

pub(crate) fn opus(sequence: u16, timestamp: u32, payload: &[u8]) -> Packet {
    Packet {
        header: RtpHeader {
            marker: false,
            payload_type: 111,
            sequence,
            timestamp,
            ssrc: 500,
        },
        elements: Vec::new(),
        payload: payload.to_vec(),
    }
}

/// What a subscriber got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) owner: Owner,
    pub(crate) header: RtpHeader,
    pub(crate) elements: BTreeMap<u8, Vec<u8>>,
    pub(crate) payload: Vec<u8>,
}

impl Got {
    fn read(owner: Owner, bytes: &[u8]) -> Self {
        let packet = RtpPacket::parse(bytes).unwrap();
        Self {
            owner,
            header: packet.header(),
            elements: packet
                .extensions()
                .map(|(id, value)| (id, value.to_vec()))
                .collect(),
            payload: packet.payload().to_vec(),
        }
    }

    /// The source's SSRC and sequence number, from the payload's end.
    pub(crate) fn source(&self) -> Option<(u32, u16)> {
        let tail = self.payload.last_chunk::<6>()?;
        Some((
            u32::from_be_bytes([tail[0], tail[1], tail[2], tail[3]]),
            u16::from_be_bytes([tail[4], tail[5]]),
        ))
    }

    pub(crate) fn picture_id(&self) -> u16 {
        u16::from_be_bytes([self.payload[2] & 0x7f, self.payload[3]])
    }
}

/// One part of an RTCP compound, owned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Control {
    Nack {
        media: u32,
        lost: Vec<u16>,
    },
    Pli {
        media: u32,
    },
    Sender {
        ssrc: u32,
        ntp: u64,
        timestamp: u32,
        packets: u32,
    },
    Receiver {
        blocks: Vec<schalter_rtp::rtcp::ReportBlock>,
    },
    Cname {
        ssrc: u32,
        name: String,
    },
    Feedback {
        base: u16,
        statuses: Vec<bool>,
    },
    Bye {
        ssrcs: Vec<u32>,
    },
}

fn controls(bytes: &[u8]) -> Vec<Control> {
    let mut all = Vec::new();
    for packet in compound(bytes) {
        match packet.unwrap() {
            Rtcp::Nack(nack) => all.push(Control::Nack {
                media: nack.media_ssrc,
                lost: nack.lost().collect(),
            }),
            Rtcp::Pli { media_ssrc, .. } => all.push(Control::Pli { media: media_ssrc }),
            Rtcp::SenderReport(report) => all.push(Control::Sender {
                ssrc: report.ssrc,
                ntp: report.ntp,
                timestamp: report.rtp_timestamp,
                packets: report.packet_count,
            }),
            Rtcp::ReceiverReport(report) => all.push(Control::Receiver {
                blocks: report.reports.collect(),
            }),
            Rtcp::SourceDescription(description) => {
                all.extend(description.chunks().map(|chunk| Control::Cname {
                    ssrc: chunk.ssrc,
                    name: chunk.cname.unwrap_or_default().to_owned(),
                }));
            }
            Rtcp::TransportCc(feedback) => all.push(Control::Feedback {
                base: feedback.base_sequence,
                statuses: feedback.deltas().map(|delta| delta.is_some()).collect(),
            }),
            Rtcp::Bye(bye) => all.push(Control::Bye {
                ssrcs: bye.sources().collect(),
            }),
            other => panic!("unexpected RTCP {other:?}"),
        }
    }
    all
}

/// A router with its outputs at hand.
pub(crate) struct Rig {
    pub(crate) router: Router,
    pub(crate) now: Time,
}

impl Rig {
    /// A publisher with one track, and a subscriber that has not subscribed yet.
    pub(crate) fn new(producer: ProducerConfig) -> Self {
        Self::with(RouterConfig::default(), producer)
    }

    pub(crate) fn with(config: RouterConfig, producer: ProducerConfig) -> Self {
        let mut router = Router::new(config);
        router.add_owner(PUBLISHER).unwrap();
        router.add_owner(SUBSCRIBER).unwrap();
        router
            .add_producer(Time::ZERO, PUBLISHER, TRACK, producer)
            .unwrap();
        Self {
            router,
            now: ms(1_000),
        }
    }

    pub(crate) fn subscribe(&mut self, config: ConsumerConfig) {
        self.router
            .add_consumer(self.now, SUBSCRIBER, TRACK, config)
            .unwrap();
    }

    pub(crate) fn target(&mut self, paused: bool, max_encoding: u8) {
        let target = ConsumerTarget {
            paused,
            max_encoding,
            ..ConsumerTarget::default()
        };
        self.router.set_target(self.now, SUBSCRIBER, TRACK, target);
    }

    /// Lets time pass in steps of a millisecond, as a shard's timers would.
    pub(crate) fn wait(&mut self, millis: u64) -> Vec<(Owner, Vec<Control>)> {
        let mut sent = self.rtcp();
        for _ in 0..millis {
            self.now += Duration::from_millis(1);
            if self.router.next_timeout().is_some_and(|at| at <= self.now) {
                self.router.on_timeout(self.now);
            }
            sent.extend(self.rtcp());
        }
        sent
    }

    pub(crate) fn rtcp(&mut self) -> Vec<(Owner, Vec<Control>)> {
        let mut out = [0; 1_500];
        let mut sent = Vec::new();
        while let Some((owner, len)) = self.router.next_rtcp(self.now, &mut out) {
            sent.push((owner, controls(&out[..len])));
        }
        sent
    }

    pub(crate) fn publish(&mut self, packet: &Packet) -> Result<(), schalter_model::DropReason> {
        self.router.on_rtp(self.now, PUBLISHER, &packet.bytes())
    }

    /// Everything that is due for anybody.
    pub(crate) fn received(&mut self) -> Vec<Got> {
        let mut out = [0; 2_000];
        let mut got = Vec::new();
        while let Some(owner) = self.router.next_ready(self.now) {
            while let Some(expected) = self.router.peek_len(self.now, owner) {
                let Some(len) = self.router.pop(self.now, owner, &mut out) else {
                    break;
                };
                assert_eq!(len, expected);
                got.push(Got::read(owner, &out[..len]));
            }
        }
        got
    }

    /// Publishes and answers what the subscriber gets for it.
    pub(crate) fn forward(&mut self, packet: &Packet) -> Vec<Got> {
        self.publish(packet).unwrap();
        self.received()
    }

    pub(crate) fn events(&mut self) -> Vec<ForwardEvent> {
        std::iter::from_fn(|| self.router.poll_event()).collect()
    }

    pub(crate) fn counters(&self) -> schalter_model::Counters {
        let mut counters = schalter_model::Counters::default();
        self.router.counters(&mut counters);
        counters
    }

    /// RTCP from an owner.
    pub(crate) fn control(&mut self, owner: Owner, write: impl FnOnce(&mut RtcpWriter<'_>)) {
        let mut out = [0; 1_500];
        let mut writer = RtcpWriter::new(&mut out);
        write(&mut writer);
        let len = writer.finish();
        self.router.on_rtcp(self.now, owner, &out[..len]).unwrap();
    }

    pub(crate) fn nack(&mut self, lost: &[u16]) {
        self.control(SUBSCRIBER, |writer| writer.nack(1, OUT, lost).unwrap());
    }
}

/// All requests of one kind in what [`Rig::wait`] answered.
pub(crate) fn plis(sent: &[(Owner, Vec<Control>)]) -> Vec<u32> {
    sent.iter()
        .flat_map(|(_, all)| all)
        .filter_map(|control| match control {
            Control::Pli { media } => Some(*media),
            _ => None,
        })
        .collect()
}

pub(crate) fn nacks(sent: &[(Owner, Vec<Control>)]) -> Vec<u16> {
    sent.iter()
        .flat_map(|(_, all)| all)
        .filter_map(|control| match control {
            Control::Nack { lost, .. } => Some(lost.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}
