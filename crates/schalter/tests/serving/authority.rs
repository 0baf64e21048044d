//! A certificate authority of the tests, and clients that trust it and nobody else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The name that certificates are for.
pub(crate) const NAME: &str = "schalter.test";

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes a new certificate with its key; answers the configuration's keys that name them.
    pub(crate) fn issue(&self, folder: &Path) -> String {
        let key = KeyPair::generate().unwrap();
        self.issue_for(folder, &key, |_| {})
    }

    pub(crate) fn issue_for(
        &self,
        folder: &Path,
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> String {
        let names = [NAME, "localhost"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        let (chain_file, key_file) = files(folder);
        std::fs::write(&chain_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let (chain, key) = (chain_file.display(), key_file.display());
        format!("cert_file: {chain}, key_file: {key}")
    }

    /// A client with what the provider of the library has, or another; it offers HTTP/2, as browsers do.
    pub(crate) fn client(&self, provider: Option<CryptoProvider>) -> TlsConnector {
        trusting(self.issuer.der(), provider, &[b"h2", b"http/1.1"])
    }

    /// A client that knows HTTP/1.1 only.
    pub(crate) fn client_http1(&self) -> TlsConnector {
        trusting(self.issuer.der(), None, &[b"http/1.1"])
    }

    /// Connects for HTTP/1.1 to `localhost`.
    pub(crate) async fn connect_http1(&self, port: u16) -> TlsStream<TcpStream> {
        connect(&self.client_http1(), port).await.unwrap()
    }

    pub(crate) async fn connect(&self, port: u16) -> TlsStream<TcpStream> {
        connect(&self.client(None), port).await.unwrap()
    }
}

pub(crate) fn files(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("chain.pem"), folder.join("key.pem"))
}

pub(crate) async fn connect(
    client: &TlsConnector,
    port: u16,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    client
        .connect(ServerName::try_from(NAME).unwrap(), tcp)
        .await
}

/// A client that trusts one authority.
pub(crate) fn trusting(
    root: &CertificateDer<'static>,
    provider: Option<CryptoProvider>,
    alpn: &[&[u8]],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = provider.unwrap_or_else(rustls::crypto::aws_lc_rs::default_provider);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Who goes on with a session is not shown a certificate.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}
