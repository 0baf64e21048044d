//! What the service manager is told: ready, reloading, stopping, and that the server lives (sd_notify(3), `Type=notify`).
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is told, and nothing else changes.

use sd_notify::NotifyState;

/// Tells that everything is open and answers; also after a reload, whether it took or not: the server runs as before.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells that the configuration is read anew. [`ready`] must follow.
pub(crate) fn reloading() {
    // systemd wants to know since when, to tell this reload from an earlier one.
    match NotifyState::monotonic_usec_now() {
        Ok(since) => tell(&[NotifyState::Reloading, since]),
        Err(error) => tracing::debug!(%error, "no monotonic clock to tell a reload by"),
    }
}

/// Tells that the end has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells that the server lives as long as `lives` holds, twice as often as the manager wants to hear it. Runs on the threads of
/// signaling: when these hang, nothing is told. Ends at once where no watchdog is set (`WATCHDOG_USEC`).
pub(crate) async fn watchdog(lives: impl Fn() -> bool) {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
    else {
        return;
    };
    let mut ticks = tokio::time::interval(patience / 2);
    while lives() {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // The manager may have gone; calls go on.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not reached");
    }
}
