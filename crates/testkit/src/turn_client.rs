//! A TURN client without sockets: writes requests, reads answers, and does nothing by itself, so that a test can do things in
//! the wrong order, twice, or for somebody else.

use std::net::SocketAddr;

use schalter_model::{Carrier, Path, Time};
use schalter_shard::Shard;

use schalter_transport::stun::{
    Integrity, IntegrityKey, PasswordAlgorithm, StunClass, StunMessage, StunWriter, TransactionId,
    attribute, method,
};

/// A client with long-term credentials.
#[derive(Clone, Debug)]
pub struct TurnClient {
    user: Vec<u8>,
    password: Vec<u8>,
    /// With the newer algorithms of RFC 8489, if the server offers them.
    modern: bool,
    challenge: Option<Challenge>,
    next_id: u64,
}

#[derive(Clone, Debug)]
struct Challenge {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    algorithms: Option<Vec<u8>>,
}

/// What a server answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnAnswer {
    /// The number of ERROR-CODE, if it is a refusal.
    pub error: Option<u16>,
    /// The relayed addresses.
    pub relayed: Vec<SocketAddr>,
    /// Where the server saw us.
    pub mapped: Option<SocketAddr>,
    /// LIFETIME, in seconds.
    pub lifetime: Option<u32>,
    /// Family and code of ADDRESS-ERROR-CODE.
    pub address_error: Option<(u8, u16)>,
    /// UNKNOWN-ATTRIBUTES, as bytes.
    pub unknown: Option<Vec<u8>>,
    /// MESSAGE-INTEGRITY is there and made with our key.
    pub authentic: bool,
}

/// An attribute of a request.
#[derive(Clone, Copy, Debug)]
pub enum TurnAttribute<'a> {
    /// One with an address.
    Address(u16, SocketAddr),
    /// Any other.
    Bytes(u16, &'a [u8]),
}

/// REQUESTED-TRANSPORT for UDP.
pub const UDP: TurnAttribute<'static> =
    TurnAttribute::Bytes(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);

impl TurnClient {
    /// A client that has not yet spoken to a server.
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.as_bytes().to_vec(),
            password: password.as_bytes().to_vec(),
            modern: false,
            challenge: None,
            next_id: 0,
        }
    }

    /// The same with MESSAGE-INTEGRITY-SHA256 and the first of the server's password algorithms.
    #[must_use]
    pub fn modern(mut self) -> Self {
        self.modern = true;
        self
    }

    /// Forgets realm and nonce, so that the next request has no credentials.
    pub fn forget_challenge(&mut self) {
        self.challenge = None;
    }

    fn key(&self) -> Option<IntegrityKey> {
        let challenge = self.challenge.as_ref()?;
        let (integrity, algorithm) = if self.modern {
            (Integrity::Sha256, PasswordAlgorithm::Sha256)
        } else {
            (Integrity::Sha1, PasswordAlgorithm::Md5)
        };
        let realm = &challenge.realm;
        Some(IntegrityKey::long_term(
            integrity,
            algorithm,
            &self.user,
            realm,
            &self.password,
        ))
    }

    /// Writes a request, with credentials as soon as the server has asked for them.
    pub fn request(&mut self, number: u16, attributes: &[TurnAttribute<'_>]) -> Vec<u8> {
        self.next_id += 1;
        self.request_again(number, attributes)
    }

    /// Writes a request with the transaction id of the last one.
    pub fn request_again(&self, number: u16, attributes: &[TurnAttribute<'_>]) -> Vec<u8> {
        let mut out = vec![0; 4_096];
        let mut writer =
            StunWriter::new(&mut out, StunClass::Request, number, id(self.next_id)).expect("room");
        write(&mut writer, attributes);
        if let (Some(challenge), Some(key)) = (&self.challenge, self.key()) {
            let mut add = |kind, value: &[u8]| writer.attribute(kind, value).expect("room");
            add(attribute::USERNAME, &self.user);
            add(attribute::REALM, &challenge.realm);
            add(attribute::NONCE, &challenge.nonce);
            if let Some(algorithms) = challenge.algorithms.as_ref().filter(|_| self.modern) {
                add(attribute::PASSWORD_ALGORITHMS, algorithms);
                add(attribute::PASSWORD_ALGORITHM, &algorithms[..4]);
            }
            writer.integrity(&key).expect("room");
        }
        let len = writer.finish();
        out.truncate(len);
        out
    }

    /// An Allocate over UDP with nothing special.
    pub fn allocate(&mut self) -> Vec<u8> {
        self.request(method::ALLOCATE, &[UDP])
    }

    /// A CreatePermission for `peer`.
    pub fn permit(&mut self, peer: SocketAddr) -> Vec<u8> {
        let peer = TurnAttribute::Address(attribute::XOR_PEER_ADDRESS, peer);
        self.request(method::CREATE_PERMISSION, &[peer])
    }

    /// A ChannelBind.
    pub fn bind(&mut self, number: u16, peer: SocketAddr) -> Vec<u8> {
        let [n0, n1] = number.to_be_bytes();
        self.request(
            method::CHANNEL_BIND,
            &[
                TurnAttribute::Bytes(attribute::CHANNEL_NUMBER, &[n0, n1, 0, 0]),
                TurnAttribute::Address(attribute::XOR_PEER_ADDRESS, peer),
            ],
        )
    }

    /// A Refresh.
    pub fn refresh(&mut self, seconds: u32) -> Vec<u8> {
        let lifetime = seconds.to_be_bytes();
        let lifetime = TurnAttribute::Bytes(attribute::LIFETIME, &lifetime);
        self.request(method::REFRESH, &[lifetime])
    }

    /// A Send indication.
    pub fn send(&mut self, peer: SocketAddr, data: &[u8]) -> Vec<u8> {
        self.next_id += 1;
        let mut out = vec![0; data.len() + 64];
        let id = id(self.next_id);
        let mut writer =
            StunWriter::new(&mut out, StunClass::Indication, method::SEND, id).expect("room");
        let peer = TurnAttribute::Address(attribute::XOR_PEER_ADDRESS, peer);
        write(
            &mut writer,
            &[peer, TurnAttribute::Bytes(attribute::DATA, data)],
        );
        let len = writer.finish();
        out.truncate(len);
        out
    }

    /// Reads an answer; realm and nonce of a refusal are for the next request.
    ///
    /// # Panics
    /// If it is no answer, or not to the last request.
    pub fn on_answer(&mut self, datagram: &[u8]) -> TurnAnswer {
        self.read_answer(datagram)
            .expect("an answer to the last request")
    }

    /// The same, with `None` for what is no answer, or not to the last request.
    pub fn read_answer(&mut self, datagram: &[u8]) -> Option<TurnAnswer> {
        let message = StunMessage::parse(datagram).ok()?;
        let is_answer = matches!(message.class(), StunClass::Success | StunClass::Error);
        if !is_answer || message.transaction_id() != id(self.next_id) {
            return None;
        }
        let authentic = self.key().is_some_and(|key| message.verify_integrity(&key));
        let value = |kind| message.attribute(kind).map(<[u8]>::to_vec);
        if let (Some(realm), Some(nonce)) = (value(attribute::REALM), value(attribute::NONCE)) {
            self.challenge = Some(Challenge {
                realm,
                nonce,
                algorithms: value(attribute::PASSWORD_ALGORITHMS),
            });
        }
        Some(TurnAnswer {
            error: message.error_code(),
            relayed: message
                .attributes()
                .filter(|(kind, _)| *kind == attribute::XOR_RELAYED_ADDRESS)
                .filter_map(|(_, value)| message.xor_address(value))
                .collect(),
            mapped: message.xor_mapped_address(),
            lifetime: message
                .attribute(attribute::LIFETIME)
                .and_then(|value| Some(u32::from_be_bytes(value.try_into().ok()?))),
            address_error: message
                .attribute(attribute::ADDRESS_ERROR_CODE)
                .map(|value| (value[0], u16::from(value[2]) * 100 + u16::from(value[3]))),
            unknown: value(attribute::UNKNOWN_ATTRIBUTES),
            authentic,
        })
    }
}

/// A ChannelData message, without padding.
pub fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What a message of a server carries: who sent it, or on which channel, and the payload.
pub fn unwrap_relayed(datagram: &[u8]) -> Option<(Result<u16, SocketAddr>, &[u8])> {
    if let [n0 @ 0x40..=0x4f, n1, l0, l1, rest @ ..] = datagram {
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        return Some((Ok(u16::from_be_bytes([*n0, *n1])), rest.get(..len)?));
    }
    let message = StunMessage::parse(datagram).ok()?;
    if (message.class(), message.method()) != (StunClass::Indication, method::DATA) {
        return None;
    }
    let peer = message.xor_address(message.attribute(attribute::XOR_PEER_ADDRESS)?)?;
    Some((Err(peer), message.attribute(attribute::DATA)?))
}

fn write(writer: &mut StunWriter<'_>, attributes: &[TurnAttribute<'_>]) {
    for attribute in attributes {
        match *attribute {
            TurnAttribute::Address(kind, address) => writer.xor_address(kind, address),
            TurnAttribute::Bytes(kind, value) => writer.attribute(kind, value),
        }
        .expect("room");
    }
}

fn id(number: u64) -> TransactionId {
    let mut bytes = *b"test\0\0\0\0\0\0\0\0";
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    TransactionId(bytes)
}

/// A peer's way through a relay: wraps what it sends, unwraps what it gets.
#[derive(Clone, Debug)]
pub struct Tunnel {
    client: TurnClient,
    target: SocketAddr,
    channel: Option<u16>,
    relayed: SocketAddr,
}

impl Tunnel {
    /// The way to the TURN server from where `path` comes from: over UDP it has a port of its own.
    pub fn outer(path: Path) -> Path {
        let carrier = match path.carrier {
            Carrier::Udp => Carrier::TurnPort,
            other @ (Carrier::TurnPort | Carrier::Stream(_) | Carrier::Relay(_)) => other,
        };
        Path { carrier, ..path }
    }

    /// Allocates on a shard that serves TURN, from `outer`, and asks for permission or a channel to `target`.
    ///
    /// # Panics
    /// If the shard refuses any of it.
    pub fn open(
        shard: &mut Shard,
        now: Time,
        outer: Path,
        client: TurnClient,
        target: SocketAddr,
        channel: Option<u16>,
    ) -> Self {
        let mut tunnel = Self {
            client,
            target,
            channel,
            relayed: target,
        };
        let first = tunnel.client.allocate();
        let challenge = tunnel.ask(shard, now, outer, first);
        assert_eq!(challenge.error, Some(401));
        let second = tunnel.client.allocate();
        let answer = tunnel.ask(shard, now, outer, second);
        tunnel.relayed = *answer.relayed.first().expect("an allocation");
        let open = match channel {
            Some(number) => tunnel.client.bind(number, target),
            None => tunnel.client.permit(target),
        };
        let answer = tunnel.ask(shard, now, outer, open);
        assert_eq!(answer.error, None, "{answer:?}");
        tunnel
    }

    fn ask(
        &mut self,
        shard: &mut Shard,
        now: Time,
        outer: Path,
        mut request: Vec<u8>,
    ) -> TurnAnswer {
        shard.on_datagram(now, outer, &mut request);
        let mut out = vec![0; 65_536];
        let transmit = shard.poll_transmit(now, &mut out).expect("an answer");
        assert_eq!(transmit.path, outer, "an answer goes back");
        self.client.on_answer(&out[..transmit.len])
    }

    /// The address that the peer appears to have.
    pub fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    /// Wraps what the peer sends.
    pub fn wrap(&mut self, datagram: &[u8]) -> Vec<u8> {
        match self.channel {
            Some(number) => channel_data(number, datagram),
            None => self.client.send(self.target, datagram),
        }
    }

    /// Unwraps what the server sent, which must come from the target, or on its channel.
    ///
    /// # Panics
    /// If it is nothing of the kind.
    pub fn unwrap<'a>(&self, datagram: &'a [u8]) -> &'a [u8] {
        let (from, payload) = unwrap_relayed(datagram).expect("relayed");
        assert_eq!(from, self.channel.ok_or(self.target), "from the target");
        payload
    }
}
