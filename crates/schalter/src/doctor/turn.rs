//! TURN as a browser uses it (RFC 8656): an allocation with the credentials that the server handed out, and a connectivity check
//! through the relay to the server's own media port, so that "works" means that media would.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use livekit_protocol::IceServer;
use schalter_stun::{
    Integrity, IntegrityKey, PasswordAlgorithm, StunClass, StunError, StunMessage, StunWriter,
    TransactionId, attribute, method,
};

use super::certificate::Trust;
use super::connect;
use super::join::Media;
use super::stun::{Channel, Framing, check, succeeds, transaction};

/// Protocol number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;
/// Error code that asks for credentials.
const UNAUTHENTICATED: u16 = 401;

/// How a TURN server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// Name of the check.
    pub(super) fn check(self) -> &'static str {
        match self {
            Self::Udp => "turn.udp",
            Self::Tcp => "turn.tcp",
            Self::Tls => "turn.tls",
        }
    }
}

/// A TURN URL (RFC 7065).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TurnUrl {
    pub(super) transport: Transport,
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for TurnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.host, self.port)
    }
}

impl TurnUrl {
    /// Nothing for STUN servers, which relay nothing, and for TURN over DTLS, which no browser speaks.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let tcp = query.split('&').any(|part| part == "transport=tcp");
        let udp = query.split('&').any(|part| part == "transport=udp");
        let (transport, default_port) = match scheme {
            "turn" if tcp => (Transport::Tcp, 3478),
            "turn" => (Transport::Udp, 3478),
            "turns" if !udp => (Transport::Tls, 5349),
            _ => return None,
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            Some(_) | None => (authority, default_port),
        };
        Some(Self {
            transport,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        })
    }
}

/// Where it failed, in words.
#[derive(Debug)]
pub(super) enum TurnError {
    /// No way to the server.
    Unreachable(io::Error),
    /// TLS works, but browsers would not take the certificate.
    Certificate(String),
    /// It said no with a code.
    Refused(u16),
    /// It let us in, but nothing comes back through the relay.
    NoRelay(io::Error),
    /// It answered something that makes no sense.
    Nonsense,
}

impl fmt::Display for TurnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "can't be reached ({error})"),
            Self::Certificate(objection) => {
                write!(f, "has a certificate that browsers refuse:\n{objection}")
            }
            Self::Refused(code) => write!(f, "refuses with code {code}"),
            Self::NoRelay(error) => write!(
                f,
                "allocates, but nothing comes back from the media port through it ({error})"
            ),
            Self::Nonsense => f.write_str("answers what is no TURN"),
        }
    }
}

/// What to do about it.
pub(super) fn remedy(url: &TurnUrl, error: &TurnError) -> String {
    let (protocol, keys) = match url.transport {
        Transport::Udp => ("UDP", "turn.udp_port"),
        Transport::Tcp => ("TCP", "turn.tcp_port, or rtc.tcp_port without it"),
        Transport::Tls => (
            "TCP",
            "tls.port, or port without it; clients are told turn.tls_port, if it is set",
        ),
    };
    match error {
        TurnError::Unreachable(_) => format!(
            "Open {protocol} port {} ({keys}) in both firewalls, and let nothing on the way take it for something else.",
            url.port
        ),
        TurnError::Certificate(_) => {
            "Have the certificate cover this name with its whole chain (tls.cert_file), or tell clients a name that it covers (turn.domain)."
                .to_owned()
        }
        TurnError::Refused(_) => {
            "Look at the clock: credentials are good for a time only. 486 and 508 are limits (limits.turn_allocations_…)."
                .to_owned()
        }
        TurnError::NoRelay(_) => {
            "The relay is the server itself: restart it, and if that does not help, report it with the server's log.".to_owned()
        }
        TurnError::Nonsense => format!("Something else answers on {protocol} port {} ({keys}): look what it is.", url.port),
    }
}

impl From<StunError> for TurnError {
    fn from(_: StunError) -> Self {
        Self::Nonsense
    }
}

/// Allocates and checks a media port through the relay; answers how long that took in all.
pub(super) async fn relay(
    url: &TurnUrl,
    server: &IceServer,
    media: &Media,
    local_ufrag: &str,
    trust: &Trust,
    patience: Duration,
) -> Result<Duration, TurnError> {
    let begun = Instant::now();
    let mut channel = channel(url, trust, patience).await?;
    let peer = media.udp.iter().min_by_key(|peer| peer.is_ipv6());
    let peer = *peer.ok_or(TurnError::Nonsense)?;
    let key = allocate(&mut channel, server, peer, patience).await?;
    permit(&mut channel, &key, peer, patience).await?;
    let id = transaction();
    let inner = check(id, media, local_ufrag)?;
    let mut out = vec![0; 1024];
    let mut writer = StunWriter::new(&mut out, StunClass::Indication, method::SEND, transaction())?;
    writer.xor_address(attribute::XOR_PEER_ADDRESS, peer)?;
    writer.attribute(attribute::DATA, &inner)?;
    let len = writer.finish();
    let answered = channel
        .ask(&out[..len], patience, |message| {
            let data = message.attribute(attribute::DATA)?;
            let inner = StunMessage::parse(data).ok()?;
            (message.method() == method::DATA && succeeds(&inner, id, media)).then_some(())
        })
        .await;
    // Given back at once; the server would do so by itself after ten minutes.
    let _ = release(&mut channel, &key).await;
    answered.map_err(TurnError::NoRelay)?;
    Ok(begun.elapsed())
}

async fn channel(url: &TurnUrl, trust: &Trust, patience: Duration) -> Result<Channel, TurnError> {
    let addresses = connect::resolve(&url.host, url.port, patience).await;
    let addresses = addresses.map_err(TurnError::Unreachable)?;
    let first = addresses.first().copied();
    let address = first.ok_or_else(|| TurnError::Unreachable(io::ErrorKind::NotFound.into()))?;
    if url.transport == Transport::Udp {
        return Channel::udp(address).await.map_err(TurnError::Unreachable);
    }
    let stream = connect::tcp(address, patience).await;
    let stream = stream.map_err(TurnError::Unreachable)?;
    if url.transport == Transport::Tcp {
        return Ok(Channel::Stream(Box::new(stream), Framing::Stun));
    }
    let secured = connect::tls(stream, &url.host, &[], patience).await;
    let secured = secured.map_err(TurnError::Unreachable)?;
    if let Some(objection) = trust.objection(&secured.chain, &url.host) {
        return Err(TurnError::Certificate(objection));
    }
    Ok(Channel::Stream(secured.stream, Framing::Stun))
}

/// Credentials as an allocation has them.
struct Credentials {
    username: Vec<u8>,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: IntegrityKey,
}

impl Credentials {
    fn write(&self, writer: &mut StunWriter<'_>) -> Result<(), StunError> {
        writer.attribute(attribute::USERNAME, &self.username)?;
        writer.attribute(attribute::REALM, &self.realm)?;
        writer.attribute(attribute::NONCE, &self.nonce)?;
        writer.integrity(&self.key)
    }
}

/// What a request brought: success, or an error with its realm and nonce.
enum Outcome {
    Success,
    Error {
        code: u16,
        realm: Vec<u8>,
        nonce: Vec<u8>,
    },
}

async fn request(
    channel: &mut Channel,
    kind: u16,
    attributes: impl Fn(&mut StunWriter<'_>) -> Result<(), StunError>,
    patience: Duration,
) -> Result<Outcome, TurnError> {
    let id: TransactionId = transaction();
    let mut out = vec![0; 1024];
    let mut writer = StunWriter::new(&mut out, StunClass::Request, kind, id)?;
    attributes(&mut writer)?;
    let len = writer.finish();
    let bytes =
        |message: &StunMessage<'_>, kind| message.attribute(kind).unwrap_or_default().to_vec();
    let outcome = channel.ask(&out[..len], patience, |message| {
        if message.transaction_id() != id {
            return None;
        }
        match message.class() {
            StunClass::Success => Some(Outcome::Success),
            StunClass::Error => Some(Outcome::Error {
                code: message.error_code().unwrap_or(0),
                realm: bytes(message, attribute::REALM),
                nonce: bytes(message, attribute::NONCE),
            }),
            StunClass::Request | StunClass::Indication => None,
        }
    });
    outcome.await.map_err(TurnError::Unreachable)
}

async fn allocate(
    channel: &mut Channel,
    server: &IceServer,
    peer: SocketAddr,
    patience: Duration,
) -> Result<Credentials, TurnError> {
    let wanted = |writer: &mut StunWriter<'_>| {
        writer.attribute(attribute::REQUESTED_TRANSPORT, &[UDP, 0, 0, 0])?;
        if peer.is_ipv6() {
            writer.attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])?;
        }
        Ok(())
    };
    let (realm, nonce) = match request(channel, method::ALLOCATE, wanted, patience).await? {
        Outcome::Error {
            code: UNAUTHENTICATED,
            realm,
            nonce,
        } => (realm, nonce),
        Outcome::Error { code, .. } => return Err(TurnError::Refused(code)),
        // A relay for everybody is no server of ours.
        Outcome::Success => return Err(TurnError::Nonsense),
    };
    let key = IntegrityKey::long_term(
        Integrity::Sha1,
        PasswordAlgorithm::Md5,
        server.username.as_bytes(),
        &realm,
        server.credential.as_bytes(),
    );
    let credentials = Credentials {
        username: server.username.as_bytes().to_vec(),
        realm,
        nonce,
        key,
    };
    let wanted = |writer: &mut StunWriter<'_>| {
        wanted(writer)?;
        credentials.write(writer)
    };
    match request(channel, method::ALLOCATE, wanted, patience).await? {
        Outcome::Success => Ok(credentials),
        Outcome::Error { code, .. } => Err(TurnError::Refused(code)),
    }
}

async fn permit(
    channel: &mut Channel,
    credentials: &Credentials,
    peer: SocketAddr,
    patience: Duration,
) -> Result<(), TurnError> {
    let wanted = |writer: &mut StunWriter<'_>| {
        writer.xor_address(attribute::XOR_PEER_ADDRESS, peer)?;
        credentials.write(writer)
    };
    match request(channel, method::CREATE_PERMISSION, wanted, patience).await? {
        Outcome::Success => Ok(()),
        Outcome::Error { code, .. } => Err(TurnError::Refused(code)),
    }
}

async fn release(channel: &mut Channel, credentials: &Credentials) -> Result<(), TurnError> {
    let mut out = vec![0; 1024];
    let mut writer = StunWriter::new(&mut out, StunClass::Request, method::REFRESH, transaction())?;
    writer.attribute(attribute::LIFETIME, &[0; 4])?;
    credentials.write(&mut writer)?;
    let len = writer.finish();
    channel
        .send(&out[..len])
        .await
        .map_err(TurnError::Unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_that_is_closed_has_a_remedy_with_its_key() {
        let closed = TurnError::Unreachable(io::ErrorKind::TimedOut.into());
        for (url, port, key) in [
            (
                "turn:192.0.2.1:444?transport=udp",
                "UDP port 444 ",
                "turn.udp_port",
            ),
            (
                "turn:192.0.2.1:3478?transport=tcp",
                "TCP port 3478 ",
                "turn.tcp_port",
            ),
            (
                "turns:a.example:443?transport=tcp",
                "TCP port 443 ",
                "tls.port",
            ),
        ] {
            let said = remedy(&TurnUrl::parse(url).unwrap(), &closed);
            assert!(said.contains(port) && said.contains(key), "{said}");
        }
    }

    #[test]
    fn urls_say_transport_host_and_port() {
        let parsed = |url: &str| {
            let url = TurnUrl::parse(url)?;
            Some((url.transport, url.host, url.port))
        };
        let some = |transport, host: &str, port| Some((transport, host.to_owned(), port));
        assert_eq!(
            parsed("turn:a.example"),
            some(Transport::Udp, "a.example", 3478)
        );
        assert_eq!(
            parsed("turn:192.0.2.1:443?transport=tcp"),
            some(Transport::Tcp, "192.0.2.1", 443)
        );
        assert_eq!(
            parsed("turns:[2001:db8::1]?transport=tcp"),
            some(Transport::Tls, "2001:db8::1", 5349)
        );
        assert_eq!(
            parsed("turns:a.example:443"),
            some(Transport::Tls, "a.example", 443)
        );
        for other in [
            "stun:a.example",
            "turns:a.example?transport=udp",
            "x",
            "turn:a:b",
        ] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }
}
