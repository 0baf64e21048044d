//! The thread that drives all peers: one socket each, one epoll, one timer heap.
//!
//! Owns sockets and time. Everything that decides anything is in [`crate::client`], [`crate::feed`] and
//! [`crate::receive`].

mod driver;

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use rustix::event::epoll;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::client::{Certificate, ClientConfig, ClientEvent};
use crate::error::LoadError;
use crate::feed::{FeedConfig, FeedHeader, Sent, StreamIds};
use crate::histogram::Histogram;
use crate::link::LinkConfig;
use crate::probe::Kind;
use crate::receive::{Feedback, Heard};
use crate::viewer::View;
use driver::Driver;

/// Names a peer of an [`Engine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// What a peer publishes.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Its number, in every payload.
    pub publisher: u32,
    /// Rates and sizes.
    pub feed: FeedConfig,
    /// SSRCs, as in the SDP.
    pub ids: StreamIds,
    /// Extensions and sections, as negotiated.
    pub header: FeedHeader,
}

/// A peer whose SDP is settled.
#[derive(Debug)]
pub struct NewPeer {
    /// Its socket, see [`bind`].
    pub socket: UdpSocket,
    /// What the SDPs said.
    pub client: ClientConfig,
    /// What it publishes.
    pub publish: Option<Publish>,
    /// What it tells the server about what it hears.
    pub feedback: Feedback,
    /// Watches as a browser would, instead of only counting marks.
    pub view: Option<ViewConfig>,
}

/// How a peer watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewConfig {
    /// The link in front of it; `None` for one without a limit.
    pub link: Option<LinkConfig>,
}

/// What a watching peer saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Watched {
    /// Since the last look.
    pub span: View,
    /// Since the start.
    pub whole: View,
    /// Datagrams dropped in front of its link, since the start.
    pub link_dropped: u64,
}

/// News of a peer.
#[derive(Clone, Debug)]
pub struct PeerEvent {
    /// Which one.
    pub peer: PeerId,
    /// What happened.
    pub event: ClientEvent,
}

/// How far a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which one.
    pub peer: PeerId,
    /// Media can flow.
    pub connected: bool,
    /// Streams (publisher and kind) that it has heard of.
    pub streams: usize,
}

/// What one peer sent and heard.
#[derive(Clone, Debug)]
pub struct PeerTotals {
    /// Which one.
    pub peer: PeerId,
    /// Its number as publisher and what it sent while measured.
    pub sent: Option<(u32, Sent)>,
    /// What it heard, by publisher and kind.
    pub heard: Vec<((u32, Kind), Heard)>,
}

/// What all peers saw.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Each peer.
    pub peers: Vec<PeerTotals>,
    /// Delay of the measured video packets.
    pub video_delay: Histogram,
    /// Delay of the measured audio packets.
    pub audio_delay: Histogram,
    /// RTP packets that arrived while the measurement ran, duplicates and padding included.
    pub arrived: u64,
    /// RTP bytes of those packets, without SRTP, UDP and IP.
    pub arrived_bytes: u64,
    /// RTP packets that were published while the measurement ran.
    pub published: u64,
    /// Datagrams that were not authentic or came twice, since the start.
    pub dropped: u64,
    /// Packets that publishers were asked for again, since the start.
    pub nacked: u64,
    /// Key frames that publishers were asked for, since the start.
    pub key_frame_requests: u64,
    /// Padding, silence and other packets without our mark, since the start.
    pub strangers: u64,
    /// Publishers' packets that the socket did not take, since the start.
    pub send_failures: u64,
}

enum Command {
    Add(PeerId, Box<NewPeer>),
    Remove(PeerId),
    Measure(bool, oneshot::Sender<()>),
    Status(oneshot::Sender<Vec<PeerStatus>>),
    Totals(oneshot::Sender<Totals>),
    Look(PeerId, oneshot::Sender<Watched>),
    Inject(PeerId, Vec<u8>),
    Capture(PeerId, oneshot::Sender<Vec<Vec<u8>>>),
    Stop,
}

/// Opens a socket for one peer on `local`.
///
/// # Errors
/// [`LoadError::Io`].
pub fn bind(local: IpAddr) -> Result<UdpSocket, LoadError> {
    UdpSocket::bind((local, 0))
        .map_err(|error| LoadError::io(format!("UDP socket on {local}"), error))
}

/// A handle on the thread; dropping it ends the thread.
pub struct Engine {
    commands: Sender<Command>,
    next: AtomicU32,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread, on one core if asked. News goes to `events`.
    ///
    /// # Errors
    /// [`LoadError::Io`] when the system refuses epoll or a thread.
    pub fn start(
        certificate: Arc<Certificate>,
        events: mpsc::UnboundedSender<PeerEvent>,
        core: Option<usize>,
    ) -> Result<Self, LoadError> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| LoadError::io("epoll", error.into()))?;
        let (commands, inbox) = channel();
        let thread = std::thread::Builder::new()
            .name("load-media".to_owned())
            .spawn(move || {
                if let Some(core) = core {
                    // A generator that can't be pinned still measures; the report shows who ran where.
                    let _ = crate::process::pin_to(core);
                }
                Driver::new(poll, inbox, certificate, events).run();
            })
            .map_err(|error| LoadError::io("thread", error))?;
        Ok(Self {
            commands,
            next: AtomicU32::new(0),
            thread: Some(thread),
        })
    }

    fn tell(&self, command: Command) {
        // The thread ends only when this handle does.
        let _ = self.commands.send(command);
    }

    /// Adds a peer, which starts connecting at once.
    pub fn add(&self, peer: NewPeer) -> PeerId {
        let id = PeerId(self.next.fetch_add(1, Ordering::Relaxed));
        self.tell(Command::Add(id, Box::new(peer)));
        id
    }

    /// Closes a peer.
    pub fn remove(&self, peer: PeerId) {
        self.tell(Command::Remove(peer));
    }

    /// Starts or ends a measurement; returns once that has happened.
    pub async fn measure(&self, on: bool) {
        let (done, wait) = oneshot::channel();
        self.tell(Command::Measure(on, done));
        let _ = wait.await;
    }

    /// How far each peer is.
    pub async fn status(&self) -> Vec<PeerStatus> {
        let (answer, wait) = oneshot::channel();
        self.tell(Command::Status(answer));
        wait.await.unwrap_or_default()
    }

    /// What was measured.
    pub async fn totals(&self) -> Totals {
        let (answer, wait) = oneshot::channel();
        self.tell(Command::Totals(answer));
        wait.await.unwrap_or_default()
    }

    /// What a peer with [`NewPeer::view`] saw; `None` for others.
    pub async fn look(&self, peer: PeerId) -> Option<Watched> {
        let (answer, wait) = oneshot::channel();
        self.tell(Command::Look(peer, answer));
        wait.await.ok()
    }

    /// Sends these bytes from a peer's socket as they are: what a broken or hostile client might send.
    pub fn inject(&self, peer: PeerId, datagram: Vec<u8>) {
        self.tell(Command::Inject(peer, datagram));
    }

    /// The last sealed packets of a publisher, for [`Self::inject`].
    pub async fn sealed_packets(&self, peer: PeerId) -> Vec<Vec<u8>> {
        let (answer, wait) = oneshot::channel();
        self.tell(Command::Capture(peer, answer));
        wait.await.unwrap_or_default()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
