//! How a certificate authority's directory is spoken to: HTTP/1.1 over TLS, one connection a request. There are a dozen requests
//! in two months, so nothing is kept.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);
/// Longest answer, in bytes. A chain of certificates is some 10 KiB.
const ANSWER: usize = 1 << 20;

/// A client that trusts the system's authorities, or those of one file.
#[derive(Clone)]
pub(super) struct Client {
    tls: TlsConnector,
}

impl Client {
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            Some(path) => {
                let complain =
                    |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
                let read = CertificateDer::pem_file_iter(path).map_err(|error| complain(&error))?;
                for certificate in read {
                    let certificate = certificate.map_err(|error| complain(&error))?;
                    roots.add(certificate).map_err(|error| complain(&error))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(match ca_file {
                Some(path) => format!("{}: there is no certificate in it", path.display()),
                None => {
                    "the system trusts no certificate authority: install ca-certificates".to_owned()
                }
            });
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
        })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let tls = self.tls.clone();
        Box::pin(async move {
            match tokio::time::timeout(REQUEST, exchange(&tls, request)).await {
                Ok(Ok(response)) => Ok(BytesResponse::from(response)),
                Ok(Err(error)) => Err(Error::Other(error)),
                Err(_) => Err(Error::Other("no answer in time".into())),
            }
        })
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    tls: &TlsConnector,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<http_body_util::Full<Bytes>>, Failed> {
    let uri = request.uri().clone();
    let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err("an address that begins with https:// is expected".into());
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let tcp = TcpStream::connect((bare, uri.port_u16().unwrap_or(443))).await?;
    let name = ServerName::try_from(bare.to_owned())?;
    let stream = tls.connect(name, tcp).await?;
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let authority = HeaderValue::from_str(authority)?;
    request.headers_mut().insert(HOST, authority);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answered = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, http_body_util::Full::new(body)))
    };
    let answered = answered.await;
    connection.abort();
    answered
}
