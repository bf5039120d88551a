//! What is checked without running the product: format, lints, documentation,
//! licences and sources, types of the hand-written JavaScript.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::{cargo, command, run, step};
use crate::{npm, paths, site, stamp, tools};

/// The crates that run in the browser.
const IN_THE_BROWSER: [&str; 6] = [
    "--package",
    "shoal-protocol",
    "--package",
    "shoal-peer-core",
    "--package",
    "shoal-peer-wasm",
];

/// How long the advisory database may take to come; it takes seconds where it is
/// reachable, and some firewalls answer nothing at all.
const ADVISORIES_WITHIN: Duration = Duration::from_secs(60);

/// Runs all checks; the first that fails ends it.
pub fn all() -> Result<()> {
    step("cargo fmt", || {
        run(&mut cargo(&["fmt", "--all", "--check"]))?;
        run(&mut cargo(&[
            "fmt",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--check",
        ]))
    })?;
    step("cargo clippy, native", || {
        clippy(&["--workspace", "--all-targets"])
    })?;
    tools::wasm_target()?;
    step("cargo clippy, wasm", || {
        clippy(&[&IN_THE_BROWSER[..], &["--target", tools::WASM]].concat())
    })?;
    step("cargo clippy, wasm with test hooks", || {
        clippy(&[
            "--package",
            "shoal-peer-wasm",
            "--features",
            "test-hooks",
            "--target",
            tools::WASM,
        ])
    })?;
    step("cargo doc, native", || {
        doc(&["--workspace", "--exclude", "shoal-peer-wasm"])
    })?;
    step("cargo doc, wasm", || {
        doc(&["--package", "shoal-peer-wasm", "--target", tools::WASM])
    })?;
    licences_bans_sources()?;
    advisories()?;
    package_and_types()
}

fn clippy(what: &[&str]) -> Result<()> {
    run(cargo(&["clippy", "--quiet"])
        .args(what)
        .args(["--", "-D", "warnings"]))
}

fn doc(what: &[&str]) -> Result<()> {
    let mut doc = cargo(&["doc", "--no-deps", "--quiet"]);
    run(doc.args(what).env("RUSTDOCFLAGS", "-D warnings"))
}

fn licences_bans_sources() -> Result<()> {
    let deny = tools::cargo_deny()?;
    step("cargo deny: bans, licences, sources", || {
        run(Command::new(deny)
            .current_dir(paths::root())
            .args(["--log-level", "warn", "check"])
            .args(["--hide-inclusion-graph", "bans", "licenses", "sources"]))
    })
}

/// Looks the dependencies up among the known vulnerabilities, where the list of
/// those can be had. A list that cannot is no fault of the tree.
fn advisories() -> Result<()> {
    let deny = tools::cargo_deny()?;
    if !fetched(&mut Command::new(&deny))? {
        eprintln!("==> cargo deny: advisories skipped, their database cannot be fetched here");
        return Ok(());
    }
    step("cargo deny: advisories", || {
        run(Command::new(deny).current_dir(paths::root()).args([
            "check",
            "--disable-fetch",
            "advisories",
        ]))
    })
}

/// Whether the advisory database could be brought up to date, in time.
fn fetched(deny: &mut Command) -> Result<bool> {
    deny.current_dir(paths::root()).args(["fetch", "db"]);
    deny.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = deny.spawn().context("cargo-deny cannot be started")?;
    let deadline = Instant::now() + ADVISORIES_WITHIN;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// What needs the package: the server with its files inside, and the types of the
/// hand-written modules beside those that wasm-bindgen wrote.
fn package_and_types() -> Result<()> {
    {
        let _lock = stamp::lock(&paths::state().join("build.lock"))?;
        site::assemble()?;
    }
    step("cargo clippy, the server with its files inside", || {
        clippy(&[
            "--package",
            "shoal-signaling",
            "--features",
            "embed",
            "--all-targets",
        ])
    })?;
    npm::install()?;
    step("tsc: the package's modules", || {
        let tests = paths::root().join("tests");
        run(command(
            "node",
            &[
                "node_modules/typescript/bin/tsc",
                "--project",
                "tsconfig.package.json",
            ],
        )
        .current_dir(tests))
    })
}
