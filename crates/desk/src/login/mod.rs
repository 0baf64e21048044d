//! Logins of officials: by OpenID Connect, by signed links of a case system, or as local officials for evaluation.
//!
//! Owns who an official is and until when; refuses to know what officials do. Everything that is remembered has a bound, is on this machine
//! only and in memory only: a restart logs everybody out.

pub mod https;
pub mod limiter;
pub mod oidc;
pub(crate) mod secret;
pub mod sessions;
pub mod signed_link;

use std::collections::BTreeMap;

use schalter_model::AuthorityId;

use crate::domain::Name;
use crate::{Actor, Caller};
use https::HttpsClient;
use limiter::{LINK_GUESSES, LOGIN_FAILURES, LOGIN_STARTS, Limiter};
use oidc::{Oidc, OidcProvider};
use sessions::{SessionTimes, Sessions};
use signed_link::{LinkKey, SignedLinks};

/// Longest id of an official, in bytes.
pub const MAX_OFFICIAL_ID_LEN: usize = 128;
/// Longest level of assurance, in bytes.
pub const MAX_ACR_LEN: usize = 256;

/// Somebody who works for an authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Official {
    /// Opaque, unique in the authority.
    pub id: String,
    /// What citizens see.
    pub name: Name,
    /// How sure who logged them in is of who they are, as it was told (`acr`, OpenID Connect Core §2).
    pub acr: Option<String>,
}

impl std::fmt::Debug for Official {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Official(…)")
    }
}

impl Official {
    /// Takes what a login says. `None` if the id or the name is empty, too long or has characters that steer what shows them.
    pub fn new(id: &str, name: &str, acr: Option<String>) -> Option<Self> {
        let odd = |c: char| c.is_control() || c.is_whitespace();
        let id_fits = (1..=MAX_OFFICIAL_ID_LEN).contains(&id.len()) && !id.contains(odd);
        let acr_fits = acr
            .as_ref()
            .is_none_or(|acr| acr.len() <= MAX_ACR_LEN && !acr.contains(odd));
        let name = Name::new(name).ok()?;
        (id_fits && acr_fits).then(|| Self {
            id: id.to_owned(),
            name,
            acr,
        })
    }

    /// As the desk knows whoever decides.
    pub fn caller(&self, authority: &AuthorityId) -> Caller {
        Caller {
            authority: authority.clone(),
            actor: Actor::Official {
                id: self.id.clone(),
                name: self.name.clone(),
            },
        }
    }
}

/// Why nobody is logged in. The texts name nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// There is no such way to log in here.
    #[error("this office has no such login")]
    Unknown,
    /// A signed link is no good.
    #[error("this login link is not valid")]
    Link,
    /// A signed link is over.
    #[error("this login link has expired")]
    LinkExpired,
    /// A signed link was used.
    #[error("this login link was used already")]
    LinkUsed,
    /// The login at the provider took too long, was used or began in another browser.
    #[error("this login has expired or began in another browser")]
    FlowExpired,
    /// The provider sent nobody.
    #[error("the identity provider declined the login")]
    Declined,
    /// The provider can't be asked.
    #[error("the identity provider can't be reached")]
    Provider,
    /// What the provider says is not to be trusted, or not enough.
    #[error("the identity provider's answer is not valid")]
    Claims,
    /// The person may not.
    #[error("this account is none of an official of this office")]
    NotAdmitted,
    /// The login is not as sure as the office wants it.
    #[error("the login has not the level of assurance that this office wants")]
    Assurance,
    /// Too much is going on.
    #[error("too many logins at the moment")]
    Busy,
}

impl LoginError {
    /// A word for it, in problems and addresses.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unknown => "login-unknown",
            Self::Link => "login-link-invalid",
            Self::LinkExpired => "login-link-expired",
            Self::LinkUsed => "login-link-used",
            Self::FlowExpired => "login-expired",
            Self::Declined => "login-declined",
            Self::Provider => "login-provider",
            Self::Claims => "login-invalid",
            Self::NotAdmitted => "login-not-admitted",
            Self::Assurance => "login-assurance",
            Self::Busy => "login-busy",
        }
    }
}

/// How an authority's officials log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// Local officials, for evaluation: whoever can reach the pages can be them.
    pub demo: Vec<DemoOfficial>,
    /// An identity provider.
    pub oidc: Option<OidcProvider>,
    /// Keys of the case system.
    pub link_keys: Vec<LinkKey>,
}

/// A local official for evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoOfficial {
    /// As it stands in requests.
    pub id: String,
    /// What citizens see.
    pub name: String,
}

/// All of it together.
pub struct Login {
    demo: BTreeMap<AuthorityId, Vec<DemoOfficial>>,
    /// Logins at providers.
    pub oidc: Oidc,
    /// Signed links.
    pub links: SignedLinks,
    /// Who is logged in.
    pub sessions: Sessions,
    /// Wrong join links by address.
    pub link_guesses: Limiter,
    /// Failed logins by address.
    pub failures: Limiter,
    /// Logins begun by address.
    pub starts: Limiter,
}

impl Login {
    /// `callback`: the address that providers send browsers back to. `now`: milliseconds since 1970.
    pub fn new(
        authorities: impl IntoIterator<Item = (AuthorityId, Logins)>,
        times: SessionTimes,
        callback: String,
        http: HttpsClient,
        now: u64,
    ) -> Self {
        let (mut demo, mut providers, mut keys) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (authority, logins) in authorities {
            if let Some(provider) = logins.oidc {
                providers.push((authority.clone(), provider));
            }
            let own = logins.link_keys.into_iter();
            keys.extend(own.map(|key| (authority.clone(), key)));
            demo.insert(authority, logins.demo);
        }
        Self {
            demo,
            oidc: Oidc::new(providers, callback, http),
            links: SignedLinks::new(keys, now / 1_000),
            sessions: Sessions::new(times),
            link_guesses: Limiter::new(LINK_GUESSES),
            failures: Limiter::new(LOGIN_FAILURES),
            starts: Limiter::new(LOGIN_STARTS),
        }
    }

    /// The authority's local officials.
    pub fn demo(&self, authority: &AuthorityId) -> &[DemoOfficial] {
        self.demo.get(authority).map_or(&[], Vec::as_slice)
    }

    /// A local official.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] if the authority has none of this id.
    pub fn as_demo(&self, authority: &AuthorityId, id: &str) -> Result<Official, LoginError> {
        let found = self
            .demo(authority)
            .iter()
            .find(|official| official.id == id);
        found
            .and_then(|official| Official::new(&official.id, &official.name, None))
            .ok_or(LoginError::Unknown)
    }

    /// Forgets what is over; called every minute or so. `now` is in milliseconds since 1970.
    pub fn sweep(&self, now: u64) {
        self.sessions.sweep(now);
        self.oidc.sweep(now);
        self.links.sweep(now / 1_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn officials_have_bounded_names_without_tricks() {
        let fits = |id: &str, name: &str, acr: Option<&str>| {
            Official::new(id, name, acr.map(str::to_owned)).is_some()
        };
        assert!(fits("1", "Ä".repeat(100).as_str(), Some("high")));
        assert!(fits(&"x".repeat(128), "<b>Kim</b>", None));
        for (id, name, acr) in [
            ("", "Kim", None),
            (&*"x".repeat(129), "Kim", None),
            ("1", " ", None),
            ("1", &*"Ä".repeat(101), None),
            ("1", "Kim\u{202e}", None),
            ("1", "Kim\n", Some("a\nb")),
            ("1", "K\0im", None),
            ("1", "Kim", Some(&*"x".repeat(257))),
        ] {
            assert!(!fits(id, name, acr), "{id} {name}");
        }
    }
}
