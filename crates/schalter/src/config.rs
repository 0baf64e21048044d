//! The configuration file: one YAML document, every key optional. An unknown key or a value that makes no sense is
//! an error that names the key and the line.
//!
//! Keys that mean the same as in LiveKit's file have the same names. Values are checked while they are read, so
//! that every complaint has its line.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schalter_model::AuthorityId;
use schalter_signaling::authority::MIN_SECRET_LEN;
use schalter_transport::CryptoProfile;
use serde::{Deserialize, Deserializer, de};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Port of the pages and of signaling.
    pub(crate) port: Port,
    /// Addresses that port is opened on.
    pub(crate) bind_addresses: Vec<IpAddr>,
    /// API keys: name to secret, or to an object with secret, authority and scopes.
    pub(crate) keys: BTreeMap<String, Key>,
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
    #[serde(deserialize_with = "crypto_profile")]
    pub(crate) crypto_profile: CryptoProfile,
    /// Where generated keys and certificates are kept.
    pub(crate) state_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: Port(7880),
            bind_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            keys: BTreeMap::new(),
            rtc: Rtc::default(),
            room: Room::default(),
            limits: Limits::default(),
            admin: Admin::default(),
            allowed_origins: Vec::new(),
            crypto_profile: CryptoProfile::default(),
            state_dir: None,
        }
    }
}

/// Media: ports, addresses, workers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rtc {
    /// UDP port of the first worker; the others have the ports after it.
    pub(crate) udp_port: Port,
    /// Workers, each with a core and a port of its own. Fixed, so that firewall rules never move unasked.
    pub(crate) workers: Workers,
    /// Address that clients are told; without it every address of this machine, loopback last.
    pub(crate) node_ip: Option<IpAddr>,
    /// Pin each worker to a core.
    pub(crate) pin_workers: bool,
    /// How long packets for one subscriber may wait for company, in microseconds.
    pub(crate) burst_us: BurstMicros,
}

impl Default for Rtc {
    fn default() -> Self {
        Self {
            udp_port: Port(7882),
            workers: Workers(1),
            node_ip: None,
            pin_workers: true,
            burst_us: BurstMicros(1_000),
        }
    }
}

/// Rooms.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Room {
    /// Seconds that a room nobody joined stays.
    pub(crate) empty_timeout: u32,
    /// Seconds that a room stays after its last participant left.
    pub(crate) departure_timeout: u32,
    /// Participants at most in one room.
    pub(crate) max_participants: PositiveCount,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            empty_timeout: 300,
            departure_timeout: 20,
            max_participants: PositiveCount(100),
        }
    }
}

/// Bounds on what clients may ask for.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Rooms at once on this node.
    pub(crate) rooms: PositiveCount,
    /// Tracks that one participant may publish.
    pub(crate) tracks_per_participant: PositiveCount,
    /// Largest signaling message, in bytes.
    pub(crate) message_bytes: MessageBytes,
    /// Signaling messages of one connection per second, sustained.
    pub(crate) messages_per_second: PositiveCount,
    /// Data messages of one participant per second, sustained.
    pub(crate) data_messages_per_second: PositiveCount,
    /// Bytes of data messages that one participant may have fanned out per second, sustained.
    pub(crate) data_bytes_per_second: PositiveCount,
    /// Transports at once on one worker.
    pub(crate) transports_per_worker: PositiveCount,
    /// Transports at once on one worker that have not finished their handshake.
    pub(crate) half_open_transports_per_worker: PositiveCount,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: PositiveCount(10_000),
            tracks_per_participant: PositiveCount(32),
            message_bytes: MessageBytes(512 * 1024),
            messages_per_second: PositiveCount(50),
            data_messages_per_second: PositiveCount(1_000),
            data_bytes_per_second: PositiveCount(8 << 20),
            transports_per_worker: PositiveCount(4_000),
            half_open_transports_per_worker: PositiveCount(1_000),
        }
    }
}

/// The operator's own listener: metrics, health, administration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    /// `unix:/path` or `address:port`.
    pub(crate) listen: AdminListen,
    /// File with the bearer token; without it a token is generated and kept in the state directory.
    pub(crate) token_file: Option<PathBuf>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: AdminListen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 7881))),
            token_file: None,
        }
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

impl<'de> Deserialize<'de> for AdminListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("address:port or unix:/path", |text| {
            match text.strip_prefix("unix:") {
                Some(path) => path.starts_with('/').then(|| Self::Unix(path.into())),
                None => text.parse().ok().map(Self::Tcp),
            }
        }))
    }
}

/// Reads a text that has a form. Values are checked inside of a visitor, because only errors from there carry key
/// and line.
struct Text<T>(&'static str, fn(&str) -> Option<T>);

impl<T> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// Reads a whole number within bounds.
struct Within(RangeInclusive<i64>, &'static str);

impl de::Visitor<'_> for Within {
    type Value = i64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.1)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<i64, E> {
        if self.0.contains(&value) {
            Ok(value)
        } else {
            Err(E::invalid_value(de::Unexpected::Signed(value), &self))
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<i64, E> {
        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

/// One API key.
#[derive(Clone)]
pub(crate) struct Key {
    /// What tokens are signed with.
    pub(crate) secret: String,
    /// Whose rooms it opens.
    pub(crate) authority: AuthorityId,
    /// What it may sign.
    pub(crate) scopes: Vec<Scope>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("authority", &self.authority)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// What a key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// Tokens to join rooms.
    Join,
    /// Tokens to administrate rooms.
    Admin,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct KeyObject {
    secret: Option<String>,
    secret_file: Option<PathBuf>,
    authority: Option<String>,
    scopes: Option<Vec<Scope>>,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Key;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "a secret, or an object with secret (or secret_file), authority and scopes",
                )
            }

            fn visit_str<E: de::Error>(self, secret: &str) -> Result<Key, E> {
                Key::read(KeyObject {
                    secret: Some(secret.to_owned()),
                    ..KeyObject::default()
                })
                .map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Key, A::Error> {
                let object = KeyObject::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Key::read(object).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Key {
    fn read(object: KeyObject) -> Result<Self, String> {
        let secret = match (object.secret, object.secret_file) {
            (Some(secret), None) => secret,
            (None, Some(file)) => std::fs::read_to_string(&file)
                .map(|text| text.trim().to_owned())
                .map_err(|error| format!("secret_file {}: {error}", file.display()))?,
            (Some(_), Some(_)) => {
                return Err("a key has either secret or secret_file, not both".to_owned());
            }
            (None, None) => return Err("a key needs secret or secret_file".to_owned()),
        };
        if secret.len() < MIN_SECRET_LEN {
            return Err(format!(
                "a secret has at least {MIN_SECRET_LEN} characters; `openssl rand -base64 36` makes one"
            ));
        }
        let authority = match object.authority {
            None => AuthorityId::default(),
            Some(name) => AuthorityId::new(&name).map_err(|error| error.to_string())?,
        };
        Ok(Self {
            secret,
            authority,
            scopes: object
                .scopes
                .unwrap_or_else(|| vec![Scope::Join, Scope::Admin]),
        })
    }
}

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident($inner:ty), $range:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = deserializer.deserialize_i64(Within($range, $what))?;
                Ok(Self(value as $inner))
            }
        }
    };
}

bounded!(
    /// A port; 0 lets the system choose.
    Port(u16), 0..=65_535, "a port from 0 to 65535"
);
bounded!(
    /// How many workers there are.
    Workers(u8), 1..=64, "1 to 64 workers"
);
bounded!(
    /// Microseconds that a burst may wait.
    BurstMicros(u32), 0..=10_000, "0 to 10000 microseconds"
);
bounded!(
    /// A count of at least one.
    PositiveCount(u32), 1..=1_000_000_000, "a number from 1 to 1000000000"
);
bounded!(
    /// Largest signaling message in bytes.
    MessageBytes(u32), 16_384..=16_777_216, "16384 to 16777216 bytes"
);

impl Rtc {
    /// How long packets for one subscriber may wait for company.
    pub(crate) fn burst(&self) -> Duration {
        Duration::from_micros(u64::from(self.burst_us.0))
    }
}

fn crypto_profile<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CryptoProfile, D::Error> {
    deserializer.deserialize_str(Text("standard or bsi", |text| match text {
        "standard" => Some(CryptoProfile::Standard),
        "bsi" => Some(CryptoProfile::Bsi),
        _ => None,
    }))
}

/// What is wrong with a configuration file; the text names file, key and line.
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
    /// The file can't be understood.
    #[error("{path}: {source}")]
    Parse {
        /// Which file.
        path: String,
        /// What and where.
        source: serde_yaml::Error,
    },
    /// The file asks for ports past the last one.
    #[error("{path}: rtc.udp_port {first} with {workers} workers would pass port 65535")]
    Ports {
        /// Which file.
        path: String,
        /// First port.
        first: u16,
        /// Workers.
        workers: u8,
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

    /// What an operator wants to see at a glance; no secrets.
    pub(crate) fn summary(&self) -> String {
        let list = |addresses: &[IpAddr]| {
            addresses
                .iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let first = self.rtc.udp_port.0;
        let last = first.saturating_add(u16::from(self.rtc.workers.0) - 1);
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
            self.port.0,
            list(&self.bind_addresses),
        )
    }

    fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        // A file of comments only is null to YAML, and means the defaults.
        let config: Option<Self> =
            serde_yaml::from_str(text).map_err(|source| ConfigError::Parse {
                path: name.to_owned(),
                source,
            })?;
        let config = config.unwrap_or_default();
        let (first, workers) = (config.rtc.udp_port.0, config.rtc.workers.0);
        if first != 0 && first.checked_add(u16::from(workers) - 1).is_none() {
            return Err(ConfigError::Ports {
                path: name.to_owned(),
                first,
                workers,
            });
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse("schalter.yaml", text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        for text in ["", "# nothing\n", "{}\n"] {
            let config = Config::parse("x", text).unwrap();
            assert_eq!(config.port, Port(7880));
            assert_eq!(config.rtc.udp_port, Port(7882));
            assert!(config.bind_addresses.iter().all(IpAddr::is_loopback));
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = error("port: 7880\nrtc:\n  udp_prot: 1\n");
        assert!(
            text.contains("udp_prot") && text.contains("line 3"),
            "{text}"
        );
    }

    #[test]
    fn a_bad_value_is_named_with_its_key_and_line() {
        for (yaml, key, line) in [
            ("port: 70000\n", "port", "line 1"),
            ("rtc:\n  workers: 0\n", "rtc.workers", "line 2"),
            ("rtc:\n  node_ip: here\n", "rtc.node_ip", "line 2"),
            (
                "room:\n  max_participants: 0\n",
                "room.max_participants",
                "line 2",
            ),
            ("crypto_profile: none\n", "crypto_profile", "line 1"),
            (
                "limits:\n  message_bytes: 1\n",
                "limits.message_bytes",
                "line 2",
            ),
            ("keys:\n  a: short\n", "keys", "line 2"),
            (
                "keys:\n  a:\n    secret: 0123456789abcdef0123456789abcdef\n    authority: Ulm\n",
                "keys",
                "line",
            ),
            ("admin:\n  listen: somewhere\n", "admin.listen", "line 2"),
        ] {
            let text = error(yaml);
            assert!(
                text.contains(key) && text.contains(line),
                "{yaml:?}: {text}"
            );
        }
    }

    #[test]
    fn ports_past_the_last_one_are_refused() {
        let text = error("rtc:\n  udp_port: 65535\n  workers: 2\n");
        assert!(
            text.contains("rtc.udp_port") && text.contains("65535"),
            "{text}"
        );
    }

    #[test]
    fn keys_are_a_secret_or_an_object() {
        let secret = "0123456789abcdef0123456789abcdef";
        let yaml = format!(
            "keys:\n  a: {secret}\n  b:\n    secret: {secret}\n    authority: ulm\n    scopes: [join]\n"
        );
        let config = Config::parse("x", &yaml).unwrap();
        assert_eq!(config.keys["a"].authority, AuthorityId::default());
        assert_eq!(config.keys["b"].authority.as_str(), "ulm");
        assert_eq!(config.keys["b"].scopes, [Scope::Join]);
        assert!(
            !format!("{config:?}").contains(secret),
            "Debug must not show secrets"
        );
    }
}
