//! The figures in the documentation: replays of the simulation kit, drawn by a program of its own so that this crate stays
//! quick to build.

use crate::step::{Failure, cargo, run};

const FOLDER: &str = "docs/figures";

/// Draws all figures anew.
pub(crate) fn draw() -> Result<(), Failure> {
    run(&mut cargo(&[
        "run",
        "--locked",
        "--quiet",
        "-p",
        "schalter-testkit",
        "--bin",
        "plots",
        "--",
        FOLDER,
    ]))
}
