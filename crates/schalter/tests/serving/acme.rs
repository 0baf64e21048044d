//! Certificates from a certificate authority: Debian's `pebble`, the small one of Let's Encrypt's own tests, with a DNS
//! server that says 127.0.0.1 to everything.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::{Authority, NAME, connect, files, trusting};
use crate::server::{PATIENCE, Server, folder};

const KID: &str = "kid-1";
/// 32 bytes in base64url.
const HMAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Pebble {
    authority: Authority,
    _dns: Process,
    pebble: Option<Process>,
    directory: String,
    management: u16,
    ca_file: PathBuf,
    folder: PathBuf,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Free ports, each another one.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn start(command: &mut Command, log: &Path) -> Process {
    let log = std::fs::File::create(log).unwrap();
    let command = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap());
    Process(command.stderr(log).spawn().expect("apt-get install pebble"))
}

impl Pebble {
    /// Starts it in a folder of its own. It validates at these ports, and its certificates are good for so many seconds.
    fn start(name: &str, tls_port: u16, http_port: u16, seconds: u64, eab: bool) -> Self {
        let authority = Authority::new();
        let own = folder(&format!("{name}-ca"));
        authority.issue(&own);
        let (chain, key) = files(&own);
        let ca_file = own.join("ca.pem");
        std::fs::write(&ca_file, authority.pem()).unwrap();
        let [api, management] = free_ports();
        let dns = UdpSocket::bind("127.0.0.1:0").unwrap();
        let dns_port = dns.local_addr().unwrap().port();
        drop(dns);
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{api}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": chain,
            "privateKey": key,
            "httpPort": http_port,
            "tlsPort": tls_port,
            "externalAccountBindingRequired": eab,
            "externalAccountMACKeys": { KID: HMAC_KEY },
            "certificateValidityPeriod": seconds,
        }});
        let config_file = own.join("config.json");
        std::fs::write(&config_file, config.to_string()).unwrap();
        let mut command = Command::new("pebble-challtestsrv");
        command.args(["-management", "", "-http01", "", "-https01", ""]);
        command.args([
            "-tlsalpn01",
            "",
            "-defaultIPv6",
            "",
            "-defaultIPv4",
            "127.0.0.1",
        ]);
        command.args(["-dns01", &format!("127.0.0.1:{dns_port}")]);
        let dns = start(&mut command, &own.join("dns.log"));
        let mut command = Command::new("pebble");
        command.env("PEBBLE_VA_NOSLEEP", "1");
        command.arg("-config").arg(&config_file);
        command.args(["-dnsserver", &format!("127.0.0.1:{dns_port}")]);
        let pebble = start(&mut command, &own.join("pebble.log"));
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", api)).is_err()
            || std::net::TcpStream::connect(("127.0.0.1", management)).is_err()
        {
            assert!(Instant::now() < deadline, "pebble does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            authority,
            _dns: dns,
            pebble: Some(pebble),
            directory: format!("https://localhost:{api}/dir"),
            management,
            ca_file,
            folder: own,
        }
    }

    /// The configuration's keys that name it.
    fn keys(&self) -> String {
        let (directory, ca_file) = (&self.directory, self.ca_file.display());
        format!("domains: [{NAME}], directory: '{directory}', ca_file: {ca_file}")
    }

    /// A client that trusts what it issues.
    async fn client(&self) -> TlsConnector {
        let mut stream = self.authority.connect_http1(self.management).await;
        let request = b"GET /roots/0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let root = CertificateDer::from_pem_slice(&answer).unwrap();
        trusting(&root, None, &[b"http/1.1"])
    }
}

/// Connects once there is a certificate that the client trusts.
async fn until_connected(client: &TlsConnector, server: &Server) -> TlsStream<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connect(client, server.port).await {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}: {}", server.log()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Asks for a page and answers it.
async fn get(stream: &mut TlsStream<TcpStream>) -> String {
    let request = format!("GET /rtc/validate HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = [0; 4_096];
    let len = stream.read(&mut buffer).await.unwrap();
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

#[tokio::test]
async fn with_an_external_account_a_certificate_comes_by_tls_and_is_renewed_in_time() {
    let folder = folder("acme-tls");
    let [tls_port] = free_ports();
    let pebble = Pebble::start("acme-tls", tls_port, 1, 9, true);
    let keys = pebble.keys();
    let eab = format!("eab: {{kid: {KID}, hmac_key: {HMAC_KEY}}}");
    let acme =
        format!("tls: {{port: {tls_port}, acme: {{{keys}, {eab}, email: admin@schalter.test}}}}\n");
    let server = Server::start_in(&folder, &[], &acme);
    assert_eq!(server.port, tls_port);
    let client = pebble.client().await;
    let mut first = until_connected(&client, &server).await;
    // Six of nine seconds later there is another one, and nobody was disturbed.
    assert!(get(&mut first).await.starts_with("HTTP/1.1 4"));
    let old = shown(&first);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut next = until_connected(&client, &server).await;
        assert!(get(&mut next).await.starts_with("HTTP/1.1 "));
        if shown(&next) != old {
            break;
        }
        assert!(Instant::now() < deadline, "{}", server.log());
        // A kept connection is as good as its last request is new.
        get(&mut first).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(get(&mut first).await.starts_with("HTTP/1.1 4"));
    assert_eq!(server.metric("schalter_acme_failures_total").await, 0.0);
    assert!(
        server.log().contains("a certificate was issued"),
        "{}",
        server.log()
    );
}

#[tokio::test]
async fn a_certificate_comes_by_http_is_kept_and_others_on_that_port_are_sent_to_https() {
    let folder = folder("acme-http");
    let [tls_port, http_port] = free_ports();
    let mut pebble = Pebble::start("acme-http", 1, http_port, 86_400, false);
    let acme = format!(
        "tls: {{port: {tls_port}, acme: {{{}, http_port: {http_port}}}}}\n",
        pebble.keys()
    );
    let mut server = Server::start_in(&folder, &[], &acme);
    let client = pebble.client().await;
    let first = shown(&until_connected(&client, &server).await);
    // Without a certificate authority the next start has the certificate all the same.
    let deadline = Instant::now() + PATIENCE;
    while !folder.join("state/acme-certificate.pem").exists() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pebble.pebble = None;
    assert_eq!(server.stop(), Some(0));
    let server = Server::start_as(&folder, crate::server::command(&folder, &[], &acme));
    assert_eq!(shown(&connect(&client, server.port).await.unwrap()), first);
    use std::os::unix::fs::PermissionsExt;
    for entry in std::fs::read_dir(folder.join("state")).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "keys are nobody else's");
    }

    for (host, path, expected) in [
        (
            NAME,
            "/a?b=c",
            format!("location: https://{NAME}:{tls_port}/a?b=c\r\n"),
        ),
        // Whoever claims another name is not sent there.
        (
            "evil.example",
            "/",
            format!("location: https://{NAME}:{tls_port}/\r\n"),
        ),
        (
            NAME,
            "/.well-known/acme-challenge/x",
            "http/1.1 404 ".to_owned(),
        ),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", http_port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let answer = answer.to_ascii_lowercase();
        assert!(answer.contains(&expected), "{host}{path}: {answer}");
    }
}

async fn until_logged(server: &Server, words: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !server.log().contains(words) {
        assert!(Instant::now() < deadline, "{words}: {}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_goes_wrong_is_told_with_its_remedy_and_counted() {
    let folder_a = folder("acme-eab");
    let [tls_port, closed] = free_ports();
    let pebble = Pebble::start("acme-bad", closed, 1, 86_400, true);
    let config = |eab: &str| {
        format!(
            "tls: {{port: {tls_port}, acme: {{{}{eab}}}}}\n",
            pebble.keys()
        )
    };
    let server = Server::start_in(&folder_a, &[], &config(""));
    until_logged(&server, "set tls.acme.eab").await;
    server
        .until_metric("schalter_acme_failures_total", 1.0)
        .await;
    assert!(connect(&pebble.client().await, tls_port).await.is_err());
    drop(server);

    // Nobody answers where the authority validates.
    let folder_b = folder("acme-closed");
    let eab = format!(", eab: {{kid: {KID}, hmac_key: {HMAC_KEY}}}");
    let server = Server::start_in(&folder_b, &[], &config(&eab));
    until_logged(&server, "TCP port 443 of the name must reach").await;
    drop(server);

    // Nor where its directory should be.
    let folder_c = folder("acme-gone");
    let gone = config(&eab)
        .replace("/dir'", "/dir', email: a@b.example")
        .replace(
            &pebble.directory,
            &format!("https://localhost:{closed}/dir"),
        );
    let server = Server::start_in(&folder_c, &[], &gone);
    until_logged(&server, "can't be reached").await;
    until_logged(&server, "let this machine connect to it").await;
    let log = server.log();
    assert!(!log.contains(HMAC_KEY), "{log}");
    drop(pebble);
}
