//! Twenty calls that have nothing but the port for TLS, signaling and media alike, while the certificate on it is replaced again and
//! again.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schalter_load::call::{Call, CallPlan, Generator, PeerOptions};
use schalter_load::feed::FeedConfig;
use schalter_load::livekit::LiveKit;
use schalter_load::receive::Feedback;
use schalter_load::target::Target;
use schalter_load::tunnel::{Connect, Tunnel, TurnLogin, Way, Wire};
use schalter_model::SrtpProfile;
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use crate::authority::{Authority, connect};
use crate::server::{PATIENCE, Server, folder};

/// As many as the issue names.
const CALLS: u32 = 20;
const PEOPLE: u64 = 2 * CALLS as u64;
/// Certificates that take each other's place, after the one of the start.
const REPLACEMENTS: usize = 3;
/// How long is measured; all replacements have to be within it.
const SPAN: Duration = Duration::from_secs(10);
/// Datagrams each way between two replacements: several from and to everybody.
const BETWEEN: u64 = 1_000;
/// Sound as in any call, and a small picture: it is about whether anything is lost, not about how much passes.
const FEED: FeedConfig = FeedConfig {
    video_packets: 15,
    video_bytes: 600,
    video_bursts: 15,
    audio_packets: 50,
    audio_bytes: 120,
};

/// A port without TLS whose connections go on over TLS: signaling for clients that trust no test's authority.
async fn plain_door(client: TlsConnector, port: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let client = client.clone();
            tokio::spawn(async move {
                if let Ok(mut tls) = connect(&client, port).await {
                    // How it ends the client sees.
                    let _ = tokio::io::copy_bidirectional(&mut tcp, &mut tls).await;
                }
            });
        }
    });
    own
}

/// Credentials for TURN, as every participant gets them.
async fn credentials(server: &Server) -> Way {
    let (_socket, join) = server.join("before", "somebody").await.unwrap();
    let turn = join
        .ice_servers
        .iter()
        .find(|it| it.urls.iter().any(|url| url.starts_with("turns:")));
    let turn = turn.expect("TURN over TLS");
    Way::Turn(TurnLogin {
        user: turn.username.clone(),
        password: turn.credential.clone(),
    })
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_calls_on_the_port_for_tls_lose_nothing_while_the_certificate_is_replaced() {
    let authority = Authority::new();
    let folder = folder("replaced");
    let keys = authority.issue(&folder);
    // The address that clients are told is the tunnel's: nothing of them reaches a media port by itself.
    let udp = UdpSocket::bind("127.0.0.2:0").unwrap();
    let port = udp.local_addr().unwrap().port();
    let rtc = format!(
        "rtc: {{udp_port: {port}, tcp_port: 0, addresses: [{{127.0.0.1: 127.0.0.2}}], pin_workers: false}}"
    );
    let mut server = Server::start_in(&folder, &[], &format!("tls: {{{keys}, port: 0}}\n{rtc}\n"));
    let secure = server.port;
    let plain = server.ready.rsplit(':').next().unwrap().trim();
    server.port = plain.parse().unwrap();

    let client = authority.client(None);
    let ways = vec![Way::IceTcp, credentials(&server).await];
    let dialer = client.clone();
    let dial: Arc<Connect> = Arc::new(move || {
        let client = dialer.clone();
        Box::pin(async move {
            let tls = connect(&client, secure).await?;
            // As browsers and this server: nothing waits to be sent together with more.
            tls.get_ref().0.set_nodelay(true)?;
            Ok(Box::new(tls) as Box<dyn Wire>)
        })
    });
    let tunnel = Tunnel::start(udp, ways, dial).unwrap();
    let door = plain_door(client.clone(), secure).await;
    let target = Target::LiveKit(LiveKit {
        url: format!("ws://127.0.0.1:{door}"),
        ..server.livekit()
    });
    let mut generator = Generator::start(PeerOptions {
        local: std::net::Ipv4Addr::LOCALHOST.into(),
        profile: SrtpProfile::AeadAes128Gcm,
        feedback: Feedback::default(),
        core: None,
    })
    .unwrap();
    let plan = CallPlan {
        rooms: CALLS,
        publishers: 2,
        subscribers: 0,
        mutual: true,
        feed: FEED,
        name: "replaced".to_owned(),
    };
    let call = Call::start(&target, &mut generator, plan).await.unwrap();

    let certificate = async || {
        let stream = connect(&client, secure).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let begun = Instant::now();
    let replace = async {
        let mut seen = vec![certificate().await];
        for _ in 0..REPLACEMENTS {
            authority.issue(&server.folder);
            let (status, _, told) = server.admin("POST /v1/reload").await;
            assert_eq!(status, 200, "{told}");
            let fresh = certificate().await;
            assert!(!seen.contains(&fresh), "another one is shown at once");
            seen.push(fresh);
            let before = tunnel.passed();
            until("media goes on", || {
                let now = tunnel.passed();
                now.to_server > before.to_server + BETWEEN
                    && now.from_server > before.from_server + BETWEEN
            })
            .await;
        }
        begun.elapsed()
    };
    let measured = call.measure(&mut generator, SPAN, None);
    let (report, replaced) = tokio::join!(measured, replace);
    let report = report.unwrap();
    assert!(
        replaced < SPAN,
        "replaced after the measurement: {replaced:?}"
    );
    let passed = tunnel.passed();
    println!(
        "{REPLACEMENTS} certificates in {replaced:?}: sound {} of {}, pictures {} of {}, {passed:?}",
        report.audio.delivered,
        report.audio.expected,
        report.video.delivered,
        report.video.expected
    );
    assert_eq!(
        (report.lost_peers, report.lost_signaling),
        (0, 0),
        "{report:?}"
    );
    for (delivery, packets) in [
        (&report.audio, FEED.audio_packets),
        (&report.video, FEED.video_packets),
    ] {
        // Nine of ten at least were sent at all: this machine may be a little late.
        let least = PEOPLE * u64::from(packets) * SPAN.as_secs() * 9 / 10;
        assert!(delivery.expected >= least, "{report:?}");
        assert_eq!(delivery.expected, delivery.delivered, "{report:?}");
    }
    assert_eq!(
        (passed.opened, passed.ended, passed.dropped),
        (PEOPLE, 0, 0),
        "each has one connection, the one it began with"
    );
    for protocol in ["ice_tcp", "turn"] {
        let name = format!("schalter_streams_accepted_total{{protocol=\"{protocol}\"}}");
        assert_eq!(server.metric(&name).await, f64::from(CALLS), "{protocol}");
    }
    call.end(&mut generator).await;
}
