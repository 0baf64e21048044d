//! What leaves on the wire: handshakes and data first, then reports, then media in runs of equal size.

use schalter_forward::Owner;
use schalter_model::{Bitrate, DropReason, Path, Time, TransportId};

use schalter_turn::Wrap;

use crate::shard::Shard;

/// What a filled buffer holds and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to, and from which local address.
    pub path: Path,
    /// Bytes of the buffer that count.
    pub len: usize,
    /// Size of each datagram where the buffer holds several; the last may be shorter.
    pub segment_size: Option<usize>,
}

/// Where a run goes and what it costs there.
struct Way {
    path: Path,
    /// How each packet is wrapped, if it goes through a relay.
    wrap: Option<Wrap>,
    /// Bytes that sealing adds.
    overhead: usize,
}

/// Datagrams in one run: what Linux takes in one call (`UDP_MAX_SEGMENTS`).
const MAX_SEGMENTS: usize = 64;
/// Bytes in one run: the largest UDP payload over IPv4.
const MAX_RUN: usize = 65_507;
/// Room that a single datagram needs at least: a full Ethernet frame with every tag.
const MIN_ROOM: usize = 2_048;

impl Shard {
    /// Bounds what the tracks of a subscriber take together. A transport that is gone has nothing to bound.
    pub(crate) fn limit_link(&mut self, now: Time, transport: TransportId, limit: Option<Bitrate>) {
        if let Some(owner) = self.slots.by_id(transport) {
            self.router.limit_link(now, owner, limit);
        }
    }

    /// Fills `out` with the next datagrams for one peer. `out` has at least 2,048 bytes; 64 KiB use GSO fully.
    pub fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<Transmit> {
        if out.len() < MIN_ROOM {
            return None;
        }
        self.turn_answer(out)
            .or_else(|| self.control_datagram(now, out))
            .or_else(|| self.report(now, out))
            .or_else(|| self.media_run(now, out))
    }

    fn control_datagram(&mut self, now: Time, out: &mut [u8]) -> Option<Transmit> {
        while let Some((path, datagram)) = self.stray.pop_front() {
            out[..datagram.len()].copy_from_slice(&datagram);
            let transmit = self.single(now, path, datagram.len(), out);
            if transmit.is_some() {
                return transmit;
            }
        }
        while let Some(owner) = self.dirty.last().copied() {
            if let Some(slot) = self.slots.slot_mut(owner) {
                let next = if slot.is_shut() {
                    // Answers go by the path of their request, which may be another one.
                    slot.transport.poll_answer(now, out)
                } else {
                    slot.transport.poll_transmit(now, out)
                };
                if let Some((path, len)) = next {
                    let transmit = self.single(now, path, len, out);
                    if transmit.is_some() {
                        return transmit;
                    }
                    continue;
                }
                slot.dirty = false;
                self.reschedule(owner);
            }
            self.dirty.pop();
        }
        None
    }

    /// Sending may have moved a transport's deadline.
    fn reschedule(&mut self, owner: Owner) {
        let Some(slot) = self.slots.slot_mut(owner) else {
            return;
        };
        if let Some(at) = slot.transport.next_timeout()
            && slot.scheduled.is_none_or(|scheduled| at < scheduled)
        {
            slot.scheduled = Some(at);
            self.timers.schedule(at, owner);
        }
    }

    fn report(&mut self, now: Time, out: &mut [u8]) -> Option<Transmit> {
        while let Some((owner, len)) = self.router.next_rtcp(now, out) {
            let Some(slot) = self.slots.slot_mut(owner) else {
                continue;
            };
            if !slot.media {
                continue;
            }
            if slot.is_shut() {
                // The next report says it again, and better.
                self.counters.drops.count(DropReason::StreamLate);
                continue;
            }
            let Some(path) = slot.transport.path() else {
                continue;
            };
            match slot.transport.seal_rtcp(out, len) {
                Ok(len) => {
                    let transmit = self.single(now, path, len, out);
                    if transmit.is_some() {
                        return transmit;
                    }
                }
                Err(_) => self.counters.drops.count(DropReason::SendFailed),
            }
        }
        None
    }

    fn media_run(&mut self, now: Time, out: &mut [u8]) -> Option<Transmit> {
        while let Some(owner) = self.router.next_ready(now) {
            let (path, overhead) = match self.slots.slot(owner) {
                Some(slot) if slot.media => (slot.transport.path(), slot.transport.rtp_overhead()),
                Some(_) | None => (None, 0),
            };
            let way = path.ok_or(DropReason::UnknownPeer).and_then(|path| {
                let wrap = self.wrap(now, &path)?;
                Ok(Way {
                    path,
                    wrap,
                    overhead,
                })
            });
            let way = match way {
                Ok(way) => way,
                Err(reason) => {
                    // Nowhere to send it: what waits for this transport is of no use later.
                    while self.router.pop(now, owner, out).is_some() {
                        self.counters.drops.count(reason);
                    }
                    continue;
                }
            };
            if let Some(transmit) = self.fill_run(now, owner, way, out) {
                return Some(transmit);
            }
        }
        None
    }

    fn fill_run(&mut self, now: Time, owner: Owner, way: Way, out: &mut [u8]) -> Option<Transmit> {
        let Way {
            path,
            mut wrap,
            overhead,
        } = way;
        let outer = wrap.map_or(path, |wrap| wrap.outer);
        let headroom = wrap.map_or(0, |wrap| wrap.headroom());
        let form = wrap;
        let whole = |len| form.map_or(len, |wrap| wrap.wrapped_len(len));
        let room = self.in_one_go(owner, &outer, out.len().min(MAX_RUN));
        let slot = self.slots.slot_mut(owner)?;
        let mut used = 0;
        let mut segment = 0;
        let mut segments = 0;
        while segments < MAX_SEGMENTS {
            let Some(plain) = self.router.peek_len(now, owner) else {
                break;
            };
            let sealed = whole(plain + overhead);
            if segments == 0 && sealed > room {
                // Would never fit, and would be asked about for ever: the router drops and counts it.
                self.router.pop(now, owner, &mut []);
                continue;
            }
            if used + sealed > room || (segments > 0 && sealed > segment) {
                break;
            }
            let Some(len) = self.router.pop(now, owner, &mut out[used + headroom..room]) else {
                break;
            };
            let Ok(len) = slot
                .transport
                .seal_rtp(&mut out[used + headroom..room], len)
            else {
                self.counters.drops.count(DropReason::SendFailed);
                continue;
            };
            if segments > 0 && whole(len) > segment {
                // The packet that was announced had left the cache, and the one after it is longer.
                if self.stray.len() < MAX_STRAY {
                    let packet = &out[used + headroom..][..len];
                    self.stray.push_back((path, packet.to_vec()));
                }
                break;
            }
            let wrapped = match &mut wrap {
                Some(wrap) => wrap.finish(&mut out[used..room], len),
                None => Some(len),
            };
            let Some(len) = wrapped else {
                self.counters.drops.count(DropReason::Oversize);
                continue;
            };
            if segments == 0 {
                segment = len;
            }
            segments += 1;
            used += len;
            if len < segment {
                break;
            }
        }
        if wrap.is_some() {
            self.count_relayed(segments, used);
        }
        (segments > 0).then_some(Transmit {
            path: outer,
            len: used,
            segment_size: (segments > 1).then_some(segment),
        })
    }

    /// Keeps the last words of a transport that is about to be forgotten (`close_notify`, SCTP abort).
    pub(crate) fn flush_closing(&mut self, now: Time, owner: Owner) {
        let Some(slot) = self.slots.slot_mut(owner) else {
            return;
        };
        let mut scratch = [0; MIN_ROOM];
        while let Some((path, len)) = slot.transport.poll_transmit(now, &mut scratch) {
            if self.stray.len() < MAX_STRAY {
                self.stray.push_back((path, scratch[..len].to_vec()));
            }
        }
    }
}

/// Datagrams that wait outside of runs; closing is best effort.
const MAX_STRAY: usize = 4_096;
