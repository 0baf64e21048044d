//! The configuration file: one YAML document, every key optional. An unknown key or a value that makes no sense is
//! an error that names the key and the line, and never repeats what may be a secret.
//!
//! Keys that mean the same as in LiveKit's file have the same names. What only the server itself can find out (a port
//! in use, an address of another machine) is left to it; everything else is checked here, so that `check-config`
//! refuses what `serve` would.

mod document;
mod livekit;
mod read;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schalter_signaling::authority::ApiKey;
use schalter_signaling::config::{IceServer, PUBLISH_ORDER};
use schalter_signaling::sdp::CodecKind;
use schalter_transport::CryptoProfile;

use document::{Complaint, Node, Place, Value};

/// The whole file.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Port of the pages and of signaling; 0 lets the system choose.
    pub(crate) port: u16,
    /// Addresses that port is opened on, at least one.
    pub(crate) bind_addresses: Vec<IpAddr>,
    /// API keys by name; without any a development key is made.
    pub(crate) keys: BTreeMap<String, ApiKey>,
    /// Media.
    pub(crate) rtc: Rtc,
    /// Rooms.
    pub(crate) room: Room,
    /// Bounds on what clients may ask for.
    pub(crate) limits: Limits,
    /// The operator's own listener.
    pub(crate) admin: Admin,
    /// Origins that browsers may open the signaling WebSocket from; empty: any, since tokens protect rooms.
    pub(crate) allowed_origins: Vec<String>,
    /// Which cryptography may be negotiated.
    pub(crate) crypto_profile: CryptoProfile,
    /// The region that clients are told of, maybe empty.
    pub(crate) region: String,
    /// Where generated keys and certificates are kept.
    pub(crate) state_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 7880,
            bind_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            keys: BTreeMap::new(),
            rtc: Rtc::default(),
            room: Room::default(),
            limits: Limits::default(),
            admin: Admin::default(),
            allowed_origins: Vec::new(),
            crypto_profile: CryptoProfile::default(),
            region: String::new(),
            state_dir: None,
        }
    }
}

/// Media: ports, addresses, workers.
#[derive(Clone, Debug)]
pub(crate) struct Rtc {
    /// UDP port of the first worker, the others have the ports after it; 0 lets the system choose.
    pub(crate) udp_port: u16,
    /// Workers, each with a core and a port of its own. Fixed, so that firewall rules never move unasked.
    pub(crate) workers: u8,
    /// Address that clients are told; without it every address of this machine, loopback last.
    pub(crate) node_ip: Option<IpAddr>,
    /// Pin each worker to a core.
    pub(crate) pin_workers: bool,
    /// How long packets for one subscriber may wait for company.
    pub(crate) burst: Duration,
    /// STUN and TURN servers that clients are told of.
    pub(crate) ice_servers: Vec<IceServer>,
}

impl Default for Rtc {
    fn default() -> Self {
        Self {
            udp_port: 7882,
            workers: 1,
            node_ip: None,
            pin_workers: true,
            burst: Duration::from_millis(1),
            ice_servers: Vec::new(),
        }
    }
}

/// Rooms.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    /// Seconds that a room nobody joined stays.
    pub(crate) empty_timeout: u32,
    /// Seconds that a room stays after its last participant left.
    pub(crate) departure_timeout: u32,
    /// Participants at most in one room, 0 for as many as [`Limits::participants_per_room`].
    pub(crate) max_participants: u32,
    /// Codecs that may be published and received, in order of preference.
    pub(crate) enabled_codecs: Vec<CodecKind>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            empty_timeout: 300,
            departure_timeout: 20,
            max_participants: 100,
            enabled_codecs: PUBLISH_ORDER.to_vec(),
        }
    }
}

/// Bounds on what clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Rooms at once on this node.
    pub(crate) rooms: u32,
    /// Rooms of one authority at the same time.
    pub(crate) rooms_per_authority: u32,
    /// Participants in one room, whatever the room's own maximum says.
    pub(crate) participants_per_room: u32,
    /// Tracks that one participant may publish.
    pub(crate) tracks_per_participant: u32,
    /// Data tracks that one participant may publish.
    pub(crate) data_tracks_per_participant: u32,
    /// Largest signaling message, in bytes.
    pub(crate) message_bytes: u32,
    /// Signaling messages of one connection per second, sustained.
    pub(crate) messages_per_second: u32,
    /// Signaling messages of one connection at once, before the sustained rate counts.
    pub(crate) message_burst: u32,
    /// Data messages of one participant per second, sustained.
    pub(crate) data_messages_per_second: u32,
    /// Bytes of data messages that one participant may have fanned out per second, sustained.
    pub(crate) data_bytes_per_second: u32,
    /// Transports at once on one worker.
    pub(crate) transports_per_worker: u32,
    /// Transports at once on one worker that have not finished their handshake.
    pub(crate) half_open_transports_per_worker: u32,
    /// Connections to the pages' port at once, WebSockets among them.
    pub(crate) connections: u32,
    /// Seconds until a connection's first request must be complete.
    pub(crate) request_seconds: u32,
    /// Connectivity checks with wrong integrity that are looked at, per transport and second.
    pub(crate) failed_checks_per_second: u32,
    /// Connectivity checks that are answered, per transport and second.
    pub(crate) check_responses_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 10_000,
            rooms_per_authority: 10_000,
            participants_per_room: 3_000,
            tracks_per_participant: 32,
            data_tracks_per_participant: 16,
            message_bytes: 512 * 1024,
            messages_per_second: 50,
            message_burst: 500,
            data_messages_per_second: 1_000,
            data_bytes_per_second: 8 << 20,
            transports_per_worker: 4_000,
            half_open_transports_per_worker: 1_000,
            connections: 10_000,
            request_seconds: 10,
            failed_checks_per_second: 50,
            check_responses_per_second: 80,
        }
    }
}

/// The operator's own listener: metrics, health, administration.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    /// `unix:/path` or `address:port`.
    pub(crate) listen: AdminListen,
    /// The bearer token, from `admin.token_file`; without one a token is generated and kept in the state directory.
    pub(crate) token: Option<AdminToken>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            // Not 7881: that is what LiveKit's file calls rtc.tcp_port, and firewalls are open for it.
            listen: AdminListen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 7889))),
            token: None,
        }
    }
}

/// The bearer token of the admin listener. Never shown.
#[derive(Clone)]
pub(crate) struct AdminToken(pub(crate) String);

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// Where the admin listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdminListen {
    /// A TCP socket.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What is wrong with a configuration file; the text names file, line and key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no YAML.
    #[error("{path}: {what}")]
    Syntax {
        /// Which file.
        path: String,
        /// What and where.
        what: String,
    },
    /// A key or value makes no sense.
    #[error("{path}: {what} (line {line})")]
    Key {
        /// Which file.
        path: String,
        /// Which key, and why.
        what: String,
        /// Where, counted from 1.
        line: usize,
    },
}

impl Config {
    /// Reads a file; without one, the defaults.
    ///
    /// # Errors
    /// [`ConfigError`] with file, key and line.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: name.clone(),
            source,
        })?;
        Self::parse(&name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let node: Node = serde_yaml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: name.to_owned(),
            what: document::without_quotes(&error),
        })?;
        // A file of comments only is null to YAML, and means the defaults.
        if matches!(node, Node::Null) {
            return Ok(Self::default());
        }
        let config = node
            .check_duplicates(&Place::default())
            .and_then(|()| Self::read(&Value::root(&node)))
            .and_then(|config| config.check().map(|()| config));
        config.map_err(|complaint| ConfigError::Key {
            path: name.to_owned(),
            line: complaint.line(text).unwrap_or(1),
            what: complaint.to_string(),
        })
    }

    /// Opens the pages to the local network, whatever `bind_addresses` says.
    pub(crate) fn open_to_lan(&mut self, ipv6: bool) {
        self.bind_addresses = vec![IpAddr::from([0, 0, 0, 0])];
        if ipv6 {
            self.bind_addresses.push(IpAddr::from([0_u16; 8]));
        }
    }

    /// Checks what only several keys together tell.
    fn check(&self) -> Result<(), Complaint> {
        let complain = |path: &str, what: String| Err(Complaint::new(Place::of(path), what));
        let (first, workers) = (self.rtc.udp_port, self.rtc.workers);
        if first != 0 && first.checked_add(u16::from(workers) - 1).is_none() {
            return complain(
                "rtc.udp_port",
                format!("{first} with {workers} workers would pass port 65535"),
            );
        }
        let (maximum, cap) = (
            self.room.max_participants,
            self.limits.participants_per_room,
        );
        if maximum > cap {
            return complain(
                "room.max_participants",
                format!("{maximum} is more than limits.participants_per_room allows, {cap}"),
            );
        }
        if let AdminListen::Tcp(admin) = self.admin.listen
            && admin.port() != 0
            && admin.port() == self.port
            && self
                .bind_addresses
                .iter()
                .any(|ip| overlap(*ip, admin.ip()))
        {
            // One of the two is in the file, if the defaults don't collide.
            let path = if self.port == Self::default().port {
                "admin.listen"
            } else {
                "port"
            };
            return complain(
                path,
                format!(
                    "the admin listener and the pages can't share port {}",
                    self.port
                ),
            );
        }
        for (index, ip) in self.bind_addresses.iter().enumerate() {
            if self.bind_addresses[..index]
                .iter()
                .any(|other| overlap(*ip, *other))
            {
                return complain(
                    "bind_addresses",
                    format!(
                        "{ip} is opened twice: an address of all zeros stands for every one of its kind"
                    ),
                );
            }
        }
        Ok(())
    }

    /// What an operator wants to see at a glance; no secrets.
    pub(crate) fn summary(&self) -> String {
        let list = |addresses: &[IpAddr]| {
            addresses
                .iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let first = self.rtc.udp_port;
        let last = first.saturating_add(u16::from(self.rtc.workers) - 1);
        let ports = if first == last {
            first.to_string()
        } else {
            format!("{first}–{last}")
        };
        let node_ip = self.rtc.node_ip.map_or_else(
            || "every address of this machine".to_owned(),
            |ip| ip.to_string(),
        );
        let keys = if self.keys.is_empty() {
            "none; a development key is generated".to_owned()
        } else {
            self.keys
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let admin = match &self.admin.listen {
            AdminListen::Tcp(address) => address.to_string(),
            AdminListen::Unix(path) => format!("unix:{}", path.display()),
        };
        format!(
            "  pages and signaling  TCP {} on {}\n  media                UDP {ports} at {node_ip}\n  \
             admin                {admin}\n  API keys             {keys}",
            self.port,
            list(&self.bind_addresses),
        )
    }
}

/// Whether sockets on these addresses could not have the same port. IPv6 sockets take no IPv4.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
}

#[cfg(test)]
mod tests {
    use schalter_model::AuthorityId;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn error(text: &str) -> String {
        Config::parse("schalter.yaml", text)
            .map(|config| format!("{text:?} was taken: {config:?}"))
            .unwrap_err()
            .to_string()
    }

    #[track_caller]
    fn complains(yaml: &str, parts: &[&str]) {
        let text = error(yaml);
        for part in parts {
            assert!(text.contains(part), "{yaml:?}: {part:?} is missing: {text}");
        }
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        for text in ["", "# nothing\n", "{}\n", "rtc:\nroom:\n"] {
            let config = Config::parse("x", text).unwrap();
            assert_eq!(config.port, 7880);
            assert_eq!(config.rtc.udp_port, 7882);
            assert_eq!(config.limits, Limits::default());
            assert!(config.bind_addresses.iter().all(IpAddr::is_loopback));
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        complains(
            "port: 7880\nrtc:\n  udp_prot: 1\n",
            &["rtc.udp_prot", "(line 3)"],
        );
        complains("prot: 7880\n", &["prot", "(line 1)"]);
        complains(
            "{\"port\": 1,\n\n\"rtc\": {\"x\": 2}}",
            &["rtc.x", "(line 3)"],
        );
    }

    #[test]
    fn a_bad_value_is_named_with_its_key_and_line() {
        for (yaml, key, line) in [
            ("port: 70000\n", "port", "line 1"),
            ("port: no\n", "port", "line 1"),
            ("\nport: 1.5\n", "port", "line 2"),
            ("rtc:\n  workers: 0\n", "rtc.workers", "line 2"),
            ("rtc:\n  workers: [1]\n", "rtc.workers", "line 2"),
            ("rtc: 1\n", "rtc", "line 1"),
            ("rtc:\n  node_ip: here\n", "rtc.node_ip", "line 2"),
            (
                "room:\n  max_participants: -1\n",
                "room.max_participants",
                "line 2",
            ),
            ("crypto_profile: none\n", "crypto_profile", "line 1"),
            (
                "limits:\n  message_bytes: 1\n",
                "limits.message_bytes",
                "line 2",
            ),
            (
                "limits:\n  rooms: 99999999999999999999999\n",
                "limits.rooms",
                "line 2",
            ),
            ("keys:\n  a: short\n", "keys.a", "line 2"),
            ("admin:\n  listen: somewhere\n", "admin.listen", "line 2"),
            (
                "admin:\n  listen: unix:relative\n",
                "admin.listen",
                "line 2",
            ),
            (
                "bind_addresses:\n  - 127.0.0.1\n  - x\n",
                "bind_addresses[1]",
                "line 3",
            ),
        ] {
            complains(yaml, &[key, line]);
        }
        complains(
            &format!("keys:\n  a:\n    secret: {SECRET}\n    authority: Ulm\n"),
            &["keys.a.authority", "line 4"],
        );
    }

    #[test]
    fn what_is_no_group_of_keys_is_told_without_our_own_words() {
        for yaml in ["just text\n", "- a\n- b\n", "42\n"] {
            let text = error(yaml);
            assert!(
                text.contains("group of keys") && text.contains("line 1"),
                "{text}"
            );
            assert!(
                !text.contains("struct") && !text.contains("Config"),
                "{text}"
            );
        }
        complains("port: 1\n---\nport: 2\n", &["more than one document"]);
        complains("a: [1\n", &["line"]);
    }

    #[test]
    fn a_key_that_stands_twice_is_named_at_its_second_place() {
        complains(
            "port: 1\nrtc:\n  workers: 1\nport: 2\n",
            &["port", "twice", "(line 4)"],
        );
        complains(
            "rtc:\n  workers: 1\n  udp_port: 1\n  workers: 2\n",
            &["rtc.workers", "(line 4)"],
        );
        complains(
            &format!("keys:\n  a: {SECRET}\n  b: {SECRET}\n  a: {SECRET}\n"),
            &["keys.a", "(line 4)"],
        );
    }

    #[test]
    fn no_error_repeats_a_secret() {
        // A canary in every place where somebody may have put it.
        let canary = "KANARIENVOGEL-0123456789abcdef0123456789";
        for yaml in [
            format!("keys: \"devkey: {canary}\"\n"),
            format!("keys: {canary}\n"),
            format!("keys:\n  devkey: {{{canary}}}\n"),
            format!("keys:\n  devkey: [{canary}]\n"),
            format!("keys:\n  - devkey: {canary}\n"),
            format!("keys:\n  devkey:{canary}\n"),
            format!("keys:\n  devkey:\n    {canary}: 1\n"),
            format!("keys:\n  devkey:\n    secret: [{canary}]\n"),
            format!("keys:\n  devkey:\n    secret: {canary}\n    scopes: [{canary}]\n"),
            format!("keys:\n  devkey:\n    secret: {canary}\n    authority: {canary}\n"),
            format!("keys:\n  devkey:\n    secret: {canary}\n    secret_file: /x\n"),
            format!("keys:\n  {canary}: short\n"),
            format!("keys:\n  {canary}: {{scopes: []}}\n"),
            format!("keys:\n  {canary}: {canary}\n  {canary}: {canary}\n"),
            format!("keys:\n  devkey: !!int {canary}\n"),
            format!("keys:\n  devkey: !{canary} x\n"),
            format!("keys:\n  devkey: *{canary}\n"),
            format!("keys: devkey: {canary}\n"),
            format!("{canary}\n"),
            format!("devkey:{canary}\nport: 1\n"),
            format!("rtc:\n  ice_servers:\n    - urls: turn:a\n      credential: [{canary}]\n"),
            format!(
                "rtc:\n  ice_servers:\n    - urls: x\n      username: a\n      credential: {canary}\n"
            ),
        ] {
            let text = error(&yaml);
            assert!(!text.contains("KANARIENVOGEL"), "{yaml:?}: {text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        for number in [
            "12345678901234567890123456789012",
            "0x1234567890",
            "123456.789",
        ] {
            for yaml in [
                format!("keys:\n  devkey: {number}\n"),
                format!("keys:\n  devkey:\n    secret: {number}\n"),
                format!("keys: {number}\n"),
            ] {
                let text = error(&yaml);
                assert!(!text.contains(number), "{yaml:?}: {text}");
            }
        }
        complains(
            "keys:\n  devkey: 12345678901234567890123456789012\n",
            &["keys.devkey", "quotes", "line 2"],
        );
    }

    #[test]
    fn ports_past_the_last_one_are_refused() {
        complains(
            "rtc:\n  udp_port: 65535\n  workers: 2\n",
            &["rtc.udp_port", "65535", "(line 2)"],
        );
        assert!(Config::parse("x", "rtc:\n  udp_port: 65534\n  workers: 2\n").is_ok());
    }

    #[test]
    fn what_serve_would_refuse_is_refused_here() {
        for (yaml, key, line) in [
            ("bind_addresses: []\n", "bind_addresses", "line 1"),
            (
                "bind_addresses: [127.0.0.1, 127.0.0.1]\n",
                "bind_addresses",
                "line 1",
            ),
            (
                "bind_addresses: [127.0.0.1, 0.0.0.0]\n",
                "bind_addresses",
                "line 1",
            ),
            ("rtc:\n  node_ip: 0.0.0.0\n", "rtc.node_ip", "line 2"),
            ("rtc:\n  node_ip: \"::\"\n", "rtc.node_ip", "line 2"),
            ("rtc:\n  node_ip: 224.0.0.1\n", "rtc.node_ip", "line 2"),
            (
                "admin:\n  token_file: /nonexistent/token\n",
                "admin.token_file",
                "line 2",
            ),
            ("port: 7889\n", "port", "line 1"),
            (
                "admin:\n  listen: 127.0.0.1:7880\n",
                "admin.listen",
                "line 2",
            ),
            ("bind_addresses: [0.0.0.0]\nport: 7889\n", "port", "line 2"),
        ] {
            complains(yaml, &[key, line]);
        }
        assert!(Config::parse("x", "bind_addresses: [0.0.0.0, \"::\"]\n").is_ok());
        assert!(Config::parse("x", "port: 7889\nbind_addresses: [192.0.2.1]\n").is_ok());
        complains(
            &format!("keys:\n  \"\": {SECRET}\n"),
            &["keys.", "name", "line 2"],
        );
        complains(
            &format!("keys:\n  a: {{secret: {SECRET}, scopes: []}}\n"),
            &["keys.a.scopes", "line 2"],
        );
        complains(
            "keys:\n  a:\n    secret_file: /nonexistent/secret\n",
            &["keys.a.secret_file", "/nonexistent/secret", "line 3"],
        );
    }

    #[test]
    fn an_origin_is_what_browsers_send() {
        for good in [
            "https://a.example",
            "http://localhost:7880",
            "https://[2001:db8::1]:8443",
        ] {
            let yaml = format!("allowed_origins: [\"{good}\"]\n");
            assert_eq!(Config::parse("x", &yaml).unwrap().allowed_origins, [good]);
        }
        for bad in [
            "*",
            "a.example",
            "https://*.example",
            "https://a.example/",
            "https://a.example/path",
            "https://a.example:443",
            "http://a.example:80",
            "https://a.example:0",
            "https://a.example:x",
            "https://",
            "ftp://a.example",
            "https://user@a.example",
            "https://a b",
        ] {
            complains(
                &format!("allowed_origins:\n  - \"{bad}\"\n"),
                &["allowed_origins[0]", "line 2"],
            );
        }
    }

    #[test]
    fn keys_are_a_secret_or_an_object() {
        let yaml = format!(
            "keys:\n  a: {SECRET}\n  b:\n    secret: {SECRET}\n    authority: ulm\n    scopes: [join]\n  123: {SECRET}\n"
        );
        let config = Config::parse("x", &yaml).unwrap();
        assert_eq!(config.keys["a"].authority, AuthorityId::default());
        assert_eq!(config.keys["b"].authority.as_str(), "ulm");
        assert!(config.keys["b"].scopes.join && !config.keys["b"].scopes.admin);
        assert_eq!(&*config.keys["123"].name, "123");
        assert!(
            !format!("{config:?}").contains(SECRET),
            "Debug must not show secrets"
        );
        complains(
            &format!("keys:\n  b:\n    secret: {SECRET}\n    scopes: [join, admin]\n"),
            &["keys.b.scopes[1]", "server API", "line 4"],
        );
    }

    #[test]
    fn keys_of_livekit_that_have_no_effect_are_refused_with_advice() {
        complains(
            "rtc:\n  tcp_port: 7881\n",
            &[
                "rtc.tcp_port: ICE over TCP isn't built yet; remove the key",
                "(line 2)",
            ],
        );
        complains(
            "turn:\n  enabled: true\n",
            &["turn", "rtc.ice_servers", "(line 1)"],
        );
        for path in livekit::paths() {
            let yaml = match path.split_once('.') {
                Some((group, key)) => format!("{group}:\n  {key}: 1\n"),
                None => format!("{path}: 1\n"),
            };
            let text = error(&yaml);
            assert!(
                text.contains(path) && !text.contains("no such key"),
                "{text}"
            );
        }
    }

    #[test]
    fn rooms_are_made_by_whoever_joins() {
        assert!(Config::parse("x", "room:\n  auto_create: true\n").is_ok());
        complains(
            "room:\n  auto_create: false\n",
            &["room.auto_create", "server API", "(line 2)"],
        );
    }

    #[test]
    fn codecs_are_named_as_in_livekits_file_and_keep_their_order() {
        let yaml = "room:\n  enabled_codecs:\n    - mime: video/h264\n    - mime: audio/opus\n    - mime: video/rtx\n";
        let config = Config::parse("x", yaml).unwrap();
        assert_eq!(
            config.room.enabled_codecs,
            [CodecKind::H264, CodecKind::Opus]
        );
        complains(
            "room:\n  enabled_codecs:\n    - mime: video/vp7\n",
            &["room.enabled_codecs[0].mime", "video/VP8", "(line 3)"],
        );
        complains(
            "room:\n  enabled_codecs: []\n",
            &["room.enabled_codecs", "(line 2)"],
        );
        complains(
            "room:\n  enabled_codecs:\n    - {mime: video/vp8}\n    - {mime: video/vp8}\n",
            &["room.enabled_codecs[1]", "(line 4)"],
        );
    }

    #[test]
    fn ice_servers_are_checked_and_kept() {
        let yaml = "rtc:\n  ice_servers:\n    - urls: [\"stun:stun.example:3478\"]\n    - urls: turns:turn.example\n      username: u\n      credential: c\n";
        let servers = Config::parse("x", yaml).unwrap().rtc.ice_servers;
        assert_eq!(servers.len(), 2);
        assert_eq!(servers[1].urls, ["turns:turn.example"]);
        assert_eq!(
            (servers[1].username.as_str(), servers[1].credential.as_str()),
            ("u", "c")
        );
        let top = "ice_servers:\n  - urls: stun:a\n";
        assert_eq!(Config::parse("x", top).unwrap().rtc.ice_servers.len(), 1);
        complains(
            &format!("{top}rtc:\n  ice_servers:\n    - urls: stun:b\n"),
            &["ice_servers", "(line"],
        );
        complains(
            "ice_servers:\n  - urls: https://a\n",
            &["ice_servers[0].urls", "(line 2)"],
        );
        complains(
            "ice_servers:\n  - urls: turn:a\n",
            &["ice_servers[0]", "username", "(line 2)"],
        );
        complains(
            "ice_servers:\n  - username: a\n",
            &["ice_servers[0]", "urls", "(line 2)"],
        );
    }

    #[test]
    fn a_room_holds_no_more_than_the_limit_and_0_means_the_limit() {
        let config = Config::parse("x", "room:\n  max_participants: 0\n").unwrap();
        assert_eq!(config.room.max_participants, 0);
        assert!(Config::parse("x", "room:\n  max_participants: 3000\n").is_ok());
        complains(
            "room:\n  max_participants: 3001\n",
            &[
                "room.max_participants",
                "limits.participants_per_room",
                "3000",
                "(line 2)",
            ],
        );
        let raised = "room:\n  max_participants: 5000\nlimits:\n  participants_per_room: 5000\n";
        assert!(Config::parse("x", raised).is_ok());
        complains(
            "limits:\n  participants_per_room: 99\n",
            &["limits.participants_per_room"],
        );
    }
}
