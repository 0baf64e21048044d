//! Question: what does protecting a 1,200-byte packet cost beyond the bare cryptography?
//!
//! Answer: nanoseconds to seal and to open one packet in each profile, and their ratio to sealing the same bytes with
//! nothing but AES-GCM of the library, measured in the same run. Run it in release; take the least of the rounds,
//! because everything else a machine does only ever adds.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark may stop at the first surprise"
)]

use std::time::Instant;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use schalter_model::SrtpProfile;
use schalter_transport::srtp::{DtlsRole, SessionKeys, SrtpLimits, exporter_len};

const LEN: usize = 1_200;
const PACKETS: u16 = 4_000;
const ROUNDS: usize = 25;

fn main() {
    let header: Vec<u8> = packet(0)[..12].to_vec();
    let mut payload = vec![0x5A; LEN - 12];
    let gcm = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap());
    let floor = least(|n| {
        let mut nonce = [0; 12];
        nonce[..2].copy_from_slice(&n.to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = gcm.seal_in_place_separate_tag(nonce, Aad::from(&header), &mut payload);
        let _ = std::hint::black_box(tag.unwrap());
    });
    let print =
        |what: &str, nanos: f64| println!("{what:<32} {nanos:>7.0} ns {:>5.2}×", nanos / floor);
    print("AES-128-GCM alone (the floor)", floor);

    let aes = UnboundCipherKey::new(&AES_128, &[7; 16])
        .and_then(EncryptingKey::ctr)
        .unwrap();
    let counter_mode = least(|n| {
        let mut iv = [0; 16];
        iv[..2].copy_from_slice(&n.to_be_bytes());
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        let _ = std::hint::black_box(aes.less_safe_encrypt(&mut payload, context).unwrap());
    });
    print("AES-128-CTR alone", counter_mode);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[7; 20]);
    let mac = least(|_| {
        let _ = std::hint::black_box(hmac::sign(&key, &payload));
    });
    print("HMAC-SHA1 alone", mac);

    for profile in SrtpProfile::ALL {
        let (seal, open) = round_trip(profile);
        print(&format!("{} seal", profile.name()), seal);
        print(&format!("{} open", profile.name()), open);
    }
}

fn packet(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x5A; LEN];
    packet[..2].copy_from_slice(&[0x80, 96]);
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[8..12].copy_from_slice(&1_u32.to_be_bytes());
    packet
}

/// Least nanoseconds per call over all rounds.
fn least(mut call: impl FnMut(u16)) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..PACKETS).for_each(&mut call);
            start.elapsed().as_nanos() as f64 / f64::from(PACKETS)
        })
        .fold(f64::INFINITY, f64::min)
}

/// Least nanoseconds to seal and to open a packet in place. Sequence numbers run on through all rounds.
fn round_trip(profile: SrtpProfile) -> (f64, f64) {
    let material = vec![7; exporter_len(profile)];
    let contexts = |role| {
        let keys = SessionKeys::from_exporter(profile, &material, role).unwrap();
        keys.into_contexts(SrtpLimits::default()).unwrap()
    };
    let (mut outbound, _) = contexts(DtlsRole::Server);
    let (_, mut inbound) = contexts(DtlsRole::Client);
    let mut buffers: Vec<_> = (0..PACKETS).map(|_| vec![0; 1_500]).collect();
    let mut next = 0_u16;
    let (mut seal, mut open) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        for buffer in &mut buffers {
            buffer[..LEN].copy_from_slice(&packet(next));
            next = next.wrapping_add(1);
        }
        let per_packet = |start: Instant| start.elapsed().as_nanos() as f64 / f64::from(PACKETS);
        let start = Instant::now();
        let mut len = 0;
        for buffer in &mut buffers {
            len = outbound.seal_rtp(buffer, LEN).unwrap();
        }
        seal = seal.min(per_packet(start));
        let start = Instant::now();
        for buffer in &mut buffers {
            inbound.open_rtp(&mut buffer[..len]).unwrap();
        }
        open = open.min(per_packet(start));
    }
    (seal, open)
}
