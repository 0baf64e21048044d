//! Schalter's binary: command line, configuration, wiring.

mod acme;
mod addresses;
mod admin;
mod administration;
mod audit;
mod certificate;
mod check;
mod cli;
mod config;
mod demo;
mod desk;
mod doctor;
mod files;
mod front;
mod keys;
mod media;
mod openapi;
mod ports;
mod reload;
mod revocations;
mod serve;
mod service;
mod state;
mod tls;
mod token;
mod turn;
mod webhook;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use config::Config;

/// Why the program ends with something else than success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The operator can mend it: usage, configuration, a port in use. Exit code 2.
    Setup(String),
    /// Something went wrong while running. Exit code 1.
    Running(String),
}

impl Failure {
    pub(crate) fn setup(error: impl fmt::Display) -> Self {
        Self::Setup(error.to_string())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::Audit { command }) => audit::run(&command),
        None => serve::run(&cli.serve).map(|()| ExitCode::SUCCESS),
        Some(Command::Serve(args)) => serve::run(&args).map(|()| ExitCode::SUCCESS),
        Some(Command::Token(args)) => token::run(&args).map(|()| ExitCode::SUCCESS),
        Some(Command::CheckConfig(args)) => Config::load(Some(&args.config))
            .map_err(Failure::setup)
            .map(|config| {
                say(&format!(
                    "{}: ok\n{}",
                    args.config.display(),
                    config.summary()
                ));
                ExitCode::SUCCESS
            }),
    };
    let (code, text) = match result {
        Ok(code) => return code,
        Err(Failure::Setup(text)) => (2, text),
        Err(Failure::Running(text)) => (1, text),
    };
    // Nothing better can be done with an error of the error output.
    let _ = writeln!(std::io::stderr(), "schalter: {text}");
    ExitCode::from(code)
}

/// Prints for the operator. A closed output (`schalter token | head`) is no failure.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
