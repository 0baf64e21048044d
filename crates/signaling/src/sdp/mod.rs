//! Session descriptions (RFC 8866) as WebRTC clients send them (RFC 8829), and the answers and offers we give.
//!
//! Owns parsing within limits, the choice of codecs and header extensions, and writing. Refuses what our media plane
//! can't serve: other DTLS roles than the peer as client, media outside the one BUNDLE group (RFC 9143).
//! Nothing in here keeps state: SSRCs, credentials, candidates and plans are the caller's.

mod answer;
mod candidate;
mod codec;
mod description;
mod extension;
mod fragment;
mod media;
mod offer;
mod parse;
mod write;

pub use answer::{AnswerPlan, ReceiveOptions, answer};
pub use candidate::Candidate;
pub use codec::{CodecKind, CodecSet};
pub use description::{
    Direction, HeaderExtension, MediaSection, Msid, PayloadFormat, Rid, SectionKind,
    SessionDescription, Setup, SsrcGroup, SsrcSource, TransportAttributes,
};
pub use fragment::{IceFragment, restart_fragment};
pub use media::{Reception, SendTrack, TransportParameters};
pub use offer::{OfferSection, server_offer};
pub use parse::{Limits, SdpError, SdpProblem};
pub use write::LocalDescription;
