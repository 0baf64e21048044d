//! One request: resolve, judge the address, connect to exactly that one, send, read the answer's head.
//!
//! The address that is judged is the one that is connected to; the name is never looked up again, so nobody can answer
//! the check with one address and the connection with another. Each request has a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::config::Target;
use crate::network::AddressPolicy;
use crate::stats::RetryReason;

/// How we call ourselves.
const AGENT: &str = concat!("schalter/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer's head; what follows it is never read.
const ANSWER_BYTES: usize = 16 * 1024;
/// Header fields of an answer.
const ANSWER_FIELDS: usize = 100;
/// Addresses of a host that are tried in turn.
const MOST_ADDRESSES: usize = 4;
/// How long one address may take to connect, so that the next still has its chance.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Who may vouch for receivers: the certificates that the system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).
///
/// Empty where the system has none.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Stores hold certificates that no current library takes; the others are good.
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Why a request did not bring its event home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The receiver will never take this body.
    Refused,
    /// The receiver wants nothing any more (410).
    Gone,
    /// To be made again, at the earliest after what the receiver asked for.
    Again(RetryReason, Option<Duration>),
}

impl From<RetryReason> for Failure {
    fn from(reason: RetryReason) -> Self {
        Self::Again(reason, None)
    }
}

/// Sends to one receiver.
pub(crate) struct Client {
    target: Target,
    addresses: AddressPolicy,
    tls: TlsConnector,
    time: Duration,
}

impl Client {
    pub(crate) fn new(
        target: Target,
        addresses: AddressPolicy,
        roots: Arc<RootCertStore>,
        time: Duration,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has what TLS 1.2 and 1.3 need")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            target,
            addresses,
            tls: TlsConnector::from(Arc::new(tls)),
            time,
        }
    }

    /// Makes one request with these fields beside those that every request has.
    pub(crate) async fn send(&self, fields: HeaderMap, body: Bytes) -> Result<(), Failure> {
        match tokio::time::timeout(self.time, self.try_send(fields, body)).await {
            Ok(result) => result,
            Err(_) => Err(RetryReason::Timeout.into()),
        }
    }

    async fn try_send(&self, fields: HeaderMap, body: Bytes) -> Result<(), Failure> {
        let request = self.request(fields, body).ok_or(RetryReason::Protocol)?;
        let stream = self.connect().await?;
        if !self.target.tls {
            return self.exchange(stream, request).await;
        }
        let name = ServerName::try_from(self.target.host.clone()).map_err(|_| RetryReason::Tls)?;
        let connected = self.tls.connect(name, stream).await;
        self.exchange(connected.map_err(|_| RetryReason::Tls)?, request)
            .await
    }

    async fn connect(&self) -> Result<TcpStream, RetryReason> {
        let (host, port) = (self.target.host.as_str(), self.target.port);
        let found: Vec<SocketAddr> = lookup_host((host, port))
            .await
            .map_err(|_| RetryReason::Resolve)?
            .collect();
        if found.is_empty() {
            return Err(RetryReason::Resolve);
        }
        let mut reason = RetryReason::Denied;
        let allowed = found
            .into_iter()
            .filter(|address| self.addresses.allows(address.ip(), self.target.tls));
        for address in allowed.take(MOST_ADDRESSES) {
            match tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(_)) | Err(_) => reason = RetryReason::Connect,
            }
        }
        Err(reason)
    }

    async fn exchange<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(ANSWER_BYTES)
            .max_headers(ANSWER_FIELDS)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|_| RetryReason::Protocol)?;
        let mut answer = std::pin::pin!(sender.send_request(request));
        let mut connection = std::pin::pin!(connection);
        // The connection moves only while it is polled, and ends with this function: no task outlives the request, and no
        // more than the head of an answer is waited for.
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = &mut connection => answer.await,
        };
        let answer = answer.map_err(|_| RetryReason::Protocol)?;
        judge(answer.status(), answer.headers())
    }

    fn request(&self, mut fields: HeaderMap, body: Bytes) -> Option<Request<Full<Bytes>>> {
        let uri = &self.target.uri;
        let host = HeaderValue::try_from(uri.authority()?.as_str()).ok()?;
        fields.insert(HOST, host);
        fields.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
        let mut request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_11)
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .body(Full::from(body))
            .ok()?;
        *request.headers_mut() = fields;
        Some(request)
    }
}

fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        return Err(RetryReason::Redirect.into());
    }
    if status == StatusCode::GONE {
        return Err(Failure::Gone);
    }
    let verdict_on_body = [
        StatusCode::BAD_REQUEST,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        StatusCode::UNPROCESSABLE_ENTITY,
    ];
    if verdict_on_body.contains(&status) {
        return Err(Failure::Refused);
    }
    // Its other form, a date, is rare and clocks differ.
    let after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    Err(Failure::Again(RetryReason::Status, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_verdict() {
        let verdict = |status: u16| {
            let status = StatusCode::from_u16(status).expect("a status");
            judge(status, &HeaderMap::new())
        };
        for status in [200, 201, 202, 204] {
            assert_eq!(verdict(status), Ok(()), "{status}");
        }
        for status in [300, 301, 302, 303, 304, 307, 308] {
            assert_eq!(
                verdict(status),
                Err(RetryReason::Redirect.into()),
                "{status}"
            );
        }
        for status in [400, 413, 415, 422] {
            assert_eq!(verdict(status), Err(Failure::Refused), "{status}");
        }
        assert_eq!(verdict(410), Err(Failure::Gone));
        for status in [
            401, 403, 404, 405, 408, 409, 421, 425, 429, 500, 502, 503, 504, 599,
        ] {
            assert_eq!(verdict(status), Err(RetryReason::Status.into()), "{status}");
        }
    }

    #[test]
    fn a_pause_is_read_in_seconds() {
        let asked = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, hyper::header::HeaderValue::from_static(text));
            judge(StatusCode::SERVICE_UNAVAILABLE, &headers)
        };
        let seconds = |n| {
            Err(Failure::Again(
                RetryReason::Status,
                Some(Duration::from_secs(n)),
            ))
        };
        assert_eq!(asked("120"), seconds(120));
        assert_eq!(asked(" 7 "), seconds(7));
        for other in ["", "-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(asked(other), Err(RetryReason::Status.into()), "{other}");
        }
    }
}
