//! The npm package `shoal`: hand-written modules, the wasm peer, and what npm wants.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{command, run, step};
use crate::stamp::{self, Inputs};
use crate::{paths, server, tools, wasm};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What stands for the version in `peer-wasm/package.json`.
const VERSION_MARK: &str = "\"0.0.0-workspace\"";

/// Builds the peer and brings `target/package/shoal` up to date.
pub fn assemble() -> Result<()> {
    let mut wanted = gather(&wasm::build()?)?;
    bundle(&mut wanted)?;
    bring_up_to_date(&paths::package(), &wanted)
}

/// Brings the package up to date whose engine tests can break.
pub fn assemble_with_test_hooks() -> Result<()> {
    let wanted = gather(&wasm::build_with_test_hooks()?)?;
    bring_up_to_date(&paths::package_with_test_hooks(), &wanted)
}

/// The files of a package, by their names in it.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What belongs into the package round a compiled peer.
fn gather(peer: &Path) -> Result<Files> {
    let mut wanted = BTreeMap::new();
    let modules = paths::root().join("peer-wasm/js");
    for name in stamp::files(&modules)? {
        if is_shipped(&name) {
            wanted.insert(name.clone(), stamp::read(&modules.join(name))?);
        }
    }
    for name in stamp::files(peer)? {
        let bytes = stamp::read(&peer.join(&name))?;
        if wanted.insert(name.clone(), bytes).is_some() {
            bail!(
                "{} is in peer-wasm/js, and wasm-bindgen writes a file of that name",
                name.display()
            );
        }
    }
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        wanted.insert(name.into(), stamp::read(&paths::root().join(name))?);
    }
    let readme = ["peer-wasm/README.md", "README.md"].map(|name| paths::root().join(name));
    if let Some(readme) = readme.iter().find(|path| path.exists()) {
        wanted.insert("README.md".into(), stamp::read(readme)?);
    }
    wanted.insert("package.json".into(), manifest()?.into_bytes());
    Ok(wanted)
}

/// Replaces all JavaScript by what a page needs of it, in as few files as it loads at a time.
fn bundle(files: &mut Files) -> Result<()> {
    let (modules, bundled) = (
        paths::state().join("modules"),
        paths::state().join("bundled"),
    );
    let script = "xtask/src/bundle.mjs";
    let tools = ["rolldown", tools::ROLLDOWN, "terser", tools::TERSER];
    let mut inputs = Inputs::new(&tools).file(&paths::root().join(script))?;
    let is_script = |name: &Path| name.extension() == Some(OsStr::new("js"));
    let (scripts, others) = mem::take(files)
        .into_iter()
        .partition::<Files, _>(|(name, _)| is_script(name));
    bring_up_to_date(&modules, &scripts)?;
    for name in scripts.keys() {
        inputs = inputs.file(&modules.join(name))?;
    }
    inputs.unless_done("bundle", &[&bundled.join("index.js")], || {
        let (rolldown, terser) = (tools::rolldown()?, tools::terser()?);
        step("rolldown and terser", || {
            if bundled.exists() {
                fs::remove_dir_all(&bundled)
                    .with_context(|| format!("cannot remove {}", bundled.display()))?;
            }
            run(command("node", &[script]).args([&rolldown, &terser, &modules, &bundled]))
        })
    })?;
    *files = others;
    for name in stamp::files(&bundled)? {
        files.insert(name.clone(), stamp::read(&bundled.join(name))?);
    }
    Ok(())
}

/// Builds all, and writes `target/package/shoal-VERSION.tgz`.
pub fn pack() -> Result<()> {
    server::build()?;
    tools::node()?;
    let folder = paths::target().join("package");
    let archive = folder.join(format!("shoal-{VERSION}.tgz"));
    step("npm pack", || {
        run(command(
            "npm",
            &[
                "pack",
                "--ignore-scripts",
                "--loglevel=error",
                "--pack-destination",
            ],
        )
        .arg(&folder)
        .current_dir(paths::package()))
    })?;
    if !archive.exists() {
        bail!("`npm pack` did not write {}", archive.display());
    }
    eprintln!("    {}", archive.display());
    Ok(())
}

fn manifest() -> Result<String> {
    let template = paths::root().join("peer-wasm/package.json");
    let text = String::from_utf8(stamp::read(&template)?)
        .context("peer-wasm/package.json is not UTF-8")?;
    if text.matches(VERSION_MARK).count() != 1 {
        bail!(
            "peer-wasm/package.json must say \"version\": {VERSION_MARK}, which becomes the workspace's version"
        );
    }
    Ok(text.replace(VERSION_MARK, &format!("\"{VERSION}\"")))
}

/// Whether a file of `peer-wasm/js` belongs into the package: tests and the
/// settings of the type checker do not.
fn is_shipped(name: &Path) -> bool {
    let file = name.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let in_tests = name
        .components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "test");
    !in_tests && !file.contains(".test.") && !file.contains("tsconfig") && !file.starts_with('.')
}

/// Makes a folder hold exactly these files, touching only those that differ.
fn bring_up_to_date(folder: &Path, wanted: &Files) -> Result<()> {
    for name in stamp::files(folder)? {
        if !wanted.contains_key(&name) {
            let path = folder.join(name);
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    wanted
        .iter()
        .try_for_each(|(name, bytes)| stamp::write(&folder.join(name), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_settings_stay_out_of_the_package() {
        for name in ["index.js", "index.d.ts", "snippets/a/inline0.js"] {
            assert!(is_shipped(Path::new(name)), "{name}");
        }
        for name in ["tsconfig.json", "worker.test.js", "test/a.js", ".eslintrc"] {
            assert!(!is_shipped(Path::new(name)), "{name}");
        }
    }
}
