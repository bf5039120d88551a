//! From Rust to the package's WebAssembly: cargo, wasm-bindgen, wasm-opt.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use walrus::Module;
use wasm_bindgen_cli_support::Bindgen;

use crate::process::{capture, cargo, command, run, step};
use crate::stamp::{self, Inputs};
use crate::{order, panics, paths, tools};

const MODULE: &str = "shoal_peer_bg.wasm";
const GLUE: &str = "shoal_peer.js";
const SHORTEN: &str = "xtask/src/shorten.mjs";

/// What rustc's wasm32 target turns on, and SIMD for BLAKE3, which is turned on
/// function by function and so not recorded in the module. The choice of passes is measured:
/// what is smaller here may be larger compressed, as most inlined copies are.
const WASM_OPT: [&str; 18] = [
    "-Os",
    "--always-inline-max-function-size",
    "5",
    "--flexible-inline-max-function-size",
    "0",
    "--one-caller-inline-max-function-size",
    "20",
    "--skip-pass=local-cse",
    // Below is the end of the stack, which grows down to address 0.
    "--low-memory-unused",
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-simd",
    "--strip-producers",
    // Prints which names became which.
    "--minify-imports-and-exports-and-modules",
];

/// Builds the peer and returns the folder of what belongs into the package:
/// the module, its JavaScript, its types.
pub fn build() -> Result<PathBuf> {
    let compiled = compile("cargo: the wasm peer", &paths::target(), &[])?;
    let bound = paths::state().join("wasm-bindgen");
    bind("wasm-bindgen", &compiled, &bound)?;
    let out = paths::state().join("wasm");
    optimise(&bound, &out)?;
    Ok(out)
}

/// Builds the peer that tests can break, and returns the folder of what belongs into its
/// package. Nobody downloads it, so it is not made smaller.
pub fn build_with_test_hooks() -> Result<PathBuf> {
    // Cargo gives a module one name whatever its features, and takes what is there for
    // built. In a folder of its own it is never taken for the module that is shipped.
    let folder = paths::target().join("test-hooks");
    let compiled = compile(
        "cargo: the wasm peer, with test hooks",
        &folder,
        &["--features", "test-hooks"],
    )?;
    let bound = paths::state().join("wasm-bindgen-test-hooks");
    bind("wasm-bindgen-test-hooks", &compiled, &bound)?;
    Ok(bound)
}

/// Compiles the peer below `folder` and returns the module.
fn compile(what: &str, folder: &Path, options: &[&str]) -> Result<PathBuf> {
    tools::wasm_target()?;
    step(what, || {
        run(cargo(&[
            "build",
            "--package",
            "shoal-peer-wasm",
            "--target",
            tools::WASM,
            "--profile",
            "wasm",
        ])
        .arg("--target-dir")
        .arg(folder)
        .args(options))
    })?;
    Ok(folder.join(tools::WASM).join("wasm/shoal_peer_wasm.wasm"))
}

fn bind(name: &str, compiled: &Path, out: &Path) -> Result<()> {
    // The module names the version of wasm-bindgen it was made for, and no other will do.
    Inputs::new(&[
        "wasm-bindgen",
        "with default path",
        "with reset",
        "without panics, places and Debug",
    ])
    .file(compiled)?
    .unless_done(name, &[&out.join(MODULE)], || {
        step("wasm-bindgen", || {
            remove(out)?;
            let mut module = Module::from_file(compiled)
                .with_context(|| format!("cannot read {}", compiled.display()))?;
            panics::become_traps(&mut module)?;
            panics::forget_places(&mut module)?;
            panics::forget_debug(&mut module)?;
            Bindgen::new()
                .input_bytes("shoal_peer", module.emit_wasm())
                .web(true)?
                // With it an engine in the page can be started again after a trap.
                .reset_state_function(true)
                .omit_default_module_path(false)
                .typescript(true)
                // Dropped after wasm-opt: with names it can be said what the rest is made of.
                .remove_name_section(false)
                .remove_producers_section(true)
                .keep_debug(false)
                .demangle(false)
                .generate(out)
        })
    })?;
    Ok(())
}

/// The module as it is shipped, but with the names of its functions.
fn named() -> PathBuf {
    paths::state().join("named.wasm")
}

/// Makes the module smaller. Its JavaScript calls things by the same short names then.
fn optimise(bound: &Path, out: &Path) -> Result<()> {
    let (source, result) = (bound.join(MODULE), out.join(MODULE));
    let named = named();
    let (long, short) = (bound.join(GLUE), out.join(GLUE));
    let mut words = vec!["wasm-opt, and order", tools::BINARYEN];
    words.extend(WASM_OPT);
    Inputs::new(&words)
        .file(&source)?
        .file(&long)?
        .file(&paths::root().join(SHORTEN))?
        .unless_done("wasm-opt", &[&named, &result, &short], || {
            let wasm_opt = tools::wasm_opt()?;
            step("wasm-opt", || {
                remove(out)?;
                fs::create_dir_all(out)
                    .with_context(|| format!("cannot make the folder {}", out.display()))?;
                let names = paths::state().join("names.json");
                let text = capture(
                    command("node", &[])
                        .arg(wasm_opt)
                        .args(WASM_OPT)
                        .arg("--debuginfo")
                        .arg(&source)
                        .arg("-o")
                        .arg(&named),
                )?;
                stamp::write(&result, &order::by_likeness(&stamp::read(&named)?)?)?;
                stamp::write(&names, text.as_bytes())?;
                let glue = capture(command("node", &[SHORTEN]).arg(&names).arg(&long))?;
                stamp::write(&short, glue.as_bytes())
            })
        })?;
    for name in stamp::files(bound)? {
        // The types of the module's raw exports are of no use to anybody.
        let is_done = [MODULE, GLUE, "shoal_peer_bg.wasm.d.ts"].map(Path::new);
        if !is_done.contains(&name.as_path()) {
            stamp::write(&out.join(&name), &stamp::read(&bound.join(&name))?)?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}
