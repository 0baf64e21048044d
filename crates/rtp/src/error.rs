//! What can be wrong with the bytes, or with what the caller asked to have written.
//!
//! All are `Copy` and carry no text: on the packet path they become a counter. Each message says whose
//! fault it is: the peer's (malformed input) or the caller's (a value that has no encoding, no space).

use core::fmt;

/// Why RTP bytes could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RtpError {
    /// The datagram ends before the header it announces (peer).
    Truncated,
    /// The version field is not 2 (peer).
    Version,
    /// The padding count is zero or larger than the payload (peer), or zero bytes were asked for (caller).
    Padding,
    /// An extension element has a length that its type does not allow (peer or caller).
    ElementLength,
    /// An extension element has the reserved id 0 (caller).
    ElementId,
    /// A text element is empty, too long, or has characters outside its alphabet (peer).
    ElementText,
    /// The payload type does not fit in 7 bits (caller).
    PayloadType,
    /// The output buffer is too small (caller).
    NoSpace,
}

impl fmt::Display for RtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the datagram ends inside its RTP header",
            Self::Version => "the RTP version is not 2",
            Self::Padding => "the RTP padding count is out of range",
            Self::ElementLength => "an extension element has an impossible length",
            Self::ElementId => "extension element id 0 is reserved",
            Self::ElementText => "an extension element is not acceptable text",
            Self::PayloadType => "the payload type does not fit in 7 bits",
            Self::NoSpace => "the output buffer is too small for the RTP packet",
        })
    }
}

impl core::error::Error for RtpError {}

/// Why RTCP bytes could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RtcpError {
    /// The datagram ends before the length that a packet header announces (peer).
    Truncated,
    /// The version field is not 2 (peer).
    Version,
    /// The padding count is zero or larger than the packet (peer).
    Padding,
    /// The framing is right, but the body contradicts its own counts (peer).
    Malformed,
    /// A count, text or value has no encoding in the packet that was asked for (caller).
    Unencodable,
    /// The output buffer is too small (caller).
    NoSpace,
}

impl fmt::Display for RtcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the datagram ends inside an RTCP packet",
            Self::Version => "the RTCP version is not 2",
            Self::Padding => "the RTCP padding count is out of range",
            Self::Malformed => "the RTCP body contradicts its header",
            Self::Unencodable => "the value does not fit in the RTCP packet",
            Self::NoSpace => "the output buffer is too small for the RTCP packet",
        })
    }
}

impl core::error::Error for RtcpError {}

/// Why a codec payload or payload descriptor could not be read or patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodecError {
    /// The payload ends inside its descriptor (peer).
    Truncated,
    /// The descriptor has a value that its format forbids (peer).
    Malformed,
    /// The dependency descriptor needs a template structure that is not known yet, or names a template
    /// outside it (a lost or reordered key frame, or the peer).
    UnknownTemplate,
    /// The format is valid, but exceeds a named bound of this crate (peer).
    Limit,
    /// A value was to be patched into a field that the descriptor does not have (caller).
    AbsentField,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the payload ends inside its descriptor",
            Self::Malformed => "the payload descriptor is malformed",
            Self::UnknownTemplate => "the dependency template is not known",
            Self::Limit => "the payload descriptor exceeds a bound",
            Self::AbsentField => "the descriptor lacks the field to be patched",
        })
    }
}

impl core::error::Error for CodecError {}
