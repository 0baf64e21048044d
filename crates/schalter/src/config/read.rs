//! Which keys there are, and what their values may be.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schalter_metrics::AdminAuth;
use schalter_model::AuthorityId;
use schalter_signaling::authority::{ApiKey, KeyScopes, MIN_SECRET_LEN};
use schalter_signaling::config::IceServer;
use schalter_signaling::sdp::CodecKind;
use schalter_transport::CryptoProfile;

use super::document::{Complaint, Value};
use super::{
    Admin, AdminListen, AdminToken, Audio, Config, Desk, Limits, ProxyProtocol, Room, Rtc,
    Signaling, Tls, Turn, Webhook, addresses, livekit,
};
use crate::check;

/// The upper end of counts that have no other: enough for every machine, and far from where sums overflow.
pub(super) const MOST: i64 = 1_000_000_000;
/// Most seconds of a timeout: a day.
pub(super) const DAY: i64 = 86_400;

impl Config {
    pub(super) fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut config = Self::default();
        let mut file = value.group()?;
        file.take("port", &mut config.port, |v| v.number(0..=65_535))?;
        file.take("bind_addresses", &mut config.bind_addresses, bind_addresses)?;
        file.take("keys", &mut config.keys, keys)?;
        file.take("rtc", &mut config.rtc, Rtc::read)?;
        if let Some(servers) = file.value("ice_servers") {
            if !config.rtc.ice_servers.is_empty() {
                return servers
                    .complain("this is another name of rtc.ice_servers, which is there, too");
            }
            config.rtc.ice_servers = ice_servers(&servers)?;
        }
        file.take("signaling", &mut config.signaling, Signaling::read)?;
        file.take("room", &mut config.room, Room::read)?;
        file.take("audio", &mut config.audio, Audio::read)?;
        file.take("limits", &mut config.limits, Limits::read)?;
        file.take("turn", &mut config.turn, Turn::read)?;
        file.take("admin", &mut config.admin, Admin::read)?;
        file.take("webhook", &mut config.webhook, Webhook::read)?;
        file.take("allowed_origins", &mut config.allowed_origins, |v| {
            v.list()?.iter().map(origin).collect()
        })?;
        file.take("crypto_profile", &mut config.crypto_profile, crypto_profile)?;
        let profile = config.crypto_profile;
        file.take("tls", &mut config.tls, |v| Tls::read(v, profile).map(Some))?;
        file.take(
            "proxy_protocol",
            &mut config.proxy_protocol,
            ProxyProtocol::read,
        )?;
        file.take("region", &mut config.region, |v| Ok(v.text()?.to_owned()))?;
        file.take("state_dir", &mut config.state_dir, |v| {
            Ok(Some(v.text()?.into()))
        })?;
        file.take("desk", &mut config.desk, |v| Desk::read(v).map(Some))?;
        file.finish(livekit::advice)?;
        Ok(config)
    }
}

pub(super) fn bind_addresses(value: &Value<'_>) -> Result<Vec<IpAddr>, Complaint> {
    let addresses: Vec<IpAddr> = value
        .list()?
        .iter()
        .map(Value::ip)
        .collect::<Result<_, _>>()?;
    if addresses.is_empty() {
        return value.complain("without an address nobody could reach the pages");
    }
    Ok(addresses)
}

fn crypto_profile(value: &Value<'_>) -> Result<CryptoProfile, Complaint> {
    value.read("standard or bsi", |text| match text {
        "standard" => Some(CryptoProfile::Standard),
        "bsi" => Some(CryptoProfile::Bsi),
        _ => None,
    })
}

/// An origin as browsers send it (RFC 6454 §6.2).
pub(super) fn origin(value: &Value<'_>) -> Result<String, Complaint> {
    let expected = "an origin as browsers send it (https://host or https://host:port, without a path, a wildcard or \
                    the scheme's own port)";
    value.read(expected, |text| {
        let (default_port, authority) = match text.split_once("://")? {
            ("https", authority) => (443, authority),
            ("http", authority) => (80, authority),
            _ => return None,
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port: u16 = port.parse().ok()?;
                (host, Some(port))
            }
            Some(_) | None => (authority, None),
        };
        let named = !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
        let usable = port.is_none_or(|port| port != 0 && port != default_port);
        ((named || literal) && usable).then(|| text.to_owned())
    })
}

pub(super) fn secret_from(value: &Value<'_>, file: &Path) -> Result<String, Complaint> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => value.complain(format!("{}: {error}", file.display())),
    }
}

fn keys(value: &Value<'_>) -> Result<BTreeMap<String, ApiKey>, Complaint> {
    value
        .group()?
        .entries()
        .map(|(name, value)| Ok((name.to_owned(), key(name, &value)?)))
        .collect()
}

/// One API key: a secret, or a group with secret or secret_file, authority and scopes.
fn key(name: &str, value: &Value<'_>) -> Result<ApiKey, Complaint> {
    if name == check::NAME || name.starts_with(crate::desk::KEY) {
        return value.complain("this name is the server's own; choose another");
    }
    let mut authority = AuthorityId::default();
    let mut scopes = KeyScopes::ALL;
    let secret;
    if let Ok(mut group) = value.group() {
        secret = match (group.value("secret"), group.value("secret_file")) {
            (Some(secret), None) => secret.text()?.to_owned(),
            (None, Some(file)) => {
                let path = file.text()?;
                secret_from(&file, Path::new(path))?
            }
            (Some(_), Some(_)) => {
                return value.complain("a key has either secret or secret_file, not both");
            }
            (None, None) => return value.complain("a key needs secret or secret_file"),
        };
        group.take("authority", &mut authority, |v| {
            AuthorityId::new(v.text()?).or_else(|error| v.complain(error.to_string()))
        })?;
        group.take("scopes", &mut scopes, key_scopes)?;
        group.finish(|_| None)?;
    } else if value.is_list() {
        return value
            .complain("a secret, or a group with secret, authority and scopes, is expected here");
    } else {
        secret = value.text()?.to_owned();
    }
    if secret.len() < MIN_SECRET_LEN {
        return value.complain(format!(
            "a secret has at least {MIN_SECRET_LEN} characters; `openssl rand -base64 36` makes one"
        ));
    }
    ApiKey::new(name, &secret, authority, scopes).or_else(|error| value.complain(error.to_string()))
}

fn key_scopes(value: &Value<'_>) -> Result<KeyScopes, Complaint> {
    let mut scopes = KeyScopes {
        join: false,
        admin: false,
    };
    let list = value.list()?;
    if list.is_empty() {
        return value.complain("a key without scopes would be of no use; leave the key out");
    }
    for scope in list {
        match scope.text()? {
            "join" => scopes.join = true,
            "admin" => scopes.admin = true,
            // What stands here instead may be anything.
            _ => return scope.complain("a scope is join or admin"),
        }
    }
    Ok(scopes)
}

impl Rtc {
    fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut rtc = Self::default();
        let mut group = value.group()?;
        group.take("udp_port", &mut rtc.udp_port, |v| v.number(0..=65_535))?;
        group.take("tcp_port", &mut rtc.tcp_port, |v| {
            Ok(Some(v.number(0..=65_535)?))
        })?;
        group.take("workers", &mut rtc.workers, |v| v.number(1..=64))?;
        group.take("node_ip", &mut rtc.node_ip, |v| {
            addresses::told(v).map(Some)
        })?;
        let one = rtc.node_ip.is_some();
        group.take("addresses", &mut rtc.addresses, |v| {
            if one {
                return v.complain("these take the place of rtc.node_ip: set one of the two");
            }
            addresses::rules(v)
        })?;
        group.take("pin_workers", &mut rtc.pin_workers, Value::boolean)?;
        group.take("burst_us", &mut rtc.burst, |v| {
            Ok(Duration::from_micros(v.number(0..=10_000)?))
        })?;
        group.take("ice_servers", &mut rtc.ice_servers, ice_servers)?;
        group.finish(livekit::advice)?;
        Ok(rtc)
    }
}

fn ice_servers(value: &Value<'_>) -> Result<Vec<IceServer>, Complaint> {
    value.list()?.iter().map(ice_server).collect()
}

/// A server as `RTCIceServer` has it: urls, username, credential.
fn ice_server(value: &Value<'_>) -> Result<IceServer, Complaint> {
    let mut server = IceServer {
        urls: Vec::new(),
        username: String::new(),
        credential: String::new(),
    };
    let mut group = value.group()?;
    group.take("urls", &mut server.urls, |v| {
        if v.is_text() {
            return Ok(vec![ice_url(v)?]);
        }
        v.list()?.iter().map(ice_url).collect()
    })?;
    group.take("username", &mut server.username, |v| {
        Ok(v.text()?.to_owned())
    })?;
    group.take("credential", &mut server.credential, |v| {
        Ok(v.text()?.to_owned())
    })?;
    group.finish(|_| None)?;
    if server.urls.is_empty() {
        return value.complain("a server needs urls");
    }
    let turn = server.urls.iter().any(|url| url.starts_with("turn"));
    if turn && (server.username.is_empty() || server.credential.is_empty()) {
        return value.complain("a TURN server needs username and credential");
    }
    Ok(server)
}

/// RFC 7064, RFC 7065: a scheme and a host, no slashes.
fn ice_url(value: &Value<'_>) -> Result<String, Complaint> {
    value.read("stun:host, turn:host or turns:host", |url| {
        let (scheme, host) = url.split_once(':')?;
        let known = ["stun", "stuns", "turn", "turns"].contains(&scheme);
        let fits =
            !host.is_empty() && !host.starts_with('/') && !host.contains(char::is_whitespace);
        (known && fits).then(|| url.to_owned())
    })
}

impl Room {
    fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut room = Self::default();
        let mut group = value.group()?;
        group.take("empty_timeout", &mut room.empty_timeout, |v| {
            v.number(0..=DAY)
        })?;
        group.take("departure_timeout", &mut room.departure_timeout, |v| {
            v.number(0..=DAY)
        })?;
        group.take("max_participants", &mut room.max_participants, |v| {
            v.number(0..=MOST)
        })?;
        group.take("enabled_codecs", &mut room.enabled_codecs, enabled_codecs)?;
        group.take("auto_create", &mut room.auto_create, Value::boolean)?;
        group.take("simulate", &mut room.simulate, Value::boolean)?;
        group.finish(livekit::advice)?;
        Ok(room)
    }
}

fn enabled_codecs(value: &Value<'_>) -> Result<Vec<CodecKind>, Complaint> {
    let known = CodecKind::ALL.map(CodecKind::mime).join(", ");
    let mut codecs = Vec::new();
    for value in value.list()? {
        let mut group = value.group()?;
        let Some(mime) = group.value("mime") else {
            return value.complain("a codec needs mime");
        };
        // Retransmissions are always there; LiveKit's own default file names them.
        let retransmissions = |text: &str| text.eq_ignore_ascii_case("video/rtx");
        let codec = mime.read(&known, |text| {
            if retransmissions(text) {
                return Some(None);
            }
            let named = CodecKind::parse(text).filter(|_| text.contains('/'));
            named.map(Some)
        })?;
        group.finish(|_| None)?;
        if let Some(codec) = codec {
            if codecs.contains(&codec) {
                return value.complain(format!("{} is there twice", codec.mime()));
            }
            codecs.push(codec);
        }
    }
    if codecs.is_empty() {
        return value.complain("without a codec nobody could publish");
    }
    Ok(codecs)
}

impl Limits {
    fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut limits = Self::default();
        let mut group = value.group()?;
        for (key, slot, range) in [
            ("rooms", &mut limits.rooms, 1..=MOST),
            (
                "rooms_per_authority",
                &mut limits.rooms_per_authority,
                1..=MOST,
            ),
            (
                "participants_per_room",
                &mut limits.participants_per_room,
                1..=100_000,
            ),
            (
                "tracks_per_participant",
                &mut limits.tracks_per_participant,
                1..=MOST,
            ),
            (
                "data_tracks_per_participant",
                &mut limits.data_tracks_per_participant,
                0..=MOST,
            ),
            (
                "message_bytes",
                &mut limits.message_bytes,
                16_384..=16_777_216,
            ),
            (
                "messages_per_second",
                &mut limits.messages_per_second,
                1..=MOST,
            ),
            ("message_burst", &mut limits.message_burst, 1..=MOST),
            (
                "data_messages_per_second",
                &mut limits.data_messages_per_second,
                1..=MOST,
            ),
            (
                "data_bytes_per_second",
                &mut limits.data_bytes_per_second,
                1..=MOST,
            ),
            (
                "transports_per_worker",
                &mut limits.transports_per_worker,
                1..=MOST,
            ),
            (
                "half_open_transports_per_worker",
                &mut limits.half_open_transports_per_worker,
                1..=MOST,
            ),
            ("connections", &mut limits.connections, 1..=1_000_000),
            (
                "half_open_connections",
                &mut limits.half_open_connections,
                1..=1_000_000,
            ),
            (
                "unproven_streams_per_address",
                &mut limits.unproven_streams_per_address,
                1..=1_000_000,
            ),
            ("request_seconds", &mut limits.request_seconds, 1..=300),
            (
                "failed_checks_per_second",
                &mut limits.failed_checks_per_second,
                1..=MOST,
            ),
            (
                "check_responses_per_second",
                &mut limits.check_responses_per_second,
                1..=MOST,
            ),
            (
                "turn_allocations_per_worker",
                &mut limits.turn_allocations_per_worker,
                // As many as an address has ports for.
                1..=16_000,
            ),
            (
                "turn_allocations_per_user",
                &mut limits.turn_allocations_per_user,
                1..=16_000,
            ),
            (
                "turn_answers_per_second",
                &mut limits.turn_answers_per_second,
                1..=MOST,
            ),
            ("checks", &mut limits.checks, 0..=1_000),
            ("revocations", &mut limits.revocations, 1..=10_000_000),
            (
                "revocations_per_authority",
                &mut limits.revocations_per_authority,
                1..=10_000_000,
            ),
        ] {
            group.take(key, slot, |v| v.number(range))?;
        }
        group.finish(|_| None)?;
        Ok(limits)
    }
}

impl Admin {
    fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut admin = Self::default();
        let mut group = value.group()?;
        group.take("listen", &mut admin.listen, |v| {
            v.read("address:port or unix:/path", AdminListen::parse)
        })?;
        group.take("token_file", &mut admin.token, |v| {
            let token = secret_from(v, Path::new(v.text()?))?;
            match AdminAuth::new(&token) {
                Ok(_) => Ok(Some(AdminToken(token))),
                Err(error) => v.complain(error.to_string()),
            }
        })?;
        group.finish(|_| None)?;
        Ok(admin)
    }
}

impl AdminListen {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some(path) => {
                let path = PathBuf::from(path);
                path.is_absolute().then_some(Self::Unix(path))
            }
            None => text.parse::<SocketAddr>().ok().map(Self::Tcp),
        }
    }
}
