//! What the two sides tell each other in SDP about one transport.

use std::fmt;
use std::sync::Arc;

use schalter_model::Ufrag;

/// Our ICE credentials for one generation (RFC 8839 §5.4).
#[derive(Clone)]
pub struct LocalIce {
    /// Username fragment.
    pub ufrag: Ufrag,
    /// Password, 22 to 256 characters of the ICE alphabet; a secret.
    pub password: Arc<str>,
}

impl fmt::Debug for LocalIce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalIce")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// The peer's ICE credentials for one generation (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteIce {
    /// Username fragment.
    pub ufrag: Arc<str>,
    /// Password; a secret. The peer's answers to our questions are made with it.
    pub password: Arc<str>,
}

impl fmt::Debug for RemoteIce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteIce")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// Hash functions of `a=fingerprint` (RFC 8122 §5) that Schalter accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FingerprintHash {
    /// `sha-256`.
    Sha256,
    /// `sha-384`.
    Sha384,
    /// `sha-512`.
    Sha512,
}

/// A certificate's fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// The hash function.
    pub hash: FingerprintHash,
    /// The digest, 32, 48 or 64 bytes.
    pub digest: Vec<u8>,
}

impl Fingerprint {
    /// Reads the value of an `a=fingerprint` attribute, e.g. `sha-256 AB:CD:…`.
    ///
    /// # Errors
    /// [`InvalidFingerprint`] for an unknown hash function, a wrong length or something that is not hex.
    pub fn parse(value: &str) -> Result<Self, InvalidFingerprint> {
        let (name, hex) = value.trim().split_once(' ').ok_or(InvalidFingerprint)?;
        let (hash, len) = match name.to_ascii_lowercase().as_str() {
            "sha-256" => (FingerprintHash::Sha256, 32),
            "sha-384" => (FingerprintHash::Sha384, 48),
            "sha-512" => (FingerprintHash::Sha512, 64),
            _ => return Err(InvalidFingerprint),
        };
        let digest = hex
            .trim()
            .split(':')
            .map(|pair| match pair.len() {
                2 => u8::from_str_radix(pair, 16).map_err(|_| InvalidFingerprint),
                _ => Err(InvalidFingerprint),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if digest.len() == len {
            Ok(Self { hash, digest })
        } else {
            Err(InvalidFingerprint)
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.hash {
            FingerprintHash::Sha256 => "sha-256",
            FingerprintHash::Sha384 => "sha-384",
            FingerprintHash::Sha512 => "sha-512",
        })?;
        for (index, byte) in self.digest.iter().enumerate() {
            write!(f, "{}{byte:02X}", if index == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

/// A value that is no usable `a=fingerprint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint with sha-256, sha-384 or sha-512")]
pub struct InvalidFingerprint;

/// Which cryptography a transport may negotiate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CryptoProfile {
    /// AES-GCM preferred, `AES128_CM_HMAC_SHA1_80` as fallback.
    #[default]
    Standard,
    /// BSI TR-02102: AES-GCM only, and no RSA below 3000 bits, that is none of ours.
    Bsi,
}

/// How a data channel delivers (RFC 8832 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reliability {
    /// Every message arrives.
    Reliable,
    /// A message is sent again at most this often.
    MaxRetransmits(u32),
    /// A message is given up after this many milliseconds.
    MaxLifetimeMs(u32),
}

/// What a data channel is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataChannelConfig {
    /// Label.
    pub label: Arc<str>,
    /// Sub-protocol, usually empty.
    pub protocol: Arc<str>,
    /// Messages arrive in the order they were sent in.
    pub ordered: bool,
    /// Retransmission policy.
    pub reliability: Reliability,
}

/// SCTP stream id of a data channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_survive_the_round_trip() {
        let text = format!("sha-256 {}", ["AB"; 32].join(":"));
        assert_eq!(Fingerprint::parse(&text).unwrap().to_string(), text);
        for bad in ["", "sha-1 AB", "sha-256 AB", "sha-256 zz", "md5"] {
            assert_eq!(Fingerprint::parse(bad), Err(InvalidFingerprint), "{bad}");
        }
    }
}
