//! After warm-up, a packet costs no allocation, however many subscribers it goes to; and datagrams of strangers leave
//! nothing behind.

use std::alloc::System;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use schalter_model::{MediaKind, Path, ShardId, SrtpProfile, Time, TransportId, Ufrag, WallClock};
use schalter_shard::control::Command;
use schalter_shard::{Shard, ShardConfig};
use schalter_testkit::conference::{consumer_config, producer_config, source, track};
use schalter_testkit::{PeerConfig, Random, SimPeer, identity};
use schalter_transport::LocalIce;
use schalter_transport::srtp::exporter_len;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocator counts all threads together: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const SUBSCRIBERS: usize = 50;
const STEP: Duration = Duration::from_millis(1);

/// A shard with a publisher (0) and its subscribers, and what the shard's calls allocated.
struct Rig {
    shard: Shard,
    peers: Vec<SimPeer>,
    now: Time,
    out: Vec<u8>,
    incoming: Vec<(usize, Vec<u8>)>,
    allocations: usize,
    sent: usize,
    _alone: MutexGuard<'static, ()>,
}

fn address(peer: usize) -> SocketAddr {
    ([192, 0, 2, peer as u8], 5_000).into()
}

fn path(remote: SocketAddr) -> Path {
    Path {
        remote,
        local: None,
    }
}

impl Rig {
    fn new() -> Self {
        let alone = ALONE
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let (id, wall) = (ShardId(0), WallClock::new(0));
        let config = ShardConfig::new(id, Instant::now(), wall, 7, identity());
        let mut rig = Self {
            shard: Shard::new(config),
            peers: Vec::new(),
            now: Time::from_millis(1),
            out: vec![0; 65_536],
            incoming: Vec::new(),
            allocations: 0,
            sent: 0,
            _alone: alone,
        };
        let profile = SrtpProfile::AeadAes128Gcm;
        let mut random = Random::new(7);
        for index in 0..=SUBSCRIBERS {
            let mut keying_material = vec![0; exporter_len(profile)];
            random.fill(&mut keying_material);
            let ice = LocalIce {
                ufrag: Ufrag::new(1, id, index as u64),
                password: "a-password-of-two-dozen-chars".into(),
            };
            let transport = TransportId(index as u64);
            rig.shard.open_keyed_transport(
                rig.now,
                transport,
                ice.clone(),
                profile,
                &keying_material,
            );
            let config = PeerConfig {
                transport,
                address: address(index),
                server: address(255),
                ice,
                profile,
                keying_material,
            };
            rig.peers
                .push(SimPeer::new(rig.now, config, random.fork(index as u64)));
        }
        for kind in [MediaKind::Video, MediaKind::Audio] {
            let command = Command::AddProducer {
                transport: TransportId(0),
                track: track(0, kind),
                config: producer_config(0, kind),
            };
            rig.shard.on_command(rig.now, command);
            rig.peers[0].publish(rig.now, source(0, kind));
            for subscriber in 1..=SUBSCRIBERS {
                let config = consumer_config(subscriber, 0, kind);
                let (ssrc, of) = (config.ssrc, source(0, kind).ssrc);
                let command = Command::AddConsumer {
                    transport: TransportId(subscriber as u64),
                    track: track(0, kind),
                    producer_shard: id,
                    config,
                };
                rig.shard.on_command(rig.now, command);
                rig.peers[subscriber].subscribe(rig.now, kind, ssrc, of);
            }
        }
        rig
    }

    /// Lets time pass in small steps; only what the shard does is measured. One packet in 40 to a subscriber is lost.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += STEP;
            for (index, peer) in self.peers.iter_mut().enumerate() {
                if peer.next_timeout().is_some_and(|at| at <= self.now) {
                    peer.on_timeout(self.now);
                }
                while let Some(datagram) = peer.poll_transmit() {
                    self.incoming.push((index, datagram));
                }
            }
            for (index, mut datagram) in std::mem::take(&mut self.incoming) {
                let from = path(address(index));
                let (now, shard) = (self.now, &mut self.shard);
                self.allocations += allocations(|| shard.on_datagram(now, from, &mut datagram));
            }
            let (now, shard) = (self.now, &mut self.shard);
            self.allocations += allocations(|| {
                if shard.next_timeout().is_some_and(|at| at <= now) {
                    shard.on_timeout(now);
                }
            });
            self.drain();
            while self.shard.poll_event().is_some() {}
        }
    }

    fn drain(&mut self) {
        loop {
            let mut transmit = None;
            let (now, shard, out) = (self.now, &mut self.shard, &mut self.out);
            self.allocations += allocations(|| transmit = shard.poll_transmit(now, out));
            let Some(transmit) = transmit else {
                return;
            };
            let to = transmit.path.remote;
            let peer = (0..self.peers.len())
                .find(|peer| address(*peer) == to)
                .expect("a path that a peer checked");
            let size = transmit.segment_size.unwrap_or(transmit.len);
            for datagram in self.out[..transmit.len].chunks_mut(size) {
                self.sent += 1;
                if !self.sent.is_multiple_of(40) {
                    self.peers[peer].on_datagram(self.now, datagram);
                }
            }
        }
    }
}

fn measured(act: impl FnOnce()) -> Stats {
    let region = Region::new(ALLOCATOR);
    act();
    region.change()
}

fn allocations(act: impl FnOnce()) -> usize {
    let stats = measured(act);
    stats.allocations + stats.reallocations
}

#[test]
fn a_packet_to_fifty_subscribers_costs_no_allocation() {
    let mut rig = Rig::new();
    // Long enough for every queue to have had its longest probe.
    rig.run(Duration::from_secs(12));
    assert_eq!(rig.shard.counters().transports.connected, 51);
    let before = rig.shard.counters();
    (rig.allocations, rig.sent) = (0, 0);
    rig.run(Duration::from_secs(2));
    let after = rig.shard.counters();
    assert!(after.rtp_in - before.rtp_in > 150);
    assert!(after.rtp_out - before.rtp_out > 50 * 150);
    assert!(
        after.rtx_out - before.rtx_out > 50,
        "losses are repaired meanwhile"
    );
    assert_eq!(rig.allocations, 0, "in {} datagrams sent", rig.sent);
}

#[test]
fn datagrams_of_strangers_leave_nothing_behind() {
    let mut rig = Rig::new();
    rig.run(Duration::from_secs(2));
    let mut random = Random::new(9);
    let flood = |rig: &mut Rig, random: &mut Random| {
        for n in 0..10_000_u32 {
            let mut datagram = vec![0; 1 + random.below(200) as usize];
            random.fill(&mut datagram);
            datagram[0] = [0, 1, 22, 23, 63, 128, 144, 255][random.below(8) as usize];
            let stranger = ([198, 51, 100, n as u8], 1_000 + (n >> 8) as u16).into();
            let from = if n % 3 == 0 { address(0) } else { stranger };
            rig.shard.on_datagram(rig.now, path(from), &mut datagram);
        }
        rig.drain();
    };
    flood(&mut rig, &mut random);
    let stats = measured(|| flood(&mut rig, &mut random));
    let grown = stats.bytes_allocated as i64 - stats.bytes_deallocated as i64;
    assert!(grown <= 0, "{grown} bytes: {stats:?}");
}
