//! The mark at the end of every payload: who sent it, which one it is, and when it left.
//!
//! At the end and not at the start, so that neither a rewritten codec descriptor nor the two bytes in front of a
//! retransmitted payload (RFC 4588 §4) move it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of a mark.
pub const PROBE_LEN: usize = 24;
/// Tells a mark from chance.
const MAGIC: u32 = 0x5343_484C;

/// Sound or pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Opus.
    Audio,
    /// VP8.
    Video,
}

/// What a payload says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The publisher, unique in one run.
    pub publisher: u32,
    /// Which of its streams.
    pub kind: Kind,
    /// Sent while a measurement runs.
    pub measured: bool,
    /// Number of the packet in its stream, from 0.
    pub counter: u32,
    /// Wall clock of this machine, ns.
    pub sent_at: u64,
}

impl Probe {
    /// Writes the mark into the last bytes of `payload`, which has at least [`PROBE_LEN`].
    pub fn write(&self, payload: &mut [u8]) {
        let at = payload.len() - PROBE_LEN;
        let out = &mut payload[at..];
        out[..4].copy_from_slice(&MAGIC.to_be_bytes());
        out[4..8].copy_from_slice(&self.publisher.to_be_bytes());
        out[8..12].copy_from_slice(&self.counter.to_be_bytes());
        out[12..20].copy_from_slice(&self.sent_at.to_be_bytes());
        out[20] = u8::from(self.kind == Kind::Video);
        out[21] = u8::from(self.measured);
        out[22..].fill(0);
    }

    /// Reads the mark; `None` for payloads of somebody else, e.g. padding probes or a server's silence.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mark = payload.last_chunk::<PROBE_LEN>()?;
        let word =
            |at: usize| u32::from_be_bytes([mark[at], mark[at + 1], mark[at + 2], mark[at + 3]]);
        (word(0) == MAGIC).then(|| Self {
            publisher: word(4),
            counter: word(8),
            sent_at: u64::from(word(12)) << 32 | u64::from(word(16)),
            kind: if mark[20] == 1 {
                Kind::Video
            } else {
                Kind::Audio
            },
            measured: mark[21] == 1,
        })
    }
}

/// The clock that marks are in: the kernel stamps arriving datagrams with the same one.
pub fn wall_nanos() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_whatever_stands_in_front_of_them() {
        let probe = Probe {
            publisher: 7,
            kind: Kind::Video,
            measured: true,
            counter: 99,
            sent_at: 1 << 60 | 5,
        };
        let mut payload = [0xAA; 60];
        probe.write(&mut payload);
        assert_eq!(Probe::read(&payload), Some(probe));
        let mut retransmitted = vec![1, 2];
        retransmitted.extend_from_slice(&payload);
        assert_eq!(Probe::read(&retransmitted), Some(probe));
    }

    #[test]
    fn what_carries_no_mark_is_nobodys() {
        for payload in [&[][..], &[0; 10], &[0; 100]] {
            assert_eq!(Probe::read(payload), None);
        }
    }
}
