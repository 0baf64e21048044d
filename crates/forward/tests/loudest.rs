//! Who is heard in a big room: three of at least five here.

use std::collections::BTreeMap;

use schalter_forward::*;
use schalter_model::{Counters, DropReason, RoomId, ShardId, TrackId};

use crate::rig::*;

const LISTENER: Owner = Owner(50);

/// Speakers who send a packet every 20 ms, and one who hears what the router lets through.
struct Hall {
    router: Router,
    now: schalter_model::Time,
    sequences: BTreeMap<u32, u16>,
}

fn config() -> RouterConfig {
    RouterConfig {
        loudest: LoudestConfig { most: 3, from: 5 },
        ..RouterConfig::default()
    }
}

fn voice(speaker: u32) -> ProducerConfig {
    ProducerConfig {
        mid: None,
        encodings: vec![EncodingConfig {
            rtx_ssrc: None,
            ..encoding(500 + speaker)
        }],
        room: Some(RoomId(1)),
        ..audio(vec![OPUS])
    }
}

impl Hall {
    fn new(speakers: u32) -> Self {
        let mut router = Router::new(config());
        router.add_owner(LISTENER).unwrap();
        let mut hall = Self {
            router,
            now: ms(1_000),
            sequences: BTreeMap::new(),
        };
        for speaker in 0..speakers {
            hall.enters(speaker, voice(speaker));
        }
        hall
    }

    fn enters(&mut self, speaker: u32, config: ProducerConfig) {
        self.router.add_owner(Owner(speaker)).unwrap();
        let track = TrackId(speaker.into());
        self.router
            .add_producer(self.now, Owner(speaker), track, config)
            .unwrap();
        self.listen(speaker);
    }

    fn listen(&mut self, speaker: u32) {
        let subscription = ConsumerConfig {
            ssrc: 900 + speaker,
            rtx_ssrc: None,
            ..subscription(vec![OPUS])
        };
        let track = TrackId(speaker.into());
        self.router
            .add_consumer(self.now, LISTENER, track, subscription)
            .unwrap();
    }

    fn packet(&mut self, speaker: u32, dbov: u8) -> Packet {
        let sequence = self.sequences.entry(speaker).or_insert(100);
        *sequence += 1;
        let timestamp = (self.now.as_micros() / 1_000 * 48) as u32;
        let mut packet = opus(*sequence, timestamp, b"sound").with(4, &[0x80 | dbov]);
        packet.header.ssrc = 500 + speaker;
        packet
    }

    fn send(&mut self, speaker: u32, packet: &Packet) -> Result<(), DropReason> {
        self.router
            .on_rtp(self.now, Owner(speaker), &packet.bytes())
    }

    /// What the listener gets, as speaker, sequence number, timestamp.
    fn heard(&mut self) -> Vec<(u32, u16, u32)> {
        let (mut out, mut heard) = ([0; 1_500], Vec::new());
        while let Some(owner) = self.router.next_ready(self.now) {
            assert_eq!(owner, LISTENER);
            while let Some(len) = self.router.pop(self.now, owner, &mut out) {
                let header = schalter_rtp::RtpPacket::parse(&out[..len])
                    .unwrap()
                    .header();
                heard.push((header.ssrc - 900, header.sequence, header.timestamp));
            }
        }
        heard
    }

    /// For so long everybody says something at its level; answers what the listener got.
    fn talk(&mut self, millis: u64, levels: &[(u32, u8)]) -> Vec<(u32, u16, u32)> {
        let mut heard = Vec::new();
        for _ in 0..millis / 20 {
            for (speaker, dbov) in levels {
                let packet = self.packet(*speaker, *dbov);
                self.send(*speaker, &packet).unwrap();
            }
            heard.extend(self.heard());
            self.now += std::time::Duration::from_millis(20);
            if self.router.next_timeout().is_some_and(|at| at <= self.now) {
                self.router.on_timeout(self.now);
            }
        }
        heard
    }

    fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.router.counters(&mut counters);
        counters
    }
}

fn count(heard: &[(u32, u16, u32)], speaker: u32) -> usize {
    heard.iter().filter(|(of, ..)| *of == speaker).count()
}

fn assert_no_gaps(heard: &[(u32, u16, u32)], speaker: u32) {
    let of_it: Vec<_> = heard.iter().filter(|(of, ..)| *of == speaker).collect();
    for pair in of_it.windows(2) {
        assert_eq!(pair[1].1, pair[0].1.wrapping_add(1), "{speaker}: {pair:?}");
    }
}

#[test]
fn only_the_loudest_are_heard_and_a_newcomer_at_once() {
    let mut hall = Hall::new(6);
    let quiet = [(0, 30), (1, 31), (2, 32), (3, 90), (4, 95), (5, 100)];
    hall.talk(2_000, &quiet);
    let heard = hall.talk(1_000, &quiet);
    for speaker in 0..6 {
        let all = if speaker < 3 { 50 } else { 0 };
        assert_eq!(count(&heard, speaker), all, "{speaker}");
    }
    // One falls silent, and another begins some seconds later: not a packet of it is lost.
    hall.talk(3_000, &[(0, 30), (1, 31), (2, 100), (3, 90)]);
    let heard = hall.talk(400, &[(0, 30), (1, 31), (2, 100), (3, 28)]);
    assert_eq!(count(&heard, 3), 20);
    // The one packet that came before.
    assert_eq!(count(&heard, 2), 1);
    assert!(hall.counters().sound_withheld > 150 * 3);
}

#[test]
fn who_is_left_out_and_comes_back_has_no_gap_and_its_own_time() {
    let mut hall = Hall::new(5);
    let mut heard = hall.talk(1_000, &[(0, 30), (1, 31), (2, 32), (3, 90), (4, 90)]);
    let before = count(&heard, 2);
    assert_eq!(before, 50);
    let left_at = hall.now;
    let left = hall.talk(4_000, &[(0, 30), (1, 31), (2, 100), (3, 30), (4, 90)]);
    // As loud, the newcomer has to wait for most of a second.
    assert!((30..75).contains(&count(&left, 2)), "{}", count(&left, 2));
    heard.extend(left);
    heard.extend(hall.talk(3_000, &[(0, 30), (1, 31), (2, 100), (3, 100), (4, 90)]));
    let back_at = hall.now;
    heard.extend(hall.talk(500, &[(0, 30), (1, 31), (2, 30), (3, 100), (4, 90)]));
    for speaker in 0..5 {
        assert_no_gaps(&heard, speaker);
    }
    // Time went on while nothing was sent, as after silence.
    let of_it: Vec<_> = heard.iter().filter(|(of, ..)| *of == 2).collect();
    let first = of_it[0];
    let last = of_it.last().unwrap();
    let passed = (back_at - ms(1_000)).as_millis() as u32 + 480;
    assert_eq!(last.2.wrapping_sub(first.2), passed * 48);
    assert!(back_at > left_at);
}

#[test]
fn a_packet_that_was_on_its_way_when_others_took_over_keeps_its_place() {
    let mut hall = Hall::new(5);
    hall.talk(2_000, &[(0, 30), (1, 31), (2, 32), (3, 90), (4, 90)]);
    let late = hall.packet(2, 100);
    let after = hall.packet(2, 100);
    hall.send(2, &after).unwrap();
    let sent = hall.heard();
    assert_eq!(sent.len(), 1);
    hall.now += std::time::Duration::from_millis(1_800);
    // Its place is taken.
    let taken = hall.talk(60, &[(0, 30), (1, 31), (3, 25)]);
    assert_eq!(count(&taken, 3), 3);
    hall.send(2, &late).unwrap();
    let came = hall.heard();
    assert_eq!(came.len(), 1, "{came:?}");
    assert_eq!(came[0].1, sent[0].1.wrapping_sub(1));
    let next = hall.packet(2, 100);
    hall.send(2, &next).unwrap();
    assert_eq!(hall.heard(), []);
}

#[test]
fn a_room_that_becomes_small_hears_everybody_again() {
    let mut hall = Hall::new(5);
    let levels = [(0, 30), (1, 31), (2, 32), (3, 60), (4, 90)];
    let mut heard = hall.talk(1_000, &levels);
    assert_eq!((count(&heard, 3), count(&heard, 4)), (0, 0));
    hall.router.remove_owner(hall.now, Owner(4));
    let small = hall.talk(200, &levels[..4]);
    assert_eq!(count(&small, 3), 10);
    heard.extend(small);
    // Big again: the loudest go on without a break.
    hall.enters(5, voice(5));
    let big = hall.talk(200, &[(0, 30), (1, 31), (2, 32), (3, 60), (5, 90)]);
    for speaker in 0..3 {
        assert_eq!(count(&big, speaker), 10, "{speaker}");
    }
    assert_eq!((count(&big, 3), count(&big, 5)), (0, 0));
    heard.extend(big);
    for speaker in 0..4 {
        assert_no_gaps(&heard, speaker);
    }
}

#[test]
fn tracks_without_levels_and_of_no_room_are_heard_always() {
    let mut hall = Hall::new(6);
    let mut unmarked = voice(10);
    unmarked.extensions.audio_level = None;
    hall.enters(10, unmarked);
    let mut elsewhere = voice(11);
    elsewhere.room = None;
    hall.enters(11, elsewhere);
    let mut everybody: Vec<_> = (0..6).map(|speaker| (speaker, 20)).collect();
    everybody.extend([(10, 100), (11, 100)]);
    let heard = hall.talk(1_000, &everybody);
    assert_eq!((count(&heard, 10), count(&heard, 11)), (50, 50));
}

#[test]
fn a_muted_speaker_gives_its_place_away() {
    let mut hall = Hall::new(5);
    hall.talk(1_000, &[(0, 30), (1, 31), (2, 32), (3, 60), (4, 90)]);
    hall.router.mute_producer(hall.now, TrackId(1), true);
    let heard = hall.talk(100, &[(0, 30), (2, 32), (3, 60)]);
    assert_eq!(count(&heard, 3), 5);
}

#[test]
fn another_shard_gets_every_copy_and_chooses_for_its_own() {
    let mut near = Hall::new(6);
    let mut far = Router::new(config());
    far.add_owner(LISTENER).unwrap();
    let mut hall = Hall {
        router: far,
        now: near.now,
        sequences: BTreeMap::new(),
    };
    for speaker in 0..6 {
        let track = TrackId(speaker.into());
        near.router.add_tap(near.now, track, ShardId(3)).unwrap();
        hall.router
            .add_remote_producer(hall.now, track, voice(speaker))
            .unwrap();
        hall.listen(speaker);
    }
    let (mut copies, mut heard, mut out) = (0, Vec::new(), [0; 1_500]);
    // The fourth begins after a second, when the third is quiet.
    for n in 0..200_u64 {
        let levels: [u8; 6] = if n < 50 {
            [30, 31, 32, 100, 100, 100]
        } else {
            [30, 31, 100, 30, 100, 100]
        };
        for (speaker, dbov) in (0..).zip(levels) {
            let packet = near.packet(speaker, dbov);
            near.send(speaker, &packet).unwrap();
        }
        near.heard();
        while let Some((_, track, meta, len)) = near.router.next_tap(near.now, &mut out) {
            copies += 1;
            hall.router
                .on_envelope(hall.now, track, meta, &out[..len])
                .unwrap();
        }
        heard.extend(hall.heard());
        near.now += std::time::Duration::from_millis(20);
        hall.now = near.now;
    }
    assert_eq!(copies, 6 * 200);
    assert_eq!((count(&heard, 0), count(&heard, 1)), (200, 200));
    assert!(
        (80..130).contains(&count(&heard, 2)),
        "{}",
        count(&heard, 2)
    );
    assert!(
        (70..120).contains(&count(&heard, 3)),
        "{}",
        count(&heard, 3)
    );
    assert_eq!((count(&heard, 4), count(&heard, 5)), (0, 0));
    for speaker in 0..6 {
        assert_no_gaps(&heard, speaker);
    }
}
