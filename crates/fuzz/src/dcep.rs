//! Any bytes as a DCEP message: refused, or read as what they can be written from again.

use schalter_transport::Dcep;

/// Does it with one input.
pub fn run(bytes: &[u8]) {
    if let Ok(message) = Dcep::parse(bytes) {
        assert_eq!(Dcep::parse(&message.to_bytes()), Ok(message));
    }
}
