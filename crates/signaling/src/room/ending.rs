//! How a room ends: nobody came or everybody left, an operator or backend ends it, the server shuts down.

use livekit_protocol::leave_request::Action;
use livekit_protocol::{DisconnectReason, LeaveRequest, RoomEndReason};

use super::join::leave;
use super::timers::Timer;
use super::{Output, Room, updates};

impl Room {
    /// Whether nobody ever came, but who was forwarded.
    fn is_unused(&self) -> bool {
        self.next_key == self.links.keys
    }

    /// Nobody is left, at least nobody who came here. A room that is unused was so all the time.
    pub(super) fn note_deserted(&mut self) {
        if self.is_deserted() && !self.is_unused() {
            self.empty_since = Some(self.now);
            self.arm(self.now + self.departure_timeout, Timer::Empty);
        }
    }

    pub(super) fn on_empty_timer(&mut self) {
        let Some(since) = self.empty_since else {
            return;
        };
        let timeout = if self.is_unused() {
            self.empty_timeout
        } else {
            self.departure_timeout
        };
        if self.now >= since + timeout {
            self.close_down(
                leave(DisconnectReason::RoomClosed, Action::Disconnect),
                RoomEndReason::RoomEndIdleTimeout,
            );
        }
    }

    fn end(&mut self, reason: RoomEndReason) {
        if !self.ended {
            self.ended = true;
            self.timers.clear();
            self.report_room_finished(reason);
            self.outputs.push_back(Output::Ended);
        }
    }

    /// Ends the room. `last` is what those who are in it are told.
    pub(super) fn close_down(&mut self, last: LeaveRequest, end: RoomEndReason) {
        let keys: Vec<_> = self.participants.keys().copied().collect();
        for key in keys {
            self.part(key, last.clone(), last.reason());
        }
        self.presence = updates::Presence::default();
        self.end(end);
    }
}
