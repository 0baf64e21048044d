//! The admin listener as Unix socket and as TCP port: what it leaves behind, replaces and refuses.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use crate::server::{Server, command, folder};

#[tokio::test]
async fn a_unix_socket_serves_and_is_gone_afterwards() {
    let mut server = Server::start("sock", "");
    let path = server.folder.join("admin.sock");
    let meta = std::fs::symlink_metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    assert_eq!(server.admin_as("GET /livez", None).await.0, 200);
    assert_eq!(server.admin_as("GET /metrics", None).await.0, 401);
    assert_eq!(server.metric("schalter_rooms").await, 0.0);
    assert!(!server.log().contains("plain HTTP"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
    assert!(!path.exists(), "the socket's file is removed");
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let folder = folder("stale");
    // Dropping a listener leaves its file, as a crash would.
    drop(UnixListener::bind(folder.join("admin.sock")).unwrap());
    let server = Server::start_in(&folder, &[], "");
    assert_eq!(server.admin_as("GET /readyz", None).await.0, 200);
}

#[test]
fn a_socket_in_use_and_a_file_that_is_no_socket_stay_and_end_the_start_with_2() {
    let folder = folder("used");
    let path = folder.join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    refuses(&folder, "", &["admin.sock", "admin.listen", "in use"]);
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    refuses(&folder, "", &["admin.sock", "admin.listen", "in use"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn an_admin_port_in_use_is_one_line_with_port_and_key_and_ends_with_2() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = folder("port");
    let more = format!("admin:\n  listen: 127.0.0.1:{port}\n");
    refuses(
        &folder,
        &more,
        &[&port.to_string(), "admin.listen", "in use"],
    );
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn plain_http_that_others_can_reach_is_warned_of_once() {
    let server = Server::start("plain", "admin:\n  listen: 0.0.0.0:0\n");
    let log = server.log();
    assert_eq!(log.matches("plain HTTP").count(), 1, "{log}");
    assert!(log.contains("WARN"), "{log}");
}

/// The start ends with 2 and one line that has all of `parts`.
fn refuses(folder: &std::path::Path, more: &str, parts: &[&str]) {
    let output = command(folder, &[], more).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
}
