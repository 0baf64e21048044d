//! The parameter `join_request`: base64, compression and protobuf, all within the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schalter_signaling::livekit::join::{JoinQuery, read_join_request};

/// Small, so that inputs reach it.
const LIMIT: usize = 4096;

fuzz_target!(|text: &str| {
    if let Ok(request) = read_join_request(text, LIMIT) {
        // Nothing in it is longer than what was unpacked.
        assert!(request.metadata.len() <= LIMIT);
    }
    let query = JoinQuery {
        attributes: text.to_owned(),
        protocol: text.to_owned(),
        sdk: text.to_owned(),
        ..JoinQuery::default()
    };
    let _ = query.join_request(LIMIT);
});
