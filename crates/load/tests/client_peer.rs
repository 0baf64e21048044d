//! The client's handshakes against the server's transport, in memory.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should stop there"
)]

#[expect(dead_code, reason = "here the test itself is the network")]
mod relay;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use relay::Relay;
use schalter_load::client::{
    Certificate, ClientConfig, ClientEvent, ClientPeer, IceCredentials, IceRole, Incoming,
};
use schalter_model::{Path, SrtpProfile, Time};
use schalter_rtp::RtpHeader;
use schalter_transport::Fingerprint;

fn client_ice() -> IceCredentials {
    IceCredentials {
        ufrag: "client".to_owned(),
        password: "another-password-of-22".to_owned(),
    }
}

struct Pair {
    relay: Relay,
    client: ClientPeer,
    events: Vec<ClientEvent>,
    candidate: SocketAddr,
}

fn pair(certificate: &Arc<Certificate>, profile: SrtpProfile, expect: Option<Fingerprint>) -> Pair {
    let relay = Relay::new(1, certificate.fingerprint());
    let candidate = relay.address(0);
    let config = ClientConfig {
        role: IceRole::Controlling,
        local: client_ice(),
        remote: relay.sides[0].ice.clone(),
        candidate,
        fingerprints: vec![expect.unwrap_or_else(|| relay.fingerprint.clone())],
        profile,
    };
    let client = ClientPeer::new(relay.epoch, config, certificate).unwrap();
    Pair {
        relay,
        client,
        events: Vec::new(),
        candidate,
    }
}

impl Pair {
    /// Lets both talk until neither has anything to say and no timer is due soon.
    fn settle(&mut self) {
        let path = Path::udp("127.0.0.1:1".parse().unwrap(), None);
        let transport = &mut self.relay.sides[0].transport;
        let now = Instant::now();
        let time = Time::ZERO + now.duration_since(self.relay.epoch);
        self.client.on_timeout(now);
        let mut out = [0; 2_048];
        loop {
            let mut quiet = true;
            while let Some(datagram) = self.client.poll_transmit() {
                quiet = false;
                if datagram[0] < 4 {
                    transport.on_stun(time, path, &datagram).unwrap();
                } else {
                    // What a handshake makes of a datagram that it doesn't want is not this test's matter.
                    let _ = transport.on_dtls(time, path, &datagram);
                }
            }
            while let Some((_, len)) = transport.poll_transmit(time, &mut out) {
                quiet = false;
                self.client
                    .on_datagram(now, self.candidate, &mut out[..len]);
            }
            while let Some(event) = self.client.poll_event() {
                self.events.push(event);
            }
            if quiet {
                return;
            }
        }
    }
}

#[test]
fn media_flows_both_ways_under_every_profile() {
    let certificate = Certificate::generate().unwrap();
    for profile in SrtpProfile::ALL {
        let mut pair = pair(&certificate, profile, None);
        pair.settle();
        assert_eq!(pair.events, [ClientEvent::Connected], "{profile:?}");
        let transport = &mut pair.relay.sides[0].transport;
        assert_eq!(transport.srtp_profile(), Some(profile));
        let mut packet = [7; 300];
        let header = RtpHeader {
            ssrc: 9,
            sequence: 1,
            ..RtpHeader::default()
        };
        header.write(&[], &mut packet).unwrap();
        let plain = packet;

        let sealed = pair.client.seal_rtp(&mut packet, 200).unwrap();
        let path = Path::udp("127.0.0.1:1".parse().unwrap(), None);
        let time = Time::ZERO + pair.relay.epoch.elapsed();
        let opened = transport
            .open_rtp(time, path, &mut packet[..sealed])
            .unwrap();
        assert_eq!(packet[..opened], plain[..200]);

        packet = plain;
        let sealed = transport.seal_rtp(&mut packet, 200).unwrap();
        let now = Instant::now();
        let incoming = pair
            .client
            .on_datagram(now, pair.candidate, &mut packet[..sealed]);
        assert_eq!(incoming, Incoming::Rtp(200));
        assert_eq!(packet[..200], plain[..200]);
    }
}

#[test]
fn a_server_with_another_certificate_is_refused() {
    let certificate = Certificate::generate().unwrap();
    let other = certificate.fingerprint().clone();
    let mut pair = pair(&certificate, SrtpProfile::AeadAes128Gcm, Some(other));
    pair.settle();
    assert!(
        matches!(pair.events[..], [ClientEvent::Failed(_)]),
        "{:?}",
        pair.events
    );
    assert!(!pair.client.connected());
}

#[test]
fn goodbyes_of_the_server_are_heard() {
    let certificate = Certificate::generate().unwrap();
    let mut pair = pair(&certificate, SrtpProfile::AeadAes128Gcm, None);
    pair.settle();
    let time = Time::ZERO + pair.relay.epoch.elapsed();
    pair.relay.sides[0].transport.close(time);
    pair.settle();
    assert_eq!(pair.events, [ClientEvent::Connected, ClientEvent::Closed]);
}

#[test]
fn media_before_the_handshake_is_dropped() {
    let certificate = Certificate::generate().unwrap();
    let mut pair = pair(&certificate, SrtpProfile::AeadAes128Gcm, None);
    let mut packet = [0x80; 100];
    let incoming = pair
        .client
        .on_datagram(Instant::now(), pair.candidate, &mut packet);
    assert_eq!(incoming, Incoming::Dropped);
    assert_eq!(pair.client.seal_rtp(&mut packet, 50), None);
}
