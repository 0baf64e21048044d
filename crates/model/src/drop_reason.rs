//! Why a datagram or packet went no further. Counted, never formatted on the packet path.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)+) => {
        /// Why a datagram, packet or message was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The label value in metrics.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }
        }
    };
}

reasons! {
    /// Empty, or a first byte of no known protocol (RFC 7983).
    UnknownProtocol = "unknown_protocol",
    /// A protocol that needs a transport, from an address that has none.
    UnknownPeer = "unknown_peer",
    /// Not well-formed STUN.
    StunMalformed = "stun_malformed",
    /// STUN for a username fragment that is not (or no longer) ours.
    StunUnknownUser = "stun_unknown_user",
    /// MESSAGE-INTEGRITY is missing or wrong.
    StunIntegrity = "stun_integrity",
    /// An answer to a question that was not asked on this path, or too long ago.
    StunUnknownTransaction = "stun_unknown_transaction",
    /// More unauthenticated requests than the limit allows.
    StunRateLimited = "stun_rate_limited",
    /// A STUN class or method that an ICE-lite agent does not serve.
    StunUnsupported = "stun_unsupported",
    /// DTLS before a STUN check succeeded on this 4-tuple.
    DtlsBeforeIce = "dtls_before_ice",
    /// Not well-formed DTLS, or refused by its state machine.
    DtlsMalformed = "dtls_malformed",
    /// SRTP or SRTCP before the handshake brought keys.
    SrtpBeforeKeys = "srtp_before_keys",
    /// Authentication of SRTP or SRTCP failed.
    SrtpAuth = "srtp_auth",
    /// Seen before, or older than the replay window (RFC 3711 §3.3.2).
    SrtpReplay = "srtp_replay",
    /// Shorter than its own headers say.
    SrtpTruncated = "srtp_truncated",
    /// More SSRCs than one transport may bring.
    SrtpTooManySsrcs = "srtp_too_many_ssrcs",
    /// Not well-formed RTP.
    RtpMalformed = "rtp_malformed",
    /// No producer claims this SSRC, RID or MID.
    RtpUnknownSsrc = "rtp_unknown_ssrc",
    /// A payload type that was not negotiated.
    RtpUnknownPayloadType = "rtp_unknown_payload_type",
    /// Seen before (after decryption: a retransmission that was not needed).
    RtpDuplicate = "rtp_duplicate",
    /// Too old to be of use.
    RtpTooOld = "rtp_too_old",
    /// The publisher is muted by the server.
    RtpMuted = "rtp_muted",
    /// Larger than a slot holds.
    Oversize = "oversize",
    /// Not well-formed RTCP.
    RtcpMalformed = "rtcp_malformed",
    /// SCTP refused it.
    SctpMalformed = "sctp_malformed",
    /// A data message beyond the size limit.
    DataTooLarge = "data_too_large",
    /// A data message beyond the sender's rate or the receiver's buffer.
    DataOverload = "data_overload",
    /// A bounded egress queue was full.
    EgressFull = "egress_full",
    /// It waited for a link for longer than it is of use.
    EgressStale = "egress_stale",
    /// A bounded mailbox between shards was full.
    MailboxFull = "mailbox_full",
    /// The kernel refused to send it.
    SendFailed = "send_failed",
    /// A limit on transports or half-open transports was reached.
    TransportLimit = "transport_limit",
    /// Not well-formed TURN, or of a kind that a client doesn't send.
    TurnMalformed = "turn_malformed",
    /// Through a relay that isn't there, or from an address that has none.
    TurnNoAllocation = "turn_no_allocation",
    /// Through a relay whose client holds no permission for the peer (RFC 8656 §9), or an unbound channel.
    TurnNoPermission = "turn_no_permission",
    /// Through a relay to what is no media socket of this shard: relays reach nothing else.
    TurnForeignPeer = "turn_foreign_peer",
    /// TURN, or STUN for nobody, over UDP on a media port, which serves neither.
    TurnOnMediaPort = "turn_on_media_port",
    /// More answers to who has not proven anything than the limit allows.
    TurnRateLimited = "turn_rate_limited",
    /// A connection's bytes are no frames, or no TLS; it was closed.
    StreamMalformed = "stream_malformed",
    /// The limit on connections of a worker was reached.
    StreamLimit = "stream_limit",
    /// The oldest of an address's connections that had proven nothing gave way to another one of it.
    StreamUnproven = "stream_unproven",
    /// Waited so long for a slow connection that it was of no use any more.
    StreamLate = "stream_late",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_indexes_dense() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::COUNT);
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
