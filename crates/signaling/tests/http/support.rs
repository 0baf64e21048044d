//! A server on the loopback with a media plane that only remembers, and clients of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::{SinkExt, StreamExt};
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{JoinRequest, SignalRequest, SignalResponse, WrappedJoinRequest};
use prost::Message as _;
use schalter_model::{AuthorityId, ShardId, SrtpProfile, TransportId};
use schalter_shard::control::{Command, Event, TransportState};
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::token::{Claims, VideoClaims};
use schalter_signaling::{MediaPlane, Outside, ShardInfo, Signaling, SignalingConfig};
use schalter_transport::{Fingerprint, FingerprintHash};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct FakeMedia {
    shards: Vec<ShardInfo>,
    fingerprints: Vec<Fingerprint>,
    pub(crate) commands: Mutex<Vec<(ShardId, Command)>>,
    /// Transports connect as soon as they are opened.
    events: mpsc::UnboundedSender<(ShardId, Event)>,
}

impl FakeMedia {
    /// Reports something to signaling.
    pub(crate) fn report(&self, shard: ShardId, event: Event) {
        self.events.send((shard, event)).unwrap();
    }

    /// To whom data was sent, one for each command.
    pub(crate) fn receivers(&self) -> Vec<Vec<TransportId>> {
        let commands = self.commands.lock().unwrap();
        commands
            .iter()
            .filter_map(|(_, c)| match c {
                Command::SendData { transports, .. } => Some(transports.clone()),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn opened(&self) -> Vec<(ShardId, TransportId)> {
        let commands = self.commands.lock().unwrap();
        commands
            .iter()
            .filter_map(|(shard, c)| match c {
                Command::OpenTransport { transport, .. } => Some((*shard, *transport)),
                _ => None,
            })
            .collect()
    }
}

impl MediaPlane for FakeMedia {
    fn shards(&self) -> &[ShardInfo] {
        &self.shards
    }

    fn send(&self, shard: ShardId, command: Command) {
        if let Command::OpenTransport { transport, .. } = &command {
            let event = Event::TransportState {
                transport: *transport,
                state: TransportState::Connected {
                    profile: SrtpProfile::AeadAes128Gcm,
                },
            };
            // The test may be over.
            let _ = self.events.send((shard, event));
        }
        self.commands.lock().unwrap().push((shard, command));
    }

    fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    fn node(&self) -> u16 {
        7
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) signaling: Signaling,
    pub(crate) media: Arc<FakeMedia>,
    pub(crate) keys: Arc<ArcSwap<KeyRing>>,
}

impl Server {
    pub(crate) async fn start(config: SignalingConfig) -> Self {
        Self::start_with(config, Outside::default()).await
    }

    pub(crate) async fn start_with(config: SignalingConfig, outside: Outside) -> Self {
        let (events, receiver) = mpsc::unbounded_channel();
        let shard = |n: u8| ShardInfo {
            id: ShardId(n),
            candidates: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 7000 + u16::from(n)))],
            tcp_candidates: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 7881))],
        };
        let media = Arc::new(FakeMedia {
            shards: vec![shard(0), shard(1)],
            fingerprints: [1, 2]
                .map(|byte| Fingerprint {
                    hash: FingerprintHash::Sha256,
                    digest: vec![byte; 32],
                })
                .into(),
            commands: Mutex::default(),
            events,
        });
        let key = |name, authority| {
            let authority = AuthorityId::new(authority).unwrap();
            ApiKey::new(name, SECRET, authority, KeyScopes::ALL).unwrap()
        };
        // The first key's authority is the one that most tests are about.
        let ring = [key("key", "ulm"), key("other-key", "bonn")];
        let keys = Arc::new(ArcSwap::from_pointee(KeyRing::new(ring).unwrap()));
        let signaling =
            Signaling::with(config, Arc::clone(&keys), media.clone(), receiver, outside);
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let router = signaling.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            signaling,
            media,
            keys,
        }
    }

    pub(crate) fn token(&self, claims: &Claims) -> String {
        self.token_by("key", claims)
    }

    /// A token that the key with this name signed.
    pub(crate) fn token_by(&self, key: &str, claims: &Claims) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ring = self.keys.load();
        ring.mint(key, claims, now.as_secs(), Duration::from_secs(60))
            .unwrap()
    }

    /// A plain GET; returns status, headers, body.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    pub(crate) async fn connect(&self, path: &str) -> Result<Socket, (u16, String)> {
        self.connect_from(path, None).await
    }

    pub(crate) async fn connect_from(
        &self,
        path: &str,
        origin: Option<&str>,
    ) -> Result<Socket, (u16, String)> {
        let mut request = format!("ws://{}{path}", self.address)
            .into_client_request()
            .unwrap();
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", origin.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Socket { stream }),
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                Err((response.status().as_u16(), String::from_utf8(body).unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn join(&self, room: &str, identity: &str) -> Socket {
        let token = self.token(&claims(room, identity));
        self.connect(&format!("/rtc?access_token={token}"))
            .await
            .unwrap()
    }
}

pub(crate) struct Socket {
    pub(crate) stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    pub(crate) async fn frame(&mut self) -> Option<Message> {
        tokio::time::timeout(PATIENCE, self.stream.next())
            .await
            .expect("no frame in time")
            .and_then(Result::ok)
    }

    /// The next message; `None` after close.
    pub(crate) async fn message(&mut self) -> Option<Response> {
        loop {
            match self.frame().await? {
                Message::Binary(bytes) => {
                    return SignalResponse::decode(bytes).unwrap().message;
                }
                Message::Text(text) => {
                    return serde_json::from_str::<SignalResponse>(&text)
                        .unwrap()
                        .message;
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    pub(crate) async fn until(&mut self, wanted: impl Fn(&Response) -> bool) -> Response {
        loop {
            let message = self.message().await.expect("closed before");
            if wanted(&message) {
                return message;
            }
        }
    }

    pub(crate) async fn say(&mut self, request: Request) {
        let request = SignalRequest {
            message: Some(request),
        };
        self.stream
            .send(Message::Binary(request.encode_to_vec().into()))
            .await
            .unwrap();
    }
}

pub(crate) fn claims(room: &str, identity: &str) -> Claims {
    Claims {
        identity: Some(identity.into()),
        video: Some(VideoClaims {
            room: Some(room.into()),
            room_join: Some(true),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    }
}

pub(crate) fn edited(edit: impl FnOnce(&mut Claims)) -> Claims {
    let mut claims = claims("r", "alice");
    edit(&mut claims);
    claims
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never: {what}"));
}

pub(crate) fn join_request() -> String {
    let wrapped = WrappedJoinRequest {
        join_request: JoinRequest {
            participant_sid: "unused".into(),
            ..JoinRequest::default()
        }
        .encode_to_vec(),
        ..WrappedJoinRequest::default()
    };
    URL_SAFE.encode(wrapped.encode_to_vec())
}
