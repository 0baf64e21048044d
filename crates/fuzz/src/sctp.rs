//! A list of operations on one association: packets of a peer that may write anything under DTLS, time, and our own doings.
//! Headers and checksums are repaired, else nothing would get past them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use schalter_transport::{DataChannelConfig, Reliability};

use association::{MessageKind, Sctp, SctpLimits};

// The module itself, so that the library needs no door for this.
#[path = "../../transport/src/sctp/mod.rs"]
#[expect(dead_code, reason = "not all that the transport calls is called here")]
mod association;

const LIMITS: SctpLimits = SctpLimits {
    max_message_size: 4096,
    receive_buffer: 16 * 1024,
    send_buffer: 16 * 1024,
    max_streams: 8,
};
const HEADER_LEN: usize = 12;
const DATA: u8 = 0;
const INIT: u8 = 1;
const SACK: u8 = 3;
const FORWARD_TSN: u8 = 192;
/// Operations and steps of a handshake are counted, so that two machines cannot entertain each other for ever.
const STEPS_MAX: usize = 64;

const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ 0x82f6_3b78
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

fn repair(packet: &mut [u8]) {
    packet[8..12].fill(0);
    let sum = packet.iter().fold(!0_u32, |crc, byte| {
        (crc >> 8) ^ CRC32C[(crc as u8 ^ byte) as usize]
    });
    packet[8..12].copy_from_slice(&(!sum).to_le_bytes());
}

fn chunk(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, flags];
    out.extend_from_slice(&(body.len() as u16 + 4).to_be_bytes());
    out.extend_from_slice(body);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn chunks(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet.get(HEADER_LEN..).unwrap_or_default();
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?])).max(4);
        let (chunk, _) = rest.split_at_checked(len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(chunk)
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|b| u32::from_be_bytes(*b))
}

struct Rig {
    now: Instant,
    ours: Sctp,
    /// Makes the association possible; its packets are at hand for faking others.
    peer: Sctp,
    /// Verification tag of packets to us.
    tag: u32,
    /// What the peer would number its next DATA chunk.
    peer_tsn: u32,
    /// The last that we sent.
    our_tsn: u32,
    steps: usize,
}

impl Rig {
    fn new() -> Self {
        let now = Instant::now();
        let [mut ours, mut peer] = [Sctp::new(LIMITS), Sctp::new(LIMITS)];
        ours.start(now);
        peer.start(now);
        let now = now + Duration::from_secs(2);
        peer.on_timeout(now);
        Self {
            now,
            ours,
            peer,
            tag: 0,
            peer_tsn: 0,
            our_tsn: 0,
            steps: 0,
        }
    }

    fn take(&mut self, packet: Vec<u8>) {
        let _ = self.ours.on_packet(self.now, packet.into());
        while self.ours.poll_event().is_some() {}
    }

    fn send(&mut self, body: &[u8], tag: u32) {
        let mut packet = vec![0x13, 0x88, 0x13, 0x88];
        packet.extend_from_slice(&tag.to_be_bytes());
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(body);
        repair(&mut packet);
        self.take(packet);
    }

    /// Our packets to the peer, and one of the peer's to us.
    fn step(&mut self) -> bool {
        while let Some(packet) = self.ours.poll_transmit() {
            for chunk in chunks(&packet) {
                if chunk[0] == DATA {
                    self.our_tsn = u32_at(chunk, 4).unwrap_or(self.our_tsn);
                }
            }
            let _ = self.peer.on_packet(self.now, packet);
        }
        let Some(packet) = self.peer.poll_transmit() else {
            return false;
        };
        for chunk in chunks(&packet) {
            match chunk[0] {
                INIT => self.peer_tsn = u32_at(chunk, 16).unwrap_or(0),
                DATA => self.peer_tsn = u32_at(chunk, 4).unwrap_or(0).wrapping_add(1),
                _ => {}
            }
        }
        if let Some(tag @ 1..) = u32_at(&packet, 4) {
            self.tag = tag;
        }
        self.take(packet.to_vec());
        self.steps += 1;
        self.steps < STEPS_MAX
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *byte
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    fn near(&mut self, number: u32) -> u32 {
        number.wrapping_add_signed(i32::from(self.byte() as i8))
    }

    fn stream(&mut self) -> u16 {
        u16::from(self.byte() % 12)
    }
}

/// Does it with one input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut rig = Rig::new();
    if input.byte().is_multiple_of(2) {
        while rig.step() {}
    }
    for _ in 0..STEPS_MAX {
        if input.0.is_empty() {
            break;
        }
        match input.byte() % 13 {
            0 => {
                let tag = rig.tag;
                rig.send(input.bytes(), tag);
            }
            1 => rig.send(input.bytes(), 0),
            2 => rig.take(input.bytes().to_vec()),
            3 | 4 => {
                let ours = input.byte().is_multiple_of(8);
                let tsn = if ours {
                    input.near(rig.peer_tsn)
                } else {
                    rig.peer_tsn = rig.peer_tsn.wrapping_add(1);
                    rig.peer_tsn.wrapping_sub(1)
                };
                let flags = input.byte();
                let mut body = tsn.to_be_bytes().to_vec();
                body.extend_from_slice(&input.stream().to_be_bytes());
                body.extend_from_slice(&[0, input.byte(), 0, 0, 0]);
                body.push(50 + input.byte() % 8);
                body.extend_from_slice(input.bytes());
                let tag = rig.tag;
                rig.send(&chunk(DATA, flags, &body), tag);
            }
            5 => {
                let (kind, flags) = (input.byte(), input.byte());
                let tag = if kind == INIT { 0 } else { rig.tag };
                rig.send(&chunk(kind, flags, input.bytes()), tag);
            }
            6 => {
                let mut body = input.near(rig.our_tsn).to_be_bytes().to_vec();
                body.extend_from_slice(&[0, 0, input.byte(), input.byte()]);
                body.extend_from_slice(&[0, input.byte() % 8, 0, input.byte() % 8]);
                body.extend_from_slice(input.bytes());
                let tag = rig.tag;
                rig.send(&chunk(SACK, 0, &body), tag);
            }
            7 => {
                let mut body = input.near(rig.peer_tsn).to_be_bytes().to_vec();
                body.extend_from_slice(input.bytes());
                let tag = rig.tag;
                rig.send(&chunk(FORWARD_TSN, 0, &body), tag);
            }
            8 => {
                rig.now += Duration::from_millis(u64::from(input.byte()) * 50);
                if rig.ours.next_timeout().is_some_and(|at| at <= rig.now) {
                    rig.ours.on_timeout(rig.now);
                }
                while rig.ours.poll_event().is_some() {}
            }
            9 => {
                let config = DataChannelConfig {
                    label: "".into(),
                    protocol: "".into(),
                    ordered: input.byte().is_multiple_of(2),
                    reliability: match input.byte() % 3 {
                        0 => Reliability::Reliable,
                        1 => Reliability::MaxRetransmits(0),
                        _ => Reliability::MaxLifetimeMs(100),
                    },
                };
                rig.ours.open_stream(input.stream(), &config);
            }
            10 => {
                let kind = [MessageKind::Dcep, MessageKind::Text, MessageKind::Binary]
                    [usize::from(input.byte() % 3)];
                let data = Bytes::from(vec![7; usize::from(input.byte()) * 16]);
                let _ = rig.ours.write(rig.now, input.stream(), kind, &data);
            }
            11 => rig.ours.reset(rig.now, input.stream()),
            _ => {
                rig.step();
            }
        }
    }
    rig.ours.abort(rig.now);
    while rig.ours.poll_event().is_some() {}
    while rig.ours.poll_transmit().is_some() {}
    assert_eq!(rig.ours.next_timeout(), None);
}
