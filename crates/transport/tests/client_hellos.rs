//! First flights as real clients send them, recorded on 2026-11-27 in calls with this server: what they offer, and that
//! each of them sets a handshake going. They are the seeds of the fuzz target `client_hello`, too.

mod peer;

use peer::{Pair, PairConfig};
use schalter_model::SrtpProfile;
use schalter_transport::ClientHello;

/// Headers of a record and of a handshake message.
const BODY: usize = 13 + 12;

struct Recorded {
    client: &'static str,
    datagrams: &'static [&'static [u8]],
    profiles: &'static [SrtpProfile],
    dtls13: bool,
}

const ALL: &[SrtpProfile] = &SrtpProfile::ALL;
const RECORDED: [Recorded; 4] = [
    Recorded {
        client: "Chromium 156",
        datagrams: &[
            include_bytes!("data/chromium-hello-1.bin"),
            include_bytes!("data/chromium-hello-2.bin"),
        ],
        profiles: ALL,
        dtls13: true,
    },
    Recorded {
        client: "Firefox ESR 153",
        datagrams: &[
            include_bytes!("data/firefox-hello-1.bin"),
            include_bytes!("data/firefox-hello-2.bin"),
        ],
        profiles: ALL,
        dtls13: true,
    },
    Recorded {
        client: "GStreamer 1.22.0",
        datagrams: &[
            include_bytes!("data/gstreamer-hello-1.bin"),
            include_bytes!("data/gstreamer-hello-2.bin"),
        ],
        profiles: &[SrtpProfile::Aes128CmSha1_80],
        dtls13: false,
    },
    Recorded {
        client: "rtc-dtls 0.21.1, the client of these tests",
        datagrams: &[include_bytes!("data/rtc-dtls-hello-1.bin")],
        profiles: ALL,
        dtls13: false,
    },
];

#[test]
fn real_clients_offer_what_the_choice_of_library_was_based_on() {
    for recorded in RECORDED {
        let body: Vec<u8> = recorded
            .datagrams
            .iter()
            .flat_map(|datagram| &datagram[BODY..])
            .copied()
            .collect();
        let hello = ClientHello::parse(&body).expect(recorded.client);
        let profiles: Vec<_> = SrtpProfile::ALL
            .into_iter()
            .filter(|profile| hello.offers(*profile))
            .collect();
        assert_eq!(profiles, recorded.profiles, "{}", recorded.client);
        assert_eq!(hello.offers_dtls13, recorded.dtls13, "{}", recorded.client);
        assert!(hello.takes_ecdsa(), "{}", recorded.client);
        assert!(hello.takes_rsa(), "{}", recorded.client);
    }
}

#[test]
fn a_recorded_first_flight_is_answered_in_whatever_order_it_comes() {
    const HELLO_VERIFY_REQUEST: u8 = 3;
    for recorded in RECORDED {
        for reverse in [false, true] {
            let mut pair = Pair::introduced(PairConfig::default());
            pair.check();
            let mut datagrams = recorded.datagrams.to_vec();
            if reverse {
                datagrams.reverse();
            }
            for datagram in datagrams {
                let taken = pair.server.on_dtls(pair.now, pair.path, datagram);
                assert_eq!(taken, Ok(()), "{}", recorded.client);
            }
            let mut out = [0; 1500];
            let answers: Vec<u8> = std::iter::from_fn(|| {
                let (_, len) = pair.server.poll_transmit(pair.now, &mut out)?;
                Some(out[..len].to_vec())
            })
            .filter(|datagram| (20..64).contains(&datagram[0]))
            .map(|datagram| datagram[13])
            .collect();
            assert_eq!(answers, [HELLO_VERIFY_REQUEST], "{}", recorded.client);
        }
    }
}
