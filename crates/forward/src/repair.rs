//! Packets that a subscriber is sent again: because it asked (RFC 4588), or to fill a probe of its link.
//!
//! All packets of the stream for retransmissions name their section: nobody reports on that stream, so that it is never known to
//! be known, and Firefox takes nothing of it that doesn't, though our descriptions list its SSRC.

use schalter_model::Time;

use crate::cache::Stored;
use crate::consumer::Consumer;
use crate::encoding::Encoding;
use crate::follow::Verdict;
use crate::pending::{Part, Pending, content, payload_len};
use crate::resend::ResendLimit;
use crate::rewrite::{Shift, Source};
use crate::settings::RouterConfig;
use crate::slab::Slab;

/// Longest padding of one packet: one byte says its length (RFC 3550 §5.1). The rest of a word would do no harm, but a
/// round number of words keeps packets aligned.
const MAX_PADDING: u8 = 252;
/// RTP header with extensions and the number of the packet that is sent again, at most.
const MAX_RESENT_HEADER: usize = 40;

impl Consumer {
    /// A packet that the subscriber asked for again.
    pub(crate) fn resend(
        &mut self,
        own: u32,
        sequence: u16,
        source: &Source,
        stored: &Stored,
        elements: &[u8],
    ) -> Option<Pending> {
        let form = self.form(stored.format)?;
        let retransmission = self.rtx_ssrc.is_some() && form.rtx_payload_type.is_some();
        let verdict = self
            .follower_of(source.slot)
            .map_or(Some(Verdict::Send { completes: false }), |follower| {
                follower.recall(stored.place.frame)
            });
        let whole = self.part(stored);
        let (part, marker) = content(stored, whole, verdict.unwrap_or(Verdict::Leave));
        let with_mid = (self.mid_left > 0 || retransmission) && self.has_mid();
        let payload = payload_len(stored, part) + if retransmission { 2 } else { 0 };
        self.stats.retransmitted += 1;
        let active_targets = self.announcement(source.slot, stored);
        let len = 12 + self.extension_len(elements, with_mid, active_targets) + payload;
        Some(Pending {
            seq: stored.seq,
            consumer: own,
            slot: source.slot,
            shift: source.shift,
            sequence,
            len: len as u16,
            part,
            marker,
            active_targets,
            with_mid,
            retransmission,
            since: Time::ZERO,
        })
    }

    /// A packet of at most `most` bytes that fills a probe: the `turn`-th newest one again, because that repairs what may
    /// be lost, or nothing but padding where there is none so short. `None` without a stream for retransmissions.
    pub(crate) fn padding(
        &mut self,
        own: u32,
        turn: u16,
        most: usize,
        encodings: &Slab<Encoding>,
    ) -> Option<Pending> {
        self.rtx_ssrc?;
        let newest = self.rewriter.newest();
        let sequence = newest.unwrap_or(0).wrapping_sub(turn);
        let source = newest.and_then(|_| self.rewriter.source_of(sequence));
        let found = source.and_then(|source| {
            let cache = &encodings.of(source.slot)?.cache;
            let (stored, elements, _) = cache.find(source.seq)?;
            let len = usize::from(stored.payload_len) + MAX_RESENT_HEADER;
            (len <= most).then_some((source, stored, elements))
        });
        if let Some((source, stored, elements)) = found {
            return self
                .resend(own, sequence, &source, stored, elements)
                .filter(|pending| pending.retransmission);
        }
        let form = self.forms.iter().flatten().next()?;
        form.rtx_payload_type?;
        let with_mid = self.has_mid();
        let header = 12 + self.extension_len(&[], with_mid, None);
        let padding = most.saturating_sub(header) / 4 * 4;
        let padding = padding.clamp(4, usize::from(MAX_PADDING)) as u8;
        let len = header + usize::from(padding);
        Some(Pending {
            seq: 0,
            consumer: own,
            slot: u32::MAX,
            shift: Shift::default(),
            sequence,
            len: len as u16,
            marker: false,
            part: Part::Padding(padding),
            active_targets: None,
            with_mid,
            retransmission: true,
            since: Time::ZERO,
        })
    }

    /// Whether its packets can say which section they belong to.
    pub(crate) fn has_mid(&self) -> bool {
        self.extensions.mid != 0 && self.mid.is_some()
    }

    /// What padding is sent as: payload type and SSRC of retransmissions.
    pub(crate) fn padding_stream(&self) -> Option<(u8, u32)> {
        let form = self.forms.iter().flatten().next()?;
        Some((form.rtx_payload_type?, self.rtx_ssrc?))
    }

    pub(crate) fn resend_limit(&mut self, config: &RouterConfig) -> &mut ResendLimit {
        self.resend
            .get_or_insert_with(|| ResendLimit::new(config.resend_rate, config.resend_guard))
    }
}
