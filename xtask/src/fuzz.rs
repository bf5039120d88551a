//! libFuzzer on stable Rust: the flags that `cargo fuzz` would give a nightly
//! compiler, less the sanitizer. What Rust code gets wrong shows as a panic.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process::{capture, cargo, command, run, step};
use crate::{paths, stamp, tools};

/// Coverage that libFuzzer reads: counters for edges, traced comparisons.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
];

/// A target that crashes on one input in 2^40: found in no time with coverage, and
/// never without. It shows that the flags still do what they are for.
const PLANTED: &str = "planted";

/// How long the search for the planted crash may take; it takes less than one.
const PLANTED_SECONDS: u32 = 60;

#[derive(Args)]
pub struct Options {
    /// Only the target of this name.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Runs the chosen targets.
pub fn run_targets(options: &Options) -> Result<()> {
    let names = names()?;
    let chosen = match &options.target {
        None => return all(options.seconds),
        Some(name) if names.contains(name) => name,
        Some(name) => bail!(
            "there is no fuzz target `{name}`; there are: {}",
            names.join(", ")
        ),
    };
    let host = build()?;
    fuzz(&host, chosen, options.seconds)
}

/// Runs every target for some seconds, after it has been seen that a crash is found.
pub fn all(seconds: u32) -> Result<()> {
    let host = build()?;
    finds_the_planted_crash(&host)?;
    names()?
        .iter()
        .filter(|name| *name != PLANTED)
        .try_for_each(|name| fuzz(&host, name, seconds))
}

/// Builds all targets and returns the target triple, in whose folder they are.
fn build() -> Result<String> {
    tools::install(&tools::cpp_compiler())?;
    let version = capture(&mut command("rustc", &["-vV"]))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`rustc -vV` names no host")?;
    step("cargo: the fuzz targets", || {
        // With a target named, the flags do not reach build scripts and macros.
        run(cargo(&[
            "build",
            "--quiet",
            "--release",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target",
            host,
        ])
        .env("CARGO_TARGET_DIR", paths::target().join("fuzz"))
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f")))
    })?;
    Ok(host.to_owned())
}

fn fuzz(host: &str, name: &str, seconds: u32) -> Result<()> {
    step(&format!("fuzz: {name}, {seconds} s"), || {
        let mut target = target(host, name, seconds)?;
        let output = target
            .stderr(Stdio::piped())
            .output()
            .context("the fuzz target cannot be started")?;
        let log = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{log}\n`{name}` failed; its last lines name the file that holds the input");
        }
        if let Some(done) = log.lines().rev().find(|line| line.starts_with("Done ")) {
            eprintln!("    {done}");
        }
        Ok(())
    })
}

fn finds_the_planted_crash(host: &str) -> Result<()> {
    step("fuzz: finding a planted crash", || {
        let mut target = target(host, PLANTED, PLANTED_SECONDS)?;
        let status = target
            .stderr(Stdio::null())
            .status()
            .context("the fuzz target cannot be started")?;
        if status.success() {
            bail!(
                "it was not found in {PLANTED_SECONDS} s: the compiler no longer gives libFuzzer coverage"
            );
        }
        Ok(())
    })
}

/// A target as a command. What it learns stays in `target/fuzz/corpus`; inputs worth
/// keeping for good are in `fuzz/seeds`, and samples of messages in `protocol/golden`.
fn target(host: &str, name: &str, seconds: u32) -> Result<Command> {
    let folder = paths::target().join("fuzz");
    let (corpus, found) = (
        folder.join("corpus").join(name),
        folder.join("found").join(name),
    );
    if name == PLANTED && corpus.exists() {
        std::fs::remove_dir_all(&corpus).context("cannot remove the old corpus")?;
    }
    for path in [&corpus, &found] {
        std::fs::create_dir_all(path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
    }
    let mut command = Command::new(folder.join(host).join("release").join(name));
    command.current_dir(paths::root()).stdin(Stdio::null());
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", found.display()));
    command
        .args(["-timeout=10", "-rss_limit_mb=2048", "-max_len=131072"])
        .arg(corpus);
    for seeds in ["fuzz/seeds", "protocol/golden"] {
        let seeds = paths::root().join(seeds).join(name);
        if seeds.exists() {
            command.arg(seeds);
        }
    }
    Ok(command)
}

/// The targets are the files of `fuzz/targets`.
fn names() -> Result<Vec<String>> {
    let files = stamp::files(&paths::root().join("fuzz/targets"))?;
    Ok(files
        .iter()
        .filter_map(|name| name.to_str()?.strip_suffix(".rs"))
        .map(str::to_owned)
        .collect())
}
