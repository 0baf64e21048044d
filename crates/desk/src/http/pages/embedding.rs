//! What an office's pages may do and who may show them in a frame: `frame-ancestors` (CSP Level 3 §6.4.2) and `Permissions-Policy`.
//!
//! The pages themselves are the same for all offices and served elsewhere; this changes two headers of theirs by the office that the address
//! names (`/amt?authority=…`). Without a name it is the only office, if there is only one; else nobody may frame the page.
//!
//! Cookies are `SameSite=Strict`: in a frame they come along only if the embedding page is of the same site (`portal.ulm.example` around
//! `video.ulm.example`). That is meant: a frame in a foreign site would be somebody else's window.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use schalter_model::AuthorityId;

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// What the pages say themselves.
const NOBODY: &str = "frame-ancestors 'none'";

/// What a browser asks its user for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// The camera.
    Camera,
    /// The microphone.
    Microphone,
    /// Showing a window or the screen.
    DisplayCapture,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Camera, Self::Microphone, Self::DisplayCapture];

    /// The word in `Permissions-Policy` and in the configuration.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Microphone => "microphone",
            Self::DisplayCapture => "display-capture",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|feature| feature.label() == text)
    }
}

/// One office's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// Origins of pages that may show ours in a frame.
    pub ancestors: Vec<String>,
    /// What the pages may ask for.
    pub features: Vec<Feature>,
}

impl Default for Embedding {
    /// Nobody frames the pages, and they may ask for everything.
    fn default() -> Self {
        Self {
            ancestors: Vec::new(),
            features: Feature::ALL.to_vec(),
        }
    }
}

impl Embedding {
    fn ancestors(&self) -> Option<String> {
        (!self.ancestors.is_empty())
            .then(|| format!("frame-ancestors {}", self.ancestors.join(" ")))
    }

    fn permissions(&self) -> String {
        let parts = Feature::ALL.map(|feature| {
            let whom = if self.features.contains(&feature) {
                "(self)"
            } else {
                "()"
            };
            format!("{}={whom}", feature.label())
        });
        parts.join(", ")
    }
}

/// A picture that stands for an office.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logo {
    /// What it is, found out from its bytes.
    pub content_type: &'static str,
    /// The file.
    pub bytes: Bytes,
}

/// What an office's pages have of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfficePages {
    /// Texts in place of the pages' own, by language and key. Shown as text, never as markup.
    pub texts: BTreeMap<String, BTreeMap<String, String>>,
    /// The logo.
    pub logo: Option<Logo>,
    /// Frames and permissions.
    pub embedding: Embedding,
}

/// What every office's pages have of their own, until a reload. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Offices(Arc<RwLock<BTreeMap<AuthorityId, Arc<OfficePages>>>>);

impl Offices {
    /// By office.
    pub fn new(pages: impl IntoIterator<Item = (AuthorityId, OfficePages)>) -> Self {
        let pages = pages.into_iter().map(|(id, pages)| (id, Arc::new(pages)));
        Self(Arc::new(RwLock::new(pages.collect())))
    }

    /// Those of an office.
    pub fn of(&self, id: &AuthorityId) -> Option<Arc<OfficePages>> {
        let pages = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pages.get(id).cloned()
    }

    /// Takes over which offices there are, and what they have.
    pub fn replace(&self, fresh: impl IntoIterator<Item = (AuthorityId, OfficePages)>) {
        let fresh = fresh.into_iter().map(|(id, pages)| (id, Arc::new(pages)));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = fresh.collect();
    }
}

/// Every office's rules, as its pages have them.
#[derive(Clone, Debug, Default)]
pub struct Embeddings(Offices);

impl Embeddings {
    /// Of these offices.
    pub fn new(offices: Offices) -> Self {
        Self(offices)
    }

    /// The rules for a page's address.
    fn of(&self, uri: &Uri) -> Option<Arc<OfficePages>> {
        let own = self.0.0.read().unwrap_or_else(PoisonError::into_inner);
        let query = uri.query().unwrap_or_default();
        let named = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("authority="));
        let found = match named {
            Some(name) => own.get(&AuthorityId::new(name).ok()?),
            None if own.len() == 1 => own.values().next(),
            None => None,
        };
        found.cloned()
    }
}

/// Changes the headers of the desk's pages, and of nothing else; a middleware around whatever serves them.
pub async fn embed(State(rules): State<Embeddings>, request: Request, next: Next) -> Response {
    let ours = ["/termin", "/amt"].contains(&request.uri().path());
    let pages = if ours { rules.of(request.uri()) } else { None };
    let mut response = next.run(request).await;
    let Some(rule) = pages.as_ref().map(|pages| &pages.embedding) else {
        return response;
    };
    let headers = response.headers_mut();
    if let Some(policy) = headers.get(header::CONTENT_SECURITY_POLICY)
        && let (Ok(policy), Some(ancestors)) = (policy.to_str(), rule.ancestors())
        && let Ok(changed) = HeaderValue::from_str(&policy.replace(NOBODY, &ancestors))
    {
        headers.insert(header::CONTENT_SECURITY_POLICY, changed);
    }
    if let Ok(permissions) = HeaderValue::from_str(&rule.permissions())
        && headers.contains_key(PERMISSIONS_POLICY)
    {
        headers.insert(PERMISSIONS_POLICY, permissions);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    fn office(name: &str) -> AuthorityId {
        AuthorityId::new(name).unwrap()
    }

    async fn headers(rules: &Embeddings, uri: &str) -> (String, String) {
        let page = async || {
            [
                (
                    header::CONTENT_SECURITY_POLICY,
                    "default-src 'none'; frame-ancestors 'none'",
                ),
                (
                    PERMISSIONS_POLICY,
                    "camera=(self), microphone=(self), display-capture=(self)",
                ),
            ]
        };
        let app = Router::new()
            .route("/amt", get(page))
            .route("/termin", get(page))
            .route("/check", get(page))
            .layer(axum::middleware::from_fn_with_state(rules.clone(), embed));
        let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        let text = |name: HeaderName| response.headers()[name].to_str().unwrap().to_owned();
        (
            text(header::CONTENT_SECURITY_POLICY),
            text(PERMISSIONS_POLICY),
        )
    }

    fn framed() -> Embedding {
        Embedding {
            ancestors: vec![
                "https://a.example".to_owned(),
                "https://b.example".to_owned(),
            ],
            features: vec![Feature::Camera, Feature::Microphone],
        }
    }

    fn with(embedding: Embedding) -> OfficePages {
        OfficePages {
            embedding,
            ..OfficePages::default()
        }
    }

    fn rules(offices: impl IntoIterator<Item = (AuthorityId, Embedding)>) -> Embeddings {
        let offices = offices.into_iter().map(|(id, rule)| (id, with(rule)));
        Embeddings::new(Offices::new(offices))
    }

    #[tokio::test]
    async fn after_a_reload_offices_have_the_rules_of_the_file_and_those_that_are_gone_none() {
        let rules = rules([
            (office("ulm"), Embedding::default()),
            (office("gone"), framed()),
        ]);
        let fresh = [
            (office("ulm"), with(framed())),
            (office("bonn"), with(framed())),
        ];
        rules.0.replace(fresh);
        for (name, framed) in [("ulm", true), ("bonn", true), ("gone", false)] {
            let (policy, _) = headers(&rules, &format!("/amt?authority={name}")).await;
            assert_eq!(policy.contains("https://a.example"), framed, "{name}");
        }
    }

    #[tokio::test]
    async fn an_office_decides_about_its_own_pages_only() {
        let rules = rules([
            (office("ulm"), framed()),
            (office("bonn"), Embedding::default()),
        ]);
        let open = (
            "default-src 'none'; frame-ancestors https://a.example https://b.example".to_owned(),
            "camera=(self), microphone=(self), display-capture=()".to_owned(),
        );
        let shut = (
            "default-src 'none'; frame-ancestors 'none'".to_owned(),
            "camera=(self), microphone=(self), display-capture=(self)".to_owned(),
        );
        assert_eq!(headers(&rules, "/amt?authority=ulm").await, open);
        assert_eq!(headers(&rules, "/termin?x=y&authority=ulm").await, open);
        for other in [
            "/amt",
            "/amt?authority=bonn",
            "/amt?authority=../ulm",
            "/amt?authority=",
            "/check?authority=ulm",
        ] {
            assert_eq!(headers(&rules, other).await, shut, "{other}");
        }
    }

    #[tokio::test]
    async fn a_single_office_needs_no_name() {
        let rules = rules([(office("ulm"), framed())]);
        let (policy, _) = headers(&rules, "/termin").await;
        assert!(policy.contains("https://a.example"));
        let (policy, _) = headers(&rules, "/termin?authority=bonn").await;
        assert!(policy.contains("'none'; frame-ancestors 'none'"));
    }
}
