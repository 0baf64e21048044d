//! What no server can avoid: AES-128-GCM over the bytes with the bare library, and one GSO call a run.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use quinn_udp::{Transmit, UdpSocketState};

use crate::{BURST, SUBSCRIBERS};

/// What no server can avoid.
pub(crate) struct Floor {
    keys: Vec<LessSafeKey>,
    sink: Vec<(UdpSocket, SocketAddr)>,
    socket: UdpSocket,
    state: UdpSocketState,
    source: Vec<u8>,
    run: Vec<u8>,
    pub(crate) sealed_len: usize,
    nonce: u64,
}

impl Floor {
    pub(crate) fn new(sealed_len: usize) -> io::Result<Self> {
        let key = |index: usize| {
            let key =
                UnboundKey::new(&AES_128_GCM, &[index as u8; 16]).expect("16 bytes are a key");
            LessSafeKey::new(key)
        };
        let sink = (0..SUBSCRIBERS)
            .map(|_| {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                socket.set_nonblocking(true)?;
                // As the generator's sockets and as a network card would have it: a run is taken in one piece.
                UdpSocketState::new((&socket).into())?;
                let address = socket.local_addr()?;
                Ok((socket, address))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            keys: (0..SUBSCRIBERS).map(key).collect(),
            sink,
            socket,
            state,
            source: vec![7; sealed_len],
            run: vec![0; sealed_len * BURST],
            sealed_len,
            nonce: 0,
        })
    }

    pub(crate) fn seal(&mut self, peer: usize) {
        for packet in self.run.chunks_mut(self.sealed_len) {
            let (body, tag) = packet.split_at_mut(self.sealed_len - 16);
            body.copy_from_slice(&self.source[..self.sealed_len - 16]);
            let (header, payload) = body.split_at_mut(12);
            self.nonce += 1;
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&self.nonce.to_be_bytes());
            let sealed = self.keys[peer]
                .seal_in_place_separate_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(&*header),
                    payload,
                )
                .expect("the library seals short packets");
            tag.copy_from_slice(sealed.as_ref());
        }
    }

    pub(crate) fn send(&self, peer: usize) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.sink[peer].1,
            ecn: None,
            contents: &self.run,
            segment_size: Some(self.sealed_len),
            src_ip: None,
        };
        self.state.try_send((&self.socket).into(), &transmit)
    }

    pub(crate) fn drain(&self) -> usize {
        let mut buffer = vec![0; 65_536];
        let mut received = 0;
        for (socket, _) in &self.sink {
            while let Ok(len) = socket.recv(&mut buffer) {
                received += len / self.sealed_len;
            }
        }
        received
    }
}
