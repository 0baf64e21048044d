//! The built-in TURN server under coturn's client (`turnutils_uclient`), by UDP on its own port, TCP and TLS: it reaches a media
//! socket, and nothing else.
//!
//! That client's channels reach nothing here: before the one that it is asked for it binds one to some other port of the same
//! host, to try the server, and gives up if it may not. `replaced.rs` sends through channels.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use schalter_load::call::{Call, CallPlan, Generator, PeerOptions};
use schalter_load::feed::FeedConfig;
use schalter_load::receive::Feedback;
use schalter_load::target::Target;
use schalter_load::tunnel::{Connect, Tunnel, TurnLogin, Way, Wire};
use schalter_model::SrtpProfile;

use crate::authority::{Authority, connect};
use crate::server::{PATIENCE, Server, folder, free_ports};

/// Messages of one run of the client.
const MESSAGES: u32 = 10;
/// A host that is not ours (RFC 5737).
const ELSEWHERE: (&str, u16) = ("192.0.2.1", 9);

const RELAYED: &str = "schalter_turn_relayed_datagrams_received_total";
const REFUSED: &str = "schalter_turn_refusals_total{code=\"403\"}";
const FOREIGN: &str = "schalter_drops_total{reason=\"turn_foreign_peer\"}";
const ON_MEDIA_PORT: &str = "schalter_drops_total{reason=\"turn_on_media_port\"}";

/// How the client gets to the server.
#[derive(Clone, Copy, Debug)]
enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// How it sends.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Channel,
    Indications,
}

struct Turn {
    server: Server,
    media_port: u16,
    /// By [`Transport`].
    ports: [u16; 3],
    user: String,
    password: String,
}

impl Turn {
    async fn start(name: &str) -> Self {
        let authority = Authority::new();
        let folder = folder(name);
        let keys = authority.issue(&folder);
        let [media_port] = free_ports();
        let rtc = format!(
            "rtc: {{udp_port: {media_port}, tcp_port: 0, node_ip: 127.0.0.1, pin_workers: false}}"
        );
        let config =
            format!("tls: {{{keys}, port: 0}}\n{rtc}\nturn: {{udp_port: 0, tcp_port: 0}}\n");
        let mut server = Server::start_in(&folder, &[], &config);
        let plain = server.ready.rsplit(':').next().unwrap().trim();
        server.port = plain.parse().unwrap();
        let (_socket, join) = server.join("turn", "somebody").await.unwrap();
        let told = join.ice_servers.first().expect("a TURN server");
        let port = |scheme: &str, transport: &str| {
            let url = told.urls.iter().find(|url| {
                url.starts_with(scheme) && url.ends_with(&format!("?transport={transport}"))
            });
            let url = url.unwrap_or_else(|| panic!("{scheme} {transport}: {:?}", told.urls));
            let port = url.rsplit(':').next().unwrap().split('?').next().unwrap();
            port.parse().unwrap()
        };
        let ports = [
            port("turn:", "udp"),
            port("turn:", "tcp"),
            port("turns:", "tcp"),
        ];
        let (user, password) = (told.username.clone(), told.credential.clone());
        Self {
            server,
            media_port,
            ports,
            user,
            password,
        }
    }

    fn run(&self, transport: Transport, mode: Mode, peer: (&str, u16)) -> Client {
        self.run_at(self.ports[transport as usize], transport, mode, peer)
    }

    /// Allocates, and sends messages to a peer. They are never echoed, so it waits until it is ended.
    fn run_at(&self, port: u16, transport: Transport, mode: Mode, peer: (&str, u16)) -> Client {
        let log = tempfile_of(&self.server, port, mode, peer);
        let mut command = Command::new("turnutils_uclient");
        command.args(["-v", "-m", "1", "-c", "-l", "100"]);
        command.args(["-n", &MESSAGES.to_string()]);
        command.args(["-u", &self.user, "-w", &self.password]);
        command.args(["-e", peer.0, "-r", &peer.1.to_string()]);
        command.args(["-p", &port.to_string()]);
        command.args(match mode {
            Mode::Channel => &[][..],
            Mode::Indications => &["-s"],
        });
        command.args(match transport {
            Transport::Udp => &[][..],
            Transport::Tcp => &["-t"],
            Transport::Tls => &["-t", "-S"],
        });
        let out = std::fs::File::create(&log).unwrap();
        let child = command
            .arg("127.0.0.1")
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .expect("turnutils_uclient: apt-get install coturn");
        Client { child, log }
    }

    async fn count(&self, name: &str) -> f64 {
        self.server.metric(name).await
    }

    /// Waits until a counter is there; counters only grow.
    async fn until(&self, name: &str, least: u32, clients: &[Client]) {
        let deadline = Instant::now() + PATIENCE;
        while self.count(name).await < f64::from(least) {
            let said = || clients.iter().map(Client::said).collect::<Vec<_>>();
            assert!(Instant::now() < deadline, "{name}: {:?}", said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn tempfile_of(server: &Server, port: u16, mode: Mode, peer: (&str, u16)) -> std::path::PathBuf {
    let name = format!("uclient-{port}-{mode:?}-{}-{}", peer.0, peer.1);
    server.folder.join(name)
}

/// A run of the client, ended with the test.
struct Client {
    child: Child,
    log: std::path::PathBuf,
}

impl Client {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn until_said(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said().contains(words) {
            assert!(Instant::now() < deadline, "{words}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn indications_reach_the_media_socket_by_udp_tcp_and_tls() {
    let turn = Turn::start("turn-media").await;
    assert_ne!(turn.ports[0], turn.media_port, "TURN has a port of its own");
    let media = ("127.0.0.1", turn.media_port);
    let mut expected = 0;
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let client = turn.run(transport, Mode::Indications, media);
        expected += MESSAGES;
        turn.until(RELAYED, expected, std::slice::from_ref(&client))
            .await;
    }
    assert_eq!(turn.count(RELAYED).await, f64::from(expected));
    assert_eq!(turn.count(REFUSED).await, 0.0);
    assert_eq!(turn.count(FOREIGN).await, 0.0);
}

#[tokio::test]
async fn nothing_else_is_reached_and_every_attempt_is_counted() {
    let turn = Turn::start("turn-foreign").await;
    let here = ("127.0.0.1", turn.server.port);
    let media = ("127.0.0.1", turn.media_port);
    let mut clients = Vec::new();
    // Another host: no channel, and no permission for indications. This host's other ports: no channel.
    let mut refused = 0;
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        for (mode, peer) in [
            (Mode::Channel, ELSEWHERE),
            (Mode::Indications, ELSEWHERE),
            (Mode::Channel, here),
            // The port that it binds first is none of media.
            (Mode::Channel, media),
        ] {
            let client = turn.run(transport, mode, peer);
            client.until_said("403").await;
            refused += 1;
            clients.push(client);
        }
    }
    turn.until(REFUSED, refused, &clients).await;
    assert_eq!(turn.count(FOREIGN).await, 0.0, "nobody got as far as that");
    // A permission is for an address (RFC 8656 §9), so this one is granted; what is sent is dropped all the same.
    clients.push(turn.run(Transport::Udp, Mode::Indications, here));
    turn.until(FOREIGN, MESSAGES, &clients).await;
    assert_eq!(turn.count(RELAYED).await, 0.0, "nothing passed");
    assert_eq!(turn.count(ON_MEDIA_PORT).await, 0.0);
}

#[tokio::test]
async fn a_media_port_answers_no_client_of_turn() {
    let turn = Turn::start("turn-on-media").await;
    let media = ("127.0.0.1", turn.media_port);
    let client = turn.run_at(turn.media_port, Transport::Udp, Mode::Channel, media);
    turn.until(ON_MEDIA_PORT, 1, std::slice::from_ref(&client))
        .await;
    assert_eq!(turn.count("schalter_turn_allocations").await, 0.0);
    assert_eq!(turn.count(RELAYED).await, 0.0);
    assert!(!client.said().contains("401"), "{}", client.said());
}

/// Sound, and a picture of a few packets, for as long as is measured.
const FEED: FeedConfig = FeedConfig {
    video_packets: 60,
    video_bytes: 1_000,
    video_bursts: 15,
    audio_packets: 50,
    audio_bytes: 120,
};
const SPAN: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_people_who_each_come_another_way_hear_each_other() {
    let authority = Authority::new();
    let folder = folder("turn-ways");
    let keys = authority.issue(&folder);
    // Clients are told the tunnel's address; the server's own is another one.
    let udp = UdpSocket::bind("127.0.0.2:0").unwrap();
    let media = udp.local_addr().unwrap().port();
    let config = format!(
        "tls: {{{keys}, port: 0}}\nturn: {{udp_port: 0}}\n\
         rtc: {{udp_port: {media}, tcp_port: 0, addresses: [{{127.0.0.1: 127.0.0.2}}], pin_workers: false}}\n"
    );
    let mut server = Server::start_in(&folder, &[], &config);
    let secure = server.port;
    let plain = server.ready.rsplit(':').next().unwrap().trim();
    server.port = plain.parse().unwrap();
    let (_socket, join) = server.join("before", "somebody").await.unwrap();
    let told = join.ice_servers.first().expect("a TURN server");
    let login = TurnLogin {
        user: told.username.clone(),
        password: told.credential.clone(),
    };
    let url = told.urls.iter().find(|url| url.ends_with("?transport=udp"));
    let turn = url.and_then(|url| url.strip_prefix("turn:127.0.0.2:"));
    let turn = turn.expect("TURN over UDP").split('?').next().unwrap();
    let own = |port| (std::net::Ipv4Addr::LOCALHOST, port).into();
    let ways = vec![
        Way::Udp(own(media)),
        Way::TurnUdp(own(turn.parse().unwrap()), login.clone()),
        Way::IceTcp,
        Way::Turn(login),
    ];
    let client = authority.client(None);
    let dial: Arc<Connect> = Arc::new(move || {
        let client = client.clone();
        Box::pin(async move {
            let tls = connect(&client, secure).await?;
            tls.get_ref().0.set_nodelay(true)?;
            Ok(Box::new(tls) as Box<dyn Wire>)
        })
    });
    let tunnel = Tunnel::start(udp, ways, dial).unwrap();
    let mut generator = Generator::start(PeerOptions {
        local: std::net::Ipv4Addr::LOCALHOST.into(),
        profile: SrtpProfile::AeadAes128Gcm,
        feedback: Feedback::default(),
        core: None,
    })
    .unwrap();
    let plan = CallPlan {
        rooms: 1,
        publishers: 4,
        subscribers: 0,
        mutual: true,
        feed: FEED,
        name: "ways".to_owned(),
    };
    let target = Target::LiveKit(server.livekit());
    let call = Call::start(&target, &mut generator, plan).await.unwrap();
    let report = call.measure(&mut generator, SPAN, None).await.unwrap();
    assert_eq!((report.lost_peers, report.lost_signaling), (0, 0));
    for delivery in [&report.audio, &report.video] {
        assert_eq!(delivery.pairs, 12);
        assert!(delivery.expected > 0);
        assert_eq!(delivery.expected, delivery.delivered, "{report:?}");
    }
    let passed = tunnel.passed();
    assert_eq!((passed.opened, passed.ended, passed.dropped), (4, 0, 0));
    server.until_metric("schalter_turn_allocations", 2.0).await;
    for (name, count) in [
        ("schalter_streams_accepted_total{protocol=\"ice_tcp\"}", 1.0),
        ("schalter_streams_accepted_total{protocol=\"turn\"}", 1.0),
        (FOREIGN, 0.0),
        (ON_MEDIA_PORT, 0.0),
    ] {
        assert_eq!(server.metric(name).await, count, "{name}");
    }
    call.end(&mut generator).await;
}
