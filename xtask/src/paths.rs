//! Where things lie: in the work tree, in `target/`, in the tool cache.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the work tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// `target/` of the work tree. What is built inside is always here, whatever
/// `CARGO_TARGET_DIR` says, since the server embeds the package by a relative path.
pub fn target() -> PathBuf {
    root().join("target")
}

/// What xtask itself keeps between runs.
pub fn state() -> PathBuf {
    target().join("xtask")
}

/// The package as it is shipped, unpacked.
pub fn package() -> PathBuf {
    target().join("package/shoal")
}

/// A package that is never shipped: its engine leaves out checks, for tests that show what
/// holds without them.
pub fn package_with_test_hooks() -> PathBuf {
    target().join("package-test-hooks/shoal")
}

/// The server, as a build leaves it.
pub fn server() -> PathBuf {
    target().join("release/shoal-signaling")
}

/// The page and the package as the server embeds them.
pub fn site() -> PathBuf {
    target().join("site")
}

/// Where the tool `name` of this version is kept, for all clones of this user.
pub fn tool(name: &str, version: &str) -> Result<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(cache) => PathBuf::from(cache),
        None => {
            PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
                .join(".cache")
        }
    };
    Ok(cache.join("shoal").join(format!("{name}-{version}")))
}
