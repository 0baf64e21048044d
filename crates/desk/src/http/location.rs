//! What stands in a request's path and query. What can't be read there is told as a [`Problem`], as everywhere below `/v1` and
//! `/desk/v1`; axum's own extractors answer plain text.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Parts of the path. 400 for what is no UTF-8 once decoded.
pub(super) struct InPath<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::from_request_parts(parts, state).await;
        read.map(|Path(path)| Self(path))
            .map_err(|_| Problem::malformed("the path can't be read"))
    }
}

/// Parameters of the query. 400 for one that stands twice or has another form than expected.
pub(super) struct InQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(query)| Self(query))
            .map_err(|_| Problem::malformed("a parameter can't be read, or stands twice"))
    }
}
