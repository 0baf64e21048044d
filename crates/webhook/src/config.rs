//! What an operator sets, parsed so that nothing is left to find out while delivering.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use hyper::Uri;
use rustls::RootCertStore;

use crate::network::AddressPolicy;

/// Where events go and how long they are kept for receivers that don't take them.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Receivers, each of which gets every event.
    pub targets: Vec<Target>,
    /// Which addresses may be connected to.
    pub addresses: AddressPolicy,
    /// Who may vouch for receivers' certificates.
    pub roots: Arc<RootCertStore>,
    /// Folder of the spools: one file for each receiver. Nothing else may be in it.
    pub folder: PathBuf,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds, each for one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events that wait. With one more the oldest is dropped.
    pub events: usize,
    /// Bytes of events that wait. The file may hold twice as much until it is written anew.
    pub bytes: u64,
    /// How long an event is tried for.
    pub age: Duration,
    /// How long one request may take, from the look-up of the name to the head of the answer.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A thousand rooms that begin, fill and end while the receiver is updated.
            events: 20_000,
            bytes: 64 << 20,
            age: Duration::from_secs(24 * 3_600),
            request: Duration::from_secs(10),
        }
    }
}

/// A receiver's URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub(crate) uri: Uri,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

/// Why a text can't be a receiver's URL. Never repeats it: it may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No absolute URL with `http` or `https`.
    #[error("a URL such as https://host/path is expected here")]
    NoUrl,
    /// `user:password@` before the host.
    #[error(
        "a user name or password in the URL would never be sent: the signature stands in Authorization"
    )]
    Credentials,
    /// A part after `#`.
    #[error("what comes after # is never sent")]
    Fragment,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.contains('#') {
            return Err(TargetError::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| TargetError::NoUrl)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(TargetError::NoUrl),
        };
        let authority = uri.authority().ok_or(TargetError::NoUrl)?;
        if authority.as_str().contains('@') {
            return Err(TargetError::Credentials);
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        // The library takes a port that is no number for none at all.
        let rest = authority.as_str().strip_prefix(authority.host());
        let port = match rest.and_then(|rest| rest.strip_prefix(':')) {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.parse().map_err(|_| TargetError::NoUrl)?,
        };
        if host.is_empty() || port == 0 {
            return Err(TargetError::NoUrl);
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
            uri,
        })
    }

    /// A name for it that tells nothing of the URL: 16 characters, the same after each start.
    pub fn fingerprint(&self) -> String {
        let hash = digest::digest(&digest::SHA256, self.uri.to_string().as_bytes());
        let short = &hash.as_ref()[..8];
        short.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether it is asked over TLS, for which root certificates are needed.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether `addresses` would let a request to it go out; a host that is a name shows that only when it is resolved.
    pub fn is_allowed(&self, addresses: &AddressPolicy) -> bool {
        match self.host.parse() {
            Ok(address) => addresses.allows(address, self.tls),
            Err(_) => true,
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Receivers have secrets in paths and queries.
        write!(f, "Target({}://…)", if self.tls { "https" } else { "http" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, host, port, tls) in [
            ("https://example.org", "example.org", 443, true),
            ("http://example.org/a?b=c", "example.org", 80, false),
            ("https://example.org:8443/a", "example.org", 8443, true),
            ("http://[::1]:81/", "::1", 81, false),
            ("https://[2001:db8::1]", "2001:db8::1", 443, true),
            ("HTTPS://example.org", "example.org", 443, true),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!(
                (target.host.as_str(), target.port, target.tls),
                (host, port, tls),
                "{url}"
            );
        }
    }

    #[test]
    fn what_could_not_be_sent_as_written_is_refused() {
        for (url, error) in [
            ("", TargetError::NoUrl),
            ("example.org/hook", TargetError::NoUrl),
            ("/hook", TargetError::NoUrl),
            ("ftp://example.org", TargetError::NoUrl),
            ("https://", TargetError::NoUrl),
            ("https://:443", TargetError::NoUrl),
            ("https://example.org:0", TargetError::NoUrl),
            ("https://example.org:99999", TargetError::NoUrl),
            ("https://example.org:", TargetError::NoUrl),
            ("https://a b", TargetError::NoUrl),
            ("https://user:pw@example.org", TargetError::Credentials),
            ("https://example.org/#a", TargetError::Fragment),
        ] {
            assert_eq!(Target::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn no_debug_form_shows_what_may_be_a_secret() {
        let target = Target::parse("https://example.org/hook?token=abc").unwrap();
        assert_eq!(format!("{target:?}"), "Target(https://…)");
    }

    #[test]
    fn an_address_is_judged_at_once_and_a_name_later() {
        let policy = AddressPolicy::default();
        let allowed = |url: &str| Target::parse(url).unwrap().is_allowed(&policy);
        assert!(!allowed("https://127.0.0.1/"));
        assert!(!allowed("https://[fe80::1]/"));
        assert!(!allowed("http://1.1.1.1/"));
        assert!(allowed("https://1.1.1.1/"));
        assert!(allowed("https://localhost/"));
    }
}
