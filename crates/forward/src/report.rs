//! RTCP that goes out, and the timers behind it.
//!
//! One deadline an owner, in one heap. When it passes, everything due for the owner is gathered in compounds:
//! sender reports (RFC 3550 §6.4.1) and goodbyes to subscribers; receiver reports, NACKs, keyframe requests and
//! transport-wide feedback to publishers.

use std::cmp::Reverse;
use std::time::Duration;

use schalter_model::Time;
use schalter_rtp::RtcpWriter;
use schalter_rtp::rtcp::{ReportBlock, SenderInfo};

use crate::event::ForwardEvent;
use crate::owner::Owner;
use crate::router::Router;
use crate::settings::MAX_RTCP_LEN;

/// Most sources of one BYE (RFC 3550 §6.6).
pub(crate) const REPORTERS_PER_GOODBYE: usize = 31;
/// How often levels and activity are looked at: silence sends no packets that would tell.
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// How long a publisher may take for its first sender report before we make up a clock from ours.
const CLOCK_PATIENCE: Duration = Duration::from_secs(3);
/// Smallest buffer worth writing to: any feedback fits with its report and name, so that every compound is progress.
const MIN_RTCP_LEN: usize = 128;
/// Sizes on the wire, in bytes.
const SENDER_REPORT_LEN: usize = 28;
const RECEIVER_REPORT_LEN: usize = 8;
const REPORT_BLOCK_LEN: usize = 24;
const PLI_LEN: usize = 12;
/// A NACK's header, and its worst case of one entry a packet.
const NACK_LEN: usize = 12;
const NACK_ENTRY_LEN: usize = 4;
/// Header, one symbol and one delta, padded.
const MIN_TWCC_LEN: usize = 24;

/// Length of a source description with one CNAME.
fn sdes_len(cname: &str) -> usize {
    // Header, SSRC, item header, text and at least one zero, to the next word.
    8 + (2 + cname.len() + 1).next_multiple_of(4)
}

impl Router {
    /// The next compound to be sent, with its receiver and length in bytes.
    ///
    /// `out` should have at least 1,200 bytes; less delays reports, and below 128 there are none.
    pub fn next_rtcp(&mut self, now: Time, out: &mut [u8]) -> Option<(Owner, usize)> {
        self.collect_due(now);
        let room = out.len().min(MAX_RTCP_LEN);
        if room < MIN_RTCP_LEN {
            return None;
        }
        while let Some(owner) = self.rtcp_ready.front().copied() {
            let len = self.write_compound(now, owner, &mut out[..room]);
            let next = self.next_report(owner);
            let has_more = len > 0 && next.is_some_and(|next| next <= now);
            if !has_more {
                self.rtcp_ready.pop_front();
                if let Some(state) = self.owner_mut(owner) {
                    state.rtcp_queued = false;
                }
                if let Some(next) = next {
                    // What is due and was not written can't be: look again later instead of at once.
                    self.arm(now, owner, next.max(now + Duration::from_millis(5)));
                }
            }
            if len > 0 {
                return Some((Owner(owner), len));
            }
        }
        None
    }

    /// When to call [`Self::on_timeout`] and drain again.
    pub fn next_timeout(&self) -> Option<Time> {
        let rtcp = if self.rtcp_ready.is_empty() {
            self.timers.peek().map(|Reverse((at, _))| *at)
        } else {
            Some(Time::ZERO)
        };
        let due = [
            rtcp,
            self.housekeeping_at,
            self.links_at,
            self.quality_at,
            self.egress.next_timeout(),
        ];
        due.into_iter().flatten().min()
    }

    /// Lets time pass: reports become due, silence is noticed.
    pub fn on_timeout(&mut self, now: Time) {
        self.collect_due(now);
        if self.housekeeping_at.is_some_and(|at| at <= now) {
            self.keep_house(now);
        }
        if self.links_at.is_some_and(|at| at <= now) {
            self.look_at_links(now);
        }
        if self.quality_at.is_some_and(|at| at <= now) {
            self.tell_quality(now);
        }
    }

    /// Sees to it that an owner's RTCP is looked at by `at`.
    pub(crate) fn arm(&mut self, now: Time, owner: u32, at: Time) {
        let Some(Some(state)) = self.owners.get_mut(owner as usize) else {
            return;
        };
        if state.rtcp_queued {
            return;
        }
        if at <= now {
            state.rtcp_queued = true;
            state.armed = Time::MAX;
            self.rtcp_ready.push_back(owner);
        } else if at < state.armed {
            state.armed = at;
            self.timers.push(Reverse((at, owner)));
        }
    }

    fn collect_due(&mut self, now: Time) {
        while let Some(Reverse((at, owner))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            // Superseded deadlines stay in the heap until they pass.
            if self.owner(owner).is_some_and(|state| state.armed == at) {
                self.arm(now, owner, now);
            }
        }
    }

    pub(crate) fn start_housekeeping(&mut self, now: Time) {
        self.housekeeping_at.get_or_insert(now + HOUSEKEEPING);
    }

    pub(crate) fn start_receiver_reports(&mut self, now: Time, owner: u32) {
        let at = now + self.report_phase();
        if let Some(state) = self.owner_mut(owner)
            && state.receiver_report_at.is_none()
        {
            state.receiver_report_at = Some(at);
            self.arm(now, owner, at);
        }
    }

    pub(crate) fn start_sender_reports(&mut self, now: Time, owner: u32) {
        let at = now + self.report_phase();
        if let Some(state) = self.owner_mut(owner)
            && state.sender_report_at.is_none()
        {
            state.sender_report_at = Some(at);
            self.arm(now, owner, at);
        }
    }

    /// Between half and a whole interval, so that owners who come together don't report together for ever.
    fn report_phase(&mut self) -> Duration {
        let half = self.config.report_interval / 2;
        half + half * (self.random.next() as u32 & 0xff) / 256
    }

    fn keep_house(&mut self, now: Time) {
        self.housekeeping_at = (self.producers.len() > 0).then(|| now + HOUSEKEEPING);
        for index in 0..self.producers.end() {
            let Some(producer) = self.producers.of_mut(index) else {
                continue;
            };
            let track = producer.track;
            if let Some(change) = producer.level.on_tick(now) {
                self.tell(ForwardEvent::AudioLevel {
                    track,
                    level: change.level,
                    active: change.active,
                });
            }
            let mut slept = false;
            let count = self.producers.of(index).map_or(0, |p| p.slots.len());
            for position in 0..count {
                let slot = self.producers.of(index).and_then(|p| p.slots.get(position));
                let Some(slot) = slot.copied() else {
                    continue;
                };
                let silent_after = self.config.silent_after;
                if let Some(encoding) = self.encodings.of_mut(slot) {
                    encoding.measure(now);
                }
                if let Some(encoding) = self.encodings.of_mut(slot)
                    && encoding.active
                    && encoding.is_silent(now, silent_after)
                {
                    encoding.active = false;
                    slept = true;
                }
                if self.producers.of(index).is_some_and(|p| p.owner.is_none()) {
                    self.relay_keyframe(now, slot);
                }
            }
            if slept {
                self.choose_encodings(now, index);
            }
            self.pursue_layers(now, index);
        }
    }

    /// When an owner's RTCP is to be looked at again.
    fn next_report(&self, owner: u32) -> Option<Time> {
        let state = self.owner(owner)?;
        let mut next = [
            state.sender_report_at,
            state.receiver_report_at,
            state.twcc.as_ref().and_then(|twcc| twcc.due()),
            (!state.goodbyes.is_empty()).then_some(Time::ZERO),
        ]
        .into_iter()
        .flatten()
        .min();
        for producer in state.producers.iter().filter_map(|p| self.producers.of(*p)) {
            for encoding in producer.slots.iter().filter_map(|s| self.encodings.of(*s)) {
                if encoding.ssrc.is_none() {
                    continue;
                }
                let due = [encoding.nack.next_due(), encoding.keyframe.due()];
                next = due.into_iter().flatten().chain(next).min();
            }
        }
        next
    }

    fn write_compound(&mut self, now: Time, owner: u32, out: &mut [u8]) -> usize {
        let room = out.len();
        let mut writer = RtcpWriter::new(out);
        self.write_sender_reports(now, owner, room, &mut writer);
        self.write_goodbyes(owner, room, &mut writer);
        if self.has_feedback_due(now, owner) {
            self.write_receiver_reports(now, owner, room, &mut writer);
            self.write_requests(now, owner, room, &mut writer);
            self.write_transport_feedback(now, owner, room, &mut writer);
        }
        writer.finish()
    }

    fn write_sender_reports(
        &mut self,
        now: Time,
        owner: u32,
        room: usize,
        writer: &mut RtcpWriter<'_>,
    ) {
        let interval = self.config.report_interval;
        let Some(Some(state)) = self.owners.get_mut(owner as usize) else {
            return;
        };
        if state.sender_report_at.is_none_or(|at| at > now) {
            return;
        }
        while let Some(index) = state.consumers.get(state.sender_report_from) {
            let Some(consumer) = self.consumers.of_mut(*index) else {
                state.sender_report_from += 1;
                continue;
            };
            if room - writer.len() < SENDER_REPORT_LEN + sdes_len(&consumer.cname) {
                return;
            }
            state.sender_report_from += 1;
            let encoding = consumer
                .rewriter
                .last()
                .and_then(|last| self.encodings.of(last.slot));
            let Some(instant) =
                encoding.and_then(|encoding| consumer.sender_instant(now, encoding, &self.config))
            else {
                continue;
            };
            let info = SenderInfo {
                ssrc: consumer.ssrc,
                ntp: instant.ntp.0,
                rtp_timestamp: instant.timestamp,
                packet_count: consumer.stats.packets as u32,
                octet_count: consumer.stats.octets as u32,
            };
            let reported = writer.sender_report(&info, &[]);
            if reported
                .and_then(|()| writer.sdes_cname(consumer.ssrc, &consumer.cname))
                .is_ok()
            {
                consumer.reported = Some((instant.ntp.middle(), now));
            }
        }
        state.sender_report_from = 0;
        state.sender_report_at = (!state.consumers.is_empty()).then(|| now + interval);
    }

    fn write_goodbyes(&mut self, owner: u32, room: usize, writer: &mut RtcpWriter<'_>) {
        let ssrc = self.local_ssrc;
        let Some(Some(state)) = self.owners.get_mut(owner as usize) else {
            return;
        };
        let needed =
            RECEIVER_REPORT_LEN + sdes_len(&self.local_cname) + 4 * (state.goodbyes.len() + 1);
        if state.goodbyes.is_empty() || room - writer.len() < needed {
            return;
        }
        // A compound begins with a report and names its source (RFC 3550 §6.1).
        let written = if writer.is_empty() {
            writer
                .receiver_report(ssrc, &[])
                .and_then(|()| writer.sdes_cname(ssrc, &self.local_cname))
        } else {
            Ok(())
        };
        if written.and_then(|()| writer.bye(&state.goodbyes)).is_ok() {
            state.goodbyes.clear();
        }
    }

    fn has_feedback_due(&self, now: Time, owner: u32) -> bool {
        let Some(state) = self.owner(owner) else {
            return false;
        };
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        is_due(state.receiver_report_at)
            || is_due(state.twcc.as_ref().and_then(|twcc| twcc.due()))
            || state
                .producers
                .iter()
                .filter_map(|p| self.producers.of(*p))
                .any(|producer| {
                    let mut encodings = producer.slots.iter().filter_map(|s| self.encodings.of(*s));
                    encodings.any(|encoding| {
                        encoding.ssrc.is_some()
                            && (is_due(encoding.nack.next_due()) || is_due(encoding.keyframe.due()))
                    })
                })
    }

    /// Report blocks if their time has come; an empty report in front of other feedback otherwise.
    fn write_receiver_reports(
        &mut self,
        now: Time,
        owner: u32,
        room: usize,
        writer: &mut RtcpWriter<'_>,
    ) {
        let (ssrc, interval) = (self.local_ssrc, self.config.report_interval);
        let Some(Some(state)) = self.owners.get_mut(owner as usize) else {
            return;
        };
        let frame = RECEIVER_REPORT_LEN + sdes_len(&self.local_cname);
        let Some(space) = (room - writer.len()).checked_sub(frame) else {
            return;
        };
        let mut blocks = [ReportBlock::default(); 31];
        let mut count = 0;
        if state.receiver_report_at.is_some_and(|at| at <= now) {
            let limit = (space / REPORT_BLOCK_LEN).min(blocks.len());
            let slots = state
                .producers
                .iter()
                .filter_map(|index| self.producers.of(*index))
                .flat_map(|producer| producer.slots.iter().copied());
            let mut reached = 0;
            for (position, slot) in slots.enumerate().skip(state.receiver_report_from) {
                if count == limit {
                    break;
                }
                reached = position + 1;
                if let Some(block) = self.encodings.of_mut(slot).and_then(|e| e.report(now)) {
                    blocks[count] = block;
                    count += 1;
                }
            }
            if count == limit && limit > 0 && count == blocks.len() {
                state.receiver_report_from = reached;
            } else {
                state.receiver_report_from = 0;
                state.receiver_report_at = (!state.producers.is_empty()).then(|| now + interval);
            }
        }
        // Room was checked: neither can fail.
        let _written = writer
            .receiver_report(ssrc, &blocks[..count])
            .and_then(|()| writer.sdes_cname(ssrc, &self.local_cname));
    }

    fn write_requests(&mut self, now: Time, owner: u32, room: usize, writer: &mut RtcpWriter<'_>) {
        let ssrc = self.local_ssrc;
        let Some(Some(state)) = self.owners.get_mut(owner as usize) else {
            return;
        };
        for producer in state.producers.iter().filter_map(|p| self.producers.of(*p)) {
            let is_wanted = producer.is_wanted();
            for slot in &producer.slots {
                let Some(encoding) = self.encodings.of_mut(*slot) else {
                    continue;
                };
                let Some(media) = encoding.ssrc else {
                    continue;
                };
                if !is_wanted || producer.muted {
                    encoding.keyframe.cancel();
                }
                if encoding.keyframe.due().is_some_and(|due| due <= now)
                    && room - writer.len() >= PLI_LEN
                    && writer.pli(ssrc, media).is_ok()
                {
                    encoding.keyframe.on_sent(now);
                    self.tally.pli_sent += 1;
                }
                let space = (room - writer.len()).saturating_sub(NACK_LEN) / NACK_ENTRY_LEN;
                if space == 0 || encoding.nack.next_due().is_none_or(|due| due > now) {
                    continue;
                }
                let lost = &mut self.scratch.lost;
                lost.clear();
                encoding.nack.collect(now, space, lost);
                if writer.nack(ssrc, media, lost).is_ok() {
                    self.tally.nack_sent += lost.len() as u64;
                }
            }
        }
    }

    fn write_transport_feedback(
        &mut self,
        now: Time,
        owner: u32,
        room: usize,
        writer: &mut RtcpWriter<'_>,
    ) {
        let ssrc = self.local_ssrc;
        let Some(Some(state)) = self.owners.get_mut(owner as usize) else {
            return;
        };
        if let Some(twcc) = &mut state.twcc
            && twcc.due().is_some_and(|due| due <= now)
            && room - writer.len() >= MIN_TWCC_LEN
        {
            // What did not fit stays due and goes into the next compound.
            let _written = twcc.write(ssrc, writer, &mut self.scratch.arrivals);
        }
    }
}

/// One instant by both of a stream's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant {
    pub(crate) ntp: schalter_model::NtpTime,
    pub(crate) timestamp: u32,
}

impl crate::consumer::Consumer {
    /// `now` by the publisher's NTP clock and as this stream's timestamp.
    ///
    /// All streams of a publisher keep its NTP clock, so that a subscriber can play them in sync. Without a sender
    /// report of the publisher our own clock stands in, but not before it had time to send one.
    fn sender_instant(
        &self,
        now: Time,
        encoding: &crate::encoding::Encoding,
        config: &crate::settings::RouterConfig,
    ) -> Option<Instant> {
        let last = self.rewriter.last()?;
        // Who sends nothing has no report to make (RFC 3550 §6.4).
        if now - last.at > config.report_interval * 2 {
            return None;
        }
        let rate = encoding.clock_rate;
        match encoding.clock.filter(|_| last.seq >= encoding.clock_start) {
            Some(clock) => {
                let passed = now - clock.arrived;
                let passed_ntp = ((passed.as_nanos() << 32) / 1_000_000_000) as u64;
                Some(Instant {
                    ntp: schalter_model::NtpTime(clock.ntp.0.wrapping_add(passed_ntp)),
                    timestamp: clock
                        .rtp_timestamp
                        .wrapping_add(crate::consumer::ticks(passed, rate))
                        .wrapping_add(self.last_shift()),
                })
            }
            None => {
                encoding
                    .first_arrival
                    .filter(|first| now - *first > CLOCK_PATIENCE)?;
                Some(Instant {
                    ntp: config.wall.ntp(now),
                    timestamp: last
                        .timestamp
                        .wrapping_add(crate::consumer::ticks(now - last.at, rate)),
                })
            }
        }
    }
}
