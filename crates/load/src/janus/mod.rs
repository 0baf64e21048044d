//! Janus's video room over its WebSocket API: one session, one handle and one peer connection a participant.
//!
//! A participant publishes or subscribes; who does both is two participants. Transport-wide feedback is not spoken:
//! Janus numbers its extensions itself, and its subscribers' side has no use for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::client::{ClientConfig, IceCredentials, IceRole};
use crate::engine::{NewPeer, PeerId, Publish, bind};
use crate::error::LoadError;
use crate::feed::StreamIds;
use crate::probe::Kind;
use crate::receive::Feedback;
use crate::sdp::{self, Local, Remote, Section, Setup};
use crate::target::{MediaPath, Participant, Shared};

/// From opening the WebSocket to the media.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(15);
/// Janus drops sessions that are silent for a minute.
const KEEPALIVE: Duration = Duration::from_secs(25);
/// Closing handshake.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Publishers at most in one room.
const PUBLISHERS_MAX: u32 = 1_000;
/// Feed ids are numbers above zero.
const FIRST_FEED: u64 = 1_000;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn signaling(what: impl std::fmt::Display) -> LoadError {
    LoadError::Signaling(what.to_string())
}

/// A Janus.
#[derive(Clone)]
pub struct Janus {
    /// `ws://host:8188`.
    pub url: String,
}

/// Ends a participant from outside.
pub(crate) struct Handle {
    leave: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    ended: Arc<AtomicBool>,
}

impl Handle {
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) async fn leave(self) {
        let _ = self.leave.send(());
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.task).await;
    }
}

impl Janus {
    pub(crate) async fn join(
        &self,
        shared: &Arc<Shared>,
        who: &Participant,
    ) -> Result<(PeerId, MediaPath, Handle), LoadError> {
        let negotiation = async {
            let mut client = Client::connect(&self.url).await?;
            let (peer, path) = client.take_part(shared, who).await?;
            Ok::<_, LoadError>((peer, path, client))
        };
        let (peer, path, client) = tokio::time::timeout(NEGOTIATION_TIMEOUT, negotiation)
            .await
            .map_err(|_| LoadError::Timeout(format!("negotiation of {}", who.identity)))??;
        let (leave, left) = oneshot::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let task = tokio::spawn(async move {
            client.run(left).await;
            flag.store(true, Ordering::Release);
        });
        Ok((peer, path, Handle { leave, task, ended }))
    }
}

/// The number that a room's name stands for: Janus's rooms have numbers by default. FNV-1a, cut to what JSON numbers
/// hold exactly.
fn room_number(name: &str) -> u64 {
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    hash >> 16 | 1
}

struct Client {
    socket: Socket,
    session: u64,
    handle: u64,
    transaction: u64,
}

impl Client {
    async fn connect(url: &str) -> Result<Self, LoadError> {
        let mut request = url.into_client_request().map_err(signaling)?;
        let protocol = HeaderValue::from_static("janus-protocol");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocol);
        let (socket, _) = connect_async(request).await.map_err(signaling)?;
        let mut client = Self {
            socket,
            session: 0,
            handle: 0,
            transaction: 0,
        };
        client.session = id_of(&client.request(json!({"janus": "create"})).await?)?;
        let attach = json!({"janus": "attach", "plugin": "janus.plugin.videoroom"});
        client.handle = id_of(&client.request(attach).await?)?;
        Ok(client)
    }

    /// Sends a request and waits for its outcome, past the `ack`.
    async fn request(&mut self, mut body: Value) -> Result<Value, LoadError> {
        self.transaction += 1;
        let transaction = self.transaction.to_string();
        body["transaction"] = json!(transaction);
        if self.session != 0 {
            body["session_id"] = json!(self.session);
        }
        if self.handle != 0 {
            body["handle_id"] = json!(self.handle);
        }
        self.socket
            .send(Message::text(body.to_string()))
            .await
            .map_err(signaling)?;
        loop {
            let message = self.next().await?;
            let ours = message["transaction"].as_str() == Some(&transaction);
            match message["janus"].as_str() {
                _ if !ours => {}
                Some("ack") => {}
                Some("error") => return Err(signaling(&message["error"]["reason"])),
                _ => {
                    let data = &message["plugindata"]["data"];
                    return match data.get("error") {
                        Some(error) => Err(signaling(error)),
                        None => Ok(message),
                    };
                }
            }
        }
    }

    async fn next(&mut self) -> Result<Value, LoadError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(signaling);
                }
                Some(Ok(Message::Close(_))) | None => return Err(signaling("the server closed")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(signaling(error)),
            }
        }
    }

    async fn message(
        &mut self,
        body: Value,
        jsep: Option<(&str, String)>,
    ) -> Result<Value, LoadError> {
        let mut request = json!({"janus": "message", "body": body});
        if let Some((kind, sdp)) = jsep {
            request["jsep"] = json!({"type": kind, "sdp": sdp});
        }
        self.request(request).await
    }

    async fn take_part(
        &mut self,
        shared: &Arc<Shared>,
        who: &Participant,
    ) -> Result<(PeerId, MediaPath), LoadError> {
        let socket = bind(shared.local)?;
        let address = socket
            .local_addr()
            .map_err(|error| LoadError::io("UDP socket", error))?;
        let ice = IceCredentials::generate();
        let local = Local {
            ice: &ice,
            fingerprint: shared.certificate.fingerprint(),
            candidate: address,
            // Janus leaves the choice to us, and we are always the DTLS client.
            setup: Setup::Active,
            feedback: false,
            views: false,
        };
        let (remote, publish) = match who.publish {
            Some((publisher, feed)) => {
                let ids = StreamIds::generate();
                let (remote, sections) = self.publish(&local, who, publisher, ids).await?;
                let header = sdp::feed_header(&sections, &remote);
                (
                    remote,
                    Some(Publish {
                        publisher,
                        feed,
                        ids,
                        header,
                    }),
                )
            }
            None => (self.subscribe(&local, who).await?, None),
        };
        let candidate = *remote
            .candidates
            .iter()
            .find(|candidate| candidate.is_ipv4() == address.is_ipv4())
            .ok_or_else(|| LoadError::Sdp("no usable candidate".to_owned()))?;
        if remote.setup == Setup::Active {
            return Err(LoadError::Sdp(
                "the server wants to be the DTLS client".to_owned(),
            ));
        }
        let path = MediaPath {
            candidate,
            ufrag: remote.ice.ufrag.clone(),
        };
        let peer = shared.engine.add(NewPeer {
            socket,
            client: ClientConfig {
                role: if who.publish.is_some() {
                    IceRole::Controlling
                } else {
                    IceRole::Controlled
                },
                local: ice.clone(),
                remote: remote.ice,
                candidate,
                fingerprints: remote.fingerprints,
                profile: shared.profile,
            },
            publish,
            view: None,
            feedback: Feedback {
                transport_cc: false,
                ..shared.feedback
            },
        });
        Ok((peer, path))
    }

    async fn publish(
        &mut self,
        local: &Local<'_>,
        who: &Participant,
        publisher: u32,
        ids: StreamIds,
    ) -> Result<(Remote, Vec<Section>), LoadError> {
        let room = room_number(&who.room);
        let create = json!({
            "request": "create", "room": room, "publishers": PUBLISHERS_MAX, "bitrate": 0, "notify_joining": false,
        });
        // Another publisher may have made it.
        let _ = self.message(create, None).await;
        let feed = FIRST_FEED + u64::from(publisher);
        let join = json!({
            "request": "join", "ptype": "publisher", "room": room, "id": feed, "display": who.identity,
        });
        self.message(join, None).await?;
        let sections: Vec<Section> = [Kind::Audio, Kind::Video]
            .into_iter()
            .enumerate()
            .map(|(mid, kind)| Section {
                mid: mid.to_string(),
                kind,
                send: Some(ids),
            })
            .collect();
        let offer = sdp::write_offer(1, local, &sections);
        let configured = self
            .message(json!({"request": "publish"}), Some(("offer", offer)))
            .await?;
        Ok((sdp_of(&configured)?, sections))
    }

    async fn subscribe(
        &mut self,
        local: &Local<'_>,
        who: &Participant,
    ) -> Result<Remote, LoadError> {
        let streams: Vec<Value> = who
            .hears
            .iter()
            .map(|feed| json!({"feed": FIRST_FEED + u64::from(*feed)}))
            .collect();
        let join = json!({
            "request": "join", "ptype": "subscriber", "room": room_number(&who.room), "streams": streams,
        });
        let attached = self.message(join, None).await?;
        let remote = sdp_of(&attached)?;
        let answer = sdp::write_answer(1, local, &remote);
        self.message(json!({"request": "start"}), Some(("answer", answer)))
            .await?;
        Ok(remote)
    }

    async fn run(mut self, mut leave: oneshot::Receiver<()>) {
        let mut keepalive = tokio::time::interval(KEEPALIVE);
        loop {
            let alive = tokio::select! {
                message = self.next() => message.is_ok(),
                _ = keepalive.tick() => self.request(json!({"janus": "keepalive"})).await.is_ok(),
                _ = &mut leave => {
                    self.handle = 0;
                    let _ = self.request(json!({"janus": "destroy"})).await;
                    let _ = self.socket.close(None).await;
                    false
                }
            };
            if !alive {
                return;
            }
        }
    }
}

fn id_of(message: &Value) -> Result<u64, LoadError> {
    message["data"]["id"]
        .as_u64()
        .ok_or_else(|| signaling("an answer without id"))
}

fn sdp_of(message: &Value) -> Result<Remote, LoadError> {
    let sdp = message["jsep"]["sdp"].as_str();
    sdp::read(sdp.ok_or_else(|| signaling(format!("an answer without SDP: {message}")))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_have_numbers_that_json_holds_exactly() {
        let numbers = [room_number("a"), room_number("b"), room_number("load-0")];
        assert!(
            numbers
                .iter()
                .all(|number| *number > 0 && *number < 1 << 53)
        );
        assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2]);
    }

    #[test]
    fn answers_are_read_as_janus_writes_them() {
        let created = json!({"janus": "success", "data": {"id": 7u64}});
        assert_eq!(id_of(&created).unwrap(), 7);
        assert!(id_of(&json!({"janus": "success"})).is_err());
        assert!(sdp_of(&json!({"janus": "event"})).is_err());
    }
}
