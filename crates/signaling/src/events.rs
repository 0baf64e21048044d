//! What integrators are told of rooms, in the form of LiveKit's webhooks. Who delivers it is the binary's choice.

use std::sync::Arc;

/// Something that happened in a room, ready to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomEvent {
    /// The room's name. Events of one name are told in order, also when a room ended and another began.
    pub room: Arc<str>,
    /// `WebhookEvent` as proto JSON.
    pub body: String,
}

/// Takes events of rooms. Called from the rooms' tasks: it must not wait.
pub trait EventSink: Send + Sync + 'static {
    /// Takes one.
    fn tell(&self, event: RoomEvent);
}
