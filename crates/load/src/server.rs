//! Starts a server under test with a configuration of its own, and takes it down again.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::error::LoadError;
use crate::janus::Janus;
use crate::livekit::LiveKit;
use crate::process::pin_to;

/// Environment variable that names the built server.
pub const BINARY_VARIABLE: &str = "SCHALTER_BIN";
/// How long a server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a server may take to stop when asked.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// Name of the API key in the generated configuration.
const KEY: &str = "load";
/// Port of Janus's WebSocket API in Debian's configuration.
const JANUS_PORT: u16 = 8188;

/// A server of ours; stops when dropped.
pub struct Spawned {
    child: Child,
    directory: Option<PathBuf>,
    /// Where metrics are, for a Schalter.
    admin: Option<SocketAddr>,
    /// The first worker's port for media, for a Schalter.
    media: Option<u16>,
}

impl Spawned {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The UDP port of a Schalter's first worker.
    pub fn media_port(&self) -> Option<u16> {
        self.media
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// [`LoadError`] when it is no Schalter, or does not answer.
    pub async fn metrics(&self) -> Result<Metrics, LoadError> {
        let (Some(admin), Some(directory)) = (self.admin, &self.directory) else {
            return Err(LoadError::Usage(
                "only a spawned Schalter's metrics are known".to_owned(),
            ));
        };
        let file = directory.join("state").join("admin-token");
        let token = std::fs::read_to_string(&file)
            .map_err(|error| LoadError::io(file.display().to_string(), error))?;
        Metrics::fetch(admin, token.trim()).await
    }

    /// Asks it to stop and waits; answers whether it stopped by itself with success.
    pub fn stop(&mut self) -> bool {
        let Ok(None) = self.child.try_wait() else {
            return false;
        };
        if let Some(pid) = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = std::time::Instant::now() + STOP_TIMEOUT;
        while std::time::Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        false
    }
}

/// What a Schalter counted, by name with labels.
#[derive(Clone, Debug, Default)]
pub struct Metrics(HashMap<String, f64>);

impl Metrics {
    async fn fetch(admin: SocketAddr, token: &str) -> Result<Self, LoadError> {
        let exchange = async {
            let mut stream = tokio::net::TcpStream::connect(admin).await?;
            let request = format!(
                "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        let answer = exchange
            .await
            .map_err(|error| LoadError::io(format!("metrics at {admin}"), error))?;
        if !answer.starts_with("HTTP/1.1 200 ") {
            let status = answer.lines().next().unwrap_or_default();
            return Err(LoadError::Server(format!("metrics: {status}")));
        }
        Ok(Self::read(&answer))
    }

    /// Reads lines of Prometheus' text format; everything else is passed over.
    fn read(text: &str) -> Self {
        let pairs = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            });
        Self(pairs.collect())
    }

    /// A value; 0 if there is none of this name.
    pub fn value(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.stop();
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// How to start Schalter.
#[derive(Clone, Debug)]
pub struct SchalterOptions {
    /// The built server.
    pub binary: PathBuf,
    /// Address for everything.
    pub address: IpAddr,
    /// Media workers.
    pub workers: u8,
    /// Core to stay on.
    pub core: Option<usize>,
    /// Lines to add below `rtc:`.
    pub rtc: Vec<String>,
    /// Address that clients are told in place of [`Self::address`], as behind a NAT.
    pub told: Option<IpAddr>,
    /// Lines to add at the end.
    pub more: Vec<String>,
}

impl SchalterOptions {
    /// The server that [`BINARY_VARIABLE`] names, else the one beside this program.
    ///
    /// # Errors
    /// [`LoadError::Usage`] when there is none.
    pub fn find() -> Result<Self, LoadError> {
        let binary = match std::env::var_os(BINARY_VARIABLE) {
            Some(path) => PathBuf::from(path),
            None => {
                let own =
                    std::env::current_exe().map_err(|error| LoadError::io("own path", error))?;
                // Benches are one directory further down.
                own.ancestors()
                    .skip(1)
                    .take(2)
                    .map(|directory| directory.join("schalter"))
                    .find(|path| path.is_file())
                    .ok_or_else(|| {
                        LoadError::Usage(format!(
                            "no schalter beside this program: build it with cargo build --release -p schalter, \
                             or set {BINARY_VARIABLE}"
                        ))
                    })?
            }
        };
        Ok(Self {
            binary,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            workers: 1,
            core: None,
            rtc: Vec::new(),
            told: None,
            more: Vec::new(),
        })
    }

    fn config(&self, ports: &Ports, secret: &str, state: &Path) -> String {
        let Self {
            address, workers, ..
        } = self;
        let mut rtc = match self.told {
            None => format!("  node_ip: {address}\n"),
            Some(told) => format!("  addresses: [{{\"{address}\": \"{told}\"}}]\n"),
        };
        for line in &self.rtc {
            rtc.push_str(&format!("  {line}\n"));
        }
        format!(
            "port: {http}\nbind_addresses: [\"{address}\"]\nkeys:\n  {KEY}: {secret}\nrtc:\n  udp_port: {media}\n  tcp_port: 0\n  \
             workers: {workers}\n{rtc}room:\n  max_participants: 0\nlimits:\n  participants_per_room: 10000\n  connections: 100000\nadmin:\n  \
             listen: {admin}\nstate_dir: {state}\n{more}",
            http = ports.http,
            media = ports.media,
            admin = SocketAddr::new(*address, ports.admin),
            state = state.display(),
            more = self
                .more
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        )
    }
}

struct Ports {
    http: u16,
    admin: u16,
    media: u16,
}

/// Ports that are free now. Somebody may take one before the server does; then it says so and the run fails.
fn free_ports(address: IpAddr, workers: u8) -> Result<Ports, LoadError> {
    let io = |error| LoadError::io("looking for free ports", error);
    let (http, admin) = (
        TcpListener::bind((address, 0)).map_err(io)?,
        TcpListener::bind((address, 0)).map_err(io)?,
    );
    let port = |listener: &TcpListener| listener.local_addr().map(|at| at.port()).map_err(io);
    loop {
        let first = UdpSocket::bind((address, 0)).map_err(io)?;
        let media = first.local_addr().map_err(io)?.port();
        let rest = (1..u16::from(workers))
            .map(|next| {
                media
                    .checked_add(next)
                    .and_then(|port| UdpSocket::bind((address, port)).ok())
            })
            .collect::<Option<Vec<_>>>();
        if rest.is_some() {
            return Ok(Ports {
                http: port(&http)?,
                admin: port(&admin)?,
                media,
            });
        }
    }
}

/// Starts a process on one core: it inherits where its parent's thread runs.
fn start(command: &mut Command, core: Option<usize>) -> Result<Child, LoadError> {
    let name = command.get_program().to_string_lossy().into_owned();
    std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            if let Some(core) = core {
                pin_to(core)?;
            }
            command
                .spawn()
                .map_err(|error| LoadError::io(format!("starting {name}"), error))
        });
        starter.join().expect("starting a process does not panic")
    })
}

fn wait_until_listening(
    spawned: &mut Spawned,
    address: SocketAddr,
    log: &Path,
) -> Result<(), LoadError> {
    let deadline = std::time::Instant::now() + START_TIMEOUT;
    let log = || std::fs::read_to_string(log).unwrap_or_default();
    while std::time::Instant::now() < deadline {
        if let Ok(Some(status)) = spawned.child.try_wait() {
            return Err(LoadError::Server(format!(
                "ended with {status}:\n{}",
                log()
            )));
        }
        if std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(LoadError::Server(format!(
        "does not listen on {address} after {START_TIMEOUT:?}:\n{}",
        log()
    )))
}

fn temporary_directory() -> Result<PathBuf, LoadError> {
    let path = std::env::temp_dir().join(format!("schalter-load-{:016x}", rand::random::<u64>()));
    std::fs::create_dir(&path).map_err(|error| LoadError::io(path.display().to_string(), error))?;
    Ok(path)
}

fn log_file(path: &Path) -> Result<Stdio, LoadError> {
    let file = std::fs::File::create(path)
        .map_err(|error| LoadError::io(path.display().to_string(), error))?;
    Ok(file.into())
}

/// Starts Schalter with a generated configuration and waits until it listens.
///
/// # Errors
/// [`LoadError`] when it does not start; the text has its log.
pub fn spawn_schalter(options: &SchalterOptions) -> Result<(Spawned, LiveKit), LoadError> {
    let directory = temporary_directory()?;
    let ports = free_ports(options.address, options.workers)?;
    let secret = format!("{:032x}", rand::random::<u128>());
    let state = directory.join("state");
    let (config, log) = (directory.join("schalter.yaml"), directory.join("log"));
    let io = |error| LoadError::io(directory.display().to_string(), error);
    std::fs::create_dir(&state).map_err(io)?;
    std::fs::write(&config, options.config(&ports, &secret, &state)).map_err(io)?;
    let mut command = Command::new(&options.binary);
    command.arg("serve").arg("--config").arg(&config);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log_file(&log)?);
    let child = start(&mut command, options.core)?;
    let mut spawned = Spawned {
        child,
        directory: Some(directory),
        admin: Some(SocketAddr::new(options.address, ports.admin)),
        media: Some(ports.media),
    };
    let http = SocketAddr::new(options.address, ports.http);
    wait_until_listening(&mut spawned, http, &log)?;
    Ok((
        spawned,
        LiveKit {
            url: format!("ws://{http}"),
            key: KEY.to_owned(),
            secret,
        },
    ))
}

/// Where Debian keeps Janus's configuration.
const JANUS_CONFIG: &str = "/etc/janus/janus.jcfg";

/// Starts Debian's Janus with Debian's configuration, changed at most in how many event loops there are (none: one a
/// handle), and waits until it listens.
///
/// # Errors
/// [`LoadError`] when it is not installed or does not start.
pub fn spawn_janus(
    address: IpAddr,
    event_loops: Option<u8>,
    core: Option<usize>,
) -> Result<(Spawned, Janus), LoadError> {
    let directory = temporary_directory()?;
    let log = directory.join("log");
    let mut command = Command::new("janus");
    if let Some(loops) = event_loops {
        let debian = std::fs::read_to_string(JANUS_CONFIG).map_err(|_| {
            LoadError::Usage("Janus is not installed: apt-get install janus".to_owned())
        })?;
        let config = directory.join("janus.jcfg");
        let changed = debian.replacen(
            "general: {",
            &format!("general: {{\n\tevent_loops = {loops}"),
            1,
        );
        std::fs::write(&config, changed)
            .map_err(|error| LoadError::io(config.display().to_string(), error))?;
        command.arg("--config").arg(config);
    }
    command
        .stdin(Stdio::null())
        .stdout(log_file(&log)?)
        .stderr(Stdio::null());
    let child = start(&mut command, core).map_err(|error| match error {
        LoadError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            LoadError::Usage("Janus is not installed: apt-get install janus".to_owned())
        }
        other => other,
    })?;
    let mut spawned = Spawned {
        child,
        directory: Some(directory),
        admin: None,
        media: None,
    };
    let api = SocketAddr::new(address, JANUS_PORT);
    wait_until_listening(&mut spawned, api, &log)?;
    Ok((
        spawned,
        Janus {
            url: format!("ws://{api}"),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_workers_follow_each_other_and_are_free() {
        let ports = free_ports(IpAddr::V4(Ipv4Addr::LOCALHOST), 3).unwrap();
        assert_ne!(ports.http, ports.admin);
        for next in 0..3 {
            UdpSocket::bind((Ipv4Addr::LOCALHOST, ports.media + next)).unwrap();
        }
    }

    #[test]
    fn the_configuration_says_what_was_asked_for() {
        let options = SchalterOptions {
            binary: "x".into(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            workers: 2,
            core: None,
            rtc: vec!["burst_us: 500".to_owned()],
            told: None,
            more: vec!["turn: {udp_port: 4}".to_owned()],
        };
        let ports = Ports {
            http: 1,
            admin: 2,
            media: 3,
        };
        let text = options.config(&ports, "s", Path::new("/x"));
        for line in [
            "port: 1",
            "  udp_port: 3",
            "  workers: 2",
            "  node_ip: 127.0.0.1",
            "turn: {udp_port: 4}",
            "  burst_us: 500",
            "  listen: 127.0.0.1:2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        let behind_nat = SchalterOptions {
            told: Some("127.0.0.2".parse().unwrap()),
            ..options
        };
        let text = behind_nat.config(&ports, "s", Path::new("/x"));
        let line = "  addresses: [{\"127.0.0.1\": \"127.0.0.2\"}]";
        assert!(
            text.lines().any(|l| l == line) && !text.contains("node_ip"),
            "{text}"
        );
    }

    #[test]
    fn metrics_are_read_by_name_with_labels() {
        let metrics = Metrics::read(
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n# TYPE a counter\na{reason=\"x\"} 7\nb 0.5\n",
        );
        assert_eq!(metrics.value("a{reason=\"x\"}"), 7.0);
        assert_eq!(metrics.value("b"), 0.5);
        assert_eq!(metrics.value("c"), 0.0);
    }

    #[test]
    fn a_server_that_does_not_start_says_why() {
        let mut command = Command::new("false");
        let directory = temporary_directory().unwrap();
        let log = directory.join("log");
        std::fs::write(&log, "no port for me").unwrap();
        let child = start(&mut command, None).unwrap();
        let mut spawned = Spawned {
            child,
            directory: Some(directory),
            admin: None,
            media: None,
        };
        let error =
            wait_until_listening(&mut spawned, "127.0.0.1:1".parse().unwrap(), &log).unwrap_err();
        assert!(error.to_string().contains("no port for me"), "{error}");
    }
}
