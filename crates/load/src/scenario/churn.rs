//! Rooms are made, filled and left, over and over: what stays behind in the server?

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::call::{Call, CallPlan, Generator};
use crate::error::LoadError;
use crate::feed::FeedConfig;
use crate::process::resident;
use crate::target::Target;

/// Pause before memory is read, for what a server frees a little later.
const SETTLE: Duration = Duration::from_secs(1);

/// How much comes and goes.
#[derive(Clone, Copy, Debug)]
pub struct ChurnOptions {
    /// Rounds that count.
    pub rounds: u32,
    /// Rounds before that.
    pub warm_up: u32,
    /// Subscribers a round, beside one publisher.
    pub subscribers: u32,
}

/// What was left behind.
#[derive(Clone, Debug, Serialize)]
pub struct Churn {
    /// Rounds that counted.
    pub rounds: u32,
    /// Participants a round.
    pub participants: u32,
    /// Mean time of a round, from the first join to the last goodbye, ms.
    pub round_ms: f64,
    /// Resident memory after the warm-up, MiB.
    pub before_mib: Option<f64>,
    /// Resident memory at the end, MiB.
    pub after_mib: Option<f64>,
    /// Growth a round, KiB; negative if memory shrank.
    pub growth_kib_per_round: Option<f64>,
}

/// Runs the rounds, one after the other. Every round's call has to come up fully.
///
/// # Errors
/// [`LoadError`] of the first round that does not.
pub async fn run(
    target: &Target,
    generator: &mut Generator,
    options: ChurnOptions,
    server: Option<u32>,
) -> Result<Churn, LoadError> {
    if options.rounds == 0 {
        return Err(LoadError::Usage("at least one round".to_owned()));
    }
    for round in 0..options.warm_up {
        one_round(target, generator, options, round).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let before = server.map(resident);
    let start = Instant::now();
    for round in 0..options.rounds {
        one_round(target, generator, options, options.warm_up + round).await?;
    }
    let took = start.elapsed();
    tokio::time::sleep(SETTLE).await;
    let after = server.map(resident);
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    Ok(Churn {
        rounds: options.rounds,
        participants: options.subscribers + 1,
        round_ms: took.as_secs_f64() * 1_000.0 / f64::from(options.rounds),
        before_mib: before.map(mib),
        after_mib: after.map(mib),
        growth_kib_per_round: before.zip(after).map(|(before, after)| {
            (after as f64 - before as f64) / 1_024.0 / f64::from(options.rounds)
        }),
    })
}

async fn one_round(
    target: &Target,
    generator: &mut Generator,
    options: ChurnOptions,
    round: u32,
) -> Result<(), LoadError> {
    let plan = CallPlan {
        rooms: 1,
        publishers: 1,
        subscribers: options.subscribers,
        mutual: false,
        feed: FeedConfig::default(),
        name: format!("churn-{round}"),
    };
    let call = Call::start(target, generator, plan).await?;
    call.end(generator).await;
    Ok(())
}

impl fmt::Display for Churn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds of {} participants, {:.0} ms a round",
            self.rounds, self.participants, self.round_ms
        )?;
        match (self.before_mib, self.after_mib, self.growth_kib_per_round) {
            (Some(before), Some(after), Some(growth)) => {
                write!(
                    f,
                    "; resident {before:.1} → {after:.1} MiB, {growth:+.1} KiB a round"
                )
            }
            _ => write!(
                f,
                "; memory not measured: the server's process is not known (--server-pid)"
            ),
        }
    }
}
