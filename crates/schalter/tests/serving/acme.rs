//! Certificates from a certificate authority: Debian's `pebble`, the small one of Let's Encrypt's own tests, with a DNS
//! server that says 127.0.0.1 to everything.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream, client};
use x509_parser::extensions::ParsedExtension;

use crate::authority::{Authority, NAME, connect, files, trusting};
use crate::server::{PATIENCE, Server, folder, free_ports};

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
    api: u16,
    management: u16,
    ca_file: PathBuf,
    folder: PathBuf,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
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
        let [api, management, dns_port] = free_ports();
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
        // It refuses one nonce in twenty otherwise, and three in a row are a failure that is counted.
        command.env("PEBBLE_WFE_NONCEREJECT", "0");
        command.arg("-config").arg(&config_file);
        command.args(["-dnsserver", &format!("127.0.0.1:{dns_port}")]);
        let pebble = start(&mut command, &own.join("pebble.log"));
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", api)).is_err()
            || std::net::TcpStream::connect(("127.0.0.1", management)).is_err()
        {
            let said = || std::fs::read_to_string(own.join("pebble.log"));
            assert!(
                Instant::now() < deadline,
                "pebble does not answer: {:?}",
                said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            authority,
            _dns: dns,
            pebble: Some(pebble),
            directory: format!("https://localhost:{api}/dir"),
            api,
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

/// What Debian's pebble lacks, before it: a directory that knows renewal information (RFC 9773). All else goes on to it, and what is
/// asked is noted.
struct Advising {
    port: u16,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Default)]
struct Asked {
    /// Certificates whose renewal was asked about.
    certificates: Vec<String>,
    /// What the orders replace.
    replaced: Vec<Option<String>>,
}

impl Advising {
    /// The first certificate is to be replaced at once, the others in a month.
    async fn start(pebble: &Pebble) -> Self {
        let (chain, key) = files(&pebble.folder);
        let chain = CertificateDer::pem_file_iter(chain).unwrap();
        let chain = chain.collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Asked>>::default();
        let (notes, api) = (Arc::clone(&asked), pebble.api);
        let towards = pebble.authority.client_http1();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (tls, notes, towards) = (tls.clone(), Arc::clone(&notes), towards.clone());
                tokio::spawn(async move {
                    let mut stream = TlsStream::from(tls.accept(tcp).await.unwrap());
                    let request = message(&mut stream).await.unwrap();
                    let request = String::from_utf8(request).unwrap();
                    let path = request.split(' ').nth(1).unwrap();
                    let answer = match path.strip_prefix("/renewal/") {
                        Some(certificate) => notes.lock().unwrap().advise(certificate),
                        None => {
                            if path == "/order-plz" {
                                notes.lock().unwrap().note_order(&request);
                            }
                            let pebble = connect(&towards, api).await.unwrap();
                            ask_pebble(pebble, &request, port).await
                        }
                    };
                    stream.write_all(&answer).await.unwrap();
                    stream.shutdown().await.unwrap();
                });
            }
        });
        Self { port, asked }
    }
}

impl Asked {
    fn advise(&mut self, certificate: &str) -> Vec<u8> {
        self.certificates.push(certificate.to_owned());
        let first = self.certificates.iter().all(|it| it == certificate);
        let year = if first { 2020 } else { 2120 };
        let window = json!({ "suggestedWindow": { "start": format!("{year}-01-01T00:00:00Z"), "end": format!("{year}-01-02T00:00:00Z") } });
        answer(&window, "Retry-After: 21600\r\n")
    }

    fn note_order(&mut self, request: &str) {
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let signed: serde_json::Value = serde_json::from_str(body).unwrap();
        let payload = URL_SAFE_NO_PAD.decode(signed["payload"].as_str().unwrap());
        let order: serde_json::Value = serde_json::from_slice(&payload.unwrap()).unwrap();
        let replaces = order.get("replaces").and_then(|it| it.as_str());
        self.replaced.push(replaces.map(str::to_owned));
    }
}

fn answer(body: &serde_json::Value, headers: &str) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n{body}").into_bytes()
}

/// Passes a request on as it is, so that its signature stays good; answers what came back, the directory with one address more.
async fn ask_pebble(mut pebble: client::TlsStream<TcpStream>, request: &str, port: u16) -> Vec<u8> {
    let closing = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    pebble.write_all(closing.as_bytes()).await.unwrap();
    let mut answered = Vec::new();
    // Go closes without saying so by TLS.
    let _ = pebble.read_to_end(&mut answered).await;
    if !request.starts_with("GET /dir ") {
        return answered;
    }
    let body = String::from_utf8(answered).unwrap();
    let (_, body) = body.split_once("\r\n\r\n").unwrap();
    let mut directory: serde_json::Value = serde_json::from_str(body).unwrap();
    directory["renewalInfo"] = format!("https://localhost:{port}/renewal").into();
    answer(&directory, "")
}

#[tokio::test]
async fn a_certificate_is_renewed_when_its_authority_suggests_it() {
    let folder = folder("acme-advice");
    let [tls_port] = free_ports();
    let pebble = Pebble::start("acme-advice", tls_port, 1, 90 * 86_400, false);
    let advising = Advising::start(&pebble).await;
    let keys = pebble.keys().replace(
        &pebble.directory,
        &format!("https://localhost:{}/dir", advising.port),
    );
    let acme = format!("tls: {{port: {tls_port}, acme: {{{keys}}}}}\n");
    let server = Server::start_in(&folder, &[], &acme);
    let client = pebble.client().await;
    // The second one is asked about once it is there.
    let deadline = Instant::now() + PATIENCE;
    while advising.asked.lock().unwrap().certificates.len() < 2 {
        assert!(Instant::now() < deadline, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let id = acme_id(&shown(&until_connected(&client, &server).await));
    until_logged(&server, "suggests to renew the certificate in 0 h").await;
    // A tenth of 90 days before its end at the latest.
    until_logged(&server, "suggests to renew the certificate in 194").await;
    {
        let asked = advising.asked.lock().unwrap();
        assert_eq!(asked.certificates.len(), 2, "{:?}", asked.certificates);
        assert_eq!(asked.certificates[1], id);
        let first = &asked.certificates[0];
        assert_ne!(*first, id);
        // This pebble does not know the word and says so by not repeating it: the order comes again without.
        assert_eq!(asked.replaced, [None, Some(first.clone()), None]);
    }
    assert_eq!(server.metric("schalter_acme_failures_total").await, 0.0);
}

/// As RFC 9773 §4.1 puts it: key of the authority and serial number, each in base64url.
fn acme_id(certificate: &[u8]) -> String {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    let key = parsed
        .iter_extensions()
        .find_map(|it| match it.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
            _ => None,
        });
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let serial = parsed.tbs_certificate.raw_serial();
    format!("{}.{}", encode(key.unwrap().0), encode(serial))
}

/// Connects once there is a certificate that the client trusts.
async fn until_connected(client: &TlsConnector, server: &Server) -> client::TlsStream<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connect(client, server.port).await {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}: {}", server.log()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn shown(stream: &client::TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Asks for a page and answers it, whole: what is left of an answer would be taken for the beginning of the next.
async fn get(stream: &mut client::TlsStream<TcpStream>) -> String {
    let request = format!("GET /rtc/validate HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let message = message(stream).await;
    String::from_utf8(message.expect("an answer")).unwrap()
}

/// Reads a request or an answer with its body, whose length it says; `None` if there is none.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head.split("\r\ncontent-length: ").nth(1);
            let length = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
            if read.len() >= end + 4 + length {
                return Some(read);
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
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
        // A kept connection is as good as its last request is new: it is asked also while the others get none, as a machine that is
        // busy takes longer to renew than the old certificate lasts.
        assert!(get(&mut first).await.starts_with("HTTP/1.1 4"));
        if let Ok(mut next) = connect(&client, server.port).await {
            assert!(get(&mut next).await.starts_with("HTTP/1.1 4"));
            if shown(&next) != old {
                break;
            }
        }
        assert!(Instant::now() < deadline, "{}", server.log());
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
