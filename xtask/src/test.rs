//! Every test of the project.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::process::{cargo, command, run, step};
use crate::{fuzz, npm, package, paths, rebuild, server, stamp, tools, wasm_pack};

/// A browser that hangs must not take the whole run with it.
const MILLISECONDS_PER_FILE: u32 = 1_200_000;

/// Seconds for each fuzz target: enough to see that it still builds and runs, and
/// to find again what was found before.
const FUZZ_SECONDS: u32 = 3;

#[derive(Args)]
pub struct Options {
    /// Only tests whose name (Rust) or file name (browser) contains this.
    filter: Option<String>,
    /// Only these parts; without it all, and with a filter `rust` and `browser`.
    #[arg(long, value_enum, value_delimiter = ',')]
    part: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Rust,
    Build,
    Browser,
    Fuzz,
    Size,
    /// That wasm-pack builds the engine; only when asked for, since it takes minutes.
    WasmPack,
}

/// Runs the tests; the first part that fails ends it.
pub fn run_tests(options: &Options) -> Result<()> {
    let wants = |part| match (&options.part[..], &options.filter) {
        ([], None) => part != Part::WasmPack,
        ([], Some(_)) => matches!(part, Part::Rust | Part::Browser),
        (parts, _) => parts.contains(&part),
    };
    let filter = options.filter.as_deref().unwrap_or_default();
    let browser_tests = if wants(Part::Browser) {
        matching(filter)?
    } else {
        Vec::new()
    };
    if wants(Part::Browser) && !wants(Part::Rust) && browser_tests.is_empty() {
        bail!("no file of tests/e2e has `{filter}` in its name");
    }
    // First what may have to be installed, so that it is known at once if it cannot be.
    let mut packages = Vec::new();
    if !browser_tests.is_empty() {
        packages.extend(tools::browsers());
    }
    if wants(Part::Fuzz) {
        packages.extend(tools::cpp_compiler());
    }
    tools::install(&packages)?;
    if !browser_tests.is_empty() {
        npm::install()?;
    }
    if wants(Part::Rust) {
        step("cargo test", || {
            run(cargo(&["test", "--quiet", "--workspace"])
                .arg("--")
                .arg(filter))
        })?;
    }
    if wants(Part::Build) {
        server::build()?;
        step("a second build", rebuild::does_nothing)?;
        step("cargo test: the files inside the server", || {
            // The whole workspace, so that dependencies have the features they were built with.
            run(cargo(&["test", "--quiet", "--workspace"])
                .args(["--features", "shoal-signaling/embed"])
                .args(["--test", "rendezvous", "--", "files::", "http::"]))
        })?;
    }
    if !browser_tests.is_empty() {
        server::build()?;
        server::build_links()?;
        let lock = stamp::lock(&paths::state().join("build.lock"))?;
        package::assemble_with_test_hooks()?;
        // Tests take longer than anybody should wait for a build.
        drop(lock);
        step("node: tests in browsers", || browsers(&browser_tests))?;
    }
    if wants(Part::Fuzz) {
        fuzz::all(FUZZ_SECONDS)?;
    }
    if wants(Part::Size) {
        let _lock = stamp::lock(&paths::state().join("build.lock"))?;
        package::assemble()?;
        step("size budget", || {
            run(command("node", &["tests/size.mjs"]).arg(paths::package()))
        })?;
    }
    if wants(Part::WasmPack) {
        wasm_pack::works()?;
    }
    Ok(())
}

/// One file after the other: a few browsers fill this machine.
fn browsers(files: &[PathBuf]) -> Result<()> {
    run(command(
        "node",
        &["--test", "--test-concurrency=1", "--test-reporter=spec"],
    )
    .arg(format!("--test-timeout={MILLISECONDS_PER_FILE}"))
    .args(files))
}

fn matching(filter: &str) -> Result<Vec<PathBuf>> {
    let folder = paths::root().join("tests/e2e");
    let names = stamp::files(&folder)?.into_iter().filter(|name| {
        let name = name.to_string_lossy();
        name.ends_with(".test.mjs") && name.contains(filter)
    });
    Ok(names
        .map(|name| PathBuf::from("tests/e2e").join(name))
        .collect())
}
