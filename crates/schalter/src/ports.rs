//! The ports for clients: what they are opened on, what they speak, and where people find them.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use socket2::{Domain, Socket, Type};

use crate::Failure;
use crate::acme::Renewal;
use crate::certificate::lan_certificate;
use crate::config::{Config, TlsSource};
use crate::front::FrontLimits;
use crate::reload::warn_of_time;
use crate::state::StateDir;
use crate::tls::{Certificate, Tls};

/// Opens a port on every address. Done before anything else starts, so that a port in use is one line and not a half-started
/// server. `key` names the port's place in the configuration.
fn listeners_on(
    key: &str,
    mut port: u16,
    (addresses_key, addresses): (&str, &[IpAddr]),
) -> Result<Vec<TcpListener>, Failure> {
    let mut listeners = Vec::new();
    for ip in addresses {
        let address = SocketAddr::new(*ip, port);
        let listener = listen(address).map_err(|error| {
            let kind = error.kind();
            if kind == ErrorKind::AddrNotAvailable {
                return Failure::setup(format!(
                    "{ip} ({addresses_key}) is not an address of this machine"
                ));
            }
            let reason = if kind == ErrorKind::AddrInUse {
                "is in use".to_owned()
            } else {
                error.to_string()
            };
            Failure::setup(format!("port {port} ({key}) {reason}"))
        })?;
        // With port 0 the system chooses once; the other addresses get the same.
        port = listener.local_addr().map_err(Failure::setup)?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The pages' addresses with their key.
fn pages_addresses(config: &Config) -> (&'static str, &[IpAddr]) {
    ("bind_addresses", &config.bind_addresses)
}

/// The listeners of `port`.
pub(crate) fn pages_listeners(config: &Config) -> Result<Vec<TcpListener>, Failure> {
    listeners_on("port", config.port, pages_addresses(config))
}

/// The addresses of the port for TLS with their key.
fn tls_addresses(config: &Config) -> (&'static str, &[IpAddr]) {
    let own = config.tls.as_ref().map(|tls| &tls.bind_addresses[..]);
    match own {
        Some(own) if !own.is_empty() => ("tls.bind_addresses", own),
        Some(_) | None => pages_addresses(config),
    }
}

/// The listeners of `tls.port`, if TLS has a port of its own.
pub(crate) fn tls_listeners(config: &Config) -> Result<Vec<TcpListener>, Failure> {
    match config.tls.as_ref().and_then(|tls| tls.port) {
        Some(port) => listeners_on("tls.port", port, tls_addresses(config)),
        None => Ok(Vec::new()),
    }
}

/// The listeners of `tls.acme.http_port`, if there is one.
pub(crate) fn acme_listeners(config: &Config) -> Result<Vec<TcpListener>, Failure> {
    match config.acme().and_then(|acme| acme.http_port) {
        Some(port) => listeners_on("tls.acme.http_port", port, tls_addresses(config)),
        None => Ok(Vec::new()),
    }
}

/// The listeners of `rtc.tcp_port`, if there is one, on the addresses of media.
pub(crate) fn ice_tcp_listeners(
    config: &Config,
    media: &[IpAddr],
) -> Result<Vec<TcpListener>, Failure> {
    match config.rtc.tcp_port() {
        Some(port) => listeners_on("rtc.tcp_port", port, ("rtc", media)),
        None => Ok(Vec::new()),
    }
}

/// The listeners of TURN over TCP without TLS on the addresses of media, if it has a port of its own; `rtc.tcp_port` takes
/// it as well.
pub(crate) fn turn_listeners(
    config: &Config,
    media: &[IpAddr],
) -> Result<Vec<TcpListener>, Failure> {
    match config.turn.tcp_port.filter(|_| config.turn.enabled) {
        Some(port) => listeners_on("turn.tcp_port", port, ("rtc", media)),
        None => Ok(Vec::new()),
    }
}

/// What keeps a certificate of a certificate authority in force, if one shall.
pub(crate) fn renewal_of(
    config: &Config,
    tls: Option<&Arc<Tls>>,
    state: impl FnOnce() -> Result<StateDir, Failure>,
) -> Result<Option<Renewal>, Failure> {
    let (Some(acme), Some(tls)) = (config.acme(), tls) else {
        return Ok(None);
    };
    let profile = config.crypto_profile;
    Renewal::new(acme.clone(), profile, state()?, Arc::clone(tls)).map(Some)
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

pub(crate) fn front_limits(config: &Config) -> FrontLimits {
    FrontLimits {
        connections: config.limits.connections,
        half_open: config.limits.half_open_connections,
        half_open_per_address: config.limits.unproven_streams_per_address,
        request_time: Duration::from_secs(u64::from(config.limits.request_seconds)),
        trusted: config.proxy_protocol.trusted.clone(),
    }
}

/// TLS by the configuration or, for `lan` with its addresses, with a generated certificate.
pub(crate) fn tls_of(
    config: &Config,
    lan: Option<&[IpAddr]>,
    state: impl FnOnce() -> Result<StateDir, Failure>,
) -> Result<Option<Arc<Tls>>, Failure> {
    let certificate = match (&config.tls, lan) {
        (Some(_), Some(_)) => {
            return Err(Failure::setup(
                "--lan has a certificate of its own: leave out one of --lan and tls",
            ));
        }
        (None, None) => return Ok(None),
        (None, Some(addresses)) => {
            let pem = lan_certificate(&state()?, addresses)?;
            Certificate::from_pem(pem.certificate.as_bytes(), pem.key.as_bytes())
                .and_then(|certificate| certificate.fit_for(config.crypto_profile))
                .map(Arc::new)
                .map_err(Failure::setup)?
        }
        (Some(tls), None) => match &tls.source {
            TlsSource::Files(certificate) => Arc::clone(certificate),
            TlsSource::Acme(_) => return Ok(Some(Arc::new(Tls::new(config.crypto_profile, None)))),
        },
    };
    warn_of_time(&certificate);
    Ok(Some(Arc::new(Tls::new(
        config.crypto_profile,
        Some(certificate),
    ))))
}

/// Tells browsers to use nothing but HTTPS for this host (RFC 6797), where the configuration has TLS. The generated certificate
/// of `--lan` is nothing that they should be tied to.
pub(crate) fn with_hsts(app: axum::Router, config: &Config) -> axum::Router {
    const HSTS: HeaderName = header::STRICT_TRANSPORT_SECURITY;
    let Some(seconds) = config.tls.as_ref().map(|tls| tls.hsts_seconds) else {
        return app;
    };
    if seconds == 0 {
        return app;
    }
    let value = HeaderValue::from_str(&format!("max-age={seconds}"))
        .expect("a number is visible characters");
    app.layer(axum::middleware::map_response(
        move |mut response: Response| {
            let value = value.clone();
            async move {
                response.headers_mut().insert(HSTS, value);
                response
            }
        },
    ))
}

pub(crate) fn port_of(listeners: &[TcpListener]) -> Option<u16> {
    let address = listeners.first()?.local_addr().ok()?;
    Some(address.port())
}

/// Where the pages are, the best address first.
pub(crate) fn bases(
    config: &Config,
    tls: Option<&Tls>,
    port: u16,
    tls_port: Option<u16>,
    lan: Option<&[IpAddr]>,
) -> Vec<String> {
    if let Some(addresses) = lan {
        let urls = addresses.iter();
        return urls
            .map(|ip| format!("https://{}", SocketAddr::new(*ip, port)))
            .collect();
    }
    let plain = format!("http://localhost:{port}");
    if config.tls.is_none() {
        return vec![plain];
    }
    let name = public_name(config, tls).unwrap_or_else(|| "localhost".to_owned());
    match tls_port {
        None => vec![format!("https://{name}:{port}")],
        Some(tls_port) => vec![format!("https://{name}:{tls_port}"), plain],
    }
}

/// The name that browsers know the server by: the first that its certificate has.
fn public_name(config: &Config, tls: Option<&Tls>) -> Option<String> {
    let certificate = tls.and_then(Tls::certificate);
    let names = match (config.acme(), &certificate) {
        (Some(acme), _) => &acme.domains[..],
        (None, Some(certificate)) => certificate.names(),
        (None, None) => &[],
    };
    // A name that stands for many is none that a browser could open.
    names.iter().find(|name| !name.starts_with('*')).cloned()
}

/// Host and port of TURN over TLS, as clients are told; browsers don't trust the generated certificate of `--lan`.
pub(crate) fn turn_by_tls(
    config: &Config,
    tls: Option<&Tls>,
    port: Option<u16>,
) -> Option<(String, u16)> {
    config.tls.as_ref()?;
    let host = config.turn.domain.clone();
    Some((
        host.or_else(|| public_name(config, tls))?,
        config.turn.tls_port.or(port)?,
    ))
}
