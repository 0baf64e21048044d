//! A server as small as can be: one [`Transport`] a peer, each on a socket of its own, and packets handed from the first
//! to the second.

#![expect(
    clippy::unwrap_used,
    reason = "part of tests: a panic is a failed test"
)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use schalter_load::client::IceCredentials;
use schalter_model::{Path, ShardId, Time, Ufrag};
use schalter_transport::ice::ChallengeSecret;
use schalter_transport::{
    CryptoProfile, Fingerprint, Identity, LocalIce, RemoteIce, Transport, TransportConfig,
    TransportLimits,
};

const PASSWORD: &str = "a-password-of-22-chars";

/// One peer's server side.
pub(crate) struct Side {
    pub(crate) transport: Transport,
    socket: UdpSocket,
    /// What the SDP would say.
    pub(crate) ice: IceCredentials,
}

pub(crate) struct Relay {
    pub(crate) epoch: Instant,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) sides: Vec<Side>,
}

impl Relay {
    /// As many sides as asked for; all know the client's certificate.
    pub(crate) fn new(sides: u64, client: &Fingerprint) -> Self {
        let epoch = Instant::now();
        let identity = Arc::new(Identity::generate().unwrap());
        let sides = (0..sides)
            .map(|side| {
                let ufrag = Ufrag::new(0, ShardId(0), side);
                let config = TransportConfig {
                    epoch,
                    identity: Arc::clone(&identity),
                    crypto: CryptoProfile::Standard,
                    ice: LocalIce {
                        ufrag,
                        password: PASSWORD.into(),
                    },
                    challenges: ChallengeSecret::new([1; ChallengeSecret::LEN]),
                    channels: Vec::new(),
                    limits: TransportLimits::default(),
                };
                let mut transport = Transport::new(Time::ZERO, config).unwrap();
                let user = RemoteIce {
                    ufrag: "client".into(),
                    password: "the-client's-own-password".into(),
                };
                transport.set_remote(Time::ZERO, user, vec![client.clone()]);
                Side {
                    transport,
                    socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
                    ice: IceCredentials {
                        ufrag: ufrag.as_str().to_owned(),
                        password: PASSWORD.to_owned(),
                    },
                }
            })
            .collect();
        let [fingerprint, _] = identity.fingerprints();
        Self {
            epoch,
            fingerprint,
            sides,
        }
    }

    pub(crate) fn address(&self, side: usize) -> SocketAddr {
        self.sides[side].socket.local_addr().unwrap()
    }

    /// Relays from the first side to the second until told to stop. Every `drop_each`th packet is lost.
    pub(crate) fn run(mut self, stop: Arc<AtomicBool>, drop_each: Option<u64>) -> JoinHandle<()> {
        for side in &self.sides {
            side.socket.set_nonblocking(true).unwrap();
        }
        std::thread::spawn(move || {
            let mut packets = 0;
            while !stop.load(Ordering::Acquire) {
                let mut idle = true;
                for index in 0..self.sides.len() {
                    idle &= !self.serve(index, &mut packets, drop_each);
                }
                if idle {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        })
    }

    fn serve(&mut self, index: usize, packets: &mut u64, drop_each: Option<u64>) -> bool {
        let now = Time::ZERO + self.epoch.elapsed();
        let mut datagram = [0; 2_048];
        let received = self.sides[index].socket.recv_from(&mut datagram);
        if let Ok((len, remote)) = received {
            let path = Path::udp(remote, None);
            let transport = &mut self.sides[index].transport;
            // What the transport refuses shows in what arrives.
            match datagram[0] {
                0..=3 => {
                    let _ = transport.on_stun(now, path, &datagram[..len]);
                }
                20..=63 => {
                    let _ = transport.on_dtls(now, path, &datagram[..len]);
                }
                _ if (192..=223).contains(&datagram[1]) => {
                    let _ = transport.open_rtcp(now, path, &mut datagram[..len]);
                }
                _ => {
                    if let Ok(plain) = transport.open_rtp(now, path, &mut datagram[..len]) {
                        *packets += 1;
                        if drop_each.is_none_or(|each| !packets.is_multiple_of(each)) {
                            self.forward(&mut datagram, plain);
                        }
                    }
                }
            }
        }
        let side = &mut self.sides[index];
        if side.transport.next_timeout().is_some_and(|at| at <= now) {
            side.transport.on_timeout(now);
        }
        let mut out = [0; 2_048];
        while let Some((path, len)) = side.transport.poll_transmit(now, &mut out) {
            side.socket.send_to(&out[..len], path.remote).unwrap();
        }
        received.is_ok()
    }

    fn forward(&mut self, buffer: &mut [u8], len: usize) {
        let Some(to) = self.sides.get_mut(1) else {
            return;
        };
        if let (Some(path), Ok(sealed)) = (to.transport.path(), to.transport.seal_rtp(buffer, len))
        {
            to.socket.send_to(&buffer[..sealed], path.remote).unwrap();
        }
    }
}
