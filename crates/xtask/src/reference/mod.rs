//! `docs/api/support.md`: everything that the pinned definitions of the protocol know, whether it is supported, and the
//! test that proves it.
//!
//! The pages of `docs/api` say in their tables what each thing does and name its tests. Here every name of a test is
//! looked up, everything in the definitions must have a row, and the rows become one table with links.

mod clients;
mod definitions;
mod endpoints;
mod pages;
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::step::{Failure, root, say};
use definitions::Definitions;
use pages::{Page, Row};
use tests::Tests;

const FILE: &str = "docs/api/support.md";

/// One part of the table: which names must be there, and the page that has their rows.
struct Section {
    title: &'static str,
    names: Vec<String>,
    page: &'static str,
    /// Words of the heading below which the rows are; empty: anywhere.
    heading: &'static str,
}

/// Writes the page, or checks that it is what would be written.
pub(crate) fn execute(check: bool) -> Result<(), Failure> {
    let tests = Tests::collect()?;
    let mut wrong = endpoints::undescribed()?;
    let pages = Page::all()?;
    for page in &pages {
        for row in &page.rows {
            for proof in &row.proofs {
                if tests.find(proof).is_none() {
                    wrong.push(format!("{}: there is no test {proof:?}", page.file));
                }
            }
        }
    }
    let text = render(&tests, &pages, &mut wrong)?;
    if !wrong.is_empty() {
        let unique: BTreeSet<_> = wrong.into_iter().collect();
        return Err(unique.into_iter().collect::<Vec<_>>().join("\n"));
    }
    let path = root().join(FILE);
    if check {
        let there = std::fs::read_to_string(&path).map_err(|error| format!("{FILE}: {error}"))?;
        if there != text {
            return Err(format!(
                "{FILE} is out of date: run `cargo xtask reference`"
            ));
        }
        return Ok(());
    }
    std::fs::write(&path, text).map_err(|error| format!("{FILE}: {error}"))?;
    say(&format!("wrote {FILE}"));
    Ok(())
}

fn sections() -> Result<Vec<Section>, Failure> {
    let definitions = Definitions::read()?;
    Ok(vec![
        Section {
            title: "Requests on the WebSocket (`SignalRequest`)",
            names: definitions.one_of("livekit_rtc.proto", "SignalRequest")?,
            page: "protocol.md",
            heading: "SignalRequest",
        },
        Section {
            title: "Messages to clients (`SignalResponse`)",
            names: definitions.one_of("livekit_rtc.proto", "SignalResponse")?,
            page: "protocol.md",
            heading: "SignalResponse",
        },
        Section {
            title: "Data packets (`DataPacket`)",
            names: definitions.one_of("livekit_models.proto", "DataPacket")?,
            page: "protocol.md",
            heading: "DataPacket",
        },
        Section {
            title: "Simulated faults (`SimulateScenario`)",
            names: definitions.one_of("livekit_rtc.proto", "SimulateScenario")?,
            page: "protocol.md",
            heading: "SimulateScenario",
        },
        Section {
            title: "Room service",
            names: definitions.methods("livekit_room.proto")?,
            page: "room-service.md",
            heading: "Methods",
        },
        Section {
            title: "Webhooks",
            names: definitions.events()?,
            page: "webhooks.md",
            heading: "",
        },
    ])
}

/// Pages whose rows are no names of the definitions: each row is a line of the table as it stands.
const WHOLE_PAGES: [(&str, &str); 2] = [
    ("WHIP and WHEP", "whip-whep.md"),
    ("Encryption and codecs", "encryption-and-codecs.md"),
];

fn render(tests: &Tests, pages: &[Page], wrong: &mut Vec<String>) -> Result<String, Failure> {
    let mut text = String::from(
        "# What is supported\n\n\
         Made by `cargo xtask reference` from the pinned definitions of the protocol, the tables of the pages beside this one and the\n\
         tests that they name; the gate checks that all three agree. *Yes* means: the tests that are linked prove it, and they are\n\
         part of the gate.\n",
    );
    match clients::render() {
        Ok(table) => text.push_str(&table),
        Err(error) => wrong.push(error),
    }
    let page = |name: &str| pages.iter().find(|page| page.file == name);
    for section in sections()? {
        let Some(page) = page(section.page) else {
            wrong.push(format!("docs/api/{} is missing", section.page));
            continue;
        };
        let _ = write!(
            text,
            "\n## {}\n\nSee [{}]({}).\n\n",
            section.title, section.page, section.page
        );
        text.push_str("| | | proved by |\n|---|---|---|\n");
        for name in &section.names {
            let mark = format!("`{name}`");
            let row = page
                .rows
                .iter()
                .find(|row| row.heading.contains(section.heading) && row.subject.contains(&mark));
            match row {
                Some(row) => line(&mut text, &mark, row, tests, wrong, section.page),
                None => wrong.push(format!("{}: {mark} has no row", section.page)),
            }
        }
    }
    for (title, name) in WHOLE_PAGES {
        let Some(page) = page(name) else {
            wrong.push(format!("docs/api/{name} is missing"));
            continue;
        };
        let _ = write!(text, "\n## {title}\n\nSee [{name}]({name}).\n\n");
        text.push_str("| | | proved by |\n|---|---|---|\n");
        for row in page.rows.iter().filter(|row| !row.subject.is_empty()) {
            line(&mut text, &row.subject, row, tests, wrong, name);
        }
    }
    Ok(text)
}

fn line(
    text: &mut String,
    subject: &str,
    row: &Row,
    tests: &Tests,
    wrong: &mut Vec<String>,
    page: &str,
) {
    let state = row.state();
    if row.proofs.is_empty() && state == "yes" {
        wrong.push(format!("{page}: {subject} names no test"));
    }
    let proofs: Vec<_> = row
        .proofs
        .iter()
        .filter_map(|proof| tests.find(proof).map(|file| (proof, file)))
        .map(|(proof, file)| format!("[{proof}](../../{file})"))
        .collect();
    let proofs = if proofs.is_empty() {
        "–".to_owned()
    } else {
        proofs.join(", ")
    };
    let _ = writeln!(text, "| {subject} | {state} | {proofs} |");
}
