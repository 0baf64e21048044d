//! What a TURN server refuses and counts.

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)+) => {
        /// Why a TURN request was refused (RFC 8489 §14.8, RFC 8656 §19).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum TurnRefusal {
            $($(#[$doc])* $variant,)+
        }

        impl TurnRefusal {
            /// Every refusal, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many refusals there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The number in ERROR-CODE.
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// The label value in metrics: the number as text.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($code),)+
                }
            }
        }
    };
}

refusals! {
    /// An attribute is missing, or makes no sense there.
    BadRequest = 400,
    /// No credentials, or not ours, or they have run out. Every client's first request is refused so.
    Unauthorized = 401,
    /// The peer is no media socket of this shard, or the credentials are for another shard.
    Forbidden = 403,
    /// An attribute that must be understood is not.
    UnknownAttribute = 420,
    /// There is no allocation on this path, or there is one already.
    AllocationMismatch = 437,
    /// The nonce is too old, or of another address.
    StaleNonce = 438,
    /// No address of this family is advertised.
    FamilyUnsupported = 440,
    /// The allocation belongs to another user.
    WrongCredentials = 441,
    /// Relays carry UDP only.
    TransportUnsupported = 442,
    /// Relay and peer are of different families.
    PeerFamilyMismatch = 443,
    /// The user has as many allocations as it may.
    QuotaReached = 486,
    /// No port, or no room for another allocation, is left.
    NoCapacity = 508,
}

/// Refused requests by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnRefusals([u64; TurnRefusal::COUNT]);

impl TurnRefusals {
    /// Counts one.
    pub fn count(&mut self, refusal: TurnRefusal) {
        self.0[refusal as usize] += 1;
    }

    /// How many were refused so.
    pub fn of(&self, refusal: TurnRefusal) -> u64 {
        self.0[refusal as usize]
    }
}

/// What the TURN server of one shard counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnCounters {
    /// Allocations, now.
    pub allocations: u64,
    /// Allocations made.
    pub allocated: u64,
    /// Requests refused.
    pub refusals: TurnRefusals,
    /// Datagrams that clients sent through relays and that were let through.
    pub relayed_in: u64,
    /// Their bytes, without what TURN adds.
    pub relayed_bytes_in: u64,
    /// Datagrams sent to clients through relays.
    pub relayed_out: u64,
    /// Their bytes, with what TURN adds.
    pub relayed_bytes_out: u64,
}
