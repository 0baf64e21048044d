//! One WebSocket: a reader with a rate limit and dead-peer detection, and a writer with a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use livekit_protocol::signal_request;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{self, error::CapacityError};

use super::codec::{self, MalformedRequest};
use crate::ids::ConnectionId;
use crate::registry::Registry;
use crate::room::UnreadableFrame;
use crate::room_task::{Outgoing, RoomMessage, WriterQueue};
use crate::token_bucket::TokenBucket;

/// How long a last message and the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Missed ping intervals after which a peer counts as gone.
const MISSED_PINGS: u32 = 3;

/// A room's knowledge of a socket, taken back when this is dropped, however the socket ends.
pub(crate) struct Session {
    room: mpsc::Sender<RoomMessage>,
    connection: ConnectionId,
}

impl Session {
    pub(crate) fn new(room: mpsc::Sender<RoomMessage>, connection: ConnectionId) -> Self {
        Self { room, connection }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let closed = RoomMessage::Closed {
            connection: self.connection,
        };
        if let Err(mpsc::error::TrySendError::Full(closed)) = self.room.try_send(closed) {
            let room = self.room.clone();
            tokio::spawn(async move {
                // A room that ended needs no news.
                let _ = room.send(closed).await;
            });
        }
    }
}

/// Runs a socket until one side ends it.
pub(crate) async fn run(
    socket: WebSocket,
    session: Option<Session>,
    queue: WriterQueue,
    registry: Arc<Registry>,
) {
    registry.counters.connections.add(1);
    let (sink, stream) = socket.split();
    let json = Arc::clone(&queue.json);
    let ping = registry.config.socket_ping_interval;
    let mut writer = tokio::spawn(write(sink, queue, ping));
    let mut reader = Reader {
        stream,
        session,
        json,
        registry: Arc::clone(&registry),
    };
    let end = tokio::select! {
        end = reader.read() => end,
        _ = &mut writer => {
            // Our close is out: the peer's, or its silence, ends the socket.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, reader.read_out()).await;
            registry.counters.connections.sub(1);
            return;
        }
    };
    // Dropping the session takes the room's end of the queue away, which ends the writer after what is queued.
    reader.session = None;
    if end == End::Closed {
        // The library answers the peer's close (RFC 6455 §5.5.1) while it is read on.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, reader.read_out()).await;
    }
    if end == End::Broken
        || tokio::time::timeout(CLOSE_TIMEOUT, &mut writer)
            .await
            .is_err()
    {
        writer.abort();
    }
    registry.counters.connections.sub(1);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The peer closed.
    Closed,
    /// The socket failed, or the peer is silent.
    Broken,
}

struct Reader {
    stream: SplitStream<WebSocket>,
    session: Option<Session>,
    json: Arc<AtomicBool>,
    registry: Arc<Registry>,
}

impl Reader {
    async fn read(&mut self) -> End {
        let clock = self.registry.clock;
        let limits = &self.registry.config.limits;
        let mut allowance = TokenBucket::new(
            u64::from(limits.messages_per_second.max(1)),
            u64::from(limits.message_burst.max(1)),
            clock.now(),
        );
        let pause = Duration::from_secs(1) / limits.messages_per_second.max(1);
        let idle = self.registry.config.socket_ping_interval * MISSED_PINGS;
        loop {
            let frame = match tokio::time::timeout(idle, self.stream.next()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return End::Closed,
                Ok(Some(Err(error))) => {
                    if is_oversized(error) {
                        self.registry.counters.messages_oversized.add(1);
                    }
                    return End::Broken;
                }
                Err(_) => return End::Broken,
            };
            let request = match frame {
                Message::Binary(bytes) => codec::from_binary(&bytes),
                Message::Text(text) => {
                    self.json.store(true, Ordering::Relaxed);
                    codec::from_text(&text)
                }
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Close(_) => return End::Closed,
            };
            // Whoever asks faster waits in its own socket; nothing is lost.
            if !allowance.take(1, clock.now()) {
                self.registry.counters.messages_delayed.add(1);
                while !allowance.take(1, clock.now()) {
                    tokio::time::sleep(pause).await;
                }
            }
            self.registry.counters.messages_in.add(1);
            if request.is_err() {
                self.registry.counters.messages_malformed.add(1);
            }
            self.forward(request).await;
        }
    }

    async fn forward(&self, request: Result<Option<signal_request::Message>, MalformedRequest>) {
        let Some(session) = &self.session else {
            return;
        };
        let connection = session.connection;
        let unreadable = |frame| RoomMessage::Unreadable { connection, frame };
        let message = match request {
            Ok(Some(request)) => RoomMessage::Request {
                connection,
                request: Box::new(request),
            },
            Ok(None) => unreadable(UnreadableFrame::UnknownRequest),
            Err(MalformedRequest) => unreadable(UnreadableFrame::Malformed),
        };
        // A room that ended has told this client to leave.
        let _ = session.room.send(message).await;
    }

    async fn read_out(&mut self) {
        while let Some(Ok(_)) = self.stream.next().await {}
    }
}

/// Whether a socket failed because of a message or frame beyond the limit.
fn is_oversized(error: axum::Error) -> bool {
    let error = error.into_inner().downcast::<tungstenite::Error>();
    error.is_ok_and(|error| {
        matches!(
            *error,
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. })
        )
    })
}

async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: WriterQueue,
    ping_interval: Duration,
) {
    let mut ping = tokio::time::interval(ping_interval);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick comes at once.
    ping.tick().await;
    let mut last = queue.last.clone();
    loop {
        let frame = tokio::select! {
            biased;
            Ok(()) = last.changed() => break,
            next = queue.queue.recv() => match next {
                Some(Outgoing::Message(message)) => {
                    let Some(frame) = message.frame(queue.json.load(Ordering::Relaxed)) else {
                        tracing::error!("a message can't be written as JSON");
                        continue;
                    };
                    frame
                }
                Some(Outgoing::Close) | None => break,
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        tokio::select! {
            biased;
            sent = sink.send(frame) => if sent.is_err() {
                return;
            },
            Ok(()) = last.changed() => break,
        }
    }
    let goodbye = async {
        let message = queue.last.borrow().clone();
        let json = queue.json.load(Ordering::Relaxed);
        if let Some(frame) = message.and_then(|message| message.frame(json)) {
            sink.send(frame).await?;
        }
        let close = CloseFrame {
            code: close_code::NORMAL,
            reason: "".into(),
        };
        sink.send(Message::Close(Some(close))).await
    };
    // A peer that doesn't read loses its socket without a last word.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
}
