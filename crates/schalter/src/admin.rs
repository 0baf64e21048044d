//! The operator's own listener: metrics, health, administration.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use crate::Failure;
use crate::config::{Admin, AdminListen};
use crate::state::{StateDir, random_secret};

/// File of the generated token in the state directory.
const TOKEN_FILE: &str = "admin-token";
/// Bytes of randomness in it.
const TOKEN_BYTES: usize = 24;

/// The bearer token: the configured one, or one that is generated once.
pub(crate) fn token(
    admin: &Admin,
    state: impl FnOnce() -> Result<StateDir, Failure>,
) -> Result<String, Failure> {
    if let Some(token) = &admin.token {
        return Ok(token.0.clone());
    }
    let text = state()?.file_or(TOKEN_FILE, || Ok(random_secret(TOKEN_BYTES)))?;
    Ok(text.trim().to_owned())
}

/// The listener, open before anything else starts, so that a port in use is one line and not a half-started server.
pub(crate) enum AdminListener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl AdminListener {
    pub(crate) async fn open(listen: &AdminListen) -> Result<Self, Failure> {
        match listen {
            AdminListen::Tcp(address) => match TcpListener::bind(address).await {
                Ok(listener) => {
                    if !address.ip().is_loopback() {
                        tracing::warn!(
                            "admin.listen is no loopback address, and the admin listener speaks plain HTTP: its token can \
                             be read on the way; use a Unix socket, or loopback with a TLS proxy in front"
                        );
                    }
                    Ok(Self::Tcp(listener))
                }
                Err(error) => Err(refused(*address, &error)),
            },
            AdminListen::Unix(path) => {
                let (listener, file) = open_socket(path).map_err(|error| {
                    let reason = if error.kind() == ErrorKind::AddrInUse {
                        "is in use".to_owned()
                    } else {
                        error.to_string()
                    };
                    Failure::setup(format!("{} (admin.listen) {reason}", path.display()))
                })?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    /// Serves until the result is dropped.
    pub(crate) fn serve(self, router: Router) -> AdminServer {
        match self {
            Self::Tcp(listener) => AdminServer {
                task: tokio::spawn(run(axum::serve(listener, router).into_future())),
                _file: None,
            },
            Self::Unix(listener, file) => AdminServer {
                task: tokio::spawn(run(axum::serve(listener, router).into_future())),
                _file: Some(file),
            },
        }
    }
}

fn refused(address: SocketAddr, error: &std::io::Error) -> Failure {
    let (ip, port) = (address.ip(), address.port());
    let kind = error.kind();
    Failure::setup(if kind == ErrorKind::AddrInUse {
        format!("port {port} (admin.listen) is in use")
    } else if kind == ErrorKind::AddrNotAvailable {
        format!("{ip} (admin.listen) is not an address of this machine")
    } else {
        format!("port {port} (admin.listen): {error}")
    })
}

async fn run(serve: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = serve.await {
        tracing::error!(%error, "the admin listener stopped");
    }
}

/// The running listener. Dropping it stops it, and takes the socket's file away.
pub(crate) struct AdminServer {
    task: JoinHandle<()>,
    _file: Option<SocketFile>,
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The file of a Unix socket of ours; removed when dropped, unless another has taken its name meanwhile.
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|now| now == self.inode) {
            // Nothing better can be done than to leave it to the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> std::io::Result<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

fn open_socket(path: &Path) -> std::io::Result<(UnixListener, SocketFile)> {
    remove_stale_socket(path)?;
    let listener = UnixListener::bind(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        inode: inode(path)?,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok((listener, file))
}

/// A socket that a crashed process left behind would keep us from listening; one that somebody listens on stays, and so
/// does everything that is no socket.
fn remove_stale_socket(path: &Path) -> std::io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refuses = std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    if is_socket && refuses {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
