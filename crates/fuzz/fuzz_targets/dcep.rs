//! Any bytes as a DCEP message: refused, or read as what they can be written from again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use schalter_transport::Dcep;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Dcep::parse(bytes) {
        assert_eq!(Dcep::parse(&message.to_bytes()), Ok(message));
    }
});
