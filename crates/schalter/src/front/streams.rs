//! Connections that carry datagrams: finds the shard that each is for, by its first message, and hands it over.
//!
//! ICE-TCP names its shard in the first connectivity check (the user fragment), TURN in the user name of its credentials. A
//! TURN client's first requests have none: they are answered here, without keeping anything, until one has.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConnection;
use schalter_model::{ShardId, Ufrag};
use schalter_net::{AcceptedStream, Framing, MAX_EARLY_LEN, NotRunning};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::gate::Closed;
use super::stream::Stream;

/// Bytes of the largest answer to a request without credentials.
pub(crate) const MAX_ANSWER_LEN: usize = 512;
/// Requests without credentials on one connection. A client needs one or two: an Allocate, and a Binding before it.
const MAX_ANSWERS: u32 = 8;
/// Bytes read at once.
const READ: usize = 2_048;

/// What of TURN is done before a shard has the connection.
pub(crate) trait TurnDoor: Send + Sync + 'static {
    /// Writes the answer to a request that has no credentials into `out` ([`MAX_ANSWER_LEN`] bytes), and tells its length;
    /// `None` if the datagram is something else.
    fn answer(&self, remote: SocketAddr, datagram: &[u8], out: &mut [u8]) -> Option<usize>;

    /// The shard that the credentials name.
    fn shard(&self, datagram: &[u8]) -> Option<ShardId>;
}

/// Hands a connection to a shard's worker.
pub(crate) type Adopt = dyn Fn(ShardId, AcceptedStream) -> Result<(), NotRunning> + Send + Sync;

/// Where such connections go.
pub(crate) struct Streams {
    pub(crate) adopt: Box<Adopt>,
    /// This node's number, which user fragments carry.
    pub(crate) node: u16,
    pub(crate) turn: Option<Arc<dyn TurnDoor>>,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
}

/// A connection with the shard it is for.
pub(super) struct Directed {
    pub(super) shard: ShardId,
    pub(super) stream: Stream,
    pub(super) framing: Framing,
    /// What was read, from the message on that names the shard.
    pub(super) early: Vec<u8>,
    pub(super) ends: Ends,
}

/// Why it goes nowhere.
pub(super) enum Lost {
    /// The peer ended it.
    Left,
    /// We do.
    Closed(Closed),
}

impl Streams {
    /// Reads on until it is clear which shard the connection is for.
    pub(super) async fn direct(
        &self,
        mut stream: Stream,
        framing: Framing,
        mut early: Vec<u8>,
        ends: Ends,
    ) -> Result<Directed, Lost> {
        let mut answers = 0;
        loop {
            let frame = framing
                .next_frame(&early)
                .map_err(|_| Lost::Closed(Closed::UnknownProtocol))?;
            let Some(frame) = frame else {
                read_more(&mut stream, &mut early).await?;
                continue;
            };
            let datagram = &early[frame.datagram];
            let found = match framing {
                Framing::Rfc4571 => self.ice_shard(datagram).ok_or(Closed::IceUnknown),
                Framing::Turn => {
                    let Some(door) = &self.turn else {
                        return Err(Lost::Closed(Closed::TurnOff));
                    };
                    let mut answer = [0; MAX_ANSWER_LEN];
                    if answers < MAX_ANSWERS
                        && let Some(len) = door.answer(ends.remote, datagram, &mut answer)
                    {
                        answers += 1;
                        early.drain(..frame.end);
                        stream
                            .write_all(&answer[..len])
                            .await
                            .map_err(|_| Lost::Left)?;
                        stream.flush().await.map_err(|_| Lost::Left)?;
                        continue;
                    }
                    door.shard(datagram).ok_or(Closed::UnknownProtocol)
                }
            };
            return Ok(Directed {
                shard: found.map_err(Lost::Closed)?,
                stream,
                framing,
                early,
                ends,
            });
        }
    }

    fn ice_shard(&self, datagram: &[u8]) -> Option<ShardId> {
        let (receiver, _) = schalter_stun::username_of(datagram)?;
        let ufrag = Ufrag::parse(receiver).ok()?;
        (ufrag.node() == self.node).then(|| ufrag.shard())
    }

    /// Hands it over. A shard that isn't there is one that a peer made up.
    pub(super) fn adopt(&self, directed: Directed) -> io::Result<()> {
        let Directed {
            shard,
            stream,
            framing,
            mut early,
            ends,
        } = directed;
        let (tcp, mut tls) = stream.into_parts()?;
        if let Some(tls) = &mut tls {
            drain(tls, &mut early);
        }
        let accepted = AcceptedStream {
            tcp,
            tls: tls.map(Box::new),
            framing,
            early,
            remote: ends.remote,
            local: ends.local,
        };
        let adopted = (self.adopt)(shard, accepted);
        adopted.map_err(|error| io::Error::other(error.to_string()))
    }
}

async fn read_more(stream: &mut Stream, into: &mut Vec<u8>) -> Result<(), Lost> {
    let at = into.len();
    into.resize(at + READ, 0);
    let read = stream.read(&mut into[at..]).await;
    let len = read.as_ref().copied().unwrap_or(0);
    into.truncate(at + len);
    if len == 0 { Err(Lost::Left) } else { Ok(()) }
}

/// What TLS has decrypted already and nobody has read.
fn drain(tls: &mut ServerConnection, early: &mut Vec<u8>) {
    use std::io::Read;
    let mut buffer = [0; READ];
    while early.len() + READ <= MAX_EARLY_LEN {
        match tls.reader().read(&mut buffer) {
            Ok(len @ 1..) => early.extend_from_slice(&buffer[..len]),
            Ok(0) | Err(_) => break,
        }
    }
}
