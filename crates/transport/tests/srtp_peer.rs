//! Our SRTP against that of the webrtc-rs family, and against lost, late, doubled and forged packets.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use proptest::prelude::*;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::default_provider;
use rtc_srtp::protection_profile::ProtectionProfile;
use schalter_model::{DropReason, SrtpProfile};
use schalter_transport::srtp::{
    DtlsRole, Inbound, MAX_SRTP_OVERHEAD, Outbound, SessionKeys, SrtpError, SrtpLimits,
    exporter_len, rtcp_overhead, rtp_overhead,
};

/// xorshift64*: enough to vary packets, and one seed replays all.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 8) % end
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 32) as u8).collect()
    }
}

fn material(profile: SrtpProfile) -> Vec<u8> {
    Random(7).bytes(exporter_len(profile))
}

/// Both ends of one session: the server's outbound fits the client's inbound.
fn session(profile: SrtpProfile, limits: SrtpLimits) -> ((Outbound, Inbound), (Outbound, Inbound)) {
    let end = |role| {
        SessionKeys::from_exporter(profile, &material(profile), role)
            .unwrap()
            .into_contexts(limits)
            .unwrap()
    };
    (end(DtlsRole::Server), end(DtlsRole::Client))
}

/// From the server to the client.
fn one_way(profile: SrtpProfile) -> (Outbound, Inbound) {
    let ((outbound, _), (_, inbound)) = session(profile, SrtpLimits::default());
    (outbound, inbound)
}

/// The family's contexts with the same keys, for what the client writes and what the server writes.
fn reference(profile: SrtpProfile) -> (Context, Context) {
    let (theirs, key, salt) = match profile {
        SrtpProfile::AeadAes128Gcm => (ProtectionProfile::AeadAes128Gcm, 16, 12),
        SrtpProfile::AeadAes256Gcm => (ProtectionProfile::AeadAes256Gcm, 32, 12),
        SrtpProfile::Aes128CmSha1_80 => (ProtectionProfile::Aes128CmHmacSha1_80, 16, 14),
    };
    let material = material(profile);
    let provider = default_provider().unwrap();
    let context = |side: usize| {
        Context::new(
            &material[side * key..][..key],
            &material[2 * key + side * salt..][..salt],
            theirs,
            None,
            None,
            provider.crypto(),
        )
        .unwrap()
    };
    (context(0), context(1))
}

fn rtp(sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend(u32::from(sequence).wrapping_mul(3_000).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// With CSRCs, header extension and payload as chance will have it.
fn random_rtp(random: &mut Random, sequence: u16, ssrc: u32) -> Vec<u8> {
    let csrcs = random.below(4) as usize;
    let mut packet = rtp(sequence, ssrc, &[]);
    packet[0] |= csrcs as u8;
    packet.extend(random.bytes(csrcs * 4));
    if random.below(2) == 0 {
        packet[0] |= 0x10;
        let words = random.below(4) as usize;
        packet.extend([0xBE, 0xDE, 0, words as u8]);
        // Zeros are padding elements, which every parser accepts.
        packet.extend(vec![0; words * 4]);
    }
    let len = random.below(1_200) as usize;
    packet.extend(random.bytes(len));
    packet
}

fn rtcp(random: &mut Random, ssrc: u32) -> Vec<u8> {
    let words = random.below(40) as usize;
    let mut packet = vec![0x80, 200];
    packet.extend((1 + words as u16).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(random.bytes(words * 4));
    packet
}

fn seal(outbound: &mut Outbound, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_SRTP_OVERHEAD, 0);
    let len = outbound.seal_rtp(&mut buffer, packet.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

fn seal_rtcp(outbound: &mut Outbound, packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_SRTP_OVERHEAD, 0);
    let len = outbound.seal_rtcp(&mut buffer, packet.len()).unwrap();
    buffer.truncate(len);
    buffer
}

fn open(inbound: &mut Inbound, sealed: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut buffer = sealed.to_vec();
    let len = inbound.open_rtp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

fn open_rtcp(inbound: &mut Inbound, sealed: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut buffer = sealed.to_vec();
    let len = inbound.open_rtcp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

#[test]
fn rtp_means_the_same_to_us_and_to_the_family_across_roll_overs() {
    for profile in SrtpProfile::ALL {
        for role in [DtlsRole::Server, DtlsRole::Client] {
            let seed = 11;
            let mut random = Random(seed);
            let keys = SessionKeys::from_exporter(profile, &material(profile), role).unwrap();
            let (mut outbound, mut inbound) = keys.into_contexts(SrtpLimits::default()).unwrap();
            let (client, server) = reference(profile);
            let (mut their_opener, mut their_sealer) = match role {
                DtlsRole::Client => (client, server),
                DtlsRole::Server => (server, client),
            };
            let mut sequences = [20_000_u16; 3];
            for step in 0..1_500 {
                let which = random.below(3) as usize;
                // Far enough to pass a roll-over several times, near enough to guess it.
                sequences[which] = sequences[which].wrapping_add(1 + random.below(700) as u16);
                let ssrc = 0xAAAA_0000 + which as u32;
                let packet = random_rtp(&mut random, sequences[which], ssrc);
                let context = format!("{} {role:?}, seed {seed}, step {step}", profile.name());

                let ours = seal(&mut outbound, &packet).unwrap();
                assert_eq!(
                    their_opener.decrypt_rtp(&ours).unwrap(),
                    packet,
                    "{context}"
                );
                let theirs = their_sealer.encrypt_rtp(&packet).unwrap();
                assert_eq!(theirs.len(), packet.len() + rtp_overhead(profile));
                assert_eq!(open(&mut inbound, &theirs).unwrap(), packet, "{context}");
            }
        }
    }
}

#[test]
fn rtcp_means_the_same_to_us_and_to_the_family() {
    for profile in SrtpProfile::ALL {
        let mut random = Random(12);
        let ((mut outbound, mut inbound), _) = session(profile, SrtpLimits::default());
        let (mut their_sealer, mut their_opener) = reference(profile);
        for step in 0..300 {
            let ssrc = 1 + random.below(4) as u32;
            let packet = rtcp(&mut random, ssrc);
            let ours = seal_rtcp(&mut outbound, &packet);
            assert_eq!(ours.len(), packet.len() + rtcp_overhead(profile));
            assert_eq!(
                their_opener.decrypt_rtcp(&ours).unwrap(),
                packet,
                "step {step}"
            );
            let theirs = their_sealer.encrypt_rtcp(&packet).unwrap();
            assert_eq!(
                open_rtcp(&mut inbound, &theirs).unwrap(),
                packet,
                "step {step}"
            );
        }
    }
}

#[test]
fn late_and_doubled_packets_find_their_roll_over_and_are_taken_once() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = one_way(profile);
        let start = 0x7F00_u32;
        let mut random = Random(13);
        // Seal in order, then deliver within blocks of 64 shuffled, every packet twice.
        let sealed: Vec<_> = (0..70_000_u32)
            .map(|n| {
                let packet = rtp((start + n) as u16, 5, &n.to_be_bytes());
                (packet.clone(), seal(&mut outbound, &packet).unwrap())
            })
            .collect();
        for block in sealed.chunks(64) {
            let mut order: Vec<usize> = (0..block.len()).chain(0..block.len()).collect();
            for i in (1..order.len()).rev() {
                order.swap(i, random.below(i as u64 + 1) as usize);
            }
            let mut seen = [false; 64];
            for index in order {
                let (plain, packet) = &block[index];
                let expected = if std::mem::replace(&mut seen[index], true) {
                    Err(DropReason::SrtpReplay)
                } else {
                    Ok(plain.clone())
                };
                assert_eq!(open(&mut inbound, packet), expected);
            }
        }
        assert_eq!(
            open(&mut inbound, &sealed[0].1),
            Err(DropReason::SrtpReplay)
        );
    }
}

#[test]
fn packets_sealed_out_of_order_across_a_roll_over_are_opened() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = one_way(profile);
        for sequence in [65_000, 65_534, 1, 65_535, 0, 3, 65_530, 2] {
            let packet = rtp(sequence, 9, b"frame");
            let sealed = seal(&mut outbound, &packet).unwrap();
            assert_eq!(open(&mut inbound, &sealed).unwrap(), packet, "{sequence}");
        }
    }
}

#[test]
fn a_kilopacket_late_is_in_time_and_two_are_not() {
    let profile = SrtpProfile::AeadAes128Gcm;
    let (mut outbound, mut inbound) = one_way(profile);
    let sealed: Vec<_> = (0..3_000_u16)
        .map(|n| seal(&mut outbound, &rtp(n, 1, b"x")).unwrap())
        .collect();
    open(&mut inbound, &sealed[2_999]).unwrap();
    assert!(open(&mut inbound, &sealed[2_999 - 1_024]).is_ok());
    assert_eq!(
        open(&mut inbound, &sealed[2_999 - 2_048]),
        Err(DropReason::SrtpReplay)
    );
}

#[test]
fn rtcp_is_taken_once_and_late_ones_are_taken_in_the_window() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = one_way(profile);
        let mut random = Random(14);
        let packet = rtcp(&mut random, 77);
        let sealed: Vec<_> = (0..400)
            .map(|_| seal_rtcp(&mut outbound, &packet))
            .collect();
        assert!(open_rtcp(&mut inbound, &sealed[399]).is_ok());
        assert!(open_rtcp(&mut inbound, &sealed[399 - 128]).is_ok());
        for replayed in [&sealed[399], &sealed[399 - 128], &sealed[0]] {
            assert_eq!(
                open_rtcp(&mut inbound, replayed),
                Err(DropReason::SrtpReplay)
            );
        }
    }
}

#[test]
fn every_changed_bit_and_every_cut_is_noticed_and_changes_nothing() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = one_way(profile);
        let mut random = Random(15);
        let plain = rtp(100, 1, b"twenty bytes of load");
        let sealed = seal(&mut outbound, &plain).unwrap();
        let control = rtcp(&mut random, 1);
        let sealed_control = seal_rtcp(&mut outbound, &control);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut inbound, &changed).is_err(), "bit {bit}");
        }
        for bit in 0..sealed_control.len() * 8 {
            let mut changed = sealed_control.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open_rtcp(&mut inbound, &changed).is_err(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(open(&mut inbound, &sealed[..len]).is_err());
        }
        for len in 0..sealed_control.len() {
            assert!(open_rtcp(&mut inbound, &sealed_control[..len]).is_err());
        }
        assert_eq!(inbound.streams(), (0, 0), "nothing was entered");
        assert_eq!(open(&mut inbound, &sealed).unwrap(), plain);
        assert_eq!(open_rtcp(&mut inbound, &sealed_control).unwrap(), control);
    }
}

#[test]
fn forged_packets_move_neither_roll_over_nor_window() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = one_way(profile);
        let mut random = Random(16);
        for sequence in 0..500_u16 {
            let packet = rtp(sequence, 1, b"load");
            let sealed = seal(&mut outbound, &packet).unwrap();
            let len = sealed.len() - 12;
            let forged = rtp(random.next() as u16, 1, &random.bytes(len));
            assert!(open(&mut inbound, &forged).is_err());
            assert_eq!(open(&mut inbound, &sealed).unwrap(), packet);
        }
    }
}

#[test]
fn unencrypted_srtcp_is_refused() {
    let profile = SrtpProfile::Aes128CmSha1_80;
    let (mut outbound, mut inbound) = one_way(profile);
    let mut sealed = seal_rtcp(&mut outbound, &rtcp(&mut Random(17), 1));
    let flag = sealed.len() - 14;
    sealed[flag] &= 0x7F;
    assert_eq!(open_rtcp(&mut inbound, &sealed), Err(DropReason::SrtpAuth));
}

#[test]
fn streams_are_bounded_and_a_forgotten_one_makes_room_but_stays_replay_proof() {
    let limits = SrtpLimits {
        max_inbound_ssrcs: 3,
        ..SrtpLimits::default()
    };
    let profile = SrtpProfile::AeadAes128Gcm;
    let ((mut outbound, _), (_, mut inbound)) = session(profile, limits);
    let sealed: Vec<_> = (0..4_u32)
        .map(|ssrc| seal(&mut outbound, &rtp(40_000, ssrc, b"x")).unwrap())
        .collect();
    for packet in &sealed[..3] {
        open(&mut inbound, packet).unwrap();
    }
    assert_eq!(
        open(&mut inbound, &sealed[3]),
        Err(DropReason::SrtpTooManySsrcs)
    );
    inbound.forget(0);
    open(&mut inbound, &sealed[3]).unwrap();
    inbound.forget(1);
    assert_eq!(open(&mut inbound, &sealed[0]), Err(DropReason::SrtpReplay));
    // It goes on where it was, roll-over counter included.
    for sequence in [60_000, 10] {
        let packet = rtp(sequence, 0, b"y");
        let sealed = seal(&mut outbound, &packet).unwrap();
        assert_eq!(open(&mut inbound, &sealed).unwrap(), packet);
        inbound.forget(0);
    }
    assert_eq!(inbound.streams(), (2, 0));
}

#[test]
fn an_index_is_never_used_for_two_packets() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, _) = one_way(profile);
        seal(&mut outbound, &rtp(10, 1, b"one")).unwrap();
        for again in [b"one", b"two"] {
            assert_eq!(
                seal(&mut outbound, &rtp(10, 1, again)),
                Err(SrtpError::IndexReused)
            );
        }
        seal(&mut outbound, &rtp(10, 2, b"one")).unwrap();
        seal(&mut outbound, &rtp(9, 1, b"late")).unwrap();
        // Ended or not.
        outbound.forget(1);
        assert_eq!(
            seal(&mut outbound, &rtp(10, 1, b"two")),
            Err(SrtpError::IndexReused)
        );
        seal(&mut outbound, &rtp(11, 1, b"two")).unwrap();
        for sequence in (12..12 + 4_000).step_by(7) {
            seal(&mut outbound, &rtp(sequence, 1, b"on")).unwrap();
        }
        assert_eq!(
            seal(&mut outbound, &rtp(13, 1, b"on")),
            Err(SrtpError::IndexTooOld)
        );
        assert_eq!(
            seal(&mut outbound, &rtp(40_000, 1, b"before the start")),
            Err(SrtpError::IndexTooOld)
        );
    }
}

#[test]
fn a_resend_must_be_the_same_byte_for_byte() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = one_way(profile);
        outbound.allow_resend(1).unwrap();
        let sealed: Vec<_> = (0..600_u16)
            .map(|n| seal(&mut outbound, &rtp(n, 1, b"load")).unwrap())
            .collect();
        for n in [599, 88] {
            let again = seal(&mut outbound, &rtp(n, 1, b"load")).unwrap();
            assert_eq!(again, sealed[usize::from(n)]);
        }
        assert!(open(&mut inbound, &sealed[88]).is_ok());
        // Older than what is remembered.
        assert_eq!(
            seal(&mut outbound, &rtp(87, 1, b"load")),
            Err(SrtpError::IndexReused)
        );
        for (offset, what) in [(1, "marker"), (5, "timestamp"), (12, "payload")] {
            let mut changed = rtp(500, 1, b"load");
            changed[offset] ^= 1;
            let mut buffer = changed.clone();
            buffer.resize(changed.len() + MAX_SRTP_OVERHEAD, 0xEE);
            assert_eq!(
                outbound.seal_rtp(&mut buffer, changed.len()),
                Err(SrtpError::IndexReused),
                "{what}"
            );
            assert!(
                buffer[..changed.len() + rtp_overhead(profile)]
                    .iter()
                    .all(|byte| *byte == 0),
                "nothing of it is left"
            );
        }
    }
}

#[test]
fn outbound_streams_are_bounded() {
    let limits = SrtpLimits {
        max_outbound_ssrcs: 2,
        ..SrtpLimits::default()
    };
    let ((mut outbound, _), _) = session(SrtpProfile::AeadAes128Gcm, limits);
    seal(&mut outbound, &rtp(1, 1, b"x")).unwrap();
    seal(&mut outbound, &rtp(1, 2, b"x")).unwrap();
    assert_eq!(
        seal(&mut outbound, &rtp(1, 3, b"x")),
        Err(SrtpError::TooManySsrcs)
    );
    assert_eq!(outbound.allow_resend(3), Err(SrtpError::TooManySsrcs));
    outbound.forget(1);
    seal(&mut outbound, &rtp(1, 3, b"x")).unwrap();
}

#[test]
fn callers_mistakes_are_errors_and_not_panics() {
    for profile in SrtpProfile::ALL {
        let (mut outbound, _) = one_way(profile);
        let packet = rtp(1, 1, b"load");
        let mut tight = packet.clone();
        tight.resize(packet.len() + rtp_overhead(profile) - 1, 0);
        assert_eq!(
            outbound.seal_rtp(&mut tight, packet.len()),
            Err(SrtpError::NoSpace)
        );
        assert_eq!(
            outbound.seal_rtp(&mut tight, 10_000),
            Err(SrtpError::NoSpace)
        );
        assert_eq!(
            outbound.seal_rtp(&mut [0x80; 40], 11),
            Err(SrtpError::Malformed)
        );
        assert_eq!(
            outbound.seal_rtcp(&mut [0x80; 40], 7),
            Err(SrtpError::Malformed)
        );
        assert_eq!(
            outbound.seal_rtcp(&mut [0x80; 9], 8),
            Err(SrtpError::NoSpace)
        );
        assert_eq!(
            outbound.seal_rtcp(&mut [0; 64], 8),
            Err(SrtpError::Malformed)
        );
        let short = vec![0; exporter_len(profile) - 1];
        assert_eq!(
            SessionKeys::from_exporter(profile, &short, DtlsRole::Client).err(),
            Some(SrtpError::KeyLength)
        );
    }
}

#[test]
fn keys_do_not_show_in_debug_output() {
    for profile in SrtpProfile::ALL {
        let keys =
            SessionKeys::from_exporter(profile, &material(profile), DtlsRole::Server).unwrap();
        assert_eq!(
            format!("{keys:?}"),
            format!("SessionKeys {{ profile: {profile:?}, .. }}")
        );
        let (outbound, inbound) = keys.into_contexts(SrtpLimits::default()).unwrap();
        assert_eq!(
            format!("{outbound:?}"),
            format!("Outbound {{ profile: {profile:?}, streams: 0, .. }}")
        );
        assert_eq!(
            format!("{inbound:?}"),
            format!("Inbound {{ profile: {profile:?}, streams: (0, 0), .. }}")
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_never_pass(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        profile in 0..3_usize,
        looks_right in any::<bool>(),
    ) {
        let (mut outbound, mut inbound) = one_way(SrtpProfile::ALL[profile]);
        let mut bytes = bytes;
        if looks_right && !bytes.is_empty() {
            bytes[0] = 0x80 | (bytes[0] & 0x13);
        }
        prop_assert!(open(&mut inbound, &bytes).is_err());
        prop_assert!(open_rtcp(&mut inbound, &bytes).is_err());
        prop_assert_eq!(inbound.streams(), (0, 0));
        // What we can seal, the peer opens.
        if let Ok(sealed) = seal(&mut outbound, &bytes) {
            prop_assert_eq!(open(&mut inbound, &sealed), Ok(bytes));
        }
    }
}
