//! One participant's WebSocket: from joining to leaving.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::{SinkExt, StreamExt};
use livekit_protocol::{
    AddTrackRequest, ClientInfo, ConnectionSettings, DisconnectReason, JoinRequest, LeaveRequest,
    Ping, SessionDescription, SignalRequest, SignalResponse, SimulcastCodec, TrackSource,
    TrackType, VideoLayer, VideoQuality, WrappedJoinRequest, signal_request, signal_response,
};
use prost::Message as _;
use schalter_transport::Fingerprint;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::client::{ClientConfig, IceCredentials, IceRole};
use crate::engine::{NewPeer, PeerId, Publish, bind};
use crate::error::LoadError;
use crate::feed::{FeedConfig, StreamIds};
use crate::probe::{Kind, wall_nanos};
use crate::receive::Feedback;
use crate::sdp::{self, Local, Remote, Section, Setup};
use crate::target::{MediaPath, Participant, Shared};

/// From opening the WebSocket to the answer, as the SDKs wait for it.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(15);
/// Pings of the protocol, as the server asks for by default.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Closing handshake.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Candidate of a peer that never comes: the discard port, and the server is the one that waits for checks.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
/// What the server may think of us.
const PROTOCOL: i32 = 17;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn signaling(what: impl std::fmt::Display) -> LoadError {
    LoadError::Signaling(what.to_string())
}

/// A participant that joined and offered, and whose media never comes.
pub struct Knock {
    ended: Arc<AtomicBool>,
    reader: tokio::task::JoinHandle<()>,
}

impl Knock {
    /// Whether the server has ended it: told to leave, closed or cut off.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl Drop for Knock {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Joins and offers to send sound, so that the server opens a transport; then only keeps the WebSocket alive.
pub(super) async fn knock(
    url: &str,
    token: &str,
    fingerprint: &Fingerprint,
) -> Result<Knock, LoadError> {
    let mut socket = connect(url, token).await?;
    while !matches!(
        next_response(&mut socket).await?,
        signal_response::Message::Join(_)
    ) {}
    let local = Local {
        ice: &IceCredentials::generate(),
        fingerprint,
        candidate: NOWHERE,
        setup: Setup::ActPass,
        feedback: false,
        views: false,
    };
    let section = Section {
        mid: "0".to_owned(),
        kind: Kind::Audio,
        send: None,
    };
    let offer = SessionDescription {
        r#type: "offer".to_owned(),
        sdp: sdp::write_offer(1, &local, &[section]),
        id: 1,
        ..SessionDescription::default()
    };
    let offer = SignalRequest {
        message: Some(signal_request::Message::Offer(offer)),
    };
    socket
        .send(Message::Binary(offer.encode_to_vec().into()))
        .await
        .map_err(signaling)?;
    while !matches!(
        next_response(&mut socket).await?,
        signal_response::Message::Answer(_)
    ) {}
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    let reader = tokio::spawn(async move {
        // Reading answers the server's pings, too.
        loop {
            match next_response(&mut socket).await {
                Ok(signal_response::Message::Leave(_)) | Err(_) => break,
                Ok(_) => {}
            }
        }
        flag.store(true, Ordering::Release);
    });
    Ok(Knock { ended, reader })
}

async fn connect(url: &str, token: &str) -> Result<Socket, LoadError> {
    let join = JoinRequest {
        client_info: Some(ClientInfo {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: "linux".to_owned(),
            ..ClientInfo::default()
        }),
        connection_settings: Some(ConnectionSettings {
            auto_subscribe: true,
            ..ConnectionSettings::default()
        }),
        ..JoinRequest::default()
    };
    let wrapped = WrappedJoinRequest {
        join_request: join.encode_to_vec(),
        ..WrappedJoinRequest::default()
    };
    let text = URL_SAFE.encode(wrapped.encode_to_vec());
    let mut request = format!("{url}/rtc/v1?join_request={text}")
        .into_client_request()
        .map_err(signaling)?;
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(signaling)?;
    request.headers_mut().insert("Authorization", bearer);
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            Err(signaling(format!(
                "{}: {}",
                response.status(),
                String::from_utf8_lossy(body)
            )))
        }
        Err(error) => Err(signaling(error)),
    }
}

async fn next_response(socket: &mut Socket) -> Result<signal_response::Message, LoadError> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                let response = SignalResponse::decode(&bytes[..]).map_err(signaling)?;
                if let Some(message) = response.message {
                    return Ok(message);
                }
            }
            Some(Ok(Message::Close(frame))) => {
                return Err(signaling(format!("the server closed: {frame:?}")));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(signaling(error)),
            None => return Err(signaling("the server closed")),
        }
    }
}

/// Ends a session from outside.
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

/// Joins, publishes, negotiates; the returned handle keeps the connection.
pub(super) async fn join(
    url: &str,
    token: &str,
    shared: &Arc<Shared>,
    who: &Participant,
) -> Result<(PeerId, MediaPath, Handle), LoadError> {
    let negotiation = async {
        let socket = connect(url, token).await?;
        let mut session = Session::new(socket, Arc::clone(shared), who)?;
        let (peer, path) = session.negotiate(who).await?;
        Ok((peer, path, session))
    };
    let (peer, path, session) = tokio::time::timeout(NEGOTIATION_TIMEOUT, negotiation)
        .await
        .map_err(|_| LoadError::Timeout(format!("negotiation of {}", who.identity)))??;
    let (leave, left) = oneshot::channel();
    let ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ended);
    let task = tokio::spawn(async move {
        session.run(left).await;
        flag.store(true, Ordering::Release);
    });
    Ok((peer, path, Handle { leave, task, ended }))
}

/// What has to be known of the SDP once, when the first answer is here.
struct Pending {
    socket: std::net::UdpSocket,
    publish: Option<(u32, FeedConfig, StreamIds)>,
}

struct Session {
    socket: Socket,
    shared: Arc<Shared>,
    ice: IceCredentials,
    address: SocketAddr,
    sections: Vec<Section>,
    /// Watches as a browser would.
    views: bool,
    pending: Option<Pending>,
    offer_id: u32,
    outstanding: bool,
    wanted: bool,
    /// An answer without candidates waits for a trickled one.
    answer: Option<Remote>,
}

impl Session {
    fn new(socket: Socket, shared: Arc<Shared>, who: &Participant) -> Result<Self, LoadError> {
        let udp = bind(shared.local)?;
        let address = udp
            .local_addr()
            .map_err(|error| LoadError::io("UDP socket", error))?;
        let publish = who
            .publish
            .map(|(number, feed)| (number, feed, StreamIds::generate()));
        let mut session = Self {
            socket,
            shared,
            ice: IceCredentials::generate(),
            address,
            sections: Vec::new(),
            views: who.view.is_some(),
            pending: Some(Pending {
                socket: udp,
                publish,
            }),
            offer_id: 0,
            outstanding: false,
            wanted: false,
            answer: None,
        };
        if let Some((_, feed, ids)) = publish {
            if feed.audio_packets > 0 {
                session.add_section(Kind::Audio, Some(ids));
            }
            if feed.video_packets > 0 {
                session.add_section(Kind::Video, Some(ids));
            }
        }
        for _ in &who.hears {
            session.add_section(Kind::Audio, None);
            session.add_section(Kind::Video, None);
        }
        Ok(session)
    }

    fn add_section(&mut self, kind: Kind, send: Option<StreamIds>) {
        let mid = self.sections.len().to_string();
        self.sections.push(Section { mid, kind, send });
    }

    async fn send(&mut self, message: signal_request::Message) -> Result<(), LoadError> {
        let bytes = SignalRequest {
            message: Some(message),
        }
        .encode_to_vec();
        self.socket
            .send(Message::Binary(bytes.into()))
            .await
            .map_err(signaling)
    }

    /// From the first message to the peer in the engine.
    async fn negotiate(&mut self, who: &Participant) -> Result<(PeerId, MediaPath), LoadError> {
        loop {
            match next_response(&mut self.socket).await? {
                signal_response::Message::Join(_) => break,
                signal_response::Message::Leave(leave) => {
                    return Err(signaling(format!("refused: reason {}", leave.reason)));
                }
                _ => {}
            }
        }
        let mut unannounced = self.announce().await?;
        if unannounced == 0 {
            self.offer().await?;
        }
        loop {
            let message = next_response(&mut self.socket).await?;
            if let signal_response::Message::TrackPublished(_) = message {
                unannounced = unannounced.saturating_sub(1);
                if unannounced == 0 && !self.outstanding {
                    self.offer().await?;
                }
            }
            self.on_message(message).await?;
            if let Some(started) = self.start(who)? {
                return Ok(started);
            }
        }
    }

    /// Announces what is published; answers how many tracks that are.
    async fn announce(&mut self) -> Result<usize, LoadError> {
        let tracks: Vec<(Kind, String)> = self
            .sections
            .iter()
            .filter_map(|s| Some((s.kind, s.track_id()?)))
            .collect();
        for (kind, cid) in &tracks {
            self.send(signal_request::Message::AddTrack(add_track(*kind, cid)))
                .await?;
        }
        Ok(tracks.len())
    }

    async fn offer(&mut self) -> Result<(), LoadError> {
        self.offer_id += 1;
        self.outstanding = true;
        self.wanted = false;
        let local = Local {
            ice: &self.ice,
            fingerprint: self.shared.certificate.fingerprint(),
            candidate: self.address,
            setup: Setup::ActPass,
            feedback: self.shared.feedback.transport_cc,
            views: self.views,
        };
        let offer = SessionDescription {
            r#type: "offer".to_owned(),
            sdp: sdp::write_offer(self.offer_id.into(), &local, &self.sections),
            id: self.offer_id,
            ..SessionDescription::default()
        };
        self.send(signal_request::Message::Offer(offer)).await
    }

    async fn on_message(&mut self, message: signal_response::Message) -> Result<(), LoadError> {
        match message {
            signal_response::Message::Answer(answer) => {
                if answer.id != self.offer_id {
                    return Err(signaling(format!(
                        "the answer has id {} where the offer had {}",
                        answer.id, self.offer_id
                    )));
                }
                self.outstanding = false;
                self.answer = Some(sdp::read(&answer.sdp)?);
                if self.wanted {
                    self.offer().await?;
                }
                Ok(())
            }
            signal_response::Message::MediaSectionsRequirement(more) => {
                for _ in 0..more.num_audios {
                    self.add_section(Kind::Audio, None);
                }
                for _ in 0..more.num_videos {
                    self.add_section(Kind::Video, None);
                }
                if self.outstanding {
                    self.wanted = true;
                    Ok(())
                } else {
                    self.offer().await
                }
            }
            signal_response::Message::Trickle(trickle) => {
                let candidate = serde_json::from_str::<serde_json::Value>(&trickle.candidate_init)
                    .ok()
                    .and_then(|init| sdp::read_candidate(init.get("candidate")?.as_str()?));
                if let (Some(candidate), Some(answer)) = (candidate, &mut self.answer) {
                    answer.candidates.push(candidate);
                }
                Ok(())
            }
            signal_response::Message::Leave(leave) => Err(signaling(format!(
                "the server ended the session: reason {}",
                leave.reason
            ))),
            signal_response::Message::RequestResponse(response) if response.reason != 0 => {
                Err(signaling(format!("request refused: {}", response.message)))
            }
            signal_response::Message::Offer(_) => Err(signaling(
                "the server offered on the path of one peer connection",
            )),
            _ => Ok(()),
        }
    }

    /// Hands the peer to the engine once there is an answer with a candidate.
    fn start(&mut self, who: &Participant) -> Result<Option<(PeerId, MediaPath)>, LoadError> {
        let Some(answer) = &self.answer else {
            return Ok(None);
        };
        let Some(candidate) = answer
            .candidates
            .iter()
            .find(|c| c.is_ipv4() == self.address.is_ipv4())
        else {
            return Ok(None);
        };
        if answer.setup != Setup::Passive {
            return Err(LoadError::Sdp(
                "the server wants to be the DTLS client".to_owned(),
            ));
        }
        let Some(pending) = self.pending.take() else {
            return Ok(None);
        };
        let publish = pending.publish.map(|(publisher, feed, ids)| Publish {
            publisher,
            feed,
            ids,
            header: sdp::feed_header(&self.sections, answer),
        });
        let peer = self.shared.engine.add(NewPeer {
            socket: pending.socket,
            client: ClientConfig {
                role: IceRole::Controlling,
                local: self.ice.clone(),
                remote: answer.ice.clone(),
                candidate: *candidate,
                fingerprints: answer.fingerprints.clone(),
                profile: self.shared.profile,
            },
            publish,
            view: who.view,
            feedback: if who.hears.is_empty() {
                Feedback::default()
            } else {
                self.shared.feedback
            },
        });
        let path = MediaPath {
            candidate: *candidate,
            ufrag: answer.ice.ufrag.clone(),
        };
        Ok(Some((peer, path)))
    }

    /// Answers the server until one side has enough.
    async fn run(mut self, mut leave: oneshot::Receiver<()>) {
        let mut ping = tokio::time::interval(PING_INTERVAL);
        loop {
            let result = tokio::select! {
                message = next_response(&mut self.socket) => match message {
                    Ok(message) => self.on_message(message).await,
                    Err(error) => Err(error),
                },
                _ = ping.tick() => {
                    let timestamp = i64::try_from(wall_nanos() / 1_000_000).unwrap_or(i64::MAX);
                    self.send(signal_request::Message::PingReq(Ping { timestamp, rtt: 0 })).await
                }
                _ = &mut leave => {
                    let leave = LeaveRequest {
                        reason: DisconnectReason::ClientInitiated as i32,
                        ..LeaveRequest::default()
                    };
                    let _ = self.send(signal_request::Message::Leave(leave)).await;
                    let _ = self.socket.close(None).await;
                    return;
                }
            };
            if result.is_err() {
                return;
            }
        }
    }
}

fn add_track(kind: Kind, cid: &str) -> AddTrackRequest {
    match kind {
        Kind::Audio => AddTrackRequest {
            cid: cid.to_owned(),
            name: "microphone".to_owned(),
            r#type: TrackType::Audio as i32,
            source: TrackSource::Microphone as i32,
            disable_red: true,
            ..AddTrackRequest::default()
        },
        Kind::Video => AddTrackRequest {
            cid: cid.to_owned(),
            name: "camera".to_owned(),
            r#type: TrackType::Video as i32,
            source: TrackSource::Camera as i32,
            width: 640,
            height: 360,
            layers: vec![VideoLayer {
                quality: VideoQuality::High as i32,
                width: 640,
                height: 360,
                bitrate: 1_500_000,
                ..VideoLayer::default()
            }],
            simulcast_codecs: vec![SimulcastCodec {
                codec: "vp8".to_owned(),
                cid: cid.to_owned(),
                ..SimulcastCodec::default()
            }],
            ..AddTrackRequest::default()
        },
    }
}
