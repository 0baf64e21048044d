//! Sending runs of equal datagrams by GSO, waiting out a full send buffer, and doing without GSO where it fails.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use schalter_model::{Carrier, Counters, DropReason, Time};

use crate::socket::{Socket, Sockets};
use crate::stream::Streams;
use crate::worker::{EGRESS_LEN, MAX_SEGMENTS, Transmit, Worker};

/// How long a full send buffer may hold up everything else to be sent; then the rest of the run drops. A network card
/// empties even a small buffer in a few milliseconds, so longer than this it is no burst but overload.
const BLOCKED_LIMIT: Duration = Duration::from_millis(20);
/// For how long GSO is first left alone after the kernel refused it; doubles each time, unless GSO worked for [`GSO_PAUSE_MAX`] in between.
const GSO_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause. It never ends for good, since a route through another device may bring GSO back.
const GSO_PAUSE_MAX: Duration = Duration::from_secs(64);
/// Runs that are sent before the clock is read again.
const RUNS_PER_CLOCK: u32 = 32;
/// Runs that are sent before the network is listened to again.
const RUNS_PER_PASS: u32 = 512;

/// What takes a run of datagrams; the kernel in earnest, something that refuses on purpose in tests.
pub(crate) trait Wire {
    /// Sends `contents`, split into datagrams of `segment_size` bytes.
    fn send(
        &self,
        transmit: &Transmit,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()>;

    /// Most datagrams in one call; 1 without GSO.
    fn max_segments(&self) -> usize;
}

impl Wire for Socket {
    fn send(
        &self,
        transmit: &Transmit,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: self.destination(transmit.path.remote),
            ecn: None,
            contents,
            segment_size,
            src_ip: transmit.path.local,
        };
        self.state.try_send((&self.udp).into(), &transmit)
    }

    fn max_segments(&self) -> usize {
        self.gso_segments
    }
}

/// The wires of one shard.
pub(crate) trait Wires {
    /// How one of them is called.
    type Wire: Wire;

    /// Index of the wire that reaches where `transmit` goes.
    fn index_for(&self, transmit: &Transmit) -> Option<usize>;

    /// The wire with this index.
    fn wire(&self, index: usize) -> &Self::Wire;
}

impl Wires for Sockets {
    type Wire = Socket;

    fn index_for(&self, transmit: &Transmit) -> Option<usize> {
        Sockets::index_for(self, &transmit.path)
    }

    fn wire(&self, index: usize) -> &Socket {
        &self.all()[index]
    }
}

/// Whether GSO works, as far as is known. Devices without checksum offload, and some tunnels, refuse it.
#[derive(Debug)]
struct Gso {
    paused_until: Option<Time>,
    next_pause: Duration,
}

impl Gso {
    fn works(&self, now: Time) -> bool {
        self.paused_until.is_none_or(|until| now >= until)
    }

    fn refused(&mut self, now: Time) {
        let worked_since = self.paused_until.unwrap_or(now) + GSO_PAUSE_MAX;
        if now >= worked_since {
            self.next_pause = GSO_PAUSE;
        }
        tracing::warn!(
            pause_seconds = self.next_pause.as_secs(),
            "segmentation offload was refused; sending datagrams one by one"
        );
        self.paused_until = Some(now + self.next_pause);
        self.next_pause = (self.next_pause * 2).min(GSO_PAUSE_MAX);
    }
}

/// A run, or the rest of one, that the kernel had no room for.
#[derive(Clone, Copy, Debug)]
struct Blocked {
    transmit: Transmit,
    wire: usize,
    sent: usize,
    since: Time,
}

/// What became of a pass of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// The worker has nothing more to send now.
    Idle,
    /// There may be more, but others should have their turn.
    More,
    /// The wire with this index is full.
    Blocked {
        /// Which one to wait for.
        wire: usize,
        /// Until when at most.
        until: Time,
    },
}

/// One worker's way out: one buffer, which the worker fills and the kernel empties.
#[derive(Debug)]
pub(crate) struct Egress {
    buffer: Box<[u8]>,
    gso: Gso,
    blocked: Option<Blocked>,
}

impl Egress {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; EGRESS_LEN].into_boxed_slice(),
            gso: Gso {
                paused_until: None,
                next_pause: GSO_PAUSE,
            },
            blocked: None,
        }
    }

    /// Sends what the worker has, within the bounds of one pass.
    pub(crate) fn drain<W: Worker>(
        &mut self,
        worker: &mut W,
        wires: &impl Wires,
        streams: &mut Streams,
        clock: impl Fn() -> Time,
        counters: &mut Counters,
    ) -> Drained {
        let mut now = clock();
        if let Some(blocked) = self.blocked.take() {
            self.resume(blocked, wires, now, counters);
        }
        let mut runs = 0;
        loop {
            if let Some(blocked) = &self.blocked {
                return Drained::Blocked {
                    wire: blocked.wire,
                    until: blocked.since + BLOCKED_LIMIT,
                };
            }
            if runs == RUNS_PER_PASS {
                return Drained::More;
            }
            let Some(transmit) = worker.poll_transmit(now, &mut self.buffer) else {
                return Drained::Idle;
            };
            match transmit.path.carrier {
                Carrier::Stream(id) => {
                    let contents = &self.buffer[..transmit.len.min(EGRESS_LEN)];
                    streams.send(now, worker, id, &transmit, contents, counters);
                }
                // A relay's datagrams come wrapped for the way to its client; bare ones find no socket.
                Carrier::Udp | Carrier::TurnPort | Carrier::Relay(_) => {
                    self.send(transmit, wires, now, counters)
                }
            }
            runs += 1;
            if runs % RUNS_PER_CLOCK == 0 {
                now = clock();
            }
        }
    }

    /// Sends a run that stands in the buffer.
    pub(crate) fn send(
        &mut self,
        transmit: Transmit,
        wires: &impl Wires,
        now: Time,
        counters: &mut Counters,
    ) {
        let transmit = Transmit {
            len: transmit.len.min(self.buffer.len()),
            segment_size: transmit
                .segment_size
                .filter(|size| (1..transmit.len).contains(size)),
            ..transmit
        };
        let Some(wire) = wires.index_for(&transmit) else {
            let lost = datagrams(transmit.len, transmit.segment_size);
            counters.drops.add(DropReason::SendFailed, lost);
            return;
        };
        let start = Blocked {
            transmit,
            wire,
            sent: 0,
            since: now,
        };
        self.proceed(start, wires, now, counters);
    }

    fn resume(&mut self, blocked: Blocked, wires: &impl Wires, now: Time, counters: &mut Counters) {
        let before = blocked.sent;
        self.proceed(blocked, wires, now, counters);
        if let Some(still) = &mut self.blocked {
            if still.sent > before {
                still.since = now;
            } else if now >= still.since + BLOCKED_LIMIT {
                let lost = datagrams(still.transmit.len - still.sent, still.transmit.segment_size);
                counters.drops.add(DropReason::EgressFull, lost);
                self.blocked = None;
            }
        }
    }

    fn proceed(&mut self, run: Blocked, wires: &impl Wires, now: Time, counters: &mut Counters) {
        let Blocked {
            transmit,
            wire: index,
            mut sent,
            since,
        } = run;
        let wire = wires.wire(index);
        let size = transmit.segment_size.unwrap_or(transmit.len);
        // A run that was refused as a whole: if its datagrams pass one by one, GSO is to blame.
        let mut suspected = false;
        let mut one_by_one = !self.gso.works(now);
        loop {
            let most = if one_by_one {
                1
            } else {
                wire.max_segments().clamp(1, MAX_SEGMENTS)
            };
            let part = &self.buffer[sent..transmit.len.min(sent + size * most)];
            let count = datagrams(part.len(), Some(size));
            let result = wire.send(&transmit, part, (count > 1).then_some(size));
            match result {
                Ok(()) => {
                    counters.send_batches += 1;
                    counters.datagrams_out += count;
                    counters.bytes_out += part.len() as u64;
                    if std::mem::take(&mut suspected) {
                        self.gso.refused(now);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = Some(Blocked {
                        transmit,
                        wire: index,
                        sent,
                        since,
                    });
                    return;
                }
                Err(error) if count > 1 && may_mean_gso(&error) => {
                    suspected = true;
                    one_by_one = true;
                    continue;
                }
                Err(_) => {
                    suspected = false;
                    counters.drops.add(DropReason::SendFailed, count);
                }
            }
            sent += part.len();
            if sent >= transmit.len {
                return;
            }
        }
    }
}

/// Whether the kernel answers like this where a device can't do GSO, or the segments are too large for it.
fn may_mean_gso(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::IO, Errno::INVAL, Errno::MSGSIZE]
        .iter()
        .any(|suspect| errno == Some(suspect.raw_os_error()))
}

fn datagrams(len: usize, segment_size: Option<usize>) -> u64 {
    len.div_ceil(segment_size.unwrap_or(len).max(1)).max(1) as u64
}

#[cfg(test)]
mod tests;
