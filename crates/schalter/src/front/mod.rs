//! The pages' port and its like: accepts connections, ends TLS, tells protocols apart and hands each to whom it concerns.
//!
//! A connection takes a place ([`gate`]), waits among the half-open ones ([`half_open`]) while a balancer's header
//! ([`proxy`]), TLS and the first bytes come, all within one deadline, and is then HTTP or carries datagrams ([`streams`]).
//! Addresses are used and never written down.

mod gate;
mod half_open;
mod proxy;
mod stream;
mod streams;
mod told;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use schalter_metrics::HttpSnapshot;
use schalter_net::Framing;
use schalter_webhook::Network;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use crate::tls::is_validation;
use gate::{Closed, Gate, Place};
use half_open::{Caller, HalfOpen};
use proxy::{Header, ProxyError};
use stream::{Rewound, Stream};
use streams::{Directed, Ends, Lost};
pub(crate) use streams::{Streams, TurnDoor};
use told::Told;

/// What is allowed.
#[derive(Clone, Debug)]
pub(crate) struct FrontLimits {
    /// Connections at once, WebSockets among them.
    pub(crate) connections: u32,
    /// Connections at once that have not said yet what they want.
    pub(crate) half_open: u32,
    /// The same of one address, or network of 64 bits in IPv6.
    pub(crate) half_open_per_address: u32,
    /// From a connection's begin until it has said what it wants, TLS included; as long again for a request's head. A
    /// connection that is kept may be silent for as long between two requests.
    pub(crate) request_time: Duration,
    /// Balancers, which begin every connection with a PROXY header. Nobody else may.
    pub(crate) trusted: Vec<Network>,
}

/// What is served at one port.
#[derive(Clone)]
pub(crate) struct Entry {
    /// HTTP; without it only datagrams.
    pub(crate) app: Option<Router>,
    /// TLS, which every connection begins with; without it none does.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Whether balancers are in front of it.
    pub(crate) proxied: bool,
}

/// All ports with their limits. Clones share them.
#[derive(Clone)]
pub(crate) struct Front {
    inner: Arc<Inner>,
}

struct Inner {
    limits: FrontLimits,
    gate: Gate,
    half_open: HalfOpen,
    streams: Streams,
    /// Turns true when the server stops; connections hold receivers.
    stop: watch::Sender<bool>,
}

/// A connection that speaks HTTP.
struct Http {
    stream: Stream,
    /// What was read of it already.
    first: Vec<u8>,
    /// Who is at its other end, as far as balancers tell.
    remote: SocketAddr,
}

/// What a connection turned out to be.
enum Opened {
    Http(Http),
    Datagrams(Directed),
    /// Its purpose was fulfilled by the handshake.
    Done,
}

/// How long to wait for file descriptors when there are none. The system keeps connections waiting meanwhile.
const OUT_OF_FILES: Duration = Duration::from_millis(50);
/// What a client without TLS is told on a port for TLS.
const NEEDS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 35\r\n\r\n\
                           This port speaks HTTPS, not HTTP.\r\n";

impl Front {
    pub(crate) fn new(limits: FrontLimits, streams: Streams) -> Self {
        let inner = Inner {
            gate: Gate::new(limits.connections),
            half_open: HalfOpen::new(limits.half_open, limits.half_open_per_address),
            limits,
            streams,
            stop: watch::Sender::new(false),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What was counted; the certificate's time is not ours to tell.
    pub(crate) fn snapshot(&self) -> HttpSnapshot {
        let counted = self.inner.gate.counted();
        HttpSnapshot {
            connections: counted.connections,
            refused: counted.refused,
            unanswered: counted.unanswered,
            half_open: self.inner.half_open.count(),
            closed: counted.closed,
            streams: counted.streams,
            certificate_seconds: None,
            acme_failures: None,
        }
    }

    /// Serves a listener until [`Self::shutdown`].
    ///
    /// # Errors
    /// If the runtime can't take the listener.
    pub(crate) fn serve(&self, listener: std::net::TcpListener, entry: Entry) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let inner = Arc::clone(&self.inner);
        let mut stop = inner.stop.subscribe();
        let entry = Arc::new(entry);
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = stop.changed() => return,
                };
                match accepted {
                    Ok((tcp, remote)) => inner.clone().begin(tcp, remote, &entry),
                    // The connection is gone already, or files are; the latter passes.
                    Err(error) if is_of_the_connection(&error) => {}
                    Err(error) => {
                        tracing::debug!(%error, "no connection can be accepted");
                        tokio::time::sleep(OUT_OF_FILES).await;
                    }
                }
            }
        });
        Ok(())
    }

    /// Accepts nothing more, lets requests in flight end and closes what is left after `grace`.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        self.inner.stop.send_replace(true);
        // Ends early if every connection has.
        let _ = tokio::time::timeout(grace, self.inner.stop.closed()).await;
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
    ]
    .contains(&error.kind())
}

impl Inner {
    /// Takes a connection in, or closes it.
    fn begin(self: Arc<Self>, tcp: TcpStream, remote: SocketAddr, entry: &Arc<Entry>) {
        let Some(place) = self.gate.place() else {
            return;
        };
        // A signaling message is one small write, and waits for nothing.
        let _ = tcp.set_nodelay(true);
        let entry = Arc::clone(entry);
        tokio::spawn(async move { self.connection(tcp, remote, &entry, place).await });
    }

    async fn connection(&self, tcp: TcpStream, remote: SocketAddr, entry: &Entry, place: Place) {
        let stop = self.stop.subscribe();
        let deadline = Instant::now() + self.limits.request_time;
        let mut knock = self.half_open.knock();
        let caller = knock.caller();
        let open = timeout_at(deadline, self.open(tcp, remote, entry, caller));
        let opened = match knock.unless_evicted(open).await {
            Err(bound) => Err(Lost::Closed(bound)),
            Ok(Err(_)) => Err(Lost::Closed(Closed::TooSlow)),
            Ok(Ok(opened)) => opened,
        };
        drop(knock);
        match (opened, &entry.app) {
            (Ok(Opened::Http(http)), Some(app)) => {
                let time = self.limits.request_time;
                serve_http(http, app.clone(), place, time, stop).await;
            }
            (Ok(Opened::Datagrams(directed)), _) => {
                place.on_stream(directed.framing == Framing::Turn);
                if let Err(error) = self.streams.adopt(directed) {
                    tracing::debug!(%error, "a stream had no taker");
                }
            }
            (Ok(Opened::Done), _) => place.on_request(),
            (Ok(Opened::Http(..)), None) => place.on_closed(Closed::UnknownProtocol),
            (Err(Lost::Closed(why)), _) => place.on_closed(why),
            (Err(Lost::Left), _) => {}
        }
    }

    /// Everything until it is clear what the connection is for.
    async fn open(
        &self,
        mut tcp: TcpStream,
        remote: SocketAddr,
        entry: &Entry,
        caller: Caller,
    ) -> Result<Opened, Lost> {
        let mut ends = Ends {
            remote: canonical(remote),
            local: canonical(tcp.local_addr().map_err(|_| Lost::Left)?),
        };
        if entry.proxied && self.trusts(ends.remote.ip()) {
            // A balancer has everybody's connections; what it opens for itself (health checks) counts for nobody.
            let header = read_header(&mut tcp).await?;
            if let Header::Proxied {
                source,
                destination,
            } = header
            {
                ends = Ends {
                    remote: source,
                    local: destination,
                };
                caller.comes_from(source.ip());
            }
        } else {
            caller.comes_from(ends.remote.ip());
        }
        let mut stream = match &entry.tls {
            None => Stream::Plain(tcp),
            Some(config) => {
                refuse_without_tls(&mut tcp).await?;
                let accepted = TlsAcceptor::from(Arc::clone(config)).accept(tcp).await;
                let tls = accepted.map_err(|_| Lost::Closed(Closed::TlsHandshake))?;
                if is_validation(tls.get_ref().1.alpn_protocol()) {
                    return Ok(Opened::Done);
                }
                Stream::Tls(Box::new(tls))
            }
        };
        let mut first = Vec::new();
        let told = loop {
            let told = told::tell(&first);
            if told != Told::Undecided {
                break told;
            }
            let mut buffer = [0; FIRST];
            let read = stream.read(&mut buffer).await.map_err(|_| Lost::Left)?;
            if read == 0 {
                return Err(Lost::Left);
            }
            first.extend_from_slice(&buffer[..read]);
        };
        let framing = match told {
            Told::Http => {
                return Ok(Opened::Http(Http {
                    stream,
                    first,
                    remote: ends.remote,
                }));
            }
            Told::Turn => Framing::Turn,
            Told::IceTcp => Framing::Rfc4571,
            Told::ProxyHeader => return Err(Lost::Closed(Closed::ProxyUntrusted)),
            Told::Tls | Told::Unknown | Told::Undecided => {
                return Err(Lost::Closed(Closed::UnknownProtocol));
            }
        };
        let directed = self.streams.direct(stream, framing, first, ends).await?;
        Ok(Opened::Datagrams(directed))
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.limits
            .trusted
            .iter()
            .any(|network| network.contains(ip))
    }
}

/// Bytes read at once while it is not clear what they are. Enough for a request's head of the usual length.
const FIRST: usize = 1_024;

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Reads a balancer's header, and not a byte more.
async fn read_header(tcp: &mut TcpStream) -> Result<Header, Lost> {
    let why = |error| {
        Lost::Closed(match error {
            ProxyError::Version1 => Closed::ProxyVersion1,
            ProxyError::Missing => Closed::ProxyMissing,
            ProxyError::Malformed => Closed::ProxyMalformed,
        })
    };
    let mut header = Vec::new();
    loop {
        let wanted = proxy::length(&header).map_err(why)?;
        let wanted = wanted.unwrap_or(proxy::HEAD);
        if wanted == header.len() && wanted >= proxy::HEAD {
            return proxy::parse(&header).map_err(why);
        }
        let at = header.len();
        header.resize(wanted, 0);
        let read = tcp.read(&mut header[at..]).await.map_err(|_| Lost::Left)?;
        header.truncate(at + read);
        if read == 0 {
            return Err(Lost::Left);
        }
    }
}

/// Looks at the first bytes without taking them: whoever speaks HTTP here is told, once, how to come in.
async fn refuse_without_tls(tcp: &mut TcpStream) -> Result<(), Lost> {
    let mut first = [0; told::ENOUGH];
    let len = tcp.peek(&mut first).await.map_err(|_| Lost::Left)?;
    match told::tell(&first[..len]) {
        Told::Tls => Ok(()),
        Told::Http => {
            // Read, so that closing sends no reset that would overtake the answer.
            let mut request = [0; FIRST];
            let _ = tcp.read(&mut request).await;
            let _ = tcp.write_all(NEEDS_TLS).await;
            Err(Lost::Closed(Closed::PlainHttp))
        }
        Told::ProxyHeader => Err(Lost::Closed(Closed::ProxyUntrusted)),
        Told::Undecided if len == 0 => Err(Lost::Left),
        Told::Undecided | Told::Turn | Told::IceTcp | Told::Unknown => {
            Err(Lost::Closed(Closed::UnknownProtocol))
        }
    }
}

/// Serves requests and WebSockets until the client leaves, dawdles or the server stops.
async fn serve_http(
    http: Http,
    app: Router,
    place: Place,
    time: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let Http {
        stream,
        first,
        remote,
    } = http;
    let place = Arc::new(place);
    let io = TokioIo::new(Rewound::new(stream, first, Arc::clone(&place)));
    let service = service_fn(move |mut request: Request<Incoming>| {
        place.on_request();
        // Limits are by address; nothing logs it.
        request.extensions_mut().insert(ConnectInfo(remote));
        app.clone().call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(time);
    let mut connection = pin!(http.serve_connection(io, service).with_upgrades());
    // Whatever goes wrong with a connection is the client's to see, and counted by whether a request came.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

#[cfg(test)]
mod tests;
