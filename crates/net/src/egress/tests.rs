//! Sending through wires that refuse on purpose: what kernels and devices do, but loopback never does.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use schalter_model::{Path, ShardId};
use schalter_shard::control::{Command, Event};
use schalter_shard::peer::{Envelope, PeerMessage};

use super::*;

/// A wire that answers by a function of (datagrams in this call, bytes of each).
struct Scripted<F> {
    answer: F,
    calls: RefCell<Vec<usize>>,
    passed: Cell<usize>,
}

impl<F: Fn(usize, usize) -> Result<(), Errno>> Scripted<F> {
    fn new(answer: F) -> Self {
        Self {
            answer,
            calls: RefCell::default(),
            passed: Cell::default(),
        }
    }

    /// Datagrams per call since last asked.
    fn calls(&self) -> Vec<usize> {
        self.calls.take()
    }
}

impl<F: Fn(usize, usize) -> Result<(), Errno>> Wire for Scripted<F> {
    fn send(&self, _: &Transmit, contents: &[u8], segment_size: Option<usize>) -> io::Result<()> {
        let size = segment_size.unwrap_or(contents.len());
        let count = contents.len().div_ceil(size.max(1)).max(1);
        self.calls.borrow_mut().push(count);
        (self.answer)(count, size)?;
        self.passed.set(self.passed.get() + count);
        Ok(())
    }

    fn max_segments(&self) -> usize {
        MAX_SEGMENTS
    }
}

impl<F: Fn(usize, usize) -> Result<(), Errno>> Wires for Scripted<F> {
    type Wire = Self;

    fn index_for(&self, transmit: &Transmit) -> Option<usize> {
        transmit.path.remote.is_ipv4().then_some(0)
    }

    fn wire(&self, _: usize) -> &Self {
        self
    }
}

/// Has runs to send, and nothing else.
struct Runs(VecDeque<Transmit>);

impl Worker for Runs {
    fn on_command(&mut self, _: Time, _: Command) {}
    fn on_datagram(&mut self, _: Time, _: Path, _: &mut [u8]) {}
    fn on_peer(&mut self, _: Time, _: ShardId, _: PeerMessage) {}
    fn on_envelope(&mut self, _: Time, _: ShardId, _: &Envelope) {}
    fn poll_transmit(&mut self, _: Time, _: &mut [u8]) -> Option<Transmit> {
        self.0.pop_front()
    }
    fn poll_event(&mut self) -> Option<Event> {
        None
    }
    fn poll_peer(&mut self) -> Option<(ShardId, PeerMessage)> {
        None
    }
    fn poll_envelope(&mut self, _: Time, _: &mut Envelope) -> Option<ShardId> {
        None
    }
    fn on_stream_backlog(&mut self, _: Time, _: Path, _: usize) {}
    fn on_stream_closed(&mut self, _: Time, _: Path) {}
    fn wants_stream(&self, _: &Path) -> bool {
        false
    }
    fn next_timeout(&self) -> Option<Time> {
        None
    }
    fn on_timeout(&mut self, _: Time) {}
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// A run of `count` datagrams of 1,000 bytes, the last of 600.
fn run(count: usize) -> Transmit {
    Transmit {
        path: Path::udp("192.0.2.1:9".parse().unwrap(), None),
        len: count * 1_000 - 400,
        segment_size: Some(1_000),
    }
}

fn drain(
    egress: &mut Egress,
    runs: &mut Runs,
    wires: &impl Wires,
    millis: u64,
    counters: &mut Counters,
) -> Drained {
    let mut streams = Streams::new(1).unwrap();
    egress.drain(
        runs,
        wires,
        &mut streams,
        || Time::from_millis(millis),
        counters,
    )
}

#[test]
fn runs_leave_in_one_call_each_and_longer_ones_in_several() {
    let wire = Scripted::new(|_, _| Ok(()));
    let mut counters = Counters::default();
    let mut small = run(65);
    small.segment_size = Some(100);
    small.len = 100 * 100;
    let mut runs = Runs([run(5), run(1), small].into());
    let drained = drain(&mut Egress::new(), &mut runs, &wire, 0, &mut counters);
    assert_eq!(drained, Drained::Idle);
    assert_eq!(wire.calls(), [5, 1, 64, 36]);
    assert_eq!(counters.datagrams_out, 106);
    assert_eq!(counters.bytes_out, 4_600 + 600 + 10_000);
    assert_eq!(counters.send_batches, 4);
}

#[test]
fn refused_offload_falls_back_to_single_datagrams_and_is_tried_again_later() {
    for errno in [Errno::IO, Errno::INVAL, Errno::MSGSIZE] {
        let broken = Cell::new(true);
        let wire = Scripted::new(|count, _| match count {
            2.. if broken.get() => Err(errno),
            _ => Ok(()),
        });
        let mut egress = Egress::new();
        let mut counters = Counters::default();
        let mut send = |millis| {
            let mut runs = Runs([run(3)].into());
            drain(&mut egress, &mut runs, &wire, millis, &mut counters);
            wire.calls()
        };
        assert_eq!(send(0), [3, 1, 1, 1], "tried, then one by one");
        assert_eq!(send(999), [1, 1, 1], "left alone for a second");
        assert_eq!(send(1_000), [3, 1, 1, 1], "tried again");
        assert_eq!(send(2_999), [1, 1, 1], "left alone for two");
        broken.set(false);
        assert_eq!(send(3_000), [3], "and used again when it works");
        assert_eq!(counters.datagrams_out, 15);
        assert_eq!(counters.drops.total(), 0);
    }
}

#[test]
fn an_unreachable_peer_does_not_cost_the_others_their_offload() {
    // E.g. the local address of this path is gone: nothing can be sent, in runs or not.
    let dead = Cell::new(true);
    let wire = Scripted::new(|_, _| {
        if dead.get() {
            Err(Errno::INVAL)
        } else {
            Ok(())
        }
    });
    let mut egress = Egress::new();
    let mut counters = Counters::default();
    drain(
        &mut egress,
        &mut Runs([run(3)].into()),
        &wire,
        0,
        &mut counters,
    );
    assert_eq!(counters.drops.of(DropReason::SendFailed), 3);
    wire.calls();
    dead.set(false);
    drain(
        &mut egress,
        &mut Runs([run(3)].into()),
        &wire,
        0,
        &mut counters,
    );
    assert_eq!(wire.calls(), [3]);
}

#[test]
fn a_full_buffer_holds_the_rest_back_and_loses_nothing_if_it_empties_in_time() {
    let room = Cell::new(2);
    let wire = Scripted::new(|_, _| match room.get() {
        0 => Err(Errno::AGAIN),
        n => {
            room.set(n - 1);
            Ok(())
        }
    });
    let mut egress = Egress::new();
    let mut counters = Counters::default();
    let mut runs = Runs([run(4), run(4), run(4), run(4)].into());
    let blocked = drain(&mut egress, &mut runs, &wire, 5, &mut counters);
    let until = Time::from_millis(5) + BLOCKED_LIMIT;
    assert_eq!(blocked, Drained::Blocked { wire: 0, until });
    assert_eq!(runs.0.len(), 1, "the worker is not asked for more");
    let still = drain(&mut egress, &mut runs, &wire, 10, &mut counters);
    assert_eq!(still, blocked, "the limit does not move without progress");
    room.set(9);
    let drained = drain(&mut egress, &mut runs, &wire, 24, &mut counters);
    assert_eq!(drained, Drained::Idle);
    assert_eq!((wire.passed.get(), counters.datagrams_out), (16, 16));
    assert_eq!(counters.drops.total(), 0);
}

#[test]
fn what_waits_too_long_for_room_drops_and_the_next_is_tried() {
    let wire = Scripted::new(|_, _| Err(Errno::AGAIN));
    let mut egress = Egress::new();
    let mut counters = Counters::default();
    let mut runs = Runs([run(4), run(4)].into());
    drain(&mut egress, &mut runs, &wire, 0, &mut counters);
    assert_eq!(counters.drops.total(), 0);
    let next = drain(&mut egress, &mut runs, &wire, 20, &mut counters);
    let until = Time::from_millis(40);
    assert_eq!(next, Drained::Blocked { wire: 0, until });
    assert_eq!(counters.drops.of(DropReason::EgressFull), 4);
    assert!(runs.0.is_empty());
}

#[test]
fn a_path_without_a_socket_is_counted() {
    let wire = Scripted::new(|_, _| Ok(()));
    let mut lost = run(3);
    lost.path.remote = "[2001:db8::1]:9".parse().unwrap();
    let mut counters = Counters::default();
    drain(
        &mut Egress::new(),
        &mut Runs([lost].into()),
        &wire,
        0,
        &mut counters,
    );
    assert_eq!(counters.drops.of(DropReason::SendFailed), 3);
    assert_eq!(wire.calls(), [0usize; 0]);
}

#[test]
fn sending_gives_way_to_receiving_now_and_then() {
    let wire = Scripted::new(|_, _| Ok(()));
    let mut runs = Runs((0..RUNS_PER_PASS + 1).map(|_| run(2)).collect());
    let mut counters = Counters::default();
    let mut egress = Egress::new();
    assert_eq!(
        drain(&mut egress, &mut runs, &wire, 0, &mut counters),
        Drained::More
    );
    assert_eq!(runs.0.len(), 1);
    assert_eq!(
        drain(&mut egress, &mut runs, &wire, 0, &mut counters),
        Drained::Idle
    );
}
