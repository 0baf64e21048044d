//! DTLS framing as far as one may read it without keys: records and plaintext handshake fragments.
//!
//! Only views over the datagram; refuses nothing but lengths that do not fit (RFC 6347 §4.1, §4.2.2).

/// Record header: type, version, epoch, sequence number, length.
pub(super) const RECORD_HEADER_LEN: usize = 13;
/// Handshake header: type, length, message sequence, fragment offset, fragment length.
const FRAGMENT_HEADER_LEN: usize = 12;

/// `ContentType.alert`.
pub(super) const ALERT: u8 = 21;
/// `ContentType.handshake`.
pub(super) const HANDSHAKE: u8 = 22;

/// One record of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// `ContentType`.
    pub(super) content_type: u8,
    /// 0 before keys are in use.
    pub(super) epoch: u16,
    /// Payload, encrypted unless the epoch is 0.
    pub(super) body: &'a [u8],
    /// Header and payload.
    pub(super) whole: &'a [u8],
}

/// A record or fragment whose length field points past the end of what carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Truncated;

/// Walks the records of a datagram; ends after the first error.
///
/// Covers DTLS 1.2 and the plaintext records of DTLS 1.3; a DTLS 1.3 ciphertext (RFC 9147 §4, first byte `001xxxxx`) has
/// another header and is handed out as what it is: the rest of the datagram with epoch `u16::MAX`.
pub(super) struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    pub(super) const fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        let first = *rest.first()?;
        if first & 0xe0 == 0x20 {
            return Some(Ok(Record {
                content_type: first,
                epoch: u16::MAX,
                body: rest,
                whole: rest,
            }));
        }
        let Some((header, after)) = rest.split_at_checked(RECORD_HEADER_LEN) else {
            return Some(Err(Truncated));
        };
        let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let Some((body, next)) = after.split_at_checked(len) else {
            return Some(Err(Truncated));
        };
        self.0 = next;
        Some(Ok(Record {
            content_type: first,
            epoch: u16::from_be_bytes([header[3], header[4]]),
            body,
            whole: &rest[..RECORD_HEADER_LEN + len],
        }))
    }
}

/// A piece of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    /// `HandshakeType`.
    pub(super) kind: u8,
    /// Length of the whole message.
    pub(super) message_len: usize,
    /// Number of the message.
    pub(super) message_seq: u16,
    /// Where this piece belongs.
    pub(super) offset: usize,
    /// The piece.
    pub(super) body: &'a [u8],
}

/// Walks the fragments in a plaintext handshake record; ends after the first error.
pub(super) struct Fragments<'a>(&'a [u8]);

impl<'a> Fragments<'a> {
    pub(super) const fn new(record_body: &'a [u8]) -> Self {
        Self(record_body)
    }
}

fn u24(bytes: &[u8]) -> usize {
    (usize::from(bytes[0]) << 16) | (usize::from(bytes[1]) << 8) | usize::from(bytes[2])
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Result<Fragment<'a>, Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        if rest.is_empty() {
            return None;
        }
        let Some((header, after)) = rest.split_at_checked(FRAGMENT_HEADER_LEN) else {
            return Some(Err(Truncated));
        };
        let (message_len, offset, len) = (u24(&header[1..]), u24(&header[6..]), u24(&header[9..]));
        let Some((body, next)) = after.split_at_checked(len) else {
            return Some(Err(Truncated));
        };
        if offset + len > message_len {
            return Some(Err(Truncated));
        }
        self.0 = next;
        Some(Ok(Fragment {
            kind: header[0],
            message_len,
            message_seq: u16::from_be_bytes([header[4], header[5]]),
            offset,
            body,
        }))
    }
}

/// A plaintext fatal alert in a datagram of its own (RFC 5246 §7.2), for refusals before any state exists.
pub(super) fn fatal_alert(description: u8) -> [u8; RECORD_HEADER_LEN + 2] {
    const FATAL: u8 = 2;
    [
        ALERT,
        0xfe,
        0xfd,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        2,
        FATAL,
        description,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0xfe, 0xfd];
        out.extend_from_slice(&epoch.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&(body.len() as u16).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn every_record_of_a_datagram_is_seen() {
        let mut datagram = record(HANDSHAKE, 0, b"abc");
        datagram.extend(record(ALERT, 1, b"xy"));
        let records: Vec<_> = Records::new(&datagram).map(Result::unwrap).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(
            (records[0].content_type, records[0].body),
            (HANDSHAKE, &b"abc"[..])
        );
        assert_eq!((records[1].epoch, records[1].body), (1, &b"xy"[..]));
        assert_eq!(
            records[0].whole.len() + records[1].whole.len(),
            datagram.len()
        );
    }

    #[test]
    fn a_length_past_the_end_ends_the_walk() {
        let mut datagram = record(HANDSHAKE, 0, b"abc");
        datagram.pop();
        assert_eq!(
            Records::new(&datagram).collect::<Vec<_>>(),
            [Err(Truncated)]
        );
        let fragment = [1, 0, 0, 4, 0, 0, 0, 0, 2, 0, 0, 3, 9, 9, 9];
        assert_eq!(
            Fragments::new(&fragment).collect::<Vec<_>>(),
            [Err(Truncated)]
        );
    }

    #[test]
    fn the_alert_is_one_well_formed_record() {
        let alert = fatal_alert(71);
        let records: Vec<_> = Records::new(&alert).map(Result::unwrap).collect();
        assert_eq!(
            (records[0].content_type, records[0].body),
            (ALERT, &[2, 71][..])
        );
    }
}
