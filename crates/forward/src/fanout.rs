//! From an accepted packet to everybody who wants it, and from their queues to bytes.

use std::time::Duration;

use schalter_model::{DropReason, ShardId, Time, TrackId};
use schalter_rtp::RtpHeader;

use crate::downlink::WIRE_OVERHEAD;
use crate::egress::Lane;
use crate::envelope::EnvelopeMeta;
use crate::owner::Owner;
use crate::pending::{Part, Placement};
use crate::producer::passed_ids;
use crate::router::Router;
use crate::write::{write_envelope, write_packet, write_padding};

/// A packet on its way to another shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TapPending {
    pub(crate) track: TrackId,
    pub(crate) shard: ShardId,
    pub(crate) slot: u32,
    seq: u64,
    since: Time,
}

/// A packet that waited so long for another shard is late for everybody there.
const MAX_TAP_AGE: Duration = Duration::from_millis(500);

impl Router {
    /// Offers a cached packet to every consumer and tap of its producer.
    pub(crate) fn fan_out(&mut self, now: Time, slot: u32, seq: u64) {
        let Some(encoding) = self.encodings.of(slot) else {
            return;
        };
        let Some(producer) = self.producers.of(encoding.producer) else {
            return;
        };
        let Some((stored, elements, _)) = encoding.cache.find(seq) else {
            return;
        };
        let lane = if producer.is_video() {
            Lane::Video
        } else {
            Lane::Sound
        };
        let mut starts = std::mem::take(&mut self.scratch.starts);
        // What came before keeps its place, though it comes late.
        let only_late = producer.withheld_from.is_some();
        let consumers = if producer.withheld_from.is_some_and(|from| seq >= from) {
            self.tally.sound_withheld += 1;
            [].as_slice()
        } else {
            producer.consumers.as_slice()
        };
        for &index in consumers {
            let Some(consumer) = self.consumers.of_mut(index) else {
                continue;
            };
            let placement = if only_late {
                consumer.place_late(index, slot, encoding, stored, elements)
            } else {
                consumer.place(now, index, slot, encoding, stored, elements)
            };
            match placement {
                Placement::Nothing => {}
                Placement::Start => starts.push(index),
                Placement::Send(pending) => {
                    let urgent = pending.marker || lane == Lane::Sound;
                    if self
                        .egress
                        .push(now, consumer.owner, lane, pending, urgent)
                        .is_err()
                    {
                        self.tally.drops.count(DropReason::EgressFull);
                    }
                }
            }
        }
        for &shard in &producer.taps {
            if self.taps.len() >= self.config.max_pending_taps {
                self.tally.drops.count(DropReason::MailboxFull);
                continue;
            }
            self.taps.push_back(TapPending {
                track: producer.track,
                shard,
                slot,
                seq,
                since: now,
            });
        }
        for index in starts.drain(..) {
            self.start(now, index, slot, seq);
        }
        self.scratch.starts = starts;
    }

    /// Begins a consumer's segment with a packet, and sends those after it that came before it.
    fn start(&mut self, now: Time, index: u32, slot: u32, seq: u64) {
        let (Some(consumer), Some(encoding)) =
            (self.consumers.of_mut(index), self.encodings.of(slot))
        else {
            return;
        };
        let Some((first, _, _)) = encoding.cache.find(seq) else {
            return;
        };
        let previous = consumer
            .rewriter
            .last()
            .and_then(|last| self.encodings.of(last.slot));
        consumer.begin(now, slot, encoding, previous, first);
        let producer = self.producers.of(consumer.producer);
        let lane = if producer.is_some_and(|producer| producer.is_video()) {
            Lane::Video
        } else {
            Lane::Sound
        };
        for seq in seq..=encoding.highest {
            let Some((stored, elements, _)) = encoding.cache.find(seq) else {
                continue;
            };
            let placed = consumer.place(now, index, slot, encoding, stored, elements);
            if let Placement::Send(pending) = placed {
                let urgent = pending.marker || lane == Lane::Sound;
                if self
                    .egress
                    .push(now, consumer.owner, lane, pending, urgent)
                    .is_err()
                {
                    self.tally.drops.count(DropReason::EgressFull);
                }
            }
        }
    }

    /// An owner with packets to be sent now; the same one until [`Self::pop`] took all that may leave now.
    pub fn next_ready(&mut self, now: Time) -> Option<Owner> {
        self.egress.next_ready(now).map(Owner)
    }

    /// Plaintext length, in bytes, of the packet that [`Self::pop`] will write next.
    ///
    /// A packet that waited for too long, or left the cache meanwhile, is dropped and counted here, so that the length is
    /// a promise.
    #[inline]
    pub fn peek_len(&mut self, now: Time, owner: Owner) -> Option<usize> {
        loop {
            let pending = self.egress.peek(now, owner.0)?;
            let len = usize::from(pending.len);
            if matches!(pending.part, Part::Padding(_)) {
                return Some(len);
            }
            let encoding = self.encodings.of(pending.slot);
            let reason = match encoding.and_then(|encoding| encoding.cache.find(pending.seq)) {
                Some((stored, ..)) if now - stored.arrived < self.config.nack_max_age => {
                    return Some(len);
                }
                Some(_) => DropReason::EgressStale,
                None => DropReason::EgressFull,
            };
            self.egress.discard(now, owner.0);
            self.tally.drops.count(reason);
        }
    }

    /// Writes an owner's next packet into `out` and answers its length in bytes; `None` if there is none.
    ///
    /// A packet that `out` is too small for is dropped and counted, and the answer is `None` too.
    #[inline]
    pub fn pop(&mut self, now: Time, owner: Owner, out: &mut [u8]) -> Option<usize> {
        let len = self.peek_len(now, owner)?;
        let (pending, probe) = self.egress.pop(now, owner.0, WIRE_OVERHEAD)?;
        let transport_sequence = self.egress.transport_sequence(owner.0)?;
        let number = *transport_sequence;
        let consumer = self.consumers.of_mut(pending.consumer)?;
        let written = if let Part::Padding(len) = pending.part {
            write_padding(now, consumer, len, transport_sequence, out)
        } else {
            let cached = self.encodings.of(pending.slot)?.cache.find(pending.seq)?;
            write_packet(now, consumer, &pending, cached, transport_sequence, out)
        };
        let is_numbered = *transport_sequence != number;
        if written.is_none() {
            self.tally.drops.count(DropReason::Oversize);
            return None;
        }
        debug_assert_eq!(written, Some(len), "the length is a promise");
        if is_numbered {
            self.note_sent(now, owner.0, number, len, probe);
            // RFC 3550 §5.1: where a header has its sequence number and its SSRC.
            if let Some(&[_, _, high, low, _, _, _, _, a, b, c, d]) = out.first_chunk() {
                let ssrc = u32::from_be_bytes([a, b, c, d]);
                self.note_stream(owner.0, ssrc, u16::from_be_bytes([high, low]));
            }
        }
        self.tally.rtp_out += 1;
        written
    }

    /// Writes the next packet for another shard into `out`; its length in bytes is last.
    pub fn next_tap(
        &mut self,
        now: Time,
        out: &mut [u8],
    ) -> Option<(ShardId, TrackId, EnvelopeMeta, usize)> {
        loop {
            let tap = self.taps.pop_front()?;
            if now - tap.since > MAX_TAP_AGE {
                self.tally.drops.count(DropReason::MailboxFull);
                continue;
            }
            let Some(encoding) = self.encodings.of(tap.slot) else {
                continue;
            };
            let Some(producer) = self.producers.of(encoding.producer) else {
                continue;
            };
            let Some((stored, elements, payload)) = encoding.cache.find(tap.seq) else {
                self.tally.drops.count(DropReason::MailboxFull);
                continue;
            };
            let format = producer.config.codecs.get(usize::from(stored.format));
            let ssrc = encoding.ssrc.unwrap_or(0);
            let header = RtpHeader {
                marker: stored.marker,
                payload_type: format.map_or(0, |binding| binding.payload_type),
                sequence: stored.seq as u16,
                timestamp: stored.timestamp,
                ssrc,
            };
            let ids = passed_ids(&producer.config.extensions);
            let Some(len) = write_envelope(header, &ids, elements, payload, out) else {
                self.tally.drops.count(DropReason::Oversize);
                continue;
            };
            let meta = EnvelopeMeta {
                encoding: encoding.index,
                sequence: stored.seq,
                epoch_start: encoding.epoch_start,
                clock_start: encoding.clock_start,
                ssrc,
            };
            return Some((tap.shard, tap.track, meta, len));
        }
    }
}
