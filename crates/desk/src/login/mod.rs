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
use std::sync::{PoisonError, RwLock};

use schalter_model::AuthorityId;

use crate::domain::{Name, Secret};
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

/// By what somebody came in. While it stands as it is in the configuration, their session may last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// As a local official.
    Demo,
    /// By a link that this key signed.
    Link(LinkKey),
    /// By this provider, under its rule.
    Oidc(Box<OidcProvider>),
}

/// Somebody who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where.
    pub authority: AuthorityId,
    /// Who.
    pub official: Official,
    /// By what.
    pub way: Way,
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
    demo: RwLock<BTreeMap<AuthorityId, Vec<DemoOfficial>>>,
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
        let Split {
            demo,
            providers,
            keys,
        } = Split::of(authorities);
        Self {
            demo: RwLock::new(demo),
            oidc: Oidc::new(providers, callback, http),
            links: SignedLinks::new(keys, now / 1_000),
            sessions: Sessions::new(times),
            link_guesses: Limiter::new(LINK_GUESSES),
            failures: Limiter::new(LOGIN_FAILURES),
            starts: Limiter::new(LOGIN_STARTS),
        }
    }

    /// The authority's local officials.
    pub fn demo(&self, authority: &AuthorityId) -> Vec<DemoOfficial> {
        let demo = self.demo.read().unwrap_or_else(PoisonError::into_inner);
        demo.get(authority).cloned().unwrap_or_default()
    }

    /// A local official.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] if the authority has none of this id.
    pub fn as_demo(&self, authority: &AuthorityId, id: &str) -> Result<Arrival, LoginError> {
        let demo = self.demo(authority);
        let found = demo.iter().find(|official| official.id == id);
        let official = found
            .and_then(|official| Official::new(&official.id, &official.name, None))
            .ok_or(LoginError::Unknown)?;
        Ok(Arrival {
            authority: authority.clone(),
            official,
            way: Way::Demo,
        })
    }

    /// Takes over how officials log in from now on. Sessions end whose way in is gone or is another one: officials who are no longer named, and
    /// those whom a key or a provider's rule let in that does not stand so any more.
    pub fn replace(&self, authorities: impl IntoIterator<Item = (AuthorityId, Logins)>) {
        let Split {
            demo,
            providers,
            keys,
        } = Split::of(authorities);
        *self.demo.write().unwrap_or_else(PoisonError::into_inner) = demo;
        self.oidc.replace(providers);
        self.links.replace(keys);
        self.sessions.retain(|arrival| self.stands(arrival));
    }

    /// Whether somebody could have come in as things stand now.
    fn stands(&self, arrival: &Arrival) -> bool {
        let authority = &arrival.authority;
        match &arrival.way {
            Way::Demo => {
                let now = self.as_demo(authority, &arrival.official.id);
                now.is_ok_and(|now| now.official == arrival.official)
            }
            Way::Link(key) => self.links.has(authority, key),
            Way::Oidc(provider) => self.oidc.stands(authority, provider),
        }
    }

    /// Begins a session; returns what its browser keeps.
    ///
    /// # Errors
    /// [`LoginError::Busy`] with too many of them; [`LoginError::NotAdmitted`] if the way in was closed meanwhile.
    pub fn begin(&self, arrival: Arrival, now: u64) -> Result<Secret, LoginError> {
        let begun = self.sessions.begin(arrival.clone(), now);
        let secret = begun.map_err(|_| LoginError::Busy)?;
        // After it began: a reload before has not seen it, and one that comes now does.
        if !self.stands(&arrival) {
            self.sessions.end(&secret);
            return Err(LoginError::NotAdmitted);
        }
        Ok(secret)
    }

    /// Forgets what is over; called every minute or so. `now` is in milliseconds since 1970.
    pub fn sweep(&self, now: u64) {
        self.sessions.sweep(now);
        self.oidc.sweep(now);
        self.links.sweep(now / 1_000);
    }
}

/// What authorities configured, by who takes it.
struct Split {
    demo: BTreeMap<AuthorityId, Vec<DemoOfficial>>,
    providers: Vec<(AuthorityId, OidcProvider)>,
    keys: Vec<(AuthorityId, LinkKey)>,
}

impl Split {
    fn of(authorities: impl IntoIterator<Item = (AuthorityId, Logins)>) -> Self {
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
            providers,
            keys,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn ulm() -> AuthorityId {
        AuthorityId::new("ulm").unwrap()
    }

    fn logins(demo: &[(&str, &str)], keys: &[(&str, &str)]) -> [(AuthorityId, Logins); 1] {
        let demo = demo.iter().map(|(id, name)| DemoOfficial {
            id: (*id).to_owned(),
            name: (*name).to_owned(),
        });
        let keys = keys
            .iter()
            .map(|(id, secret)| LinkKey::shared(id, secret).unwrap());
        let logins = Logins {
            demo: demo.collect(),
            oidc: None,
            link_keys: keys.collect(),
        };
        [(ulm(), logins)]
    }

    #[test]
    fn a_reload_ends_the_sessions_of_those_who_could_not_come_in_any_more() {
        let (secret, other) = ("s".repeat(32), "t".repeat(32));
        let login = Login::new(
            logins(
                &[("kim", "Kim"), ("uli", "Uli"), ("toni", "Toni")],
                &[("a", &secret), ("b", &secret)],
            ),
            SessionTimes::default(),
            String::new(),
            HttpsClient::new(rustls::RootCertStore::empty()),
            NOW,
        );
        let local = |id: &str| {
            login
                .begin(login.as_demo(&ulm(), id).unwrap(), NOW)
                .unwrap()
        };
        let by_key = |id: &str, secret: &str| {
            let arrival = Arrival {
                authority: ulm(),
                official: Official::new("u1", "U", None).unwrap(),
                way: Way::Link(LinkKey::shared(id, secret).unwrap()),
            };
            login.begin(arrival, NOW)
        };
        let (kim, uli, toni) = (local("kim"), local("uli"), local("toni"));
        let (a, b) = (by_key("a", &secret).unwrap(), by_key("b", &secret).unwrap());
        let gone = login.sessions.find(&uli, NOW).unwrap();

        login.replace(logins(
            &[("kim", "Kim"), ("toni", "Toni Neu"), ("robin", "Robin")],
            &[("a", &secret), ("b", &other)],
        ));
        let there = |secret: &Secret| login.sessions.find(secret, NOW).is_some();
        assert!(there(&kim) && there(&a));
        // No longer named; under another name; by a key that is another one.
        assert!(!there(&uli) && !there(&toni) && !there(&b));
        assert!(*gone.ended.borrow(), "open pages are told");
        assert!(login.as_demo(&ulm(), "uli").is_err());
        local("robin");
        // Who was under way by what is gone does not come in after it.
        assert_eq!(by_key("b", &secret).err(), Some(LoginError::NotAdmitted));
        assert_eq!(login.sessions.count(), 3);
    }

    #[test]
    fn a_reload_ends_the_sessions_that_another_provider_let_in() {
        use oidc::{Admitted, ClaimRule};
        let provider = OidcProvider {
            issuer: "https://login.ulm.example".to_owned(),
            client_id: "desk".to_owned(),
            client_secret: Some("old".to_owned()),
            scopes: vec!["profile".to_owned()],
            acr_values: vec!["high".to_owned()],
            rule: ClaimRule {
                admitted: Admitted::Everyone,
                id: "sub".to_owned(),
                name: "name".to_owned(),
            },
        };
        let logins = |oidc: Option<OidcProvider>| {
            let logins = Logins {
                oidc,
                ..Logins::default()
            };
            [(ulm(), logins)]
        };
        let other = |change: fn(&mut OidcProvider)| {
            let mut other = provider.clone();
            change(&mut other);
            Some(other)
        };
        let everyone = |rule: &mut ClaimRule| {
            rule.admitted = Admitted::Having {
                claim: "groups".to_owned(),
                values: Vec::new(),
            };
        };
        let changed: [(&str, Option<OidcProvider>); 9] = [
            ("issuer", other(|p| p.issuer.push('2'))),
            ("client", other(|p| p.client_id.push('2'))),
            ("secret", other(|p| p.client_secret = Some("new".into()))),
            ("no secret", other(|p| p.client_secret = None)),
            ("scopes", other(|p| p.scopes.clear())),
            ("assurance", other(|p| p.acr_values.push("higher".into()))),
            ("id", other(|p| p.rule.id.push('2'))),
            ("rule", {
                let mut other = provider.clone();
                everyone(&mut other.rule);
                Some(other)
            }),
            ("none", None),
        ];
        for (what, fresh) in changed {
            let login = Login::new(
                logins(Some(provider.clone())),
                SessionTimes::default(),
                String::new(),
                HttpsClient::new(rustls::RootCertStore::empty()),
                NOW,
            );
            let arrival = Arrival {
                authority: ulm(),
                official: Official::new("u1", "U", Some("high".to_owned())).unwrap(),
                way: Way::Oidc(Box::new(provider.clone())),
            };
            let session = login.begin(arrival.clone(), NOW).unwrap();
            // The same provider once more, in a file that is read anew.
            login.replace(logins(Some(provider.clone())));
            let open = login.sessions.find(&session, NOW);
            let open = open.unwrap_or_else(|| panic!("{what}: ended for nothing"));
            login.replace(logins(fresh));
            assert!(login.sessions.find(&session, NOW).is_none(), "{what}");
            assert!(*open.ended.borrow(), "{what}: open pages are told");
            // Who was on the way back from the provider that is gone.
            let late = login.begin(arrival, NOW).err();
            assert_eq!(late, Some(LoginError::NotAdmitted), "{what}");
        }
    }

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
