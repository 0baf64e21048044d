//! The operator's own listener: metrics, health, administration.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

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

/// Opens the listener and serves it until the task is aborted.
pub(crate) async fn serve(listen: &AdminListen, router: Router) -> Result<JoinHandle<()>, Failure> {
    match listen {
        AdminListen::Tcp(address) => {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| Failure::setup(format!("admin.listen {address}: {error}")))?;
            Ok(tokio::spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "the admin listener stopped");
                }
            }))
        }
        AdminListen::Unix(path) => {
            let complain = |error: std::io::Error| {
                Failure::setup(format!("admin.listen {}: {error}", path.display()))
            };
            remove_stale_socket(path).map_err(complain)?;
            let listener = UnixListener::bind(path).map_err(complain)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
                .map_err(complain)?;
            Ok(tokio::spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "the admin listener stopped");
                }
            }))
        }
    }
}

/// A socket that a crashed process left behind would keep us from listening; one that somebody listens on stays.
fn remove_stale_socket(path: &Path) -> std::io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
