//! The way into a room. The binary implements it over signaling: crates of one layer don't see each other.

use std::future::Future;
use std::pin::Pin;

use schalter_model::AuthorityId;
use serde::Serialize;

use crate::domain::AppointmentId;

/// What somebody may do in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Grants {
    /// Send sound and pictures.
    pub publish: bool,
    /// Write captions.
    pub captions: bool,
}

/// With what a browser joins.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct SeatToken {
    /// WebSocket URL of the server.
    pub url: String,
    /// Short-lived; good for one identity in one room.
    pub token: String,
}

impl std::fmt::Debug for SeatToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeatToken(…)")
    }
}

/// The room could not be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the room can't be reached: {0}")]
pub struct SeatError(pub String);

/// Answers later.
pub type SeatAnswer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SeatError>> + Send + 'a>>;

/// Gives seats in rooms, and takes them. A room's name is its appointment's id.
pub trait Seats: Send + Sync + 'static {
    /// A token for `identity`, whom others see as `name`.
    fn token<'a>(
        &'a self,
        authority: &'a AuthorityId,
        appointment: &'a AppointmentId,
        identity: &'a str,
        name: &'a str,
        grants: Grants,
    ) -> SeatAnswer<'a, SeatToken>;

    /// Ends whatever `identity` has in the room, for good. When it answers without an error, nothing of or for it is forwarded, and nothing will be;
    /// after an error it is called again.
    fn dismiss<'a>(
        &'a self,
        authority: &'a AuthorityId,
        appointment: &'a AppointmentId,
        identity: &'a str,
    ) -> SeatAnswer<'a, ()>;

    /// Ends the room. After an error it is called again.
    fn close<'a>(
        &'a self,
        authority: &'a AuthorityId,
        appointment: &'a AppointmentId,
    ) -> SeatAnswer<'a, ()>;
}
