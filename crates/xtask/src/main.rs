//! The project's own commands, run as `cargo xtask …`.

mod deps;
mod install;
mod plots;
mod reference;
mod step;
mod test;
mod unit;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Schalter's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the tests need, then run the whole gate
    Test {
        /// What takes hours instead: long fuzzing, thousands of simulated networks, churn, ten thousand half-open
        /// transports, soak
        #[arg(long)]
        long: bool,
        /// Only the steps whose name contains this
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// Prove that crates depend downwards only, and that L0 to L2 stay sans-IO
    Deps,
    /// Draw the figures of how pictures adapt, into docs/figures
    Plots,
    /// Make docs/api/support.md: what is supported, and the tests that prove it
    Reference {
        /// Compare with the committed page instead of replacing it
        #[arg(long)]
        check: bool,
    },
    /// Build the pages
    Web {
        /// Compare with the committed bundle instead of replacing it
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test { long, only } => test::execute(long, only.as_deref()),
        Command::Deps => deps::check(),
        Command::Plots => plots::draw(),
        Command::Reference { check } => reference::execute(check),
        Command::Web { check } => web::build(check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            step::say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
