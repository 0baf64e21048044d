//! Lets officials' sessions in where case systems come with keys: both make, change and cancel appointments by the same handlers.

use aws_lc_rs::hmac;
use axum::http::request::Parts;

use super::Pages;
use super::problem;
use super::request::LoggedIn;
use super::site::Jar;
use crate::http::{Admitted, Gate, Problem, Scope};

/// An official who is logged in may whatever appointments need, and hears no events: those are for case systems.
impl Gate for Pages {
    async fn admit(&self, parts: &Parts, scope: Scope) -> Result<Admitted, Problem> {
        let cookie = self.site.find_cookie(Jar::Official, &parts.headers);
        let cookie = cookie.ok_or_else(problem::no_session)?;
        let session = self.login.sessions.find(&cookie, self.now_ms());
        let session = LoggedIn(session.ok_or_else(problem::no_session)?);
        match scope {
            Scope::AppointmentsRead | Scope::AppointmentsWrite => {}
            Scope::EventsRead | Scope::AuditRead => return Err(problem::no_session()),
        }
        // The session's secret is known to its browser only, as a key is to its holder.
        let key = hmac::Key::new(hmac::HMAC_SHA256, cookie.reveal().as_bytes());
        let tag = hmac::sign(&key, b"schalter desk: kept answers of a session");
        let mut seal_key = [0; 32];
        seal_key.copy_from_slice(tag.as_ref());
        Ok(Admitted {
            caller: session.caller(),
            seal_key,
        })
    }
}
