//! Every way to a server for peers that know UDP only: a UDP port that takes each peer's datagrams there by a connection or a socket of
//! its own, as ICE-TCP (RFC 4571 framing), through a TURN relay or as they are, and brings the answers back.
//!
//! The server has to advertise the tunnel's address as its own, so that peers send there: `rtc.addresses: [inner: tunnel]` does that, as
//! behind a NAT. Owns framing and the TURN client's part; who connects, and whether by TLS, is the caller's. Never connects again for
//! a peer whose connection has ended: that it did is what a test wants to know.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quinn_udp::{RecvMeta, UdpSocketState};
use schalter_testkit::turn_client::{TurnClient, channel_data, unwrap_relayed};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// Datagrams of one peer that may wait for its connection; more are dropped and counted.
const WAITING: usize = 1_024;
/// Longest datagram of a peer.
const DATAGRAM: usize = 2_048;
/// Receive buffer of the port that peers send to, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Bytes read at once.
const READ: usize = 16_384;
/// The only channel of a relay (RFC 8656 §12).
const CHANNEL: u16 = 0x4000;
/// What a STUN message has before its attributes (RFC 8489 §5).
const STUN_HEAD: usize = 20;

/// A connection to a server.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Makes one connection more.
pub type Connect =
    dyn Fn() -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>> + Send + Sync;

/// How a peer's datagrams are carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// As they are, to this address.
    Udp(SocketAddr),
    /// Framed by RFC 4571 on a connection, as ICE-TCP wants it.
    IceTcp,
    /// On a channel of a relay, by a connection.
    Turn(TurnLogin),
    /// The same by UDP, with the server at this address.
    TurnUdp(SocketAddr, TurnLogin),
}

/// Credentials for a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnLogin {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

/// How datagrams are told apart on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    IceTcp,
    Turn,
}

/// What a tunnel saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Connections that were made, or sockets.
    pub opened: u64,
    /// Connections that have ended, or never came to be.
    pub ended: u64,
    /// Datagrams to the server.
    pub to_server: u64,
    /// Datagrams from the server.
    pub from_server: u64,
    /// Datagrams that were dropped here: a peer's connection took them too slowly, or had ended.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counters {
    opened: AtomicU64,
    ended: AtomicU64,
    to_server: AtomicU64,
    from_server: AtomicU64,
    dropped: AtomicU64,
}

/// A running tunnel; dropping it ends it with all connections.
#[derive(Debug)]
pub struct Tunnel {
    counters: Arc<Counters>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tunnel {
    /// Takes datagrams from `udp` on. The *n*th peer goes the *n*th of `ways`, around and around.
    ///
    /// # Errors
    /// If the runtime can't take the socket, or `ways` is empty.
    pub fn start(
        udp: std::net::UdpSocket,
        ways: Vec<Way>,
        connect: Arc<Connect>,
    ) -> io::Result<Self> {
        if ways.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        udp.set_nonblocking(true)?;
        // It takes what all peers send: while it is not scheduled, that waits here. A system may grant less.
        let state = UdpSocketState::new((&udp).into())?;
        let _ = state.set_recv_buffer_size((&udp).into(), RECEIVE_BUFFER);
        let udp = Arc::new(UdpSocket::from_std(udp)?);
        let counters = Arc::<Counters>::default();
        let task = tokio::spawn(distribute(udp, ways, connect, Arc::clone(&counters)));
        Ok(Self { counters, task })
    }

    /// What passed so far.
    pub fn passed(&self) -> Passed {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Passed {
            opened: read(&self.counters.opened),
            ended: read(&self.counters.ended),
            to_server: read(&self.counters.to_server),
            from_server: read(&self.counters.from_server),
            dropped: read(&self.counters.dropped),
        }
    }
}

/// Hands each peer's datagrams to its connection.
async fn distribute(
    udp: Arc<UdpSocket>,
    ways: Vec<Way>,
    connect: Arc<Connect>,
    counters: Arc<Counters>,
) {
    // Connections end with this.
    let mut tasks = tokio::task::JoinSet::new();
    let mut peers: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = [0; DATAGRAM];
    loop {
        // An error is about a datagram that was sent to a peer that is gone.
        let Ok((len, from)) = udp.recv_from(&mut buffer).await else {
            continue;
        };
        let count = peers.len();
        let sender = peers.entry(from).or_insert_with(|| {
            let (sender, datagrams) = mpsc::channel(WAITING);
            let lane = Lane {
                way: ways[count % ways.len()].clone(),
                udp: Arc::clone(&udp),
                peer: from,
                counters: Arc::clone(&counters),
            };
            let connect = Arc::clone(&connect);
            tasks.spawn(async move {
                // Why it ended is the server's to tell.
                let _ = lane.carry(&*connect, datagrams).await;
                lane.counters.ended.fetch_add(1, Ordering::Relaxed);
            });
            sender
        });
        if sender.try_send(buffer[..len].to_vec()).is_err() {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One peer's way.
struct Lane {
    way: Way,
    udp: Arc<UdpSocket>,
    peer: SocketAddr,
    counters: Arc<Counters>,
}

impl Lane {
    async fn carry(&self, connect: &Connect, datagrams: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
        match &self.way {
            Way::Udp(server) => self.by_datagrams(*server, None, datagrams).await,
            Way::TurnUdp(server, login) => self.by_datagrams(*server, Some(login), datagrams).await,
            Way::IceTcp => {
                self.by_connection(connect, Framing::IceTcp, None, datagrams)
                    .await
            }
            Way::Turn(login) => {
                self.by_connection(connect, Framing::Turn, Some(login), datagrams)
                    .await
            }
        }
    }

    /// What a relay has to reach.
    fn target(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    async fn by_datagrams(
        &self,
        server: SocketAddr,
        login: Option<&TurnLogin>,
        mut datagrams: mpsc::Receiver<Vec<u8>>,
    ) -> io::Result<()> {
        let wire = UdpSocket::bind((self.target()?.ip(), 0)).await?;
        wire.connect(server).await?;
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        if let Some(login) = login {
            let mut steps = Steps::new(login, self.target()?);
            let mut answer = [0; DATAGRAM];
            while let Some(request) = steps.request() {
                wire.send(&request).await?;
                let len = wire.recv(&mut answer).await?;
                steps.on_answer(&answer[..len])?;
            }
        }
        let up = async {
            while let Some(datagram) = datagrams.recv().await {
                let sent = match login {
                    None => wire.send(&datagram).await,
                    Some(_) => wire.send(&channel_data(CHANNEL, &datagram)).await,
                };
                sent?;
                self.counters.to_server.fetch_add(1, Ordering::Relaxed);
            }
            io::Result::Ok(())
        };
        let down = async {
            // As a network card would have it: a run of datagrams is taken in one piece, and the sender need not cut it.
            let state = UdpSocketState::new((&wire).into())?;
            let mut buffer = vec![0; 1 << 16];
            loop {
                wire.readable().await?;
                let mut meta = [RecvMeta::default()];
                let received = wire.try_io(Interest::READABLE, || {
                    let mut slices = [IoSliceMut::new(&mut buffer)];
                    state.recv((&wire).into(), &mut slices, &mut meta)
                });
                match received {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error),
                }
                let stride = meta[0].stride.max(1);
                for datagram in buffer[..meta[0].len].chunks(stride) {
                    let datagram = match login {
                        None => Some(datagram),
                        Some(_) => on_channel(datagram),
                    };
                    if let Some(datagram) = datagram {
                        self.deliver(datagram).await?;
                    }
                }
            }
        };
        tokio::select! {
            ended = up => ended,
            ended = down => ended,
        }
    }

    async fn deliver(&self, datagram: &[u8]) -> io::Result<()> {
        self.udp.send_to(datagram, self.peer).await?;
        self.counters.from_server.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn by_connection(
        &self,
        connect: &Connect,
        framing: Framing,
        login: Option<&TurnLogin>,
        mut datagrams: mpsc::Receiver<Vec<u8>>,
    ) -> io::Result<()> {
        let mut wire = connect().await?;
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        let mut received = Vec::new();
        if let Some(login) = login {
            let mut steps = Steps::new(login, self.target()?);
            while let Some(request) = steps.request() {
                wire.write_all(&request).await?;
                wire.flush().await?;
                let answer = next_frame(&mut wire, &mut received, framing).await?;
                steps.on_answer(&answer)?;
            }
        }
        let (mut reader, mut writer) = tokio::io::split(wire);
        let up = async {
            let mut out = Vec::new();
            while let Some(datagram) = datagrams.recv().await {
                let mut count = 1;
                framing.put(&datagram, &mut out);
                // What waits goes in the same record.
                while let Ok(more) = datagrams.try_recv() {
                    count += 1;
                    framing.put(&more, &mut out);
                }
                writer.write_all(&out).await?;
                writer.flush().await?;
                out.clear();
                self.counters.to_server.fetch_add(count, Ordering::Relaxed);
            }
            io::Result::Ok(())
        };
        let down = async {
            loop {
                let frame = next_frame(&mut reader, &mut received, framing).await?;
                let datagram = match framing {
                    Framing::IceTcp => Some(&frame[..]),
                    Framing::Turn => on_channel(&frame),
                };
                if let Some(datagram) = datagram {
                    self.deliver(datagram).await?;
                }
            }
        };
        tokio::select! {
            ended = up => ended,
            ended = down => ended,
        }
    }
}

/// What came on the channel, if anything did.
fn on_channel(message: &[u8]) -> Option<&[u8]> {
    match unwrap_relayed(message) {
        Some((Ok(CHANNEL), payload)) => Some(payload),
        Some(_) | None => None,
    }
}

impl Framing {
    fn put(self, datagram: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::IceTcp => {
                out.extend((datagram.len() as u16).to_be_bytes());
                out.extend(datagram);
            }
            Self::Turn => {
                out.extend(channel_data(CHANNEL, datagram));
                // Over TCP it is padded (RFC 8656 §12.5).
                out.resize(out.len().next_multiple_of(4), 0);
            }
        }
    }
}

/// Reads until a frame is there, and takes it out of `received`.
async fn next_frame(
    reader: &mut (impl AsyncRead + Unpin),
    received: &mut Vec<u8>,
    framing: Framing,
) -> io::Result<Vec<u8>> {
    loop {
        if let Some((head, len, end)) = frame_in(received, framing)
            && received.len() >= end
        {
            let frame = received[head..len].to_vec();
            received.drain(..end);
            return Ok(frame);
        }
        let at = received.len();
        received.resize(at + READ, 0);
        let read = reader.read(&mut received[at..]).await;
        received.truncate(at + read.as_ref().copied().unwrap_or(0));
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Where the datagram of the first frame begins and ends, and where the next frame does.
fn frame_in(received: &[u8], framing: Framing) -> Option<(usize, usize, usize)> {
    let number = |at: usize| {
        let bytes = received.get(at..)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_be_bytes(*bytes)))
    };
    match framing {
        Framing::IceTcp => {
            let end = 2 + number(0)?;
            Some((2, end, end))
        }
        Framing::Turn if received.first()? >> 6 == 0 => {
            let end = STUN_HEAD + number(2)?;
            Some((0, end, end))
        }
        Framing::Turn => {
            let end = 4 + number(2)?;
            Some((0, end, end.next_multiple_of(4)))
        }
    }
}

/// The steps to a relay with a channel, each a request and its answer.
struct Steps {
    client: TurnClient,
    target: SocketAddr,
    step: usize,
}

impl Steps {
    /// What each step's answer says. The first one only brings realm and nonce.
    const EXPECTED: [Option<u16>; 3] = [Some(401), None, None];

    fn new(login: &TurnLogin, target: SocketAddr) -> Self {
        Self {
            client: TurnClient::new(&login.user, &login.password),
            target,
            step: 0,
        }
    }

    /// The next request; none is needed any more at the end.
    fn request(&mut self) -> Option<Vec<u8>> {
        match self.step {
            0 | 1 => Some(self.client.allocate()),
            2 => Some(self.client.bind(CHANNEL, self.target)),
            _ => None,
        }
    }

    fn on_answer(&mut self, answer: &[u8]) -> io::Result<()> {
        let answer = self.client.read_answer(answer);
        let answer = answer.ok_or_else(|| io::Error::other("no answer of TURN"))?;
        if Self::EXPECTED.get(self.step) != Some(&answer.error) {
            return Err(io::Error::other(format!("TURN answers {:?}", answer.error)));
        }
        self.step += 1;
        Ok(())
    }
}
