//! The ClientHello, read before any DTLS state is made: which SRTP profiles and which certificates the client takes.
//!
//! Owns the bounded reassembly of a fragmented hello (Chromium's is larger than a datagram) and a parser of the few
//! fields that decide something (RFC 5246 §7.4.1.2, RFC 6347 §4.2, RFC 5764 §4.1.1). Everything else is left to the DTLS
//! library, which gets the same datagrams afterwards.

use bytes::Bytes;
use schalter_model::SrtpProfile;

use super::record::{Fragments, HANDSHAKE, Records};

/// `HandshakeType.client_hello`.
const CLIENT_HELLO: u8 = 1;
/// `ExtensionType.use_srtp`.
const USE_SRTP: u16 = 14;
/// `ExtensionType.supported_versions`.
const SUPPORTED_VERSIONS: u16 = 43;
/// DTLS 1.3 on the wire.
const DTLS_1_3: u16 = 0xfefc;
/// Post-quantum key shares make hellos of 1.5 KB; nothing legitimate comes near this.
const HELLO_MAX: usize = 8 * 1024;
/// A hello in more datagrams than this is an attack on memory. Retransmissions count, too.
const HELD_DATAGRAMS_MAX: usize = 16;

/// What of a ClientHello decides how we answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Cipher suites in the client's order.
    pub cipher_suites: Vec<u16>,
    /// SRTP protection profiles in the client's order (RFC 5764 §4.1.2).
    pub srtp_profiles: Vec<u16>,
    /// DTLS 1.3 is among the versions offered (RFC 9147 §5.3).
    pub offers_dtls13: bool,
}

/// A ClientHello that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed ClientHello")]
pub struct MalformedHello;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], MalformedHello> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(MalformedHello)?;
        self.0 = tail;
        Ok(head)
    }

    fn u8(&mut self) -> Result<usize, MalformedHello> {
        Ok(usize::from(self.take(1)?[0]))
    }

    fn u16(&mut self) -> Result<u16, MalformedHello> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A vector with a length of one byte.
    fn vec8(&mut self) -> Result<&'a [u8], MalformedHello> {
        let len = self.u8()?;
        self.take(len)
    }

    /// A vector with a length of two bytes.
    fn vec16(&mut self) -> Result<&'a [u8], MalformedHello> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }
}

fn u16s(bytes: &[u8]) -> Result<Vec<u16>, MalformedHello> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
    } else {
        Err(MalformedHello)
    }
}

impl ClientHello {
    /// Reads the body of a ClientHello message, without its handshake header.
    ///
    /// # Errors
    /// [`MalformedHello`] when a length does not fit or a list of 16-bit values has an odd length.
    pub fn parse(body: &[u8]) -> Result<Self, MalformedHello> {
        let mut reader = Reader(body);
        let mut hello = Self::default();
        reader.take(2 + 32)?; // legacy version, random
        reader.vec8()?; // session id
        reader.vec8()?; // cookie
        hello.cipher_suites = u16s(reader.vec16()?)?;
        reader.vec8()?; // compression methods
        if reader.0.is_empty() {
            return Ok(hello);
        }
        let mut extensions = Reader(reader.vec16()?);
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let mut body = Reader(extensions.vec16()?);
            match kind {
                USE_SRTP => hello.srtp_profiles = u16s(body.vec16()?)?,
                SUPPORTED_VERSIONS => {
                    hello.offers_dtls13 = u16s(body.vec8()?)?.contains(&DTLS_1_3);
                }
                _ => {}
            }
        }
        Ok(hello)
    }

    /// Whether the client offers `profile`.
    #[must_use]
    pub fn offers(&self, profile: SrtpProfile) -> bool {
        self.srtp_profiles.contains(&code_point(profile))
    }

    /// Whether the client takes a server with an ECDSA certificate: an ECDHE-ECDSA suite with AEAD, or DTLS 1.3.
    #[must_use]
    pub fn takes_ecdsa(&self) -> bool {
        self.offers_dtls13
            || self
                .cipher_suites
                .iter()
                .any(|suite| matches!(suite, 0xc02b | 0xc02c | 0xcca9))
    }

    /// Whether the client takes a server with an RSA certificate: an ECDHE-RSA suite with AEAD.
    #[must_use]
    pub fn takes_rsa(&self) -> bool {
        self.cipher_suites
            .iter()
            .any(|suite| matches!(suite, 0xc02f | 0xc030 | 0xcca8))
    }
}

/// The profile's number in `use_srtp` (RFC 5764 §4.1.2, RFC 7714 §14.2).
pub(super) const fn code_point(profile: SrtpProfile) -> u16 {
    match profile {
        SrtpProfile::AeadAes128Gcm => 0x0007,
        SrtpProfile::AeadAes256Gcm => 0x0008,
        SrtpProfile::Aes128CmSha1_80 => 0x0001,
    }
}

/// Collects datagrams until they hold one whole ClientHello.
#[derive(Debug, Default)]
pub(super) struct HelloCollector {
    held: Vec<Bytes>,
    message: Vec<u8>,
    /// Ranges of `message` that are filled, merged and sorted; as many as there are datagrams at most.
    filled: Vec<(usize, usize)>,
    message_seq: u16,
}

/// What a datagram did to a collection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Collected {
    /// Kept; the hello is not complete.
    More,
    /// The hello, and every datagram that it came in, to be replayed.
    Hello(ClientHello, Vec<Bytes>),
}

impl HelloCollector {
    /// Takes one datagram.
    ///
    /// # Errors
    /// [`MalformedHello`] for a datagram without a piece of a hello (it is not kept), and when the bounds are exceeded or
    /// the whole does not parse (everything is forgotten, so that a client's next try finds a clean state).
    pub(super) fn push(&mut self, datagram: &[u8]) -> Result<Collected, MalformedHello> {
        let mut useful = false;
        for record in Records::new(datagram) {
            let record = record.map_err(|_| MalformedHello)?;
            if record.content_type != HANDSHAKE || record.epoch != 0 {
                continue;
            }
            for fragment in Fragments::new(record.body) {
                let fragment = fragment.map_err(|_| MalformedHello)?;
                if fragment.kind != CLIENT_HELLO || fragment.message_len > HELLO_MAX {
                    return Err(MalformedHello);
                }
                if self.message.len() != fragment.message_len
                    || self.message_seq != fragment.message_seq
                {
                    *self = Self::default();
                    self.message = vec![0; fragment.message_len];
                    self.message_seq = fragment.message_seq;
                }
                let (start, end) = (fragment.offset, fragment.offset + fragment.body.len());
                self.message[start..end].copy_from_slice(fragment.body);
                self.fill(start, end);
                useful = true;
            }
        }
        if !useful {
            return Err(MalformedHello);
        }
        if self.held.len() == HELD_DATAGRAMS_MAX {
            *self = Self::default();
            return Err(MalformedHello);
        }
        self.held.push(Bytes::copy_from_slice(datagram));
        if self.filled != [(0, self.message.len())] {
            return Ok(Collected::More);
        }
        let done = std::mem::take(self);
        Ok(Collected::Hello(
            ClientHello::parse(&done.message)?,
            done.held,
        ))
    }

    fn fill(&mut self, start: usize, end: usize) {
        self.filled.push((start, end));
        self.filled.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::with_capacity(self.filled.len());
        for (start, end) in self.filled.drain(..) {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        // A datagram of many tiny pieces with holes between them would otherwise grow this without a bound.
        merged.truncate(HELD_DATAGRAMS_MAX);
        self.filled = merged;
    }
}
