//! The benchmarks of `tests/bench`.

use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process::{command, run, step};
use crate::{npm, paths, server, tools};

/// What the benchmarks share; what only some need is in folders beside it.
const NOT_A_BENCHMARK: &str = "report.mjs";
/// The benchmark that puts load on servers.
const RENDEZVOUS: &str = "rendezvous";

#[derive(Args)]
pub struct Options {
    /// One of tests/bench, without `.mjs`; without it all.
    name: Option<String>,
    /// A short run, to see that it works.
    #[arg(long)]
    quick: bool,
}

/// Builds, then runs the benchmarks one after the other. Each writes
/// `target/bench/<name>.json`.
pub fn run_benchmarks(options: &Options) -> Result<()> {
    let all = names()?;
    let chosen = match &options.name {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!(
            "there is no benchmark `{name}`; there are: {}",
            all.join(", ")
        ),
    };
    tools::install(&tools::browsers())?;
    npm::install()?;
    npm::install_for_benchmarks()?;
    server::build()?;
    server::build_links()?;
    let matchbox = if chosen.iter().any(|name| name == RENDEZVOUS) {
        server::build_load()?;
        Some(tools::matchbox()?)
    } else {
        None
    };
    for name in chosen {
        step(&format!("bench: {name}"), || {
            let mut node = command("node", &[]);
            node.arg(format!("tests/bench/{name}.mjs"));
            if options.quick {
                node.arg("--quick");
            }
            if let Some(matchbox) = &matchbox {
                node.env("MATCHBOX_SERVER", matchbox);
            }
            run(&mut node)
        })?;
    }
    Ok(())
}

fn names() -> Result<Vec<String>> {
    let folder = paths::root().join("tests/bench");
    let mut names = Vec::new();
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| *name != NOT_A_BENCHMARK) else {
            continue;
        };
        names.extend(name.strip_suffix(".mjs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}
