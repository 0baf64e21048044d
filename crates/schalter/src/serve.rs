//! `schalter serve`: brings the parts up, prints what an operator needs, takes them down again.

use std::io::{ErrorKind, IsTerminal};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::StatusCode;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use schalter_metrics::{AdminAuth, BuildInfo, Exporter, Readiness, admin_router, problem};
use schalter_model::ShardId;
use schalter_net::{NetError, Workers, WorkersConfig};
use schalter_shard::control::Event;
use schalter_shard::{LoudestConfig, Shard, ShardConfig, ShardLimits};
use schalter_signaling::Signaling;
use schalter_signaling::config::{Limits, RoomDefaults, SignalingConfig};
use schalter_signaling::token::{Claims, VideoClaims};
use schalter_transport::Identity;
use socket2::{Domain, Socket, Type};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::addresses::media_addresses;
use crate::admin::AdminListener;
use crate::certificate::{LanCertificate, lan_certificate};
use crate::cli::ServeArgs;
use crate::config::Config;
use crate::connections::{ConnectionGate, ConnectionLimits, raise_file_limit};
use crate::keys::{self, DEVELOPMENT_KEY, Keys};
use crate::media::{Sources, WorkerMedia};
use crate::state::StateDir;
use crate::{Failure, admin, administration, say, token};

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
    runtime.block_on(serve(config, args.lan))
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

async fn serve(mut config: Config, lan: bool) -> Result<(), Failure> {
    // Signals are taken over first: one that comes while starting must not be lost.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::setup)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::setup)?;

    let keys = keys::load(&config)?;
    let addresses = media_addresses(config.rtc.node_ip)?;
    tracing::debug!(?addresses, "media addresses");
    if lan {
        config.open_to_lan(addresses.advertised.iter().any(IpAddr::is_ipv6));
    }
    let state = || StateDir::open(config.state_dir.as_deref());
    let listeners = http_listeners(&config)?;
    let admin_listener = AdminListener::open(&config.admin.listen).await?;
    let gate = ConnectionGate::new(ConnectionLimits {
        connections: config.limits.connections,
        request_time: Duration::from_secs(u64::from(config.limits.request_seconds)),
    });
    raise_file_limit(config.limits.connections);
    let identity = Arc::new(Identity::generate().map_err(Failure::setup)?);

    let (events_in, events) = mpsc::unbounded_channel();
    let workers = Arc::new(start_workers(
        &config,
        &addresses.bind,
        &identity,
        events_in,
    )?);
    let media = Arc::new(WorkerMedia::new(&workers, &addresses.advertised, &identity));
    let ring = Arc::new(ArcSwap::from_pointee(keys.ring.clone()));
    let signaling = Signaling::new(signaling_config(&config), ring, media, events);

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
        gate: gate.clone(),
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
    let routes = routes
        .merge(administration::router(signaling.clone(), auth))
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is nothing at this path"));
    let admin_server = admin_listener.serve(routes);

    let app = schalter_web::router().merge(signaling.router());
    let tls = if lan {
        let certificate = lan_certificate(&state()?, &addresses.advertised)?;
        Some(rustls_config(certificate).await?)
    } else {
        None
    };
    let port = listeners
        .first()
        .and_then(|listener| listener.local_addr().ok())
        .map_or(config.port, |address| address.port());
    // The links first: whoever waits for the port finds them printed.
    greet(
        &config,
        &keys,
        port,
        lan.then_some(&addresses.advertised[..]),
    )?;
    let handle = Handle::new();
    let servers = listeners
        .into_iter()
        .map(|listener| gate.serve(listener, app.clone(), tls.as_ref(), &handle))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::setup)?;

    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        reason = worker_failure(&workers) => Some(reason),
    };
    ready.store(false, Ordering::Relaxed);
    tracing::info!("shutting down");
    signaling.shutdown(SHUTDOWN_GRACE).await;
    handle.graceful_shutdown(Some(SHUTDOWN_GRACE));
    for server in servers {
        if let Ok(Err(error)) = server.await {
            tracing::warn!(%error, "a listener did not stop cleanly");
        }
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

/// Opens the pages' port on every configured address. Done before anything else starts, so that a port in use is one
/// line and not a half-started server.
fn http_listeners(config: &Config) -> Result<Vec<TcpListener>, Failure> {
    let mut port = config.port;
    let mut listeners = Vec::new();
    for ip in &config.bind_addresses {
        let address = SocketAddr::new(*ip, port);
        let listener = listen(address).map_err(|error| {
            let kind = error.kind();
            if kind == ErrorKind::AddrNotAvailable {
                return Failure::setup(format!(
                    "{ip} (bind_addresses) is not an address of this machine"
                ));
            }
            let reason = if kind == ErrorKind::AddrInUse {
                "is in use".to_owned()
            } else {
                error.to_string()
            };
            Failure::setup(format!("port {port} (port) {reason}"))
        })?;
        // With port 0 the system chooses once; the other addresses get the same.
        port = listener.local_addr().map_err(Failure::setup)?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Connections that may wait to be accepted; the system has its own bound beside.
const BACKLOG: i32 = 1024;

/// Opens one address. IPv6 sockets take IPv6 only, so that both kinds can have the same port, whatever the system's
/// default is.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A port whose last connections are still closing is not in use.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn start_workers(
    config: &Config,
    bind: &[IpAddr],
    identity: &Arc<Identity>,
    events: mpsc::UnboundedSender<(ShardId, Event)>,
) -> Result<Workers, Failure> {
    let workers_config = WorkersConfig {
        bind: bind.to_vec(),
        base_port: config.rtc.udp_port,
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
        if let NetError::PortInUse { port } = error {
            Failure::setup(format!("port {port} (rtc.udp_port) is in use"))
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
            ..Limits::default()
        },
        room: RoomDefaults {
            empty_timeout: Duration::from_secs(u64::from(config.room.empty_timeout)),
            departure_timeout: Duration::from_secs(u64::from(config.room.departure_timeout)),
            max_participants: config.room.max_participants,
        },
        codecs: config.room.enabled_codecs.clone(),
        allowed_origins: config.allowed_origins.clone(),
        ice_servers: config.rtc.ice_servers.clone(),
        region: config.region.clone(),
        ..SignalingConfig::default()
    }
}

async fn rustls_config(certificate: LanCertificate) -> Result<RustlsConfig, Failure> {
    // Several dependencies could bring a default; ours is the library that media uses, too. An earlier one stays.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    RustlsConfig::from_pem(
        certificate.certificate.into_bytes(),
        certificate.key.into_bytes(),
    )
    .await
    .map_err(Failure::setup)
}

/// Prints where the server is and, with the development key, two links that just work.
fn greet(config: &Config, keys: &Keys, port: u16, lan: Option<&[IpAddr]>) -> Result<(), Failure> {
    let bases: Vec<String> = match lan {
        None => vec![format!("http://localhost:{port}")],
        Some(addresses) => addresses
            .iter()
            .map(|ip| format!("https://{}", SocketAddr::new(*ip, port)))
            .collect(),
    };
    say(&format!(
        "Schalter {} is ready: {}",
        env!("CARGO_PKG_VERSION"),
        bases.join("  ")
    ));
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
    if lan.is_some() {
        say("The certificate is generated: browsers warn once, and the warning is to be accepted.");
    }
    if config.keys.is_empty() {
        say(
            "The links use a development key and end in 24 hours. For real use, set `keys` in a configuration file.",
        );
    }
    Ok(())
}
