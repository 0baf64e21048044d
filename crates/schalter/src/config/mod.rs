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

use schalter_shard::LoudestConfig;
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
    /// Sound.
    pub(crate) audio: Audio,
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
            audio: Audio::default(),
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

/// Sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Audio {
    /// Speakers heard at once in a big room, 0 for all.
    pub(crate) loudest: u32,
    /// Audio tracks from which a room is big.
    pub(crate) loudest_from: u32,
}

impl Default for Audio {
    fn default() -> Self {
        let LoudestConfig { most, from } = LoudestConfig::default();
        Self {
            loudest: most as u32,
            loudest_from: from as u32,
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
        let Audio {
            loudest,
            loudest_from,
        } = self.audio;
        if loudest > 0 && loudest_from <= loudest {
            return complain(
                "audio.loudest_from",
                format!(
                    "rooms of {loudest_from} have no more speakers than audio.loudest, {loudest}"
                ),
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
mod tests;
