//! Pages and signaling over TLS of the server's own: with which certificate, what is negotiated, and what half-open
//! connections do to calls.

use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{SignalRequest, SignalResponse};
use prost::Message as _;
use rcgen::{KeyPair, date_time_ymd};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use schalter_load::call::{Call, CallPlan, Generator, PeerOptions};
use schalter_load::feed::FeedConfig;
use schalter_load::livekit::{Grant, mint};
use schalter_load::receive::Feedback;
use schalter_load::target::Target;
use schalter_model::SrtpProfile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::authority::{Authority, NAME, connect, files};
use crate::server::{KEY, PATIENCE, SECRET, Server, command, folder};

/// A server in a folder with a certificate of the authority.
fn start(name: &str, authority: &Authority, more: &str) -> Server {
    let folder = folder(name);
    let keys = authority.issue(&folder);
    Server::start_in(&folder, &[], &format!("tls: {{{keys}}}\n{more}"))
}

async fn get(mut stream: TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// The certificate that a connection was shown.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

struct Signaling(WebSocketStream<TlsStream<TcpStream>>);

impl Signaling {
    async fn join(stream: TlsStream<TcpStream>, identity: &str) -> Self {
        let room = "tls";
        let token = mint(KEY, SECRET, &Grant { room, identity }).unwrap();
        let url = format!("wss://{NAME}/rtc?access_token={token}");
        let (stream, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let mut own = Self(stream);
        own.until(|message| matches!(message, Response::Join(_)))
            .await;
        own
    }

    async fn until(&mut self, wanted: impl Fn(&Response) -> bool) {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.0.next()).await;
            let frame = frame
                .expect("a frame in time")
                .expect("not closed")
                .unwrap();
            if let Message::Binary(bytes) = frame
                && let Some(message) = SignalResponse::decode(bytes).unwrap().message
                && wanted(&message)
            {
                return;
            }
        }
    }

    async fn answers(&mut self) {
        let request = SignalRequest {
            message: Some(Request::Ping(1)),
        };
        let bytes = request.encode_to_vec();
        self.0.send(Message::Binary(bytes.into())).await.unwrap();
        self.until(|message| matches!(message, Response::Pong(_)))
            .await;
    }
}

#[tokio::test]
async fn pages_and_signaling_come_over_tls() {
    let authority = Authority::new();
    let server = start("tls", &authority, "");
    assert!(
        server.ready.contains(&format!("https://{NAME}:")),
        "{}",
        server.ready
    );
    let stream = authority.connect(server.port).await;
    let (_, session) = stream.get_ref();
    assert_eq!(
        session.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    let page = get(stream, "/").await;
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    let head = page.to_ascii_lowercase();
    assert!(
        head.contains("strict-transport-security: max-age=31536000\r\n"),
        "{head}"
    );
    Signaling::join(authority.connect(server.port).await, "a")
        .await
        .answers()
        .await;
    // The authority's certificates are good for centuries.
    let left = server
        .metric("schalter_tls_certificate_expires_seconds")
        .await;
    assert!(left > 1e9, "{left}");
    // Without TLS nothing is to be had but advice.
    assert_eq!(server.get("/").await.0, 400);
}

#[tokio::test]
async fn tls_can_have_a_port_beside_the_one_for_an_http_balancer() {
    let authority = Authority::new();
    let folder = folder("tls-port");
    let keys = authority.issue(&folder);
    let config = format!("tls: {{{keys}, port: 0, hsts_seconds: 0}}\n");
    let server = Server::start_in(&folder, &[], &config);
    // The first address is that of TLS, the second of the pages' port.
    let plain = server.ready.rsplit(':').next().unwrap().trim();
    let plain: u16 = plain.parse().unwrap();
    assert_ne!(plain, server.port);
    let page = get(authority.connect(server.port).await, "/")
        .await
        .to_ascii_lowercase();
    assert!(page.starts_with("http/1.1 200 "), "{page}");
    assert!(!page.contains("strict-transport-security"), "{page}");
    let mut stream = TcpStream::connect(("127.0.0.1", plain)).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
}

async fn reload(server: &Server) -> (u16, serde_json::Value) {
    let (status, _, body) = server.admin("POST /v1/reload").await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn another_certificate_is_shown_after_a_reload_and_connections_go_on() {
    let authority = Authority::new();
    let server = start("tls-reload", &authority, "");
    let first = authority.connect(server.port).await;
    let old = shown(&first);
    // As many as the issue names, each over TLS of its own.
    let mut calls = vec![Signaling::join(first, "p0").await];
    for n in 1..20 {
        let stream = authority.connect(server.port).await;
        calls.push(Signaling::join(stream, &format!("p{n}")).await);
    }
    // Nothing new, nothing told.
    let (status, told) = reload(&server).await;
    assert_eq!(
        (status, &told["certificate"]),
        (200, &false.into()),
        "{told}"
    );

    authority.issue(&server.folder);
    let (status, told) = reload(&server).await;
    assert_eq!(
        (status, &told["certificate"]),
        (200, &true.into()),
        "{told}"
    );
    assert_eq!(told["needs_restart"], serde_json::json!([]));
    let new = shown(&authority.connect(server.port).await);
    assert_ne!(old, new);
    for call in &mut calls {
        call.answers().await;
    }

    // A key of another certificate: the one in force stays, and SIGHUP tells why.
    let (_, key_file) = files(&server.folder);
    std::fs::write(&key_file, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let (status, told) = reload(&server).await;
    let detail = told["detail"].as_str().unwrap();
    assert_eq!(status, 422);
    assert!(
        detail.contains("tls.key_file") && detail.contains("does not fit"),
        "{detail}"
    );
    server.signal(rustix::process::Signal::HUP);
    let deadline = std::time::Instant::now() + PATIENCE;
    while !server
        .log()
        .contains("keys and certificate stay as they were")
    {
        assert!(std::time::Instant::now() < deadline, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(shown(&authority.connect(server.port).await), new);

    // One that expired long ago is taken, since it is what the operator says, and warned of.
    let key = KeyPair::generate().unwrap();
    authority.issue_for(&server.folder, &key, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    assert_eq!(reload(&server).await.0, 200);
    assert!(
        server.log().contains("the certificate has expired"),
        "{}",
        server.log()
    );
    let left = server
        .metric("schalter_tls_certificate_expires_seconds")
        .await;
    assert!(left < 0.0, "{left}");
    for call in &mut calls {
        call.answers().await;
    }
}

/// The host of TURN over TLS, as somebody who joins now is told.
async fn told_host(server: &Server, identity: &str) -> String {
    let (_socket, join) = server.join("told", identity).await.unwrap();
    let mut urls = join.ice_servers.iter().flat_map(|it| &it.urls);
    let url = urls.find(|url| url.starts_with("turns:"));
    let url = url.expect("TURN over TLS");
    url.split(':').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn who_joins_after_a_change_of_the_certificates_name_is_told_turn_under_the_new_one() {
    let authority = Authority::new();
    let renamed = |server: &Server| {
        let key = KeyPair::generate().unwrap();
        authority.issue_for(&server.folder, &key, |params| {
            let name = "renamed.test".to_owned().try_into().unwrap();
            params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
        });
    };
    for (folder_name, turn, before, after) in [
        ("tls-renamed", "", NAME, "renamed.test"),
        // What the operator names stays.
        (
            "tls-named",
            "turn: {domain: turn.test}\n",
            "turn.test",
            "turn.test",
        ),
    ] {
        let folder = folder(folder_name);
        let keys = authority.issue(&folder);
        let config = format!("tls: {{{keys}, port: 0}}\n{turn}");
        let mut server = Server::start_in(&folder, &[], &config);
        let plain = server.ready.rsplit(':').next().unwrap().trim();
        server.port = plain.parse().unwrap();
        assert_eq!(told_host(&server, "before").await, before);
        renamed(&server);
        let (status, told) = reload(&server).await;
        assert_eq!(
            (status, &told["certificate"], &told["needs_restart"]),
            (200, &true.into(), &serde_json::json!([])),
            "{told}"
        );
        assert_eq!(told_host(&server, "after").await, after);
        let said = server.log().contains("another name for TURN over TLS");
        assert_eq!(said, before != after, "{}", server.log());
    }
}

/// Exit code and error output of a start that must not succeed.
fn refused(folder: &Path, config: &str) -> String {
    let output = command(folder, &[], config).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    text
}

#[test]
fn certificates_that_are_no_good_are_named_with_key_and_line() {
    let authority = Authority::new();
    let folder = folder("tls-bad");
    let (chain, key) = files(&folder);
    let config = format!(
        "# TLS\ntls:\n  cert_file: {}\n  key_file: {}\n",
        chain.display(),
        key.display()
    );
    let expect = |words: &[&str]| {
        let text = refused(&folder, &config);
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    };
    expect(&["tls.cert_file", "(line 3)", "chain.pem: No such file"]);
    authority.issue(&folder);
    let good = std::fs::read(&chain).unwrap();
    std::fs::write(&chain, "no PEM").unwrap();
    expect(&["tls.cert_file", "(line 3)", "no certificate in it"]);
    std::fs::write(&chain, &good).unwrap();
    std::fs::write(&key, "no PEM").unwrap();
    expect(&["tls.key_file", "(line 4)", "no private key in it"]);
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    expect(&["tls.key_file", "(line 4)", "does not fit"]);
    std::fs::remove_file(&key).unwrap();
    expect(&["tls.key_file", "(line 4)", "key.pem: No such file"]);
    let text = refused(&folder, "tls: {cert_file: x}\n");
    assert!(text.contains("tls.key_file"), "{text}");
}

fn with(change: impl FnOnce(&mut CryptoProvider)) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    change(&mut provider);
    provider
}

#[tokio::test]
async fn the_strict_profile_takes_aes_gcm_and_nist_curves_only() {
    use aws_lc_rs::{cipher_suite as suite, kx_group as group};
    let authority = Authority::new();
    let standard = start("tls-standard", &authority, "");
    let strict = start("tls-bsi", &authority, "crypto_profile: bsi\n");
    let cases = [
        (with(|_| {}), true),
        (with(|p| p.kx_groups = vec![group::X25519]), false),
        (with(|p| p.kx_groups = vec![group::SECP384R1]), true),
        (
            with(|p| p.cipher_suites = vec![suite::TLS13_CHACHA20_POLY1305_SHA256]),
            false,
        ),
        (
            with(|p| {
                p.cipher_suites = vec![suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256];
            }),
            false,
        ),
        (
            with(|p| p.cipher_suites = vec![suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]),
            true,
        ),
    ];
    for (index, (provider, taken)) in cases.into_iter().enumerate() {
        let client = authority.client(Some(provider));
        assert!(connect(&client, standard.port).await.is_ok(), "{index}");
        assert_eq!(
            connect(&client, strict.port).await.is_ok(),
            taken,
            "{index}"
        );
    }
}

#[test]
fn the_strict_profile_refuses_short_rsa_keys() {
    let authority = Authority::new();
    let folder = folder("tls-rsa");
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    let keys = authority.issue_for(&folder, &rsa.unwrap(), |_| {});
    let text = refused(&folder, &format!("crypto_profile: bsi\ntls: {{{keys}}}\n"));
    assert!(text.contains("tls.cert_file"), "{text}");
    assert!(text.contains("an RSA key of 2048 bits"), "{text}");
}

/// Half-open connections of the test: as many as the issue names.
const HALF_OPEN: usize = 2_000;
/// What they may cost the server, MiB: rustls' state before a handshake and a task for each that is let in.
const HALF_OPEN_MIB: f64 = 48.0;

#[tokio::test]
async fn two_thousand_half_open_connections_disturb_no_call_and_their_memory_is_bounded() {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: files.maximum,
        ..files
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let authority = Authority::new();
    let folder = folder("tls-flood");
    let keys = authority.issue(&folder);
    // All of them come from here: what is bounded for one address has a test of its own.
    let limits = "limits: {half_open_connections: 500, unproven_streams_per_address: 500, request_seconds: 60}\n";
    let config = format!("tls: {{{keys}, port: 0}}\n{limits}");
    let mut server = Server::start_in(&folder, &[], &config);
    let tls_port = server.port;
    let plain = server.ready.rsplit(':').next().unwrap().trim();
    server.port = plain.parse().unwrap();
    let mut generator = Generator::start(PeerOptions {
        local: std::net::Ipv4Addr::LOCALHOST.into(),
        profile: SrtpProfile::AeadAes128Gcm,
        feedback: Feedback::default(),
        core: None,
    })
    .unwrap();
    let plan = CallPlan {
        rooms: 1,
        publishers: 1,
        subscribers: 1,
        mutual: false,
        feed: FeedConfig::default(),
        name: "flood".to_owned(),
    };
    let target = Target::LiveKit(server.livekit());
    let call = Call::start(&target, &mut generator, plan).await.unwrap();
    let mut signaling = Signaling::join(authority.connect(tls_port).await, "over-tls").await;
    let before = server.metric("process_resident_memory_bytes").await;
    let flood = async {
        let mut open = Vec::new();
        for n in 0..HALF_OPEN {
            let mut tcp = TcpStream::connect(("127.0.0.1", tls_port)).await.unwrap();
            // Every second one has begun its handshake: the head of a ClientHello that never comes.
            if n % 2 == 0 {
                let _ = tcp
                    .write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3])
                    .await;
            }
            open.push(tcp);
        }
        server
            .until_metric("schalter_half_open_connections", 500.0)
            .await;
        let closed = "schalter_connections_closed_total{reason=\"half_open_limit\"}";
        server.until_metric(closed, (HALF_OPEN - 500) as f64).await;
        let grown = server.metric("process_resident_memory_bytes").await - before;
        // Whoever means well gets through meanwhile.
        let page = get(authority.connect(tls_port).await, "/").await;
        assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
        signaling.answers().await;
        (grown / 1_048_576.0, open)
    };
    let measured = call.measure(&mut generator, Duration::from_secs(4), None);
    let ((grown, _open), report) = tokio::join!(flood, measured);
    let report = report.unwrap();
    println!("half-open connections: grown = {grown:.1} MiB");
    assert!(grown < HALF_OPEN_MIB, "{grown} MiB");
    assert_eq!((report.lost_peers, report.lost_signaling), (0, 0));
    for delivery in [&report.audio, &report.video] {
        assert!(delivery.expected > 0);
        assert_eq!(delivery.expected, delivery.delivered, "{report:?}");
    }
    call.end(&mut generator).await;
}

#[test]
fn the_generated_certificate_and_a_configured_one_exclude_each_other() {
    let authority = Authority::new();
    let folder = folder("tls-lan");
    let keys = authority.issue(&folder);
    let mut command = command(&folder, &["--lan"], &format!("tls: {{{keys}}}\n"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("--lan has a certificate of its own"),
        "{text}"
    );
}
