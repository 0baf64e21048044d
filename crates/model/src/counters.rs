//! What a shard counts. Plain numbers, published by value; the exporter turns them into metrics.

use crate::{DropReason, LinkCounters, QualityCounters, SrtpProfile, TurnCounters};

/// Drops by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropCounters([u64; DropReason::COUNT]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl DropCounters {
    /// Counts one drop.
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts `n` drops.
    pub fn add(&mut self, reason: DropReason, n: u64) {
        self.0[reason as usize] += n;
    }

    /// How often `reason` was counted.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// All reasons with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|reason| (*reason, self.of(*reason)))
    }

    /// All drops together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Handshakes completed, by SRTP profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SrtpProfileCounters([u64; SrtpProfile::ALL.len()]);

impl SrtpProfileCounters {
    /// Counts one handshake that ended with `profile`.
    pub fn count(&mut self, profile: SrtpProfile) {
        self.0[Self::index(profile)] += 1;
    }

    /// How many handshakes ended with `profile`.
    pub fn of(&self, profile: SrtpProfile) -> u64 {
        self.0[Self::index(profile)]
    }

    fn index(profile: SrtpProfile) -> usize {
        match profile {
            SrtpProfile::AeadAes128Gcm => 0,
            SrtpProfile::AeadAes256Gcm => 1,
            SrtpProfile::Aes128CmSha1_80 => 2,
        }
    }
}

/// How many transports are in which state now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportStateGauges {
    /// Opened, no valid connectivity check yet.
    pub new: u64,
    /// A path is known, the DTLS handshake runs.
    pub connecting: u64,
    /// Media can flow.
    pub connected: u64,
    /// Was connected; checks have stopped coming for a while.
    pub disconnected: u64,
}

/// Everything a shard counts; absolute values since its start unless a field says "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Bytes received, UDP payload.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Bytes sent, UDP payload.
    pub bytes_out: u64,
    /// RTP packets that publishers sent and that were accepted.
    pub rtp_in: u64,
    /// RTP packets sent to subscribers, retransmissions included.
    pub rtp_out: u64,
    /// RTP packets that no subscriber here got, because their speaker is not among the loudest of a big room.
    pub sound_withheld: u64,
    /// Packets requested again from publishers.
    pub nack_sent: u64,
    /// Packets requested again by subscribers.
    pub nack_received: u64,
    /// Retransmissions that publishers sent.
    pub rtx_in: u64,
    /// Retransmissions sent to subscribers.
    pub rtx_out: u64,
    /// Requested packets that were too old or no longer cached, or that a switch to another encoding made useless.
    pub rtx_missed: u64,
    /// Picture loss indications sent to publishers.
    pub pli_sent: u64,
    /// Keyframe requests (PLI, FIR) received from subscribers.
    pub pli_received: u64,
    /// Congestion control feedback by stream (RFC 8888) that subscribers sent and that was negotiated.
    pub congestion_feedback_in: u64,
    /// Envelopes sent to other shards.
    pub envelopes_out: u64,
    /// Envelopes received from other shards.
    pub envelopes_in: u64,
    /// Data channel messages received.
    pub data_in: u64,
    /// Data channel messages sent.
    pub data_out: u64,
    /// Send system calls, or batches that one call carried.
    pub send_batches: u64,
    /// Receive system calls that returned datagrams.
    pub receive_batches: u64,
    /// Nanoseconds the worker spent working, not waiting.
    pub busy_nanos: u64,
    /// Drops by reason.
    pub drops: DropCounters,
    /// Completed handshakes by profile.
    pub srtp_profiles: SrtpProfileCounters,
    /// Transports by state, now.
    pub transports: TransportStateGauges,
    /// DTLS handshakes that failed.
    pub dtls_failures: u64,
    /// Transports closed because checks stopped coming (RFC 7675).
    pub consent_losses: u64,
    /// Times a peer's address changed while its session went on.
    pub address_changes: u64,
    /// Connections that carry datagrams, now.
    pub streams: u64,
    /// Connections that were taken over.
    pub streams_adopted: u64,
    /// Producers, now.
    pub producers: u64,
    /// Consumers, now.
    pub consumers: u64,
    /// Subscribers' links.
    pub links: LinkCounters,
    /// How media fares.
    pub quality: QualityCounters,
    /// The TURN server.
    pub turn: TurnCounters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_count_by_reason() {
        let mut drops = DropCounters::default();
        drops.count(DropReason::SrtpAuth);
        drops.add(DropReason::SrtpReplay, 2);
        assert_eq!(drops.of(DropReason::SrtpAuth), 1);
        assert_eq!(drops.total(), 3);
        assert_eq!(drops.iter().filter(|(_, n)| *n > 0).count(), 2);
    }
}
