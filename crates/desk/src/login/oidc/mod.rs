//! Logins by OpenID Connect Core: authorization code flow with PKCE (RFC 7636), discovery, `nonce`, `state` and `iss` (RFC 9207).
//!
//! Owns logins that are under way, each bound to the browser that began it by a cookie, and usable once. Refuses tokens without a signature by
//! one of the provider's public keys (never `none`, never HMAC), and endpoints that are neither HTTPS nor on the loopback.

mod rule;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreGenderClaim, CoreJwsSigningAlgorithm,
    CoreProviderMetadata,
};
use openidconnect::{
    AccessToken, AdditionalClaims, AuthenticationContextClass, AuthorizationCode,
    ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, HttpRequest, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope, SubjectIdentifier, TokenResponse, UserInfoClaims,
};
use schalter_model::AuthorityId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use rule::{Admitted, ClaimRule};

use super::https::HttpsClient;
use super::secret;
use super::signed_link::CLOCK_SKEW_SECS;
use super::{Arrival, LoginError, Official, Way};
use crate::domain::{Digest, Secret};

/// How long somebody may take at the provider, in milliseconds.
pub const FLOW_TIME: u64 = 10 * 60_000;
/// Logins under way at once, about 1 kB each. With one more the oldest is forgotten.
pub const MOST_FLOWS: usize = 10_000;
/// How long what a provider says of itself is believed, in milliseconds. A key that is not among its keys has it asked anew before.
const DISCOVERY_TIME: u64 = 10 * 60_000;
/// How soon after being asked a provider is asked anew because of an unknown key, in milliseconds: strangers' tokens make no flood.
const DISCOVERY_PAUSE: u64 = 30_000;
/// Longest `code` and `state` that are looked at, in bytes.
const MAX_PARAMETER_LEN: usize = 4_096;

/// A provider, as an authority configured it.
#[derive(Clone, PartialEq, Eq)]
pub struct OidcProvider {
    /// Its issuer identifier.
    pub issuer: String,
    /// Who we are to it.
    pub client_id: String,
    /// Our secret; without one PKCE alone protects the code.
    pub client_secret: Option<String>,
    /// Scopes beside `openid`.
    pub scopes: Vec<String>,
    /// Levels of assurance to ask for; if there are any, the login must have one of them.
    pub acr_values: Vec<String>,
    /// Who is an official.
    pub rule: ClaimRule,
}

impl fmt::Debug for OidcProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcProvider")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Whether an address may be an issuer: HTTPS, or HTTP of a loopback host for evaluation; no query, no fragment (Discovery §2).
pub fn is_issuer(text: &str) -> bool {
    let Ok(url) = IssuerUrl::new(text.to_owned()) else {
        return false;
    };
    let url = url.url();
    let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    scheme
        && url.host_str().is_some()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// A login that somebody is away for.
struct Flow {
    authority: AuthorityId,
    state: Digest,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    began: u64,
}

/// Where the browser goes, and what it keeps.
#[derive(Debug)]
pub struct Departure {
    /// The provider's page.
    pub url: String,
    /// For the cookie that the callback asks for.
    pub cookie: Secret,
}

/// What the provider sent the browser back with.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Return {
    /// The authorization code.
    pub code: Option<String>,
    /// Our `state`.
    pub state: Option<String>,
    /// The issuer (RFC 9207).
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

struct Known {
    metadata: CoreProviderMetadata,
    asked: u64,
}

struct Provider {
    config: OidcProvider,
    // Held across the question, so that it is asked once by however many logins.
    known: tokio::sync::Mutex<Option<Known>>,
}

/// Every authority's provider, and the logins under way.
pub struct Oidc {
    providers: RwLock<HashMap<AuthorityId, Arc<Provider>>>,
    redirect: String,
    http: HttpsClient,
    flows: Mutex<HashMap<Digest, Flow>>,
}

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

impl Oidc {
    /// `redirect` is the address of the callback, as the providers know it.
    pub fn new(
        providers: impl IntoIterator<Item = (AuthorityId, OidcProvider)>,
        redirect: String,
        http: HttpsClient,
    ) -> Self {
        let oidc = Self {
            providers: RwLock::default(),
            redirect,
            http,
            flows: Mutex::new(HashMap::new()),
        };
        oidc.replace(providers);
        oidc
    }

    /// Asks these providers from now on. What is known of one that stays as it is stays known.
    pub(super) fn replace(&self, providers: impl IntoIterator<Item = (AuthorityId, OidcProvider)>) {
        let mut own = self
            .providers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let fresh = providers.into_iter().map(|(authority, config)| {
            let there = own.get(&authority).filter(|one| one.config == config);
            let provider = there.cloned().unwrap_or_else(|| {
                let known = tokio::sync::Mutex::new(None);
                Arc::new(Provider { config, known })
            });
            (authority, provider)
        });
        *own = fresh.collect();
    }

    /// Whether the authority has a provider.
    pub fn has(&self, authority: &AuthorityId) -> bool {
        self.provider(authority).is_some()
    }

    /// Whether the authority's provider is this one, with this rule.
    pub(super) fn stands(&self, authority: &AuthorityId, config: &OidcProvider) -> bool {
        self.provider(authority)
            .is_some_and(|own| own.config == *config)
    }

    fn provider(&self, authority: &AuthorityId) -> Option<Arc<Provider>> {
        let own = self
            .providers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        own.get(authority).cloned()
    }

    /// Begins a login. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] without a provider, [`LoginError::Provider`] if it can't be asked.
    pub async fn depart(&self, authority: &AuthorityId, now: u64) -> Result<Departure, LoginError> {
        let provider = self.provider(authority).ok_or(LoginError::Unknown)?;
        let client = self.client(&provider, now, false).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let state = secret::fresh();
        let nonce = secret::fresh();
        let (sent_state, sent_nonce) = (state.reveal().to_owned(), nonce.reveal().to_owned());
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(sent_state),
                move || Nonce::new(sent_nonce),
            )
            .set_pkce_challenge(challenge);
        for scope in &provider.config.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        for acr in &provider.config.acr_values {
            request = request.add_auth_context_value(AuthenticationContextClass::new(acr.clone()));
        }
        let (url, _, nonce) = request.url();
        let cookie = secret::fresh();
        let flow = Flow {
            authority: authority.clone(),
            state: state.digest(),
            nonce,
            verifier,
            began: now,
        };
        self.remember(cookie.digest(), flow, now);
        Ok(Departure {
            url: url.into(),
            cookie,
        })
    }

    fn remember(&self, key: Digest, flow: Flow, now: u64) {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if flows.len() >= MOST_FLOWS {
            flows.retain(|_, flow| is_under_way(flow, now));
        }
        if flows.len() >= MOST_FLOWS
            && let Some(oldest) = flows
                .iter()
                .min_by_key(|(_, flow)| flow.began)
                .map(|(key, _)| *key)
        {
            flows.remove(&oldest);
        }
        flows.insert(key, flow);
    }

    /// Forgets logins that nobody came back from.
    pub fn sweep(&self, now: u64) {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        flows.retain(|_, flow| is_under_way(flow, now));
    }

    /// Ends a login. `cookie` is that of [`Departure`]; `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// [`LoginError`]; the login is over in any case, unless another browser came with it.
    pub async fn arrive(
        &self,
        cookie: &Secret,
        back: Return,
        now: u64,
    ) -> Result<Arrival, LoginError> {
        let flow = {
            let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
            flows.remove(&cookie.digest())
        };
        let flow = flow
            .filter(|flow| is_under_way(flow, now))
            .ok_or(LoginError::FlowExpired)?;
        let state = back.state.filter(|text| text.len() <= MAX_PARAMETER_LEN);
        if state.is_none_or(|state| Digest::of(state.as_bytes()) != flow.state) {
            return Err(LoginError::FlowExpired);
        }
        let provider = self.provider(&flow.authority).ok_or(LoginError::Unknown)?;
        if back.iss.is_some_and(|iss| iss != provider.config.issuer) {
            return Err(LoginError::Claims);
        }
        if back.error.is_some() {
            return Err(LoginError::Declined);
        }
        let code = back
            .code
            .filter(|text| text.len() <= MAX_PARAMETER_LEN)
            .ok_or(LoginError::Declined)?;
        let official = self
            .redeem(&provider, code, flow.verifier, &flow.nonce, now)
            .await?;
        Ok(Arrival {
            authority: flow.authority,
            official,
            way: Way::Oidc(Box::new(provider.config.clone())),
        })
    }

    async fn redeem(
        &self,
        provider: &Provider,
        code: String,
        verifier: PkceCodeVerifier,
        nonce: &Nonce,
        now: u64,
    ) -> Result<Official, LoginError> {
        let mut client = self.client(provider, now, false).await?;
        let http = self.caller();
        let tokens = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|_| LoginError::Provider)?
            .set_pkce_verifier(verifier)
            .request_async(&http)
            .await
            .map_err(|error| {
                tracing::warn!(
                    error = kind_of(&error),
                    "an identity provider gave no token"
                );
                LoginError::Provider
            })?;
        let token = tokens.id_token().ok_or(LoginError::Claims)?;
        let verified = match verify(&client, token, nonce, now) {
            // Providers change keys.
            Err(Unverified::UnknownKey) => {
                client = self.client(provider, now, true).await?;
                verify(&client, token, nonce, now)
            }
            other => other,
        };
        let verified = verified.map_err(|_| {
            tracing::warn!("an identity provider's token is no good");
            LoginError::Claims
        })?;
        let acr = verified.acr;
        let wanted = &provider.config.acr_values;
        if !wanted.is_empty() && !acr.as_ref().is_some_and(|acr| wanted.contains(acr)) {
            return Err(LoginError::Assurance);
        }
        let mut claims = verified.claims;
        if provider.config.rule.misses(&claims) {
            let more = self
                .user_info(&client, tokens.access_token().clone(), verified.subject)
                .await?;
            for (name, value) in more {
                claims.entry(name).or_insert(value);
            }
        }
        provider.config.rule.official(&claims, acr)
    }

    /// More claims, from the provider's endpoint for them; none if it has no such endpoint.
    async fn user_info(
        &self,
        client: &Client,
        token: AccessToken,
        subject: SubjectIdentifier,
    ) -> Result<Map<String, Value>, LoginError> {
        let Ok(request) = client.user_info(token, Some(subject)) else {
            return Ok(Map::new());
        };
        let claims: UserInfoClaims<AnyClaims, CoreGenderClaim> =
            request.request_async(&self.caller()).await.map_err(|_| {
                tracing::warn!("an identity provider told nothing of its user");
                LoginError::Provider
            })?;
        match serde_json::to_value(&claims) {
            Ok(Value::Object(claims)) => Ok(claims),
            Ok(_) | Err(_) => Err(LoginError::Claims),
        }
    }

    /// The client by what the provider says of itself; `anew` asks it again if it was not asked just before.
    async fn client(
        &self,
        provider: &Provider,
        now: u64,
        anew: bool,
    ) -> Result<Client, LoginError> {
        let mut known = provider.known.lock().await;
        let good_for = if anew {
            DISCOVERY_PAUSE
        } else {
            DISCOVERY_TIME
        };
        if known
            .as_ref()
            .is_none_or(|known| now.saturating_sub(known.asked) >= good_for)
        {
            match self.discover(&provider.config).await {
                Ok(metadata) => {
                    *known = Some(Known {
                        metadata,
                        asked: now,
                    })
                }
                Err(error) => {
                    tracing::warn!(error, "an identity provider can't be asked");
                    // What it said before may still be true.
                    if known.is_none() {
                        return Err(LoginError::Provider);
                    }
                }
            }
        }
        let Some(known) = known.as_ref() else {
            return Err(LoginError::Provider);
        };
        let config = &provider.config;
        let redirect = RedirectUrl::new(self.redirect.clone()).map_err(|_| LoginError::Provider)?;
        Ok(CoreClient::from_provider_metadata(
            known.metadata.clone(),
            ClientId::new(config.client_id.clone()),
            config.client_secret.clone().map(ClientSecret::new),
        )
        .set_redirect_uri(redirect))
    }

    async fn discover(&self, config: &OidcProvider) -> Result<CoreProviderMetadata, &'static str> {
        let issuer = IssuerUrl::new(config.issuer.clone()).map_err(|_| "issuer")?;
        CoreProviderMetadata::discover_async(issuer, &self.caller())
            .await
            .map_err(|error| match error {
                openidconnect::DiscoveryError::Request(_) => "unreachable",
                openidconnect::DiscoveryError::Response(..) => "status",
                openidconnect::DiscoveryError::Validation(_) => "other issuer",
                // The library's words may repeat what the provider wrote.
                openidconnect::DiscoveryError::Parse(_)
                | openidconnect::DiscoveryError::UrlParse(_)
                | openidconnect::DiscoveryError::Other(_)
                | _ => "malformed",
            })
    }

    fn caller(
        &self,
    ) -> impl Fn(
        HttpRequest,
    ) -> std::pin::Pin<
        Box<
            dyn Future<Output = Result<openidconnect::HttpResponse, super::https::HttpError>>
                + Send,
        >,
    > + Send
    + Sync
    + 'static {
        let http = self.http.clone();
        move |request| {
            let http = http.clone();
            Box::pin(async move { http.call(request).await })
        }
    }
}

fn is_under_way(flow: &Flow, now: u64) -> bool {
    now.saturating_sub(flow.began) < FLOW_TIME
}

/// What failed, without what the provider wrote: it may name people.
fn kind_of<RE, T>(error: &openidconnect::RequestTokenError<RE, T>) -> &'static str
where
    RE: std::error::Error + 'static,
    T: openidconnect::ErrorResponse + 'static,
{
    match error {
        openidconnect::RequestTokenError::ServerResponse(_) => "refused",
        openidconnect::RequestTokenError::Request(_) => "unreachable",
        openidconnect::RequestTokenError::Parse(..) => "malformed",
        openidconnect::RequestTokenError::Other(_) => "other",
    }
}

/// Claims whose names the configuration chooses.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct AnyClaims(Map<String, Value>);

impl AdditionalClaims for AnyClaims {}

struct Verified {
    subject: SubjectIdentifier,
    acr: Option<String>,
    claims: Map<String, Value>,
}

#[derive(Debug, PartialEq, Eq)]
enum Unverified {
    UnknownKey,
    NoGood,
}

/// Signature algorithms that are taken: those with public keys.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

fn verify(
    client: &Client,
    token: &openidconnect::core::CoreIdToken,
    nonce: &Nonce,
    now: u64,
) -> Result<Verified, Unverified> {
    let now = i64::try_from(now / 1_000).unwrap_or(i64::MAX);
    let skew = i64::try_from(CLOCK_SKEW_SECS).unwrap_or(0);
    let at = |seconds: i64| DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
    let (earlier, later) = (at(now - skew), at(now + skew));
    let verifier = client
        .id_token_verifier()
        .set_allowed_algs(ALGORITHMS)
        // A clock that is slow by the skew: what ended a moment ago is still taken.
        .set_time_fn(move || earlier)
        .set_issue_time_verifier_fn(move |issued| {
            if issued <= later {
                Ok(())
            } else {
                Err("issued in the future".to_owned())
            }
        });
    let claims = token.claims(&verifier, nonce).map_err(|error| {
        let unknown = ClaimsVerificationError::SignatureVerification(
            openidconnect::SignatureVerificationError::NoMatchingKey,
        );
        if error == unknown {
            Unverified::UnknownKey
        } else {
            Unverified::NoGood
        }
    })?;
    // The library knows the standard's claims only; these are the same bytes, whose signature was just checked.
    let text = token.to_string();
    let payload = text
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or(Unverified::NoGood)?;
    Ok(Verified {
        subject: claims.subject().clone(),
        acr: claims.auth_context_ref().map(|acr| acr.to_string()),
        claims: payload,
    })
}

#[cfg(test)]
mod tests;
