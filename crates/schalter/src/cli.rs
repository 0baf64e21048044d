//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Server for video consultations in the browser: pages, signaling and media in one program
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

const AFTER_HELP: &str = "\
Without a command, schalter serves. Without a configuration it listens on http://localhost:7880
and prints two links of a demo appointment: a citizen's, and the page of the official who admits them.

Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration; of doctor also 3, nothing
worse than warnings; of audit verify 1, something is not as it was signed.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server (what happens without a command, too)
    Serve(ServeArgs),
    /// Print a token that lets somebody join a room
    Token(TokenArgs),
    /// Read a configuration file and say whether it is right
    CheckConfig(CheckConfigArgs),
    /// Look at what calls need, and say what is wrong and what to do
    Doctor(DoctorArgs),
    /// Verify what was logged of consultations, and show what to verify it with (docs/audit.md)
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Hold logs and records against checkpoints that were kept elsewhere
    Verify(VerifyArgs),
    /// Print the key that checkpoints are verified with (vkey)
    Key(LogArgs),
    /// Print the newest checkpoint of each office's log
    Checkpoint(LogArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Configuration file of the server on this machine
    #[arg(short, long, value_name = "FILE", env = "SCHALTER_CONFIG")]
    pub(crate) config: PathBuf,
    /// Only the log of this office
    #[arg(long, value_name = "ID")]
    pub(crate) authority: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Configuration file of the server on this machine: verifies the logs of its offices
    #[arg(short, long, value_name = "FILE", conflicts_with = "log")]
    pub(crate) config: Option<PathBuf>,
    /// Only the log of this office
    #[arg(long, value_name = "ID", requires = "config")]
    pub(crate) authority: Option<String>,
    /// Folder with the log of one office, also a copy of one
    #[arg(long, value_name = "FOLDER")]
    pub(crate) log: Option<PathBuf>,
    /// Record (JSON, from /v1) whose events are to be proven; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Vec<PathBuf>,
    /// Checkpoint that was kept elsewhere; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Vec<PathBuf>,
    /// Proof that the log has grown since one of the checkpoints (from /v1/audit/checkpoint?old=…); may be given several times
    #[arg(long, value_name = "FILE", requires = "checkpoint")]
    pub(crate) growth: Vec<PathBuf>,
    /// Key that checkpoints are verified with; several after a change of keys. Without one the server's own is taken, which proves
    /// nothing against who holds the server
    #[arg(long, value_name = "VKEY")]
    pub(crate) vkey: Vec<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file (YAML); every key is optional
    #[arg(short, long, value_name = "FILE", env = "SCHALTER_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Open the pages to the local network: HTTPS with a generated certificate, on all addresses
    #[arg(long)]
    pub(crate) lan: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Configuration file whose keys sign the token
    #[arg(short, long, value_name = "FILE", env = "SCHALTER_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// API key that signs; needed where the configuration has several
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Room to join
    #[arg(long, value_name = "ROOM")]
    pub(crate) room: String,
    /// Identity: unique in the room, opaque to people
    #[arg(long, value_name = "ID")]
    pub(crate) identity: String,
    /// Name that others see
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// How long the token is valid: 30s, 15m, 2h or 7d
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = parse_duration)]
    pub(crate) valid_for: Duration,
    /// The participant may not publish camera, microphone or screen
    #[arg(long)]
    pub(crate) no_publish: bool,
    /// The participant may not receive others
    #[arg(long)]
    pub(crate) no_subscribe: bool,
    /// The participant may not send data messages
    #[arg(long)]
    pub(crate) no_data: bool,
    /// The participant may change its own name and metadata
    #[arg(long)]
    pub(crate) update_own_metadata: bool,
    /// Others don't see the participant
    #[arg(long)]
    pub(crate) hidden: bool,
    /// Print a link to the page at this address instead of the bare token, e.g. <https://video.example.org>
    #[arg(long, value_name = "URL")]
    pub(crate) link: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    /// The file to check
    #[arg(value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Configuration file of the server on this machine: looks at ports, keys, limits; and signs the token for --url
    #[arg(short, long, value_name = "FILE", env = "SCHALTER_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Look from a client's side at a server's address, e.g. <https://video.example.org>
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// File with a token to join with, where there is no --config
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with certificates (PEM) to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// How long each step may take: 5s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Print JSON (docs/doctor.md)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Longest life of a token from the command line.
const MAX_TTL: Duration = Duration::from_secs(schalter_signaling::token::MAX_TOKEN_LIFETIME_SECS);

fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit = text.chars().last().ok_or("empty")?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err("a number with a unit: s, m, h or d".into()),
    };
    let number: u64 = text[..text.len() - 1]
        .parse()
        .map_err(|_| "a number with a unit: s, m, h or d")?;
    let duration = Duration::from_secs(number.saturating_mul(factor));
    if duration.is_zero() || duration > MAX_TTL {
        return Err("from 1s to 366d".into());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_bounds() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in [
            "",
            "5",
            "h",
            "0s",
            "367d",
            "99999999999999999999d",
            "-1s",
            "1ü",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
