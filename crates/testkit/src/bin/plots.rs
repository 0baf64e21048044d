//! Draws the figures of how pictures adapt: replays of synthetic link traces, into the folder that is named.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use schalter_model::{Bitrate, Time};
use schalter_testkit::{LinkTrace, Picture, Scenario, svg};

const SEED: u64 = 1;

/// A replay to draw: file, title, what happens.
type Figure = (&'static str, &'static str, Scenario);

fn seconds(n: u64) -> Time {
    Time::from_millis(n * 1_000)
}

fn figures() -> Vec<Figure> {
    let mbit = Bitrate::from_kbps(1_000);
    let (high, low) = (Bitrate::from_kbps(3_000), Bitrate::from_kbps(500));
    let length = Duration::from_secs(45);
    let step = LinkTrace::step(high, low, seconds(15), seconds(30));
    let ramp = LinkTrace::ramp(high, low, seconds(10), seconds(25), seconds(40));
    let competing = LinkTrace::competing(
        high,
        Bitrate::from_kbps(1_500),
        seconds(10),
        Duration::from_secs(8),
        Duration::from_secs(8),
    );
    let layered = |trace: &LinkTrace| Scenario::new(trace.clone(), Picture::layered(), length);
    let elastic = |trace: LinkTrace| Scenario::elastic(trace, length);
    let two = Scenario {
        subscribers: 2,
        stagger: Duration::from_secs(10),
        ..elastic(LinkTrace::steady(high))
    };
    vec![
        (
            "step",
            "A step from 3 Mbit/s to 500 kbit/s and back, one 720p camera",
            layered(&step),
        ),
        (
            "step-elastic",
            "A step from 3 Mbit/s to 500 kbit/s and back, three cameras",
            elastic(step),
        ),
        (
            "ramp",
            "A ramp from 3 Mbit/s to 500 kbit/s and back, three cameras",
            elastic(ramp),
        ),
        (
            "lte",
            "A phone under way: 0.3 to 8 Mbit/s, one 720p camera",
            layered(&LinkTrace::lte(SEED, length)),
        ),
        (
            "wifi",
            "Bursts of loss at 3 Mbit/s, one 720p camera",
            layered(&LinkTrace::wifi(SEED, high, length)),
        ),
        (
            "bufferbloat",
            "1 Mbit/s behind a queue of two seconds, one 720p camera",
            layered(&LinkTrace::bufferbloat(mbit, Duration::from_secs(2))),
        ),
        (
            "competing",
            "Others send 1.5 Mbit/s of 3 in turns, three cameras",
            elastic(competing),
        ),
        (
            "two-flows",
            "Two subscribers share 3 Mbit/s, three cameras",
            two,
        ),
    ]
}

fn draw(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, title, mut scenario) in figures() {
        scenario.seed = SEED;
        let replay = scenario.run();
        let summary = replay.summary();
        let path = folder.join(name).with_extension("svg");
        std::fs::write(&path, svg(&replay, title, &summary))?;
        writeln!(std::io::stdout(), "{}\n{summary}", path.display())?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        let _ = writeln!(std::io::stderr(), "usage: plots FOLDER");
        return ExitCode::FAILURE;
    };
    match draw(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
