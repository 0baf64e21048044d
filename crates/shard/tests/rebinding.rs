//! A NAT gives a client another address: it is asked for proof and followed, and nobody else can be made to look like it.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use schalter_model::{
    Carrier, DropReason, MediaKind, Path, ShardId, SrtpProfile, StreamId, Time, TransportId, Ufrag,
    WallClock,
};
use schalter_shard::control::Command;
use schalter_shard::{Shard, ShardConfig, ShardLimits};
use schalter_testkit::conference::{BOTH, consumer_config, producer_config, source, track};
use schalter_testkit::{PeerConfig, Random, SimPeer, binding_response, identity};
use schalter_transport::srtp::exporter_len;
use schalter_transport::stun::{IntegrityKey, StunClass, StunMessage};
use schalter_transport::{LocalIce, RemoteIce};

const STEP: Duration = Duration::from_millis(1);
const SHARD: ShardId = ShardId(0);
/// Who publishes, and who only receives.
const PUBLISHER: usize = 0;
const VIEWER: usize = 1;

fn home(peer: usize) -> Path {
    Path::udp(([192, 0, 2, peer as u8], 5_000).into(), None)
}

fn elsewhere(n: u8) -> Path {
    Path::udp(([198, 51, 100, n], 4_000).into(), None)
}

fn server() -> SocketAddr {
    ([10, 0, 0, 1], 7_882).into()
}

/// A shard with a publisher and a viewer, and all that leaves the shard.
struct Rig {
    shard: Shard,
    peers: Vec<SimPeer>,
    /// Where each peer's datagrams come from.
    at: [Path; 2],
    /// Whether what goes there reaches the peer.
    reached: [bool; 2],
    now: Time,
    out: Vec<u8>,
    /// Where datagrams went, with the question if it was one.
    sent: Vec<(Path, Option<Vec<u8>>)>,
}

impl Rig {
    fn new() -> Self {
        Self::with_limits(ShardLimits::default())
    }

    fn with_limits(limits: ShardLimits) -> Self {
        let mut config = ShardConfig::new(SHARD, Instant::now(), WallClock::new(0), 7, identity());
        config.limits = limits;
        let mut rig = Self {
            shard: Shard::new(config),
            peers: Vec::new(),
            at: [home(0), home(1)],
            reached: [true; 2],
            now: Time::from_millis(1),
            out: vec![0; 65_536],
            sent: Vec::new(),
        };
        let profile = SrtpProfile::AeadAes128Gcm;
        let mut random = Random::new(7);
        for index in [PUBLISHER, VIEWER] {
            let mut keying_material = vec![0; exporter_len(profile)];
            random.fill(&mut keying_material);
            let config = PeerConfig {
                transport: TransportId(index as u64),
                address: home(index).remote,
                server: server(),
                ice: LocalIce {
                    ufrag: Ufrag::new(1, SHARD, index as u64),
                    password: "a-password-of-two-dozen-chars".into(),
                },
                own_ice: RemoteIce {
                    ufrag: "peer".into(),
                    password: format!("the-own-password-of-peer-{index}").into(),
                },
                profile,
                keying_material,
            };
            let keys = &config.keying_material;
            rig.shard.open_keyed_transport(
                rig.now,
                config.transport,
                config.ice.clone(),
                profile,
                keys,
            );
            let command = Command::SetRemote {
                transport: config.transport,
                ice: config.own_ice.clone(),
                fingerprints: Vec::new(),
            };
            rig.shard.on_command(rig.now, command);
            rig.peers
                .push(SimPeer::new(rig.now, config, random.fork(index as u64)));
        }
        for kind in BOTH {
            rig.publish(kind);
        }
        rig.run(2_000);
        assert_eq!(rig.shard.counters().transports.connected, 2);
        rig.sent.clear();
        rig
    }

    fn publish(&mut self, kind: MediaKind) {
        let add = Command::AddProducer {
            transport: TransportId(PUBLISHER as u64),
            track: track(PUBLISHER, kind),
            config: producer_config(PUBLISHER, kind),
        };
        self.shard.on_command(self.now, add);
        self.peers[PUBLISHER].publish(self.now, source(PUBLISHER, kind));
        let config = consumer_config(VIEWER, PUBLISHER, kind);
        let (ssrc, of) = (config.ssrc, source(PUBLISHER, kind).ssrc);
        self.peers[VIEWER].subscribe(self.now, kind, ssrc, of);
        let subscribe = Command::AddConsumer {
            transport: TransportId(VIEWER as u64),
            track: track(PUBLISHER, kind),
            producer_shard: SHARD,
            config,
        };
        self.shard.on_command(self.now, subscribe);
    }

    /// What a peer sends within this step.
    fn spoken(&mut self, peer: usize) -> Vec<Vec<u8>> {
        let peer = &mut self.peers[peer];
        if peer.next_timeout().is_some_and(|at| at <= self.now) {
            peer.on_timeout(self.now);
        }
        std::iter::from_fn(|| peer.poll_transmit()).collect()
    }

    fn deliver(&mut self, from: Path, datagram: &[u8]) {
        self.shard
            .on_datagram(self.now, from, &mut datagram.to_vec());
    }

    fn run(&mut self, millis: u64) {
        self.run_past(millis, |_, _, _| {});
    }

    /// Lets time pass; `see` is shown each peer's datagrams before they arrive.
    fn run_past(&mut self, millis: u64, mut see: impl FnMut(&mut Self, usize, &[u8])) {
        for _ in 0..millis {
            self.now += STEP;
            for peer in [PUBLISHER, VIEWER] {
                for datagram in self.spoken(peer) {
                    see(self, peer, &datagram);
                    self.deliver(self.at[peer], &datagram);
                }
            }
            if self.shard.next_timeout().is_some_and(|at| at <= self.now) {
                self.shard.on_timeout(self.now);
            }
            self.drain();
            while self.shard.poll_event().is_some() {}
        }
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.shard.poll_transmit(self.now, &mut self.out) {
            let size = transmit.segment_size.unwrap_or(transmit.len);
            for datagram in self.out[..transmit.len].chunks_mut(size) {
                let question = StunMessage::parse(datagram)
                    .is_ok_and(|message| message.class() == StunClass::Request)
                    .then(|| datagram.to_vec());
                self.sent.push((transmit.path, question));
                for peer in [PUBLISHER, VIEWER] {
                    if self.at[peer] == transmit.path && self.reached[peer] {
                        self.peers[peer].on_datagram(self.now, datagram);
                    }
                }
            }
        }
    }

    /// From now on a peer is seen there, and does not know.
    fn rebind(&mut self, peer: usize, to: Path) {
        self.at[peer] = to;
        self.peers[peer].rebind(to.remote);
        self.sent.clear();
    }

    fn sent_to(&self, path: Path) -> usize {
        self.sent.iter().filter(|(to, _)| *to == path).count()
    }

    fn questions_to(&self, path: Path) -> Vec<&[u8]> {
        let asked = self.sent.iter().filter(|(to, _)| *to == path);
        asked
            .filter_map(|(_, question)| question.as_deref())
            .collect()
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.shard.counters().drops.of(reason)
    }

    fn heard(&self) -> u64 {
        let of = source(PUBLISHER, MediaKind::Audio).ssrc;
        self.peers[VIEWER].receiver_of(of).unwrap().stats().packets
    }
}

#[test]
fn a_publisher_is_followed_within_a_packet_and_no_packet_is_lost() {
    let mut rig = Rig::new();
    let before = rig.shard.counters();
    rig.rebind(PUBLISHER, elsewhere(1));
    rig.run(100);
    assert_eq!(rig.questions_to(elsewhere(1)).len(), 1);
    assert_eq!(rig.peers[PUBLISHER].stats().questions, 1);
    assert_eq!(rig.shard.counters().address_changes, 1);
    assert_eq!(rig.drops(DropReason::UnknownPeer), 0);
    assert!(rig.shard.counters().rtp_in - before.rtp_in >= 5);
    rig.sent.clear();
    rig.run(2_000);
    assert!(
        rig.sent_to(elsewhere(1)) > 0,
        "reports and requests go there"
    );
    assert_eq!(rig.sent_to(home(PUBLISHER)), 0);
    assert_eq!(rig.questions_to(elsewhere(1)), Vec::<&[u8]>::new());
}

#[test]
fn a_viewer_is_followed_by_its_reports() {
    let mut rig = Rig::new();
    rig.rebind(VIEWER, elsewhere(1));
    rig.run(300);
    let heard = rig.heard();
    assert_eq!(rig.shard.counters().address_changes, 1);
    assert_eq!(rig.peers[VIEWER].stats().questions, 1);
    rig.run(1_000);
    assert!(rig.heard() >= heard + 45);
}

#[test]
fn nothing_but_three_questions_goes_to_where_nobody_answers() {
    let mut rig = Rig::new();
    rig.peers[VIEWER].stop_checking();
    rig.rebind(VIEWER, elsewhere(66));
    rig.reached[VIEWER] = false;
    rig.run(9_000);
    assert_eq!(rig.sent_to(elsewhere(66)), 3);
    assert_eq!(rig.questions_to(elsewhere(66)).len(), 3);
    assert!(
        rig.sent_to(home(VIEWER)) > 500,
        "media goes on to where it was proven"
    );
    assert_eq!(rig.shard.counters().address_changes, 0);
}

#[test]
fn packets_that_were_there_already_or_are_forged_ask_nothing() {
    let mut rig = Rig::new();
    let mut seen = Vec::new();
    rig.run_past(500, |_, peer, datagram| {
        if peer == PUBLISHER && datagram[0] >= 128 {
            seen.push(datagram.to_vec());
        }
    });
    assert!(seen.len() > 25);
    for datagram in &seen {
        rig.deliver(elsewhere(66), datagram);
        let mut forged = datagram.clone();
        *forged.last_mut().unwrap() ^= 1;
        rig.deliver(elsewhere(66), &forged);
        rig.deliver(elsewhere(66), &datagram[..12]);
    }
    rig.drain();
    assert_eq!(rig.sent_to(elsewhere(66)), 0);
    assert!(rig.drops(DropReason::UnknownPeer) >= 3 * seen.len() as u64);
    rig.run(100);
    assert_eq!(rig.shard.counters().address_changes, 0);
}

#[test]
fn guesses_are_limited_and_lock_nobody_out_who_is_at_home() {
    let mut rig = Rig::with_limits(ShardLimits {
        failed_strays_per_second: 5,
        ..ShardLimits::default()
    });
    let mut media = None;
    rig.run_past(100, |_, peer, datagram| {
        if peer == PUBLISHER && datagram[0] >= 128 {
            media = Some(datagram.to_vec());
        }
    });
    let old = media.unwrap();
    rig.run_past(40, |rig, _, _| {
        for n in 0..20 {
            rig.deliver(elsewhere(n), &old);
        }
    });
    // One that would be authentic is not looked at in this second, and is in the next.
    rig.rebind(PUBLISHER, elsewhere(1));
    let before = rig.shard.counters().rtp_in;
    rig.run(50);
    assert_eq!(rig.shard.counters().rtp_in, before);
    rig.run(1_000);
    assert_eq!(rig.shard.counters().address_changes, 1);
    assert!(rig.shard.counters().rtp_in > before);
}

#[test]
fn a_proof_is_taken_from_its_own_path_only_and_not_after_the_end() {
    let mut rig = Rig::new();
    rig.rebind(PUBLISHER, elsewhere(1));
    rig.reached[PUBLISHER] = false;
    rig.run(60);
    let question = rig.questions_to(elsewhere(1))[0].to_vec();
    let key = IntegrityKey::new(b"the-own-password-of-peer-0");
    let id = StunMessage::parse(&question).unwrap().transaction_id();
    let answer = binding_response(&key, id, server());
    for from in [elsewhere(2), home(PUBLISHER), home(VIEWER)] {
        rig.deliver(from, &answer);
    }
    assert_eq!(rig.drops(DropReason::StunUnknownTransaction), 3);
    assert_eq!(rig.shard.counters().address_changes, 0);

    let transport = TransportId(PUBLISHER as u64);
    rig.shard
        .on_command(rig.now, Command::CloseTransport { transport });
    rig.deliver(elsewhere(1), &answer);
    assert_eq!(rig.drops(DropReason::StunUnknownTransaction), 4);
    rig.drain();
    rig.sent.clear();
    rig.run(1_000);
    assert_eq!(rig.sent_to(elsewhere(1)), 0, "no question after the end");
}

/// Somebody in the call who claims to be where another one is: that one's packets are nobody's but its own.
#[test]
fn a_peer_can_not_take_the_path_of_another() {
    let mut rig = Rig::new();
    let heard = rig.heard();
    let publisher = home(PUBLISHER);
    rig.run_past(1_000, |rig, peer, datagram| {
        if peer == VIEWER && datagram[0] >= 128 {
            rig.deliver(publisher, datagram);
        }
    });
    assert!(rig.drops(DropReason::SrtpAuth) > 0);
    assert_eq!(rig.shard.counters().address_changes, 0);
    assert!(rig.heard() >= heard + 45);
    assert!(rig.sent.iter().all(|(_, question)| question.is_none()));
}

#[test]
fn connections_and_relays_bring_nothing_from_elsewhere() {
    let mut rig = Rig::new();
    let stream = Path {
        carrier: Carrier::Stream(StreamId(9)),
        ..elsewhere(1)
    };
    rig.rebind(PUBLISHER, stream);
    let before = rig.shard.counters().rtp_in;
    rig.run(100);
    assert_eq!(rig.shard.counters().rtp_in, before);
    assert!(rig.drops(DropReason::UnknownPeer) > 0);
    assert_eq!(rig.sent_to(stream), 0);
}
