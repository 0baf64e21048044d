//! Frames: a binary one is a protobuf message, a text one the same in proto JSON.

use std::sync::OnceLock;

use axum::extract::ws::{Message, Utf8Bytes};
use bytes::Bytes;
use livekit_protocol::{SignalRequest, SignalResponse, signal_request, signal_response};
use prost::Message as _;

use super::json;

/// A message to clients, encoded at most once for each of the two forms.
#[derive(Debug)]
pub(crate) struct Encoded {
    response: SignalResponse,
    binary: OnceLock<Bytes>,
    json: OnceLock<Option<Utf8Bytes>>,
}

impl Encoded {
    pub(crate) fn new(message: signal_response::Message) -> Self {
        Self {
            response: SignalResponse {
                message: Some(message),
            },
            binary: OnceLock::new(),
            json: OnceLock::new(),
        }
    }

    /// The frame for a client that speaks JSON or not; `None` if the message has no such form.
    pub(crate) fn frame(&self, json: bool) -> Option<Message> {
        if json {
            let text = self
                .json
                .get_or_init(|| json::write(&self.response).map(Into::into));
            text.clone().map(Message::Text)
        } else {
            let bytes = self
                .binary
                .get_or_init(|| self.response.encode_to_vec().into());
            Some(Message::Binary(bytes.clone()))
        }
    }
}

/// A frame that is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a signal request")]
pub struct MalformedRequest;

/// Reads a binary frame; `None` for a request that only newer clients know.
///
/// # Errors
/// [`MalformedRequest`] for bytes that are no request.
pub fn from_binary(frame: &[u8]) -> Result<Option<signal_request::Message>, MalformedRequest> {
    SignalRequest::decode(frame)
        .map(|request| request.message)
        .map_err(|_| MalformedRequest)
}

/// Reads a text frame.
///
/// # Errors
/// [`MalformedRequest`] for text that is no request.
pub fn from_text(frame: &str) -> Result<Option<signal_request::Message>, MalformedRequest> {
    serde_json::from_str::<SignalRequest>(frame)
        .map(|request| request.message)
        .map_err(|_| MalformedRequest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_binary_say_the_same() {
        let request = from_text(r#"{"mute":{"sid":"TR_x","muted":true}}"#).unwrap();
        let bytes = SignalRequest {
            message: request.clone(),
        }
        .encode_to_vec();
        assert_eq!(from_binary(&bytes).unwrap(), request);
        let Some(Message::Text(text)) = Encoded::new(signal_response::Message::Pong(7)).frame(true)
        else {
            panic!("no text")
        };
        assert_eq!(text.as_str(), r#"{"pong":"7"}"#);
        assert_eq!(from_text("{"), Err(MalformedRequest));
        assert_eq!(from_binary(&[0xff]), Err(MalformedRequest));
    }
}
