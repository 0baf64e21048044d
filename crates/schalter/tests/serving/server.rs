//! A server process with a folder of its own, its admin listener on a Unix socket, and clients of both.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{JoinResponse, SignalRequest, SignalResponse};
use prost::Message as _;
use schalter_load::livekit::{Grant, LiveKit, mint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub(crate) const SECRET: &str = "a-secret-that-is-long-enough-for-hs256";
pub(crate) const KEY: &str = "office";
pub(crate) const ADMIN_TOKEN: &str = "an-admin-token-of-more-than-32-characters";
/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of its own for each test. Short, since a Unix socket's path has little more than 100 bytes.
pub(crate) fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("schalter-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A folder that outlives the servers that write to it, if it is declared before them, and goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        Self(folder(name))
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Free ports for TCP and UDP, each another one. They are below those that the kernel gives to connections and to who asks for any port: between here
/// and whoever binds them nobody else gets them.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const LOWEST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let own = u16::try_from(std::process::id() % u32::from(COUNT)).expect("below 12,000");
    [(); N].map(|()| {
        loop {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = LOWEST + (own + next % COUNT) % COUNT;
            let address = ("127.0.0.1", port);
            if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
                return port;
            }
        }
    })
}

/// Writes the configuration: what is needed to serve beside others, and `more`. Answers where it is.
pub(crate) fn write_config(folder: &Path, more: &str) -> PathBuf {
    let config = folder.join("schalter.yaml");
    let token_file = folder.join("token");
    std::fs::write(&token_file, ADMIN_TOKEN).unwrap();
    let mut text = more.to_owned();
    // A key must not stand twice.
    for (key, value) in [
        ("port", "0".to_owned()),
        ("keys", format!("{{{KEY}: {SECRET}}}")),
        ("state_dir", folder.join("state").display().to_string()),
        (
            "rtc",
            "{udp_port: 0, node_ip: 127.0.0.1, pin_workers: false}".to_owned(),
        ),
        (
            "admin",
            format!(
                "{{listen: \"unix:{}\", token_file: {}}}",
                folder.join("admin.sock").display(),
                token_file.display()
            ),
        ),
    ] {
        if !more
            .lines()
            .any(|line| line.starts_with(&format!("{key}:")))
        {
            text.push_str(&format!("{key}: {value}\n"));
        }
    }
    std::fs::write(&config, text).unwrap();
    config
}

/// Starts the binary with such a configuration.
pub(crate) fn command(folder: &Path, arguments: &[&str], more: &str) -> Command {
    let config = write_config(folder, more);
    let mut command = Command::new(env!("CARGO_BIN_EXE_schalter"));
    command
        .arg("serve")
        .arg("--config")
        .arg(config)
        .args(arguments)
        .env_remove("SCHALTER_LOG")
        .stdin(Stdio::null());
    command
}

pub(crate) struct Server {
    child: Child,
    // Held, so that the server can write to it.
    stdout: BufReader<ChildStdout>,
    pub(crate) folder: PathBuf,
    /// The line that says where it is ready.
    pub(crate) ready: String,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start(name: &str, more: &str) -> Self {
        Self::start_in(&folder(name), &[], more)
    }

    pub(crate) fn start_in(folder: &Path, arguments: &[&str], more: &str) -> Self {
        Self::start_as(folder, command(folder, arguments, more))
    }

    pub(crate) fn start_as(folder: &Path, mut command: Command) -> Self {
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        let port = ready
            .split_whitespace()
            .find_map(|word| {
                let (_, authority) = word.split_once("://")?;
                authority.rsplit_once(':')?.1.parse().ok()
            })
            .unwrap_or_else(|| {
                let log = std::fs::read_to_string(folder.join("log")).unwrap();
                panic!("not ready: {ready}{log}")
            });
        let server = Self {
            child,
            stdout,
            folder: folder.to_owned(),
            ready,
            port,
        };
        // The line is printed a moment before the port answers.
        let address = (std::net::Ipv4Addr::LOCALHOST, port);
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(address).is_err() {
            assert!(
                std::time::Instant::now() < deadline,
                "port {port} is closed"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// What it prints after the first line, up to the line that has `word`.
    pub(crate) fn until_printed(&mut self, word: &str) -> String {
        let mut printed = String::new();
        while !printed.contains(word) {
            let read = self.stdout.read_line(&mut printed).unwrap();
            assert!(read > 0, "{printed}");
        }
        printed
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Asks it to stop; answers its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap().code()
    }

    /// Stops it; what it prints from here to its end.
    pub(crate) fn stop_and_read(&mut self) -> String {
        let mut printed = String::new();
        self.signal(rustix::process::Signal::TERM);
        self.stdout.read_to_string(&mut printed).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        printed
    }

    /// Ends it without a warning.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn livekit(&self) -> LiveKit {
        LiveKit {
            url: format!("ws://127.0.0.1:{}", self.port),
            key: KEY.to_owned(),
            secret: SECRET.to_owned(),
        }
    }

    /// Joins, or answers status and reason of the refusal.
    pub(crate) async fn join(
        &self,
        room: &str,
        identity: &str,
    ) -> Result<(Socket, JoinResponse), (u16, String)> {
        self.join_from(room, identity, None).await
    }

    pub(crate) async fn join_from(
        &self,
        room: &str,
        identity: &str,
        origin: Option<&str>,
    ) -> Result<(Socket, JoinResponse), (u16, String)> {
        let token = mint(KEY, SECRET, &Grant { room, identity }).unwrap();
        self.connect(&token, origin).await
    }

    pub(crate) async fn join_with(
        &self,
        token: &str,
    ) -> Result<(Socket, JoinResponse), (u16, String)> {
        self.connect(token, None).await
    }

    async fn connect(
        &self,
        token: &str,
        origin: Option<&str>,
    ) -> Result<(Socket, JoinResponse), (u16, String)> {
        let path = format!("/rtc?access_token={token}");
        let mut socket = self.open(&path, origin).await?;
        match socket.message().await {
            Some(Response::Join(join)) => Ok((socket, join)),
            other => panic!("join expected: {other:?}"),
        }
    }

    /// Continues a session; answers the first message.
    pub(crate) async fn resume_with(&self, token: &str, sid: &str) -> (Socket, Option<Response>) {
        let path = format!("/rtc?access_token={token}&reconnect=1&sid={sid}");
        let mut socket = self.open(&path, None).await.unwrap();
        let first = socket.message().await;
        (socket, first)
    }

    async fn open(&self, path: &str, origin: Option<&str>) -> Result<Socket, (u16, String)> {
        let url = format!("ws://127.0.0.1:{}{path}", self.port);
        let mut request = url.into_client_request().unwrap();
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", origin.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Socket { stream }),
            Err(Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                Err((answer.status().as_u16(), String::from_utf8(body).unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A plain GET on the public port; answers status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        self.exchange(&request).await
    }

    /// Sends a whole request, which must ask for the end of the connection, to the public port; answers status and body.
    pub(crate) async fn exchange(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// One exchange with the admin listener; answers status, head and body.
    pub(crate) async fn admin(&self, request: &str) -> (u16, String, String) {
        self.admin_as(request, Some(ADMIN_TOKEN)).await
    }

    pub(crate) async fn admin_as(
        &self,
        request: &str,
        token: Option<&str>,
    ) -> (u16, String, String) {
        let authorization = token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let request =
            format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}\r\n");
        let mut stream = UnixStream::connect(self.folder.join("admin.sock"))
            .await
            .unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (status, _, text) = self.admin("GET /metrics").await;
        assert_eq!(status, 200);
        let line = text.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let line = line.unwrap_or_else(|| panic!("{name} is missing in {text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    pub(crate) async fn until_metric(&self, name: &str, wanted: f64) {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let value = self.metric(name).await;
            if value == wanted {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{name} is {value}, not {wanted}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) struct Socket {
    pub(crate) stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// The next message; `None` once the connection has ended.
    pub(crate) async fn message(&mut self) -> Option<Response> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.stream.next())
                .await
                .expect("a frame in time");
            match frame?.ok()? {
                Message::Binary(bytes) => return SignalResponse::decode(bytes).unwrap().message,
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    pub(crate) async fn until<T>(&mut self, wanted: impl Fn(Response) -> Option<T>) -> T {
        loop {
            let message = self.message().await.expect("not closed before");
            if let Some(found) = wanted(message) {
                return found;
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
