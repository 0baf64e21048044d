//! The configuration file: one YAML document, every key optional. An unknown key or a value that makes no sense is
//! an error that names the key and the line, and never repeats what may be a secret.
//!
//! Keys that mean the same as in LiveKit's file have the same names. What only the server itself can find out (a port
//! in use, an address of another machine) is left to it; everything else is checked here, so that `check-config`
//! refuses what `serve` would.

mod acme;
mod addresses;
mod audio;
mod desk;
mod document;
mod livekit;
mod ports;
mod read;
mod signaling;
mod summary;
mod tls;
mod turn;
mod webhook;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schalter_signaling::authority::ApiKey;
use schalter_signaling::config::{IceServer, PUBLISH_ORDER};
use schalter_signaling::sdp::CodecKind;
use schalter_transport::CryptoProfile;

use crate::addresses::AddressRule;
use document::{Complaint, Node, Place, Value};
use read::bind_addresses;

pub(crate) use acme::Acme;
pub(crate) use audio::Audio;
pub(crate) use desk::{Audit, Desk, DeskWebhook, Office, signing_key};
pub(crate) use signaling::Signaling;
pub(crate) use tls::{ProxyProtocol, Tls, TlsSource};
pub(crate) use turn::Turn;
pub(crate) use webhook::Webhook;

/// The whole file.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Port of the pages and of signaling; 0 lets the system choose.
    pub(crate) port: u16,
    /// Addresses that port is opened on, at least one.
    pub(crate) bind_addresses: Vec<IpAddr>,
    /// TLS of ours; without it the pages' port speaks plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// Balancers in front.
    pub(crate) proxy_protocol: ProxyProtocol,
    /// API keys by name; without any a development key is made.
    pub(crate) keys: BTreeMap<String, ApiKey>,
    /// Media.
    pub(crate) rtc: Rtc,
    /// Signaling.
    pub(crate) signaling: Signaling,
    /// Rooms.
    pub(crate) room: Room,
    /// Sound.
    pub(crate) audio: Audio,
    /// Bounds on what clients may ask for.
    pub(crate) limits: Limits,
    /// The operator's own listener.
    pub(crate) admin: Admin,
    /// The built-in TURN server.
    pub(crate) turn: Turn,
    /// Who is told of rooms.
    pub(crate) webhook: Webhook,
    /// Origins that browsers may open the signaling WebSocket from; empty: any, since tokens protect rooms.
    pub(crate) allowed_origins: Vec<String>,
    /// Which cryptography may be negotiated.
    pub(crate) crypto_profile: CryptoProfile,
    /// The region that clients are told of, maybe empty.
    pub(crate) region: String,
    /// Where generated keys and certificates are kept.
    pub(crate) state_dir: Option<PathBuf>,
    /// The consultation; without it there is none, but for a demo where nothing is configured at all.
    pub(crate) desk: Option<Desk>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 7880,
            bind_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            tls: None,
            proxy_protocol: ProxyProtocol::default(),
            keys: BTreeMap::new(),
            rtc: Rtc::default(),
            signaling: Signaling::default(),
            room: Room::default(),
            audio: Audio::default(),
            limits: Limits::default(),
            admin: Admin::default(),
            turn: Turn::default(),
            webhook: Webhook::default(),
            allowed_origins: Vec::new(),
            crypto_profile: CryptoProfile::default(),
            region: String::new(),
            state_dir: None,
            desk: None,
        }
    }
}

/// Media: ports, addresses, workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rtc {
    /// UDP port of the first worker, the others have the ports after it; 0 lets the system choose.
    pub(crate) udp_port: u16,
    /// TCP port that clients connect to where UDP does not get through (ICE-TCP); 0 for none. See [`Rtc::tcp_port`].
    pub(crate) tcp_port: Option<u16>,
    /// Workers, each with a core and a port of its own. Fixed, so that firewall rules never move unasked.
    pub(crate) workers: u8,
    /// Address that clients are told, opened on every address of its kind.
    pub(crate) node_ip: Option<IpAddr>,
    /// Addresses in place of `node_ip`; without either, every address of this machine, loopback last.
    pub(crate) addresses: Vec<AddressRule>,
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
            tcp_port: None,
            workers: 1,
            node_ip: None,
            addresses: Vec::new(),
            pin_workers: true,
            burst: Duration::from_millis(1),
            ice_servers: Vec::new(),
        }
    }
}

impl Rtc {
    /// Port of ICE-TCP, if there is one. Where the system chooses the UDP port, several servers are meant to run side by
    /// side, and a port that nobody named would be taken already.
    pub(crate) fn tcp_port(&self) -> Option<u16> {
        let unnamed = (self.udp_port != 0).then_some(ICE_TCP_PORT);
        self.tcp_port.or(unnamed).filter(|port| *port != 0)
    }
}

/// Port of ICE-TCP unless the file names one: LiveKit's.
const ICE_TCP_PORT: u16 = 7881;

/// Rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Seconds that a room nobody joined stays.
    pub(crate) empty_timeout: u32,
    /// Seconds that a room stays after its last participant left.
    pub(crate) departure_timeout: u32,
    /// Participants at most in one room, 0 for as many as [`Limits::participants_per_room`].
    pub(crate) max_participants: u32,
    /// Whether a join makes a room that isn't there; else only the room service does.
    pub(crate) auto_create: bool,
    /// Whether clients may have faults of their own session simulated.
    pub(crate) simulate: bool,
    /// Codecs that may be published and received, in order of preference.
    pub(crate) enabled_codecs: Vec<CodecKind>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            empty_timeout: 300,
            departure_timeout: 20,
            max_participants: 100,
            auto_create: true,
            simulate: false,
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
    /// Connections at once that have not finished TLS or sent their first bytes yet.
    pub(crate) half_open_connections: u32,
    /// Those of one address, and on each worker its connections for media on which nothing authentic came yet.
    pub(crate) unproven_streams_per_address: u32,
    /// Seconds until a connection's first request must be complete.
    pub(crate) request_seconds: u32,
    /// Connectivity checks with wrong integrity that are looked at, per transport and second.
    pub(crate) failed_checks_per_second: u32,
    /// Connectivity checks that are answered, per transport and second.
    pub(crate) check_responses_per_second: u32,
    /// TURN allocations at once on one worker.
    pub(crate) turn_allocations_per_worker: u32,
    /// TURN allocations at once with the same credentials.
    pub(crate) turn_allocations_per_user: u32,
    /// Answers of one worker's TURN server per second to who has not proven anything over UDP.
    pub(crate) turn_answers_per_second: u32,
    /// People at once who check their connection without a link, 0 for none.
    pub(crate) checks: u32,
    /// Revocations of tokens that are remembered.
    pub(crate) revocations: u32,
    /// Those of one authority.
    pub(crate) revocations_per_authority: u32,
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
            half_open_connections: 1_000,
            unproven_streams_per_address: 250,
            request_seconds: 10,
            failed_checks_per_second: 50,
            check_responses_per_second: 80,
            turn_allocations_per_worker: 8_000,
            turn_allocations_per_user: 48,
            turn_answers_per_second: 2_000,
            checks: 20,
            revocations: 100_000,
            revocations_per_authority: 100_000,
        }
    }
}

/// The operator's own listener: metrics, health, administration.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, PartialEq, Eq)]
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
        self.webhook.check(&self.keys)?;
        self.signaling.check()?;
        self.check_ports()?;
        self.check_desk()?;
        let complain = |path: &str, what: String| Err(Complaint::new(Place::of(path), what));
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

    fn check_desk(&self) -> Result<(), Complaint> {
        let Some(desk) = &self.desk else {
            return Ok(());
        };
        let tls = self.tls.iter().flat_map(|tls| &tls.bind_addresses);
        desk.check(self.bind_addresses.iter().chain(tls), &self.keys)
    }

    /// The certificate authority, if certificates come from one.
    pub(crate) fn acme(&self) -> Option<&Acme> {
        match &self.tls.as_ref()?.source {
            TlsSource::Acme(acme) => Some(acme),
            TlsSource::Files(_) => None,
        }
    }
}

/// Whether sockets on these addresses could not have the same port. IPv6 sockets take no IPv4.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
}

#[cfg(test)]
mod tests;
