//! The thread itself: receives, sends, keeps time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::Receiver as Inbox;
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, UdpSocketState};
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use schalter_rtp::rtcp::{Rtcp, RtcpWriter, compound};
use tokio::sync::mpsc;

use super::{
    Command, NewPeer, PeerEvent, PeerId, PeerStatus, PeerTotals, Publish, Totals, ViewConfig,
    Watched,
};
use crate::client::{Certificate, ClientEvent, ClientPeer, Incoming};
use crate::error::LoadError;
use crate::feed::Publisher;
use crate::histogram::Histogram;
use crate::link::Link;
use crate::probe::{Kind, wall_nanos};
use crate::receive::{Arrival, Receiver};
use crate::viewer::Viewer;

/// Datagrams (or coalesced runs of them) taken from one socket at a time.
const RECEIVE_BATCH: usize = 4;
/// A coalesced run is as long as a UDP datagram may be.
const RECEIVE_SLOT: usize = 65_535;
/// Batches taken from one socket before the others have their turn.
const BATCHES_PER_TURN: usize = 8;
/// Longest sleep: what a socket's buffer has to hold meanwhile is little, and nobody waits for commands.
const IDLE: Duration = Duration::from_micros(500);
/// Looks without waiting.
const AT_ONCE: rustix::time::Timespec = rustix::time::Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
/// Receive buffer of each socket: half a second of a ten-party room.
const SOCKET_BUFFER: usize = 4 << 20;

struct Peer {
    socket: UdpSocket,
    state: UdpSocketState,
    remote: SocketAddr,
    client: ClientPeer,
    publish: Option<Publish>,
    publisher: Option<Publisher>,
    receiver: Receiver,
    watch: Option<Watch>,
    scheduled: Option<Instant>,
}

/// How often a watching peer looks at its link and at what it misses.
const WATCH_EVERY: Duration = Duration::from_millis(2);

/// What makes a peer watch.
struct Watch {
    link: Option<Link>,
    viewer: Viewer,
    next: Instant,
}

impl Watch {
    fn new(now: Instant, config: ViewConfig) -> Self {
        Self {
            link: config.link.map(Link::new),
            viewer: Viewer::default(),
            next: now,
        }
    }
}

impl Peer {
    fn send(&self, datagram: &[u8]) -> bool {
        self.socket.send(datagram).is_ok()
    }

    fn next_due(&self) -> Option<Instant> {
        let media = self.client.connected().then(|| self.receiver.next_due());
        let feed = self.publisher.as_ref().map(Publisher::next_due);
        let watch = self.watch.as_ref().map(|watch| watch.next);
        [self.client.next_timeout(), media, feed, watch]
            .into_iter()
            .flatten()
            .min()
    }
}

pub(super) struct Driver {
    poll: OwnedFd,
    inbox: Inbox<Command>,
    certificate: Arc<Certificate>,
    events: mpsc::UnboundedSender<PeerEvent>,
    peers: Vec<Option<Peer>>,
    timers: BinaryHeap<Reverse<(Instant, u32)>>,
    measuring: bool,
    totals: Totals,
    buffers: Vec<Vec<u8>>,
}

impl Driver {
    pub(super) fn new(
        poll: OwnedFd,
        inbox: Inbox<Command>,
        certificate: Arc<Certificate>,
        events: mpsc::UnboundedSender<PeerEvent>,
    ) -> Self {
        Self {
            poll,
            inbox,
            certificate,
            events,
            peers: Vec::new(),
            timers: BinaryHeap::new(),
            measuring: false,
            totals: Totals::default(),
            buffers: (0..RECEIVE_BATCH).map(|_| vec![0; RECEIVE_SLOT]).collect(),
        }
    }

    pub(super) fn run(mut self) {
        let mut ready = Vec::with_capacity(1_024);
        loop {
            while let Ok(command) = self.inbox.try_recv() {
                if self.on_command(command) {
                    return;
                }
            }
            self.run_timers();
            let now = Instant::now();
            let sleep = self.timers.peek().map_or(IDLE, |Reverse((at, _))| {
                at.saturating_duration_since(now).min(IDLE)
            });
            // A thread that sleeps in epoll is woken by whoever sends to it, and the kernel charges that to the sender: on
            // loopback the server under test would pay for each of our wake-ups. Who looks now and then costs it nothing,
            // and delays are taken from the kernel's receive timestamps.
            std::thread::sleep(sleep);
            ready.clear();
            // Interrupted or not: the next round looks again.
            let _ = epoll::wait(
                &self.poll,
                rustix::buffer::spare_capacity(&mut ready),
                Some(&AT_ONCE),
            );
            for event in &ready {
                let index = event.data.u64();
                self.receive(index as u32);
            }
        }
    }

    fn on_command(&mut self, command: Command) -> bool {
        match command {
            Command::Add(id, new) => {
                if let Err(error) = self.add(id, *new) {
                    let event = ClientEvent::Failed(error.to_string());
                    let _ = self.events.send(PeerEvent { peer: id, event });
                }
            }
            Command::Remove(id) => self.remove(id),
            Command::Measure(on, done) => {
                if on {
                    self.totals.video_delay = Histogram::default();
                    self.totals.audio_delay = Histogram::default();
                    self.totals.arrived = 0;
                    self.totals.arrived_bytes = 0;
                    self.totals.published = 0;
                }
                self.measuring = on;
                let _ = done.send(());
            }
            Command::Status(answer) => {
                let status = self.each().map(|(peer, p)| PeerStatus {
                    peer,
                    connected: p.client.connected(),
                    streams: p.receiver.heard().count(),
                });
                let _ = answer.send(status.collect());
            }
            Command::Totals(answer) => {
                let totals = self.collect();
                let _ = answer.send(totals);
            }
            Command::Look(id, answer) => {
                if let Some(watch) = self.peer(id.0).and_then(|peer| peer.watch.as_mut()) {
                    let now = wall_nanos();
                    let _ = answer.send(Watched {
                        span: watch.viewer.take_span(now),
                        whole: watch.viewer.whole(now),
                        link_dropped: watch.link.as_ref().map_or(0, Link::dropped),
                    });
                }
            }
            Command::Inject(id, datagram) => {
                if let Some(peer) = self.peer(id.0) {
                    peer.send(&datagram);
                }
            }
            Command::Capture(id, answer) => {
                let sealed = self.peer(id.0).and_then(|peer| peer.publisher.as_ref());
                let _ = answer.send(sealed.map(Publisher::remembered).unwrap_or_default());
            }
            Command::Stop => {
                for index in 0..self.peers.len() as u32 {
                    self.remove(PeerId(index));
                }
                return true;
            }
        }
        false
    }

    fn each(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.peers
            .iter()
            .enumerate()
            .filter_map(|(index, peer)| Some((PeerId(index as u32), peer.as_ref()?)))
    }

    fn peer(&mut self, index: u32) -> Option<&mut Peer> {
        self.peers.get_mut(index as usize)?.as_mut()
    }

    fn add(&mut self, id: PeerId, new: NewPeer) -> Result<(), LoadError> {
        let now = Instant::now();
        let remote = new.client.candidate;
        let io = |error| LoadError::socket(remote, error);
        new.socket.connect(remote).map_err(io)?;
        let state = UdpSocketState::new((&new.socket).into()).map_err(io)?;
        // The system's limit may be lower; then losses in the generator show as such.
        let _ = state.set_recv_buffer_size((&new.socket).into(), SOCKET_BUFFER);
        let data = epoll::EventData::new_u64(id.0.into());
        epoll::add(&self.poll, &new.socket, data, epoll::EventFlags::IN)
            .map_err(|error| io(error.into()))?;
        let peer = Peer {
            client: ClientPeer::new(now, new.client, &self.certificate)?,
            socket: new.socket,
            state,
            remote,
            publish: new.publish,
            publisher: None,
            receiver: Receiver::new(now, new.feedback),
            watch: new.view.map(|config| Watch::new(now, config)),
            scheduled: None,
        };
        let index = id.0 as usize;
        if self.peers.len() <= index {
            self.peers.resize_with(index + 1, || None);
        }
        self.peers[index] = Some(peer);
        self.after_input(now, id.0);
        Ok(())
    }

    fn remove(&mut self, id: PeerId) {
        let Some(mut peer) = self.peers.get_mut(id.0 as usize).and_then(Option::take) else {
            return;
        };
        peer.client.close(Instant::now());
        while let Some(datagram) = peer.client.poll_transmit() {
            peer.send(&datagram);
        }
        let _ = epoll::delete(&self.poll, &peer.socket);
    }

    fn collect(&self) -> Totals {
        let mut totals = self.totals.clone();
        for (id, peer) in self.each() {
            totals.strangers += peer.receiver.strangers();
            totals.peers.push(PeerTotals {
                peer: id,
                sent: peer
                    .publisher
                    .as_ref()
                    .zip(peer.publish.as_ref())
                    .map(|(publisher, publish)| (publish.publisher, publisher.sent())),
                heard: peer.receiver.heard().collect(),
            });
        }
        totals
    }

    fn run_timers(&mut self) {
        let mut now = Instant::now();
        while let Some(Reverse((at, index))) = self.timers.peek().copied() {
            if at > now {
                now = Instant::now();
                if at > now {
                    return;
                }
            }
            self.timers.pop();
            let Some(peer) = self.peer(index) else {
                continue;
            };
            if peer.scheduled != Some(at) {
                continue;
            }
            peer.scheduled = None;
            if peer.client.next_timeout().is_some_and(|at| at <= now) {
                peer.client.on_timeout(now);
            }
            self.publish(now, index);
            self.watch(now, index);
            self.after_input(now, index);
        }
    }

    /// Lets a link deliver, and asks for what a viewer misses.
    fn watch(&mut self, now: Instant, index: u32) {
        let Some(watch) = self.peer(index).and_then(|peer| peer.watch.as_mut()) else {
            return;
        };
        watch.next = now + WATCH_EVERY;
        let wall = wall_nanos();
        while let Some((at, mut datagram)) = self
            .peer(index)
            .and_then(|peer| peer.watch.as_mut()?.link.as_mut()?.pop(wall))
        {
            self.on_datagram(index, at, &mut datagram);
        }
        let Some(peer) = self.peer(index) else {
            return;
        };
        let own = peer.receiver.ssrc();
        loop {
            let mut out = [0; 1_500];
            let mut writer = RtcpWriter::new(&mut out);
            let asked = peer
                .watch
                .as_mut()
                .is_some_and(|watch| watch.viewer.ask(wall, own, &mut writer));
            if !asked {
                return;
            }
            let len = writer.finish();
            let Some(sealed) = peer.client.seal_rtcp(&mut out, len) else {
                return;
            };
            peer.send(&out[..sealed]);
        }
    }

    /// Sends what a feed owes.
    fn publish(&mut self, now: Instant, index: u32) {
        let measuring = self.measuring;
        let Some(Some(peer)) = self.peers.get_mut(index as usize) else {
            return;
        };
        let Some(publisher) = &mut peer.publisher else {
            return;
        };
        let mut out = [0; 1_500];
        loop {
            let wall = wall_nanos();
            let Some(len) = publisher.produce(now, wall, measuring, &mut out) else {
                break;
            };
            let Some(sealed) = peer.client.seal_rtp(&mut out, len) else {
                break;
            };
            publisher.remember(&out[..sealed]);
            if measuring {
                self.totals.published += 1;
            }
            if peer.socket.send(&out[..sealed]).is_err() {
                self.totals.send_failures += 1;
            }
        }
        if let Some(len) = publisher.report(now, wall_nanos(), &mut out)
            && let Some(sealed) = peer.client.seal_rtcp(&mut out, len)
        {
            let _ = peer.socket.send(&out[..sealed]);
        }
    }

    fn after_input(&mut self, now: Instant, index: u32) {
        let Some(Some(peer)) = self.peers.get_mut(index as usize) else {
            return;
        };
        while let Some(event) = peer.client.poll_event() {
            if event == ClientEvent::Connected
                && let Some(publish) = peer.publish.clone()
            {
                // Cameras don't run in step: each feed starts somewhere within a frame.
                let start = now + Duration::from_millis(33).mul_f64(rand::random::<f64>());
                peer.publisher = Some(Publisher::new(
                    publish.publisher,
                    publish.feed,
                    publish.ids,
                    publish.header,
                    start,
                ));
            }
            let _ = self.events.send(PeerEvent {
                peer: PeerId(index),
                event,
            });
        }
        if peer.client.connected() {
            let mut out = [0; 1_500];
            while let Some(len) = peer.receiver.report(now, &mut out) {
                let Some(sealed) = peer.client.seal_rtcp(&mut out, len) else {
                    break;
                };
                peer.send(&out[..sealed]);
            }
        }
        while let Some(datagram) = peer.client.poll_transmit() {
            peer.send(&datagram);
        }
        if let Some(due) = peer.next_due()
            && peer.scheduled.is_none_or(|scheduled| due < scheduled)
        {
            peer.scheduled = Some(due);
            self.timers.push(Reverse((due, index)));
        }
    }

    fn receive(&mut self, index: u32) {
        let mut metas = [RecvMeta::default(); RECEIVE_BATCH];
        let mut buffers = std::mem::take(&mut self.buffers);
        for _ in 0..BATCHES_PER_TURN {
            let Some(Some(peer)) = self.peers.get(index as usize) else {
                break;
            };
            let mut slices = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer));
            let mut slices: [IoSliceMut<'_>; RECEIVE_BATCH] =
                std::array::from_fn(|_| slices.next().expect("as many buffers as slices"));
            let count = match peer
                .state
                .recv((&peer.socket).into(), &mut slices, &mut metas)
            {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(_) => break,
            };
            for (meta, buffer) in metas.iter().zip(&mut buffers).take(count) {
                let arrived = meta
                    .timestamp
                    .map_or_else(wall_nanos, |at| u64::try_from(at.as_nanos()).unwrap_or(0));
                for datagram in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                    let link = self
                        .peer(index)
                        .and_then(|peer| peer.watch.as_mut()?.link.as_mut());
                    match link {
                        Some(link) => link.push(arrived, datagram),
                        None => self.on_datagram(index, arrived, datagram),
                    }
                }
            }
            if count < RECEIVE_BATCH {
                break;
            }
        }
        self.buffers = buffers;
        self.after_input(Instant::now(), index);
    }

    fn on_datagram(&mut self, index: u32, arrived: u64, datagram: &mut [u8]) {
        let Some(Some(peer)) = self.peers.get_mut(index as usize) else {
            return;
        };
        match peer
            .client
            .on_datagram(Instant::now(), peer.remote, datagram)
        {
            Incoming::Handled => {}
            Incoming::Dropped => self.totals.dropped += 1,
            Incoming::Rtp(len) => {
                if self.measuring {
                    self.totals.arrived += 1;
                    self.totals.arrived_bytes += len as u64;
                }
                if let Some(watch) = &mut peer.watch {
                    watch.viewer.on_rtp(arrived, &datagram[..len]);
                }
                match peer.receiver.on_rtp(arrived, &datagram[..len]) {
                    Arrival::New(probe) if probe.measured => {
                        let delay = arrived.saturating_sub(probe.sent_at);
                        match probe.kind {
                            Kind::Audio => self.totals.audio_delay.record(delay),
                            Kind::Video => self.totals.video_delay.record(delay),
                        }
                    }
                    Arrival::New(_) | Arrival::Again | Arrival::Stranger => {}
                }
            }
            Incoming::Rtcp(len) => self.on_rtcp(index, &datagram[..len]),
        }
    }

    fn on_rtcp(&mut self, index: u32, datagram: &[u8]) {
        let Some(Some(peer)) = self.peers.get_mut(index as usize) else {
            return;
        };
        for packet in compound(datagram).flatten() {
            match packet {
                Rtcp::SenderReport(report) => {
                    peer.receiver.on_sender_report(Instant::now(), &report)
                }
                Rtcp::Pli { .. } | Rtcp::Fir(_) => {
                    if let Some(publisher) = &mut peer.publisher {
                        self.totals.key_frame_requests += 1;
                        publisher.request_key_frame();
                    }
                }
                Rtcp::Nack(nack) => {
                    let Some(publisher) = &peer.publisher else {
                        continue;
                    };
                    for sequence in nack.lost() {
                        self.totals.nacked += 1;
                        if let Some(sealed) = publisher.recall(nack.media_ssrc, sequence) {
                            let _ = peer.socket.send(sealed);
                        }
                    }
                }
                Rtcp::ReceiverReport(_)
                | Rtcp::SourceDescription(_)
                | Rtcp::Bye(_)
                | Rtcp::Remb(_)
                | Rtcp::TransportCc(_)
                | Rtcp::CongestionControl(_)
                | Rtcp::Unknown { .. } => {}
            }
        }
    }
}
