//! One subscription: which packets it takes, as what, and what its subscriber says about them.
//!
//! Decides per packet by comparing a few numbers; what it answers is a small [`Pending`], never a copy of the
//! payload. Refuses to know the network: queues are [`crate::egress`]'s.

use std::sync::Arc;
use std::time::Duration;

use schalter_model::{MediaKind, Time, TrackId};
use schalter_rtp::codec::av1::ActiveTargets;

use crate::cache::{Numbering, Stored};
use crate::config::{Codec, CodecBinding, ConsumerConfig, ConsumerTarget};
use crate::downlink::Allotment;
use crate::encoding::Encoding;
use crate::extensions::EgressExtensions;
use crate::follow::{Follower, Verdict};
use crate::form::{Form, forms};
use crate::layer::{Layer, Reach};
use crate::pending::{Part, Pending, Placement, content, payload_len};
use crate::random::Random;
use crate::resend::ResendLimit;
use crate::rewrite::{Rewriter, Shift, Tail};

/// Packets that carry the mid while no receiver report has shown that the subscriber knows the stream.
const MID_PACKETS: u16 = 250;
/// A keyframe that was overtaken by more packets than this is too old to start with.
const MAX_START_LAG: u64 = 128;
/// Two ways to continue timestamps that differ by more than this mean that a sender report is wrong.
const MAX_CLOCK_ERROR_SECS: u32 = 2;

/// Reception as the subscriber reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerStats {
    /// Packets sent, retransmissions not counted.
    pub packets: u64,
    /// Payload bytes of them.
    pub octets: u64,
    /// Retransmissions sent.
    pub retransmitted: u64,
    /// Share lost in the last report interval, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start.
    pub cumulative_lost: i32,
    /// Interarrival jitter in timestamp ticks.
    pub jitter: u32,
    /// Last measured round trip.
    pub round_trip: Option<Duration>,
}

/// What congestion leaves of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// All that the target allows.
    Everything,
    /// No more than this layer.
    UpTo(Layer),
    /// Paused by congestion.
    Nothing,
}

/// A subscription.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) owner: u32,
    pub(crate) producer: u32,
    pub(crate) rewriter: Rewriter,
    pub(crate) target: ConsumerTarget,
    /// What the subscriber's link leaves of the target.
    pub(crate) grant: Grant,
    pub(crate) allotment: Allotment,
    /// Begins nothing before the queue on the way has drained.
    pub(crate) held: bool,
    /// Its link is so thin that sound comes without redundancy.
    pub(crate) spares_redundancy: bool,
    /// Encoding it wants; the open segment's may still be another.
    pub(crate) desired: Option<u8>,
    /// How far up within the encoding it wants.
    pub(crate) reach: Reach,
    /// Decides within the encoding of the open segment.
    follower: Option<Follower>,
    /// Of the encoding before, for its late packets and retransmissions.
    followed: Option<Follower>,
    form: Option<Form>,
    form_of: u8,
    kind: MediaKind,
    pub(crate) mid_left: u16,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) rtx_sequence: u16,
    pub(crate) extensions: EgressExtensions,
    pub(crate) mid: Option<Arc<str>>,
    pub(crate) stats: ConsumerStats,
    /// The next subscription under its SSRC goes on after it.
    pub(crate) continues: bool,
    first_timestamp: u32,
    pub(crate) forms: Box<[Option<Form>]>,
    pub(crate) resend: Option<ResendLimit>,
    pub(crate) track: TrackId,
    pub(crate) cname: Arc<str>,
    /// The last sender report: middle of its NTP time, and when it went.
    pub(crate) reported: Option<(u32, Time)>,
}

impl Consumer {
    /// `None` if publisher and subscriber share no format.
    pub(crate) fn new(
        owner: u32,
        producer: u32,
        track: TrackId,
        config: &ConsumerConfig,
        source: &[CodecBinding],
        random: &mut Random,
    ) -> Option<Self> {
        let forms = forms(source, &config.codecs)?;
        let kind = source.first()?.codec.kind();
        let drawn = random.next();
        Some(Self {
            owner,
            producer,
            // Below half the range, so that SRTP's rollover guess is right even if the first packets are lost.
            rewriter: Rewriter::new((drawn as u16 & 0x7fff).max(1)),
            target: config.target,
            grant: Grant::Everything,
            allotment: Allotment::default(),
            held: false,
            spares_redundancy: false,
            desired: None,
            reach: Reach::ALL,
            follower: None,
            followed: None,
            form: forms.first().copied().flatten(),
            form_of: 0,
            kind,
            mid_left: MID_PACKETS,
            ssrc: config.ssrc,
            rtx_ssrc: config.rtx_ssrc,
            rtx_sequence: (drawn >> 16) as u16 & 0x7fff,
            extensions: EgressExtensions::new(config),
            mid: config.mid.clone(),
            stats: ConsumerStats::default(),
            continues: config.continues,
            first_timestamp: (drawn >> 32) as u32,
            forms,
            resend: None,
            track,
            cname: config.cname.clone(),
            reported: None,
        })
    }

    /// Takes over another configuration; `false` (and no change) if no format is shared any more.
    pub(crate) fn replace(&mut self, config: &ConsumerConfig, source: &[CodecBinding]) -> bool {
        let Some(forms) = forms(source, &config.codecs) else {
            return false;
        };
        self.form = forms.first().copied().flatten();
        self.form_of = 0;
        self.forms = forms;
        if self.ssrc != config.ssrc || self.mid != config.mid {
            self.mid_left = MID_PACKETS;
        }
        self.ssrc = config.ssrc;
        self.rtx_ssrc = config.rtx_ssrc;
        self.extensions = EgressExtensions::new(config);
        self.mid = config.mid.clone();
        self.cname = config.cname.clone();
        self.continues = config.continues;
        true
    }

    /// What the next subscription under its SSRC goes on from; `None` if nothing was sent, or none does.
    pub(crate) fn ended(&self) -> Option<EndedStream> {
        Some(EndedStream {
            ssrc: self.ssrc,
            tail: self.rewriter.tail().filter(|_| self.continues)?,
            rtx_sequence: self.rtx_sequence,
            packets: self.stats.packets,
            octets: self.stats.octets,
        })
    }

    /// Goes on where another subscription ended.
    pub(crate) fn go_on(&mut self, ended: EndedStream) {
        self.rewriter = Rewriter::after(ended.tail);
        self.rtx_sequence = ended.rtx_sequence;
        self.stats.packets = ended.packets;
        self.stats.octets = ended.octets;
    }

    /// The publisher's formats changed; the subscriber's stay what they were.
    pub(crate) fn on_formats(&mut self, old: &[CodecBinding], new: &[CodecBinding]) {
        let known = |codec: Codec| {
            let index = old.iter().position(|binding| binding.codec == codec)?;
            self.forms.get(index).copied().flatten()
        };
        self.forms = new.iter().map(|binding| known(binding.codec)).collect();
        self.form = self.forms.first().copied().flatten();
        self.form_of = 0;
    }

    #[inline]
    pub(crate) fn form(&mut self, format: u8) -> Option<Form> {
        if format != self.form_of {
            self.form = self.forms.get(usize::from(format)).copied().flatten();
            self.form_of = format;
        }
        self.form
    }

    /// The part that this subscriber gets; `None` if the packet is left out.
    #[inline]
    pub(crate) fn part(&mut self, stored: &Stored) -> Option<Part> {
        let form = self.form(stored.format)?;
        if form.unwrap_red || (self.spares_redundancy && form.plain.is_some()) {
            (stored.red_primary_at < stored.payload_len).then_some(Part::RedPrimary)
        } else {
            (stored.payload_len > 0).then_some(Part::Whole)
        }
    }

    /// Decides about one packet of an encoding.
    #[inline]
    pub(crate) fn place(
        &mut self,
        now: Time,
        own: u32,
        slot: u32,
        encoding: &Encoding,
        stored: &Stored,
        elements: &[u8],
    ) -> Placement {
        if self.is_stopped() {
            return Placement::Nothing;
        }
        let seq = stored.seq;
        if let Some(open) = self.rewriter.open_segment()
            && open.slot == slot
            && seq > self.rewriter.highest()
            && open.start >= encoding.epoch_start
        {
            let Some(part) = self.part(stored) else {
                self.rewriter.leave_out(stored, 0);
                return Placement::Nothing;
            };
            let marker = match self.follow(stored, encoding) {
                Ok(marker) => marker,
                Err(LeftOut { pictures }) => {
                    self.rewriter.leave_out(stored, pictures);
                    return Placement::Nothing;
                }
            };
            return match self.rewriter.send(now, stored) {
                Some(place) => {
                    let content = (part, marker);
                    Placement::Send(self.pending(own, slot, stored, content, place, elements))
                }
                None => Placement::Nothing,
            };
        }
        let late = self.place_late(own, slot, encoding, stored, elements);
        if matches!(late, Placement::Send(_)) {
            return late;
        }
        let starts = self.desired == Some(encoding.index)
            && !self.held
            && (stored.starts || self.kind == MediaKind::Audio)
            && seq >= encoding.epoch_start
            && seq + MAX_START_LAG >= encoding.highest
            && self.rewriter.may_begin(slot, seq)
            && self.part(stored).is_some();
        if starts {
            Placement::Start
        } else {
            Placement::Nothing
        }
    }

    /// Decides about a packet that only counts if a place was kept for it.
    pub(crate) fn place_late(
        &mut self,
        own: u32,
        slot: u32,
        encoding: &Encoding,
        stored: &Stored,
        elements: &[u8],
    ) -> Placement {
        if self.is_stopped() {
            return Placement::Nothing;
        }
        let Some(place) = self.rewriter.late(slot, stored.seq) else {
            return Placement::Nothing;
        };
        let content = self.late_content(slot, stored, encoding);
        Placement::Send(self.pending(own, slot, stored, content, place, elements))
    }

    pub(crate) fn kind(&self) -> MediaKind {
        self.kind
    }

    /// Whether it can have sound with redundancy and without.
    pub(crate) fn may_spare_redundancy(&self) -> bool {
        self.forms.iter().flatten().any(|form| form.plain.is_some())
    }

    /// Neither the subscriber nor congestion lets anything through.
    pub(crate) fn is_stopped(&self) -> bool {
        self.target.paused || self.grant == Grant::Nothing
    }

    /// What the subscriber should get; `None` if nothing.
    #[cfg(test)]
    pub(crate) fn goal(&self) -> Option<Layer> {
        let encoding = self.desired.filter(|_| !self.is_stopped())?;
        Some(Layer {
            encoding,
            spatial: self.reach.spatial,
            temporal: self.reach.temporal,
        })
    }

    /// What is being forwarded of the encoding that the open segment is of; `None` if nothing flows.
    #[cfg(test)]
    pub(crate) fn current(&self, encoding: &Encoding) -> Option<Layer> {
        if self.is_stopped() {
            return None;
        }
        let follower = self.follower.as_ref()?;
        let (spatial, temporal) = follower.current(&encoding.layers);
        Some(Layer {
            encoding: encoding.index,
            spatial,
            temporal,
        })
    }

    /// Whether it takes a keyframe to get to the goal within an encoding that flows.
    pub(crate) fn lacks_layers(&self, encoding: &Encoding) -> bool {
        self.follower
            .as_ref()
            .is_some_and(|follower| follower.lacks(&encoding.layers, self.reach))
    }

    /// Decides by layer about the newest packet: with which marker it is sent, or what is missing without it.
    #[inline]
    fn follow(&mut self, stored: &Stored, encoding: &Encoding) -> Result<bool, LeftOut> {
        let Some(follower) = &mut self.follower else {
            return Ok(stored.marker);
        };
        // Within an encoding that is being left nothing is gained by leaving it for another layer first.
        let goal = if self.desired == Some(encoding.index) {
            self.reach
        } else {
            follower.reach()
        };
        match follower.on_packet(stored, &encoding.layers, goal) {
            (Verdict::Send { completes }, _) => {
                Ok(stored.marker || completes && stored.place.ends_frame)
            }
            (Verdict::Leave, is_first) => {
                let closes = is_first && stored.numbering == Numbering::Vp8;
                Err(LeftOut {
                    pictures: u16::from(closes),
                })
            }
        }
    }

    /// What a packet has to say about decode targets, instead of what it says.
    #[inline]
    pub(crate) fn announcement(&mut self, slot: u32, stored: &Stored) -> Option<ActiveTargets> {
        if stored.numbering != Numbering::Descriptor {
            return None;
        }
        self.follower_of(slot)?.announcement(stored.place.frame)
    }

    pub(crate) fn follower_of(&mut self, slot: u32) -> Option<&mut Follower> {
        [&mut self.follower, &mut self.followed]
            .into_iter()
            .flatten()
            .find(|follower| follower.slot == slot)
    }

    /// What goes into the place of a packet that was overtaken.
    fn late_content(&mut self, slot: u32, stored: &Stored, encoding: &Encoding) -> (Part, bool) {
        let part = self.part(stored);
        let verdict = self
            .follower_of(slot)
            .map_or(Verdict::Send { completes: false }, |follower| {
                follower.on_late_packet(stored, &encoding.layers)
            });
        content(stored, part, verdict)
    }

    /// Begins a segment with this packet; it and those that overtook it are to be placed after this.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        slot: u32,
        encoding: &Encoding,
        previous: Option<&Encoding>,
        stored: &Stored,
    ) {
        let timestamp = self.continue_timestamp(now, slot, encoding, previous, stored);
        let (picture_id, tl0picidx) = self.rewriter.continue_numbers(stored);
        let shift = Shift {
            timestamp,
            picture_id,
            tl0picidx,
        };
        self.rewriter.begin(slot, stored.seq, shift);
        if self.kind == MediaKind::Audio {
            return;
        }
        if self
            .follower
            .as_ref()
            .is_none_or(|follower| follower.slot != slot)
        {
            // What was followed of this encoding some switches ago is too old to matter.
            self.followed = self.follower.replace(Follower::new(slot));
        }
        if let Some(follower) = &mut self.follower {
            follower.begin(stored);
        }
    }

    /// What to add to the encoding's timestamps so that time goes on as it did for the sender.
    fn continue_timestamp(
        &self,
        now: Time,
        slot: u32,
        encoding: &Encoding,
        previous: Option<&Encoding>,
        stored: &Stored,
    ) -> u32 {
        let (Some(last), Some(previous)) = (self.rewriter.last(), previous) else {
            let first = self.rewriter.last().map_or(self.first_timestamp, |last| {
                last.timestamp
                    .wrapping_add(ticks(now - last.at, encoding.clock_rate).max(1))
            });
            return first.wrapping_sub(stored.timestamp);
        };
        let shift = self.last_shift();
        let same_clock = last.seq >= previous.clock_start;
        let elapsed = last
            .timestamp
            .wrapping_add(ticks(now - last.at, encoding.clock_rate));
        let candidate = if last.slot == slot && same_clock {
            stored.timestamp.wrapping_add(shift)
        } else {
            let by_clock = encoding
                .ntp_of(stored.timestamp)
                .filter(|_| same_clock)
                .and_then(|ntp| previous.timestamp_at(ntp))
                .map(|timestamp| timestamp.wrapping_add(shift));
            let limit = MAX_CLOCK_ERROR_SECS * encoding.clock_rate;
            by_clock
                .filter(|t| t.wrapping_sub(elapsed).cast_signed().unsigned_abs() < limit)
                .unwrap_or(elapsed)
        };
        let ahead = candidate.wrapping_sub(last.timestamp).cast_signed();
        let next = if ahead > 0 {
            candidate
        } else {
            last.timestamp.wrapping_add(1)
        };
        next.wrapping_sub(stored.timestamp)
    }

    /// Timestamp shift of the last segment that something was sent in.
    pub(crate) fn last_shift(&self) -> u32 {
        self.rewriter
            .last()
            .and_then(|last| self.rewriter.late(last.slot, last.seq))
            .map_or(0, |(_, shift)| shift.timestamp)
    }

    fn pending(
        &mut self,
        own: u32,
        slot: u32,
        stored: &Stored,
        (part, marker): (Part, bool),
        (sequence, shift): (u16, Shift),
        elements: &[u8],
    ) -> Pending {
        let with_mid = self.mid_left > 0 && self.has_mid();
        if with_mid {
            self.mid_left -= 1;
        }
        let payload = payload_len(stored, part);
        self.stats.packets += 1;
        self.stats.octets += payload as u64;
        let active_targets = self.announcement(slot, stored);
        let len = 12 + self.extension_len(elements, with_mid, active_targets) + payload;
        Pending {
            seq: stored.seq,
            consumer: own,
            slot,
            shift,
            sequence,
            len: len as u16,
            part,
            marker,
            active_targets,
            with_mid,
            retransmission: false,
            since: Time::ZERO,
        }
    }

    /// The subscriber reported on the stream: it knows the SSRC, the mid has done its work.
    pub(crate) fn on_report(&mut self, now: Time, block: &schalter_rtp::rtcp::ReportBlock) {
        self.mid_left = 0;
        self.stats.fraction_lost = block.fraction_lost;
        self.stats.cumulative_lost = block.cumulative_lost;
        self.stats.jitter = block.jitter;
        if let Some((middle, at)) = self.reported
            && block.last_sr == middle
        {
            let held =
                Duration::from_nanos(u64::from(block.delay_since_last_sr) * 1_000_000_000 / 65_536);
            self.stats.round_trip = Some((now - at).saturating_sub(held));
        }
    }
}

/// The end of a stream whose SSRC stays, for whichever track comes next on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndedStream {
    pub(crate) ssrc: u32,
    tail: Tail,
    rtx_sequence: u16,
    packets: u64,
    octets: u64,
}

/// A packet was left out, and so many picture ids with it.
#[derive(Clone, Copy, Debug)]
struct LeftOut {
    pictures: u16,
}

pub(crate) fn ticks(span: Duration, clock_rate: u32) -> u32 {
    (span.as_nanos() * u128::from(clock_rate) / 1_000_000_000) as u32
}
