//! `tls` and `proxy_protocol`: how connections come in.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use schalter_transport::CryptoProfile;
use schalter_webhook::Network;

use super::document::{Complaint, Value};
use super::{Acme, bind_addresses, livekit};
use crate::tls::{Blamed, Certificate};

/// Longest time that browsers may be told to remember to use HTTPS, in seconds: two years.
const LONGEST_HSTS: i64 = 2 * 365 * 86_400;

/// TLS of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Where the certificate comes from.
    pub(crate) source: TlsSource,
    /// The port for TLS, if it is not the pages' port; that one is without TLS then.
    pub(crate) port: Option<u16>,
    /// Addresses that port is opened on; empty for those of the pages' port.
    pub(crate) bind_addresses: Vec<IpAddr>,
    /// How long browsers shall use nothing but HTTPS for this host; 0: they aren't told.
    pub(crate) hsts_seconds: u32,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TlsSource {
    /// Files, read already.
    Files(Arc<Certificate>),
    /// A certificate authority.
    Acme(Acme),
}

impl TlsSource {
    /// For the operator.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Files(certificate) => certificate.summary(),
            Self::Acme(acme) => format!("certificate for {} by ACME", acme.domains.join(", ")),
        }
    }
}

impl Tls {
    pub(super) fn read(value: &Value<'_>, profile: CryptoProfile) -> Result<Self, Complaint> {
        let mut group = value.group()?;
        let files = (group.value("cert_file"), group.value("key_file"));
        let acme = group.value("acme");
        let source = match files {
            (None, None) if acme.is_some() => {
                let acme = acme.map(|value| Acme::read(&value)).transpose()?;
                acme.map(TlsSource::Acme)
                    .expect("it was looked at just before")
            }
            (_, _) if acme.is_some() => {
                return value.complain("certificates come either from files or by acme, not both");
            }
            (Some(chain), Some(key)) => files_of(&chain, &key, profile)?,
            (Some(_), None) => return value.complain("a certificate needs tls.key_file, too"),
            (None, Some(_)) => return value.complain("a key needs tls.cert_file, too"),
            (None, None) => return value.complain("TLS needs cert_file and key_file, or acme"),
        };
        let mut tls = Self {
            source,
            port: None,
            bind_addresses: Vec::new(),
            hsts_seconds: 31_536_000,
        };
        group.take("port", &mut tls.port, |v| Ok(Some(v.number(0..=65_535)?)))?;
        let addresses = group.value("bind_addresses");
        if let Some(addresses) = addresses {
            tls.bind_addresses = bind_addresses(&addresses)?;
            if tls.port.is_none() {
                return addresses.complain("these are the addresses of tls.port, which is not set");
            }
        }
        group.take("hsts_seconds", &mut tls.hsts_seconds, |v| {
            v.number(0..=LONGEST_HSTS)
        })?;
        group.finish(livekit::advice)?;
        Ok(tls)
    }

    /// Whether a restart is needed to run as the other says. Another certificate needs none.
    pub(super) fn runs_as(&self, other: &Self) -> bool {
        let source = match (&self.source, &other.source) {
            (TlsSource::Files(_), TlsSource::Files(_)) => true,
            (TlsSource::Acme(own), TlsSource::Acme(other)) => own == other,
            (TlsSource::Files(_), TlsSource::Acme(_))
            | (TlsSource::Acme(_), TlsSource::Files(_)) => false,
        };
        source
            && self.port == other.port
            && self.bind_addresses == other.bind_addresses
            && self.hsts_seconds == other.hsts_seconds
    }
}

fn files_of(
    chain: &Value<'_>,
    key: &Value<'_>,
    profile: CryptoProfile,
) -> Result<TlsSource, Complaint> {
    let (chain_path, key_path) = (PathBuf::from(chain.text()?), PathBuf::from(key.text()?));
    let complain = |blamed, what: String| match blamed {
        Blamed::Certificate => chain.complain(what),
        Blamed::Key => key.complain(what),
    };
    let certificate = match Certificate::from_files(&chain_path, &key_path) {
        Ok(certificate) => certificate,
        Err((blamed, what)) => return complain(blamed, what),
    };
    match certificate.fit_for(profile) {
        Ok(certificate) => Ok(TlsSource::Files(Arc::new(certificate))),
        Err(error) => complain(error.blamed(), format!("{}: {error}", chain_path.display())),
    }
}

/// Balancers that begin connections with a PROXY header, version 2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxyProtocol {
    /// Where they are; empty: there is none.
    pub(crate) trusted: Vec<Network>,
}

impl ProxyProtocol {
    pub(super) fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut proxy = Self::default();
        let mut group = value.group()?;
        group.take("trusted", &mut proxy.trusted, |v| {
            let list = v.list()?;
            let networks = list
                .iter()
                .map(|v| v.parse::<Network>("a range of addresses such as 10.0.0.0/8"));
            networks.collect()
        })?;
        group.finish(livekit::advice)?;
        Ok(proxy)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[track_caller]
    fn complains(yaml: &str, words: &[&str]) {
        let text = Config::parse("x", yaml).unwrap_err().to_string();
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn tls_takes_both_files_and_no_unknown_keys() {
        complains("tls: {}\n", &["tls:", "cert_file and key_file"]);
        complains("tls:\n  key_file: x\n", &["tls.cert_file", "(line 1)"]);
        complains(
            "tls:\n  cert_file: [x]\n  key_file: y\n",
            &["tls.cert_file", "(line 2)"],
        );
        complains("tls: 443\n", &["tls", "a group of keys"]);
    }

    #[test]
    fn balancers_are_ranges_of_addresses() {
        let config =
            Config::parse("x", "proxy_protocol: {trusted: [10.0.0.0/8, \"::1\"]}\n").unwrap();
        assert_eq!(config.proxy_protocol.trusted.len(), 2);
        complains(
            "proxy_protocol:\n  trusted:\n    - 10.0.0.1/8\n",
            &[
                "proxy_protocol.trusted[0]",
                "(line 3)",
                "a range of addresses",
            ],
        );
        complains(
            "proxy_protocol: {version: 1}\n",
            &["proxy_protocol.version"],
        );
    }
}
