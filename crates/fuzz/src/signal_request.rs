//! Frames on the WebSocket: binary and JSON are read or refused, and both say the same of what was read.
use livekit_protocol::SignalRequest;
use prost::Message as _;
use schalter_signaling::livekit::codec::{from_binary, from_text};

/// Does it with one input.
pub fn run(frame: &[u8]) {
    if let Ok(message) = from_binary(frame) {
        let again = SignalRequest {
            message: message.clone(),
        }
        .encode_to_vec();
        assert_eq!(from_binary(&again).as_ref(), Ok(&message));
        // Unknown values of enums have no JSON.
        let request = SignalRequest { message };
        if let Ok(text) = serde_json::to_string(&request) {
            assert_eq!(from_text(&text), Ok(request.message));
        }
    }
    if let Ok(text) = std::str::from_utf8(frame)
        && let Ok(message) = from_text(text)
    {
        let bytes = SignalRequest {
            message: message.clone(),
        }
        .encode_to_vec();
        assert_eq!(from_binary(&bytes), Ok(message));
    }
}
