//! The project's commands: `cargo xtask build`, `demo`, `check`, `test`, `package`, `bench`, `fuzz`.
//!
//! They need rustup, Node 20 and git, and install the rest by themselves: cargo's
//! wasm target, wasm-opt and cargo-deny into a cache folder, browsers through apt
//! where root runs them. What is done already and has not changed is not done again.

mod bench;
mod check;
mod fuzz;
mod npm;
mod order;
mod package;
mod panics;
mod paths;
mod process;
mod rebuild;
mod server;
mod site;
mod stamp;
mod test;
mod tools;
mod wasm;
mod wasm_pack;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, tests, demos, benchmarks and packages Shoal."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the wasm peer, the npm package and the server that embeds both.
    Build,
    /// Build, then run the server; further arguments go to it.
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Format, clippy (native and wasm), documentation, licences and sources, types.
    Check,
    /// Run every test: Rust, the build, browsers, a short fuzzing run, the size budget.
    Test(test::Options),
    /// Write the npm package to target/package/shoal-VERSION.tgz.
    Package,
    /// Run one benchmark of tests/bench, or all of them.
    Bench(bench::Options),
    /// Run every fuzz target for a while.
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Build => server::build(),
        Command::Demo { args } => server::demo(&args),
        Command::Check => check::all(),
        Command::Test(options) => test::run_tests(&options),
        Command::Package => package::pack(),
        Command::Bench(options) => bench::run_benchmarks(&options),
        Command::Fuzz(options) => fuzz::run_targets(&options),
    };
    if let Err(error) = result {
        // The chain alone: a trace of this program tells nobody what to do.
        for (depth, cause) in error.chain().enumerate() {
            eprintln!(
                "{}{cause}",
                if depth == 0 {
                    "error: "
                } else {
                    "    because: "
                }
            );
        }
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
