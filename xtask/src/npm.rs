//! The tests' npm project.

use anyhow::Result;

use crate::process::{command, run, step};
use crate::stamp::Inputs;
use crate::{paths, tools};

/// Installs what `tests/package-lock.json` pins, when that file changed.
pub fn install() -> Result<()> {
    tools::node()?;
    let tests = paths::root().join("tests");
    // Inside the folder it vouches for, so that both go together.
    let stamp = tests.join("node_modules/.shoal-stamp");
    Inputs::new(&["npm ci"])
        .file(&tests.join("package-lock.json"))?
        .unless_stamped(&stamp, &[], || {
            step("npm: installing the tests' dependencies", || {
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
                .current_dir(&tests))
            })
        })?;
    Ok(())
}
