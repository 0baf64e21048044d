//! Writes one outgoing packet: header, extensions, payload, from what the cache holds and a [`Pending`] says.

use schalter_model::Time;
use schalter_rtp::codec::av1::DescriptorPatch;
use schalter_rtp::codec::vp8::Vp8Patch;
use schalter_rtp::codec::vp9::Vp9Patch;
use schalter_rtp::extension::{AbsSendTime, encode_transport_sequence};
use schalter_rtp::{RtpHeader, RtpPacket};

use crate::cache::{Numbering, PASSED_KINDS, PassedKind, Stored, passed_elements};
use crate::consumer::Consumer;
use crate::extensions::{MAX_ELEMENT_LEN, announced_len};
use crate::pending::{Part, Pending};

/// Most elements of an outgoing packet: mid, transport-wide number, send time and what passes.
const MAX_ELEMENTS: usize = 3 + PASSED_KINDS;

/// Elements in the order written, on the stack.
pub(crate) struct ElementList<'a> {
    elements: [(u8, &'a [u8]); MAX_ELEMENTS],
    len: usize,
}

impl<'a> ElementList<'a> {
    pub(crate) fn new() -> Self {
        Self {
            elements: [(0, &[]); MAX_ELEMENTS],
            len: 0,
        }
    }

    /// Appends an element; ids of 0 are not negotiated and left out.
    #[inline]
    pub(crate) fn push(&mut self, id: u8, value: &'a [u8]) {
        if id != 0
            && let Some(slot) = self.elements.get_mut(self.len)
        {
            *slot = (id, value);
            self.len += 1;
        }
    }

    pub(crate) fn as_slice(&self) -> &[(u8, &'a [u8])] {
        &self.elements[..self.len]
    }
}

/// Writes the packet to `out` and answers its length; `None` if `out` is too small.
#[inline]
pub(crate) fn write_packet(
    now: Time,
    consumer: &mut Consumer,
    pending: &Pending,
    cached: (&Stored, &[u8], &[u8]),
    transport_sequence: &mut u16,
    out: &mut [u8],
) -> Option<usize> {
    if out.len() < usize::from(pending.len) {
        return None;
    }
    let (stored, elements, payload) = cached;
    let form = consumer.form(stored.format)?;
    let ids = consumer.extensions;
    let transport_value = encode_transport_sequence(*transport_sequence);
    let send_time = if ids.abs_send_time == 0 {
        [0; 3]
    } else {
        AbsSendTime::from_micros(now.as_micros()).encode()
    };
    let mut list = ElementList::new();
    if pending.with_mid
        && let Some(mid) = &consumer.mid
    {
        list.push(ids.mid, mid.as_bytes());
    }
    list.push(ids.transport_cc, &transport_value);
    list.push(ids.abs_send_time, &send_time);
    let mut rewritten = [0; MAX_ELEMENT_LEN];
    let descriptor = rewrite_descriptor(stored, pending, elements, &mut rewritten);
    for (kind, value) in passed_elements(elements) {
        let value = match descriptor {
            Some(rewritten) if kind == PassedKind::DependencyDescriptor as usize => rewritten,
            Some(_) | None => value,
        };
        list.push(ids.passed[kind], value);
    }
    let (payload_type, ssrc, sequence) = if pending.retransmission {
        let rtx = (form.rtx_payload_type?, consumer.rtx_ssrc?);
        (rtx.0, rtx.1, consumer.rtx_sequence)
    } else {
        let payload_type = match pending.part {
            Part::RedPrimary => form.plain.unwrap_or(form.payload_type),
            Part::Whole | Part::Empty | Part::Padding(_) => form.payload_type,
        };
        (payload_type, consumer.ssrc, pending.sequence)
    };
    let header = RtpHeader {
        marker: pending.marker,
        payload_type,
        sequence,
        timestamp: stored.timestamp.wrapping_add(pending.shift.timestamp),
        ssrc,
    };
    let mut at = header.write(list.as_slice(), out).ok()?;
    if pending.retransmission {
        out.get_mut(at..at + 2)?
            .copy_from_slice(&pending.sequence.to_be_bytes());
        at += 2;
        consumer.rtx_sequence = consumer.rtx_sequence.wrapping_add(1);
    }
    let part = match pending.part {
        Part::Whole => payload,
        Part::RedPrimary => payload.get(usize::from(stored.red_primary_at)..)?,
        Part::Empty | Part::Padding(_) => &[],
    };
    let end = at + part.len();
    let body = out.get_mut(at..end)?;
    body.copy_from_slice(part);
    if let (Some(inner), Part::Whole) = (form.red_inner, pending.part) {
        rename_red_blocks(body, inner);
    }
    patch_numbers(body, stored, pending);
    if ids.is_numbered {
        *transport_sequence = transport_sequence.wrapping_add(1);
    }
    Some(end)
}

/// Writes a packet of padding to `out` and answers its length; `None` if `out` is too small.
pub(crate) fn write_padding(
    now: Time,
    consumer: &mut Consumer,
    len: u8,
    transport_sequence: &mut u16,
    out: &mut [u8],
) -> Option<usize> {
    let ids = consumer.extensions;
    let (payload_type, ssrc) = consumer.padding_stream()?;
    let transport_value = encode_transport_sequence(*transport_sequence);
    let send_time = AbsSendTime::from_micros(now.as_micros()).encode();
    let mut list = ElementList::new();
    if let Some(mid) = &consumer.mid {
        list.push(ids.mid, mid.as_bytes());
    }
    list.push(ids.transport_cc, &transport_value);
    list.push(ids.abs_send_time, &send_time);
    let header = RtpHeader {
        marker: false,
        payload_type,
        sequence: consumer.rtx_sequence,
        timestamp: consumer.rewriter.last().map_or(0, |last| last.timestamp),
        ssrc,
    };
    let at = header.write(list.as_slice(), out).ok()?;
    let end = at + usize::from(len);
    let (last, zeros) = out.get_mut(at..end)?.split_last_mut()?;
    zeros.fill(0);
    *last = len;
    // RFC 3550 §5.1: the padding bit.
    *out.first_mut()? |= 0x20;
    consumer.rtx_sequence = consumer.rtx_sequence.wrapping_add(1);
    if ids.is_numbered {
        *transport_sequence = transport_sequence.wrapping_add(1);
    }
    Some(end)
}

/// The dependency descriptor as this subscriber needs it, if that is not as it came.
fn rewrite_descriptor<'a>(
    stored: &Stored,
    pending: &Pending,
    elements: &[u8],
    out: &'a mut [u8; MAX_ELEMENT_LEN],
) -> Option<&'a [u8]> {
    let shift = pending.shift.picture_id;
    if stored.numbering != Numbering::Descriptor || shift == 0 && pending.active_targets.is_none() {
        return None;
    }
    let is_descriptor = |(kind, _): &(usize, _)| *kind == PassedKind::DependencyDescriptor as usize;
    let (_, value) = passed_elements(elements).find(is_descriptor)?;
    let frame_number = stored.picture_id.map(|number| number.wrapping_add(shift));
    let patch = DescriptorPatch {
        frame_number,
        active_targets: pending.active_targets,
    };
    let promised = announced_len(value, pending.active_targets);
    if patch.written_len(value) == promised && patch.write(value, out) == Ok(promised) {
        return out.get(..promised);
    }
    // What can't be rewritten keeps its targets and the promised length: descriptors end in padding.
    out.fill(0);
    out.get_mut(..value.len())?.copy_from_slice(value);
    if let (Some(number), Some(field)) = (frame_number, out.get_mut(1..3)) {
        field.copy_from_slice(&number.to_be_bytes());
    }
    out.get(..promised)
}

/// Continues running numbers of the payload descriptor over changes of encoding and frames left out.
fn patch_numbers(body: &mut [u8], stored: &Stored, pending: &Pending) {
    let shift = pending.shift;
    if shift.picture_id == 0 && shift.tl0picidx == 0 || pending.part == Part::Empty {
        return;
    }
    let picture_id = stored
        .picture_id
        .map(|id| id.wrapping_add(shift.picture_id));
    let tl0picidx = stored
        .tl0picidx
        .map(|index| index.wrapping_add(shift.tl0picidx));
    // Ingress parsed the same descriptor, so it has the fields; what it lacks is not patched.
    let _unchanged_on_error = match stored.numbering {
        Numbering::Vp8 => Vp8Patch {
            picture_id,
            tl0picidx,
        }
        .apply(body),
        Numbering::Vp9 => Vp9Patch {
            picture_id,
            tl0picidx,
        }
        .apply(body),
        Numbering::None | Numbering::Descriptor => Ok(()),
    };
}

/// Writes another payload type into each block header of RED (RFC 2198 §3).
///
/// Subscriber and publisher may have different payload types for what is inside.
fn rename_red_blocks(payload: &mut [u8], payload_type: u8) {
    let mut at = 0;
    while let Some(head) = payload.get_mut(at) {
        let follows = *head & 0x80;
        *head = follows | payload_type;
        if follows == 0 {
            return;
        }
        at += 4;
    }
}

/// Writes a packet for another shard: as its publisher sent it, with the elements that pass.
pub(crate) fn write_envelope(
    header: RtpHeader,
    ids: &[u8; PASSED_KINDS],
    elements: &[u8],
    payload: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let mut list = ElementList::new();
    for (kind, value) in passed_elements(elements) {
        list.push(ids[kind], value);
    }
    let at = header.write(list.as_slice(), out).ok()?;
    let end = at + payload.len();
    out.get_mut(at..end)?.copy_from_slice(payload);
    debug_assert!(RtpPacket::parse(&out[..end]).is_ok());
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn red_blocks_get_the_subscribers_payload_type() {
        let mut payload = [0x80 | 111, 1, 2, 3, 111, 111, 111];
        rename_red_blocks(&mut payload, 96);
        assert_eq!(payload, [0x80 | 96, 1, 2, 3, 96, 111, 111]);
        rename_red_blocks(&mut [0x80 | 111, 1], 96);
    }
}
