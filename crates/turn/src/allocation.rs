//! One allocation: its relays, permissions and channels (RFC 8656 §3.2, §9, §12).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use schalter_model::{Path, Time, TurnRefusal};
use schalter_stun::TransactionId;

use crate::UserName;
use crate::channel_data::CHANNELS;
use crate::request::Family;

/// Lifetime without LIFETIME, and the least that a client gets (RFC 8656 §3.2).
const DEFAULT_LIFETIME: u32 = 600;
/// The most that it gets (RFC 8656 §7.2 suggests an hour).
const MAX_LIFETIME: u32 = 3_600;
/// How long a permission lasts (RFC 8656 §9).
const PERMISSION: Duration = Duration::from_secs(300);
/// How long a channel stays bound (RFC 8656 §12).
const CHANNEL: Duration = Duration::from_secs(600);

/// The lifetime that a client gets, in seconds.
pub(crate) fn lifetime(asked: Option<u32>) -> u32 {
    asked
        .unwrap_or(DEFAULT_LIFETIME)
        .clamp(DEFAULT_LIFETIME, MAX_LIFETIME)
}

/// A relayed address and until when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) expires: Time,
}

#[derive(Clone, Copy, Debug)]
struct Permission {
    ip: IpAddr,
    expires: Time,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    expires: Time,
}

/// What a client has been given. Permissions and channels are only ever for targets, which bounds both.
#[derive(Debug)]
pub(crate) struct Allocation {
    /// The client's way to us.
    pub(crate) outer: Path,
    pub(crate) user: UserName,
    /// Of the Allocate, to know it again when it is repeated.
    pub(crate) transaction: TransactionId,
    /// At most one of each family, IPv4 first.
    pub(crate) relays: [Option<Relay>; 2],
    /// When the queue of deadlines will look at it next.
    pub(crate) scheduled: Option<Time>,
    permissions: Vec<Permission>,
    channels: Vec<Channel>,
}

impl Allocation {
    pub(crate) fn new(
        outer: Path,
        user: UserName,
        transaction: TransactionId,
        relays: [Option<Relay>; 2],
    ) -> Self {
        Self {
            outer,
            user,
            transaction,
            relays,
            scheduled: None,
            permissions: Vec::new(),
            channels: Vec::new(),
        }
    }

    /// The relay of a family.
    pub(crate) fn relay(&self, family: Family) -> Option<Relay> {
        self.relays[family as usize]
    }

    /// Whether a peer may be spoken to by this allocation at all.
    pub(crate) fn reaches(&self, peer: &SocketAddr) -> Result<(), TurnRefusal> {
        match self.relay(Family::of(peer)) {
            Some(_) => Ok(()),
            None => Err(TurnRefusal::PeerFamilyMismatch),
        }
    }

    pub(crate) fn permit(&mut self, now: Time, ip: IpAddr) {
        let expires = now + PERMISSION;
        match self.permissions.iter_mut().find(|known| known.ip == ip) {
            Some(known) => known.expires = expires,
            None => self.permissions.push(Permission { ip, expires }),
        }
    }

    pub(crate) fn permits(&self, now: Time, ip: IpAddr) -> bool {
        self.permissions
            .iter()
            .any(|known| known.ip == ip && known.expires > now)
    }

    /// Binds a channel, or again the same; permits the peer, too (RFC 8656 §12.2).
    pub(crate) fn bind(
        &mut self,
        now: Time,
        number: u16,
        peer: SocketAddr,
    ) -> Result<(), TurnRefusal> {
        if !CHANNELS.contains(&number) {
            return Err(TurnRefusal::BadRequest);
        }
        self.channels.retain(|channel| channel.expires > now);
        let other = |channel: &&Channel| (channel.number == number) != (channel.peer == peer);
        if self.channels.iter().any(|channel| other(&channel)) {
            return Err(TurnRefusal::BadRequest);
        }
        let expires = now + CHANNEL;
        match self.channels.iter_mut().find(|c| c.number == number) {
            Some(channel) => channel.expires = expires,
            None => self.channels.push(Channel {
                number,
                peer,
                expires,
            }),
        }
        self.permit(now, peer.ip());
        Ok(())
    }

    /// The peer of a channel.
    pub(crate) fn peer_of(&self, now: Time, number: u16) -> Option<SocketAddr> {
        self.channels
            .iter()
            .find(|channel| channel.number == number && channel.expires > now)
            .map(|channel| channel.peer)
    }

    /// The channel of a peer.
    pub(crate) fn channel_to(&self, now: Time, peer: &SocketAddr) -> Option<u16> {
        self.channels
            .iter()
            .find(|channel| channel.peer == *peer && channel.expires > now)
            .map(|channel| channel.number)
    }
}
