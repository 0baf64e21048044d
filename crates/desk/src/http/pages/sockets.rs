//! WebSockets that tell pages what changed. Nothing is taken from them.
//!
//! A socket is told the whole of what its page shows, at once and after each change; whoever reads too slowly is closed, and asks anew.
//! Changes that come together are told together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::Pages;
use super::view::{DayView, View};
use crate::domain::{Bye, Day, Digest, Secret, Stage};
use crate::login::sessions::Session;
use crate::{Changed, DeskError, Standing};

/// Largest message that a page may send: none has anything to say.
pub(super) const MAX_MESSAGE: usize = 1_024;
/// Sockets of one session at once: a page, and those that a network took and nobody closed yet.
const SOCKETS_PER_SESSION: usize = 8;
/// Time between pings.
const PING: Duration = Duration::from_secs(20);
/// Without any frame for so long the page counts as gone.
const SILENCE: Duration = Duration::from_secs(65);
/// How long a message may take to be sent.
const SEND_TIME: Duration = Duration::from_secs(10);
/// Shortest time between two tellings: a burst of changes is read once.
const PACE: Duration = Duration::from_millis(100);

/// How many sockets each session has.
#[derive(Debug, Default)]
pub(super) struct Sockets(Arc<Mutex<HashMap<Digest, usize>>>);

/// One of a session's sockets, until it is dropped.
pub(super) struct Place {
    open: Arc<Mutex<HashMap<Digest, usize>>>,
    session: Digest,
}

impl Sockets {
    /// A place for one more, if the session may have one.
    pub(super) fn place(&self, session: Digest) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(session).or_default();
        if *count >= SOCKETS_PER_SESSION {
            return None;
        }
        *count += 1;
        Some(Place {
            open: Arc::clone(&self.0),
            session,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.session);
            }
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum News<'a> {
    View { view: &'a View },
    Day { day: &'a DayView },
    Bye { reason: &'static str },
}

/// The session is over, for whatever reason.
const SESSION_OVER: &str = "session_over";

/// The office is no longer configured.
const OFFICE_GONE: &str = "office_gone";

/// The socket is of no use any more.
struct Lost;

/// A socket with its pings.
struct Line {
    socket: WebSocket,
    heard: Instant,
}

/// What a socket waits for.
enum Next {
    /// Something changed that may concern the page.
    Changed,
    /// It is time to look whether the session still holds.
    Tick,
    /// Nothing more comes.
    Over,
}

impl Line {
    fn new(socket: WebSocket) -> Self {
        Self {
            socket,
            heard: Instant::now(),
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Lost> {
        match timeout(SEND_TIME, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Lost),
        }
    }

    async fn tell(&mut self, news: &News<'_>) -> Result<(), Lost> {
        let text = serde_json::to_string(news).map_err(|_| Lost)?;
        self.send(Message::Text(text.into())).await
    }

    /// Says why nothing more comes, and closes.
    async fn bye(&mut self, reason: &'static str) {
        if self.tell(&News::Bye { reason }).await.is_ok() {
            let frame = CloseFrame {
                code: close_code::NORMAL,
                reason: reason.into(),
            };
            let _ = self.send(Message::Close(Some(frame))).await;
            // The page's own close; without it the last words may be lost with the connection.
            let _ = timeout(SEND_TIME, async {
                while let Some(Ok(_)) = self.socket.recv().await {}
            })
            .await;
        }
    }

    /// Waits for what happens next. Answers pings on the way.
    async fn next(
        &mut self,
        changes: &mut Receiver<Changed>,
        concerns: impl Fn(&Changed) -> bool,
        ticks: &mut tokio::time::Interval,
    ) -> Next {
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) if concerns(&change) => return Next::Changed,
                    Ok(_) => {}
                    // What was missed may have concerned it.
                    Err(RecvError::Lagged(_)) => return Next::Changed,
                    Err(RecvError::Closed) => return Next::Over,
                },
                frame = self.socket.recv() => match frame {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Next::Over,
                    Some(Ok(_)) => self.heard = Instant::now(),
                },
                _ = ticks.tick() => {
                    let gone = self.heard.elapsed() > SILENCE;
                    if gone || self.send(Message::Ping(Vec::new().into())).await.is_err() {
                        return Next::Over;
                    }
                    return Next::Tick;
                }
            }
        }
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + PING, PING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits until the next telling is due, and takes the changes that came meanwhile with it.
async fn pace(last: Instant, changes: &mut Receiver<Changed>) {
    sleep_until(last + PACE).await;
    while !changes.is_empty() {
        // Behind is as good as told: everything is read anew.
        let _ = changes.try_recv();
    }
}

/// Tells a citizen's page its view.
pub(super) async fn citizen(socket: WebSocket, pages: Pages, cookie: Secret) {
    let mut line = Line::new(socket);
    // Before the first look, so that nothing falls between.
    let mut changes = pages.desk.changes();
    let mut ticks = ticks();
    loop {
        let looked = Instant::now();
        let visitor = match pages.desk.standing(&cookie).await {
            Ok(Standing::Here(visitor)) => visitor,
            Ok(Standing::Gone(why)) => return line.bye(farewell(why)).await,
            Err(DeskError::Refused(_)) => return line.bye(SESSION_OVER).await,
            // The page comes again.
            Err(_) => return,
        };
        let Ok(view) = pages.view(&visitor) else {
            return line.bye(OFFICE_GONE).await;
        };
        if line.tell(&News::View { view: &view }).await.is_err() {
            return;
        }
        if visitor.own().is_ok_and(|own| own.stage == Stage::Ended) {
            return line.bye(farewell(Bye::Ended)).await;
        }
        let id = &visitor.appointment.id;
        loop {
            let concerns = |change: &Changed| change.appointment == *id;
            match line.next(&mut changes, concerns, &mut ticks).await {
                Next::Changed => break,
                Next::Tick => {}
                Next::Over => return,
            }
        }
        pace(looked, &mut changes).await;
    }
}

fn farewell(why: Bye) -> &'static str {
    why.label()
}

/// Waits until the session ends.
async fn over(session: &mut Session) {
    // Who is forgotten has ended, too.
    let _ = session.ended.wait_for(|ended| *ended).await;
}

/// Tells an official's page their day.
pub(super) async fn official(
    socket: WebSocket,
    pages: Pages,
    mut session: Session,
    day: Option<Day>,
) {
    let mut line = Line::new(socket);
    let mut changes = pages.desk.changes();
    let mut ticks = ticks();
    let caller = session.official.caller(&session.authority);
    loop {
        let looked = Instant::now();
        let Ok(view) = pages.day(&caller, day).await else {
            return;
        };
        if line.tell(&News::Day { day: &view }).await.is_err() {
            return;
        }
        loop {
            let concerns = |change: &Changed| change.authority == caller.authority;
            let next = tokio::select! {
                next = line.next(&mut changes, concerns, &mut ticks) => next,
                () = over(&mut session) => return line.bye(SESSION_OVER).await,
            };
            match next {
                Next::Changed => break,
                Next::Tick if pages.login.sessions.still(&session, pages.now_ms()) => {}
                Next::Tick => return line.bye(SESSION_OVER).await,
                Next::Over => return,
            }
        }
        pace(looked, &mut changes).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_a_few_sockets_and_gets_their_places_back() {
        let sockets = Sockets::default();
        let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut places: Vec<_> = (0..SOCKETS_PER_SESSION)
            .map(|_| sockets.place(one).unwrap())
            .collect();
        assert!(sockets.place(one).is_none());
        assert!(sockets.place(other).is_some());
        places.pop();
        assert!(sockets.place(one).is_some());
        drop(places);
        assert!(sockets.0.lock().unwrap().is_empty());
    }
}
