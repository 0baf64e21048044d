//! Bounds, deadlines and what is told apart, over real sockets.

use std::io::Read;
use std::sync::Mutex;

use rcgen::KeyPair;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use schalter_model::{ShardId, Ufrag};
use schalter_net::AcceptedStream;
use schalter_stun::{BINDING, StunClass, StunWriter, attribute};
use schalter_transport::CryptoProfile;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::{Certificate, Tls};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(10);

type Adopted = Arc<Mutex<Vec<(ShardId, AcceptedStream)>>>;

struct Rig {
    front: Front,
    address: SocketAddr,
    adopted: Adopted,
    client: TlsConnector,
}

/// Answers whatever is not for a shard with its own first byte, thrice.
struct Door;

impl streams::TurnDoor for Door {
    fn answer(&self, _: SocketAddr, datagram: &[u8], out: &mut [u8]) -> Option<usize> {
        if schalter_stun::username_of(datagram).is_some() {
            return None;
        }
        out[..3].copy_from_slice(b"401");
        Some(3)
    }

    fn shard(&self, datagram: &[u8]) -> Option<ShardId> {
        let (name, _) = schalter_stun::username_of(datagram)?;
        Some(ShardId(name.first()? - b'0'))
    }
}

struct Setting {
    connections: u32,
    half_open: u32,
    per_address: u32,
    millis: u64,
    tls: bool,
    trusted: &'static [&'static str],
    turn: bool,
}

const SETTING: Setting = Setting {
    connections: 3,
    half_open: 3,
    per_address: 3,
    millis: 10_000,
    tls: false,
    trusted: &[],
    turn: true,
};

fn rig(setting: &Setting) -> Rig {
    let adopted = Adopted::default();
    let taker = Arc::clone(&adopted);
    let limits = FrontLimits {
        connections: setting.connections,
        half_open: setting.half_open,
        half_open_per_address: setting.per_address,
        request_time: Duration::from_millis(setting.millis),
        trusted: setting
            .trusted
            .iter()
            .map(|it| it.parse().unwrap())
            .collect(),
    };
    let streams = Streams {
        adopt: Box::new(move |shard, stream| {
            taker.lock().unwrap().push((shard, stream));
            Ok(())
        }),
        node: 0,
        turn: setting.turn.then(|| Arc::new(Door) as _),
    };
    let front = Front::new(limits, streams);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/", axum::routing::get(async || "hello"));
    let key = KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["schalter.test".to_owned()]);
    let own = own.unwrap().self_signed(&key).unwrap();
    let certificate =
        Certificate::from_pem(own.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let tls = Tls::new(CryptoProfile::Standard, Some(Arc::new(certificate)));
    let entry = Entry {
        app: Some(app),
        tls: setting.tls.then(|| tls.config()),
        proxied: true,
    };
    front.serve(listener, entry).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Rig {
        front,
        address,
        adopted,
        client: TlsConnector::from(Arc::new(client)),
    }
}

impl Rig {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Connects from another address of this host.
    async fn connect_from(&self, own: &str) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::new(own.parse().unwrap(), 0))
            .unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn tls(&self, tcp: TcpStream) -> tokio_rustls::client::TlsStream<TcpStream> {
        let name = ServerName::try_from("schalter.test").unwrap();
        self.client.connect(name, tcp).await.unwrap()
    }

    async fn until(&self, what: &str, holds: impl Fn(HttpSnapshot) -> bool) {
        let wait = async {
            while !holds(self.front.snapshot()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("never: {what}: {:?}", self.front.snapshot()));
    }

    async fn until_closed(&self, why: &str, count: u64) {
        let counted = |s: HttpSnapshot| s.closed.contains(&(why, count));
        self.until(why, counted).await;
    }

    async fn until_adopted(&self) -> (ShardId, AcceptedStream) {
        self.until("a stream", |_| !self.adopted.lock().unwrap().is_empty())
            .await;
        self.adopted.lock().unwrap().remove(0)
    }
}

/// What is answered until `hello`, or until the connection ends.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    let read = async {
        while let Ok(len @ 1..) = stream.read(&mut buffer).await {
            text.extend_from_slice(&buffer[..len]);
            if text.ends_with(b"hello") {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("an answer or an end");
    String::from_utf8(text).unwrap()
}

async fn served(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    stream.write_all(REQUEST).await.is_ok() && answer(stream).await.starts_with("HTTP/1.1 200 ")
}

/// A binding request for somebody, or for nobody.
fn check(user: Option<&str>) -> Vec<u8> {
    let mut out = [0; 256];
    let id = schalter_stun::TransactionId([7; 12]);
    let mut writer = StunWriter::new(&mut out, StunClass::Request, BINDING, id).unwrap();
    if let Some(user) = user {
        let name = attribute::USERNAME;
        writer.attribute(name, user.as_bytes()).unwrap();
    }
    let len = writer.finish();
    out[..len].to_vec()
}

fn framed(datagram: &[u8]) -> Vec<u8> {
    [&(datagram.len() as u16).to_be_bytes()[..], datagram].concat()
}

#[tokio::test]
async fn as_many_as_the_limit_are_served_and_one_more_is_closed_and_counted() {
    let rig = rig(&SETTING);
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = rig.connect().await;
        assert!(served(&mut stream).await);
        open.push(stream);
    }
    assert_eq!(rig.front.snapshot().connections, 3);
    let mut beyond = rig.connect().await;
    assert_eq!(answer(&mut beyond).await, "");
    assert_eq!(rig.front.snapshot().refused, 1);
    // A place that is free again is given again.
    open.pop();
    rig.until("a free place", |s| s.connections == 2).await;
    assert!(served(&mut rig.connect().await).await);
    let counted = rig.front.snapshot();
    assert_eq!((counted.refused, counted.unanswered), (1, 0));
}

#[tokio::test]
async fn who_does_not_finish_its_request_in_time_is_closed_and_counted() {
    let rig = rig(&Setting {
        millis: 300,
        ..SETTING
    });
    let start = std::time::Instant::now();
    let mut silent = rig.connect().await;
    let mut slow = rig.connect().await;
    slow.write_all(&REQUEST[..20]).await.unwrap();
    // A request without end can't buy time byte by byte.
    for byte in b"abcdefgh" {
        let _ = slow.write_all(&[*byte]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(answer(&mut silent).await, "");
    assert!(!answer(&mut slow).await.contains("200"));
    assert!(start.elapsed() < Duration::from_secs(5));
    rig.until("both counted", |s| s.unanswered == 2 && s.connections == 0)
        .await;
    rig.until_closed("too_slow", 1).await;
}

#[tokio::test]
async fn a_kept_connection_without_a_next_request_gives_its_place_back() {
    let rig = rig(&Setting {
        connections: 1,
        millis: 300,
        ..SETTING
    });
    let mut stream = rig.connect().await;
    assert!(served(&mut stream).await);
    rig.until("the place is free", |s| s.connections == 0).await;
    assert_eq!(rig.front.snapshot().unanswered, 0);
}

#[tokio::test]
async fn with_too_many_half_open_ones_the_oldest_goes_and_others_are_served() {
    let rig = rig(&Setting {
        connections: 10,
        tls: true,
        ..SETTING
    });
    let mut silent = Vec::new();
    for n in 1..=3 {
        silent.push(rig.connect().await);
        rig.until("it waits", |s| s.half_open == n).await;
    }
    let mut tls = rig.tls(rig.connect().await).await;
    assert!(served(&mut tls).await);
    assert_eq!(answer(&mut silent[0]).await, "");
    rig.until_closed("half_open_limit", 1).await;
    rig.until("two are left", |s| s.half_open == 2 && s.connections == 3)
        .await;
}

#[tokio::test]
async fn one_address_takes_no_more_half_open_places_than_its_bound_and_disturbs_nobody_else() {
    for tls in [false, true] {
        let rig = rig(&Setting {
            connections: 20,
            half_open: 10,
            per_address: 3,
            tls,
            ..SETTING
        });
        let mut elsewhere = rig.connect_from("127.0.0.2").await;
        rig.until("it waits", |s| s.half_open == 1).await;
        let mut silent = Vec::new();
        for n in 1..=3 {
            silent.push(rig.connect().await);
            rig.until("it waits", |s| s.half_open == n + 1).await;
        }
        rig.until_closed("address_limit", 0).await;
        // Five more are as many too many, and it is the oldest that go.
        for n in 1..=5 {
            silent.push(rig.connect().await);
            rig.until_closed("address_limit", n).await;
        }
        for closed in silent.drain(..5) {
            let mut closed = closed;
            assert_eq!(answer(&mut closed).await, "");
        }
        rig.until("three are left, and the other one", |s| s.half_open == 4)
            .await;
        // Who means well gets through from there, too, and so does who waited elsewhere.
        if tls {
            assert!(served(&mut rig.tls(rig.connect().await).await).await);
            assert!(served(&mut rig.tls(elsewhere).await).await);
        } else {
            assert!(served(&mut rig.connect().await).await);
            assert!(served(&mut elsewhere).await);
        }
        rig.until_closed("half_open_limit", 0).await;
    }
}

#[tokio::test]
async fn behind_a_balancer_its_clients_count_and_not_the_balancer() {
    let rig = rig(&Setting {
        connections: 20,
        half_open: 10,
        per_address: 2,
        trusted: &["127.0.0.1"],
        ..SETTING
    });
    // Before its header a connection is nobody's.
    let mut bare = Vec::new();
    for n in 1..=4 {
        bare.push(rig.connect().await);
        rig.until("it waits", |s| s.half_open == n).await;
    }
    // Of one client two may wait; the third makes the first go.
    for peer in &mut bare[..3] {
        peer.write_all(HEADER).await.unwrap();
    }
    rig.until_closed("address_limit", 1).await;
    let other = [&HEADER[..19], &[8], &HEADER[20..]].concat();
    bare[3].write_all(&other).await.unwrap();
    rig.until("the others wait on", |s| s.half_open == 3).await;
    assert!(served(&mut bare[3]).await);
    rig.until_closed("address_limit", 1).await;
}

#[tokio::test]
async fn http_comes_over_tls_and_who_forgets_tls_is_told() {
    let rig = rig(&Setting {
        tls: true,
        ..SETTING
    });
    assert!(served(&mut rig.tls(rig.connect().await).await).await);
    let mut plain = rig.connect().await;
    plain.write_all(REQUEST).await.unwrap();
    let told = answer(&mut plain).await;
    assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
    assert!(told.contains("HTTPS"), "{told}");
    rig.until_closed("plain_http", 1).await;
    let mut noise = rig.connect().await;
    noise
        .write_all(&[0x16, 3, 1, 0, 4, 9, 9, 9, 9])
        .await
        .unwrap();
    answer_bytes(&mut noise).await;
    rig.until_closed("tls_handshake", 1).await;
}

async fn answer_bytes(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
}

#[tokio::test]
async fn ice_goes_to_the_shard_of_its_user_fragment_with_all_that_was_sent() {
    for tls in [false, true] {
        let rig = rig(&Setting { tls, ..SETTING });
        let ours = Ufrag::new(0, ShardId(5), 1);
        let sent = framed(&check(Some(&format!("{ours}:peer"))));
        let sent = [&sent[..], &framed(b"more")].concat();
        let tcp = rig.connect().await;
        let from = tcp.local_addr().unwrap();
        let (shard, mut stream, mut peer): (_, _, Box<dyn AsyncReadWrite>) = if tls {
            let mut peer = rig.tls(tcp).await;
            peer.write_all(&sent).await.unwrap();
            let (shard, stream) = rig.until_adopted().await;
            (shard, stream, Box::new(peer))
        } else {
            let mut peer = tcp;
            peer.write_all(&sent).await.unwrap();
            let (shard, stream) = rig.until_adopted().await;
            (shard, stream, Box::new(peer))
        };
        assert_eq!(shard, ShardId(5));
        assert_eq!(stream.framing, Framing::Rfc4571);
        assert_eq!(stream.early, sent);
        assert_eq!((stream.remote, stream.local), (from, rig.address));
        assert_eq!(stream.tls.is_some(), tls);
        // What comes later is there for the new owner.
        peer.write_all(b"later").await.unwrap();
        assert_eq!(read_later(&mut stream), b"later");
        let counted = rig.front.snapshot();
        assert_eq!((counted.connections, counted.unanswered), (0, 0));
        assert!(counted.streams.contains(&("ice_tcp", 1)));
    }
}

trait AsyncReadWrite: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> AsyncReadWrite for T {}

/// Reads as a worker would, waiting for the socket.
fn read_later(stream: &mut AcceptedStream) -> Vec<u8> {
    stream.tcp.set_nonblocking(false).unwrap();
    let mut buffer = [0; 64];
    let len = match &mut stream.tls {
        None => stream.tcp.read(&mut buffer).unwrap(),
        Some(tls) => rustls::Stream::new(&mut **tls, &mut stream.tcp)
            .read(&mut buffer)
            .unwrap(),
    };
    buffer[..len].to_vec()
}

#[tokio::test]
async fn ice_for_nobody_of_ours_is_closed() {
    let rig = rig(&SETTING);
    let foreign = Ufrag::new(9, ShardId(0), 1);
    for user in [
        None,
        Some(format!("{foreign}:peer")),
        Some("x:y".to_owned()),
    ] {
        let mut peer = rig.connect().await;
        peer.write_all(&framed(&check(user.as_deref())))
            .await
            .unwrap();
        answer_bytes(&mut peer).await;
    }
    rig.until_closed("ice_unknown", 3).await;
    assert!(rig.adopted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn turn_is_answered_until_it_names_a_user_and_goes_to_that_users_shard() {
    let rig = rig(&Setting {
        tls: true,
        ..SETTING
    });
    let mut peer = rig.tls(rig.connect().await).await;
    for _ in 0..2 {
        // In pieces: a message need not come at once.
        let request = check(None);
        peer.write_all(&request[..9]).await.unwrap();
        peer.flush().await.unwrap();
        peer.write_all(&request[9..]).await.unwrap();
        let mut answer = [0; 3];
        peer.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"401");
    }
    let request = check(Some("3:x"));
    peer.write_all(&request).await.unwrap();
    let (shard, stream) = rig.until_adopted().await;
    assert_eq!((shard, stream.framing), (ShardId(3), Framing::Turn));
    assert_eq!(stream.early, request);
    assert!(rig.front.snapshot().streams.contains(&("turn", 1)));
}

#[tokio::test]
async fn turn_is_closed_where_it_is_off_and_noise_everywhere() {
    let rig = rig(&Setting {
        turn: false,
        ..SETTING
    });
    let mut peer = rig.connect().await;
    peer.write_all(&check(None)).await.unwrap();
    answer_bytes(&mut peer).await;
    rig.until_closed("turn_off", 1).await;
    for noise in [&[0; 16][..], &[0x80; 16], &[0x16, 3, 1, 0, 200]] {
        let mut peer = rig.connect().await;
        peer.write_all(noise).await.unwrap();
        answer_bytes(&mut peer).await;
    }
    rig.until_closed("unknown_protocol", 3).await;
}

const HEADER: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xcb\0\x71\x09\x30\x39\x01\xbb";

#[tokio::test]
async fn a_trusted_balancer_says_who_its_client_is() {
    let rig = rig(&Setting {
        trusted: &["127.0.0.0/8"],
        tls: true,
        ..SETTING
    });
    let mut tcp = rig.connect().await;
    // In pieces, too.
    tcp.write_all(&HEADER[..14]).await.unwrap();
    tcp.flush().await.unwrap();
    tokio::task::yield_now().await;
    tcp.write_all(&HEADER[14..]).await.unwrap();
    assert!(served(&mut rig.tls(tcp).await).await);
    let mut tcp = rig.connect().await;
    tcp.write_all(HEADER).await.unwrap();
    let mut peer = rig.tls(tcp).await;
    peer.write_all(&check(Some("0:x"))).await.unwrap();
    let (_, stream) = rig.until_adopted().await;
    assert_eq!(
        stream.remote,
        "192.0.2.7:12345".parse::<SocketAddr>().unwrap()
    );
    assert_eq!(
        stream.local,
        "203.0.113.9:443".parse::<SocketAddr>().unwrap()
    );
}

#[tokio::test]
async fn balancers_without_a_header_of_version_2_are_closed_with_the_reason() {
    let rig = rig(&Setting {
        trusted: &["127.0.0.1"],
        ..SETTING
    });
    let malformed = [&HEADER[..12], &[0x31], &HEADER[13..]].concat();
    for (sent, why) in [
        (
            &b"PROXY TCP4 192.0.2.7 203.0.113.9 1 2\r\n"[..],
            "proxy_version_1",
        ),
        (REQUEST, "proxy_missing"),
        (&malformed, "proxy_malformed"),
    ] {
        let mut peer = rig.connect().await;
        peer.write_all(sent).await.unwrap();
        answer_bytes(&mut peer).await;
        rig.until_closed(why, 1).await;
    }
}

#[tokio::test]
async fn headers_of_others_are_refused() {
    for tls in [false, true] {
        let rig = rig(&Setting {
            trusted: &["192.0.2.0/24"],
            tls,
            ..SETTING
        });
        for header in [HEADER, b"PROXY TCP4 192.0.2.7 203.0.113.9 1 2\r\n"] {
            let mut peer = rig.connect().await;
            peer.write_all(header).await.unwrap();
            peer.write_all(REQUEST).await.unwrap();
            answer_bytes(&mut peer).await;
        }
        rig.until_closed("proxy_untrusted", 2).await;
        assert_eq!(rig.front.snapshot().connections, 0);
    }
}

#[tokio::test]
async fn stopping_lets_a_request_end_and_accepts_no_other() {
    let rig = rig(&SETTING);
    let mut kept = rig.connect().await;
    assert!(served(&mut kept).await);
    let start = std::time::Instant::now();
    rig.front.shutdown(PATIENCE).await;
    assert!(start.elapsed() < PATIENCE / 2, "nothing is in flight");
    assert_eq!(answer(&mut kept).await, "");
}
