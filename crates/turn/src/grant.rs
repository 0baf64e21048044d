//! Requests: who asks, whether they may have it, and what they are told.

use std::net::SocketAddr;
use std::time::Duration;

use schalter_model::{DropReason, Path, RelayId, Time, TurnRefusal};
use schalter_stun::{IntegrityKey, StunMessage, attribute, method};

use crate::UserName;
use crate::allocation::{Allocation, lifetime};
use crate::allocations::Wanted;
use crate::answer::{self, Seal, Success};
use crate::credentials::REALM;
use crate::nonce;
use crate::request::{Family, Request, Unknown};
use crate::server::{Received, Turn};

impl Turn {
    pub(crate) fn on_binding(
        &mut self,
        now: Time,
        outer: &Path,
        message: &StunMessage<'_>,
    ) -> Result<Received, DropReason> {
        self.may_answer(now, outer)?;
        let success = Success {
            mapped: Some(outer.remote),
            ..Success::default()
        };
        let seal = Seal {
            key: None,
            fingerprint: message.verify_fingerprint().is_some(),
        };
        self.answer(outer, |out| answer::success(message, &success, &seal, out));
        Ok(Received::Taken)
    }

    pub(crate) fn on_request(
        &mut self,
        now: Time,
        outer: &Path,
        message: &StunMessage<'_>,
    ) -> Result<Received, DropReason> {
        let fingerprint = message.verify_fingerprint();
        if fingerprint == Some(false) {
            return Err(DropReason::TurnMalformed);
        }
        let fingerprint = fingerprint.is_some();
        match self.authenticate(now, outer, message) {
            Ok((user, key)) => {
                let seal = Seal {
                    key: Some(&key),
                    fingerprint,
                };
                let request = Request::read(message);
                let unknown = request.unknown;
                let outcome = request
                    .checked()
                    .and_then(|request| self.carry_out(now, outer, message, user, &request));
                match outcome {
                    Ok(success) => {
                        self.answer(outer, |out| answer::success(message, &success, &seal, out));
                    }
                    Err(refusal) => {
                        self.counters.refusals.count(refusal);
                        self.answer(outer, |out| {
                            answer::error(message, refusal, &unknown, &seal, out)
                        });
                    }
                }
            }
            Err(refusal) => {
                self.may_answer(now, outer)?;
                self.counters.refusals.count(refusal);
                if matches!(refusal, TurnRefusal::Unauthorized | TurnRefusal::StaleNonce) {
                    let seconds = self.unix_seconds(now);
                    let nonce = nonce::issue(&self.config.secret, seconds, outer.remote);
                    self.answer(outer, |out| answer::retry(message, refusal, &nonce, out));
                } else {
                    let (unknown, seal) = (
                        Unknown::default(),
                        Seal {
                            key: None,
                            fingerprint,
                        },
                    );
                    self.answer(outer, |out| {
                        answer::error(message, refusal, &unknown, &seal, out)
                    });
                }
            }
        }
        Ok(Received::Taken)
    }

    /// Who sent a request, in the order of RFC 8489 §9.2.4.
    fn authenticate(
        &mut self,
        now: Time,
        outer: &Path,
        message: &StunMessage<'_>,
    ) -> Result<(UserName, IntegrityKey), TurnRefusal> {
        if message.integrity().is_none() {
            return Err(TurnRefusal::Unauthorized);
        }
        let attributes = (
            message.attribute(attribute::USERNAME),
            message.attribute(attribute::REALM),
            message.attribute(attribute::NONCE),
        );
        let (Some(name), Some(realm), Some(nonce)) = attributes else {
            return Err(TurnRefusal::BadRequest);
        };
        let seconds = self.unix_seconds(now);
        let secret = &self.config.secret;
        if !nonce::is_fresh(secret, seconds, outer.remote, nonce) {
            return Err(TurnRefusal::StaleNonce);
        }
        let user = UserName::parse(name).map_err(|_| TurnRefusal::Unauthorized)?;
        if realm != REALM.as_bytes() {
            return Err(TurnRefusal::Unauthorized);
        }
        let key = answer::key_of(secret, message, &user, realm)?;
        if !message.verify_integrity(&key) {
            return Err(TurnRefusal::Unauthorized);
        }
        // Credentials that run out bring no new relay, but take none away from a call that goes on.
        let goes_on = self
            .allocations
            .by_path(outer)
            .is_some_and(|(_, allocation)| allocation.user == user);
        if user.expires() <= seconds && !goes_on {
            return Err(TurnRefusal::Unauthorized);
        }
        Ok((user, key))
    }

    fn carry_out(
        &mut self,
        now: Time,
        outer: &Path,
        message: &StunMessage<'_>,
        user: UserName,
        request: &Request,
    ) -> Result<Success, TurnRefusal> {
        if message.method() == method::ALLOCATE {
            return self.allocate(now, outer, message, user, request);
        }
        let targets = &self.config.targets;
        let forbidden = |peer: &SocketAddr| !targets.iter().any(|t| t.ip() == peer.ip());
        let (relay, allocation) = self
            .allocations
            .by_path(outer)
            .ok_or(TurnRefusal::AllocationMismatch)?;
        if allocation.user != user {
            return Err(TurnRefusal::WrongCredentials);
        }
        match message.method() {
            method::REFRESH => self.refresh(now, relay, request),
            method::CREATE_PERMISSION => {
                // All or none.
                for peer in request.peers()? {
                    allocation.reaches(&peer)?;
                    if forbidden(&peer) {
                        return Err(TurnRefusal::Forbidden);
                    }
                }
                for peer in request.peers()? {
                    allocation.permit(now, peer.ip());
                }
                Ok(Success::default())
            }
            method::CHANNEL_BIND => {
                let number = request.channel.ok_or(TurnRefusal::BadRequest)?;
                let peer = request.peers()?.next().ok_or(TurnRefusal::BadRequest)?;
                allocation.reaches(&peer)?;
                let first = targets.iter().find(|t| t.ip() == peer.ip());
                if first != Some(&peer) {
                    return Err(TurnRefusal::Forbidden);
                }
                allocation.bind(now, number, peer)?;
                Ok(Success::default())
            }
            // Send and Data are indications only (RFC 8656 §17).
            _ => Err(TurnRefusal::BadRequest),
        }
    }

    /// RFC 8656 §7.2.
    fn allocate(
        &mut self,
        now: Time,
        outer: &Path,
        message: &StunMessage<'_>,
        user: UserName,
        request: &Request,
    ) -> Result<Success, TurnRefusal> {
        let id = message.transaction_id();
        if let Some((_, allocation)) = self.allocations.by_path(outer) {
            // Over UDP the answer to the first may have been lost.
            if allocation.transaction == id && allocation.user == user {
                return Ok(allocated(now, allocation, request));
            }
            return Err(TurnRefusal::AllocationMismatch);
        }
        let transport = request.transport.ok_or(TurnRefusal::BadRequest)?;
        if transport != PROTOCOL_UDP {
            return Err(TurnRefusal::TransportUnsupported);
        }
        let (first, other) = request.families()?;
        if request.reservation {
            let contradicts =
                request.even_port.is_some() || request.family.is_some() || other.is_some();
            return Err(if contradicts {
                TurnRefusal::BadRequest
            } else {
                // No port is ever kept for later.
                TurnRefusal::NoCapacity
            });
        }
        if request.even_port == Some(true) {
            return Err(if other.is_some() {
                TurnRefusal::BadRequest
            } else {
                TurnRefusal::NoCapacity
            });
        }
        if (user.node(), user.shard()) != (self.config.node, self.config.shard) {
            return Err(TurnRefusal::Forbidden);
        }
        if !self.allocations.has_family(first)
            && !other.is_some_and(|other| self.allocations.has_family(other))
        {
            return Err(TurnRefusal::FamilyUnsupported);
        }
        self.allocations.has_room(&user)?;
        let seconds = lifetime(request.lifetime);
        let relays = self.allocations.relays(&Wanted {
            first,
            other,
            even: request.even_port.is_some(),
            expires: now + Duration::from_secs(u64::from(seconds)),
        })?;
        let allocation = Allocation::new(*outer, user, id, relays);
        let success = allocated(now, &allocation, request);
        self.allocations.insert(allocation);
        self.counters.allocated += 1;
        Ok(success)
    }

    /// RFC 8656 §8.2.
    fn refresh(
        &mut self,
        now: Time,
        relay: RelayId,
        request: &Request,
    ) -> Result<Success, TurnRefusal> {
        let family = request.family.transpose()?;
        let Some(allocation) = self.allocations.by_id_mut(relay) else {
            return Err(TurnRefusal::AllocationMismatch);
        };
        if family.is_some_and(|family| allocation.relay(family).is_none()) {
            return Err(TurnRefusal::PeerFamilyMismatch);
        }
        let seconds = match request.lifetime {
            Some(0) => 0,
            asked => lifetime(asked),
        };
        if seconds == 0 {
            self.allocations.end(relay, family);
        } else {
            let expires = now + Duration::from_secs(u64::from(seconds));
            for of in Family::ALL {
                if family.is_none_or(|only| only == of)
                    && let Some(relay) = &mut allocation.relays[of as usize]
                {
                    relay.expires = expires;
                }
            }
            self.allocations.reschedule(relay);
        }
        Ok(Success {
            lifetime: Some(seconds),
            ..Success::default()
        })
    }
}

/// The only protocol that relays carry (RFC 8656 §18.8).
const PROTOCOL_UDP: u8 = 17;

/// What the client is told of its allocation.
fn allocated(now: Time, allocation: &Allocation, request: &Request) -> Success {
    let relays = allocation.relays.iter().flatten();
    let ends = relays.map(|relay| relay.expires).min();
    let left = ends.map_or(0, |at| (at - now).as_secs());
    let missing = request.additional.and_then(|_| {
        Family::ALL
            .into_iter()
            .find(|family| allocation.relay(*family).is_none())
    });
    Success {
        relayed: allocation.relays.map(|relay| relay.map(|r| r.address)),
        mapped: Some(allocation.outer.remote),
        lifetime: Some(u32::try_from(left).unwrap_or(u32::MAX)),
        without: missing,
    }
}
