//! `schalter audit`: holds logs and records against checkpoints that were kept elsewhere. Reads files only; the server may run or not.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schalter_audit::growth::{self, GrowthError};
use schalter_audit::note::VerifyingKey;
use schalter_audit::verify::EpochFiles;
use schalter_audit::{Checkpoint, Origin, record, verify};
use schalter_desk::ledger::{VKEY_FILE, newest_checkpoint, read_log};

use crate::cli::{AuditCommand, LogArgs, VerifyArgs};
use crate::config::Config;
use crate::desk::DATABASE;
use crate::desk::ledger::folder_of;
use crate::state::StateDir;
use crate::{Failure, say};

const NOTHING_YET: &str = "nothing is in the log yet";
/// Most bytes of a checkpoint or record that are read.
const MAX_FILE: u64 = 64 * 1024 * 1024;

pub(crate) fn run(command: &AuditCommand) -> Result<ExitCode, Failure> {
    match command {
        AuditCommand::Verify(args) => verify_all(args),
        AuditCommand::Key(args) => {
            let logs = Logs::of(&args.config)?;
            logs.check_authority(args.authority.as_deref())?;
            say(&logs.vkey()?.to_string());
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Checkpoint(args) => checkpoints(args),
    }
}

/// The logs of a server.
struct Logs {
    folder: PathBuf,
    authorities: Vec<String>,
}

impl Logs {
    fn of(config: &Path) -> Result<Self, Failure> {
        let config = Config::load(Some(config)).map_err(Failure::setup)?;
        let none = |what: &str| Failure::setup(format!("{what}: there is no audit log"));
        let desk = config.desk.ok_or_else(|| none("no desk is configured"))?;
        if desk.demo {
            return Err(none("the demo's log ends with the server"));
        }
        let audit = desk.audit.ok_or_else(|| none("desk.audit is off"))?;
        let database = match desk.database {
            Some(path) => path,
            None => StateDir::open(config.state_dir.as_deref())?.path_of(DATABASE),
        };
        let offices = desk.authorities.iter();
        Ok(Self {
            folder: folder_of(&audit, &database),
            authorities: offices.map(|office| office.id.to_string()).collect(),
        })
    }

    fn check_authority(&self, wanted: Option<&str>) -> Result<Vec<PathBuf>, Failure> {
        let chosen: Vec<_> = self
            .authorities
            .iter()
            .filter(|id| wanted.is_none_or(|wanted| wanted == **id))
            .map(|id| self.folder.join(id))
            .collect();
        if chosen.is_empty() {
            return Err(Failure::setup("no office has this id"));
        }
        Ok(chosen)
    }

    fn vkey(&self) -> Result<VerifyingKey, Failure> {
        own_key(&self.folder)
    }
}

fn own_key(folder: &Path) -> Result<VerifyingKey, Failure> {
    let path = folder.join(VKEY_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let hint = "the server writes it when it starts";
        Failure::setup(format!("{}: {error}; {hint}", path.display()))
    })?;
    let key = text.trim().parse();
    key.map_err(|error| Failure::setup(format!("{}: {error}", path.display())))
}

fn checkpoints(args: &LogArgs) -> Result<ExitCode, Failure> {
    let logs = Logs::of(&args.config)?;
    let mut found = 0;
    for folder in logs.check_authority(args.authority.as_deref())? {
        if let Some(newest) = newest_checkpoint(&folder).map_err(Failure::setup)? {
            if found > 0 {
                say("");
            }
            say(newest.trim_end());
            found += 1;
        }
    }
    if found == 0 {
        return Err(Failure::setup(NOTHING_YET));
    }
    Ok(ExitCode::SUCCESS)
}

/// What a run has found.
#[derive(Default)]
struct Findings {
    wrong: usize,
}

impl Findings {
    fn wrong(&mut self, what: &str) {
        self.wrong += 1;
        say(&format!("FAILED  {what}"));
    }

    fn good(what: &str) {
        say(&format!("ok      {what}"));
    }
}

fn verify_all(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let mut folders = Vec::new();
    let mut own = None;
    if let Some(config) = &args.config {
        let logs = Logs::of(config)?;
        folders = logs.check_authority(args.authority.as_deref())?;
        // A log that nothing was written to yet need not be there.
        if args.authority.is_none() && args.checkpoint.is_empty() {
            folders.retain(|folder| folder.exists());
        }
        own = Some(logs.folder);
    } else if let Some(log) = &args.log {
        folders.push(log.clone());
        own = log.parent().map(Path::to_owned);
    }
    if folders.is_empty() && args.record.is_empty() && args.growth.is_empty() {
        return Err(Failure::setup(
            "nothing to verify: give --config or --log, --record or --growth",
        ));
    }
    let trusted = trusted(args, own.as_deref())?;
    let mut findings = Findings::default();
    let mut elsewhere = Vec::new();
    for path in &args.checkpoint {
        match Checkpoint::open(&read(path)?, &trusted) {
            Ok((checkpoint, _)) => elsewhere.push(checkpoint),
            Err(error) => findings.wrong(&format!("{}: {error}", path.display())),
        }
    }
    for path in &args.growth {
        match growth::verify(&read(path)?, &trusted, &elsewhere) {
            Ok((old, new)) => {
                let (origin, from, to) = (&new.origin, old.size, new.size);
                Findings::good(&format!(
                    "{origin} has only grown, from {from} to {to} leaves"
                ));
                elsewhere.push(new);
            }
            Err(GrowthError::Malformed(what)) => {
                return Err(Failure::setup(format!("{}: {what}", path.display())));
            }
            Err(error) => findings.wrong(&format!("{}: {error}", path.display())),
        }
    }
    for path in &args.record {
        elsewhere.extend(verify_record(path, &trusted, &elsewhere, &mut findings)?);
    }
    let mut verified = !args.record.is_empty() || !args.growth.is_empty();
    for folder in &folders {
        // Where there are several, each has the checkpoints of its own.
        let own: Vec<_> = elsewhere
            .iter()
            .filter(|one| folders.len() == 1 || is_of(one, folder))
            .cloned()
            .collect();
        let files = read_log(folder).map_err(Failure::setup)?;
        // Before the first event it is empty. That one was emptied shows only against a checkpoint.
        if files.is_empty() && own.is_empty() {
            continue;
        }
        verified = true;
        verify_log(folder, &files, &trusted, &own, &mut findings);
    }
    let strange = elsewhere
        .iter()
        .filter(|one| folders.len() > 1 && !folders.iter().any(|folder| is_of(one, folder)));
    for one in strange {
        findings.wrong(&format!("{}: no office here has this log", one.origin));
    }
    if findings.wrong > 0 {
        let findings = match findings.wrong {
            1 => "1 finding".to_owned(),
            several => format!("{several} findings"),
        };
        say(&format!(
            "{findings}: see \"Log mismatch\" in docs/audit.md"
        ));
        return Ok(ExitCode::FAILURE);
    }
    if !verified {
        return Err(Failure::setup(NOTHING_YET));
    }
    if !folders.is_empty() && elsewhere.is_empty() {
        say(
            "        Held against itself only: without a checkpoint from elsewhere nobody can tell whether the log was written anew.",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The keys to go by.
fn trusted(args: &VerifyArgs, own: Option<&Path>) -> Result<Vec<VerifyingKey>, Failure> {
    if !args.vkey.is_empty() {
        let keys = args.vkey.iter().map(|text| text.trim().parse());
        return keys
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::setup(format!("--vkey: {error}")));
    }
    let Some(own) = own else {
        return Err(Failure::setup(
            "--vkey is needed: what `schalter audit key` prints on the server, brought here another way than the record",
        ));
    };
    let key = own_key(own)?;
    say(&format!("        The key is the server's own: {key}"));
    Ok(vec![key])
}

fn is_of(checkpoint: &Checkpoint, folder: &Path) -> bool {
    let origin: Option<Origin> = checkpoint.origin.parse().ok();
    origin.is_some_and(|origin| folder.ends_with(origin.authority))
}

fn verify_log(
    folder: &Path,
    files: &[EpochFiles],
    trusted: &[VerifyingKey],
    elsewhere: &[Checkpoint],
    findings: &mut Findings,
) {
    let report = verify::log(files, trusted, elsewhere);
    for seen in &report.epochs {
        let checkpoint = &seen.checkpoint;
        let root = STANDARD.encode(checkpoint.root);
        let events = match seen.events {
            Some((first, last)) => format!("events {first} to {last}"),
            None => "no events".to_owned(),
        };
        let (origin, size) = (&checkpoint.origin, checkpoint.size);
        Findings::good(&format!("{origin}: {size} leaves, {events}, root {root}"));
        if !seen.goes_on {
            say(&format!(
                "        {origin} says that it does not follow on what was before: the log or the database was set back"
            ));
        }
        if seen.unsigned > 0 {
            say(&format!(
                "        {} more leaves are not signed yet",
                seen.unsigned
            ));
        }
    }
    for mismatch in &report.mismatches {
        findings.wrong(&format!("{}: {mismatch}", folder.display()));
    }
    if report.mismatches.is_empty() {
        for one in elsewhere {
            let (origin, size) = (&one.origin, one.size);
            Findings::good(&format!(
                "{origin} still has the {size} leaves of the checkpoint from elsewhere"
            ));
        }
    }
}

/// Verifies a record; answers the checkpoints in it, which a log is held against, too.
fn verify_record(
    path: &Path,
    trusted: &[VerifyingKey],
    elsewhere: &[Checkpoint],
    findings: &mut Findings,
) -> Result<Vec<Checkpoint>, Failure> {
    let shown = path.display();
    let reports = record::verify(&read(path)?, trusted)
        .map_err(|error| Failure::setup(format!("{shown}: {error}")))?;
    let mut checkpoints = Vec::new();
    for report in reports {
        for doubt in &report.doubts {
            findings.wrong(&format!("{shown}: {doubt}"));
        }
        if report.doubts.is_empty() {
            let proven = report.proven;
            Findings::good(&format!(
                "{shown}: {proven} events are in the log as the record tells them"
            ));
        }
        for own in &report.checkpoints {
            let (origin, size) = (&own.origin, own.size);
            say(&format!(
                "        {origin}: {size} leaves, root {}",
                STANDARD.encode(own.root)
            ));
            let same = |one: &&Checkpoint| one.origin == *origin && one.size == size;
            if elsewhere
                .iter()
                .filter(same)
                .any(|one| one.root != own.root)
            {
                findings.wrong(&format!(
                    "{shown}: its checkpoint of {origin} and the one from elsewhere are of different logs"
                ));
            }
        }
        checkpoints.extend(report.checkpoints);
    }
    Ok(checkpoints)
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::setup(format!("{}: {error}", path.display()));
    let size = std::fs::metadata(path)
        .map_err(|error| failed(&error))?
        .len();
    if size > MAX_FILE {
        return Err(failed(&"the file is too large"));
    }
    std::fs::read_to_string(path).map_err(|error| failed(&error))
}
