//! What a client says in the URL: query parameters (v0) and `join_request` (v1). Bounded before it is unpacked.

use std::collections::HashMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use livekit_protocol::wrapped_join_request::Compression;
use livekit_protocol::{ClientInfo, JoinRequest, WrappedJoinRequest, client_info};
use prost::Message as _;
use serde::Deserialize;

use crate::error::JoinRefusal;

/// The query of `/rtc` and `/rtc/v1`. Unknown parameters are ignored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JoinQuery {
    /// The token, unless it comes as `Authorization`.
    pub access_token: String,
    /// v1: everything else.
    pub join_request: String,
    /// v0: `1` or `true`.
    pub auto_subscribe: Option<String>,
    /// v0: name of the SDK.
    pub sdk: String,
    /// v0: its version.
    pub version: String,
    /// v0: protocol version.
    pub protocol: String,
    /// v0: version of the protocol between clients.
    pub client_protocol: String,
    /// v0: operating system.
    pub os: String,
    /// v0: its version.
    pub os_version: String,
    /// v0: browser.
    pub browser: String,
    /// v0: its version.
    pub browser_version: String,
    /// v0: device.
    pub device_model: String,
    /// v0: kind of network.
    pub network: String,
    /// v0: `1` to continue a session.
    pub reconnect: String,
    /// v0: the session to continue.
    pub sid: String,
    /// v0: attributes, base64 of a JSON object.
    pub attributes: String,
}

fn truthy(value: &str) -> bool {
    matches!(value, "1" | "true")
}

impl JoinQuery {
    /// What `/rtc` means by it.
    ///
    /// # Errors
    /// [`JoinRefusal::Attributes`] if they can't be read or exceed `attributes_bytes`.
    pub fn join_request(&self, attributes_bytes: usize) -> Result<JoinRequest, JoinRefusal> {
        let sdk = client_info::Sdk::from_str_name(&self.sdk.to_ascii_uppercase());
        let client_info = ClientInfo {
            sdk: sdk.unwrap_or(client_info::Sdk::Unknown) as i32,
            version: self.version.clone(),
            protocol: self.protocol.parse().unwrap_or(0),
            client_protocol: self.client_protocol.parse().unwrap_or(0),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            browser: self.browser.clone(),
            browser_version: self.browser_version.clone(),
            device_model: self.device_model.clone(),
            network: self.network.clone(),
            ..ClientInfo::default()
        };
        let settings = livekit_protocol::ConnectionSettings {
            // Old clients that name nothing expect everything.
            auto_subscribe: self.auto_subscribe.as_deref().is_none_or(truthy),
            ..livekit_protocol::ConnectionSettings::default()
        };
        Ok(JoinRequest {
            client_info: Some(client_info),
            connection_settings: Some(settings),
            participant_attributes: self.decoded_attributes(attributes_bytes)?,
            reconnect: truthy(&self.reconnect),
            participant_sid: self.sid.clone(),
            ..JoinRequest::default()
        })
    }

    fn decoded_attributes(&self, limit: usize) -> Result<HashMap<String, String>, JoinRefusal> {
        if self.attributes.is_empty() {
            return Ok(HashMap::new());
        }
        // Base64 is a third longer, JSON adds a few bytes to each pair.
        if self.attributes.len() > limit.saturating_mul(2) {
            return Err(JoinRefusal::Attributes);
        }
        let json = from_base64(&self.attributes).ok_or(JoinRefusal::Attributes)?;
        serde_json::from_slice(&json).map_err(|_| JoinRefusal::Attributes)
    }
}

/// Reads base64 in either alphabet, padded or not.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let standard: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            // A `+` that a client did not escape arrives as a space.
            ' ' => '+',
            c => c,
        })
        .collect();
    STANDARD_NO_PAD.decode(standard).ok()
}

/// Reads the parameter `join_request` of `/rtc/v1`; at most `limit` bytes are unpacked.
///
/// # Errors
/// [`JoinRefusal::JoinRequestMissing`] if empty, [`JoinRefusal::JoinRequest`] with what is wrong otherwise.
pub fn read_join_request(text: &str, limit: usize) -> Result<JoinRequest, JoinRefusal> {
    if text.is_empty() {
        return Err(JoinRefusal::JoinRequestMissing);
    }
    let bytes = from_base64(text).ok_or(JoinRefusal::JoinRequest("not base64"))?;
    let wrapped = WrappedJoinRequest::decode(&bytes[..])
        .map_err(|_| JoinRefusal::JoinRequest("not a wrapped request"))?;
    let inner = match Compression::try_from(wrapped.compression) {
        Ok(Compression::None) => wrapped.join_request,
        Ok(Compression::Gzip) => {
            let mut inflated = Vec::new();
            flate2::read::GzDecoder::new(&wrapped.join_request[..])
                .take(limit as u64 + 1)
                .read_to_end(&mut inflated)
                .map_err(|_| JoinRefusal::JoinRequest("not gzip"))?;
            inflated
        }
        Err(_) => return Err(JoinRefusal::JoinRequest("unknown compression")),
    };
    if inner.len() > limit {
        return Err(JoinRefusal::JoinRequest("too large"));
    }
    JoinRequest::decode(&inner[..]).map_err(|_| JoinRefusal::JoinRequest("not a join request"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    fn wrapped(request: &JoinRequest, gzip: bool) -> Vec<u8> {
        let plain = request.encode_to_vec();
        let join_request = if gzip {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&plain).unwrap();
            encoder.finish().unwrap()
        } else {
            plain
        };
        WrappedJoinRequest {
            compression: i32::from(gzip),
            join_request,
        }
        .encode_to_vec()
    }

    #[test]
    fn both_alphabets_and_both_compressions_are_read() {
        let request = JoinRequest {
            participant_sid: "PA_ÿÿ?>~".into(),
            reconnect: true,
            ..JoinRequest::default()
        };
        for gzip in [false, true] {
            let bytes = wrapped(&request, gzip);
            for text in [STANDARD.encode(&bytes), URL_SAFE.encode(&bytes)] {
                assert_eq!(read_join_request(&text, 1000).unwrap(), request);
            }
        }
    }

    #[test]
    fn inflation_stops_at_the_limit() {
        let request = JoinRequest {
            metadata: "a".repeat(10_000),
            ..JoinRequest::default()
        };
        let text = URL_SAFE.encode(wrapped(&request, true));
        let size = request.encoded_len();
        assert_eq!(read_join_request(&text, size).unwrap(), request);
        assert_eq!(
            read_join_request(&text, size - 1),
            Err(JoinRefusal::JoinRequest("too large"))
        );
    }

    #[test]
    fn what_is_no_join_request_is_refused() {
        assert_eq!(
            read_join_request("", 10),
            Err(JoinRefusal::JoinRequestMissing)
        );
        for bad in ["!!", "AAAA", "CAESAgEC"] {
            assert!(
                matches!(read_join_request(bad, 10), Err(JoinRefusal::JoinRequest(_))),
                "{bad}"
            );
        }
        let query = JoinQuery {
            attributes: "!!".into(),
            ..JoinQuery::default()
        };
        assert_eq!(query.join_request(10), Err(JoinRefusal::Attributes));
    }
}
