//! The sans-IO shard as a worker.

use schalter_model::{Counters, Path, ShardId, Time};
use schalter_shard::Shard;
use schalter_shard::control::{Command, Event};
use schalter_shard::peer::{Envelope, PeerMessage};

use crate::worker::{Transmit, Worker};

impl Worker for Shard {
    fn on_command(&mut self, now: Time, command: Command) {
        Self::on_command(self, now, command);
    }

    fn on_datagram(&mut self, now: Time, path: Path, datagram: &mut [u8]) {
        Self::on_datagram(self, now, path, datagram);
    }

    fn on_peer(&mut self, now: Time, from: ShardId, message: PeerMessage) {
        Self::on_peer(self, now, from, message);
    }

    fn on_envelope(&mut self, now: Time, from: ShardId, envelope: &Envelope) {
        Self::on_envelope(self, now, from, envelope);
    }

    fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<Transmit> {
        Self::poll_transmit(self, now, out)
    }

    fn poll_event(&mut self) -> Option<Event> {
        Self::poll_event(self)
    }

    fn poll_peer(&mut self) -> Option<(ShardId, PeerMessage)> {
        Self::poll_peer(self)
    }

    fn poll_envelope(&mut self, now: Time, out: &mut Envelope) -> Option<ShardId> {
        Self::poll_envelope(self, now, out)
    }

    fn on_stream_backlog(&mut self, now: Time, path: Path, waiting: usize) {
        Self::on_stream_backlog(self, now, path, waiting);
    }

    fn on_stream_closed(&mut self, now: Time, path: Path) {
        Self::on_stream_closed(self, now, path);
    }

    fn wants_stream(&self, path: &Path) -> bool {
        Self::wants_stream(self, path)
    }

    fn next_timeout(&self) -> Option<Time> {
        Self::next_timeout(self)
    }

    fn on_timeout(&mut self, now: Time) {
        Self::on_timeout(self, now);
    }

    fn counters(&self) -> Counters {
        Self::counters(self)
    }
}
