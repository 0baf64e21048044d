//! `schalter serve`: brings the parts up, prints what an operator needs, takes them down again.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::StatusCode;
use schalter_metrics::{AdminAuth, BuildInfo, Exporter, Readiness, admin_router, problem};
use schalter_model::ShardId;
use schalter_net::{NetError, Workers, WorkersConfig};
use schalter_shard::control::Event;
use schalter_shard::{LoudestConfig, Shard, ShardConfig, ShardLimits};
use schalter_signaling::authority::KeyRing;
use schalter_signaling::config::{Limits, RoomDefaults, SignalingConfig};
use schalter_signaling::token::{Claims, VideoClaims};
use schalter_signaling::{EventSink, Guided, MediaPlane, Outside, RoomObserver, Signaling};
use schalter_transport::Identity;
use schalter_transport::ice::ChallengeSecret;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::acme;
use crate::acme::Renewal;
use crate::addresses::media_addresses;
use crate::admin::AdminListener;
use crate::check::Check;
use crate::cli::ServeArgs;
use crate::config::{Config, Desk};
use crate::desk::{Presences, RoomKeys, Surroundings};
use crate::files::raise_file_limit;
use crate::front::{Entry, Front, Streams};
use crate::keys::{self, DEVELOPMENT_KEY, Keys};
use crate::media::{NODE, Sources, WorkerMedia};
use crate::ports::{
    acme_listeners, bases, front_limits, ice_tcp_listeners, pages_listeners, port_of, renewal_of,
    tls_listeners, tls_of, turn_by_tls, turn_listeners, with_hsts,
};
use crate::reload::Reloader;
use crate::state::StateDir;
use crate::{
    Failure, admin, administration, check, demo, desk, openapi, revocations, say, service, token,
    turn, webhook,
};

/// How long requests in flight may take when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// How long the links of the first start are good for.
const LINK_TTL: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref()).map_err(Failure::setup)?;
    start_logging();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SIGNALING_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::Running(format!("can't start threads: {error}")))?;
    runtime.block_on(serve(config, args))
}

/// Threads for signaling and pages. Media has its own; two keep one slow request from holding up all others.
const SIGNALING_THREADS: usize = 2;

fn start_logging() {
    // The DTLS library warns about what peers send before they proved who they are: a stranger could fill the log.
    let filter = tracing_subscriber::EnvFilter::try_from_env("SCHALTER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,rtc_dtls=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

async fn serve(mut config: Config, args: &ServeArgs) -> Result<(), Failure> {
    let lan = args.lan;
    // Signals are taken over first: one that comes while starting must not be lost.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::setup)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::setup)?;
    let hangup = signal(SignalKind::hangup()).map_err(Failure::setup)?;
    let as_in_the_file = config.clone();

    let keys = keys::load(&config)?;
    let check = Check::new(&config)?;
    // Whoever starts the server with nothing at all sees what it is for.
    let mut consultation = config.desk.clone().or_else(|| {
        let nothing = args.config.is_none() && !lan;
        nothing.then(Desk::demo)
    });
    let demo_folder = demo_folder(consultation.as_mut(), lan)?;
    let guided = consultation.as_ref().map(desk::guided).unwrap_or_default();
    let room_keys = RoomKeys::default();
    let desk_keys = room_keys.of(guided.keys()).map_err(Failure::setup)?;
    room_keys.replace(KeyRing::new(desk_keys.iter().cloned()).map_err(Failure::setup)?);
    let guided: Guided = guided.into_iter().collect();
    let own_keys: Vec<_> = check.iter().map(|check| check.key().clone()).collect();
    let every_own: Vec<_> = own_keys.iter().chain(&desk_keys).cloned().collect();
    let addresses = media_addresses(&config.rtc)?;
    tracing::debug!(?addresses, "media addresses");
    if lan {
        config.open_to_lan(addresses.advertised.iter().any(IpAddr::is_ipv6));
    }
    let state = || StateDir::open(config.state_dir.as_deref());
    let listeners = pages_listeners(&config)?;
    let tls_listeners = tls_listeners(&config)?;
    let acme_listeners = acme_listeners(&config)?;
    let ice_tcp_listeners = ice_tcp_listeners(&config, &addresses.bind)?;
    let turn_listeners = turn_listeners(&config, &addresses.bind)?;
    let admin_listener = AdminListener::open(&config.admin.listen).await?;
    let tls = tls_of(&config, lan.then_some(&addresses.advertised[..]), state)?;
    let renewal = renewal_of(&config, tls.as_ref(), state)?;
    raise_file_limit(config.limits.connections);
    let identity = Arc::new(Identity::generate().map_err(Failure::setup)?);

    let (events_in, events) = mpsc::unbounded_channel();
    let workers = Arc::new(start_workers(
        &config,
        &addresses.bind,
        &identity,
        events_in,
    )?);
    let media = WorkerMedia::new(
        &workers,
        &addresses.advertised,
        config.rtc.tcp_port(),
        &identity,
    );
    let secure_listeners = if tls_listeners.is_empty() {
        &listeners
    } else {
        &tls_listeners
    };
    let ways = turn::Ways {
        udp_ports: workers.local_turn_ports().to_vec(),
        tcp_port: port_of(&turn_listeners).or_else(|| port_of(&ice_tcp_listeners)),
        tls: turn_by_tls(&config, tls.as_deref(), port_of(secure_listeners)),
    };
    let turn = turn::start(&config, &workers, media.shards(), &ways)?;
    let told = turn.as_ref().map(|servers| turn::Told {
        urls: servers.urls.clone(),
        shards: media.shards().to_vec(),
        ways,
    });
    let streams = Streams {
        adopt: {
            let commands = workers.commands();
            Box::new(move |shard, stream| commands.adopt(shard, stream))
        },
        node: NODE,
        turn: turn.as_ref().map(turn::door),
    };
    let media = Arc::new(media.with_turn(turn));
    let front = Front::new(front_limits(&config), streams);
    let ring = Arc::new(ArcSwap::from_pointee(
        keys::beside(&every_own, &keys.ring).map_err(Failure::setup)?,
    ));
    let started = webhook::start(&config.webhook, &ring, state)?;
    let signer = started.as_ref().map(|started| Arc::clone(&started.signer));
    let webhooks = started.map(|started| started.delivery);
    let signaling_config = SignalingConfig {
        guided: guided.clone(),
        webhook_authority: signer.as_ref().map(|signer| signer.authority().clone()),
        ..signaling_config(&config)
    };
    let revocations = revocations::open(state)?;
    if revocations.is_none() {
        tracing::warn!(
            "there is no state directory to write to: tokens that are withdrawn are good again after a restart"
        );
    }
    let (presences, heard) = Presences::channel();
    let outside = Outside {
        sink: webhooks.clone().map(|sink| sink as Arc<dyn EventSink>),
        observer: consultation
            .is_some()
            .then(|| Arc::new(presences) as Arc<dyn RoomObserver>),
        revocations,
    };
    let signaling = Signaling::with(signaling_config, ring.clone(), media, events, outside);
    let port = port_of(&listeners).unwrap_or(config.port);
    let bases = bases(
        &config,
        tls.as_deref(),
        port,
        port_of(&tls_listeners),
        lan.then_some(&addresses.advertised[..]),
    );
    let running = match &consultation {
        Some(consultation) => {
            let surroundings = Surroundings {
                signaling: signaling.clone(),
                keys: room_keys,
                guided,
                heard,
                bases: bases.clone(),
            };
            Some(desk::start(consultation, state, surroundings).await?)
        }
        None => None,
    };
    let reloader = Arc::new(Reloader {
        path: args.config.clone(),
        running: Mutex::new(as_in_the_file),
        ring,
        signer,
        own: own_keys,
        tls: tls.clone(),
        acme: renewal.is_some(),
        turn: told,
        tls_port: port_of(secure_listeners),
        signaling: signaling.clone(),
        lan: args.lan,
        desk: running
            .as_ref()
            .map(|running| Arc::clone(&running.replaceable)),
    });
    let reloads = tokio::spawn(reload_on(hangup, Arc::clone(&reloader)));

    let ready = Arc::new(AtomicBool::new(true));
    let admin_token = admin::token(&config.admin, state)?;
    let build = BuildInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: option_env!("SCHALTER_REVISION")
            .unwrap_or("unknown")
            .to_owned(),
    };
    let sources = Sources {
        workers: Arc::downgrade(&workers),
        signaling: signaling.clone(),
        front: front.clone(),
        tls: tls.clone(),
        acme_failures: renewal.as_ref().map(Renewal::failures),
        webhooks: webhooks.clone(),
        desk: running.as_ref().map(|running| Arc::clone(&running.counts)),
    };
    let exporter = Exporter::new(sources, build).map_err(Failure::setup)?;
    let (readiness, drain) = (ready.clone(), signaling.clone());
    let auth = AdminAuth::new(&admin_token)
        .map_err(|error| Failure::setup(format!("admin.token_file: {error}")))?;
    let routes = admin_router(exporter, auth.clone(), move || {
        if !readiness.load(Ordering::Relaxed) {
            Readiness::NotReady("shutting down")
        } else if drain.is_draining() {
            Readiness::NotReady("draining")
        } else {
            Readiness::Ready
        }
    });
    let receivers = running
        .as_ref()
        .map(desk::Running::receivers)
        .unwrap_or_default();
    let routes = routes
        .merge(administration::router(
            signaling.clone(),
            reloader,
            receivers,
            auth,
        ))
        .merge(openapi::router())
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path takes other methods",
            )
        });
    let admin_server = admin_listener.serve(routes);

    let app = schalter_web::router()
        .merge(check::router(check))
        .merge(signaling.router())
        .merge(openapi::router());
    let app = match &running {
        Some(running) => running.around(app),
        None => app,
    };
    // The links first: whoever waits for the port finds them printed.
    let secure_port = port_of(&tls_listeners).unwrap_or(port);
    say(&format!(
        "Schalter {} is ready: {}",
        env!("CARGO_PKG_VERSION"),
        bases.join("  ")
    ));
    match &running {
        Some(running) if demo_folder.is_some() => demo::greet(running).await?,
        Some(running) => greet_officials(&running.public_url),
        None => greet(&config, &keys, &bases, lan)?,
    }
    let secured = tls.as_ref().map(|tls| Entry {
        app: Some(with_hsts(app.clone(), &config)),
        tls: Some(tls.config()),
        proxied: true,
    });
    let plain = Entry {
        app: Some(app),
        tls: None,
        // Where the port for TLS is another one, this is for HTTP balancers.
        proxied: tls_listeners.is_empty(),
    };
    let on_port = match &secured {
        Some(secured) if tls_listeners.is_empty() => secured,
        Some(_) | None => &plain,
    };
    for listener in listeners {
        front
            .serve(listener, on_port.clone())
            .map_err(Failure::setup)?;
    }
    for listener in tls_listeners {
        let entry = secured.as_ref().expect("only TLS has such listeners");
        front
            .serve(listener, entry.clone())
            .map_err(Failure::setup)?;
    }

    if let (Some(renewal), Some(acme)) = (renewal, config.acme()) {
        let entry = Entry {
            app: Some(acme::router(renewal.tokens(), &acme.domains, secure_port)),
            tls: None,
            proxied: true,
        };
        for listener in acme_listeners {
            front
                .serve(listener, entry.clone())
                .map_err(Failure::setup)?;
        }
        tokio::spawn(renewal.run());
    }

    let datagrams_only = Entry {
        app: None,
        tls: None,
        proxied: false,
    };
    for listener in ice_tcp_listeners.into_iter().chain(turn_listeners) {
        front
            .serve(listener, datagrams_only.clone())
            .map_err(Failure::setup)?;
    }

    service::ready();
    let watchdog = {
        // Weak, so that the workers can be taken down.
        let workers = Arc::downgrade(&workers);
        tokio::spawn(service::watchdog(move || {
            workers
                .upgrade()
                .is_some_and(|workers| workers.failed().is_none())
        }))
    };
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        reason = worker_failure(&workers) => Some(reason),
    };
    ready.store(false, Ordering::Relaxed);
    reloads.abort();
    service::stopping();
    watchdog.abort();
    tracing::info!("shutting down");
    signaling.shutdown(SHUTDOWN_GRACE).await;
    if let Some(webhooks) = webhooks {
        webhooks.shutdown().await;
    }
    front.shutdown(SHUTDOWN_GRACE).await;
    if let Some(running) = running {
        running.shutdown().await;
    }
    drop(admin_server);
    // Last words, close_notify among them, are sent before the workers' threads end.
    if let Some(workers) = Arc::into_inner(workers)
        && let Err(failure) = workers.shutdown()
    {
        return Err(Failure::Running(failure.to_string()));
    }
    tracing::info!("stopped");
    failed.map_or(Ok(()), |reason| Err(Failure::Running(reason)))
}

/// Reloads with each SIGHUP, one after the other.
async fn reload_on(mut hangup: Signal, reloader: Arc<Reloader>) {
    while hangup.recv().await.is_some() {
        let reloader = Arc::clone(&reloader);
        service::reloading();
        // Fails only when the process ends.
        let _ = tokio::task::spawn_blocking(move || reloader.reload_and_tell()).await;
        service::ready();
    }
}

/// Looks for a worker that ended unasked, without holding up a thread of the runtime.
async fn worker_failure(workers: &Workers) -> String {
    loop {
        if let Some(failure) = workers.failed() {
            return failure.to_string();
        }
        tokio::time::sleep(FAILURE_POLL).await;
    }
}

/// How long a failed worker may go unnoticed.
const FAILURE_POLL: Duration = Duration::from_millis(200);

fn start_workers(
    config: &Config,
    bind: &[IpAddr],
    identity: &Arc<Identity>,
    events: mpsc::UnboundedSender<(ShardId, Event)>,
) -> Result<Workers, Failure> {
    let workers_config = WorkersConfig {
        bind: bind.to_vec(),
        base_port: config.rtc.udp_port,
        turn_port: config.turn.udp_port(),
        unproven_streams_per_address: config.limits.unproven_streams_per_address as usize,
        shards: config.rtc.workers,
        pin: config.rtc.pin_workers,
        ..WorkersConfig::default()
    };
    let limits = ShardLimits {
        transports: config.limits.transports_per_worker as usize,
        half_open_transports: config.limits.half_open_transports_per_worker as usize,
        failed_checks_per_second: config.limits.failed_checks_per_second,
        ..ShardLimits::default()
    };
    let responses = config.limits.check_responses_per_second;
    let (identity, crypto, burst) = (identity.clone(), config.crypto_profile, config.rtc.burst);
    let loudest = LoudestConfig {
        most: config.audio.loudest as usize,
        from: config.audio.loudest_from as usize,
    };
    let make = move |id, epoch, wall| {
        let mut shard = ShardConfig::new(id, epoch, wall, rand::random(), identity.clone());
        shard.challenges = ChallengeSecret::new(rand::random());
        shard.limits = limits;
        shard.transport_limits.ice.max_responses_per_second = responses;
        shard.crypto = crypto;
        shard.burst = burst;
        shard.loudest = loudest;
        Shard::new(shard)
    };
    let report = move |shard, event| {
        // Signaling is gone only while the process ends; its events are of no use then.
        let _ = events.send((shard, event));
    };
    Workers::start(&workers_config, make, Box::new(report)).map_err(|error| {
        // The two ranges have no port in common.
        let key = |port: u16| {
            let turn = config.turn.udp_port().filter(|first| *first > 0);
            let offset = turn.and_then(|first| port.checked_sub(first));
            match offset {
                Some(offset) if offset < u16::from(config.rtc.workers) => "turn.udp_port",
                Some(_) | None => "rtc.udp_port",
            }
        };
        if let NetError::PortInUse { port } = error {
            Failure::setup(format!("port {port} ({}) is in use", key(port)))
        } else if let NetError::PortForbidden { port } = error {
            Failure::setup(format!(
                "port {port} ({}) is for privileged programs only: the unit in deploy/systemd has CAP_NET_BIND_SERVICE",
                key(port)
            ))
        } else if let NetError::AddressNotHere { address } = error {
            Failure::setup(format!(
                "{address} (rtc.addresses) is not an address of this machine; behind a NAT write `inner: {address}`"
            ))
        } else {
            Failure::setup(format!("{error} (rtc)"))
        }
    })
}

fn signaling_config(config: &Config) -> SignalingConfig {
    let limits = &config.limits;
    SignalingConfig {
        limits: Limits {
            message_bytes: limits.message_bytes as usize,
            messages_per_second: limits.messages_per_second,
            message_burst: limits.message_burst,
            participants_per_room: limits.participants_per_room as usize,
            tracks_per_participant: limits.tracks_per_participant as usize,
            data_tracks_per_participant: limits.data_tracks_per_participant as usize,
            rooms: limits.rooms as usize,
            rooms_per_authority: limits.rooms_per_authority as usize,
            data_messages_per_second: limits.data_messages_per_second,
            data_bytes_per_second: u64::from(limits.data_bytes_per_second),
            revocations: limits.revocations as usize,
            revocations_per_authority: limits.revocations_per_authority as usize,
            ..Limits::default()
        },
        room: RoomDefaults {
            empty_timeout: Duration::from_secs(u64::from(config.room.empty_timeout)),
            departure_timeout: Duration::from_secs(u64::from(config.room.departure_timeout)),
            max_participants: config.room.max_participants,
            auto_create: config.room.auto_create,
            simulate: config.room.simulate,
        },
        ping_interval: Duration::from_secs(u64::from(config.signaling.ping_interval)),
        ping_timeout: Duration::from_secs(u64::from(config.signaling.ping_timeout)),
        codecs: config.room.enabled_codecs.clone(),
        allowed_origins: config.allowed_origins.clone(),
        ice_servers: config.rtc.ice_servers.clone(),
        region: config.region.clone(),
        ..SignalingConfig::default()
    }
}

/// A folder for the demo, if it is one. Local officials have no password, so that nobody else may reach the pages.
fn demo_folder(desk: Option<&mut Desk>, lan: bool) -> Result<Option<demo::Folder>, Failure> {
    let Some(desk) = desk else { return Ok(None) };
    if lan && desk.has_local_officials() {
        return Err(Failure::setup(
            "--lan lets the whole network in, and local officials have no password: leave out one of --lan and \
             desk.authorities[].officials.demo",
        ));
    }
    if !desk.demo {
        return Ok(None);
    }
    let folder = demo::Folder::new()?;
    demo::at(desk, &folder);
    Ok(Some(folder))
}

/// Prints where officials begin. Links into rooms would lead past the waiting room, and their tokens into the log of a service.
fn greet_officials(public_url: &str) {
    say(&format!("Officials log in at {public_url}/amt"));
}

/// Prints, with the development key, two links into a room that just work.
fn greet(config: &Config, keys: &Keys, bases: &[String], lan: bool) -> Result<(), Failure> {
    if !keys.development {
        say("`schalter token --link URL` prints a link into a room.");
        return Ok(());
    }
    let base = bases.first().map_or("", String::as_str);
    say("\nOpen these two links, in two windows or on two machines:\n");
    for (identity, name) in [
        ("citizen", "Erika Beispiel"),
        ("official", "Amt für Beispiele"),
    ] {
        let claims = Claims {
            identity: Some(identity.to_owned()),
            name: Some(name.to_owned()),
            video: Some(VideoClaims {
                room: Some("demo".to_owned()),
                room_join: Some(true),
                can_update_own_metadata: Some(true),
                ..VideoClaims::default()
            }),
            ..Claims::default()
        };
        let token = token::mint(&keys.ring, DEVELOPMENT_KEY, &claims, LINK_TTL)?;
        say(&format!("  {name}\n  {}\n", token::page_link(base, &token)));
    }
    if lan {
        say("The certificate is generated: browsers warn once, and the warning is to be accepted.");
    }
    if config.keys.is_empty() {
        say(
            "The links use a development key and end in 24 hours. For real use, set `keys` in a configuration file.",
        );
    }
    Ok(())
}
