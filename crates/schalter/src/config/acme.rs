//! `tls.acme`: certificates from a certificate authority.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::document::{Complaint, Value};
use super::livekit;
use crate::acme::check_ca_file;

/// Let's Encrypt's, which asks for no account beforehand.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Names in one certificate; authorities take no more.
const MOST_DOMAINS: usize = 100;

/// Where certificates are got, and for which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acme {
    /// Names of the certificate, in lower case; the first is the one that is shown to people.
    pub(crate) domains: Vec<String>,
    /// Whom the authority may write to.
    pub(crate) email: Option<String>,
    /// Address of the authority's directory.
    pub(crate) directory: String,
    /// Who vouches for the directory, if not the authorities that the system trusts.
    pub(crate) ca_file: Option<PathBuf>,
    /// The account that was made with the authority beforehand.
    pub(crate) eab: Option<ExternalAccount>,
    /// Port for HTTP-01 and for sending people to HTTPS; without it TLS-ALPN-01 is used.
    pub(crate) http_port: Option<u16>,
}

/// An external account (RFC 8555 §7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ExternalAccount {
    pub(crate) kid: String,
    /// Decoded.
    pub(crate) hmac_key: Vec<u8>,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount").finish_non_exhaustive()
    }
}

impl Acme {
    pub(super) fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut acme = Self {
            domains: Vec::new(),
            email: None,
            directory: DIRECTORY.to_owned(),
            ca_file: None,
            eab: None,
            http_port: None,
        };
        let mut group = value.group()?;
        group.take("domains", &mut acme.domains, domains)?;
        group.take("email", &mut acme.email, |v| {
            let fits = |text: &str| {
                let (user, host) = text.split_once('@')?;
                let odd = |c: char| c.is_whitespace() || ",?&<>".contains(c);
                let good = !user.is_empty() && host.contains('.') && !text.contains(odd);
                good.then(|| text.to_owned())
            };
            v.read("an address such as admin@example.org", fits)
                .map(Some)
        })?;
        group.take("directory", &mut acme.directory, |v| {
            v.read("an address that begins with https://", |text| {
                let host = text.strip_prefix("https://")?;
                (!host.is_empty() && !text.contains(char::is_whitespace)).then(|| text.to_owned())
            })
        })?;
        group.take("ca_file", &mut acme.ca_file, |v| {
            let path = PathBuf::from(v.text()?);
            check_ca_file(&path).or_else(|error| v.complain(error))?;
            Ok(Some(path))
        })?;
        group.take("eab", &mut acme.eab, |v| ExternalAccount::read(v).map(Some))?;
        group.take("http_port", &mut acme.http_port, |v| {
            Ok(Some(v.number(0..=65_535)?))
        })?;
        group.finish(livekit::advice)?;
        if acme.domains.is_empty() {
            return value.complain("a certificate needs tls.acme.domains");
        }
        Ok(acme)
    }

    /// File of the account in the state directory: another one for another directory or external account.
    pub(crate) fn account_file(&self) -> String {
        use aws_lc_rs::digest::{Context, SHA256};
        let mut hash = Context::new(&SHA256);
        hash.update(self.directory.as_bytes());
        if let Some(eab) = &self.eab {
            hash.update(b"\n");
            hash.update(eab.kid.as_bytes());
        }
        let hash = hash.finish();
        let digits: String = hash.as_ref()[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        format!("acme-account-{digits}.json")
    }
}

impl ExternalAccount {
    fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut group = value.group()?;
        let mut kid = String::new();
        group.take("kid", &mut kid, |v| Ok(v.text()?.to_owned()))?;
        let (text, place) = match (group.value("hmac_key"), group.value("hmac_key_file")) {
            (Some(key), None) => (key.text()?.to_owned(), key),
            (None, Some(file)) => (
                super::read::secret_from(&file, Path::new(file.text()?))?,
                file,
            ),
            (_, _) => {
                return value
                    .complain("an external account needs either hmac_key or hmac_key_file");
            }
        };
        group.finish(|_| None)?;
        if kid.is_empty() {
            return value.complain("an external account needs kid");
        }
        // It is a secret: what is wrong with it is not repeated.
        match URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')) {
            Ok(hmac_key) if hmac_key.len() >= 16 => Ok(Self { kid, hmac_key }),
            Ok(_) | Err(_) => place.complain("base64url of at least 16 bytes is expected here"),
        }
    }
}

/// A name that a certificate can be for, in lower case.
pub(super) fn dns_name(value: &Value<'_>) -> Result<String, Complaint> {
    value.read("a DNS name without a wildcard", |text| {
        let label = |label: &str| {
            let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            (1..=63).contains(&label.len()) && label.bytes().all(inner)
        };
        let fits = text.contains('.') && text.len() <= 253 && text.split('.').all(label);
        let address = text.parse::<std::net::IpAddr>().is_ok();
        (fits && !address).then(|| text.to_ascii_lowercase())
    })
}

fn domains(value: &Value<'_>) -> Result<Vec<String>, Complaint> {
    let mut domains: Vec<String> = Vec::new();
    for value in value.list()? {
        let domain = dns_name(&value)?;
        if domains.contains(&domain) {
            return value.complain("this name stands here twice");
        }
        domains.push(domain);
    }
    if domains.len() > MOST_DOMAINS {
        return value.complain(format!(
            "at most {MOST_DOMAINS} names fit into a certificate"
        ));
    }
    Ok(domains)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, TlsSource};

    fn read(acme: &str) -> Result<super::Acme, String> {
        let config = Config::parse("x", &format!("tls:\n  acme: {acme}\n"));
        match config
            .map_err(|error| error.to_string())?
            .tls
            .map(|tls| tls.source)
        {
            Some(TlsSource::Acme(acme)) => Ok(acme),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn domains_are_all_that_is_needed() {
        let acme = read("{domains: [Video.example.org]}").unwrap();
        assert_eq!(acme.domains, ["video.example.org"]);
        assert_eq!(acme.directory, super::DIRECTORY);
        assert_eq!((acme.http_port, acme.email), (None, None));
    }

    #[test]
    fn what_makes_no_sense_is_named_and_secrets_are_not_repeated() {
        for (acme, words) in [
            ("{}", "tls.acme.domains"),
            ("{domains: []}", "tls.acme.domains"),
            ("{domains: ['*.example.org']}", "tls.acme.domains[0]"),
            ("{domains: [192.0.2.1]}", "tls.acme.domains[0]"),
            ("{domains: [a.example, A.example]}", "twice"),
            (
                "{domains: [a.example], directory: 'http://ca.example'}",
                "tls.acme.directory",
            ),
            ("{domains: [a.example], email: nobody}", "tls.acme.email"),
            (
                "{domains: [a.example], ca_file: /nowhere}",
                "tls.acme.ca_file",
            ),
            ("{domains: [a.example], eab: {kid: x}}", "tls.acme.eab"),
            (
                "{domains: [a.example], eab: {hmac_key: c2VjcmV0LXNlY3JldC1zZWNyZXQ}}",
                "kid",
            ),
            (
                "{domains: [a.example], eab: {kid: x, hmac_key: 'sec ret'}}",
                "tls.acme.eab.hmac_key",
            ),
            (
                "{domains: [a.example], challenge: dns}",
                "tls.acme.challenge",
            ),
        ] {
            let error = read(acme).unwrap_err();
            assert!(error.contains(words), "{acme}: {error}");
            assert!(!error.contains("sec ret"), "{error}");
        }
        let both = Config::parse(
            "x",
            "tls: {cert_file: x, key_file: y, acme: {domains: [a.b]}}\n",
        );
        assert!(both.unwrap_err().to_string().contains("not both"));
    }

    #[test]
    fn another_directory_or_external_account_has_another_account() {
        let file = |acme: &str| read(acme).unwrap().account_file();
        let first = file("{domains: [a.example]}");
        assert_eq!(first, file("{domains: [b.example], email: x@y.example}"));
        assert_ne!(
            first,
            file("{domains: [a.example], directory: 'https://ca.example/'}")
        );
        let eab = "{domains: [a.example], eab: {kid: x, hmac_key: c2VjcmV0LXNlY3JldC1zZWNyZXQ}}";
        assert_ne!(first, file(eab));
    }
}
