//! Notes and checkpoints: published ones are read, and what is not exactly one is refused.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use schalter_audit::note::{self, MAX_NOTE, MAX_SIGNATURES, NoteError, SigningKey, VerifyingKey};
use schalter_audit::{Checkpoint, CheckpointError, Epoch, Origin};

/// The example of the format's first implementation, golang.org/x/mod/sumdb/note.
const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const SIGNED: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
/// The private half of the same key, as that implementation writes it.
const SKEY: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

fn key() -> SigningKey {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(SKEY)
        .unwrap();
    SigningKey::from_seed("PeterNeumann", bytes[1..].try_into().unwrap()).unwrap()
}

#[test]
fn a_published_note_is_read_and_written() {
    let trusted: VerifyingKey = VKEY.parse().unwrap();
    assert_eq!(trusted.to_string(), VKEY);
    assert_eq!(trusted.name(), "PeterNeumann");
    let whole = format!("{TEXT}\n{SIGNED}");
    assert_eq!(key().sign(TEXT).unwrap(), whole);
    assert_eq!(key().public(), &trusted);
    let trusted = [trusted];
    assert_eq!(note::open(&whole, &trusted), Ok((TEXT, &trusted[0])));
    let shown = format!("SigningKey({:?})", key().public());
    assert_eq!(format!("{:?}", key()), shown, "nothing of the private half");
}

#[test]
fn keys_are_read_exactly() {
    for bad in [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        &VKEY.replace("c74f20a3", "c74f20a4"),
        &VKEY.replace("c74f20a3", "C74F20A3"),
        &VKEY.replace("Peter", "Petra"),
        &VKEY.replace("+ARpc", "+BRpc"),
        &VKEY[..VKEY.len() - 4],
        &format!("{VKEY}="),
        &VKEY.replace("PeterNeumann", ""),
    ] {
        assert_eq!(
            bad.parse::<VerifyingKey>(),
            Err(NoteError::VerifyingKey),
            "{bad}"
        );
    }
    for bad in ["", "a b", "a+b", "a\nb", "a\u{a0}b"] {
        assert_eq!(
            SigningKey::from_seed(bad, &[1; 32]).unwrap_err(),
            NoteError::Name,
            "{bad:?}"
        );
    }
    assert_eq!(
        SigningKey::from_pkcs8("a", b"nothing").unwrap_err(),
        NoteError::SigningKey
    );
}

#[test]
fn signatures_of_others_are_passed_over_and_wrong_ones_refused() {
    let trusted: [VerifyingKey; 1] = [VKEY.parse().unwrap()];
    let other = SigningKey::from_seed("witness.example", &[7; 32]).unwrap();
    let theirs = other.sign(TEXT).unwrap();
    let line = theirs.lines().last().unwrap();
    let both = format!("{TEXT}\n{line}\n{SIGNED}");
    assert!(note::open(&both, &trusted).is_ok());
    assert!(note::open(&both, &[other.public().clone()]).is_ok());
    assert!(matches!(
        note::open(&theirs, &trusted),
        Err(NoteError::Unsigned(_))
    ));
    // The same name and another key.
    let twin = SigningKey::from_seed("PeterNeumann", &[7; 32]).unwrap();
    let by_twin = twin.sign(TEXT).unwrap();
    assert!(matches!(
        note::open(&by_twin, &trusted),
        Err(NoteError::Unsigned(_))
    ));
    let edited = format!("{TEXT}\n{SIGNED}").replace("problem", "Problem");
    assert_eq!(
        note::open(&edited, &trusted),
        Err(NoteError::Forged("PeterNeumann".to_owned()))
    );
    let control = format!("\t{TEXT}\n{SIGNED}");
    let spaces = format!("{TEXT}\n\u{2014} Peter Neumann AAAA\n");
    let long = "x".repeat(MAX_NOTE);
    for bad in [
        "",
        "x",
        TEXT,
        "x\n\nx\n",
        "x\n\n\u{2014} a AAAA\n",
        &control,
        &spaces,
        &long,
    ] {
        assert!(
            matches!(note::open(bad, &trusted), Err(NoteError::Malformed(_))),
            "{bad}"
        );
    }
    let crowd = |n: usize| format!("{TEXT}\n{}{SIGNED}", format!("{line}\n").repeat(n - 1));
    assert!(note::open(&crowd(MAX_SIGNATURES), &trusted).is_ok());
    assert_eq!(
        note::open(&crowd(MAX_SIGNATURES + 1), &trusted),
        Err(NoteError::Malformed("it has too many signatures"))
    );
    assert!(key().sign("no newline").is_err());
}

#[test]
fn checkpoints_are_read_exactly() {
    // The specification's own example.
    let text =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let checkpoint = Checkpoint::parse(text).unwrap();
    assert_eq!(checkpoint.size, 20_852_163);
    assert_eq!(checkpoint.text(), text);
    let more = Checkpoint::parse(&format!("{text}more\n")).unwrap();
    assert_eq!(more, checkpoint);
    let note = checkpoint.sign(&key()).unwrap();
    let trusted = [VKEY.parse().unwrap()];
    assert_eq!(
        Checkpoint::open(&note, &trusted),
        Ok((checkpoint, &trusted[0]))
    );
    for bad in [
        "",
        "a\n1\n",
        &text.replace("2085", "02085"),
        &text.replace("2085", "+2085"),
        &text.replace("2085", "-2085"),
        &text.replace("2I=", "2I"),
        &text.replace("CsUY", "CsU"),
        &text.replace("example.com/behind-the-sofa", ""),
        text.trim_end(),
        &format!("{text}\nx\n"),
        "a\n99999999999999999999\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
    ] {
        assert!(
            matches!(Checkpoint::parse(bad), Err(CheckpointError::Malformed(_))),
            "{bad}"
        );
    }
}

#[test]
fn origins_name_server_authority_and_epoch() {
    let origin: Origin = "termin.example.org/x/ulm/2026-11.2".parse().unwrap();
    assert_eq!(origin.name, "termin.example.org/x");
    assert_eq!(origin.authority, "ulm");
    assert_eq!(origin.to_string(), "termin.example.org/x/ulm/2026-11.2");
    let order = [
        "2025-12-31",
        "2026",
        "2026-11",
        "2026-11.2",
        "2026-11.10",
        "2026-11-01",
        "2026-12",
    ];
    let epochs: Vec<Epoch> = order.map(|text| text.parse().unwrap()).to_vec();
    assert!(epochs.is_sorted());
    assert_eq!(epochs[2].again(), epochs[3]);
    for bad in [
        "",
        "26",
        "2026-1",
        "2026-11.1",
        "2026-11.0",
        "2026-11.02",
        "2026-11.",
        "2026/11",
    ] {
        assert!(bad.parse::<Epoch>().is_err(), "{bad}");
    }
    for bad in ["2026", "a/2026", "/a/2026", "a//2026", "a/b/x"] {
        assert!(bad.parse::<Origin>().is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_changed_byte_of_a_note_is_refused(place in 0_usize..1_000, bit in 0_u8..8) {
        let whole = format!("{TEXT}\n{SIGNED}");
        let mut bytes = whole.clone().into_bytes();
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
        let trusted = [VKEY.parse().unwrap()];
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert!(note::open(&text, &trusted).is_err(), "{}", text);
        }
    }
}
