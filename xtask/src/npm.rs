//! The npm projects: the tests', and the benchmarks' with what is measured beside this project.

use std::path::Path;

use anyhow::Result;

use crate::process::{command, run, step};
use crate::stamp::Inputs;
use crate::{paths, tools};

/// Installs what `tests/package-lock.json` pins, when that file changed.
pub fn install() -> Result<()> {
    install_in(
        &paths::root().join("tests"),
        "npm: installing the tests' dependencies",
    )
}

/// Installs what `tests/bench/package-lock.json` pins, when that file changed. Apart from the
/// tests' own, since it is much, and no test needs it.
pub fn install_for_benchmarks() -> Result<()> {
    install_in(
        &paths::root().join("tests/bench"),
        "npm: installing the benchmarks' dependencies",
    )
}

fn install_in(project: &Path, what: &str) -> Result<()> {
    tools::node()?;
    // Inside the folder it vouches for, so that both go together.
    let stamp = project.join("node_modules/.shoal-stamp");
    Inputs::new(&["npm ci"])
        .file(&project.join("package-lock.json"))?
        .unless_stamped(&stamp, &[], || {
            step(what, || {
                run(command(
                    "npm",
                    &[
                        "ci",
                        "--ignore-scripts",
                        "--no-audit",
                        "--no-fund",
                        "--loglevel=error",
                    ],
                )
                .current_dir(project))
            })
        })?;
    Ok(())
}
