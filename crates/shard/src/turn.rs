//! TURN on a shard's own sockets: what comes through a relay is taken as if it had come by itself, and what goes to one is
//! wrapped on its way out.

use std::net::SocketAddr;

use schalter_forward::Owner;
use schalter_model::{Carrier, DropReason, Path, Time};
use schalter_turn::{Received, Secret, Turn, TurnConfig, TurnLimits, Wrap};

use crate::egress::Transmit;
use crate::shard::Shard;

/// What a shard needs to know to serve TURN.
#[derive(Clone, Debug)]
pub struct TurnService {
    /// The node that credentials must name.
    pub node: u16,
    /// What credentials are derived from.
    pub secret: Secret,
    /// The shard's media sockets as clients know them, one for each address: all that relays reach.
    pub targets: Vec<SocketAddr>,
    /// Bounds.
    pub limits: TurnLimits,
}

impl Shard {
    pub(crate) fn serve_turn(&mut self, service: TurnService) {
        self.turn = Some(Turn::new(TurnConfig {
            node: service.node,
            shard: self.config.id,
            secret: service.secret,
            wall: self.config.wall,
            seed: self.config.seed,
            targets: service.targets,
            limits: service.limits,
        }));
    }

    /// Whether a datagram is for the TURN server, if there is one.
    pub(crate) fn is_for_turn(&self, datagram: &[u8]) -> bool {
        self.turn.is_some() && schalter_turn::is_turn(datagram)
    }

    /// Takes what came on the port for TURN over UDP: for the TURN server, or for nobody.
    pub(crate) fn on_turn_port(
        &mut self,
        now: Time,
        outer: Path,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        if !schalter_turn::is_turn(datagram) {
            return Err(DropReason::TurnMalformed);
        }
        self.on_turn(now, outer, datagram)
    }

    pub(crate) fn on_turn(
        &mut self,
        now: Time,
        outer: Path,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let turn = self.turn.as_mut().ok_or(DropReason::UnknownProtocol)?;
        // A media port relays for nobody, however good the credentials are.
        if outer.carrier == Carrier::Udp {
            return Err(DropReason::TurnOnMediaPort);
        }
        match turn.on_datagram(now, outer, datagram)? {
            Received::Taken => Ok(()),
            // A relay within a relay is refused there, so this goes no deeper.
            Received::Relayed { path, payload } => self.dispatch(now, path, &mut datagram[payload]),
        }
    }

    /// The TURN server's next answer.
    pub(crate) fn turn_answer(&mut self, out: &mut [u8]) -> Option<Transmit> {
        let (path, len) = self.turn.as_mut()?.poll_transmit(out)?;
        Some(Transmit {
            path,
            len,
            segment_size: None,
        })
    }

    /// Makes the datagram in the first `len` bytes of `out` ready to leave; `None` (counted) if it can't.
    pub(crate) fn single(
        &mut self,
        now: Time,
        path: Path,
        len: usize,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let (path, len) = match self.wrap(now, &path) {
            Ok(None) => (path, len),
            Ok(Some(mut wrap)) => {
                let at = wrap.headroom();
                let wrapped = (at + len <= out.len()).then(|| {
                    out.copy_within(..len, at);
                    wrap.finish(out, len)
                });
                let Some(len) = wrapped.flatten() else {
                    self.counters.drops.count(DropReason::Oversize);
                    return None;
                };
                self.count_relayed(1, len);
                (wrap.outer, len)
            }
            Err(reason) => {
                self.counters.drops.count(reason);
                return None;
            }
        };
        Some(Transmit {
            path,
            len,
            segment_size: None,
        })
    }

    /// How datagrams on `path` must be wrapped, if at all.
    pub(crate) fn wrap(&mut self, now: Time, path: &Path) -> Result<Option<Wrap>, DropReason> {
        match path.carrier {
            Carrier::Udp | Carrier::TurnPort | Carrier::Stream(_) => Ok(None),
            Carrier::Relay(_) => match &mut self.turn {
                Some(turn) => turn.wrap(now, path).map(Some),
                None => Err(DropReason::TurnNoAllocation),
            },
        }
    }

    pub(crate) fn count_relayed(&mut self, datagrams: usize, bytes: usize) {
        if let Some(turn) = &mut self.turn {
            turn.count_sent(datagrams as u64, bytes as u64);
        }
    }

    /// Whom a connection serves, and by which path of its own: a relay's if it carries TURN.
    pub(crate) fn served_by(&self, stream: &Path) -> Option<(Owner, Path)> {
        if let Some(owner) = self.slots.owner_of(stream) {
            return Some((owner, *stream));
        }
        let turn = self.turn.as_ref()?;
        turn.inner_paths(stream).find_map(|path| {
            let owner = self.slots.owner_of(&path)?;
            Some((owner, path))
        })
    }
}
