//! The media plane as a whole: starting the workers, reaching them, noticing when one is gone, stopping.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use schalter_model::{Counters, ShardId, WallClock};
use schalter_shard::control::{Command, Event};

use crate::affinity;
use crate::config::{NetError, SocketBuffers, WorkersConfig};
use crate::event_loop::{Clock, EventLoop, EventSink, Shown};
use crate::mailbox::{Doorbell, Lanes, Mailbox};
use crate::socket::Sockets;
use crate::stream::{AcceptedStream, Streams};
use crate::worker::Worker;

/// The running workers of a node. Dropping it stops them.
#[derive(Debug)]
pub struct Workers {
    plane: Arc<Plane>,
    threads: Vec<JoinHandle<()>>,
    ports: Vec<u16>,
    turn_ports: Vec<u16>,
    buffers: SocketBuffers,
}

/// Sends commands to shards; cheap to clone.
#[derive(Clone, Debug)]
pub struct Commands {
    plane: Arc<Plane>,
}

/// The end of a worker that nobody asked for. The rest of the node can't make up for it: the process should end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker of shard {shard} failed: {reason}")]
pub struct Failure {
    /// Which shard.
    pub shard: ShardId,
    /// The panic's message or the kernel's error.
    pub reason: String,
}

/// The shard does not exist, or its worker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard {0} is not running")]
pub struct NotRunning(pub ShardId);

/// What the workers share with the rest of the process.
#[derive(Debug)]
struct Plane {
    commands: Vec<mpsc::Sender<Command>>,
    streams: Vec<mpsc::Sender<AcceptedStream>>,
    bells: Arc<[Doorbell]>,
    shown: Vec<Shown>,
    failure: Mutex<Option<Failure>>,
    failed: Condvar,
}

impl Plane {
    fn send(&self, shard: ShardId, command: Command) -> Result<(), NotRunning> {
        let index = usize::from(shard.0);
        let lane = self.commands.get(index).ok_or(NotRunning(shard))?;
        lane.send(command).map_err(|_| NotRunning(shard))?;
        self.bells[index].ring();
        Ok(())
    }

    fn failure(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, shard: ShardId, reason: String) {
        tracing::error!(%shard, reason, "a media worker failed");
        // The first failure is the cause; those after it may be consequences.
        self.failure().get_or_insert(Failure { shard, reason });
        self.failed.notify_all();
    }
}

impl Commands {
    /// Puts a request into a shard's lane, which never drops; requests of one thread are carried out in order.
    ///
    /// # Errors
    /// [`NotRunning`] if there is no such shard or it has ended.
    pub fn send(&self, shard: ShardId, command: Command) -> Result<(), NotRunning> {
        self.plane.send(shard, command)
    }

    /// Hands a connection that carries datagrams to a shard's worker, which reads and writes it from then on. One that is
    /// too many, or broken, is closed there.
    ///
    /// # Errors
    /// [`NotRunning`] if there is no such shard or it has ended; the connection is closed.
    pub fn adopt(&self, shard: ShardId, stream: AcceptedStream) -> Result<(), NotRunning> {
        let index = usize::from(shard.0);
        let lane = self.plane.streams.get(index).ok_or(NotRunning(shard))?;
        lane.send(stream).map_err(|_| NotRunning(shard))?;
        self.plane.bells[index].ring();
        Ok(())
    }
}

impl Workers {
    /// Opens the sockets and starts one thread per shard.
    ///
    /// `make` makes the worker of each shard; all count time from the same epoch, so that time points may travel
    /// between shards. `events` is called on the workers' threads and must not block.
    ///
    /// # Errors
    /// [`NetError`] if a socket or a thread can't be had; nothing is left running then.
    pub fn start<W: Worker>(
        config: &WorkersConfig,
        mut make: impl FnMut(ShardId, Instant, WallClock) -> W,
        events: Box<dyn Fn(ShardId, Event) + Send + Sync>,
    ) -> Result<Self, NetError> {
        let all_sockets = open_sockets(config)?;
        let lanes = Lanes::new(config.shards, config.mailbox_slots)
            .map_err(|(shard, source)| NetError::Worker { shard, source })?;
        let (epoch, wall_clock) = clocks();
        let plane = Arc::new(Plane {
            commands: lanes.commands,
            streams: lanes.streams,
            bells: lanes.bells,
            shown: (0..config.shards).map(|_| Shown::default()).collect(),
            failure: Mutex::new(None),
            failed: Condvar::new(),
        });
        let mut workers = Self {
            plane,
            threads: Vec::with_capacity(all_sockets.len()),
            ports: all_sockets.iter().map(Sockets::port).collect(),
            turn_ports: all_sockets.iter().filter_map(Sockets::turn_port).collect(),
            buffers: least_buffers(&all_sockets, config)?,
        };
        let events: Arc<EventSink> = events.into();
        let shards = (0..config.shards).map(ShardId);
        for ((shard, sockets), mailbox) in shards.zip(all_sockets).zip(lanes.mailboxes) {
            let streams = Streams::new(config.unproven_streams_per_address)
                .map_err(|source| NetError::Worker { shard, source })?;
            let seat = Seat {
                shard,
                worker: make(shard, epoch, wall_clock),
                sockets,
                streams,
                mailbox,
                clock: Clock { epoch },
                events: Arc::clone(&events),
                plane: Arc::clone(&workers.plane),
                core: config.pin.then(|| config.first_core + usize::from(shard.0)),
            };
            let thread = std::thread::Builder::new()
                .name(format!("shard-{shard}"))
                .spawn(move || seat.occupy())
                .map_err(|source| NetError::Worker { shard, source })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// The UDP port of each shard, in the order of the shards.
    pub fn local_ports(&self) -> &[u16] {
        &self.ports
    }

    /// The UDP port for TURN of each shard, in the order of the shards; none at all without [`WorkersConfig::turn_port`].
    pub fn local_turn_ports(&self) -> &[u16] {
        &self.turn_ports
    }

    /// The smallest socket buffers that the kernel gave.
    pub fn socket_buffers(&self) -> SocketBuffers {
        self.buffers
    }

    /// A handle that sends commands and can be handed around.
    pub fn commands(&self) -> Commands {
        Commands {
            plane: Arc::clone(&self.plane),
        }
    }

    /// Puts a request into a shard's lane; see [`Commands::send`].
    ///
    /// # Errors
    /// [`NotRunning`] if there is no such shard or it has ended.
    pub fn send(&self, shard: ShardId, command: Command) -> Result<(), NotRunning> {
        self.plane.send(shard, command)
    }

    /// What a shard had counted when it last published, at most about a second ago; `None` if there is no such shard.
    pub fn counters(&self, shard: ShardId) -> Option<Counters> {
        self.plane
            .shown
            .get(usize::from(shard.0))
            .map(Shown::counters)
    }

    /// The first worker that ended although nobody asked for it.
    pub fn failed(&self) -> Option<Failure> {
        self.plane.failure().clone()
    }

    /// Waits until a worker fails, or for `timeout`.
    pub fn wait_failed(&self, timeout: Duration) -> Option<Failure> {
        let (failure, _) = self
            .plane
            .failed
            .wait_timeout_while(self.plane.failure(), timeout, |failure| failure.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    /// Stops the workers after what was sent to them so far, and waits for their threads to end.
    ///
    /// # Errors
    /// The [`Failure`] of a worker that did not get that far.
    pub fn shutdown(mut self) -> Result<(), Failure> {
        self.stop();
        self.failed().map_or(Ok(()), Err)
    }

    fn stop(&mut self) {
        for (shown, bell) in self.plane.shown.iter().zip(self.plane.bells.iter()) {
            shown.stop.store(true, Ordering::Release);
            bell.ring();
        }
        for thread in self.threads.drain(..) {
            // A panic was caught and noted inside the thread.
            let _ = thread.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

fn open_sockets(config: &WorkersConfig) -> Result<Vec<Sockets>, NetError> {
    if config.shards == 0 {
        return Err(NetError::NoShard);
    }
    (0..config.shards)
        .map(|shard| {
            let port_from = |first: u16| match first {
                0 => Ok(0),
                base => base
                    .checked_add(u16::from(shard))
                    .ok_or(NetError::PortRange {
                        base_port: base,
                        shards: config.shards,
                    }),
            };
            let turn_port = config.turn_port.map(port_from).transpose()?;
            Sockets::open(config, port_from(config.base_port)?, turn_port)
        })
        .collect()
}

/// Looks at what the kernel gave, and says so if it is less than asked for.
fn least_buffers(
    all_sockets: &[Sockets],
    config: &WorkersConfig,
) -> Result<SocketBuffers, NetError> {
    let mut least = SocketBuffers {
        receive: usize::MAX,
        send: usize::MAX,
    };
    for (shard, sockets) in all_sockets.iter().enumerate() {
        let given = sockets.buffers().map_err(|source| NetError::Worker {
            shard: ShardId(shard as u8),
            source,
        })?;
        least.receive = least.receive.min(given.receive);
        least.send = least.send.min(given.send);
    }
    if least.receive < config.receive_buffer || least.send < config.send_buffer {
        tracing::warn!(
            receive = least.receive,
            receive_wanted = config.receive_buffer,
            send = least.send,
            send_wanted = config.send_buffer,
            "socket buffers are smaller than configured; raise net.core.rmem_max and net.core.wmem_max"
        );
    }
    Ok(least)
}

/// The epoch of all workers, and where it lies in wall-clock time.
fn clocks() -> (Instant, WallClock) {
    let epoch = Instant::now();
    // A clock before 1970 is as wrong as any; sender reports are then relative to 1970.
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let nanos = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
    (epoch, WallClock::new(nanos))
}

/// What one thread takes with it.
struct Seat<W> {
    shard: ShardId,
    worker: W,
    sockets: Sockets,
    streams: Streams,
    mailbox: Mailbox,
    clock: Clock,
    events: Arc<EventSink>,
    plane: Arc<Plane>,
    core: Option<usize>,
}

impl<W: Worker> Seat<W> {
    fn occupy(self) {
        let shard = self.shard;
        if let Some(core) = self.core {
            match affinity::pin_current_thread(core) {
                Ok(core) => tracing::debug!(%shard, core, "worker pinned"),
                Err(error) => tracing::warn!(%shard, %error, "worker can't be pinned to a core"),
            }
        }
        let plane = Arc::clone(&self.plane);
        // Nothing of the worker is used after a panic, so it can't be seen half-changed.
        let ended = catch_unwind(AssertUnwindSafe(|| self.work()));
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => plane.fail(shard, error.to_string()),
            Err(panic) => plane.fail(shard, panic_message(panic.as_ref())),
        }
    }

    fn work(self) -> std::io::Result<()> {
        EventLoop {
            shard: self.shard,
            worker: self.worker,
            sockets: &self.sockets,
            mailbox: self.mailbox,
            clock: self.clock,
            events: self.events.as_ref(),
            shown: &self.plane.shown[usize::from(self.shard.0)],
        }
        .run(self.streams)
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic without a message").to_owned()
}
