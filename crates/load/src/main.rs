//! `schalter-load`: the load generator's command line.

mod cli;
mod receive_command;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use schalter_load::call::{Call, CallPlan, Generator};
use schalter_load::error::LoadError;
use schalter_load::feed::FeedConfig;
use schalter_load::report::{Bounds, Report};
use schalter_load::scenario::{churn, hostile};
use schalter_load::server::{SchalterOptions, spawn_schalter};
use schalter_load::target::Target;

use cli::{ChurnArgs, Cli, Command, FeedArgs, HalfOpenArgs, MeasureArgs, SmokeArgs, TargetArgs};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Signaling is light; one thread leaves the cores to media and to the server.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(cli.command)),
        Err(error) => Err(LoadError::io("runtime", error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(if matches!(error, LoadError::Usage(_)) {
                2
            } else {
                1
            })
        }
    }
}

async fn run(command: Command) -> Result<(), LoadError> {
    match command {
        Command::Run(args) => {
            let plan = plan(
                args.rooms,
                args.publishers,
                args.subscribers,
                false,
                &args.feed,
            );
            measure(&args.target, &args.measure, plan).await
        }
        Command::TenParty(args) => {
            let plan = plan(args.rooms, 10, 0, true, &args.feed);
            measure(&args.target, &args.measure, plan).await
        }
        Command::Smoke(args) => smoke(&args).await,
        Command::Churn(args) => churn(&args).await,
        Command::HalfOpen(args) => half_open(&args).await,
        Command::Receive(args) => receive_command::run(&args).await,
    }
}

fn plan(rooms: u32, publishers: u32, subscribers: u32, mutual: bool, feed: &FeedArgs) -> CallPlan {
    CallPlan {
        rooms,
        publishers,
        subscribers,
        mutual,
        feed: feed.into(),
        name: "load".to_owned(),
    }
}

fn say(text: &str) -> Result<(), LoadError> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| LoadError::io("standard output", error))
}

fn say_json(value: &impl serde::Serialize) -> Result<(), LoadError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| LoadError::io("standard output", error.into()))?;
    say(&text)
}

/// Pins signaling beside media, so that the server's core stays its own.
fn pin(core: Option<usize>) -> Result<(), LoadError> {
    core.map_or(Ok(()), schalter_load::process::pin_to)
}

async fn measure(target: &TargetArgs, how: &MeasureArgs, plan: CallPlan) -> Result<(), LoadError> {
    if plan.rooms == 0 || plan.publishers == 0 {
        return Err(LoadError::Usage(
            "at least one room and one publisher".to_owned(),
        ));
    }
    let ready = target.ready()?;
    pin(target.peers.cpu)?;
    let mut generator = Generator::start(target.peers.options())?;
    let call = Call::start(&ready.target, &mut generator, plan).await?;
    tokio::time::sleep(how.warm_up()).await;
    let report = call.measure(&mut generator, how.span(), ready.pid).await?;
    call.end(&mut generator).await;
    if how.json {
        say_json(&report)?;
    } else {
        say(&report.to_string())?;
    }
    fulfilled(&report.complaints(&how.bounds()))
}

fn fulfilled(complaints: &[String]) -> Result<(), LoadError> {
    if complaints.is_empty() {
        return Ok(());
    }
    Err(LoadError::Unfulfilled(complaints.join("; ")))
}

async fn smoke(args: &SmokeArgs) -> Result<(), LoadError> {
    pin(args.peers.cpu)?;
    let mut failed = Vec::new();
    for (name, workers, publishers, subscribers) in [
        ("one to fifty, one worker", 1, 1, 50),
        ("two to ten, two workers", 2, 2, 10),
    ] {
        match smoke_call(args, workers, publishers, subscribers).await {
            Ok((report, clean_exit)) => {
                let mut complaints = report.complaints(&Bounds {
                    complete: true,
                    max_rss_mib: Some(args.max_rss_mib),
                    max_p99_ms: args.max_p99_ms,
                });
                if !clean_exit {
                    complaints.push("the server did not stop by itself".to_owned());
                }
                if complaints.is_empty() {
                    say(&format!("ok   {name}: {}", report.summary()))?;
                } else {
                    let complaints = complaints.join("; ");
                    say(&format!("FAIL {name}: {complaints}: {}", report.summary()))?;
                    failed.push(name);
                }
            }
            Err(error) => {
                say(&format!("FAIL {name}: {error}"))?;
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(LoadError::Unfulfilled(format!(
            "smoke: {}",
            failed.join(", ")
        )))
    }
}

async fn smoke_call(
    args: &SmokeArgs,
    workers: u8,
    publishers: u32,
    subscribers: u32,
) -> Result<(Report, bool), LoadError> {
    let options = SchalterOptions {
        workers,
        address: args.peers.local,
        ..SchalterOptions::find()?
    };
    let (mut spawned, server) = spawn_schalter(&options)?;
    let mut generator = Generator::start(args.peers.options())?;
    let plan = CallPlan {
        rooms: 1,
        publishers,
        subscribers,
        mutual: false,
        feed: FeedConfig::default(),
        name: "smoke".to_owned(),
    };
    let call = Call::start(&Target::LiveKit(server), &mut generator, plan).await?;
    // The first key frame and the reports of all subscribers are part of life, but not of the promise.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = call
        .measure(
            &mut generator,
            Duration::from_secs(args.seconds),
            Some(spawned.pid()),
        )
        .await?;
    call.end(&mut generator).await;
    Ok((report, spawned.stop()))
}

async fn churn(args: &ChurnArgs) -> Result<(), LoadError> {
    let ready = args.target.ready()?;
    pin(args.target.peers.cpu)?;
    let mut generator = Generator::start(args.target.peers.options())?;
    let options = churn::ChurnOptions {
        rounds: args.rounds,
        warm_up: args.warm_up,
        subscribers: args.subscribers,
    };
    let outcome = churn::run(&ready.target, &mut generator, options, ready.pid).await?;
    if args.json {
        say_json(&outcome)?;
    } else {
        say(&outcome.to_string())?;
    }
    match (args.max_growth_kib, outcome.growth_kib_per_round) {
        (Some(limit), Some(growth)) if growth > limit => Err(LoadError::Unfulfilled(format!(
            "memory grows by {growth:.1} KiB a round, more than {limit:.1}"
        ))),
        (Some(_), None) => Err(LoadError::Usage(
            "--max-growth-kib needs --server-pid or --spawn".to_owned(),
        )),
        _ => Ok(()),
    }
}

async fn half_open(args: &HalfOpenArgs) -> Result<(), LoadError> {
    let mut ready = args.target.ready()?;
    let Target::LiveKit(server) = &ready.target else {
        return Err(LoadError::Usage(
            "half-open speaks the LiveKit protocol only".to_owned(),
        ));
    };
    pin(args.target.peers.cpu)?;
    let mut generator = Generator::start(args.target.peers.options())?;
    let options = hostile::HostileOptions {
        count: args.count,
        joins: args.joins,
        rate: args.rate,
    };
    let (pid, spawned) = (ready.pid, ready.spawned.as_ref());
    let outcome = hostile::run(server, &mut generator, options, pid, spawned).await?;
    let clean_exit = ready
        .spawned
        .as_mut()
        .is_none_or(schalter_load::server::Spawned::stop);
    if args.json {
        say_json(&outcome)?;
    } else {
        say(&outcome.to_string())?;
    }
    let mut complaints = outcome.complaints(args.max_rss_mib);
    if !clean_exit {
        complaints.push("the server did not stop by itself".to_owned());
    }
    fulfilled(&complaints)
}
