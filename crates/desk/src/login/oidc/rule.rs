//! Which claims make somebody an official, and which official.

use serde_json::{Map, Value};

use crate::login::{LoginError, Official};

/// Who of those that the provider knows may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Everybody that the provider lets through to this client.
    Everyone,
    /// Whoever has one of these values in a claim, which is a text or a list of texts.
    Having {
        /// The claim's name, e.g. `groups`.
        claim: String,
        /// One of them is enough.
        values: Vec<String>,
    },
}

/// How claims become an official.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRule {
    /// Who may.
    pub admitted: Admitted,
    /// Claim with the official's id. It must never be given to somebody else: `sub` isn't (OpenID Connect Core §2).
    pub id: String,
    /// Claim with the name that citizens see.
    pub name: String,
}

impl ClaimRule {
    /// Whether the rule needs claims that are not there, so that asking the provider for more may help.
    pub(super) fn misses(&self, claims: &Map<String, Value>) -> bool {
        let wanted = match &self.admitted {
            Admitted::Everyone => None,
            Admitted::Having { claim, .. } => Some(claim),
        };
        [&self.id, &self.name]
            .into_iter()
            .chain(wanted)
            .any(|claim| !claims.contains_key(claim.as_str()))
    }

    /// Applies the rule.
    pub(super) fn official(
        &self,
        claims: &Map<String, Value>,
        acr: Option<String>,
    ) -> Result<Official, LoginError> {
        if let Admitted::Having { claim, values } = &self.admitted {
            let has = |value: &Value| {
                value
                    .as_str()
                    .is_some_and(|text| values.iter().any(|wanted| wanted == text))
            };
            let admitted = match claims.get(claim) {
                Some(Value::Array(list)) => list.iter().any(has),
                Some(one) => has(one),
                None => false,
            };
            if !admitted {
                return Err(LoginError::NotAdmitted);
            }
        }
        let text = |claim: &str| {
            claims
                .get(claim)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        Official::new(text(&self.id), text(&self.name), acr).ok_or(LoginError::Claims)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule() -> ClaimRule {
        ClaimRule {
            admitted: Admitted::Having {
                claim: "groups".to_owned(),
                values: vec!["video".to_owned(), "video-admin".to_owned()],
            },
            id: "sub".to_owned(),
            name: "name".to_owned(),
        }
    }

    fn judge(claims: Value) -> Result<Official, LoginError> {
        let Value::Object(claims) = claims else {
            panic!("claims are an object");
        };
        rule().official(&claims, None)
    }

    #[test]
    fn one_value_of_the_claim_is_enough_and_it_must_be_the_whole_text() {
        for (groups, admitted) in [
            (json!(["staff", "video"]), true),
            (json!("video-admin"), true),
            (json!(["video-extra", "my video"]), false),
            (json!("staff video"), false),
            (json!([["video"]]), false),
            (json!({"video": true}), false),
            (json!(true), false),
            (Value::Null, false),
        ] {
            let claims = json!({"sub": "1", "name": "Kim", "groups": groups});
            let result = judge(claims);
            let expected = if admitted {
                None
            } else {
                Some(LoginError::NotAdmitted)
            };
            assert_eq!(result.err(), expected, "{groups}");
        }
        assert_eq!(
            judge(json!({"sub": "1", "name": "Kim"})),
            Err(LoginError::NotAdmitted)
        );
    }

    #[test]
    fn an_official_needs_id_and_name() {
        for claims in [
            json!({"groups": "video", "sub": "1"}),
            json!({"groups": "video", "name": "Kim"}),
            json!({"groups": "video", "sub": 1, "name": "Kim"}),
            json!({"groups": "video", "sub": "1", "name": "x".repeat(101)}),
        ] {
            assert_eq!(judge(claims.clone()), Err(LoginError::Claims), "{claims}");
        }
    }

    #[test]
    fn a_rule_knows_what_it_misses() {
        let misses = |claims: Value| rule().misses(claims.as_object().unwrap());
        assert!(misses(json!({"sub": "1", "name": "Kim"})));
        assert!(misses(json!({"sub": "1", "groups": []})));
        assert!(!misses(json!({"sub": "1", "groups": [], "name": "Kim"})));
    }
}
