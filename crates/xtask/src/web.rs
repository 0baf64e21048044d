//! The pages: built by esbuild from TypeScript, the bundle committed so that `cargo run` needs Rust only.

use crate::step::{Failure, output, program, run};

const FOLDER: &str = "crates/web";
const BUNDLE: &str = "crates/web/dist";

/// Builds the bundle; with `check`, complains if it is not the committed one.
pub(crate) fn build(check: bool) -> Result<(), Failure> {
    run(&mut program(
        FOLDER,
        "npm",
        &["ci", "--no-audit", "--no-fund"],
    ))?;
    run(&mut program(FOLDER, "npm", &["run", "check"]))?;
    run(&mut program(FOLDER, "npm", &["run", "build"]))?;
    if check {
        let changed = output(&mut program(
            ".",
            "git",
            &["status", "--porcelain", "--", BUNDLE],
        ))?;
        if !changed.is_empty() {
            return Err(format!(
                "{BUNDLE} is not what the sources build:\n{changed}run `cargo xtask web` and commit"
            ));
        }
    }
    Ok(())
}
