//! What of a verified peer's packets the library may see.
//!
//! The library does as much work as a packet asks for: it walks to the TSN of a FORWARD-TSN one by one, over half the
//! number space if need be, and keeps every stream reset whose time never comes. Here both are bounded (RFC 3758 §3.6,
//! RFC 6525 §5.1.1). It panics over error causes that are longer than their chunk; so ABORT and ERROR are ours. And it
//! takes the length of some chunks from what it understood of them: parameters must fill them (RFC 9260 §3.2.1), so that
//! both of us see the same chunks.

use super::PACKET_HEADER_LEN;

/// Of a chunk or a parameter: type or type and flags, length.
const HEADER_LEN: usize = 4;
/// How far a FORWARD-TSN may be ahead of what we acknowledged: more than a peer has in flight, and done in a millisecond.
const FORWARD_MAX: u32 = 16 * 1024;
/// Stream resets that wait for data before them. Peers have one under way at a time.
const RESETS_MAX: usize = 16;
/// Parameters in one chunk; INIT has about six.
const PARAMETERS_MAX: usize = 32;

/// Parameter types: RFC 6525 §4.1 and §4.4, RFC 4895 §3.3, RFC 3758 §3.1.
const OUTGOING_RESET: u16 = 13;
const RESET_RESPONSE: u16 = 16;
const REQUESTED_HMAC: u16 = 0x8004;
const FORWARD_TSN_SUPPORTED: u16 = 0xc000;

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;
const RE_CONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;
/// INIT without parameters.
const INIT_LEN: usize = 20;

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The library may see it.
    Pass,
    /// It is dropped.
    Refuse,
    /// The peer has ended the association.
    Abort,
}

/// Remembers of one association what the bounds are measured from.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The cumulative TSN of our last SACK. Until there is one, nothing can be skipped or reset.
    acknowledged: Option<u32>,
    /// Request number and last TSN of the resets that wait.
    resets: Vec<(u32, u32)>,
}

/// Whether `a` is after `b` (RFC 1982).
const fn is_after(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_be_bytes)
}

/// A chunk or a parameter with its header, and what comes after its padding.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::from(u16_at(bytes, 2)?);
    let whole = bytes.get(..len.max(HEADER_LEN))?;
    let rest = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    (len >= HEADER_LEN).then_some((whole, rest))
}

impl Gate {
    /// Takes note of a packet of ours; answers the receive window that it advertises, if any (RFC 9260 §3.3.4).
    pub(super) fn on_sent(&mut self, packet: &[u8]) -> Option<u32> {
        let mut rest = packet.get(PACKET_HEADER_LEN..)?;
        while let Some((chunk, after)) = split(rest) {
            if chunk[0] == SACK {
                let acknowledged = u32_at(chunk, 4)?;
                self.acknowledged = Some(acknowledged);
                self.resets
                    .retain(|(_, last)| is_after(*last, acknowledged));
                return u32_at(chunk, 8);
            }
            rest = after;
        }
        None
    }

    /// Judges a packet of the peer. `established` is whether there is an association to speak of.
    pub(super) fn judge(&mut self, packet: &[u8], established: bool) -> Verdict {
        let Some(mut rest) = packet.get(PACKET_HEADER_LEN..) else {
            return Verdict::Refuse;
        };
        while !rest.is_empty() {
            let Some((chunk, after)) = split(rest) else {
                return Verdict::Refuse;
            };
            let fits = match chunk[0] {
                ABORT => return Verdict::Abort,
                SACK => established && is_plain_sack(chunk),
                FORWARD_TSN => established && self.admits_skip(chunk),
                RE_CONFIG => {
                    established && is_filled(chunk, HEADER_LEN, 2) && self.admits_reset(chunk)
                }
                HEARTBEAT => is_filled(chunk, HEADER_LEN, 1),
                INIT | INIT_ACK => is_filled(chunk, INIT_LEN, PARAMETERS_MAX),
                SHUTDOWN => chunk.len() == 8,
                SHUTDOWN_ACK | COOKIE_ACK | SHUTDOWN_COMPLETE => chunk.len() == HEADER_LEN,
                // Their length is their header's.
                DATA | COOKIE_ECHO => true,
                // What the library does not know; and ERROR, over which it would end the association.
                _ => false,
            };
            if !fits {
                return Verdict::Refuse;
            }
            rest = after;
        }
        Verdict::Pass
    }

    fn admits_skip(&self, chunk: &[u8]) -> bool {
        let (Some(acknowledged), Some(skipped)) = (self.acknowledged, u32_at(chunk, 4)) else {
            return false;
        };
        chunk.len().is_multiple_of(4)
            && (!is_after(skipped, acknowledged)
                || skipped.wrapping_sub(acknowledged) <= FORWARD_MAX)
    }

    fn admits_reset(&mut self, chunk: &[u8]) -> bool {
        let mut rest = &chunk[HEADER_LEN..];
        while let Some(kind) = u16_at(rest, 0) {
            let Some((parameter, after)) = split(rest) else {
                return false;
            };
            if kind == OUTGOING_RESET {
                let (Some(request), Some(last)) = (u32_at(parameter, 4), u32_at(parameter, 12))
                else {
                    return false;
                };
                let waits = self.acknowledged.is_none_or(|at| is_after(last, at));
                if waits && !self.resets.iter().any(|(known, _)| *known == request) {
                    if self.resets.len() == RESETS_MAX {
                        return false;
                    }
                    self.resets.push((request, last));
                }
            }
            rest = after;
        }
        true
    }
}

/// The library looks at every TSN of every block, so none may come twice; and the counts must fill the chunk.
fn is_plain_sack(chunk: &[u8]) -> bool {
    let (Some(blocks), Some(duplicates)) = (u16_at(chunk, 12), u16_at(chunk, 14)) else {
        return false;
    };
    let mut last = 0;
    chunk.len() == 16 + 4 * (usize::from(blocks) + usize::from(duplicates))
        && chunk[16..]
            .chunks_exact(4)
            .take(usize::from(blocks))
            .all(|block| {
                let start = u16::from_be_bytes([block[0], block[1]]);
                let end = u16::from_be_bytes([block[2], block[3]]);
                let rises = start > last && end >= start;
                last = end;
                rises
            })
}

/// Whether parameters fill the chunk behind its first `fixed` bytes, `max` of them at most, each of a shape that the
/// library understands whole.
fn is_filled(chunk: &[u8], fixed: usize, max: usize) -> bool {
    let Some(mut rest) = chunk.get(fixed..) else {
        return false;
    };
    for _ in 0..max {
        if rest.is_empty() {
            return true;
        }
        let (Some(kind), Some((parameter, after))) = (u16_at(rest, 0), split(rest)) else {
            return false;
        };
        let len = parameter.len();
        let whole = match kind {
            FORWARD_TSN_SUPPORTED => len == HEADER_LEN,
            REQUESTED_HMAC => len.is_multiple_of(2),
            OUTGOING_RESET => len >= 16 && len.is_multiple_of(2),
            RESET_RESPONSE => len == 12,
            _ => true,
        };
        if !whole {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACKNOWLEDGED: u32 = u32::MAX - 5;

    fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0];
        out.extend_from_slice(&(body.len() as u16 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn packet(chunks: &[Vec<u8>]) -> Vec<u8> {
        [vec![0; PACKET_HEADER_LEN], chunks.concat()].concat()
    }

    fn forward(tsn: u32) -> Vec<u8> {
        chunk(FORWARD_TSN, &tsn.to_be_bytes())
    }

    fn reset(request: u32, last: u32) -> Vec<u8> {
        let mut body = vec![0, 13, 0, 18];
        for number in [request, 0, last] {
            body.extend_from_slice(&number.to_be_bytes());
        }
        body.extend_from_slice(&[0, 1]);
        chunk(RE_CONFIG, &body)
    }

    fn sack(cumulative: u32, blocks: &[(u16, u16)]) -> Vec<u8> {
        let mut body = cumulative.to_be_bytes().to_vec();
        body.extend_from_slice(&[0, 0, 4, 0, 0, blocks.len() as u8, 0, 0]);
        for (start, end) in blocks {
            body.extend_from_slice(&start.to_be_bytes());
            body.extend_from_slice(&end.to_be_bytes());
        }
        chunk(SACK, &body)
    }

    impl Gate {
        fn admits(&mut self, packet: &[u8], established: bool) -> bool {
            self.judge(packet, established) == Verdict::Pass
        }
    }

    fn gate() -> Gate {
        let mut gate = Gate::default();
        let window = gate.on_sent(&packet(&[sack(ACKNOWLEDGED, &[])]));
        assert_eq!(window, Some(1024));
        gate
    }

    #[test]
    fn a_skip_is_bounded_from_what_we_acknowledged_across_the_wrap() {
        let far = ACKNOWLEDGED.wrapping_add(FORWARD_MAX);
        assert!(gate().admits(&packet(&[forward(far)]), true));
        assert!(gate().admits(&packet(&[forward(ACKNOWLEDGED - 100)]), true));
        for tsn in [
            far.wrapping_add(1),
            ACKNOWLEDGED.wrapping_add(i32::MAX as u32),
        ] {
            assert!(!gate().admits(&packet(&[forward(tsn)]), true), "{tsn}");
            let after_data = [chunk(DATA, &[0; 16]), forward(tsn)];
            assert!(!gate().admits(&packet(&after_data), true), "{tsn}");
        }
        assert!(!gate().admits(&packet(&[forward(far)]), false));
        assert!(!Gate::default().admits(&packet(&[forward(far)]), true));
    }

    #[test]
    fn resets_that_never_come_due_are_bounded_and_the_others_are_not() {
        let mut gate = gate();
        let waiting = ACKNOWLEDGED.wrapping_add(1);
        for request in 0..RESETS_MAX as u32 {
            for _ in 0..2 {
                assert!(gate.admits(&packet(&[reset(request, waiting)]), true));
            }
        }
        assert!(!gate.admits(&packet(&[reset(99, waiting)]), true));
        assert!(gate.admits(&packet(&[reset(99, ACKNOWLEDGED)]), true));
        gate.on_sent(&packet(&[sack(waiting, &[])]));
        assert!(gate.admits(&packet(&[reset(100, waiting.wrapping_add(1))]), true));
    }

    #[test]
    fn chunks_are_filled_by_parameters_that_the_library_understands_whole() {
        let judge = |kind, fixed: usize, parameters: &[u8]| {
            let body = [vec![0; fixed], parameters.to_vec()].concat();
            gate().admits(&packet(&[chunk(kind, &body)]), true)
        };
        let hidden = forward(ACKNOWLEDGED.wrapping_add(1 << 30));
        for (kind, fixed) in [(INIT, 16), (INIT_ACK, 16), (HEARTBEAT, 0), (RE_CONFIG, 0)] {
            assert!(judge(kind, fixed, &[0, 1, 0, 8, 1, 2, 3, 4]), "{kind}");
            assert!(judge(kind, fixed, &[0, 1, 0, 7, 1, 2, 3]), "{kind}");
            let behind = [&[0, 1, 0, 4][..], &hidden, &hidden].concat();
            assert!(!judge(kind, fixed, &behind), "{kind}");
            assert!(!judge(kind, fixed, &[0, 1, 0, 9, 1, 2, 3, 4]), "{kind}");
            assert!(!judge(kind, fixed, &[0, 1]), "{kind}");
        }
        let supported = [&[0xc0, 0, 0, 12][..], &hidden].concat();
        assert!(!judge(INIT, 16, &supported));
        let response = [&[0, 16, 0, 20][..], &[0; 8], &hidden].concat();
        assert!(!judge(RE_CONFIG, 0, &response));
        assert!(!judge(INIT, 15, &[]));
        // As content of a message it is nobody's business.
        assert!(judge(DATA, 12, &hidden));
    }

    #[test]
    fn an_abort_ends_the_association_whatever_it_says_and_an_error_nothing() {
        for causes in [&[][..], &[0, 12, 0, 4], &[0, 12, 3, 0, 0]] {
            let abort = packet(&[chunk(DATA, &[0; 16]), chunk(ABORT, causes)]);
            assert_eq!(gate().judge(&abort, true), Verdict::Abort);
            let error = packet(&[chunk(9, causes)]);
            assert_eq!(gate().judge(&error, true), Verdict::Refuse);
        }
    }

    #[test]
    fn blocks_of_a_sack_rise() {
        for (blocks, admitted) in [
            (&[(1, 2), (4, 4)][..], true),
            (&[(1, u16::MAX)], true),
            (&[(1, 4), (4, 9)], false),
            (&[(1, 4), (1, 4)], false),
            (&[(0, 4)], false),
            (&[(4, 3)], false),
        ] {
            let packet = packet(&[sack(0, blocks)]);
            assert_eq!(gate().admits(&packet, true), admitted, "{blocks:?}");
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let mut short = packet(&[chunk(DATA, &[0; 16])]);
        short.pop();
        assert!(!gate().admits(&short, true));
        assert!(!gate().admits(&packet(&[vec![0, 0, 0, 3]]), true));
        assert!(!gate().admits(&[0; 11], true));
    }
}
