//! The server binary with the page and the package inside.

use anyhow::{Result, bail};

use crate::process::{cargo, run, shown, step};
use crate::{paths, site, stamp, tools};

/// Builds everything: the peer, the package, the server.
pub fn build() -> Result<()> {
    // Wanted late, and nobody should wait for the compiler to be told of it.
    tools::node()?;
    let _lock = stamp::lock(&paths::state().join("build.lock"))?;
    site::assemble()?;
    step("cargo: the server, release", || {
        run(&mut cargo(&[
            "build",
            "--release",
            "--package",
            "shoal-signaling",
            "--features",
            "embed",
        ]))
    })
}

/// Builds the links between browsers of this machine, which tests and benchmarks use.
pub fn build_links() -> Result<()> {
    step("cargo: the links of tests, release", || {
        run(&mut cargo(&[
            "build",
            "--release",
            "--package",
            "shoal-links",
        ]))
    })
}

/// Builds the load generator of the rendezvous benchmark.
pub fn build_load() -> Result<()> {
    step("cargo: the load generator, release", || {
        run(&mut cargo(&[
            "build",
            "--release",
            "--package",
            "shoal-load",
        ]))
    })
}

/// Builds, then becomes the server.
pub fn demo(args: &[String]) -> Result<()> {
    build()?;
    let mut server = std::process::Command::new(paths::server());
    server.args(args);
    eprintln!("==> {}", shown(&server));
    become_process(&mut server)
}

/// Replaces this process, so that Ctrl-C and the exit code are the server's own.
#[cfg(unix)]
fn become_process(server: &mut std::process::Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let error = server.exec();
    bail!("`{}` cannot be started: {error}", shown(server))
}

#[cfg(not(unix))]
fn become_process(server: &mut std::process::Command) -> Result<()> {
    run(server)
}
