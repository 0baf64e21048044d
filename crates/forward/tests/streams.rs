//! Layered streams made of bytes, with what every frame refers to, and a receiver that checks it can decode.

use std::collections::{BTreeMap, BTreeSet};

use schalter_rtp::RtpHeader;

use crate::rig::*;

/// A frame of one spatial layer.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) picture: u32,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    /// Indices of frames.
    pub(crate) references: Vec<usize>,
    pub(crate) packets: Vec<u16>,
}

/// A publisher's encoder.
pub(crate) struct Source {
    pub(crate) ssrc: u32,
    pub(crate) frames: Vec<Frame>,
    pub(crate) kind: Kind,
    next: u16,
    pub(crate) picture: u32,
    first_id: u16,
    tl0picidx: u8,
    since_key: u32,
}

/// What the encoder makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// VP8 L1T3. Every second group refers to the group before in its upper layers.
    Vp8 { linked: bool },
    /// VP9 with three spatial and three temporal layers.
    Vp9 {
        inter_layer: InterLayer,
        /// References are listed; else a picture group tells them.
        flexible: bool,
        /// As for VP8, in flexible mode.
        linked: bool,
    },
    /// AV1 with three spatial and three temporal layers, told by the dependency descriptor.
    Av1 { inter_layer: InterLayer },
}

/// When spatial layers refer to lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InterLayer {
    /// L3T3.
    Always,
    /// L3T3_KEY.
    Key,
    /// S3T3.
    Never,
}

/// Packs (value, width) fields, most significant bit first.
fn pack(fields: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut used = 0;
    for &(value, width) in fields {
        for bit in (0..width).rev() {
            if used % 8 == 0 {
                bytes.push(0);
            }
            *bytes.last_mut().unwrap() |= u8::from(value >> bit & 1 == 1) << (7 - used % 8);
            used += 1;
        }
    }
    bytes
}

impl Source {
    pub(crate) fn new(ssrc: u32, kind: Kind, first: u16) -> Self {
        Self {
            ssrc,
            frames: Vec::new(),
            kind,
            next: first,
            picture: 0,
            first_id: 0x7ff0,
            tl0picidx: 250,
            since_key: 0,
        }
    }

    /// The picture that a packet belongs to.
    pub(crate) fn picture_of(&self, sequence: u16) -> u32 {
        let mut frames = self.frames.iter();
        let frame = frames.find(|frame| frame.packets.contains(&sequence));
        frame.map_or(0, |frame| frame.picture)
    }

    /// The newest frame of a layer before this picture.
    fn newest(&self, spatial: u8, temporal: u8) -> Option<usize> {
        self.frames.iter().rposition(|frame| {
            frame.picture < self.picture && frame.spatial == spatial && frame.temporal == temporal
        })
    }

    /// Makes the packets of the next picture, `count` for each frame.
    pub(crate) fn picture(&mut self, key: bool, count: usize) -> Vec<Packet> {
        let key = key || self.frames.is_empty();
        self.picture += 1;
        self.since_key = if key { 0 } else { self.since_key + 1 };
        match self.kind {
            Kind::Vp8 { linked } => self.vp8(key, count, linked),
            Kind::Vp9 {
                inter_layer,
                flexible,
                linked,
            } => self.vp9(key, count, inter_layer, (flexible, linked)),
            Kind::Av1 { inter_layer } => self.av1(key, count, inter_layer),
        }
    }

    fn vp8(&mut self, key: bool, count: usize, linked: bool) -> Vec<Packet> {
        let temporal = [0, 2, 1, 2][self.since_key as usize % 4];
        let group = self.since_key / 4;
        let is_first_of_group = self.since_key % 4 == 1;
        let base = self.newest(0, 0);
        let mut references = Vec::new();
        let mut sync = false;
        if !key {
            references.extend(base);
            let is_linked = linked && group % 2 == 1;
            match temporal {
                1 if is_linked => references.extend(self.newest(0, 1)),
                2 if is_linked || !is_first_of_group => {
                    references.extend(self.newest(0, 1));
                    if linked {
                        references.extend(self.newest(0, 2));
                    }
                }
                0 => {}
                _ => sync = true,
            }
        }
        if temporal == 0 {
            self.tl0picidx = self.tl0picidx.wrapping_add(1);
        }
        let never_referred = temporal == 2 && !linked;
        let [high, low] = (self.first_id.wrapping_add(self.picture as u16) & 0x7fff).to_be_bytes();
        let tl0picidx = self.tl0picidx;
        self.emit((0, temporal), references, count, true, |first, _| {
            let start = u8::from(first) << 4;
            let mut payload = vec![0x80 | start | u8::from(never_referred) << 5, 0xe0];
            payload.extend_from_slice(&[high | 0x80, low, tl0picidx]);
            payload.push(temporal << 6 | u8::from(sync) << 5);
            payload.push(u8::from(!key));
            (payload, Vec::new())
        })
    }

    /// Temporal layer of the present picture, and the temporal layers that it refers to, within a spatial one.
    fn temporal(&self, key: bool, linked: bool) -> (u8, Vec<u8>) {
        let temporal = [0, 2, 1, 2][self.since_key as usize % 4];
        let is_linked = linked && self.since_key / 4 % 2 == 1;
        let references = match (temporal, self.since_key % 4) {
            _ if key => vec![],
            (0, _) => vec![0],
            (1, _) if is_linked => vec![0, 1],
            (1, _) => vec![0],
            (_, 1) if !is_linked => vec![0],
            _ if linked => vec![1, 2],
            _ => vec![1],
        };
        (temporal, references)
    }

    fn vp9(
        &mut self,
        key: bool,
        count: usize,
        inter_layer: InterLayer,
        (flexible, linked): (bool, bool),
    ) -> Vec<Packet> {
        let (temporal, referred) = self.temporal(key, linked && flexible);
        if temporal == 0 {
            self.tl0picidx = self.tl0picidx.wrapping_add(1);
        }
        let tl0picidx = self.tl0picidx;
        let [high, low] = (self.first_id.wrapping_add(self.picture as u16) & 0x7fff).to_be_bytes();
        let mut packets = Vec::new();
        for spatial in 0..3_u8 {
            let mut references: Vec<_> = referred
                .iter()
                .filter_map(|temporal| self.newest(spatial, *temporal))
                .collect();
            let diffs: Vec<_> = references
                .iter()
                .map(|index| (self.picture - self.frames[*index].picture) as u8)
                .collect();
            let inter_layer = spatial > 0
                && match inter_layer {
                    InterLayer::Always => true,
                    InterLayer::Key => key,
                    InterLayer::Never => false,
                };
            if inter_layer {
                references.push(self.frames.len() - 1);
            }
            let predicted = !diffs.is_empty();
            let up = !flexible && temporal > 0;
            let made = self.emit(
                (spatial, temporal),
                references,
                count,
                spatial == 2,
                |first, last| {
                    let structure = key && spatial == 0 && first;
                    let mut payload = vec![
                        0xa0 | u8::from(predicted) << 6
                            | u8::from(flexible) << 4
                            | u8::from(first) << 3
                            | u8::from(last) << 2
                            | u8::from(structure) << 1,
                    ];
                    payload.extend_from_slice(&[high | 0x80, low]);
                    payload.push(
                        temporal << 5 | u8::from(up) << 4 | spatial << 1 | u8::from(inter_layer),
                    );
                    if !flexible {
                        payload.push(tl0picidx);
                    } else if predicted {
                        for (n, diff) in diffs.iter().enumerate() {
                            payload.push(diff << 1 | u8::from(n + 1 < diffs.len()));
                        }
                    }
                    if structure {
                        payload.push(2 << 5 | 0x10 | u8::from(!flexible) << 3);
                        for size in [320_u16, 180, 640, 360, 1_280, 720] {
                            payload.extend_from_slice(&size.to_be_bytes());
                        }
                        if !flexible {
                            payload.push(4);
                            for (temporal, diff) in [(0_u8, 4), (2, 1), (1, 2), (2, 1)] {
                                payload.extend_from_slice(&[temporal << 5 | 1 << 2, diff]);
                            }
                        }
                    }
                    (payload, Vec::new())
                },
            );
            packets.extend(made);
        }
        packets
    }

    fn av1(&mut self, key: bool, count: usize, inter_layer: InterLayer) -> Vec<Packet> {
        let (temporal, referred) = self.temporal(key, false);
        let mut packets = Vec::new();
        for spatial in 0..3_u8 {
            let mut references: Vec<_> = referred
                .iter()
                .filter_map(|temporal| self.newest(spatial, *temporal))
                .collect();
            let spreads = match inter_layer {
                InterLayer::Always => true,
                InterLayer::Key => key,
                InterLayer::Never => false,
            };
            if spreads && spatial > 0 {
                references.push(self.frames.len() - 1);
            }
            let number = |index: usize| (index as u32 + 65_500) & 0xffff;
            let own = self.frames.len();
            let diffs: Vec<_> = references
                .iter()
                .map(|index| (own - index) as u32)
                .collect();
            let mut tail = Vec::new();
            for target in 0..9_u32 {
                let (s, t) = ((target / 3) as u8, (target % 3) as u8);
                let is_part = t >= temporal && if spreads { s >= spatial } else { s == spatial };
                let indication = if !is_part {
                    0
                } else if s > spatial && !key {
                    3
                } else if temporal == 2 || temporal == 1 && t == 1 {
                    1
                } else {
                    2
                };
                tail.push((indication, 2));
            }
            for diff in diffs {
                tail.extend([(2, 2), (diff - 1, 8)]);
            }
            tail.push((0, 2));
            let structure = av1_structure();
            let made = self.emit(
                (spatial, temporal),
                references,
                count,
                spatial == 2,
                |first, last| {
                    let attached = key && first && (spatial == 0 || !spreads);
                    let template = u32::from(spatial * 3 + temporal);
                    let mut fields = vec![
                        (u32::from(first), 1),
                        (u32::from(last), 1),
                        (template, 6),
                        (number(own), 16),
                    ];
                    fields.extend([(u32::from(attached), 1), (0, 1), (1, 1), (1, 1), (0, 1)]);
                    if attached {
                        fields.extend_from_slice(&structure);
                    }
                    fields.extend_from_slice(&tail);
                    let descriptor = pack(&fields);
                    let aggregation = u8::from(key && first && spatial == 0) << 3;
                    (vec![aggregation, 1], vec![(8, descriptor)])
                },
            );
            packets.extend(made);
        }
        packets
    }

    fn emit(
        &mut self,
        (spatial, temporal): (u8, u8),
        references: Vec<usize>,
        count: usize,
        ends_picture: bool,
        mut head: impl FnMut(bool, bool) -> (Vec<u8>, Vec<(u8, Vec<u8>)>),
    ) -> Vec<Packet> {
        let mut packets = Vec::new();
        for n in 0..count {
            let sequence = self.next;
            self.next = sequence.wrapping_add(1);
            let (mut payload, elements) = head(n == 0, n + 1 == count);
            payload.extend_from_slice(&[spatial, temporal]);
            payload.extend_from_slice(&self.ssrc.to_be_bytes());
            payload.extend_from_slice(&sequence.to_be_bytes());
            packets.push(Packet {
                header: RtpHeader {
                    marker: ends_picture && n + 1 == count,
                    payload_type: 96,
                    sequence,
                    timestamp: self.picture * 3_000,
                    ssrc: self.ssrc,
                },
                elements,
                payload,
            });
        }
        self.frames.push(Frame {
            picture: self.picture,
            spatial,
            temporal,
            references,
            packets: packets
                .iter()
                .map(|packet| packet.header.sequence)
                .collect(),
        });
        packets
    }
}

/// What a subscriber has of one source.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) got: Vec<Got>,
    /// Source sequence numbers that reached the router.
    pub(crate) arrived: BTreeSet<u16>,
}

impl Sink {
    pub(crate) fn sources(&self) -> BTreeSet<u16> {
        self.got
            .iter()
            .filter_map(Got::source)
            .map(|(_, seq)| seq)
            .collect()
    }

    /// Checks that all that was forwarded can be decoded, but for what was lost on the way to the router.
    pub(crate) fn check(&self, source: &Source) -> Result<(), String> {
        let sent = self.sources();
        let begun = |frame: &Frame| frame.packets.iter().any(|seq| sent.contains(seq));
        // Whatever came of it was sent on.
        let whole = |frame: &Frame| {
            let came = |seq: &&u16| self.arrived.contains(seq);
            frame
                .packets
                .iter()
                .filter(came)
                .all(|seq| sent.contains(seq))
        };
        for (index, frame) in source.frames.iter().enumerate() {
            if !begun(frame) {
                continue;
            }
            if !whole(frame) {
                return Err(format!("frame {index} was sent in part: {frame:?}"));
            }
            for reference in &frame.references {
                let referred = &source.frames[*reference];
                if !whole(referred) {
                    return Err(format!(
                        "frame {index} {frame:?} lacks {reference} {referred:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Packets in the order of their numbers, each once.
    pub(crate) fn in_order(&self) -> Vec<&Got> {
        let Some(first) = self.got.first().map(|got| got.header.sequence) else {
            return Vec::new();
        };
        let mut by_place = BTreeMap::new();
        for got in &self.got {
            let place = got.header.sequence.wrapping_sub(first).cast_signed();
            let before = by_place.insert(place, got);
            assert!(
                before.is_none_or(|before| before == got),
                "number used twice"
            );
        }
        by_place.into_values().collect()
    }

    /// Numbers that are missing in the output.
    pub(crate) fn gaps(&self) -> usize {
        self.in_order()
            .windows(2)
            .map(|pair| {
                let step = pair[1]
                    .header
                    .sequence
                    .wrapping_sub(pair[0].header.sequence);
                usize::from(step) - 1
            })
            .sum()
    }

    /// Layers of the packets, in their order: spatial, temporal.
    pub(crate) fn layers(&self) -> Vec<(u8, u8)> {
        let layer = |got: &&Got| {
            Some((
                *got.payload.iter().rev().nth(7)?,
                *got.payload.iter().rev().nth(6)?,
            ))
        };
        self.in_order().iter().filter_map(layer).collect()
    }
}

/// Nine templates and nine decode targets, one for each layer, and the sizes of the three spatial ones.
fn av1_structure() -> Vec<(u32, u32)> {
    let mut fields = vec![(0, 6), (8, 5)];
    fields.extend([1, 1, 2, 1, 1, 2, 1, 1, 3].map(|next| (next, 2)));
    for template in 0..9 {
        for target in 0..9 {
            let is_part = target / 3 >= template / 3 && target % 3 >= template % 3;
            fields.push((if is_part { 3 } else { 0 }, 2));
        }
    }
    fields.extend([(0, 1); 9]);
    // No chains: ns(10) codes 0 as three bits.
    fields.extend([(0, 3), (1, 1)]);
    fields.extend([319, 179, 639, 359, 1_279, 719].map(|less_one| (less_one, 16)));
    fields
}

impl Kind {
    fn binding(self) -> schalter_forward::CodecBinding {
        match self {
            Self::Vp8 { .. } => VP8,
            Self::Vp9 { .. } => schalter_forward::CodecBinding {
                codec: schalter_forward::Codec::Vp9 { profile: 0 },
                ..VP8
            },
            Self::Av1 { .. } => schalter_forward::CodecBinding {
                codec: schalter_forward::Codec::Av1 { profile: 0 },
                ..VP8
            },
        }
    }

    pub(crate) fn producer(self) -> schalter_forward::ProducerConfig {
        let mut config = video(vec![encoding(100)]);
        config.codecs = vec![self.binding()];
        config
    }

    pub(crate) fn subscription(self) -> schalter_forward::ConsumerConfig {
        let mut config = subscription(vec![self.binding()]);
        config.extensions.dependency_descriptor = Some(9);
        config
    }
}
