//! Where the pages are, and what of a browser is believed: its origin and its cookies.
//!
//! Owns the check against requests that other sites make a browser send (RFC 6454; WebSockets are not bound by same-origin rules at all, RFC
//! 6455 §10.2), and the cookies' names and attributes (RFC 6265bis). The origins are fixed at the start and never taken from `Host`: a name of
//! somebody else that is made to point here (DNS rebinding) is not ours.

use axum::http::header::{COOKIE, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::domain::Secret;
use crate::login::oidc::FLOW_TIME;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Most bytes of cookies that are looked at.
const MAX_COOKIES_LEN: usize = 16 * 1024;

/// Which cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jar {
    /// Of whoever opened a join link.
    Citizen,
    /// Of an official.
    Official,
    /// Of a login that is under way at a provider. It must come with the way back from there, which begins at another site.
    Login,
}

impl Jar {
    fn suffix(self) -> &'static str {
        match self {
            Self::Citizen => "",
            Self::Official => "-official",
            Self::Login => "-login",
        }
    }

    fn attributes(self) -> String {
        match self {
            // Ends with the browser; the server knows better when anyway.
            Self::Citizen | Self::Official => "SameSite=Strict".to_owned(),
            Self::Login => format!("SameSite=Lax; Max-Age={}", FLOW_TIME / 1_000),
        }
    }
}

/// Where the pages are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Without a slash at the end, as it stands in links.
    public_url: String,
    origins: Vec<String>,
}

/// An address is no base for links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// It is none.
    #[error("an address such as https://video.example.org is expected, without a path")]
    Address,
    /// It has no TLS.
    #[error(
        "an address without TLS is one of this machine only (http://localhost): cookies and links would cross the network in the clear"
    )]
    Tls,
}

impl Site {
    /// The pages at `public_url`, which officials and citizens know, and at `others` (origins) beside.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn new(
        public_url: &str,
        others: impl IntoIterator<Item = String>,
    ) -> Result<Self, SiteError> {
        let origin = origin_of(public_url)?;
        let mut origins = vec![origin.clone()];
        origins.extend(others);
        if let Some(rest) = origin.strip_prefix("http://") {
            // One machine, by whichever of its names.
            let port = rest.rsplit_once(':').map_or("", |(_, port)| port);
            let port = if port.is_empty() || port.ends_with(']') {
                String::new()
            } else {
                format!(":{port}")
            };
            let names = ["localhost", "127.0.0.1", "[::1]"];
            origins.extend(names.map(|name| format!("http://{name}{port}")));
        }
        Ok(Self {
            public_url: origin,
            origins,
        })
    }

    /// The base of links.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Whether cookies need TLS.
    pub fn is_secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// Whether a page of ours sent this: a request that changes something, or that opens a WebSocket. Browsers send `Origin` with both; what
    /// has none is no page.
    pub fn is_own(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else {
            return false;
        };
        let elsewhere = headers
            .get(SEC_FETCH_SITE)
            .is_some_and(|site| site != "same-origin");
        !elsewhere && self.origins.iter().any(|own| origin == own.as_str())
    }

    fn name(&self, jar: Jar) -> String {
        let prefix = if self.is_secure() { "__Host-" } else { "" };
        format!("{prefix}schalter-desk{}", jar.suffix())
    }

    /// The header that has a browser keep a secret.
    pub fn set_cookie(&self, jar: Jar, secret: &Secret) -> HeaderValue {
        self.cookie(jar, secret.reveal(), "")
    }

    /// The header that has a browser forget it.
    pub fn clear_cookie(&self, jar: Jar) -> HeaderValue {
        self.cookie(jar, "", "; Max-Age=0")
    }

    fn cookie(&self, jar: Jar, value: &str, more: &str) -> HeaderValue {
        let secure = if self.is_secure() { "; Secure" } else { "" };
        let text = format!(
            "{}={value}; Path=/; HttpOnly; {}{secure}{more}",
            self.name(jar),
            jar.attributes()
        );
        HeaderValue::from_str(&text).expect("names and secrets are visible ASCII")
    }

    /// The secret that a browser presents, if it has the form of one.
    pub fn find_cookie(&self, jar: Jar, headers: &HeaderMap) -> Option<Secret> {
        let name = self.name(jar);
        let mut found = None;
        for header in headers.get_all(COOKIE) {
            let text = header
                .to_str()
                .ok()
                .filter(|text| text.len() <= MAX_COOKIES_LEN)?;
            for pair in text.split(';') {
                let Some((key, value)) = pair.trim().split_once('=') else {
                    continue;
                };
                if key != name {
                    continue;
                }
                // Without TLS another port of this machine can set one of the same name: neither is believed.
                if found.is_some() {
                    return None;
                }
                found = Some(value);
            }
        }
        Secret::parse(found?).ok()
    }
}

fn origin_of(url: &str) -> Result<String, SiteError> {
    let url = url.strip_suffix('/').unwrap_or(url);
    let uri: Uri = url.parse().map_err(|_| SiteError::Address)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(SiteError::Address);
    };
    let host = authority.host();
    let bare = authority.as_str().contains('@') || host.is_empty() || host.contains('*');
    if bare || format!("{scheme}://{authority}") != url {
        return Err(SiteError::Address);
    }
    // As browsers write it: in lower case, without the scheme's own port.
    let port = authority.port_u16();
    let default = match scheme {
        "https" => 443,
        "http" if ["localhost", "127.0.0.1", "[::1]"].contains(&host) => 80,
        "http" => return Err(SiteError::Tls),
        _ => return Err(SiteError::Address),
    };
    let port = match port {
        Some(port) if port != default => format!(":{port}"),
        Some(_) | None => String::new(),
    };
    Ok(format!("{scheme}://{}{port}", host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    fn public() -> Site {
        Site::new("https://video.example.org", []).unwrap()
    }

    fn local() -> Site {
        Site::new("http://localhost:7880/", []).unwrap()
    }

    #[test]
    fn only_a_page_of_this_origin_is_our_own() {
        let site = public();
        assert!(site.is_own(&headers(&[(ORIGIN, "https://video.example.org")])));
        let own = (ORIGIN, "https://video.example.org");
        assert!(site.is_own(&headers(&[own.clone(), (SEC_FETCH_SITE, "same-origin")])));
        for bad in [
            vec![],
            vec![(ORIGIN, "null")],
            vec![(ORIGIN, "http://video.example.org")],
            vec![(ORIGIN, "https://video.example.org:8443")],
            vec![(ORIGIN, "https://video.example.org.evil.example")],
            vec![(ORIGIN, "https://evil.example")],
            vec![(ORIGIN, "http://localhost")],
            vec![own.clone(), own.clone()],
            vec![own.clone(), (SEC_FETCH_SITE, "same-site")],
            vec![own, (SEC_FETCH_SITE, "cross-site")],
        ] {
            assert!(!site.is_own(&headers(&bad)), "{bad:?}");
        }
    }

    #[test]
    fn a_machine_by_itself_has_three_names_and_no_others() {
        let site = local();
        for own in [
            "http://localhost:7880",
            "http://127.0.0.1:7880",
            "http://[::1]:7880",
        ] {
            assert!(site.is_own(&headers(&[(ORIGIN, own)])), "{own}");
        }
        // A name that was made to point here.
        for bad in [
            "http://evil.example:7880",
            "http://localhost:7881",
            "http://localhost",
        ] {
            assert!(!site.is_own(&headers(&[(ORIGIN, bad)])), "{bad}");
        }
    }

    #[test]
    fn cookies_are_bound_to_the_host_and_unreadable_to_scripts() {
        let secret = Secret::from_random([7; 32]);
        let set = |site: &Site, jar| site.set_cookie(jar, &secret).to_str().unwrap().to_owned();
        let value = secret.reveal();
        assert_eq!(
            set(&public(), Jar::Citizen),
            format!("__Host-schalter-desk={value}; Path=/; HttpOnly; SameSite=Strict; Secure")
        );
        assert_eq!(
            set(&local(), Jar::Official),
            format!("schalter-desk-official={value}; Path=/; HttpOnly; SameSite=Strict")
        );
        assert_eq!(
            set(&public(), Jar::Login),
            format!(
                "__Host-schalter-desk-login={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=600; Secure"
            )
        );
        assert_eq!(
            public().clear_cookie(Jar::Citizen),
            "__Host-schalter-desk=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0"
        );
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_once() {
        let secret = Secret::from_random([7; 32]);
        let value = secret.reveal();
        let site = local();
        let find = |pairs: &[(HeaderName, &str)]| site.find_cookie(Jar::Citizen, &headers(pairs));
        let one = format!("a=b; schalter-desk={value}; schalter-desk-official=x");
        assert_eq!(find(&[(COOKIE, &one)]), Some(secret.clone()));
        assert_eq!(
            find(&[(COOKIE, "a=b"), (COOKIE, &one)]),
            Some(secret.clone())
        );
        assert_eq!(find(&[(COOKIE, &one), (COOKIE, &one)]), None);
        for bad in [
            String::new(),
            format!("x-schalter-desk={value}"),
            format!("schalter-desk={value}x"),
            format!("schalter-desk=\"{}\"", &value[2..]),
            format!("__Host-schalter-desk={value}"),
        ] {
            assert_eq!(find(&[(COOKIE, &bad)]), None, "{bad}");
        }
        assert_eq!(
            site.find_cookie(Jar::Official, &headers(&[(COOKIE, &one)])),
            None
        );
    }

    #[test]
    fn links_begin_with_an_origin_that_is_safe() {
        let url = |text: &str| Site::new(text, []).map(|site| site.public_url().to_owned());
        assert_eq!(
            url("https://Video.example.org/").unwrap(),
            "https://video.example.org"
        );
        assert_eq!(
            url("https://video.example.org:443").unwrap(),
            "https://video.example.org"
        );
        assert_eq!(
            url("https://v.example:8443").unwrap(),
            "https://v.example:8443"
        );
        assert_eq!(url("http://127.0.0.1:80").unwrap(), "http://127.0.0.1");
        for bad in [
            "",
            "video.example.org",
            "https://",
            "https://video.example.org/video",
            "https://video.example.org/?x",
            "https://user@video.example.org",
            "https://*.example.org",
            "ftp://video.example.org",
        ] {
            assert_eq!(url(bad), Err(SiteError::Address), "{bad}");
        }
        assert_eq!(url("http://video.example.org"), Err(SiteError::Tls));
        assert_eq!(url("http://192.0.2.1"), Err(SiteError::Tls));
    }
}
