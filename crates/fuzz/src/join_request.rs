//! The parameter `join_request`: base64, compression and protobuf, all within the limit.
use schalter_signaling::livekit::join::{JoinQuery, read_join_request};

/// Small, so that inputs reach it.
const LIMIT: usize = 4096;

/// Does it with one input.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
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
}
