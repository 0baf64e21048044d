//! The TURN servers that the shards are: what each shard needs to know, what clients are told, and what is answered to a
//! connection before a shard has it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schalter_model::ShardId;
use schalter_net::Workers;
use schalter_shard::TurnService;
use schalter_shard::control::Command;
use schalter_signaling::{ShardInfo, TurnServers, TurnUrls};
use schalter_stun::{BINDING, StunClass, StunMessage, StunWriter};
use schalter_turn::{Secret, TurnLimits, challenge, user_of};

use crate::Failure;
use crate::config::Config;
use crate::front::TurnDoor;
use crate::media::NODE;

/// Has every shard serve TURN; answers what clients are to be told. `None` if the configuration wants no TURN.
pub(crate) fn start(
    config: &Config,
    workers: &Workers,
    shards: &[ShardInfo],
    ways: &Ways,
) -> Result<Option<TurnServers>, Failure> {
    if !config.turn.enabled {
        return Ok(None);
    }
    let limits = TurnLimits {
        allocations: config.limits.turn_allocations_per_worker as usize,
        allocations_per_user: config.limits.turn_allocations_per_user as usize,
        unproven_answers_per_second: config.limits.turn_answers_per_second,
    };
    // Made anew at each start: credentials are of no use to a server that knows none of the calls they were for.
    let secret = Secret::new(rand::random());
    for shard in shards {
        let service = TurnService {
            node: NODE,
            secret: secret.clone(),
            targets: shard.candidates.clone(),
            limits,
        };
        workers
            .send(shard.id, Command::ServeTurn(Box::new(service)))
            .map_err(Failure::setup)?;
    }
    Ok(Some(TurnServers {
        node: NODE,
        secret,
        ttl: Duration::from_secs(u64::from(config.turn.credential_ttl)),
        urls: TurnUrls::new(urls_of(shards, ways)),
    }))
}

/// How TURN is reached, as clients are told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    /// The UDP port of each shard for TURN; none at all where there is no TURN over UDP.
    pub(crate) udp_ports: Vec<u16>,
    /// The port for TCP without TLS.
    pub(crate) tcp_port: Option<u16>,
    /// Host and port for TLS.
    pub(crate) tls: Option<(String, u16)>,
}

/// What clients are told, kept up with the certificate's names.
pub(crate) struct Told {
    pub(crate) urls: TurnUrls,
    pub(crate) shards: Vec<ShardInfo>,
    pub(crate) ways: Ways,
}

impl Told {
    /// Clients reach TURN over TLS at this host and port from now on. Returns whether that is new.
    pub(crate) fn by_tls(&self, tls: Option<(String, u16)>) -> bool {
        let ways = Ways {
            tls,
            ..self.ways.clone()
        };
        self.urls.replace(urls_of(&self.shards, &ways))
    }
}

fn urls_of(shards: &[ShardInfo], ways: &Ways) -> Vec<Vec<String>> {
    shards.iter().map(|shard| urls(shard, ways)).collect()
}

/// The URLs by which a shard's TURN server is reached, the best first: every URL that clients are told of comes from here.
fn urls(shard: &ShardInfo, ways: &Ways) -> Vec<String> {
    let at = |port: Option<u16>, transport: &'static str| {
        port.into_iter().flat_map(move |port| {
            few(&shard.candidates).map(move |socket| {
                let socket = SocketAddr::new(socket.ip(), port);
                format!("turn:{socket}?transport={transport}")
            })
        })
    };
    let udp = ways.udp_ports.get(usize::from(shard.id.0)).copied();
    let (udp, tcp) = (at(udp, "udp"), at(ways.tcp_port, "tcp"));
    let tls = ways.tls.iter();
    let tls = tls.map(|(host, port)| format!("turns:{host}:{port}?transport=tcp"));
    udp.chain(tcp).chain(tls).collect()
}

/// Answers connections of TURN until they name a user, and then tells the shard.
pub(crate) fn door(servers: &TurnServers) -> Arc<dyn TurnDoor> {
    Arc::new(Door {
        node: servers.node,
        secret: servers.secret.clone(),
    })
}

struct Door {
    node: u16,
    secret: Secret,
}

impl TurnDoor for Door {
    fn answer(&self, remote: SocketAddr, datagram: &[u8], out: &mut [u8]) -> Option<usize> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        challenge(&self.secret, seconds, remote, datagram, out)
            .or_else(|| mapped(remote, datagram, out))
    }

    fn shard(&self, datagram: &[u8]) -> Option<ShardId> {
        let user = user_of(datagram)?;
        (user.node() == self.node).then(|| user.shard())
    }
}

/// The answer to a Binding request, which needs no credentials (RFC 8656 §5).
fn mapped(remote: SocketAddr, datagram: &[u8], out: &mut [u8]) -> Option<usize> {
    let request = StunMessage::parse(datagram).ok()?;
    if request.class() != StunClass::Request || request.method() != BINDING {
        return None;
    }
    let id = request.transaction_id();
    let mut writer = StunWriter::new(out, StunClass::Success, BINDING, id).ok()?;
    writer.xor_mapped_address(remote).ok()?;
    match request.verify_fingerprint() {
        Some(_) => writer.fingerprint().ok(),
        None => Some(writer.finish()),
    }
}

/// The first address of each family. Browsers ask every server from each of their interfaces, and get slower with each.
fn few(sockets: &[SocketAddr]) -> impl Iterator<Item = &SocketAddr> {
    let first = |of: fn(&IpAddr) -> bool| sockets.iter().find(move |socket| of(&socket.ip()));
    let (v4, v6) = (first(IpAddr::is_ipv4), first(IpAddr::is_ipv6));
    v4.into_iter().chain(v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_reached_at_its_first_address_of_each_family() {
        let shard = ShardInfo {
            id: ShardId(1),
            candidates: ["192.0.2.1:7882", "192.0.2.2:7882", "[2001:db8::1]:7882"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            tcp_candidates: Vec::new(),
        };
        assert!(urls(&shard, &Ways::default()).is_empty());
        let by_udp = Ways {
            udp_ports: vec![443, 444],
            ..Ways::default()
        };
        assert_eq!(
            urls(&shard, &by_udp),
            [
                "turn:192.0.2.1:444?transport=udp",
                "turn:[2001:db8::1]:444?transport=udp"
            ]
        );
        let ways = Ways {
            udp_ports: Vec::new(),
            tcp_port: Some(3478),
            tls: Some(("video.example.org".to_owned(), 443)),
        };
        assert_eq!(
            urls(&shard, &ways),
            [
                "turn:192.0.2.1:3478?transport=tcp",
                "turn:[2001:db8::1]:3478?transport=tcp",
                "turns:video.example.org:443?transport=tcp"
            ]
        );
    }
}
