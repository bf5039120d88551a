//! Runs other programs, says what is being done, and how long it took.

use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};

use crate::paths;

/// Steps shorter than this end without a line that says how long they took.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// Announces a step, does it, and says how long it took.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {what}");
    let start = Instant::now();
    let value = work().with_context(|| format!("failed: {what}"))?;
    let took = start.elapsed();
    if took >= WORTH_TELLING {
        eprintln!("    {:.1} s", took.as_secs_f32());
    }
    Ok(value)
}

/// A command that runs in the root of the work tree.
pub fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(paths::root())
        .stdin(Stdio::null());
    command
}

/// Cargo, as the one that runs this program, building into the tree's `target/`.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = cargo_as_called(args);
    command.env("CARGO_TARGET_DIR", paths::target());
    command
}

/// Cargo, with the environment in which a person called this program.
pub fn cargo_as_called(args: &[&str]) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = command(&program, args);
    // Set for this program by the `cargo run` it was started with; build scripts
    // that watch them would run again on each change between us and a plain cargo.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_")
            || told.starts_with("CARGO_MANIFEST_")
            || told == "CARGO_BIN_NAME"
        {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs to the end; an exit code other than 0 is an error that names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .map_err(|error| cannot_start(command, error))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and returns what was printed on standard output.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| cannot_start(command, error))?;
    if !output.status.success() {
        bail!("`{}` ended with {}", shown(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as a person would type it, for messages.
pub fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let name = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let words = command
        .get_args()
        .map(|word| word.to_string_lossy().into_owned());
    std::iter::once(name)
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn cannot_start(command: &Command, error: std::io::Error) -> Error {
    let program = command.get_program().to_string_lossy().into_owned();
    let advice = match (error.kind(), program.as_str()) {
        (ErrorKind::NotFound, "node" | "npm") => " Install Node 20 or later.",
        (ErrorKind::NotFound, "rustup" | "rustc") => " Install Rust through rustup.",
        (ErrorKind::NotFound, "git") => " Install git.",
        _ => "",
    };
    Error::new(error).context(format!("`{program}` cannot be started.{advice}"))
}
