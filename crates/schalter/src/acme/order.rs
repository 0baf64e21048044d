//! One certificate from a certificate authority (RFC 8555): account, order, proof that the names are ours, certificate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error,
    ExternalAccountKey, Identifier, KeyAuthorization, NewAccount, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};

use super::client::Client;
use super::http::Tokens;
use super::window::{Answer, Window};
use crate::config::Acme;
use crate::state::StateDir;
use crate::tls::{Tls, proof_key};

/// How long an authority may take to validate, and to issue.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// Why there is no certificate, with what the operator can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble(String);

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What proves that names are ours.
pub(super) struct Proofs<'a> {
    pub(super) tls: &'a Tls,
    /// Where HTTP-01 is answered, if it is to be used.
    pub(super) http: Option<&'a Tokens>,
}

/// A chain and its key, in PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

/// What an authority said of renewal.
pub(super) struct Advice {
    pub(super) answer: Answer,
    /// Where it explains that.
    pub(super) explanation: Option<String>,
}

impl From<Answer> for Advice {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            explanation: None,
        }
    }
}

/// Asks when a certificate is to be renewed (RFC 9773 §4.2). Makes no account for that: who has none asks nobody.
pub(super) async fn renewal_info(
    config: &Acme,
    client: &Client,
    state: &StateDir,
    certificate: &CertificateIdentifier<'_>,
) -> Advice {
    let account = match kept_account(config, client, state).await {
        Ok(Some(account)) => account,
        Ok(None) => return Answer::Unsupported.into(),
        Err(_) => return Answer::Failed.into(),
    };
    match account.renewal_info(certificate).await {
        Ok((info, again)) => {
            let window = info.suggested_window;
            let window = Window::new(window.start.unix_timestamp(), window.end.unix_timestamp());
            let again = i64::try_from(again.as_secs()).unwrap_or(i64::MAX);
            Advice {
                answer: window.map_or(Answer::Failed, |window| Answer::Window(window, again)),
                explanation: info.explanation_url,
            }
        }
        Err(Error::Unsupported(_)) => Answer::Unsupported.into(),
        Err(error) => {
            tracing::debug!(%error, "the certificate authority says nothing of renewal");
            Answer::Failed.into()
        }
    }
}

/// Gets a certificate for the names of the configuration, in place of the one named, if any.
pub(super) async fn certificate(
    config: &Acme,
    client: &Client,
    state: &StateDir,
    proofs: &Proofs<'_>,
    replaced: Option<CertificateIdentifier<'static>>,
) -> Result<Issued, Trouble> {
    let account = account(config, client, state).await?;
    let names: Vec<_> = config
        .domains
        .iter()
        .cloned()
        .map(Identifier::Dns)
        .collect();
    let order = new_order(&account, &names, replaced).await;
    let mut order = order.map_err(|error| config.trouble("the order was refused", &error))?;
    let validated = validate(config, &mut order, proofs).await;
    for domain in &config.domains {
        proofs.tls.challenge(domain, None);
    }
    if let Some(tokens) = proofs.http {
        tokens.clear();
    }
    validated?;
    let key = order.finalize().await;
    let key = key.map_err(|error| config.trouble("the order could not be finished", &error))?;
    let chain = order.poll_certificate(&PATIENCE).await;
    let chain = chain.map_err(|error| config.trouble("no certificate was issued", &error))?;
    Ok(Issued { chain, key })
}

/// Orders, and says which certificate that is to replace (RFC 9773 §5). To whom this says nothing, or who sees it in another way
/// (it was replaced before, it is another authority's), is asked without: a certificate comes before good order.
async fn new_order(
    account: &Account,
    names: &[Identifier],
    replaced: Option<CertificateIdentifier<'static>>,
) -> Result<Order, Error> {
    let plain = NewOrder::new(names);
    let Some(replaced) = replaced else {
        return account.new_order(&plain).await;
    };
    match account
        .new_order(&NewOrder::new(names).replaces(replaced))
        .await
    {
        Err(Error::Api(problem)) if is_rate_limit(&problem) => Err(Error::Api(problem)),
        Err(_) => account.new_order(&plain).await,
        Ok(order) => Ok(order),
    }
}

fn is_rate_limit(problem: &Problem) -> bool {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.ends_with(":rateLimited")
}

/// The account of the state directory, if there is one for this directory and external account.
async fn kept_account(
    config: &Acme,
    client: &Client,
    state: &StateDir,
) -> Result<Option<Account>, Trouble> {
    let file = config.account_file();
    let kept = state.read(&file);
    let kept = kept.map_err(|error| Trouble(format!("{file} in state_dir: {error}")))?;
    let Some(text) = kept else {
        return Ok(None);
    };
    let unreadable = |_| {
        Trouble(format!(
            "{file} in state_dir can't be read: remove it for a new account"
        ))
    };
    let credentials: AccountCredentials = serde_json::from_str(&text).map_err(unreadable)?;
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let restored = builder.from_credentials(credentials).await;
    let restored =
        restored.map_err(|error| config.trouble("the directory can't be read", &error))?;
    Ok(Some(restored))
}

/// The account of the state directory, made at the first time.
async fn account(config: &Acme, client: &Client, state: &StateDir) -> Result<Account, Trouble> {
    if let Some(account) = kept_account(config, client, state).await? {
        return Ok(account);
    }
    let file = config.account_file();
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let contact = config.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.as_deref().into_iter().collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let external = config.eab.as_ref();
    let external = external.map(|eab| ExternalAccountKey::new(eab.kid.clone(), &eab.hmac_key));
    let made = builder
        .create(&new, config.directory.clone(), external.as_ref())
        .await;
    let (account, credentials) =
        made.map_err(|error| config.trouble("no account could be made", &error))?;
    let text = serde_json::to_string(&credentials).map_err(|error| Trouble(error.to_string()))?;
    let written = state.replace(&file, &text);
    written.map_err(|error| Trouble(format!("{file} in state_dir: {error}")))?;
    Ok(account)
}

async fn validate(config: &Acme, order: &mut Order, proofs: &Proofs<'_>) -> Result<(), Trouble> {
    let refused = |error: Error| config.trouble("the names could not be validated", &error);
    let kind = match proofs.http {
        Some(_) => ChallengeType::Http01,
        None => ChallengeType::TlsAlpn01,
    };
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(refused)?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(kind.clone()) else {
            return Err(Trouble(format!(
                "the certificate authority does not offer {}: {}",
                config.challenge_name(),
                if config.http_port.is_some() {
                    "leave out tls.acme.http_port, so that TLS-ALPN-01 is used"
                } else {
                    "set tls.acme.http_port, so that HTTP-01 is used"
                },
            )));
        };
        let proof = challenge.key_authorization();
        match proofs.http {
            Some(tokens) => tokens.put(&challenge.token, proof.as_str()),
            None => {
                let domain = challenge.identifier().to_string();
                let shown = proof_certificate(&domain, &proof)?;
                proofs.tls.challenge(&domain, Some(shown));
            }
        }
        challenge.set_ready().await.map_err(refused)?;
    }
    match order.poll_ready(&PATIENCE).await.map_err(refused)? {
        OrderStatus::Ready | OrderStatus::Valid => Ok(()),
        OrderStatus::Invalid | OrderStatus::Pending | OrderStatus::Processing => {
            Err(why_invalid(config, order).await)
        }
    }
}

/// The certificate of TLS-ALPN-01 (RFC 8737 §3).
fn proof_certificate(
    domain: &str,
    proof: &KeyAuthorization,
) -> Result<Arc<rustls::sign::CertifiedKey>, Trouble> {
    let trouble = |error: &dyn fmt::Display| Trouble(format!("no proof could be made: {error}"));
    let key = KeyPair::generate().map_err(|error| trouble(&error))?;
    let mut params =
        CertificateParams::new(vec![domain.to_owned()]).map_err(|error| trouble(&error))?;
    let extension = CustomExtension::new_acme_identifier(proof.digest().as_ref());
    params.custom_extensions.push(extension);
    let certificate = params.self_signed(&key).map_err(|error| trouble(&error))?;
    proof_key(certificate.der().clone(), &key.serialize_der()).map_err(|error| trouble(&error))
}

/// What the authority says of the names that it could not validate.
async fn why_invalid(config: &Acme, order: &mut Order) -> Trouble {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else {
            continue;
        };
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let name = state.identifier().to_string();
        let problem = state.challenges.iter().find_map(|it| it.error.as_ref());
        if let Some(problem) = problem {
            let what = format!("the certificate authority could not validate {name}");
            return Trouble(config.explain(&what, problem));
        }
    }
    Trouble("the certificate authority gave up the order without a reason".to_owned())
}

impl Acme {
    fn challenge_name(&self) -> &'static str {
        if self.http_port.is_some() {
            "HTTP-01"
        } else {
            "TLS-ALPN-01"
        }
    }

    fn trouble(&self, what: &str, error: &Error) -> Trouble {
        if let Error::Api(problem) = error {
            return Trouble(self.explain(what, problem));
        }
        if let Error::Other(_) = error {
            return Trouble(format!(
                "{what}: {} can't be reached ({error}): let this machine connect to it, and look at its certificate \
                 (tls.acme.ca_file) and the clock",
                self.directory
            ));
        }
        Trouble(format!("{what}: {error}"))
    }

    /// A problem of RFC 8555 §6.7 with its remedy.
    fn explain(&self, what: &str, problem: &Problem) -> String {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let kind = kind.rsplit(':').next().unwrap_or_default();
        let remedy = match kind {
            "externalAccountRequired" => {
                "get an external account of the certificate authority and set tls.acme.eab"
            }
            "unauthorized" if self.eab.is_some() && what.contains("account") => {
                "look at kid and hmac_key of tls.acme.eab"
            }
            "dns" => "let the name's A and AAAA records point to this server",
            "connection" | "tls" | "unauthorized" | "incorrectResponse"
                if self.http_port.is_some() =>
            {
                "TCP port 80 of the name must reach tls.acme.http_port of this server, from everywhere"
            }
            "connection" | "tls" | "unauthorized" | "incorrectResponse" => {
                "TCP port 443 of the name must reach the port for TLS of this server, from everywhere, and nothing \
                 before it may end TLS"
            }
            "caa" => "let the name's CAA record name this certificate authority, or none",
            "rateLimited" => "wait: the certificate authority counts what is asked of it",
            "rejectedIdentifier" => {
                "this certificate authority issues nothing for the name: look at tls.acme.domains"
            }
            "invalidContact" | "unsupportedContact" => "look at tls.acme.email",
            _ => "look at tls.acme and at what the certificate authority wants",
        };
        let detail = problem.detail.as_deref().unwrap_or(kind);
        format!("{what}: {detail}; {remedy}")
    }
}
