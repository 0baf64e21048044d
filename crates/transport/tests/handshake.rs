//! DTLS-SRTP with a client of the webrtc family, over a network in memory.

mod peer;

use std::time::Duration;

use peer::*;
use rtc_dtls::cipher_suite::CipherSuiteId;
use schalter_model::{DropReason, SrtpProfile};
use schalter_transport::{
    CryptoProfile, Fingerprint, FingerprintHash, SealError, TransportEvent, TransportFailureKind,
};

fn offering(
    profiles: &[rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile],
) -> PairConfig {
    PairConfig {
        client: ClientConfigOf {
            profiles: profiles.to_vec(),
            ..ClientConfigOf::default()
        },
        ..PairConfig::default()
    }
}

#[expect(clippy::unwrap_used, reason = "part of tests")]
fn assert_media_flows(pair: &mut Pair) {
    let profile = pair.saw_connected().expect("connected");
    assert!(pair.server.media_ready());
    let (mut outbound, mut inbound) = pair.client.media(profile);
    let mut packet = [0_u8; 64];
    packet[0] = 0x80;
    packet[1] = 96;
    packet[12..20].copy_from_slice(b"payload!");
    let mut buffer = packet;
    let len = outbound.seal_rtp(&mut buffer, 20).unwrap();
    let opened = pair
        .server
        .open_rtp(pair.now, pair.path, &mut buffer[..len])
        .unwrap();
    assert_eq!(&buffer[..opened], &packet[..20]);
    let mut buffer = packet;
    let len = pair.server.seal_rtp(&mut buffer, 20).unwrap();
    assert_eq!(len, 20 + pair.server.rtp_overhead());
    let opened = inbound.open_rtp(&mut buffer[..len]).unwrap();
    assert_eq!(&buffer[..opened], &packet[..20]);
}

#[test]
fn gcm_is_chosen_over_the_clients_own_preference() {
    for (offer, chosen) in [
        (&[SHA1_80, GCM_256, GCM_128][..], SrtpProfile::AeadAes128Gcm),
        (&[SHA1_80, GCM_256], SrtpProfile::AeadAes256Gcm),
        (&[SHA1_32, SHA1_80], SrtpProfile::Aes128CmSha1_80),
    ] {
        let mut pair = Pair::introduced(offering(offer));
        pair.connect();
        assert!(pair.run_until_connected(), "{offer:?}");
        assert_eq!(pair.saw_connected(), Some(chosen), "{offer:?}");
        assert_eq!(pair.server.srtp_profile(), Some(chosen));
        assert_media_flows(&mut pair);
    }
}

#[test]
fn the_strict_profile_refuses_sha1_and_says_so() {
    let mut pair = Pair::introduced(PairConfig {
        crypto: CryptoProfile::Bsi,
        ..offering(&[SHA1_80])
    });
    pair.connect();
    pair.exchange();
    assert!(pair.client.failed, "the client gets an alert");
}

#[test]
fn no_common_srtp_profile_is_a_failure_of_its_own() {
    for (crypto, offer) in [
        (CryptoProfile::Bsi, SHA1_80),
        (CryptoProfile::Standard, SHA1_32),
    ] {
        let mut pair = Pair::introduced(PairConfig {
            crypto,
            ..offering(&[offer])
        });
        pair.connect();
        pair.exchange();
        let failed = TransportEvent::Failed(TransportFailureKind::NoSrtpProfile);
        assert!(pair.saw(&failed), "{:?}", pair.events);
        assert!(!pair.server.media_ready());
    }
}

#[test]
fn the_strict_profile_takes_gcm_from_a_client_that_prefers_sha1() {
    let mut pair = Pair::introduced(PairConfig {
        crypto: CryptoProfile::Bsi,
        ..PairConfig::default()
    });
    pair.connect();
    assert!(pair.run_until_connected());
    assert_eq!(pair.saw_connected(), Some(SrtpProfile::AeadAes128Gcm));
}

#[test]
fn a_hello_in_many_datagrams_is_put_together() {
    let mut pair = Pair::introduced(PairConfig {
        client: ClientConfigOf {
            mtu: 60,
            ..ClientConfigOf::default()
        },
        ..PairConfig::default()
    });
    pair.connect();
    assert!(pair.run_until_connected(), "{:?}", pair.drops);
    assert_media_flows(&mut pair);
}

fn with_suites(suites: &[CipherSuiteId]) -> PairConfig {
    PairConfig {
        client: ClientConfigOf {
            suites: suites.to_vec(),
            ..ClientConfigOf::default()
        },
        ..PairConfig::default()
    }
}

#[test]
fn the_certificate_is_rsa_only_for_clients_that_take_nothing_else() {
    let [ecdsa, rsa] = IDENTITY.fingerprints();
    for (suites, shown) in [
        (
            &[CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256][..],
            &rsa,
        ),
        (
            &[CipherSuiteId::Tls_Ecdhe_Rsa_With_ChaCha20_Poly1305_Sha256],
            &rsa,
        ),
        (
            &[CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256],
            &ecdsa,
        ),
        (
            &[
                CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
                CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            ],
            &ecdsa,
        ),
    ] {
        let mut pair = Pair::introduced(with_suites(suites));
        pair.connect();
        assert!(pair.run_until_connected(), "{suites:?}");
        assert!(
            pair.run(Duration::from_secs(5), |pair| pair.client.complete),
            "{suites:?}"
        );
        assert_eq!(
            pair.client.server_fingerprint().as_ref(),
            Some(shown),
            "{suites:?}"
        );
        assert_media_flows(&mut pair);
    }
}

#[test]
fn the_strict_profile_has_no_chacha20() {
    let chacha = [CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256];
    let mut standard = Pair::introduced(with_suites(&chacha));
    standard.connect();
    assert!(standard.run_until_connected());
    let mut strict = Pair::introduced(PairConfig {
        crypto: CryptoProfile::Bsi,
        ..with_suites(&chacha)
    });
    strict.connect();
    strict.exchange();
    assert!(
        strict.saw(&TransportEvent::Failed(TransportFailureKind::Dtls)),
        "{:?}",
        strict.events
    );
}

/// Its RSA certificate would be too short.
#[test]
fn the_strict_profile_refuses_clients_that_take_rsa_only() {
    let mut pair = Pair::introduced(PairConfig {
        crypto: CryptoProfile::Bsi,
        ..with_suites(&[CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256])
    });
    pair.connect();
    pair.exchange();
    assert!(
        pair.saw(&TransportEvent::Failed(TransportFailureKind::Dtls)),
        "{:?}",
        pair.events
    );
}

#[test]
fn another_certificate_than_the_announced_one_is_refused() {
    let mut pair = Pair::new(PairConfig::default());
    pair.introduce(vec![Fingerprint {
        hash: FingerprintHash::Sha256,
        digest: vec![1; 32],
    }]);
    pair.connect();
    let failed = TransportEvent::Failed(TransportFailureKind::FingerprintMismatch);
    assert!(pair.run(Duration::from_secs(10), |pair| pair.saw(&failed)));
    assert_eq!(pair.saw_connected(), None);
    assert_eq!(
        pair.server.seal_rtp(&mut [0; 64], 20),
        Err(SealError::NotReady)
    );
    assert!(pair.client.closed, "the client is told");
}

#[test]
fn a_finished_handshake_waits_for_the_fingerprint() {
    let mut pair = Pair::new(PairConfig::default());
    pair.connect();
    assert!(pair.run(Duration::from_secs(5), |pair| pair.client.complete));
    assert!(!pair.run(Duration::from_secs(5), |pair| {
        pair.saw_connected().is_some()
    }));
    assert!(!pair.server.media_ready());
    assert_eq!(
        pair.server.open_rtp(pair.now, pair.path, &mut [0x80; 64]),
        Err(DropReason::SrtpBeforeKeys)
    );
    let fingerprint = pair.client.fingerprint();
    pair.introduce(vec![fingerprint]);
    pair.exchange();
    assert_media_flows(&mut pair);
    assert!(pair.client.established, "its INIT was held, too");
}

#[test]
fn a_new_fingerprint_that_does_not_fit_ends_the_session() {
    let mut pair = Pair::introduced(PairConfig::default());
    pair.connect();
    assert!(pair.run_until_connected());
    let fingerprint = pair.client.fingerprint();
    pair.introduce(vec![fingerprint]);
    pair.exchange();
    assert!(pair.server.media_ready());
    pair.introduce(vec![Fingerprint {
        hash: FingerprintHash::Sha256,
        digest: vec![1; 32],
    }]);
    pair.exchange();
    assert!(pair.saw(&TransportEvent::Failed(
        TransportFailureKind::FingerprintMismatch
    )));
    assert!(!pair.server.media_ready());
}

#[test]
fn the_handshake_survives_the_loss_of_any_one_datagram() {
    for direction in [Direction::ToServer, Direction::ToClient] {
        for lost in 1..=8 {
            let mut pair = Pair::introduced(PairConfig::default());
            pair.loss = Box::new(move |to, number| to == direction && number == lost);
            pair.connect();
            assert!(pair.run_until_connected(), "{direction:?} {lost}");
            assert!(
                pair.run(Duration::from_secs(20), |pair| pair.client.complete),
                "{direction:?} {lost}"
            );
            assert_media_flows(&mut pair);
        }
    }
}

#[test]
fn a_handshake_that_never_ends_fails_in_time() {
    let mut pair = Pair::introduced(PairConfig::default());
    pair.loss = Box::new(|to, number| to == Direction::ToServer && number > 1);
    pair.connect();
    let failed = TransportEvent::Failed(TransportFailureKind::Dtls);
    assert!(pair.run(Duration::from_secs(31), |pair| pair.saw(&failed)));
}

#[test]
fn a_client_that_changes_its_address_keeps_its_session() {
    let mut pair = Pair::introduced(PairConfig::default());
    pair.connect();
    assert!(pair.run_until_connected());
    pair.run_until_sctp();
    pair.path = path(2000);
    let mut forged = [0x80; 64];
    assert_eq!(
        pair.server.open_rtp(pair.now, pair.path, &mut forged),
        Err(DropReason::SrtpAuth)
    );
    assert!(!pair.server.has_challenge(), "nobody is asked for that");
    pair.check();
    pair.exchange();
    assert!(pair.saw(&TransportEvent::PathChanged));
    assert_media_flows(&mut pair);
    let config = schalter_transport::DataChannelConfig {
        label: "after".into(),
        protocol: "".into(),
        ordered: true,
        reliability: schalter_transport::Reliability::Reliable,
    };
    pair.client_opens(0, &config);
    assert!(pair.server.channel_by_label("after").is_some());
    assert_eq!(pair.sent_to, Some(path(2000)));
}

#[test]
fn dtls_from_a_path_without_a_check_is_dropped() {
    let mut pair = Pair::introduced(PairConfig::default());
    pair.connect();
    pair.path = path(3000);
    pair.exchange();
    assert!(!pair.drops.is_empty());
    assert!(
        pair.drops
            .iter()
            .all(|reason| *reason == DropReason::DtlsBeforeIce)
    );
}

#[test]
fn closing_tells_the_client() {
    let mut pair = Pair::introduced(PairConfig::default());
    pair.connect();
    assert!(pair.run_until_connected());
    pair.server.close(pair.now);
    pair.exchange();
    assert!(pair.client.closed);
    assert!(!pair.server.media_ready());
}

#[test]
fn a_client_that_closes_is_reported_once() {
    let mut pair = Pair::introduced(PairConfig::default());
    pair.connect();
    assert!(pair.run_until_connected());
    let now = pair.instant();
    pair.client.dtls.close(now).unwrap();
    pair.exchange();
    let closed = pair
        .events
        .iter()
        .filter(|e| **e == TransportEvent::Closed)
        .count();
    assert_eq!(closed, 1, "{:?}", pair.events);
}

#[test]
fn plaintext_records_cannot_disturb_an_established_session() {
    let mut pair = Pair::introduced(PairConfig::default());
    pair.connect();
    assert!(pair.run_until_connected());
    for content_type in [20, 21, 22, 23] {
        let forged = [
            content_type,
            0xfe,
            0xfd,
            0,
            0,
            0,
            0,
            0,
            0,
            9,
            9,
            0,
            2,
            2,
            40,
        ];
        let result = pair.server.on_dtls(pair.now, pair.path, &forged);
        assert_eq!(result, Err(DropReason::DtlsMalformed), "{content_type}");
    }
    pair.exchange();
    assert_media_flows(&mut pair);
}
