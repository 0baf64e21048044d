//! A real join by the signaling WebSocket: what the server hands out for media, and whether it does.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{IceServer, SessionDescription, SignalRequest, SignalResponse};
use prost::Message as _;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::connect::{Io, Target};

/// Version of the signaling protocol that is asked for.
const PROTOCOL: u32 = 16;

/// What an answer of the server says about its media.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Media {
    pub(super) ufrag: String,
    pub(super) password: String,
    pub(super) udp: Vec<SocketAddr>,
    pub(super) tcp: Vec<SocketAddr>,
}

/// A participant that waits for nobody. Its media connects only as far as checks go.
pub(super) struct Joined {
    pub(super) ice_servers: Vec<IceServer>,
    pub(super) media: Media,
    pub(super) local_ufrag: String,
    socket: WebSocketStream<Box<dyn Io>>,
}

/// Why there is no participant.
#[derive(Debug)]
pub(super) enum JoinError {
    /// The server, or something before it, answered with HTTP in place of a WebSocket.
    Status { status: u16, body: String },
    /// The connection failed or fell silent.
    Lost(String),
}

impl From<Error> for JoinError {
    fn from(error: Error) -> Self {
        let Error::Http(response) = error else {
            return Self::Lost(error.to_string());
        };
        let body = response.body().as_deref().unwrap_or_default();
        Self::Status {
            status: response.status().as_u16(),
            body: String::from_utf8_lossy(body).trim().to_owned(),
        }
    }
}

/// Opens the WebSocket with a token, or without one to see what refuses it.
pub(super) async fn open(
    stream: Box<dyn Io>,
    target: &Target,
    token: Option<&str>,
) -> Result<WebSocketStream<Box<dyn Io>>, JoinError> {
    let scheme = if target.tls { "wss" } else { "ws" };
    let query = format!("protocol={PROTOCOL}&auto_subscribe=0&sdk=doctor");
    let query = match token {
        Some(token) => format!("access_token={token}&{query}"),
        None => query,
    };
    let url = format!("{scheme}://{}/rtc?{query}", target.authority());
    let request = url.into_client_request()?;
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    Ok(socket)
}

/// Joins and has the server answer an offer.
pub(super) async fn join(
    mut socket: WebSocketStream<Box<dyn Io>>,
    patience: Duration,
) -> Result<Joined, JoinError> {
    let exchange = async {
        let joined = until(&mut socket, |message| {
            let Response::Join(join) = message else {
                return None;
            };
            Some(join)
        });
        let ice_servers = joined.await?.ice_servers;
        let local_ufrag = random_text();
        let offer = SignalRequest {
            message: Some(Request::Offer(SessionDescription {
                r#type: "offer".to_owned(),
                sdp: offer(&local_ufrag),
                ..SessionDescription::default()
            })),
        };
        let bytes = offer.encode_to_vec();
        socket.send(Message::Binary(bytes.into())).await?;
        let answer = until(&mut socket, |message| {
            let Response::Answer(answer) = message else {
                return None;
            };
            Some(answer.sdp)
        });
        let media = Media::read(&answer.await?);
        Ok::<_, JoinError>((ice_servers, media, local_ufrag))
    };
    let (ice_servers, media, local_ufrag) = tokio::time::timeout(patience, exchange)
        .await
        .map_err(|_| JoinError::Lost("it fell silent".to_owned()))??;
    Ok(Joined {
        ice_servers,
        media,
        local_ufrag,
        socket,
    })
}

impl Joined {
    /// Leaves, so that no seat stays taken.
    pub(super) async fn leave(mut self) {
        let request = SignalRequest {
            message: Some(Request::Leave(livekit_protocol::LeaveRequest::default())),
        };
        // The connection may be gone, and the seat with it.
        let _ = self
            .socket
            .send(Message::Binary(request.encode_to_vec().into()))
            .await;
        let _ = self.socket.close(None).await;
    }
}

async fn until<T>(
    socket: &mut WebSocketStream<Box<dyn Io>>,
    mut wanted: impl FnMut(Response) -> Option<T>,
) -> Result<T, JoinError> {
    while let Some(message) = socket.next().await {
        if let Message::Binary(bytes) = message?
            && let Ok(response) = SignalResponse::decode(bytes)
            && let Some(message) = response.message
            && let Some(found) = wanted(message)
        {
            return Ok(found);
        }
    }
    Err(JoinError::Lost("the server closed it".to_owned()))
}

fn random_text() -> String {
    crate::state::random_secret(12).replace(['-', '_'], "x")
}

/// An offer of data channels alone: enough to be told where media is. Nothing is decrypted, so that the fingerprint is that of
/// no certificate.
fn offer(ufrag: &str) -> String {
    let password = random_text() + &random_text();
    let fingerprint = vec!["00"; 32].join(":");
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\n\
         a=ice-pwd:{password}\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=mid:0\r\n\
         a=sctp-port:5000\r\na=max-message-size:262144\r\n"
    )
}

impl Media {
    /// Reads what is needed of an answer (RFC 8839 §5). Lines of other kinds are passed over.
    fn read(sdp: &str) -> Self {
        let mut media = Self::default();
        for line in sdp.lines() {
            if let Some(ufrag) = line.strip_prefix("a=ice-ufrag:") {
                ufrag.clone_into(&mut media.ufrag);
            } else if let Some(password) = line.strip_prefix("a=ice-pwd:") {
                password.clone_into(&mut media.password);
            } else if let Some(candidate) = line.strip_prefix("a=candidate:") {
                let words: Vec<&str> = candidate.split_whitespace().collect();
                let [_, _, transport, _, ip, port, ..] = words[..] else {
                    continue;
                };
                let (Ok(ip), Ok(port)) = (ip.parse(), port.parse()) else {
                    continue;
                };
                let list = if transport.eq_ignore_ascii_case("udp") {
                    &mut media.udp
                } else {
                    &mut media.tcp
                };
                let address = SocketAddr::new(ip, port);
                if !list.contains(&address) {
                    list.push(address);
                }
            }
        }
        media
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_of_both_kinds_are_read_once_each() {
        let media = Media::read(
            "a=ice-ufrag:u\r\na=ice-pwd:p\r\na=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host\r\n\
             a=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host\r\na=candidate:2 1 tcp 1 2001:db8::1 443 typ host tcptype passive\r\n\
             a=candidate:3 1 udp 1 name.local 7 typ host\r\n",
        );
        assert_eq!((media.ufrag.as_str(), media.password.as_str()), ("u", "p"));
        assert_eq!(media.udp, [SocketAddr::from(([192, 0, 2, 1], 7882))]);
        assert_eq!(
            media.tcp,
            ["[2001:db8::1]:443".parse::<SocketAddr>().unwrap()]
        );
    }
}
