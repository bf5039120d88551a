//! Shows that wasm-pack builds the engine too, for those who have it in their build already.
//! What it makes is the engine alone: the package's modules are ours to add.

use std::env;

use anyhow::{Context, Result};

use crate::process::{command, run, step};
use crate::{npm, paths, server, tools};

/// Builds the crate as wasm-pack's users do, and shares a file with what came out.
pub fn works() -> Result<()> {
    tools::wasm_target()?;
    tools::install(&tools::browsers())?;
    npm::install()?;
    // It takes from the path what it would download otherwise.
    let mut path = vec![
        tools::wasm_pack()?.join("bin"),
        tools::wasm_bindgen()?.join("bin"),
    ];
    let wasm_opt = tools::wasm_opt()?;
    let binaryen = wasm_opt
        .ancestors()
        .find(|folder| folder.ends_with("node_modules"));
    path.push(binaryen.context("binaryen is not installed")?.join(".bin"));
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let path = env::join_paths(path).context("PATH cannot be extended")?;
    step("wasm-pack build peer-wasm --target web", || {
        // Its cargo and ours share a folder, and so what is compiled of the dependencies.
        run(
            command("wasm-pack", &["build", "peer-wasm", "--target", "web"])
                .arg("--out-dir")
                .arg(paths::target().join("wasm-pack"))
                .env("CARGO_TARGET_DIR", paths::target())
                .env("PATH", &path),
        )
    })?;
    server::build()?;
    step("node: two browsers share with it", || {
        run(&mut command(
            "node",
            &["--test", "--test-reporter=spec", "tests/wasm-pack.mjs"],
        ))
    })
}
