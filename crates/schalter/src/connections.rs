//! Bounds on the pages' port: how many connections there are at once, and how long one may take to say what it wants.
//!
//! A connection beyond the bound is closed unread. Time for the first request is the server library's to watch; whether
//! a request ever came is counted here.

use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use schalter_metrics::HttpSnapshot;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// Connections at once, WebSockets among them.
    pub(crate) connections: u32,
    /// From a connection's first packet to the end of its first request's head, and as long again for the TLS
    /// handshake; a connection that is kept may be silent for as long between two requests.
    pub(crate) request_time: Duration,
}

/// Lets connections in until there are too many, and counts them. Clones share places and counters.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionGate {
    limits: ConnectionLimits,
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    refused: AtomicU64,
    unanswered: AtomicU64,
}

pub(crate) type Server = tokio::task::JoinHandle<io::Result<()>>;

impl ConnectionGate {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            places: Arc::new(Semaphore::new(limits.connections as usize)),
            counters: Arc::default(),
        }
    }

    pub(crate) fn snapshot(&self) -> HttpSnapshot {
        let free = self.places.available_permits() as u64;
        HttpSnapshot {
            connections: u64::from(self.limits.connections) - free,
            refused: self.counters.refused.load(Ordering::Relaxed),
            unanswered: self.counters.unanswered.load(Ordering::Relaxed),
        }
    }

    /// Serves `app` on a listener until `handle` says otherwise.
    pub(crate) fn serve(
        &self,
        listener: TcpListener,
        app: axum::Router,
        tls: Option<&RustlsConfig>,
        handle: &Handle<SocketAddr>,
    ) -> io::Result<Server> {
        let time = self.limits.request_time;
        let mut server = axum_server::from_tcp(listener)?
            .acceptor(self.clone())
            .handle(handle.clone())
            .first_request_timeout(time);
        server.http_builder().http1().header_read_timeout(time);
        let service = app.into_make_service();
        Ok(match tls {
            None => tokio::spawn(server.serve(service)),
            Some(tls) => {
                let server = server.map(|gate| {
                    RustlsAcceptor::new(tls.clone())
                        .handshake_timeout(time)
                        .acceptor(gate)
                });
                tokio::spawn(server.serve(service))
            }
        })
    }
}

impl<S> Accept<TcpStream, S> for ConnectionGate {
    type Stream = Admitted;
    type Service = Noted<S>;
    type Future = Ready<io::Result<(Admitted, Noted<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return ready(Err(io::ErrorKind::ConnectionRefused.into()));
        };
        let asked = Arc::new(AtomicBool::new(false));
        let admitted = Admitted {
            stream,
            asked: Arc::clone(&asked),
            counters: Arc::clone(&self.counters),
            _place: place,
        };
        let noted = Noted {
            inner: service,
            asked,
        };
        ready(Ok((admitted, noted)))
    }
}

/// A connection with its place, which it keeps as long as it is open: as WebSocket, too.
#[derive(Debug)]
pub(crate) struct Admitted {
    stream: TcpStream,
    asked: Arc<AtomicBool>,
    counters: Arc<Counters>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if !self.asked.load(Ordering::Relaxed) {
            self.counters.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection's service, which notes that a request came.
#[derive(Clone, Debug)]
pub(crate) struct Noted<S> {
    inner: S,
    asked: Arc<AtomicBool>,
}

impl<S: Service<R>, R> Service<R> for Noted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.asked.store(true, Ordering::Relaxed);
        self.inner.call(request)
    }
}

/// Files that the process needs beside connections: media sockets, wake-ups, listeners, pages that are read.
const OTHER_FILES: u64 = 256;

/// Asks the system for as many open files as it gives, and warns if that is less than the bound on connections needs.
pub(crate) fn raise_file_limit(connections: u32) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // No limit at all is none.
    if let Some(files) = files
        && files < u64::from(connections) + OTHER_FILES
    {
        tracing::warn!(
            files,
            connections,
            "the system allows fewer open files than limits.connections needs; raise LimitNOFILE or ulimit -n"
        );
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    struct Rig {
        gate: ConnectionGate,
        address: SocketAddr,
    }

    fn rig(connections: u32, millis: u64) -> Rig {
        let gate = ConnectionGate::new(ConnectionLimits {
            connections,
            request_time: Duration::from_millis(millis),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new().route("/", axum::routing::get(async || "hello"));
        gate.serve(listener, app, None, &Handle::new()).unwrap();
        Rig { gate, address }
    }

    impl Rig {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        async fn until(&self, what: &str, holds: impl Fn(HttpSnapshot) -> bool) {
            let wait = async {
                while !holds(self.gate.snapshot()) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), wait)
                .await
                .unwrap_or_else(|_| panic!("never: {what}: {:?}", self.gate.snapshot()));
        }
    }

    /// What is answered until `hello`, or until the connection ends.
    async fn answer(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 1024];
        let read = async {
            while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                text.extend_from_slice(&buffer[..len]);
                if text.ends_with(b"hello") {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), read)
            .await
            .expect("an answer or an end");
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn as_many_as_the_limit_are_served_and_one_more_is_closed_and_counted() {
        let rig = rig(3, 10_000);
        let mut open = Vec::new();
        for _ in 0..3 {
            let mut stream = rig.connect().await;
            stream.write_all(REQUEST).await.unwrap();
            assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 "));
            open.push(stream);
        }
        assert_eq!(rig.gate.snapshot().connections, 3);
        let mut beyond = rig.connect().await;
        assert_eq!(answer(&mut beyond).await, "");
        assert_eq!(rig.gate.snapshot().refused, 1);
        // A place that is free again is given again.
        open.pop();
        rig.until("a free place", |s| s.connections == 2).await;
        let mut next = rig.connect().await;
        next.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut next).await.starts_with("HTTP/1.1 200 "));
        let counted = rig.gate.snapshot();
        assert_eq!((counted.refused, counted.unanswered), (1, 0));
    }

    #[tokio::test]
    async fn who_does_not_finish_its_request_in_time_is_closed_and_counted() {
        let rig = rig(3, 300);
        let start = std::time::Instant::now();
        let mut silent = rig.connect().await;
        let mut slow = rig.connect().await;
        slow.write_all(&REQUEST[..20]).await.unwrap();
        // A request without end can't buy time byte by byte.
        for byte in b"abcdefgh" {
            let _ = slow.write_all(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(answer(&mut silent).await, "");
        assert!(!answer(&mut slow).await.contains("200"));
        assert!(start.elapsed() < Duration::from_secs(5));
        rig.until("both counted", |s| s.unanswered == 2 && s.connections == 0)
            .await;
    }

    #[tokio::test]
    async fn a_kept_connection_without_a_next_request_gives_its_place_back() {
        let rig = rig(1, 300);
        let mut stream = rig.connect().await;
        stream.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 "));
        rig.until("the place is free", |s| s.connections == 0).await;
        assert_eq!(rig.gate.snapshot().unanswered, 0);
    }
}
