//! The npm package `shoal`: hand-written modules, the wasm peer, and what npm wants.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{command, run, step};
use crate::{paths, server, stamp, tools, wasm};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What stands for the version in `peer-wasm/package.json`.
const VERSION_MARK: &str = "\"0.0.0-workspace\"";

/// Builds the peer and brings `target/package/shoal` up to date.
pub fn assemble() -> Result<()> {
    fill(&paths::package(), &wasm::build()?)
}

/// Brings the package up to date whose engine tests can break.
pub fn assemble_with_test_hooks() -> Result<()> {
    fill(
        &paths::package_with_test_hooks(),
        &wasm::build_with_test_hooks()?,
    )
}

/// Makes `folder` the package round a compiled peer.
fn fill(folder: &Path, peer: &Path) -> Result<()> {
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
    bring_up_to_date(folder, &wanted)
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
fn bring_up_to_date(folder: &Path, wanted: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
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
