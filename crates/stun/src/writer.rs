//! The writer.

use std::net::{IpAddr, SocketAddr};

use crate::fingerprint::fingerprint;
use crate::{
    ATTRIBUTE_HEAD, HEADER_LEN, IntegrityKey, MAGIC_COOKIE, StunClass, StunError, TransactionId,
    address_mask, attribute,
};

/// Writes one message into a caller's buffer.
#[derive(Debug)]
pub struct StunWriter<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> StunWriter<'a> {
    /// Starts a message.
    ///
    /// # Errors
    /// [`StunError::NoSpace`].
    pub fn new(
        out: &'a mut [u8],
        class: StunClass,
        method: u16,
        id: TransactionId,
    ) -> Result<Self, StunError> {
        let class_bits = match class {
            StunClass::Request => 0x0000,
            StunClass::Indication => 0x0010,
            StunClass::Success => 0x0100,
            StunClass::Error => 0x0110,
        };
        let method_bits = (method & 0x000F) | (method & 0x0070) << 1 | (method & 0x0F80) << 2;
        let header = out.get_mut(..HEADER_LEN).ok_or(StunError::NoSpace)?;
        header[..2].copy_from_slice(&(class_bits | method_bits).to_be_bytes());
        header[2..4].copy_from_slice(&[0, 0]);
        header[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        header[8..].copy_from_slice(&id.0);
        Ok(Self {
            out,
            len: HEADER_LEN,
        })
    }

    /// Appends an attribute with zero padding.
    ///
    /// # Errors
    /// [`StunError::NoSpace`], also for what 16 bits of length can't say.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> Result<(), StunError> {
        let padded = value.len().next_multiple_of(4);
        let end = self.len + ATTRIBUTE_HEAD + padded;
        let body_len = u16::try_from(end - HEADER_LEN).map_err(|_| StunError::NoSpace)?;
        let slot = self.out.get_mut(self.len..end).ok_or(StunError::NoSpace)?;
        slot[..2].copy_from_slice(&kind.to_be_bytes());
        slot[2..4].copy_from_slice(&(value.len() as u16).to_be_bytes());
        slot[4..4 + value.len()].copy_from_slice(value);
        slot[4 + value.len()..].fill(0);
        self.out[2..4].copy_from_slice(&body_len.to_be_bytes());
        self.len = end;
        Ok(())
    }

    /// Appends `XOR-MAPPED-ADDRESS`, see [`Self::xor_address`].
    ///
    /// # Errors
    /// [`StunError::NoSpace`].
    pub fn xor_mapped_address(&mut self, address: SocketAddr) -> Result<(), StunError> {
        self.xor_address(attribute::XOR_MAPPED_ADDRESS, address)
    }

    /// Appends an attribute whose name begins with XOR; an IPv4 address in IPv6 clothes (dual-stack sockets) is written
    /// as IPv4.
    ///
    /// # Errors
    /// [`StunError::NoSpace`].
    pub fn xor_address(&mut self, kind: u16, address: SocketAddr) -> Result<(), StunError> {
        let mut id = [0; 12];
        id.copy_from_slice(&self.out[8..HEADER_LEN]);
        let mask = address_mask(TransactionId(id));
        let mut value = [0; 20];
        let ip_len = match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                value[1] = 1;
                value[4..8].copy_from_slice(&ip.octets());
                4
            }
            IpAddr::V6(ip) => {
                value[1] = 2;
                value[4..].copy_from_slice(&ip.octets());
                16
            }
        };
        value[2..4].copy_from_slice(&address.port().to_be_bytes());
        for (byte, mask) in value[2..4].iter_mut().zip(mask) {
            *byte ^= mask;
        }
        for (byte, mask) in value[4..].iter_mut().zip(mask) {
            *byte ^= mask;
        }
        self.attribute(kind, &value[..4 + ip_len])
    }

    /// Appends `ERROR-CODE` without a reason phrase, which only people read.
    ///
    /// # Errors
    /// [`StunError::NoSpace`].
    pub fn error_code(&mut self, code: u16) -> Result<(), StunError> {
        let value = [0, 0, (code / 100) as u8 & 7, (code % 100) as u8];
        self.attribute(attribute::ERROR_CODE, &value)
    }

    /// Appends the MESSAGE-INTEGRITY that `key` is for, over all so far.
    ///
    /// # Errors
    /// [`StunError::NoSpace`].
    pub fn integrity(&mut self, key: &IntegrityKey) -> Result<(), StunError> {
        let tag = key.sign(&self.out[..self.len]);
        self.attribute(key.integrity().attribute(), tag.as_ref())
    }

    /// Appends FINGERPRINT over all so far, which ends the message.
    ///
    /// # Errors
    /// [`StunError::NoSpace`].
    pub fn fingerprint(mut self) -> Result<usize, StunError> {
        let value = fingerprint(&self.out[..self.len]);
        self.attribute(attribute::FINGERPRINT, &value)?;
        Ok(self.len)
    }

    /// Ends the message without FINGERPRINT and answers its length.
    pub fn finish(self) -> usize {
        self.len
    }
}
