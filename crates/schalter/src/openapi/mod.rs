//! `/openapi.json`: every HTTP endpoint in one OpenAPI 3.1 document, on both listeners.
//!
//! What is written by hand stands in the YAML files beside this one; the room service is described by its own code. Tests
//! of the built server hold the document against what it answers.

use std::sync::OnceLock;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::routing::get;
use serde_json::{Map, Value};

/// Later ones add to earlier ones.
const FRAGMENTS: [&str; 6] = [
    include_str!("document.yaml"),
    include_str!("administration.yaml"),
    include_str!("appointments.yaml"),
    include_str!("pages.yaml"),
    include_str!("officials.yaml"),
    include_str!("whip-whep.yaml"),
];

/// `GET /openapi.json`, for pages of any origin: it tells nothing of this installation but its version.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/openapi.json", get(async || (HEADERS, text())))
}

const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    ),
];

fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text = document().to_string();
        text.push('\n');
        text
    })
}

fn document() -> Value {
    let mut document = Map::new();
    for fragment in FRAGMENTS {
        let mut yaml: serde_yaml::Value =
            serde_yaml::from_str(fragment).expect("the embedded files are YAML; a test reads them");
        yaml.apply_merge()
            .expect("merge keys stand before mappings");
        let value = serde_json::to_value(yaml).expect("their keys are texts");
        merge(&mut document, value);
    }
    merge(&mut document, schalter_signaling::livekit::openapi());
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document.into()
}

/// Adds what `more` has to mappings and lists, at every depth.
fn merge(into: &mut Map<String, Value>, more: Value) {
    let Value::Object(more) = more else { return };
    for (name, value) in more {
        match into.get_mut(&name) {
            Some(Value::Object(there)) => merge(there, value),
            Some(Value::Array(there)) if value.is_array() => {
                there.extend(value.as_array().into_iter().flatten().cloned());
            }
            Some(_) | None => {
                into.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    found.insert(target.clone());
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 10);
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }

    #[test]
    fn operations_have_ids_of_their_own_and_tags_that_are_explained() {
        let document = document();
        let tags: BTreeSet<_> = document["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| tag["name"].as_str().unwrap())
            .collect();
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in ["get", "head", "post", "put", "patch", "delete", "options"] {
                let operation = &item[method];
                if operation.is_null() {
                    continue;
                }
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id), "{id} of {path} stands twice");
                for tag in operation["tags"].as_array().unwrap() {
                    assert!(tags.contains(tag.as_str().unwrap()), "{tag} of {path}");
                }
            }
        }
    }
}
