//! Which header extensions a subscriber's packets have, and how long they are (RFC 8285).

use schalter_rtp::codec::av1::{ActiveTargets, DescriptorPatch};

use crate::cache::{PASSED_KINDS, PassedKind, passed_elements};
use crate::config::ConsumerConfig;
use crate::consumer::Consumer;
use crate::producer::passed_ids;

/// Largest element and id of one-byte header extensions (RFC 8285 §4.2).
const ONE_BYTE_MAX: (u8, usize) = (14, 16);
/// Largest element of two-byte header extensions (RFC 8285 §4.3).
pub(crate) const MAX_ELEMENT_LEN: usize = 255;

/// Header extensions of a subscriber.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EgressExtensions {
    /// Ids by [`crate::cache::PassedKind`], 0 for none.
    pub(crate) passed: [u8; PASSED_KINDS],
    pub(crate) mid: u8,
    pub(crate) transport_cc: u8,
    /// Packets have a transport-wide number, be it on the wire or not.
    pub(crate) is_numbered: bool,
    pub(crate) abs_send_time: u8,
}

impl EgressExtensions {
    pub(crate) fn new(config: &ConsumerConfig) -> Self {
        let ids = &config.extensions;
        let transport_cc = ids.transport_cc.unwrap_or(0);
        let is_numbered = transport_cc != 0 || config.congestion_feedback;
        Self {
            passed: passed_ids(ids),
            mid: ids.mid.unwrap_or(0),
            transport_cc,
            is_numbered,
            // Receivers that feed arrivals back do not need the time: it would be dead weight.
            abs_send_time: if is_numbered {
                0
            } else {
                ids.abs_send_time.unwrap_or(0)
            },
        }
    }
}

impl Consumer {
    /// Length of the extension block that [`crate::write`] will write.
    #[inline]
    pub(crate) fn extension_len(
        &self,
        elements: &[u8],
        with_mid: bool,
        active_targets: Option<ActiveTargets>,
    ) -> usize {
        let ids = &self.extensions;
        let (mut count, mut bytes, mut one_byte) = (0, 0, true);
        let mut add = |id: u8, len: usize| {
            count += 1;
            bytes += len;
            one_byte &= id <= ONE_BYTE_MAX.0 && (1..=ONE_BYTE_MAX.1).contains(&len);
        };
        if with_mid {
            add(ids.mid, self.mid.as_ref().map_or(0, |mid| mid.len()));
        }
        if ids.transport_cc != 0 {
            add(ids.transport_cc, 2);
        }
        if ids.abs_send_time != 0 {
            add(ids.abs_send_time, 3);
        }
        for (kind, value) in passed_elements(elements) {
            if ids.passed[kind] != 0 {
                let is_descriptor = kind == PassedKind::DependencyDescriptor as usize;
                let len = match active_targets {
                    Some(_) if is_descriptor => announced_len(value, active_targets),
                    Some(_) | None => value.len(),
                };
                add(ids.passed[kind], len);
            }
        }
        if count == 0 {
            return 0;
        }
        4 + (bytes + count * if one_byte { 1 } else { 2 }).next_multiple_of(4)
    }
}

/// Length of a dependency descriptor that names other decode targets; one that would be too long for an element keeps
/// its own.
pub(crate) fn announced_len(value: &[u8], active_targets: Option<ActiveTargets>) -> usize {
    let patch = DescriptorPatch {
        frame_number: None,
        active_targets,
    };
    let len = patch.written_len(value);
    if len > MAX_ELEMENT_LEN {
        value.len()
    } else {
        len
    }
}
