//! Media on a path of nobody: a client whose NAT gave it another address or port. Its streams' SSRCs say whose it may be, its
//! authentication whether it is; then the path is asked for proof, and what is sent goes there as soon as it is given.

use schalter_forward::Owner;
use schalter_model::{Carrier, DropReason, Path, Time};

use crate::shard::Shard;
use crate::slots::Slots;

/// Transports remembered for one SSRC, the newest; SSRCs are random, so mostly there is one, but some clients that only
/// receive report under the same.
const MAX_CLAIMANTS: usize = 4;
/// SSRCs remembered for one transport; older ones give way.
const MAX_SSRCS: usize = 64;
/// Paths that have not proven themselves remembered for one transport; older ones give way.
const MAX_GUESTS: usize = 4;
/// No datagram of media is longer: an Ethernet frame's payload.
const LONGEST: usize = 1_500;

/// Transports that a stream may be of, the newest first.
#[derive(Clone, Copy, Default)]
pub(crate) struct Claimants([Option<u32>; MAX_CLAIMANTS]);

impl Claimants {
    fn add(&mut self, index: u32) {
        self.remove(index);
        self.0.rotate_right(1);
        self.0[0] = Some(index);
    }

    fn remove(&mut self, index: u32) {
        for claimant in &mut self.0 {
            claimant.take_if(|known| *known == index);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

impl Slots {
    /// Remembers that authentic packets of this stream came from `owner`.
    pub(crate) fn learn_ssrc(&mut self, owner: Owner, ssrc: u32) {
        let Some(slot) = self.slot_mut(owner) else {
            return;
        };
        if slot.ssrcs.contains(&ssrc) {
            return;
        }
        let gone = (slot.ssrcs.len() == MAX_SSRCS).then(|| slot.ssrcs.remove(0));
        slot.ssrcs.push(ssrc);
        if let Some(gone) = gone {
            self.disclaim(gone, owner);
        }
        self.by_ssrc.entry(ssrc).or_default().add(owner.0);
    }

    pub(crate) fn disclaim(&mut self, ssrc: u32, owner: Owner) {
        if let Some(claimants) = self.by_ssrc.get_mut(&ssrc) {
            claimants.remove(owner.0);
            if claimants.is_empty() {
                self.by_ssrc.remove(&ssrc);
            }
        }
    }

    /// Whose path it may be, once it has proven itself.
    fn by_guest(&self, path: &Path) -> Option<Owner> {
        self.by_guest.get(path).copied().map(Owner)
    }

    /// Remembers who is to judge what this path gives for proof.
    fn learn_guest(&mut self, owner: Owner, path: Path) {
        if self.by_guest(&path) == Some(owner) {
            return;
        }
        self.forget_guest(&path);
        let Some(slot) = self.slot_mut(owner) else {
            return;
        };
        let gone = (slot.guests.len() == MAX_GUESTS).then(|| slot.guests.remove(0));
        slot.guests.push(path);
        if let Some(gone) = gone {
            self.by_guest.remove(&gone);
        }
        self.by_guest.insert(path, owner.0);
    }

    pub(crate) fn forget_guest(&mut self, path: &Path) {
        if let Some(index) = self.by_guest.remove(path)
            && let Some(slot) = self.slot_mut(Owner(index))
        {
            slot.guests.retain(|known| known != path);
        }
    }
}

impl Shard {
    /// Takes media from a path of nobody, if it is authentic for a transport that had its stream before.
    pub(crate) fn on_stray(
        &mut self,
        now: Time,
        path: Path,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        // A connection or a relay brings nothing from elsewhere.
        if path.carrier != Carrier::Udp || datagram.len() > LONGEST {
            return Err(DropReason::UnknownPeer);
        }
        let is_rtcp = schalter_rtp::is_rtcp(datagram);
        let ssrc = ssrc(datagram, is_rtcp).ok_or(DropReason::UnknownPeer)?;
        let claimants = self.slots.by_ssrc.get(&ssrc).copied();
        let claimants = claimants.ok_or(DropReason::UnknownPeer)?.0;
        let limit = self.config.limits.failed_strays_per_second;
        // What fails authentication is of no use afterwards, so each of several gets a copy.
        let mut copy = [0; LONGEST];
        let copy = &mut copy[..datagram.len()];
        for owner in claimants.into_iter().flatten().map(Owner) {
            let Some(slot) = self.slots.slot_mut(owner) else {
                continue;
            };
            if slot.failed_strays.exhausted(now, limit) {
                continue;
            }
            copy.copy_from_slice(datagram);
            let opened = if is_rtcp {
                slot.transport.open_rtcp(now, path, copy)
            } else {
                slot.transport.open_rtp(now, path, copy)
            };
            let Ok(len) = opened else {
                slot.failed_strays.count(now);
                continue;
            };
            self.slots.learn_guest(owner, path);
            self.after_media(now, owner);
            return if is_rtcp {
                self.router.on_rtcp(now, owner, &copy[..len])
            } else {
                self.router.on_rtp(now, owner, &copy[..len])
            };
        }
        Err(DropReason::UnknownPeer)
    }

    /// Takes the answer to a question that a path was asked.
    pub(crate) fn on_proof(
        &mut self,
        now: Time,
        path: Path,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let owner = self
            .slots
            .by_path(&path)
            .or_else(|| self.slots.by_guest(&path))
            .ok_or(DropReason::StunUnknownTransaction)?;
        let slot = self
            .slots
            .slot_mut(owner)
            .ok_or(DropReason::StunUnknownTransaction)?;
        slot.transport.on_stun(now, path, datagram)?;
        self.slots.learn_path(owner, path);
        self.after_transport_input(now, owner);
        Ok(())
    }
}

/// The SSRC of an RTP packet or of the first RTCP packet's sender (RFC 3550 §5.1, §6.4), which SRTP leaves readable.
fn ssrc(datagram: &[u8], is_rtcp: bool) -> Option<u32> {
    let at = if is_rtcp { 4 } else { 8 };
    let bytes = datagram.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
