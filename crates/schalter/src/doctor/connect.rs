//! Ways to a server: names, TCP, TLS. TLS is finished with whatever certificate comes, since the rest is worth measuring even
//! then; what the certificate is worth, [`super::certificate`] says.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ProtocolVersion, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A stream of whatever kind.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(super) tls: bool,
    /// A name or an address, IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Target {
    /// Reads `https://host`, `https://host:port`, or the same with http, ws or wss. A path is left out: the server's are fixed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let expected = || "an address such as https://video.example.org".to_owned();
        let uri: axum::http::Uri = text.parse().map_err(|_| expected())?;
        let tls = match uri.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(expected()),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(expected)?;
        Ok(Self {
            tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        })
    }

    /// `host` or `host:port`, as it stands in URLs and the Host header.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == if self.tls { 443 } else { 80 } {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

/// The addresses of a name, each once.
pub(super) async fn resolve(
    host: &str,
    port: u16,
    patience: Duration,
) -> io::Result<Vec<SocketAddr>> {
    let found = within(patience, tokio::net::lookup_host((host, port))).await?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

pub(super) async fn tcp(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = within(patience, TcpStream::connect(address)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits no longer than `patience`.
pub(super) async fn within<T>(
    patience: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::time::timeout(patience, work)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What a TLS handshake brought.
pub(super) struct Secured {
    pub(super) stream: Box<dyn Io>,
    pub(super) version: Option<ProtocolVersion>,
    /// The server's certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

/// Speaks TLS as browsers do, but goes on with every certificate and tells which it was.
pub(super) async fn tls(
    stream: TcpStream,
    host: &str,
    alpn: &[&[u8]],
    patience: Duration,
) -> io::Result<Secured> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let recorder = Arc::new(Recorder {
        provider: provider.clone(),
        seen: Mutex::default(),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(recorder.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = within(patience, connector.connect(name, stream)).await?;
    let version = stream.get_ref().1.protocol_version();
    let chain = std::mem::take(&mut *recorder.seen.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Secured {
        stream: Box::new(stream),
        version,
        chain,
    })
}

/// Notes the chain and accepts it; signatures of the handshake are checked all the same.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    seen: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
            chain.map(|der| der.clone().into_owned()).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        let target = |text: &str| Target::parse(text).unwrap();
        assert_eq!(target("https://a.example").authority(), "a.example");
        assert_eq!(target("https://a.example/#token=x").port, 443);
        assert_eq!(target("http://[2001:db8::1]:7880/").host, "2001:db8::1");
        assert_eq!(
            target("http://[2001:db8::1]:7880/").authority(),
            "[2001:db8::1]:7880"
        );
        for bad in ["a.example", "ftp://a.example", "https://", ""] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
