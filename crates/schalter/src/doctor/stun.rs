//! STUN from a client's side, over UDP and over streams with either framing: transactions and connectivity checks
//! (RFC 8489 §6.2, RFC 4571 §2, RFC 8656 §3.1).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use schalter_stun::{
    BINDING, HEADER_LEN, IntegrityKey, StunClass, StunError, StunMessage, StunWriter,
    TransactionId, attribute,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use super::connect::{Io, within};
use super::join::Media;

/// Between two transmissions over UDP. RFC 8489 doubles it; here a person waits.
const RETRANSMIT: Duration = Duration::from_millis(500);
/// Longest message that is taken.
const LONGEST: usize = 2048;

/// How datagrams are told apart in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// 16 bits of length before each (RFC 4571).
    Length,
    /// STUN messages say their length themselves (RFC 8656).
    Stun,
}

/// A way to one server.
pub(super) enum Channel {
    Udp(UdpSocket),
    Stream(Box<dyn Io>, Framing),
}

impl Channel {
    /// A socket of its own that hears this server only.
    pub(super) async fn udp(server: SocketAddr) -> io::Result<Self> {
        let any = match server.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
        socket.connect(server).await?;
        Ok(Self::Udp(socket))
    }

    pub(super) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => {
                socket.send(message).await?;
            }
            Self::Stream(stream, framing) => {
                let mut framed = Vec::with_capacity(message.len() + 2);
                if *framing == Framing::Length {
                    framed.extend((message.len() as u16).to_be_bytes());
                }
                framed.extend(message);
                stream.write_all(&framed).await?;
                stream.flush().await?;
            }
        }
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Udp(socket) => {
                let mut buffer = vec![0; LONGEST];
                let len = socket.recv(&mut buffer).await?;
                buffer.truncate(len);
                Ok(buffer)
            }
            Self::Stream(stream, Framing::Length) => {
                let len = stream.read_u16().await?;
                let mut buffer = vec![0; usize::from(len)];
                stream.read_exact(&mut buffer).await?;
                Ok(buffer)
            }
            Self::Stream(stream, Framing::Stun) => {
                let mut buffer = vec![0; HEADER_LEN];
                stream.read_exact(&mut buffer).await?;
                let len = usize::from(u16::from_be_bytes([buffer[2], buffer[3]]));
                buffer.resize(HEADER_LEN + len, 0);
                stream.read_exact(&mut buffer[HEADER_LEN..]).await?;
                Ok(buffer)
            }
        }
    }

    /// Sends until a message comes that `wanted` takes, again and again where datagrams may be lost.
    pub(super) async fn ask<T>(
        &mut self,
        message: &[u8],
        patience: Duration,
        mut wanted: impl FnMut(&StunMessage<'_>) -> Option<T>,
    ) -> io::Result<T> {
        let lossy = matches!(self, Self::Udp(_));
        let exchange = async {
            self.send(message).await?;
            let mut due = Instant::now() + RETRANSMIT;
            loop {
                let received = tokio::time::timeout_at(due.into(), self.receive()).await;
                match received {
                    Ok(datagram) => {
                        if let Ok(message) = StunMessage::parse(&datagram?)
                            && let Some(found) = wanted(&message)
                        {
                            return Ok(found);
                        }
                    }
                    Err(_) if lossy => {
                        self.send(message).await?;
                        due = Instant::now() + RETRANSMIT;
                    }
                    // Nothing is lost in a stream; and what was read in part may not be given up.
                    Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                }
                if !lossy {
                    due = Instant::now() + patience;
                }
            }
        };
        within(patience, exchange).await
    }
}

/// A fresh transaction.
pub(super) fn transaction() -> TransactionId {
    let mut id = [0; 12];
    rand::fill(&mut id[..]);
    TransactionId(id)
}

/// A connectivity check (RFC 8445 §7.2.4) without nomination.
pub(super) fn check(
    id: TransactionId,
    media: &Media,
    local_ufrag: &str,
) -> Result<Vec<u8>, StunError> {
    let mut out = vec![0; 512];
    let mut writer = StunWriter::new(&mut out, StunClass::Request, BINDING, id)?;
    let username = format!("{}:{local_ufrag}", media.ufrag);
    writer.attribute(attribute::USERNAME, username.as_bytes())?;
    writer.attribute(attribute::ICE_CONTROLLING, &[1; 8])?;
    // That of a peer-reflexive UDP candidate (RFC 8445 §5.1.2.1).
    writer.attribute(attribute::PRIORITY, &0x6E7F_FFFF_u32.to_be_bytes())?;
    writer.integrity(&IntegrityKey::new(media.password.as_bytes()))?;
    let len = writer.fingerprint()?;
    out.truncate(len);
    Ok(out)
}

/// Whether `message` is the server's success for that check.
pub(super) fn succeeds(message: &StunMessage<'_>, id: TransactionId, media: &Media) -> bool {
    message.class() == StunClass::Success
        && message.transaction_id() == id
        && message.verify_integrity(&IntegrityKey::new(media.password.as_bytes()))
}

/// Sends a check over `channel`; answers how long the answer took.
pub(super) async fn connectivity(
    channel: &mut Channel,
    media: &Media,
    local_ufrag: &str,
    patience: Duration,
) -> io::Result<Duration> {
    let id = transaction();
    let message = check(id, media, local_ufrag).map_err(io::Error::other)?;
    let sent = Instant::now();
    channel
        .ask(&message, patience, |answer| {
            succeeds(answer, id, media).then_some(())
        })
        .await?;
    Ok(sent.elapsed())
}
