//! A receiver that answers as it is told, and remembers what it got.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    /// Request line and fields.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Got {
    /// The value of a header field, named in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            (field.to_ascii_lowercase() == name).then_some(value.trim())
        })
    }
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A status line's rest and header fields, e.g. `200 OK\r\n`.
    Head(String),
    /// Any bytes.
    Raw(Vec<u8>),
    /// Nothing, and the connection stays.
    Silence,
    /// The connection ends.
    Close,
}

impl Answer {
    pub(crate) fn ok() -> Self {
        Self::Head("200 OK\r\n".to_owned())
    }

    pub(crate) fn status(status: &str) -> Self {
        Self::Head(format!("{status}\r\n"))
    }
}

type Script = Box<dyn FnMut(&Got) -> Answer + Send>;

/// The receiver; gone when dropped.
pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    task: JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hook {
    pub(crate) async fn new(script: impl FnMut(&Got) -> Answer + Send + 'static) -> Self {
        Self::at("127.0.0.1:0", None, script).await
    }

    pub(crate) async fn at(
        address: &str,
        tls: Option<TlsAcceptor>,
        script: impl FnMut(&Got) -> Answer + Send + 'static,
    ) -> Self {
        // A former receiver's task may not have ended yet.
        let end = Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < end, "{address}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let address = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let all = Arc::clone(&got);
        let task = tokio::spawn(async move {
            // Ends with the listener's task, as the connections of a process that is gone.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (got, script, tls) = (Arc::clone(&all), Arc::clone(&script), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, got, script).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, got, script).await,
                            Err(_) => Some(()),
                        },
                    }
                });
            }
        });
        Self { address, got, task }
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.got().into_iter().map(|got| got.body).collect()
    }

    /// Waits until that many requests came.
    pub(crate) async fn until(&self, count: usize) {
        until("requests", || self.got().len() >= count).await;
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    all: Arc<Mutex<Vec<Got>>>,
    script: Arc<Mutex<Script>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    let got = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let got = Got {
            head: head.to_owned(),
            body: body.to_owned(),
        };
        let length: usize = got.field("content-length")?.parse().ok()?;
        if body.len() == length {
            break got;
        }
    };
    let answer = (script.lock().unwrap())(&got);
    all.lock().unwrap().push(got);
    match answer {
        Answer::Head(rest) => {
            let head = format!("HTTP/1.1 {rest}Content-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
        }
        Answer::Raw(bytes) => {
            // Whoever has enough closes.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
        }
        Answer::Silence => std::future::pending().await,
        Answer::Close => {}
    }
    Some(())
}

/// Waits for something to become true.
pub(crate) async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
