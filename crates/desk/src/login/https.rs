//! The HTTP client towards identity providers: one request, one answer.
//!
//! Owns what it may reach: HTTPS with the given roots, and plain HTTP on the loopback only, where tests and evaluations have their
//! provider. Follows no redirect (a provider that sends one elsewhere must not choose what this machine reaches), and reads bounded answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use openidconnect::{HttpRequest, HttpResponse};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

/// Longest answer: key sets of large providers have some kilobytes.
const ANSWER_BYTES: usize = 512 * 1024;
/// Bytes of an answer's head.
const HEAD_BYTES: usize = 32 * 1024;
/// How long one request may take, from the name's look-up to the last byte.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Addresses of a host that are tried in turn.
const MOST_ADDRESSES: usize = 4;
/// How long one address may take to connect.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is none that may be asked.
    #[error("only https addresses are asked, and http on the loopback")]
    Address,
    /// Nobody answers there.
    #[error("the provider can't be reached")]
    Unreachable,
    /// The certificate is not trusted, or TLS failed.
    #[error("no TLS with the provider")]
    Tls,
    /// What came is no answer, too long or too late.
    #[error("the provider's answer can't be read")]
    Answer,
}

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct HttpsClient {
    tls: TlsConnector,
}

impl HttpsClient {
    /// `roots`: who may vouch for providers.
    pub fn new(roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has what TLS 1.2 and 1.3 need")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            tls: TlsConnector::from(Arc::new(tls)),
        }
    }

    /// Makes one request.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        tokio::time::timeout(REQUEST_TIME, self.exchange(request))
            .await
            .map_err(|_| HttpError::Answer)?
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = request.uri().clone();
        let host = host_of(&uri).ok_or(HttpError::Address)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(HttpError::Address),
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = connect(&host, port, secure).await?;
        if !secure {
            return send(stream, request, &uri).await;
        }
        let name = ServerName::try_from(host).map_err(|_| HttpError::Address)?;
        let stream = self.tls.connect(name, stream).await;
        send(stream.map_err(|_| HttpError::Tls)?, request, &uri).await
    }
}

/// The host without the brackets of IPv6.
fn host_of(uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    Some(bare.unwrap_or(host).to_owned())
}

async fn connect(host: &str, port: u16, secure: bool) -> Result<TcpStream, HttpError> {
    let found: Vec<SocketAddr> = lookup_host((host, port))
        .await
        .map_err(|_| HttpError::Unreachable)?
        .collect();
    let mut error = HttpError::Unreachable;
    for address in found.into_iter().take(MOST_ADDRESSES) {
        if !secure && !address.ip().to_canonical().is_loopback() {
            error = HttpError::Address;
            continue;
        }
        if let Ok(Ok(stream)) =
            tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await
        {
            return Ok(stream);
        }
    }
    Err(error)
}

async fn send<S>(stream: S, request: HttpRequest, uri: &Uri) -> Result<HttpResponse, HttpError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut head, body) = request.into_parts();
    let authority = uri.authority().ok_or(HttpError::Address)?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| HttpError::Address)?;
    head.headers.insert(header::HOST, host);
    head.headers
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().map_err(|_| HttpError::Address)?;
    let request = hyper::Request::from_parts(head, Full::<Bytes>::from(body));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| HttpError::Answer)?;
    let answer = async {
        let (head, body) = sender
            .send_request(request)
            .await
            .map_err(|_| HttpError::Answer)?
            .into_parts();
        let body = Limited::new(body, ANSWER_BYTES)
            .collect()
            .await
            .map_err(|_| HttpError::Answer)?;
        Ok(hyper::Response::from_parts(head, body.to_bytes().to_vec()))
    };
    let mut answer = std::pin::pin!(answer);
    let mut connection = std::pin::pin!(connection);
    // The connection moves only while it is polled, and ends with this function: no task outlives the request.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn answered(answer: String) -> Result<HttpResponse, HttpError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            // Kept open until the client has read it or had enough.
            let _ = stream.read(&mut request).await;
        });
        ask(&format!("http://{address}/x?y=z")).await
    }

    async fn ask(uri: &str) -> Result<HttpResponse, HttpError> {
        let client = HttpsClient::new(RootCertStore::empty());
        let request = hyper::Request::builder().uri(uri).body(Vec::new()).unwrap();
        client.call(request).await
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let answer =
            "HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n";
        let answer = answered(answer.to_owned()).await.unwrap();
        assert_eq!(answer.status(), 302);
    }

    #[tokio::test]
    async fn an_answer_has_a_bound() {
        let answer = |len: usize| {
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{}",
                "x".repeat(len)
            )
        };
        let fits = answered(answer(ANSWER_BYTES)).await.unwrap();
        assert_eq!(fits.body().len(), ANSWER_BYTES);
        assert!(matches!(
            answered(answer(ANSWER_BYTES + 1)).await,
            Err(HttpError::Answer)
        ));
    }

    #[tokio::test]
    async fn plain_http_stays_on_this_machine() {
        for uri in ["http://192.0.2.1/", "ftp://127.0.0.1/", "/nowhere"] {
            assert!(matches!(ask(uri).await, Err(HttpError::Address)), "{uri}");
        }
    }
}
