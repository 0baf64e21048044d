//! Runs one room: feeds it requests, events and time, and carries out what it wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use livekit_protocol::signal_request;
use schalter_model::Time;
use tokio::sync::{mpsc, oneshot, watch};

use crate::administration::RoomSummary;
use crate::error::JoinRefusal;
use crate::forwarding::{LinkEnd, LinkStart};
use crate::ids::ConnectionId;
use crate::livekit::codec::Encoded;
use crate::registry::Registry;
use crate::room::{Input, JoinParams, LinkId, LinkOutput, Output, Room, UnreadableFrame};
use crate::stats::JoinStage;

/// Something to be done with a room at a time, between two inputs.
pub(crate) type RoomCall = Box<dyn FnOnce(&mut Room, Time) + Send>;

/// What sockets and the registry tell a room.
pub(crate) enum RoomMessage {
    Join {
        connection: ConnectionId,
        params: Box<JoinParams>,
        writer: ConnectionWriter,
        reply: oneshot::Sender<Result<(), JoinRefusal>>,
    },
    Request {
        connection: ConnectionId,
        request: Box<signal_request::Message>,
    },
    Unreadable {
        connection: ConnectionId,
        frame: UnreadableFrame,
    },
    Closed {
        connection: ConnectionId,
    },
    Admits {
        identity: String,
        reply: oneshot::Sender<bool>,
    },
    Describe {
        reply: oneshot::Sender<RoomSummary>,
    },
    Remove {
        /// The session's id.
        participant: String,
        reply: oneshot::Sender<bool>,
    },
    /// The room service asks; the call answers by itself.
    Call(RoomCall),
    /// The room's end of a link to another room begins.
    Link {
        link: LinkId,
        start: LinkStart,
    },
    /// An operator ends the room.
    End,
    Shutdown,
}

/// Where a room is reached.
#[derive(Clone)]
pub(crate) struct RoomHandle {
    pub(crate) sid: Arc<str>,
    pub(crate) control: mpsc::Sender<RoomMessage>,
}

/// The other end of a [`RoomHandle`].
pub(crate) struct Mailbox {
    control: mpsc::Receiver<RoomMessage>,
    media: mpsc::Receiver<Input>,
    /// For the registry's routes; the room's end drops the receiver.
    media_sender: mpsc::Sender<Input>,
}

impl RoomHandle {
    pub(crate) fn new(sid: Arc<str>, capacity: usize) -> (Self, Mailbox) {
        let capacity = capacity.max(1);
        let (control, control_rx) = mpsc::channel(capacity);
        let (media, media_rx) = mpsc::channel(capacity);
        let mailbox = Mailbox {
            control: control_rx,
            media: media_rx,
            media_sender: media,
        };
        (Self { sid, control }, mailbox)
    }

    /// Has the room do something and answers what comes of it; `None` if the room has ended.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Room) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let call: RoomCall = Box::new(move |room: &mut Room, now: Time| {
            if let Some(value) = room.call(now, call) {
                // The asker may have gone.
                let _ = reply.send(value);
            }
        });
        self.control.send(RoomMessage::Call(call)).await.ok()?;
        answer.await.ok()
    }

    /// Ends the room for everybody; returns once its name is free again.
    pub(crate) async fn end(&self) {
        // Whoever ended it before has done the same.
        let _ = self.control.send(RoomMessage::End).await;
        self.control.closed().await;
    }
}

/// What a socket's writer is told, in order.
pub(crate) enum Outgoing {
    Message(Arc<Encoded>),
    Close,
}

/// The room's end of one socket.
pub(crate) struct ConnectionWriter {
    queue: mpsc::Sender<Outgoing>,
    /// Overtakes the queue: the last message of a client that reads too slowly.
    last: watch::Sender<Option<Arc<Encoded>>>,
    overflowed: bool,
}

/// The socket's end.
pub(crate) struct WriterQueue {
    pub(crate) queue: mpsc::Receiver<Outgoing>,
    pub(crate) last: watch::Receiver<Option<Arc<Encoded>>>,
    /// The client speaks JSON.
    pub(crate) json: Arc<AtomicBool>,
}

/// A queue of `capacity` messages between a room and a socket.
pub(crate) fn writer_queue(capacity: usize) -> (ConnectionWriter, WriterQueue) {
    let (queue, receiver) = mpsc::channel(capacity.max(1));
    let (last, last_receiver) = watch::channel(None);
    let writer = ConnectionWriter {
        queue,
        last,
        overflowed: false,
    };
    let end = WriterQueue {
        queue: receiver,
        last: last_receiver,
        json: Arc::new(AtomicBool::new(false)),
    };
    (writer, end)
}

struct Connection {
    writer: ConnectionWriter,
    reply: Option<oneshot::Sender<Result<(), JoinRefusal>>>,
}

/// Runs `room` until it ends.
pub(crate) async fn run_room(room: Room, mailbox: Mailbox, registry: Arc<Registry>) {
    let Mailbox {
        mut control,
        mut media,
        media_sender,
    } = mailbox;
    let mut task = RoomTask {
        room,
        registry,
        connections: HashMap::new(),
        links: HashMap::new(),
        media: media_sender,
        overflowed: Vec::new(),
    };
    // What it has to say before anything happens in it.
    task.drain();
    loop {
        let deadline = task.room.poll_timeout();
        let clock = task.registry.clock;
        let timeout = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            Some(message) = control.recv() => task.on_message(message),
            Some(input) = media.recv() => task.step(input),
            () = timeout => task.step(Input::Timeout),
        };
        if ended {
            break;
        }
    }
    task.registry.retire(task.room.key());
    tracing::info!(room = %task.room.sid(), "room ends");
    // Whoever wrote before it saw the end: dropping the requests' reply channels tells joins to try again.
    control.close();
    while control.try_recv().is_ok() {}
}

struct RoomTask {
    room: Room,
    registry: Arc<Registry>,
    connections: HashMap<ConnectionId, Connection>,
    links: HashMap<LinkId, LinkEnd>,
    media: mpsc::Sender<Input>,
    overflowed: Vec<ConnectionId>,
}

impl RoomTask {
    fn on_message(&mut self, message: RoomMessage) -> bool {
        match message {
            RoomMessage::Join {
                connection,
                params,
                writer,
                reply,
            } => {
                let entry = Connection {
                    writer,
                    reply: Some(reply),
                };
                self.connections.insert(connection, entry);
                // Its token may have been withdrawn since it was checked; who withdraws it removes afterwards.
                if let Err(error) = self.registry.revoker.check(&params.grants) {
                    self.answer(connection, Err(error.into()));
                    self.connections.remove(&connection);
                    return false;
                }
                self.step(Input::Join { connection, params })
            }
            RoomMessage::Request {
                connection,
                request,
            } => self.step(Input::Request {
                connection,
                request,
            }),
            RoomMessage::Unreadable { connection, frame } => {
                self.step(Input::Unreadable { connection, frame })
            }
            RoomMessage::Closed { connection } => {
                self.connections.remove(&connection);
                self.step(Input::Closed { connection })
            }
            RoomMessage::Admits { identity, reply } => {
                // The asker may have gone.
                let _ = reply.send(self.room.admits(&identity));
                false
            }
            RoomMessage::Describe { reply } => {
                // The asker may have gone.
                let _ = reply.send(self.room.summary());
                false
            }
            RoomMessage::Remove { participant, reply } => {
                let there = self.room.holds(&participant);
                let ended = there && self.step(Input::Remove { participant });
                // The asker may have gone.
                let _ = reply.send(there);
                ended
            }
            RoomMessage::Call(call) => {
                let now = self.registry.clock.now();
                call(&mut self.room, now);
                self.carry_out(now)
            }
            RoomMessage::Link { link, start } => {
                let now = self.registry.clock.now();
                if let Some(end) = start(&mut self.room, now) {
                    self.links.insert(link, end);
                }
                self.carry_out(now)
            }
            RoomMessage::End => self.step(Input::End),
            RoomMessage::Shutdown => self.step(Input::Shutdown),
        }
    }

    /// Returns whether the room has ended.
    fn step(&mut self, input: Input) -> bool {
        let now = self.registry.clock.now();
        self.room.handle(now, input);
        self.carry_out(now)
    }

    /// Does what the room wants done. Returns whether it has ended.
    fn carry_out(&mut self, now: Time) -> bool {
        let mut ended = self.drain();
        while let Some(connection) = self.overflowed.pop() {
            self.registry.counters.slow_clients.add(1);
            self.room.handle(now, Input::Overflowed { connection });
            ended |= self.drain();
        }
        ended
    }

    fn drain(&mut self) -> bool {
        while let Some(output) = self.room.poll_link() {
            let link = output.link();
            if let LinkOutput::Closed { .. } = output {
                // The link's task sees it, and tells the other end.
                self.links.remove(&link);
            } else if let Some(end) = self.links.get(&link) {
                end.take(output);
            }
        }
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Accepted { connection } => self.answer(connection, Ok(())),
                Output::Refused {
                    connection,
                    refusal,
                } => {
                    self.answer(connection, Err(refusal));
                    self.connections.remove(&connection);
                }
                Output::Send { to, message } => {
                    let encoded = Arc::new(Encoded::new(*message));
                    for connection in to {
                        self.queue(connection, Outgoing::Message(Arc::clone(&encoded)));
                    }
                }
                Output::RefreshToken { connection, grants } => {
                    if let Some(token) = self.registry.refresh_token(&grants) {
                        let message =
                            livekit_protocol::signal_response::Message::RefreshToken(token);
                        let encoded = Arc::new(Encoded::new(message));
                        self.queue(connection, Outgoing::Message(encoded));
                    }
                }
                Output::Close { connection } => {
                    self.queue(connection, Outgoing::Close);
                    self.connections.remove(&connection);
                }
                Output::Media { shard, command } => {
                    self.registry.command(shard, command, &self.media);
                }
                Output::Report(event) => self.registry.report(self.room.key(), &event),
                Output::Presence(presence) => {
                    if let Some(observer) = &self.registry.observer {
                        observer.on_presence(presence);
                    }
                }
                Output::Ended => return true,
            }
        }
        false
    }

    fn answer(&mut self, connection: ConnectionId, answer: Result<(), JoinRefusal>) {
        if let Some(reply) = self
            .connections
            .get_mut(&connection)
            .and_then(|c| c.reply.take())
        {
            if let Err(refusal) = &answer {
                tracing::debug!(room = %self.room.sid(), stage = JoinStage::label(refusal.stage()), "join refused");
            }
            // If the asker has gone, its guard reports the connection as closed.
            let _ = reply.send(answer);
        }
    }

    fn queue(&mut self, connection: ConnectionId, outgoing: Outgoing) {
        let Some(entry) = self.connections.get_mut(&connection) else {
            return;
        };
        if entry.writer.overflowed {
            // Its last word follows: what came before it no longer matters.
            if let Outgoing::Message(message) = outgoing {
                entry.writer.last.send_replace(Some(message));
            }
            return;
        }
        if let Outgoing::Message(_) = &outgoing {
            self.registry.counters.messages_out.add(1);
        }
        match entry.writer.queue.try_send(outgoing) {
            // A closed queue belongs to a socket that is gone; its reader reports that.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                entry.writer.overflowed = true;
                self.overflowed.push(connection);
            }
        }
    }
}

#[cfg(test)]
mod tests;
