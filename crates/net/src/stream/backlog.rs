//! What one connection did not take yet.

use std::io::{self, IoSlice, Write};

/// Bytes that may wait for one connection. What senders hold back (they are told of every byte that waits) is far less;
/// this is for what nobody paces, such as handshakes.
pub(crate) const MAX_BACKLOG: usize = 65_536;

/// Bytes in front of a connection, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: Vec<u8>,
    /// Bytes at the beginning that were taken already.
    taken: usize,
}

impl Backlog {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands `parts` to `wire`, after what waits already, and keeps what it does not take.
    ///
    /// # Errors
    /// When the wire is of no further use.
    pub(crate) fn put(&mut self, wire: &mut impl Write, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let mut taken = 0;
        if self.is_empty() {
            taken = accepted(wire.write_vectored(parts))?;
        }
        for part in parts {
            let skipped = taken.min(part.len());
            taken -= skipped;
            self.keep(&part[skipped..]);
        }
        Ok(())
    }

    /// Hands on what waits, as far as `wire` takes it.
    ///
    /// # Errors
    /// When the wire is of no further use.
    pub(crate) fn flush(&mut self, wire: &mut impl Write) -> io::Result<()> {
        while !self.is_empty() {
            let taken = accepted(wire.write(&self.bytes[self.taken..]))?;
            if taken == 0 {
                return Ok(());
            }
            self.taken += taken;
        }
        self.bytes.clear();
        self.taken = 0;
        Ok(())
    }

    fn keep(&mut self, part: &[u8]) {
        if part.is_empty() {
            return;
        }
        // Instead of growing: what was taken is of no use.
        if self.taken > 0 && self.bytes.len() + part.len() > self.bytes.capacity() {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(part);
    }
}

/// Bytes that were taken; 0 if the wire is full.
fn accepted(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes and then no more.
    struct Narrow {
        room: usize,
        got: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            self.got.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
            let all: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
            self.write(&all)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_leave_in_order_however_little_is_taken_at_a_time() {
        let mut wire = Narrow {
            room: 5,
            got: Vec::new(),
        };
        let mut backlog = Backlog::default();
        let parts = [IoSlice::new(&[1, 2, 3]), IoSlice::new(&[4, 5, 6, 7])];
        backlog.put(&mut wire, &parts).unwrap();
        assert_eq!(backlog.len(), 2);
        wire.room = 1;
        backlog.put(&mut wire, &[IoSlice::new(&[8, 9])]).unwrap();
        assert_eq!(backlog.len(), 4, "nothing overtakes what waits");
        for _ in 0..4 {
            backlog.flush(&mut wire).unwrap();
            wire.room = 1;
        }
        backlog.flush(&mut wire).unwrap();
        assert!(backlog.is_empty());
        assert_eq!(wire.got, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_wire_that_takes_a_little_at_a_time_does_not_make_it_grow() {
        let mut wire = Narrow {
            room: 0,
            got: Vec::new(),
        };
        let mut backlog = Backlog::default();
        for _ in 0..8 {
            backlog.put(&mut wire, &[IoSlice::new(&[0; 100])]).unwrap();
        }
        let capacity = backlog.bytes.capacity();
        for _ in 0..1_000 {
            wire.room = 100;
            backlog.flush(&mut wire).unwrap();
            backlog.put(&mut wire, &[IoSlice::new(&[0; 100])]).unwrap();
        }
        assert_eq!((backlog.len(), backlog.bytes.capacity()), (800, capacity));
    }
}
