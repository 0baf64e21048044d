//! `schalter doctor`: looks at what calls need, from the server's side and from a client's, and says of each thing what was
//! measured and what to do.
//!
//! Owns the checks and the report. Changes nothing: a join of its own, hidden and alone in a room, is the only trace. Neither
//! tokens nor credentials are ever printed.

mod certificate;
mod client;
mod connect;
mod http_date;
mod join;
mod report;
mod server;
mod stun;
mod turn;

use std::process::ExitCode;

use schalter_signaling::token::{Claims, VideoClaims};

use crate::cli::DoctorArgs;
use crate::config::Config;
use crate::state::random_secret;
use crate::{Failure, keys, say, token};

use certificate::Trust;
use client::Client;
use connect::Target;
use report::{Report, Severity};

/// Exit code when there are warnings and nothing worse.
const WARNINGS: u8 = 3;

/// Looks, and prints the report. 0 all is well, 1 something is broken, 2 wrong usage or configuration, 3 warnings only.
pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let mut report = Report::default();
    // From afar the machine that asks is of no interest.
    let local = args.url.is_none() || args.config.is_some();
    let config = if local {
        Some(Config::load(args.config.as_deref()).map_err(Failure::setup)?)
    } else {
        None
    };
    if let Some(config) = &config {
        report.ok(
            "config",
            match &args.config {
                Some(path) => format!("{} is right", path.display()),
                None => "no file: the defaults".to_owned(),
            },
        );
        server::examine(args.config.as_deref(), config, &mut report);
    }
    if let Some(url) = &args.url {
        let client = Client {
            target: Target::parse(url)
                .map_err(|expected| Failure::setup(format!("--url: {expected}")))?,
            token: access(args, config.as_ref())?,
            trust: Trust::load(args.ca.as_deref())
                .map_err(|error| Failure::setup(format!("--ca: {error}")))?,
            patience: args.timeout,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Running(format!("can't start: {error}")))?;
        runtime.block_on(client.examine(&mut report));
    }
    say(&if args.json {
        report.json(args.url.as_deref())
    } else {
        report.text()
    });
    Ok(match report.result() {
        Severity::Ok | Severity::Skipped => ExitCode::SUCCESS,
        Severity::Warning => ExitCode::from(WARNINGS),
        Severity::Error => ExitCode::FAILURE,
    })
}

/// The token to join with: the one that was given, or one of the server's own keys.
fn access(args: &DoctorArgs, config: Option<&Config>) -> Result<Option<String>, Failure> {
    if let Some(path) = &args.token_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::setup(format!("{}: {error}", path.display())))?;
        return Ok(Some(text.trim().to_owned()));
    }
    // Where joins make no rooms there is none to join.
    let Some(config) = config.filter(|config| config.room.auto_create) else {
        return Ok(None);
    };
    let ring = keys::load(config)?.ring;
    let may_join = ring.iter().filter(|key| key.scopes.join);
    let Some(key) = may_join.min_by(|a, b| a.name.cmp(&b.name)) else {
        return Ok(None);
    };
    let name = format!("schalter-doctor-{}", random_secret(9));
    let claims = Claims {
        identity: Some(name.clone()),
        video: Some(VideoClaims {
            room: Some(name),
            room_join: Some(true),
            can_publish: Some(false),
            can_publish_data: Some(false),
            hidden: Some(true),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    };
    token::mint(&ring, &key.name, &claims, args.timeout * 20).map(Some)
}
