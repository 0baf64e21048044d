//! From exported keying material to session keys (RFC 3711 §4.3, RFC 5764 §4.2, RFC 7714 §11).

use std::fmt;

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use schalter_model::SrtpProfile;
use zeroize::Zeroizing;

use super::{Inbound, Outbound, SrtpError, SrtpLimits, exporter_len};

/// Which side of the DTLS handshake we were, which says whose keys are whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    /// We sent the ClientHello.
    Client,
    /// We answered it.
    Server,
}

/// Length of a profile's master key, in bytes.
pub(super) const fn master_key_len(profile: SrtpProfile) -> usize {
    match profile {
        SrtpProfile::AeadAes128Gcm | SrtpProfile::Aes128CmSha1_80 => 16,
        SrtpProfile::AeadAes256Gcm => 32,
    }
}

/// Length of a profile's master salt, in bytes (RFC 3711 §8.2, RFC 7714 §12).
pub(super) const fn master_salt_len(profile: SrtpProfile) -> usize {
    match profile {
        SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 12,
        SrtpProfile::Aes128CmSha1_80 => 14,
    }
}

/// The master keys of both directions; overwritten with zeros when dropped.
pub struct SessionKeys {
    profile: SrtpProfile,
    ours: MasterKey,
    theirs: MasterKey,
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeys")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl SessionKeys {
    /// Splits what the DTLS exporter `EXTRACTOR-dtls_srtp` gave: client key, server key, client salt, server salt
    /// (RFC 5764 §4.2).
    ///
    /// # Errors
    /// [`SrtpError::KeyLength`] unless there are [`exporter_len`] bytes.
    pub fn from_exporter(
        profile: SrtpProfile,
        material: &[u8],
        we_are: DtlsRole,
    ) -> Result<Self, SrtpError> {
        if material.len() != exporter_len(profile) {
            return Err(SrtpError::KeyLength);
        }
        let (keys, salts) = material.split_at(2 * master_key_len(profile));
        let (client_key, server_key) = keys.split_at(master_key_len(profile));
        let (client_salt, server_salt) = salts.split_at(master_salt_len(profile));
        let client = MasterKey::new(client_key, client_salt);
        let server = MasterKey::new(server_key, server_salt);
        let (ours, theirs) = match we_are {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        };
        Ok(Self {
            profile,
            ours,
            theirs,
        })
    }

    /// The profile that the keys are for.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// Derives the session keys of both directions.
    ///
    /// # Errors
    /// [`SrtpError::Crypto`].
    pub fn into_contexts(self, limits: SrtpLimits) -> Result<(Outbound, Inbound), SrtpError> {
        Ok((
            Outbound::new(self.profile, &self.ours, limits)?,
            Inbound::new(self.profile, &self.theirs, limits)?,
        ))
    }
}

/// One direction's master key and salt, and the function that derives session keys from them.
pub(super) struct MasterKey {
    key: Zeroizing<Vec<u8>>,
    /// The salt as the derivation wants it: 112 bits, a shorter one filled with zeros at its end.
    salt: Zeroizing<[u8; 14]>,
}

/// What a derived key is for (RFC 3711 §4.3.1).
#[derive(Clone, Copy)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

impl MasterKey {
    pub(super) fn new(key: &[u8], salt: &[u8]) -> Self {
        let mut padded = Zeroizing::new([0; 14]);
        padded[..salt.len()].copy_from_slice(salt);
        Self {
            key: Zeroizing::new(key.to_vec()),
            salt: padded,
        }
    }

    /// Fills `out` with the key for `label`: AES counter mode over zeros (RFC 3711 §4.3.3), the derivation rate being 0.
    pub(super) fn derive(&self, label: Label, out: &mut [u8]) -> Result<(), SrtpError> {
        let mut iv = Zeroizing::new([0; 16]);
        iv[..14].copy_from_slice(&*self.salt);
        iv[7] ^= label as u8;
        let algorithm = match self.key.len() {
            16 => &AES_128,
            32 => &AES_256,
            _ => return Err(SrtpError::KeyLength),
        };
        out.fill(0);
        UnboundCipherKey::new(algorithm, &self.key)
            .and_then(EncryptingKey::ctr)
            .and_then(|key| {
                let context = EncryptionContext::Iv128(FixedLength::from(*iv));
                key.less_safe_encrypt(out, context)
            })
            .map(drop)
            .map_err(|_| SrtpError::Crypto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .as_chunks()
            .0
            .iter()
            .map(|[h, l]| {
                let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
                digit(*h) << 4 | digit(*l)
            })
            .collect()
    }

    #[test]
    fn session_keys_are_those_of_rfc_3711_b_3() {
        let master = MasterKey::new(
            &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            &hex("0EC675AD498AFEEBB6960B3AABE6"),
        );
        let derived = |label, len| {
            let mut out = vec![0xAA; len];
            master.derive(label, &mut out).unwrap();
            out
        };
        assert_eq!(
            derived(Label::RtpEncryption, 16),
            hex("C61E7A93744F39EE10734AFE3FF7A087")
        );
        assert_eq!(
            derived(Label::RtpSalt, 14),
            hex("30CBBC08863D8C85D49DB34A9AE1")
        );
        assert_eq!(
            derived(Label::RtpAuthentication, 94),
            hex("CEBE321F6FF7716B6FD4AB49AF256A15
                 6D38BAA48F0A0ACF3C34E2359E6CDBCE
                 E049646C43D9327AD175578EF7227098
                 6371C10C9A369AC2F94A8C5FBCDDDC25
                 6D6E919A48B610EF17C2041E47403576
                 6B68642C59BBFC2F34DB60DBDFB2")
        );
    }
}
