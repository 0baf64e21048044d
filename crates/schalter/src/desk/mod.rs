//! The consultation in this binary: the desk over its database and signaling's rooms, its pages on the public listener, and what is done
//! for it in the background.

pub(crate) mod ledger;
mod presence;
mod receivers;
mod reload;
mod seats;
mod telling;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use schalter_desk::domain::EndToEnd;
use schalter_desk::http::pages::{self, Embeddings, Offices, Pages, Site, embed};
use schalter_desk::http::{DeskKeys, integrators};
use schalter_desk::login::Login;
use schalter_desk::login::https::HttpsClient;
use schalter_desk::store::SqliteStore;
use schalter_desk::{Clock, Desk, SystemClock, SystemRandom};
use schalter_model::AuthorityId;
use schalter_signaling::{Clear, Guided, Signaling};
use schalter_webhook::system_roots;
use tokio::task::JoinSet;

use crate::Failure;
use crate::config;
use crate::state::StateDir;

pub(crate) use presence::{Heard, Presences};
pub(crate) use receivers::{Receivers, router as receivers_router};
pub(crate) use reload::Replaceable;
pub(crate) use seats::RoomKeys;
pub(crate) use watch::Counts;

use seats::RoomSeats;
use telling::Telling;

/// What the names of the desk's own keys begin with. No key of the configuration may.
pub(crate) const KEY: &str = "schalter-desk";
/// Name of the database in the state directory.
pub(crate) const DATABASE: &str = "desk.db";
/// How often what is due is done: doors close, records are erased, sessions end.
const SWEEP: Duration = Duration::from_secs(30);

/// The desk's authorities, whose rooms it guides, and whether those take anything in the clear.
pub(crate) fn guided(config: &config::Desk) -> BTreeMap<AuthorityId, Clear> {
    let offices = config.authorities.iter();
    let clear = |office: &config::Office| match office.end_to_end {
        EndToEnd::Required => Clear::Refused,
        EndToEnd::Off | EndToEnd::Possible => Clear::Taken,
    };
    offices
        .map(|office| (office.id.clone(), clear(office)))
        .collect()
}

/// What the desk needs of the rest.
pub(crate) struct Surroundings {
    pub(crate) signaling: Signaling,
    /// Of the desk's authorities, and in signaling's ring.
    pub(crate) keys: RoomKeys,
    /// Of the desk's authorities, as signaling has them.
    pub(crate) guided: Guided,
    pub(crate) heard: Heard,
    /// Where pages are, if the configuration doesn't say; and the origins beside.
    pub(crate) bases: Vec<String>,
}

/// A desk that runs.
pub(crate) struct Running {
    pub(crate) desk: Arc<Desk>,
    pub(crate) counts: Arc<Counts>,
    /// What of it a reload replaces.
    pub(crate) replaceable: Arc<Replaceable>,
    /// Where the pages are.
    pub(crate) public_url: String,
    routes: Router,
    embeddings: Embeddings,
    telling: Arc<Telling>,
    tasks: JoinSet<()>,
}

impl Running {
    /// `app` with the desk's routes, and the pages' headers as the offices want them.
    pub(crate) fn around(&self, app: Router) -> Router {
        app.layer(from_fn_with_state(self.embeddings.clone(), embed))
            .merge(self.routes.clone())
    }

    /// Those who are told, for the admin listener.
    pub(crate) fn receivers(&self) -> Receivers {
        Receivers {
            telling: Some(Arc::clone(&self.telling)),
        }
    }

    /// Ends what is done in the background. What was acknowledged is on the disk already.
    pub(crate) async fn shutdown(mut self) {
        // First: none of them begins to tell others then.
        self.tasks.shutdown().await;
        self.telling.shutdown().await;
        if let Err(error) = self.desk.close().await {
            tracing::warn!(%error, "copy the files beside the desk's database with it");
        }
    }
}

/// Starts the desk.
pub(crate) async fn start(
    config: &config::Desk,
    state: impl FnOnce() -> Result<StateDir, Failure>,
    around: Surroundings,
) -> Result<Running, Failure> {
    let path = match &config.database {
        Some(path) => path.clone(),
        None => state()?.path_of(DATABASE),
    };
    let store = SqliteStore::open(&path)
        .map_err(|error| Failure::setup(format!("desk.database {}: {error}", path.display())))?;
    let first = around.bases.first().map_or("", String::as_str);
    let public_url = config.public_url.as_deref().unwrap_or(first);
    let others = if config.public_url.is_some() {
        Vec::new()
    } else {
        around.bases.clone()
    };
    let site = Site::new(public_url, others)
        .map_err(|error| Failure::setup(format!("desk.public_url {public_url}: {error}")))?;
    let public_url = site.public_url().to_owned();

    let seats = RoomSeats::new(around.signaling, around.keys.clone(), &public_url)?;
    let mut desk = Desk::new(
        Arc::new(store),
        Arc::new(seats),
        Arc::new(SystemClock),
        Arc::new(SystemRandom::default()),
        reload::authorities_of(config),
    );
    if let Some(audit) = &config.audit {
        desk = desk.with_ledger(ledger::open(audit, &path, &public_url)?);
    }
    let desk = Arc::new(desk);
    let noted = desk.note_retentions().await;
    noted.map_err(|error| Failure::setup(format!("desk.database {}: {error}", path.display())))?;
    ledger::catch_up(&desk).await;
    let callback = format!("{public_url}/desk/v1/login/oidc/callback");
    let now = SystemClock.now().ms().unsigned_abs();
    let login = Arc::new(Login::new(
        reload::logins_of(config),
        config.sessions,
        callback,
        HttpsClient::new(system_roots()),
        now,
    ));
    let offices = Offices::new(reload::pages_of(config));
    let pages = Pages::new(Arc::clone(&desk), Arc::clone(&login), site, offices.clone());
    let routes = pages::router(pages);
    let gate = DeskKeys::new(reload::keys_of(config));
    let routes = routes.merge(integrators::router(
        Arc::clone(&desk),
        gate.clone(),
        &public_url,
    ));
    let mut tasks = JoinSet::new();
    let telling = Telling::start(&desk, &config.webhooks, &mut tasks)?;
    let counts = Arc::new(Counts::new(Arc::clone(&desk), Arc::clone(&telling)));
    tasks.spawn(ledger::follow(Arc::clone(&desk), desk.changes()));
    tasks.spawn(around.heard.tell(Arc::clone(&desk)));
    tasks.spawn(watch::run(Arc::clone(&desk), Arc::clone(&counts)));
    tasks.spawn(sweep(Arc::clone(&desk), Arc::clone(&login)));
    let settling = Arc::clone(&desk);
    tasks.spawn(async move { settling.settle().await });
    let replaceable = Replaceable {
        keys: gate,
        room_keys: around.keys,
        guided: around.guided,
        telling: Arc::clone(&telling),
        tasks: tokio::runtime::Handle::current(),
        desk: Arc::clone(&desk),
        login,
        offices: offices.clone(),
    };
    Ok(Running {
        desk,
        counts,
        replaceable: Arc::new(replaceable),
        public_url,
        routes,
        embeddings: Embeddings::new(offices),
        telling,
        tasks,
    })
}

/// Does what is due, again and again.
async fn sweep(desk: Arc<Desk>, login: Arc<Login>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        login.sweep(desk.now().ms().unsigned_abs());
        if let Err(error) = desk.sweep().await {
            tracing::error!(%error, "the desk could not do what is due, and tries again");
        }
    }
}
