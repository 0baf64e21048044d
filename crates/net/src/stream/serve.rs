//! The part of a worker's round that is about connections.

use std::io;
use std::mem::MaybeUninit;

use schalter_model::{DropReason, StreamId};

use super::AcceptedStream;
use super::connection::End;
use crate::event_loop::{EventLoop, Gear, MESSAGES_PER_DRAIN};
use crate::worker::Worker;

/// Connections that are taken over before the network has its turn.
const ADOPTED_PER_PASS: usize = 16;
/// Reads of one connection before others have their turn.
const READS_PER_TURN: usize = 4;

impl<W: Worker> EventLoop<'_, W> {
    /// Takes over the connections that were handed to this worker. Returns whether there may be more.
    pub(crate) fn adopt_streams(&mut self, gear: &mut Gear) -> bool {
        let mut adopted = 0;
        while adopted < ADOPTED_PER_PASS
            && let Ok(accepted) = self.mailbox.streams.try_recv()
        {
            adopted += 1;
            self.adopt(gear, accepted);
        }
        adopted == ADOPTED_PER_PASS
    }

    fn adopt(&mut self, gear: &mut Gear, accepted: AcceptedStream) {
        if let Some(id) = gear.streams.add(accepted, &mut gear.counters) {
            // What was read before, and what TLS holds decrypted, the kernel tells nobody of.
            self.read_stream(gear, id);
        }
    }

    /// Reads from those connections of which TLS may hold something that the kernel can't know of.
    pub(crate) fn serve_again(&mut self, gear: &mut Gear) -> bool {
        for _ in 0..gear.streams.again.len() {
            if let Some(id) = gear.streams.again.pop_front() {
                self.read_stream(gear, id);
            }
        }
        !gear.streams.again.is_empty()
    }

    /// Reads from and writes to the connections that are ready.
    pub(crate) fn serve_streams(&mut self, gear: &mut Gear) -> io::Result<()> {
        let mut events = [MaybeUninit::uninit(); _];
        for ready in gear.streams.ready(&mut events)? {
            if ready.writable {
                let now = self.clock.now();
                if gear.streams.flush(now, &mut self.worker, ready.id).is_err() {
                    self.end_stream(gear, ready.id, End::Closed);
                    continue;
                }
            }
            self.read_stream(gear, ready.id);
        }
        Ok(())
    }

    /// Ends connections that broke while something was sent, or that no one wants. Returns whether there were any.
    pub(crate) fn end_streams(&mut self, gear: &mut Gear) -> bool {
        gear.streams.sweep(self.clock.now(), &self.worker);
        let any = !gear.streams.ended.is_empty();
        while let Some(id) = gear.streams.ended.pop() {
            self.end_stream(gear, id, End::Closed);
        }
        any
    }

    fn end_stream(&mut self, gear: &mut Gear, id: StreamId, end: End) {
        let Some(path) = gear.streams.remove(id, &mut gear.counters) else {
            return;
        };
        match end {
            End::Closed => {}
            End::Garbage => gear.counters.drops.count(DropReason::StreamMalformed),
        }
        self.worker.on_stream_closed(self.clock.now(), path);
    }

    fn read_stream(&mut self, gear: &mut Gear, id: StreamId) {
        for turn in 1..=READS_PER_TURN {
            match self.read_once(gear, id) {
                Ok(true) if turn == READS_PER_TURN => {
                    if gear.streams.connection(id).is_some_and(|c| c.has_tls()) {
                        gear.streams.again.push_back(id);
                    }
                }
                Ok(true) => {}
                Ok(false) => break,
                Err(end) => {
                    self.end_stream(gear, id, end);
                    return;
                }
            }
        }
        // TLS may have answered something.
        let now = self.clock.now();
        gear.streams.after_write(now, &mut self.worker, id);
    }

    /// Reads once and hands on all complete frames. Returns whether there may be more.
    fn read_once(&mut self, gear: &mut Gear, id: StreamId) -> Result<bool, End> {
        let mut buffer = std::mem::take(&mut gear.streams.buffer);
        let outcome = self.hand_on_frames(gear, id, &mut buffer);
        gear.streams.buffer = buffer;
        outcome
    }

    fn hand_on_frames(
        &mut self,
        gear: &mut Gear,
        id: StreamId,
        buffer: &mut [u8],
    ) -> Result<bool, End> {
        let Some(connection) = gear.streams.connection(id) else {
            return Ok(false);
        };
        let (framing, path) = (connection.framing, connection.path);
        let (len, fresh) = connection.read(buffer)?;
        if fresh > 0 {
            gear.counters.receive_batches += 1;
            gear.counters.bytes_in += fresh as u64;
        }
        let mut now = self.clock.now();
        let mut at = 0;
        let mut since_drain = 0;
        loop {
            let bytes = &mut buffer[at..len];
            let frame = framing.next_frame(bytes).map_err(|_| End::Garbage)?;
            let Some(frame) = frame else {
                break;
            };
            at += frame.end;
            gear.counters.datagrams_in += 1;
            self.worker
                .on_datagram(now, path, &mut bytes[frame.datagram]);
            since_drain += 1;
            if since_drain == MESSAGES_PER_DRAIN {
                since_drain = 0;
                self.drain(gear);
                now = self.clock.now();
            }
        }
        if let Some(connection) = gear.streams.connection(id) {
            connection.keep(&buffer[at..len]);
        }
        gear.streams.after_frames(&self.worker, id);
        Ok(fresh > 0)
    }
}
