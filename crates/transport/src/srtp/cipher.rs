//! One direction's transforms for RTP or RTCP, with the index handed in: AES-GCM (RFC 7714 §8, §9) and AES-CM with
//! HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1). Stateless, so that nothing can change before authentication.
//!
//! Both come from `aws-lc-rs`. For AES-CM with SHA-1, the RustCrypto crates were about a tenth faster on x86-64 with
//! SHA-NI (1,200 bytes: 154 + 705 ns against 183 + 794 ns), but have no SHA-1 instructions on ARM in the version that
//! the tree holds, and do not overwrite HMAC keys. It is the fallback profile, so the library with both is preferred.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, hmac};
use schalter_model::SrtpProfile;
use zeroize::Zeroizing;

use super::keys::{Label, MasterKey, master_key_len};
use super::{RTCP_CLEAR_LEN, SRTCP_INDEX_LEN, SrtpError};

/// Length of the tag of AES-GCM (RFC 7714 §13).
const GCM_TAG_LEN: usize = 16;
/// Length of the tag of HMAC-SHA1-80 (RFC 3711 §4.2.1).
const SHA1_TAG_LEN: usize = 10;
/// Length of the key of HMAC-SHA1 (RFC 3711 §5.2).
const SHA1_KEY_LEN: usize = 20;
/// Says in the SRTCP index word that the packet is encrypted (RFC 3711 §3.4).
const ENCRYPTED_FLAG: u32 = 1 << 31;

/// Authentication failed. The buffer's content is undefined after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forged;

/// Which packets a cipher is for; they have keys of their own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Rtp,
    Rtcp,
}

/// Session keys of one direction and kind. The library's key types overwrite themselves when dropped.
#[expect(
    clippy::large_enum_variant,
    reason = "four in a session; boxing one would cost every packet a cache line"
)]
pub(super) enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: Zeroizing<[u8; 12]>,
    },
    CmSha1 {
        key: EncryptingKey,
        salt: Zeroizing<[u8; 14]>,
        authentication: hmac::Key,
    },
}

impl Cipher {
    pub(super) fn new(
        profile: SrtpProfile,
        kind: Kind,
        master: &MasterKey,
    ) -> Result<Self, SrtpError> {
        let (encryption, authentication, salt) = match kind {
            Kind::Rtp => (
                Label::RtpEncryption,
                Label::RtpAuthentication,
                Label::RtpSalt,
            ),
            Kind::Rtcp => (
                Label::RtcpEncryption,
                Label::RtcpAuthentication,
                Label::RtcpSalt,
            ),
        };
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..master_key_len(profile)];
        master.derive(encryption, key)?;
        match profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => {
                let mut session_salt = Zeroizing::new([0; 12]);
                master.derive(salt, &mut *session_salt)?;
                Self::gcm(profile, key, session_salt)
            }
            SrtpProfile::Aes128CmSha1_80 => {
                let mut session_salt = Zeroizing::new([0; 14]);
                master.derive(salt, &mut *session_salt)?;
                let mut sha1_key = Zeroizing::new([0; SHA1_KEY_LEN]);
                master.derive(authentication, &mut *sha1_key)?;
                Self::cm_sha1(key, session_salt, &sha1_key)
            }
        }
    }

    fn gcm(profile: SrtpProfile, key: &[u8], salt: Zeroizing<[u8; 12]>) -> Result<Self, SrtpError> {
        let algorithm = match profile {
            SrtpProfile::AeadAes256Gcm => &aead::AES_256_GCM,
            SrtpProfile::AeadAes128Gcm | SrtpProfile::Aes128CmSha1_80 => &aead::AES_128_GCM,
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::Crypto)?;
        Ok(Self::Gcm {
            key: LessSafeKey::new(key),
            salt,
        })
    }

    fn cm_sha1(
        key: &[u8],
        salt: Zeroizing<[u8; 14]>,
        sha1_key: &[u8; SHA1_KEY_LEN],
    ) -> Result<Self, SrtpError> {
        let key = UnboundCipherKey::new(&cipher::AES_128, key)
            .and_then(EncryptingKey::ctr)
            .map_err(|_| SrtpError::Crypto)?;
        Ok(Self::CmSha1 {
            key,
            salt,
            authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, sha1_key),
        })
    }

    pub(super) const fn tag_len(&self) -> usize {
        match self {
            Self::Gcm { .. } => GCM_TAG_LEN,
            Self::CmSha1 { .. } => SHA1_TAG_LEN,
        }
    }

    /// Seals `packet`, whose last bytes are room for the tag.
    pub(super) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let tag_at = packet.len() - self.tag_len();
        let (clear, tag) = packet.split_at_mut(tag_at);
        match self {
            Self::Gcm { key, salt } => {
                let (header, payload) = clear.split_at_mut(header_len);
                let nonce = rtp_nonce(salt, ssrc, index);
                let sealed = key
                    .seal_in_place_separate_tag(nonce, Aad::from(&*header), payload)
                    .map_err(|_| SrtpError::Crypto)?;
                tag.copy_from_slice(sealed.as_ref());
            }
            Self::CmSha1 {
                key,
                salt,
                authentication,
            } => {
                keystream(key, salt, ssrc, index, &mut clear[header_len..])?;
                let mac = sha1_mac(authentication, clear, &roll_over_counter(index));
                tag.copy_from_slice(&mac.as_ref()[..SHA1_TAG_LEN]);
            }
        }
        Ok(())
    }

    /// Opens `packet`; the plain packet is all but the tag's bytes at the end.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), Forged> {
        match self {
            Self::Gcm { key, salt } => {
                let (header, sealed) = packet.split_at_mut(header_len);
                let nonce = rtp_nonce(salt, ssrc, index);
                key.open_in_place(nonce, Aad::from(&*header), sealed)
                    .map(drop)
                    .map_err(|_| Forged)
            }
            Self::CmSha1 {
                key,
                salt,
                authentication,
            } => {
                let tag_at = packet.len() - SHA1_TAG_LEN;
                let (sealed, tag) = packet.split_at_mut(tag_at);
                let mac = sha1_mac(authentication, sealed, &roll_over_counter(index));
                verify_sha1(&mac, tag)?;
                keystream(key, salt, ssrc, index, &mut sealed[header_len..]).map_err(|_| Forged)
            }
        }
    }

    /// Seals `packet`, whose last bytes are room for tag and index word.
    pub(super) fn seal_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        index: u32,
    ) -> Result<(), SrtpError> {
        let word = (ENCRYPTED_FLAG | index).to_be_bytes();
        let clear_len = packet.len() - self.tag_len() - SRTCP_INDEX_LEN;
        let (clear, trailer) = packet.split_at_mut(clear_len);
        match self {
            Self::Gcm { key, salt } => {
                let (header, payload) = clear.split_at_mut(RTCP_CLEAR_LEN);
                let aad = rtcp_aad(header, word);
                let sealed = key
                    .seal_in_place_separate_tag(
                        rtcp_nonce(salt, ssrc, index),
                        Aad::from(aad),
                        payload,
                    )
                    .map_err(|_| SrtpError::Crypto)?;
                trailer[..GCM_TAG_LEN].copy_from_slice(sealed.as_ref());
                trailer[GCM_TAG_LEN..].copy_from_slice(&word);
            }
            Self::CmSha1 {
                key,
                salt,
                authentication,
            } => {
                keystream(key, salt, ssrc, index.into(), &mut clear[RTCP_CLEAR_LEN..])?;
                let mac = sha1_mac(authentication, clear, &word);
                trailer[..SRTCP_INDEX_LEN].copy_from_slice(&word);
                trailer[SRTCP_INDEX_LEN..].copy_from_slice(&mac.as_ref()[..SHA1_TAG_LEN]);
            }
        }
        Ok(())
    }

    /// The SRTCP index of `packet`, which is long enough; `None` if it is not encrypted.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let end = match self {
            Self::Gcm { .. } => packet.len(),
            Self::CmSha1 { .. } => packet.len() - SHA1_TAG_LEN,
        };
        let word = u32::from_be_bytes(*packet[..end].last_chunk()?);
        (word & ENCRYPTED_FLAG != 0).then_some(word & !ENCRYPTED_FLAG)
    }

    /// Opens `packet`; the plain packet is all but the bytes of tag and index word at the end.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<(), Forged> {
        let word = (ENCRYPTED_FLAG | index).to_be_bytes();
        match self {
            Self::Gcm { key, salt } => {
                let sealed_len = packet.len() - SRTCP_INDEX_LEN;
                let (header, sealed) = packet[..sealed_len].split_at_mut(RTCP_CLEAR_LEN);
                let aad = rtcp_aad(header, word);
                key.open_in_place(rtcp_nonce(salt, ssrc, index), Aad::from(aad), sealed)
                    .map(drop)
                    .map_err(|_| Forged)
            }
            Self::CmSha1 {
                key,
                salt,
                authentication,
            } => {
                let tag_at = packet.len() - SHA1_TAG_LEN;
                let (sealed, tag) = packet.split_at_mut(tag_at);
                let sealed = &mut sealed[..tag_at - SRTCP_INDEX_LEN];
                verify_sha1(&sha1_mac(authentication, sealed, &word), tag)?;
                keystream(key, salt, ssrc, index.into(), &mut sealed[RTCP_CLEAR_LEN..])
                    .map_err(|_| Forged)
            }
        }
    }
}

/// RFC 7714 §8.1: two zero bytes, SSRC, roll-over counter and sequence number, combined with the salt.
fn rtp_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    salted(salt, (u128::from(ssrc) << 48) | u128::from(index))
}

/// RFC 7714 §9.1: two zero bytes, SSRC, two zero bytes and the index, combined with the salt.
fn rtcp_nonce(salt: &[u8; 12], ssrc: u32, index: u32) -> Nonce {
    salted(salt, (u128::from(ssrc) << 48) | u128::from(index))
}

fn salted(salt: &[u8; 12], value: u128) -> Nonce {
    let mut nonce = *salt;
    // The value has 80 bits; the upper two of its twelve bytes are zero.
    for (byte, value) in nonce.iter_mut().zip(&value.to_be_bytes()[4..]) {
        *byte ^= value;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 §9.2: the clear header and the index word.
fn rtcp_aad(header: &[u8], word: [u8; 4]) -> [u8; RTCP_CLEAR_LEN + SRTCP_INDEX_LEN] {
    let mut aad = [0; RTCP_CLEAR_LEN + SRTCP_INDEX_LEN];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(header);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(&word);
    aad
}

/// Combines `data` with the key stream of RFC 3711 §4.1.1.
fn keystream(
    key: &EncryptingKey,
    salt: &[u8; 14],
    ssrc: u32,
    index: u64,
    data: &mut [u8],
) -> Result<(), SrtpError> {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    let value = (u128::from(ssrc) << 64) | (u128::from(index) << 16);
    for (byte, value) in iv.iter_mut().zip(value.to_be_bytes()) {
        *byte ^= value;
    }
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .map(drop)
        .map_err(|_| SrtpError::Crypto)
}

fn roll_over_counter(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

fn sha1_mac(key: &hmac::Key, packet: &[u8], trailer: &[u8; 4]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(packet);
    context.update(trailer);
    context.sign()
}

fn verify_sha1(mac: &hmac::Tag, tag: &[u8]) -> Result<(), Forged> {
    constant_time::verify_slices_are_equal(&mac.as_ref()[..SHA1_TAG_LEN], tag).map_err(|_| Forged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        let pairs = digits.as_chunks().0;
        pairs.iter().map(|[h, l]| (h << 4 | l) as u8).collect()
    }

    /// Session key and salt of RFC 7714 §16 and §17.
    fn gcm(profile: SrtpProfile) -> Cipher {
        let key: Vec<u8> = (0..master_key_len(profile) as u8).collect();
        Cipher::gcm(profile, &key, Zeroizing::new(*b"Quid pro quo")).unwrap()
    }

    const RTP_SSRC: u32 = 0x5501_a0b2;
    const RTP_INDEX: u64 = 0xf17b;
    const RTP: &str = "8040f17b 8041f8d3 5501a0b2
        47616c6c 69612065 7374206f 6d6e6973 20646976 69736120
        696e2070 61727465 73207472 6573";
    const RTP_128: &str = "8040f17b 8041f8d3 5501a0b2
        f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d
        7f27beb1 6a9152cf 765ee439 0cce";
    const RTP_256: &str = "8040f17b 8041f8d3 5501a0b2
        32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3
        db36dfff d6b0f9bb 7878d7a7 6c13";
    const RTCP_SSRC: u32 = 0x4d61_7273;
    const RTCP_INDEX: u32 = 0x5d4;
    const RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
        deadbeef deadbeef deadbeef deadbeef deadbeef";
    const RTCP_128: &str = "81c8000d 4d617273
        63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded
        0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4";
    const RTCP_256: &str = "81c8000d 4d617273
        d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658 c61de047
        6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4";

    #[test]
    fn rtp_is_sealed_and_opened_as_in_rfc_7714_16() {
        for (profile, expected) in [
            (SrtpProfile::AeadAes128Gcm, RTP_128),
            (SrtpProfile::AeadAes256Gcm, RTP_256),
        ] {
            let cipher = gcm(profile);
            let plain = hex(RTP);
            let mut packet = plain.clone();
            packet.resize(plain.len() + GCM_TAG_LEN, 0);
            cipher
                .seal_rtp(&mut packet, 12, RTP_SSRC, RTP_INDEX)
                .unwrap();
            assert_eq!(packet, hex(expected), "{}", profile.name());
            cipher
                .open_rtp(&mut packet, 12, RTP_SSRC, RTP_INDEX)
                .unwrap();
            assert_eq!(packet[..plain.len()], plain);
        }
    }

    #[test]
    fn rtcp_is_sealed_and_opened_as_in_rfc_7714_17() {
        for (profile, expected) in [
            (SrtpProfile::AeadAes128Gcm, RTCP_128),
            (SrtpProfile::AeadAes256Gcm, RTCP_256),
        ] {
            let cipher = gcm(profile);
            let plain = hex(RTCP);
            let mut packet = plain.clone();
            packet.resize(plain.len() + GCM_TAG_LEN + SRTCP_INDEX_LEN, 0);
            cipher
                .seal_rtcp(&mut packet, RTCP_SSRC, RTCP_INDEX)
                .unwrap();
            assert_eq!(packet, hex(expected), "{}", profile.name());
            assert_eq!(cipher.rtcp_index(&packet), Some(RTCP_INDEX));
            cipher
                .open_rtcp(&mut packet, RTCP_SSRC, RTCP_INDEX)
                .unwrap();
            assert_eq!(packet[..plain.len()], plain);
        }
    }

    #[test]
    fn the_key_stream_is_that_of_rfc_3711_b_2() {
        let key = UnboundCipherKey::new(&cipher::AES_128, &hex("2B7E151628AED2A6ABF7158809CF4F3C"))
            .and_then(EncryptingKey::ctr)
            .unwrap();
        let salt: [u8; 14] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
        let mut stream = vec![0; 0xFF02 * 16];
        keystream(&key, &salt, 0, 0, &mut stream).unwrap();
        let first = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
            41E95B3BB0A2E8DD477901E4FCA894C0";
        let last = "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE
            6A2CC3787889374FBEB4C81B17BA6C44";
        assert_eq!(stream[..48], hex(first));
        assert_eq!(stream[0xFEFF * 16..0xFF02 * 16], hex(last));
    }
}
