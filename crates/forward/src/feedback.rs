//! RTCP that comes in: reports of publishers, reports and requests of subscribers.

use schalter_model::{Bitrate, DropReason, MediaKind, NtpTime, Time, TrackId};
use schalter_rtp::rtcp::{Nack, ReportBlocks, Rtcp, compound};

use crate::egress::Lane;
use crate::encoding::SenderClock;
use crate::event::ForwardEvent;
use crate::ingress::Stream;
use crate::owner::Owner;
use crate::router::Router;

impl Router {
    /// Takes a plaintext RTCP compound of a publisher or subscriber.
    ///
    /// # Errors
    /// [`DropReason::RtcpMalformed`] if a part of it is broken; the parts before it count.
    pub fn on_rtcp(&mut self, now: Time, owner: Owner, datagram: &[u8]) -> Result<(), DropReason> {
        if self.owner(owner.0).is_none() {
            return Err(DropReason::UnknownPeer);
        }
        let mut outcome = Ok(());
        for packet in compound(datagram) {
            let Ok(packet) = packet else {
                outcome = Err(DropReason::RtcpMalformed);
                continue;
            };
            match packet {
                Rtcp::SenderReport(report) => {
                    self.on_reports(now, owner.0, report.reports);
                    let clock = SenderClock {
                        ntp: NtpTime(report.ntp),
                        rtp_timestamp: report.rtp_timestamp,
                        arrived: now,
                    };
                    let binding = self.bindings.get(&(owner.0, report.ssrc));
                    if let Some(binding) = binding
                        && binding.stream == Stream::Media
                    {
                        let slot = binding.slot;
                        self.set_clock(now, slot, clock);
                        self.tell_clock(slot);
                    }
                }
                Rtcp::ReceiverReport(report) => self.on_reports(now, owner.0, report.reports),
                Rtcp::Nack(nack) => self.on_nack(now, owner.0, &nack),
                Rtcp::Pli { media_ssrc, .. } => self.on_keyframe_request(now, owner.0, media_ssrc),
                Rtcp::Fir(fir) => {
                    for (ssrc, _) in fir.entries() {
                        self.on_keyframe_request(now, owner.0, ssrc);
                    }
                }
                Rtcp::TransportCc(feedback) => self.on_transport_cc(now, owner.0, &feedback),
                Rtcp::CongestionControl(feedback) => {
                    self.on_congestion_feedback(now, owner.0, &feedback);
                }
                Rtcp::Remb(remb) => {
                    self.on_remb(now, owner.0, Bitrate::from_bps(remb.bitrate_bps));
                }
                // The rest says nothing that forwarding needs.
                Rtcp::SourceDescription(_) | Rtcp::Bye(_) | Rtcp::Unknown { .. } => {}
            }
        }
        outcome
    }

    fn on_reports(&mut self, now: Time, owner: u32, blocks: ReportBlocks<'_>) {
        for block in blocks {
            let index = self.outgoing.get(&(owner, block.ssrc));
            if let Some(consumer) = index.and_then(|index| self.consumers.of_mut(*index))
                && consumer.ssrc == block.ssrc
            {
                consumer.on_report(now, &block);
                let round_trip = consumer.stats.round_trip;
                self.on_link_report(now, owner, block.fraction_lost, round_trip);
            }
        }
    }

    /// Sends packets again from the cache (RFC 4588, or as they were without a retransmission SSRC).
    fn on_nack(&mut self, now: Time, owner: u32, nack: &Nack<'_>) {
        let Some(&index) = self.outgoing.get(&(owner, nack.media_ssrc)) else {
            return;
        };
        let Some(consumer) = self.consumers.of_mut(index) else {
            return;
        };
        if consumer.ssrc != nack.media_ssrc {
            return;
        }
        for sequence in nack.lost() {
            self.tally.nack_received += 1;
            let Some(source) = consumer.rewriter.source_of(sequence) else {
                self.tally.rtx_missed += 1;
                continue;
            };
            // A switch began with a keyframe: nothing before it is needed any more, least of all on a link that is full.
            let is_replaced = consumer.kind() == MediaKind::Video
                && consumer
                    .rewriter
                    .open_segment()
                    .is_some_and(|open| open.slot != source.slot);
            if is_replaced {
                self.tally.rtx_missed += 1;
                continue;
            }
            let cached = self
                .encodings
                .of(source.slot)
                .and_then(|encoding| encoding.cache.find(source.seq));
            let fresh = cached.filter(|(s, _, _)| now - s.arrived < self.config.nack_max_age);
            let Some((stored, elements, _)) = fresh else {
                self.tally.rtx_missed += 1;
                if consumer.kind() == MediaKind::Audio {
                    continue;
                }
                // After an outage browsers ask for all of it, show the past and keep the delay (Chromium: 3.7 s after
                // 3 s). What follows is of no use either until a keyframe comes: of what it goes to, as the keyframe of
                // a layer that it leaves would fill the link.
                let slot = self.goal_of(index).unwrap_or(source.slot);
                self.want_keyframe(now, slot);
                return;
            };
            if !consumer
                .resend_limit(&self.config)
                .admit(now, source.output)
            {
                continue;
            }
            let resent = consumer.resend(index, sequence, &source, stored, elements);
            if let Some(pending) = resent {
                match self.egress.push(now, owner, Lane::Repair, pending, true) {
                    Ok(()) => self.tally.rtx_out += 1,
                    Err(crate::egress::Full) => self.tally.drops.count(DropReason::EgressFull),
                }
            }
        }
    }

    fn on_keyframe_request(&mut self, now: Time, owner: u32, ssrc: u32) {
        let index = self.outgoing.get(&(owner, ssrc));
        let Some(consumer) = index.and_then(|index| self.consumers.of(*index)) else {
            return;
        };
        self.tally.pli_received += 1;
        if consumer.is_stopped() {
            return;
        }
        let desired = index.and_then(|index| self.goal_of(*index));
        let open = consumer.rewriter.open_segment().map(|open| open.slot);
        // While a switch waits, both help: the one it sees now, and the one it goes to.
        for slot in open.into_iter().chain(desired.filter(|d| Some(*d) != open)) {
            self.want_keyframe(now, slot);
        }
    }

    /// The encoding that a consumer is at, or switches to.
    pub(crate) fn goal_of(&self, consumer: u32) -> Option<u32> {
        let consumer = self.consumers.of(consumer)?;
        let producer = self.producers.of(consumer.producer)?;
        let encoding = consumer.desired?;
        producer.slots.get(usize::from(encoding)).copied()
    }

    /// Asks the publisher for a keyframe on behalf of another shard ([`ForwardEvent::KeyframeNeeded`]).
    pub fn request_keyframe(&mut self, now: Time, track: TrackId, encoding: u8) {
        let index = self.tracks.get(&track);
        let slot = index
            .and_then(|index| self.producers.of(*index))
            .and_then(|producer| producer.slots.get(usize::from(encoding)).copied());
        if let Some(slot) = slot {
            self.want_keyframe(now, slot);
        }
    }

    /// Takes a publisher's clock; the first one is passed on at once, because lip sync waits for it.
    pub(crate) fn set_clock(&mut self, now: Time, slot: u32, clock: SenderClock) {
        let Some(encoding) = self.encodings.of_mut(slot) else {
            return;
        };
        let is_first = encoding.clock.replace(clock).is_none();
        let Some(producer) = self.producers.of(encoding.producer) else {
            return;
        };
        if !is_first {
            return;
        }
        for position in 0..producer.consumers.len() {
            let consumer = self
                .encodings
                .of(slot)
                .and_then(|encoding| self.producers.of(encoding.producer))
                .and_then(|producer| producer.consumers.get(position))
                .and_then(|index| self.consumers.of(*index));
            let Some(owner) = consumer.map(|consumer| consumer.owner) else {
                continue;
            };
            if let Some(state) = self.owner_mut(owner)
                && state.sender_report_at.is_none_or(|at| at > now)
            {
                state.sender_report_at = Some(now);
                self.arm(now, owner, now);
            }
        }
    }

    /// Relays a publisher's clock to the shards that tap the track.
    pub(crate) fn tell_clock(&mut self, slot: u32) {
        let Some(encoding) = self.encodings.of(slot) else {
            return;
        };
        let Some(producer) = self.producers.of(encoding.producer) else {
            return;
        };
        if let Some(clock) = encoding.clock
            && !producer.taps.is_empty()
        {
            let event = ForwardEvent::SenderReport {
                track: producer.track,
                encoding: encoding.index,
                ntp: clock.ntp,
                rtp_timestamp: clock.rtp_timestamp,
            };
            self.tell(event);
        }
    }
}
