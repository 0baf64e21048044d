//! What a server's certificate is worth: who vouches for it, for which name, until when; and whether a proxy on the way put
//! in its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::report::Report;

/// Days before its end from which a certificate is a warning. ACME renews 30 days before the end: then something is wrong.
const RENEWAL_DAYS: i64 = 14;
const DAY: i64 = 86_400;

/// Makers of proxies that open TLS, as they stand in the certificates that these sign.
const INTERCEPTORS: &[&str] = &[
    "zscaler",
    "fortinet",
    "fortigate",
    "palo alto",
    "sophos",
    "blue coat",
    "bluecoat",
    "symantec web",
    "netskope",
    "umbrella",
    "mcafee",
    "skyhigh",
    "trellix",
    "check point",
    "forcepoint",
    "websense",
    "barracuda",
    "watchguard",
    "sonicwall",
    "untangle",
    "kaspersky",
    "eset ssl",
    "avast",
    "bitdefender",
    "securepoint",
    "genua",
    "squid",
    "mitmproxy",
    "charles proxy",
];

/// Whom this machine trusts.
pub(crate) struct Trust {
    roots: Arc<RootCertStore>,
}

impl Trust {
    /// The system's store, and the certificates of a PEM file beside.
    pub(crate) fn load(extra: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if let Some(path) = extra {
            let complain = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            for certificate in
                CertificateDer::pem_file_iter(path).map_err(|error| complain(&error))?
            {
                let certificate = certificate.map_err(|error| complain(&error))?;
                roots.add(certificate).map_err(|error| complain(&error))?;
            }
        }
        Ok(Self {
            roots: Arc::new(roots),
        })
    }

    /// Why browsers would not take this chain for `host`, or nothing.
    pub(super) fn objection(
        &self,
        chain: &[CertificateDer<'static>],
        host: &str,
    ) -> Option<String> {
        let mut report = Report::default();
        self.judge(chain, host, &mut report);
        let worst = report.result();
        (worst == super::report::Severity::Error).then(|| report.text())
    }

    /// Looks at chain, name, expiry and issuer.
    pub(super) fn judge(&self, chain: &[CertificateDer<'static>], host: &str, report: &mut Report) {
        let parsed = chain.first().and_then(|der| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            Some((der, certificate))
        });
        let Some((der, certificate)) = parsed else {
            report.error(
                "certificate.chain",
                "the server sent no certificate that can be read",
                "Look at the certificate file of the server or of the proxy in front of it.",
            );
            return;
        };
        let issuer = name_of(certificate.issuer());
        self.judge_chain(chain, &issuer, report);
        judge_name(der, host, report);
        let ends = certificate.validity().not_after.timestamp();
        judge_time(
            certificate.validity().not_before.timestamp(),
            ends,
            unix_now(),
            report,
        );
        let lower = issuer.to_lowercase();
        if INTERCEPTORS.iter().any(|maker| lower.contains(maker)) {
            report.warning(
                "certificate.interception",
                format!("the certificate is signed by {issuer}, which makes proxies that open and read connections"),
                "Ask the IT department to exempt this host from TLS inspection: it breaks TURN over TLS, and reads what is meant for the server.",
            );
        }
    }

    fn judge_chain(&self, chain: &[CertificateDer<'static>], issuer: &str, report: &mut Report) {
        let Some((first, others)) = chain.split_first() else {
            return;
        };
        // The time is looked at apart; a chain that is right but old should be told as just that.
        let within_validity = X509Certificate::from_der(first).map_or(0, |(_, certificate)| {
            let validity = certificate.validity();
            let now = unix_now();
            now.clamp(
                validity.not_before.timestamp(),
                validity.not_after.timestamp(),
            )
        });
        let at = UnixTime::since_unix_epoch(Duration::from_secs(
            u64::try_from(within_validity).unwrap_or(0),
        ));
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let checked = ParsedCertificate::try_from(first).and_then(|parsed| {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &self.roots,
                others,
                at,
                algorithms.all,
            )
        });
        match checked {
            Ok(()) => report.ok("certificate.chain", format!("trusted, signed by {issuer}")),
            Err(error) => report.error(
                "certificate.chain",
                format!("not trusted here: {} certificate(s) were sent, the first signed by {issuer} ({error})", chain.len()),
                "Have the server send the whole chain (fullchain.pem). If the issuer is not the one that the certificate was bought from, a proxy on the \
                 way opens the connection: ask the IT department to exempt this host. An authority of your own is named with --ca.",
            ),
        }
    }
}

fn judge_name(der: &CertificateDer<'_>, host: &str, report: &mut Report) {
    let matches = ServerName::try_from(host.to_owned())
        .map_err(|error| error.to_string())
        .and_then(|name| {
            let parsed = ParsedCertificate::try_from(der).map_err(|error| error.to_string())?;
            verify_server_name(&parsed, &name).map_err(|error| error.to_string())
        });
    match matches {
        Ok(()) => report.ok("certificate.name", format!("is for {host}")),
        Err(_) => report.error(
            "certificate.name",
            format!(
                "the certificate is not for {host}; it names {}",
                names_in(der)
            ),
            format!(
                "Get a certificate that names {host} (subjectAltName), or use a name that it has."
            ),
        ),
    }
}

/// The names that a certificate is for.
fn names_in(der: &CertificateDer<'_>) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return "nothing that can be read".to_owned();
    };
    let names = match certificate.subject_alternative_name() {
        Ok(Some(names)) => names
            .value
            .general_names
            .iter()
            .map(ToString::to_string)
            .collect(),
        Ok(None) | Err(_) => Vec::new(),
    };
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Times are seconds since 1970.
fn judge_time(begins: i64, ends: i64, now: i64, report: &mut Report) {
    let days = (ends - now) / DAY;
    if now < begins {
        report.error(
            "certificate.expiry",
            "the certificate is not valid yet",
            "Set the clock of this machine; if it is right, wait or get another certificate.",
        );
    } else if now > ends {
        report.error(
            "certificate.expiry",
            format!("the certificate ended {} day(s) ago", (now - ends) / DAY),
            "Renew the certificate and have the server read it (systemctl reload schalter). If it was renewed: the clock of this machine may be wrong.",
        );
    } else if days < RENEWAL_DAYS {
        report.warning(
            "certificate.expiry",
            format!("the certificate ends in {days} day(s)"),
            "Renew the certificate, and find out why that did not happen by itself.",
        );
    } else {
        report.ok(
            "certificate.expiry",
            format!("good for another {days} days"),
        );
    }
}

/// Organisation and common name, as far as they are there.
fn name_of(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for attribute in name.iter_organization().chain(name.iter_common_name()) {
        if let Ok(text) = attribute.as_str() {
            parts.push(format!("“{text}”"));
        }
    }
    if parts.is_empty() {
        "an issuer without a name".to_owned()
    } else {
        parts.join(", ")
    }
}

/// Seconds since 1970.
pub(super) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::super::report::Severity;
    use super::*;

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new(name: &str) -> Self {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        fn certificate(&self, host: &str) -> Vec<CertificateDer<'static>> {
            let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            let key = KeyPair::generate().unwrap();
            vec![params.signed_by(&key, &self.0).unwrap().der().clone()]
        }

        fn trust(&self) -> Trust {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).unwrap();
            Trust {
                roots: Arc::new(roots),
            }
        }
    }

    fn severities(
        trust: &Trust,
        chain: &[CertificateDer<'static>],
        host: &str,
    ) -> Vec<(&'static str, Severity)> {
        let mut report = Report::default();
        trust.judge(chain, host, &mut report);
        report
            .findings()
            .iter()
            .map(|f| (f.check, f.severity))
            .collect()
    }

    #[test]
    fn chain_and_name_are_told_apart() {
        let authority = Authority::new("Our own");
        let chain = authority.certificate("a.example");
        assert_eq!(
            severities(&authority.trust(), &chain, "a.example"),
            [
                ("certificate.chain", Severity::Ok),
                ("certificate.name", Severity::Ok),
                ("certificate.expiry", Severity::Ok)
            ]
        );
        assert_eq!(
            severities(&Authority::new("Other").trust(), &chain, "b.example")[..2],
            [
                ("certificate.chain", Severity::Error),
                ("certificate.name", Severity::Error)
            ]
        );
        assert!(authority.trust().objection(&chain, "a.example").is_none());
        assert!(authority.trust().objection(&chain, "b.example").is_some());
    }

    #[test]
    fn a_proxy_that_opens_connections_is_known_by_its_issuer() {
        let proxy = Authority::new("Zscaler Intermediate Root CA");
        let found = severities(&proxy.trust(), &proxy.certificate("a.example"), "a.example");
        assert!(
            found.contains(&("certificate.interception", Severity::Warning)),
            "{found:?}"
        );
    }

    #[test]
    fn an_end_is_told_before_it_comes() {
        let at = |now| {
            let mut report = Report::default();
            judge_time(1_000, 1_000 + 100 * DAY, now, &mut report);
            report.findings()[0].severity
        };
        assert_eq!(at(999), Severity::Error);
        assert_eq!(at(1_000), Severity::Ok);
        assert_eq!(at(1_000 + 86 * DAY), Severity::Ok);
        assert_eq!(at(1_001 + 86 * DAY), Severity::Warning);
        assert_eq!(at(1_001 + 100 * DAY), Severity::Error);
    }
}
