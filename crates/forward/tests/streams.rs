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

impl Kind {
    fn binding(self) -> schalter_forward::CodecBinding {
        match self {
            Self::Vp8 { .. } => VP8,
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
