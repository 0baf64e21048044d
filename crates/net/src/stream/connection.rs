//! One connection: TCP or TLS on it, what was received of a frame, and what waits to be sent.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use schalter_model::{Carrier, Path, StreamId, Time};

use super::backlog::{Backlog, MAX_BACKLOG};
use super::frame::{Framing, Surround};
use super::{AcceptedStream, MAX_EARLY_LEN};
use crate::socket::{is_source, normal_addr, normal_ip};
use crate::worker::MAX_SEGMENTS;

/// Bytes that the kernel may hold without having sent them. What it holds can't be overtaken by sound any more: at 300
/// kbit/s these take 110 ms. Smaller, and a fast connection would need a wake-up for every few packets.
const NOT_SENT: u32 = 4_096;
/// How long what was sent may stay unacknowledged before the kernel gives the connection up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Datagrams in one TLS record: fewer records cost less, but none of a record's datagrams can be read before its end came.
const PER_RECORD: usize = 4;
/// Parts of one datagram: head, content, padding.
const PARTS: usize = 3;

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer or the network ended it.
    Closed,
    /// The peer does not keep to its protocol.
    Garbage,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// A connection that a worker owns.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) id: StreamId,
    pub(super) tcp: TcpStream,
    tls: Option<Box<rustls::ServerConnection>>,
    pub(super) framing: Framing,
    pub(super) path: Path,
    /// The beginning of a frame of which the rest did not come yet.
    partial: Vec<u8>,
    backlog: Backlog,
    /// The kernel was asked to tell when the connection takes more.
    pub(super) waits_to_write: bool,
    /// How many bytes the worker knows to wait.
    pub(super) told: usize,
    /// Since when no one wants it.
    pub(super) unwanted_since: Option<Time>,
    /// Whether someone has wanted it at any time.
    pub(super) proven: bool,
}

impl Connection {
    /// Takes a connection over; nothing is read of it yet.
    ///
    /// # Errors
    /// When it is broken already.
    pub(super) fn new(id: StreamId, accepted: AcceptedStream) -> io::Result<Self> {
        let AcceptedStream {
            tcp,
            tls,
            framing,
            early,
            remote,
            local,
        } = accepted;
        if early.len() > MAX_EARLY_LEN {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        tcp.set_nonblocking(true)?;
        tcp.set_nodelay(true)?;
        let options = socket2::SockRef::from(&tcp);
        options.set_tcp_notsent_lowat(NOT_SENT)?;
        options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        let local = normal_ip(local.ip());
        Ok(Self {
            id,
            tcp,
            tls,
            framing,
            path: Path {
                remote: normal_addr(remote),
                local: is_source(local).then_some(local),
                carrier: Carrier::Stream(id),
            },
            partial: early,
            backlog: Backlog::default(),
            waits_to_write: false,
            told: 0,
            unwanted_since: None,
            proven: false,
        })
    }

    pub(super) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Bytes that the kernel did not take yet.
    pub(super) fn waiting(&self) -> usize {
        self.backlog.len()
    }

    /// Fills `buffer` with what was kept of an unfinished frame and what came since. Answers how many bytes, of which how
    /// many are new.
    ///
    /// # Errors
    /// [`End`]; what was kept is lost then, as no frame can be completed.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<(usize, usize), End> {
        let kept = self.partial.len();
        buffer[..kept].copy_from_slice(&self.partial);
        self.partial.clear();
        let fresh = &mut buffer[kept..];
        let read = match &mut self.tls {
            None => end_or(self.tcp.read(fresh))?,
            Some(tls) => read_tls(tls, &mut self.tcp, fresh)?,
        };
        self.write_tls()?;
        Ok((kept + read, read))
    }

    /// Keeps the beginning of a frame until the rest comes.
    pub(super) fn keep(&mut self, partial: &[u8]) {
        self.partial.extend_from_slice(partial);
    }

    /// Sends datagrams of `size` bytes each, the last perhaps shorter. Answers how many there was no room for.
    ///
    /// # Errors
    /// [`End::Closed`] if the connection is broken.
    pub(super) fn send(&mut self, contents: &[u8], size: usize) -> Result<u64, End> {
        let mut refused = 0;
        let per_write = if self.tls.is_some() {
            PER_RECORD
        } else {
            MAX_SEGMENTS
        };
        for run in contents.chunks(size.max(1) * per_write) {
            let datagrams = run.len().div_ceil(size.max(1));
            let room = MAX_BACKLOG.saturating_sub(self.backlog.len());
            let mut around = [Surround::default(); MAX_SEGMENTS];
            let mut needed = 0;
            for (datagram, around) in run.chunks(size.max(1)).zip(&mut around) {
                let Some(surround) = self.framing.around(datagram.len()) else {
                    needed = usize::MAX;
                    break;
                };
                *around = surround;
                needed += around.head_len + datagram.len() + around.padding;
            }
            // A datagram is put whole or not at all, or nothing after it could be read.
            if needed > room {
                refused += datagrams as u64;
                continue;
            }
            let mut parts = [IoSlice::new(&[]); MAX_SEGMENTS * PARTS];
            let mut count = 0;
            for (datagram, around) in run.chunks(size.max(1)).zip(&around) {
                for part in [
                    &around.head[..around.head_len],
                    datagram,
                    &[0; PARTS][..around.padding],
                ] {
                    if !part.is_empty() {
                        parts[count] = IoSlice::new(part);
                        count += 1;
                    }
                }
            }
            self.put(&parts[..count], needed)?;
        }
        Ok(refused)
    }

    /// Sends what waits, as far as the kernel takes it.
    ///
    /// # Errors
    /// [`End::Closed`] if the connection is broken.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        Ok(self.backlog.flush(&mut self.tcp)?)
    }

    /// Says good-bye as far as that is possible at once.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            // Best effort: the connection is closed whether or not it comes.
            let _ = self.write_tls();
        }
    }

    fn put(&mut self, parts: &[IoSlice<'_>], len: usize) -> Result<(), End> {
        let Some(tls) = &mut self.tls else {
            return Ok(self.backlog.put(&mut self.tcp, parts)?);
        };
        let mut written = tls.writer().write_vectored(parts)?;
        // TLS takes all, unless it still waits for its handshake or for the wire; then the rest must not be lost.
        for part in parts {
            let skipped = written.min(part.len());
            written -= skipped;
            tls.writer().write_all(&part[skipped..])?;
        }
        debug_assert!(written == 0, "no more than {len} bytes can be written");
        self.write_tls()
    }

    /// Moves what TLS has to send to the kernel, or to the backlog.
    fn write_tls(&mut self) -> Result<(), End> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        let mut wire = Through {
            tcp: &mut self.tcp,
            backlog: &mut self.backlog,
        };
        while tls.wants_write() {
            tls.write_tls(&mut wire)?;
        }
        Ok(())
    }
}

/// A wire that takes everything: what the kernel does not, waits.
struct Through<'a> {
    tcp: &'a mut TcpStream,
    backlog: &'a mut Backlog,
}

impl Write for Through<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = parts.iter().map(|part| part.len()).sum();
        self.backlog.put(self.tcp, parts)?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes read; 0 if nothing is there.
fn end_or(read: io::Result<usize>) -> Result<usize, End> {
    match read {
        // An empty buffer is never offered.
        Ok(0) => Err(End::Closed),
        Ok(len) => Ok(len),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(_) => Err(End::Closed),
    }
}

/// Reads decrypted bytes, from what is decrypted already or from the wire.
fn read_tls(
    tls: &mut rustls::ServerConnection,
    tcp: &mut TcpStream,
    buffer: &mut [u8],
) -> Result<usize, End> {
    let ready = end_or(tls.reader().read(buffer))?;
    if ready > 0 {
        return Ok(ready);
    }
    if end_or(tls.read_tls(tcp))? == 0 {
        return Ok(0);
    }
    if tls.process_new_packets().is_err() {
        return Err(End::Garbage);
    }
    end_or(tls.reader().read(buffer))
}
