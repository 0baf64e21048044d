//! Packets from publishers and other shards, from plaintext bytes to an accepted packet of an encoding.
//!
//! Binding follows RFC 8843 §9.2 and RFC 8852: a known SSRC, else mid with rid or repaired rid, else a payload type
//! that only one track of the publisher has.

use std::time::Duration;

use schalter_model::{DropReason, NtpTime, Time, TrackId};
use schalter_rtp::RtpPacket;
use schalter_rtp::codec::av1::{self, Descriptor};
use schalter_rtp::codec::vp8::Vp8Descriptor;
use schalter_rtp::codec::vp9::Vp9Descriptor;
use schalter_rtp::codec::{VideoCodec, inspect, red};
use schalter_rtp::extension::{AudioLevel, parse_mid, parse_rid, parse_transport_sequence};

use crate::cache::{Numbering, PassedElements, PassedKind, Stored};
use crate::config::Codec;
use crate::encoding::{Encoding, Origin, SenderClock};
use crate::envelope::EnvelopeMeta;
use crate::event::ForwardEvent;
use crate::frame::{FrameTracker, Place};
use crate::owner::{ElementKind, ElementKinds, Owner};
use crate::producer::{Role, video_codec};
use crate::router::Router;

/// What a packet takes of a link beside its payload: IP, UDP, RTP with a few extensions, and the tag.
const HEADERS: usize = 20 + 8 + 12 + 12 + 16;
/// Late packets of an SSRC that was replaced don't claim the encoding back within this time.
const RETIREMENT: Duration = Duration::from_secs(2);

/// What an incoming SSRC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) slot: u32,
    pub(crate) stream: Stream,
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Media,
    Retransmission,
    /// Another SSRC took over at this time.
    Retired(Time),
}

/// Elements of one packet that binding and bookkeeping need.
#[derive(Default)]
struct Elements<'a> {
    mid: Option<&'a str>,
    rid: Option<&'a str>,
    repaired_rid: Option<&'a str>,
    audio_level: Option<AudioLevel>,
    transport_sequence: Option<u16>,
    descriptor: Option<&'a [u8]>,
}

impl<'a> Elements<'a> {
    #[inline]
    fn read(packet: &RtpPacket<'a>, kinds: &ElementKinds, passed: &mut PassedElements) -> Self {
        let mut found = Self::default();
        passed.clear();
        for (id, value) in packet.extensions() {
            match kinds.of(id) {
                ElementKind::Unknown => {}
                ElementKind::Mid => found.mid = parse_mid(value).ok(),
                ElementKind::Rid => found.rid = parse_rid(value).ok(),
                ElementKind::RepairedRid => found.repaired_rid = parse_rid(value).ok(),
                ElementKind::AudioLevel => {
                    found.audio_level = AudioLevel::parse(value).ok();
                    passed.push(PassedKind::AudioLevel, value);
                }
                ElementKind::TransportCc => {
                    found.transport_sequence = parse_transport_sequence(value).ok();
                }
                ElementKind::AbsCaptureTime => passed.push(PassedKind::AbsCaptureTime, value),
                ElementKind::VideoOrientation => passed.push(PassedKind::VideoOrientation, value),
                ElementKind::DependencyDescriptor => {
                    found.descriptor = Some(value);
                    passed.push(PassedKind::DependencyDescriptor, value);
                }
            }
        }
        found
    }
}

/// A packet of an encoding, retransmission undone.
struct Arrival<'a> {
    format: u8,
    codec: Codec,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: &'a [u8],
    descriptor: Option<&'a [u8]>,
}

impl Arrival<'_> {
    /// What the cache should know about it.
    fn describe(&self, now: Time, seq: u64, withheld: bool, frames: &mut FrameTracker) -> Stored {
        let mut stored = Stored {
            seq,
            arrived: now,
            timestamp: self.timestamp,
            format: self.format,
            marker: self.marker,
            withheld,
            ..Stored::EMPTY
        };
        if self.codec == Codec::Red {
            let primary = red::primary(self.payload).map_or(0, |block| block.data.len());
            stored.red_primary_at = (self.payload.len() - primary) as u16;
        }
        let Some(codec) = video_codec(self.codec) else {
            stored.starts = !self.payload.is_empty();
            return stored;
        };
        stored.place.ends_frame = self.marker;
        match codec {
            VideoCodec::Vp8 => {
                if let Ok(descriptor) = Vp8Descriptor::parse(self.payload) {
                    stored.numbering = Numbering::Vp8;
                    stored.picture_id = descriptor.picture_id.map(|id| id.value());
                    stored.tl0picidx = descriptor.tl0picidx;
                    stored.starts = descriptor.is_keyframe;
                    stored.place.frame = frames.on_vp8(self.timestamp, &descriptor);
                }
            }
            VideoCodec::Vp9 => {
                if let Ok(descriptor) = Vp9Descriptor::parse(self.payload) {
                    stored.numbering = Numbering::Vp9;
                    stored.picture_id = descriptor.picture_id.map(|id| id.value());
                    stored.tl0picidx = descriptor.layers.and_then(|layers| layers.tl0picidx);
                    stored.starts = descriptor.is_keyframe();
                    stored.place.ends_frame = descriptor.end_of_frame;
                    stored.place.frame = frames.on_vp9(self.timestamp, &descriptor);
                }
            }
            VideoCodec::Av1 => {
                stored.starts = av1::is_keyframe(self.payload);
                if let Some(value) = self.descriptor {
                    if let [_, high, low, ..] = value {
                        stored.numbering = Numbering::Descriptor;
                        stored.picture_id = Some(u16::from_be_bytes([*high, *low]));
                    }
                    let place = frames.on_descriptor(seq, self.timestamp, value);
                    stored.place = place.unwrap_or(stored.place);
                }
            }
            VideoCodec::H264 | VideoCodec::H265 => {
                stored.starts = inspect(codec, self.payload, self.marker, None)
                    .is_some_and(|frame| frame.keyframe);
            }
        }
        stored.starts |= self.descriptor.is_some_and(opens_sequence);
        // Nothing starts with a probe.
        stored.starts &= !self.payload.is_empty();
        stored
    }
}

/// Whether a dependency descriptor starts a frame and brings a new structure: only keyframes do, and it tells even
/// where the payload is encrypted end to end.
fn opens_sequence(descriptor: &[u8]) -> bool {
    descriptor.len() > 3
        && descriptor[0] & 0x80 != 0
        && Descriptor::attached_structure(descriptor).is_ok_and(|structure| structure.is_some())
}

impl Router {
    /// Takes a plaintext RTP packet from a publisher.
    ///
    /// # Errors
    /// Why it went no further; the caller counts it.
    pub fn on_rtp(&mut self, now: Time, owner: Owner, packet: &[u8]) -> Result<(), DropReason> {
        let packet = RtpPacket::parse(packet).map_err(|_| DropReason::RtpMalformed)?;
        let Some(Some(state)) = self.owners.get_mut(owner.0 as usize) else {
            return Err(DropReason::UnknownPeer);
        };
        let elements = Elements::read(&packet, &state.elements, &mut self.scratch.elements);
        if let (Some(sequence), Some(twcc)) = (elements.transport_sequence, &mut state.twcc)
            && let Some(due) = twcc.on_packet(now, sequence, packet.ssrc())
        {
            self.arm(now, owner.0, due);
        }
        let binding = self.bind(now, owner.0, &packet, &elements)?;
        let Some(encoding) = self.encodings.of_mut(binding.slot) else {
            return Err(DropReason::RtpUnknownSsrc);
        };
        let Some(producer) = self.producers.of_mut(encoding.producer) else {
            return Err(DropReason::RtpUnknownSsrc);
        };
        let role = producer.payload_types.role(packet.payload_type())?;
        let (format, origin, sequence, payload) = match (role, binding.stream) {
            (Role::Media(format), Stream::Media) => {
                (format, Origin::Media, packet.sequence(), packet.payload())
            }
            (Role::Retransmission(format), Stream::Retransmission | Stream::Media) => {
                let Some((original, payload)) = packet.payload().split_first_chunk() else {
                    // Probing: feedback was all it wanted.
                    return Ok(());
                };
                let sequence = u16::from_be_bytes(*original);
                (format, Origin::Retransmission, sequence, payload)
            }
            (Role::Media(_) | Role::Retransmission(_), _) => {
                return Err(DropReason::RtpUnknownPayloadType);
            }
        };
        let Some(codec) = producer.config.codecs.get(usize::from(format)) else {
            return Err(DropReason::RtpUnknownPayloadType);
        };
        let arrival = Arrival {
            format,
            codec: codec.codec,
            sequence,
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            payload,
            descriptor: elements.descriptor,
        };
        let received = encoding.receive(now, arrival.sequence, arrival.timestamp, origin)?;
        if origin == Origin::Retransmission {
            self.tally.rtx_in += 1;
        }
        self.tally.rtp_in += 1;
        if producer.muted {
            encoding.nack.clear();
            encoding.last_arrival = Some(now);
            let hidden = arrival.describe(now, received.seq, true, &mut encoding.layers.frames);
            encoding.cache.insert(hidden, &[], &[]);
            return Err(DropReason::RtpMuted);
        }
        let loudness = elements.audio_level.map(|level| level.level_dbov);
        let loudness = loudness.filter(|_| origin == Origin::Media);
        let level = loudness.and_then(|level| producer.level.on_level(now, level));
        let track = producer.track;
        let nack_due = received.gap.then(|| encoding.nack.next_due()).flatten();
        let (slot, index) = (binding.slot, encoding.producer);
        self.on_voice(now, index, received.seq, loudness);
        if let Some(change) = level {
            self.tell(ForwardEvent::AudioLevel {
                track,
                level: change.level,
                active: change.active,
            });
        }
        if let Some(due) = nack_due {
            self.arm(now, owner.0, due);
        }
        self.accept(now, slot, received.seq, &arrival, origin);
        if received.needs_keyframe {
            self.want_keyframe(now, slot);
        }
        Ok(())
    }

    /// Takes a packet of a remote producer, as [`Self::next_tap`] of the publisher's shard wrote it.
    ///
    /// # Errors
    /// Why it went no further; the caller counts it.
    pub fn on_envelope(
        &mut self,
        now: Time,
        track: TrackId,
        meta: EnvelopeMeta,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        let packet = RtpPacket::parse(packet).map_err(|_| DropReason::RtpMalformed)?;
        let Some(index) = self.tracks.get(&track).copied() else {
            return Err(DropReason::RtpUnknownSsrc);
        };
        let Some(producer) = self.producers.of_mut(index) else {
            return Err(DropReason::RtpUnknownSsrc);
        };
        let slot = producer.slots.get(usize::from(meta.encoding)).copied();
        let (Some(slot), None) = (slot, producer.owner) else {
            return Err(DropReason::RtpUnknownSsrc);
        };
        let Role::Media(format) = producer.payload_types.role(packet.payload_type())? else {
            return Err(DropReason::RtpUnknownPayloadType);
        };
        let Some(binding) = producer.config.codecs.get(usize::from(format)) else {
            return Err(DropReason::RtpUnknownPayloadType);
        };
        if producer.muted {
            return Err(DropReason::RtpMuted);
        }
        let Some(encoding) = self.encodings.of_mut(slot) else {
            return Err(DropReason::RtpUnknownSsrc);
        };
        encoding.on_remote(&meta)?;
        let passed = &mut self.scratch.elements;
        passed.clear();
        let (mut descriptor, mut loudness) = (None, None);
        let ids = &producer.config.extensions;
        for (id, value) in packet.extensions() {
            let id = Some(id);
            if id == ids.audio_level {
                passed.push(PassedKind::AudioLevel, value);
                loudness = value.first().map(|level| level & 0x7f);
            } else if id == ids.video_orientation {
                passed.push(PassedKind::VideoOrientation, value);
            } else if id == ids.abs_capture_time {
                passed.push(PassedKind::AbsCaptureTime, value);
            } else if id == ids.dependency_descriptor {
                passed.push(PassedKind::DependencyDescriptor, value);
                descriptor = Some(value);
            }
        }
        let arrival = Arrival {
            format,
            codec: binding.codec,
            sequence: packet.sequence(),
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            payload: packet.payload(),
            descriptor,
        };
        self.on_voice(now, index, meta.sequence, loudness);
        self.accept(now, slot, meta.sequence, &arrival, Origin::Media);
        Ok(())
    }

    /// Takes the publisher's clock for a remote producer ([`ForwardEvent::SenderReport`] of its shard).
    pub fn on_remote_sender_report(
        &mut self,
        now: Time,
        track: TrackId,
        encoding: u8,
        ntp: NtpTime,
        rtp_timestamp: u32,
    ) {
        let producer = self
            .tracks
            .get(&track)
            .and_then(|index| self.producers.of(*index));
        let slot = producer
            .filter(|producer| producer.owner.is_none())
            .and_then(|producer| producer.slots.get(usize::from(encoding)).copied());
        if let Some(slot) = slot {
            let clock = SenderClock {
                ntp,
                rtp_timestamp,
                arrived: now,
            };
            self.set_clock(now, slot, clock);
        }
    }

    /// Stores a packet that is new, and sends it on.
    fn accept(&mut self, now: Time, slot: u32, seq: u64, arrival: &Arrival<'_>, origin: Origin) {
        let Some(encoding) = self.encodings.of_mut(slot) else {
            return;
        };
        let stored = arrival.describe(now, seq, false, &mut encoding.layers.frames);
        let bytes = (arrival.payload.len() + HEADERS) as u32;
        let Place { frame, ends_frame } = stored.place;
        // Repairs come in bursts and say nothing of what the encoder makes now.
        if origin == Origin::Media {
            encoding.layers.on_packet(now, frame, ends_frame, bytes);
        }
        let elements = self.scratch.elements.as_bytes();
        let stored = encoding.cache.insert(stored, elements, arrival.payload);
        encoding.on_arrival(now);
        let (was_active, was_started) = (encoding.active, encoding.started);
        encoding.active = true;
        if !was_active {
            encoding.awake_since = now;
        }
        if !was_active || !was_started {
            self.on_encoding_awake(now, slot, arrival.codec);
        }
        // After waking: what that asked for is here.
        if stored.starts
            && let Some(encoding) = self.encodings.of_mut(slot)
        {
            encoding.keyframe.on_keyframe();
        }
        self.fan_out(now, slot, seq);
    }

    /// An encoding began, began again or came back from silence.
    fn on_encoding_awake(&mut self, now: Time, slot: u32, codec: Codec) {
        let Some(encoding) = self.encodings.of_mut(slot) else {
            return;
        };
        let begins = !std::mem::replace(&mut encoding.started, true);
        let (index, producer) = (encoding.index, encoding.producer);
        let ssrc = encoding.ssrc.unwrap_or(0);
        let Some(producer_state) = self.producers.of(producer) else {
            return;
        };
        let (track, owner) = (producer_state.track, producer_state.owner);
        if begins {
            encoding.first_arrival = Some(now);
            self.tell(ForwardEvent::EncodingStarted {
                track,
                encoding: index,
                ssrc,
                codec,
            });
            if let Some(owner) = owner {
                self.start_receiver_reports(now, owner);
            }
        }
        self.start_housekeeping(now);
        self.choose_encodings(now, producer);
    }

    /// Binds the SSRCs that a producer's configuration names.
    pub(crate) fn bind_named(&mut self, index: u32) {
        let Some(producer) = self.producers.of(index) else {
            return;
        };
        let Some(owner) = producer.owner else {
            return;
        };
        let named: Vec<_> = producer
            .config
            .encodings
            .iter()
            .zip(&producer.slots)
            .map(|(config, slot)| (*slot, config.ssrc, config.rtx_ssrc))
            .collect();
        for (slot, ssrc, rtx_ssrc) in named {
            if let Some(ssrc) = ssrc {
                self.bind_media(Time::ZERO, owner, ssrc, slot);
            }
            if let Some(rtx_ssrc) = rtx_ssrc {
                self.bind_retransmission(owner, rtx_ssrc, slot);
            }
        }
    }

    /// Finds what an SSRC is, or learns it from the packet.
    #[inline]
    fn bind(
        &mut self,
        now: Time,
        owner: u32,
        packet: &RtpPacket<'_>,
        elements: &Elements<'_>,
    ) -> Result<Binding, DropReason> {
        match self.bindings.get(&(owner, packet.ssrc())) {
            Some(binding) => match binding.stream {
                Stream::Media | Stream::Retransmission => Ok(*binding),
                Stream::Retired(since) if now - since < RETIREMENT => Err(DropReason::RtpTooOld),
                Stream::Retired(_) => self.learn(now, owner, packet, elements),
            },
            None => self.learn(now, owner, packet, elements),
        }
    }

    fn learn(
        &mut self,
        now: Time,
        owner: u32,
        packet: &RtpPacket<'_>,
        elements: &Elements<'_>,
    ) -> Result<Binding, DropReason> {
        let unknown = DropReason::RtpUnknownSsrc;
        let state = self.owner(owner).ok_or(unknown)?;
        if state.ssrcs >= self.config.max_ssrcs_per_owner {
            return Err(unknown);
        }
        let candidates = state
            .producers
            .iter()
            .filter_map(|index| self.producers.of(*index));
        let by_mid = |producer: &&crate::producer::Producer| {
            elements.mid.is_some() && producer.config.mid.as_deref() == elements.mid
        };
        let named = elements.mid.is_some() && candidates.clone().any(|p| by_mid(&p));
        let mut matching = candidates.filter(|producer| {
            if named {
                by_mid(producer)
            } else {
                producer.payload_types.role(packet.payload_type()).is_ok()
            }
        });
        let (Some(producer), None) = (matching.next(), matching.next()) else {
            return Err(unknown);
        };
        let role = producer.payload_types.role(packet.payload_type())?;
        let rid = match role {
            Role::Media(_) => elements.rid,
            Role::Retransmission(_) => elements.repaired_rid.or(elements.rid),
        };
        let index = producer.encoding_of(rid).ok_or(unknown)?;
        let slot = *producer.slots.get(index).ok_or(unknown)?;
        let encoding = self.encodings.of(slot).ok_or(unknown)?;
        let is_silent = encoding.is_silent(now, self.config.silent_after);
        match role {
            Role::Media(_) => {
                // Without a mid only the payload type speaks for it: too weak to replace a living stream.
                if !named && encoding.ssrc.is_some() && !is_silent {
                    return Err(unknown);
                }
                self.bind_media(now, owner, packet.ssrc(), slot);
            }
            Role::Retransmission(_) => {
                if !named && encoding.rtx_ssrc.is_some() && !is_silent {
                    return Err(unknown);
                }
                self.bind_retransmission(owner, packet.ssrc(), slot);
            }
        }
        self.bindings
            .get(&(owner, packet.ssrc()))
            .copied()
            .ok_or(unknown)
    }

    fn bind_media(&mut self, now: Time, owner: u32, ssrc: u32, slot: u32) {
        let Some(encoding) = self.encodings.of_mut(slot) else {
            return;
        };
        if encoding.ssrc == Some(ssrc) {
            return;
        }
        if let Some(old) = encoding.ssrc.replace(ssrc) {
            encoding.restart();
            let retired = Binding {
                slot,
                stream: Stream::Retired(now),
            };
            self.put_binding(owner, old, retired);
        }
        let binding = Binding {
            slot,
            stream: Stream::Media,
        };
        self.put_binding(owner, ssrc, binding);
        if self
            .encodings
            .of(slot)
            .is_some_and(Encoding::wants_keyframe)
        {
            self.want_keyframe(now, slot);
        }
    }

    fn bind_retransmission(&mut self, owner: u32, ssrc: u32, slot: u32) {
        let Some(encoding) = self.encodings.of_mut(slot) else {
            return;
        };
        if let Some(old) = encoding.rtx_ssrc.replace(ssrc)
            && old != ssrc
        {
            self.drop_binding(owner, old);
        }
        let binding = Binding {
            slot,
            stream: Stream::Retransmission,
        };
        self.put_binding(owner, ssrc, binding);
    }

    fn put_binding(&mut self, owner: u32, ssrc: u32, binding: Binding) {
        let is_new = self.bindings.insert((owner, ssrc), binding).is_none();
        if let Some(state) = self.owner_mut(owner) {
            state.ssrcs += usize::from(is_new);
        }
        // One retired SSRC an encoding is enough to catch late packets; without this they would pile up.
        if let Stream::Retired(_) = binding.stream {
            let stale = self.encodings.of_mut(binding.slot).and_then(|encoding| {
                encoding
                    .retired_ssrc
                    .replace(ssrc)
                    .filter(|stale| *stale != ssrc && encoding.ssrc != Some(*stale))
            });
            if let Some(stale) = stale {
                self.drop_binding(owner, stale);
            }
        }
    }

    fn drop_binding(&mut self, owner: u32, ssrc: u32) {
        if self.bindings.remove(&(owner, ssrc)).is_some()
            && let Some(state) = self.owner_mut(owner)
        {
            state.ssrcs = state.ssrcs.saturating_sub(1);
        }
    }
}
