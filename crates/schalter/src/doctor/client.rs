//! From a client's side: the way that a browser goes, step by step, to media that answers.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use livekit_protocol::IceServer;
use rustls::ProtocolVersion;

use super::certificate::{Trust, unix_now};
use super::connect::{self, Io, Target, within};
use super::http_date;
use super::join::{self, JoinError, Joined};
use super::report::{Report, Severity};
use super::stun::{self, Channel, Framing};
use super::turn::{self, TurnUrl};

/// Seconds that clocks may differ by. Tokens allow for a few seconds only.
const SKEW_WARNING: i64 = 10;
const SKEW_ERROR: i64 = 60;
/// Longest page that is read.
const BODY: usize = 64 * 1024;

/// What is needed beside the address.
pub(crate) struct Client {
    pub(crate) target: Target,
    pub(crate) token: Option<String>,
    pub(crate) trust: Trust,
    /// How long each step may take.
    pub(crate) patience: Duration,
}

impl Client {
    pub(crate) async fn examine(&self, report: &mut Report) {
        let Some(address) = self.reach(report).await else {
            return;
        };
        let Some(()) = self.certificate(address, report).await else {
            return;
        };
        self.page(address, report).await;
        let Some(joined) = self.websocket(address, report).await else {
            return;
        };
        self.media(&joined, report).await;
        joined.leave().await;
    }

    /// DNS and TCP. Answers an address that can be reached.
    async fn reach(&self, report: &mut Report) -> Option<SocketAddr> {
        let Target { host, port, .. } = &self.target;
        let addresses = match connect::resolve(host, *port, self.patience).await {
            Ok(addresses) if !addresses.is_empty() => addresses,
            Ok(_) => {
                report.error(
                    "dns",
                    format!("{host} has no address"),
                    "Add an A or AAAA record.",
                );
                return None;
            }
            Err(error) => {
                report.error(
                    "dns",
                    format!("{host} can't be looked up: {error}"),
                    "Check how the name is written, that it has an A or AAAA record, and which DNS server this machine asks.",
                );
                return None;
            }
        };
        let listed: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
        if host.parse::<std::net::IpAddr>().is_ok() {
            report.skipped("dns", format!("{host} is no name"));
        } else {
            report.ok("dns", format!("{host} is {}", listed.join(", ")));
        }
        let mut reached = None;
        let mut failed = Vec::new();
        for address in addresses {
            let begun = Instant::now();
            match connect::tcp(address, self.patience).await {
                Ok(_) => {
                    let took = begun.elapsed().as_millis();
                    report.ok("tcp", format!("{address} is open ({took} ms)"));
                    reached = reached.or(Some(address));
                }
                Err(error) => failed.push((address, error)),
            }
        }
        for (address, error) in failed {
            let remedy = if error.kind() == io::ErrorKind::ConnectionRefused {
                "Nothing listens there, or a firewall says no: start the server, and compare port and bind_addresses with the address."
            } else {
                "A firewall on the way drops it, or routing to this address fails: open this TCP port, or take the address out of DNS."
            };
            let measured = format!("{address} can't be reached: {}", plain(&error));
            // Browsers go on to the next address.
            let severity = if reached.is_some() {
                Severity::Warning
            } else {
                Severity::Error
            };
            report.add("tcp", severity, measured, Some(remedy.to_owned()));
        }
        reached
    }

    /// Opens a stream, secured if the address says so.
    async fn stream(&self, address: SocketAddr) -> io::Result<Box<dyn Io>> {
        let stream = connect::tcp(address, self.patience).await?;
        if !self.target.tls {
            return Ok(Box::new(stream));
        }
        let alpn: &[&[u8]] = &[b"http/1.1"];
        let secured = connect::tls(stream, &self.target.host, alpn, self.patience).await?;
        Ok(secured.stream)
    }

    /// TLS version and certificate. Nothing if there is no TLS where there should be.
    async fn certificate(&self, address: SocketAddr, report: &mut Report) -> Option<()> {
        if !self.target.tls {
            report.warning(
                "tls",
                "the address has no TLS",
                "Browsers give camera and microphone to pages with https:// only (but for localhost). Set up a certificate.",
            );
            return Some(());
        }
        let secured = match connect::tcp(address, self.patience).await {
            Ok(stream) => {
                let alpn: &[&[u8]] = &[b"http/1.1"];
                connect::tls(stream, &self.target.host, alpn, self.patience).await
            }
            Err(error) => Err(error),
        };
        let secured = match secured {
            Ok(secured) => secured,
            Err(error) => {
                report.error(
                    "tls",
                    format!("the TLS handshake fails: {}", plain(&error)),
                    "If the port speaks plain HTTP, use http:// or set up TLS; if it works from another network, a firewall ends the handshake: ask the IT \
                     department to allow TLS to this host.",
                );
                return None;
            }
        };
        match secured.version {
            Some(ProtocolVersion::TLSv1_3) => report.ok("tls", "TLS 1.3"),
            other => report.warning(
                "tls",
                format!("{other:?} and not TLS 1.3"),
                "Schalter itself speaks TLS 1.3: the proxy in front of the server, or one on the way, is older. Update it.",
            ),
        }
        self.trust.judge(&secured.chain, &self.target.host, report);
        Some(())
    }

    /// The page, and the clock that its head tells.
    async fn page(&self, address: SocketAddr, report: &mut Report) {
        let request = async {
            let stream = self.stream(address).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(io::Error::other)?;
            let request = hyper::Request::get("/")
                .header("host", self.target.authority())
                .header("accept", "*/*")
                .header(
                    "user-agent",
                    concat!("schalter-doctor/", env!("CARGO_PKG_VERSION")),
                )
                .body(Empty::<Bytes>::new())
                .map_err(io::Error::other)?;
            let exchange = async {
                let response = sender.send_request(request).await?;
                let (head, body) = response.into_parts();
                let body = Limited::new(body, BODY).collect().await;
                Ok::<_, hyper::Error>((head, body.map(|body| body.to_bytes())))
            };
            tokio::select! {
                biased;
                answer = exchange => answer.map_err(io::Error::other),
                ended = connection => Err(ended.map_or_else(io::Error::other, |()| io::ErrorKind::UnexpectedEof.into())),
            }
        };
        let begun = Instant::now();
        let (head, body) = match within(self.patience, request).await {
            Ok(answer) => answer,
            Err(error) => {
                report.error(
                    "http",
                    format!("no answer to GET /: {}", plain(&error)),
                    "Look at the server's log; if it does not run behind this port, at the proxy's.",
                );
                return;
            }
        };
        let took = begun.elapsed().as_millis();
        let body = body.unwrap_or_default();
        if head.status.is_success() && body.trim_ascii() == b"OK" {
            report.ok("http", format!("Schalter answers ({took} ms)"));
        } else {
            report.error(
                "http",
                format!("something answers GET / with {} that is not Schalter", head.status),
                "Have the proxy in front pass every path on to Schalter. A proxy on the way that shows a page of its own (a login, a block page) must let this host \
                 pass: ask the IT department.",
            );
        }
        let date = head.headers.get("date").and_then(|date| date.to_str().ok());
        match date.and_then(http_date::parse) {
            Some(theirs) => clock(unix_now() - theirs, report),
            None => report.skipped("clock", "the answer has no date"),
        }
    }

    /// The upgrade, and with a token the whole join.
    async fn websocket(&self, address: SocketAddr, report: &mut Report) -> Option<Joined> {
        let begun = Instant::now();
        let stream = match self.stream(address).await {
            Ok(stream) => stream,
            Err(error) => {
                self.no_websocket(JoinError::Lost(plain(&error)), report);
                return None;
            }
        };
        let token = self.token.as_deref();
        let opened = tokio::time::timeout(self.patience, join::open(stream, &self.target, token))
            .await
            .unwrap_or_else(|_| Err(JoinError::Lost("no answer".to_owned())));
        let joined = match (opened, token) {
            (Err(JoinError::Status { status: 401, .. }), None) => {
                report.ok(
                    "websocket",
                    "signaling answers, and refuses who has no token",
                );
                report.skipped(
                    "media",
                    "join, UDP and TURN are looked at with a token: name --token-file, or the server's --config (with room.auto_create: false, a token of a room that is there)",
                );
                return None;
            }
            (Ok(socket), Some(_)) => join::join(socket, self.patience).await,
            (Ok(_), None) => Err(JoinError::Lost(
                "something took a join without token".to_owned(),
            )),
            (Err(error), _) => Err(error),
        };
        match joined {
            Ok(joined) => {
                let took = begun.elapsed().as_millis();
                report.ok("websocket", format!("upgraded and joined ({took} ms)"));
                Some(joined)
            }
            Err(error) => {
                self.no_websocket(error, report);
                None
            }
        }
    }

    fn no_websocket(&self, error: JoinError, report: &mut Report) {
        match error {
            JoinError::Status { status: 401, body } => report.error(
                "websocket",
                format!("the token is refused (401: {body})"),
                "Sign it with a key of this server; if it says that the token is not valid yet or expired, set the clocks right.",
            ),
            JoinError::Status { status, body } if self.token.is_some() && [403, 404, 503].contains(&status) => report.error(
                "websocket",
                format!("the join is refused ({status}: {body})"),
                "The way is open; the server does not want this participant. What it says is what to change.",
            ),
            JoinError::Status { status, .. } => report.error(
                "websocket",
                format!("the upgrade is answered with {status}"),
                "Something on the way does not pass WebSockets on. In front of the server: see deploy/proxies for nginx, HAProxy and Caddy. In an office: ask the IT \
                 department to allow WebSockets (Upgrade: websocket) to this host.",
            ),
            JoinError::Lost(what) => report.error(
                "websocket",
                format!("the connection failed: {what}"),
                "Something on the way cuts WebSockets off. Ask the IT department to allow long-lived connections and WebSockets to this host.",
            ),
        }
    }

    /// Every way of media that the server offers.
    async fn media(&self, joined: &Joined, report: &mut Report) {
        let mut ways = Report::default();
        let mut udp = self.direct(joined, &joined.media.udp, false).await;
        let tcp = self.direct(joined, &joined.media.tcp, true).await;
        let relays = self.relays(joined).await;
        let open =
            |answers: &[(SocketAddr, io::Result<Duration>)]| answers.iter().any(|(_, a)| a.is_ok());
        let any = open(&udp) || open(&tcp) || relays.iter().any(|(_, answer)| answer.is_ok());
        // With another way calls work; where nothing else does it is what keeps them from working.
        let severity = if any {
            Severity::Warning
        } else {
            Severity::Error
        };
        let udp_open = open(&udp);
        if udp.is_empty() {
            ways.error(
                "media.udp",
                "the server tells no UDP address",
                "Look at rtc.node_ip and rtc.addresses.",
            );
        }
        for (address, answer) in udp.drain(..) {
            match answer {
                Ok(took) => ways.ok(
                    "media.udp",
                    format!("{address} answers ({} ms)", took.as_millis()),
                ),
                Err(error) => {
                    // One of several networks is enough for who is in it.
                    let severity = if udp_open {
                        Severity::Skipped
                    } else {
                        severity
                    };
                    ways.add(
                        "media.udp",
                        severity,
                        format!("{address} does not answer: {}", plain(&error)),
                        Some("Open this UDP port in both firewalls; if the address is not one that clients can reach, set rtc.node_ip or rtc.addresses.".to_owned()),
                    );
                }
            }
        }
        if tcp.is_empty() {
            ways.skipped("media.tcp", "the server offers no media over plain TCP");
        }
        for (address, answer) in tcp {
            match answer {
                Ok(took) => ways.ok(
                    "media.tcp",
                    format!("{address} answers ({} ms)", took.as_millis()),
                ),
                Err(error) => ways.add(
                    "media.tcp",
                    severity,
                    format!("{address} does not answer: {}", plain(&error)),
                    Some("Open this TCP port, or leave it to TURN.".to_owned()),
                ),
            }
        }
        if relays.is_empty() {
            ways.warning(
                "turn",
                "the server hands out no TURN server",
                "Where UDP is blocked, calls fail. Switch TURN on (docs/deploy.md), best over TLS on port 443.",
            );
        }
        for (url, answer) in relays {
            match answer {
                Ok(took) => ways.ok(
                    url.transport.check(),
                    format!("{url} relays to the media port ({} ms)", took.as_millis()),
                ),
                Err(error) => ways.add(
                    url.transport.check(),
                    severity,
                    format!("{url} {error}"),
                    Some(turn::remedy(&url, &error)),
                ),
            }
        }
        if any {
            ways.ok("media", "at least one way for sound and pictures works");
        } else {
            ways.error(
                "media",
                "no way for sound and pictures works: people would join and neither see nor hear each other",
                "Open one of the ways above. Best is UDP; TURN over TLS on port 443 works nearly everywhere.",
            );
        }
        report.extend(ways);
    }

    async fn direct(
        &self,
        joined: &Joined,
        candidates: &[SocketAddr],
        tcp: bool,
    ) -> Vec<(SocketAddr, io::Result<Duration>)> {
        let mut answers = Vec::new();
        for address in candidates {
            let check = async {
                let mut channel = if tcp {
                    let stream = connect::tcp(*address, self.patience).await?;
                    Channel::Stream(Box::new(stream), Framing::Length)
                } else {
                    Channel::udp(*address).await?
                };
                stun::connectivity(
                    &mut channel,
                    &joined.media,
                    &joined.local_ufrag,
                    self.patience,
                )
                .await
            };
            answers.push((*address, check.await));
        }
        answers
    }

    async fn relays(&self, joined: &Joined) -> Vec<(TurnUrl, Result<Duration, turn::TurnError>)> {
        let urls = joined.ice_servers.iter().flat_map(|server: &IceServer| {
            let urls = server.urls.iter().filter_map(|url| TurnUrl::parse(url));
            urls.map(move |url| (url, server))
        });
        let mut answers = Vec::new();
        for (url, server) in urls {
            let (media, ufrag) = (&joined.media, &joined.local_ufrag);
            let answer = turn::relay(&url, server, media, ufrag, &self.trust, self.patience).await;
            answers.push((url, answer));
        }
        answers
    }
}

/// `ahead` is by how many seconds this machine's clock is ahead of the server's.
fn clock(ahead: i64, report: &mut Report) {
    let measured = match ahead {
        -1..=1 => "the clocks agree".to_owned(),
        ahead if ahead > 0 => format!("this machine is {ahead} s ahead of the server"),
        ahead => format!("this machine is {} s behind the server", -ahead),
    };
    let remedy = "Have both machines set their clocks by NTP (systemd-timesyncd or chrony): tokens and certificates are good for their time only.";
    match ahead.abs() {
        SKEW_ERROR.. => report.error("clock", measured, remedy),
        SKEW_WARNING.. => report.warning("clock", measured, remedy),
        _ => report.ok("clock", measured),
    }
}

/// An error without its number.
fn plain(error: &io::Error) -> String {
    let words = [
        (io::ErrorKind::TimedOut, "no answer in time"),
        (io::ErrorKind::ConnectionRefused, "refused"),
        (io::ErrorKind::UnexpectedEof, "the connection was closed"),
    ];
    let known = words.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_with_the_side_that_is_ahead() {
        let told = |ahead| {
            let mut report = Report::default();
            clock(ahead, &mut report);
            let finding = report.findings()[0].clone();
            (finding.severity, finding.measured)
        };
        assert_eq!(told(1).0, Severity::Ok);
        assert_eq!(
            told(-30),
            (
                Severity::Warning,
                "this machine is 30 s behind the server".to_owned()
            )
        );
        assert_eq!(told(3600).0, Severity::Error);
    }
}
