//! What the machine must have, and how it gets it.
//!
//! Tools live in a cache folder named after their version, are put there whole (a
//! folder beside it is renamed), and are shared by all clones of a user.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::process::{capture, cargo, command, run, step};
use crate::{paths, stamp};

/// wasm-opt, as npm's `binaryen` carries it.
pub const BINARYEN: &str = "132.0.0";
/// What makes few modules of many.
pub const ROLLDOWN: &str = "1.2.19";
/// The minifier.
pub const TERSER: &str = "5.51.2";
const CARGO_DENY: &str = "0.20.2";
const WASM_PACK: &str = "0.15.1";
const MATCHBOX: &str = "0.15.0";
/// The oldest Node the tests' dependencies run on.
const NODE: u32 = 20;

/// The target of the browser's peer.
pub const WASM: &str = "wasm32-unknown-unknown";

/// Adds rustup's wasm target where it is missing.
pub fn wasm_target() -> Result<()> {
    let libraries = capture(&mut command(
        "rustc",
        &["--print", "target-libdir", "--target", WASM],
    ))?;
    if Path::new(libraries.trim()).exists() {
        return Ok(());
    }
    step(&format!("rustup: adding the target {WASM}"), || {
        run(&mut command("rustup", &["target", "add", WASM]))
    })
}

/// The script of wasm-opt, to be run by node.
pub fn wasm_opt() -> Result<PathBuf> {
    let folder = from_npm("binaryen", BINARYEN)?;
    Ok(folder.join("bin/wasm-opt"))
}

/// The module of rolldown, to be imported by node.
pub fn rolldown() -> Result<PathBuf> {
    let folder = from_npm("rolldown", ROLLDOWN)?;
    Ok(folder.join("dist/index.mjs"))
}

/// The module of terser, to be imported by node.
pub fn terser() -> Result<PathBuf> {
    let folder = from_npm("terser", TERSER)?;
    Ok(folder.join("main.js"))
}

/// Installs an npm package, where it is not there yet, and returns its folder.
fn from_npm(name: &str, version: &str) -> Result<PathBuf> {
    node()?;
    let folder = paths::tool(name, version)?;
    installed(&folder, |staging| {
        step(
            &format!("npm: installing {name} {version} into {}", folder.display()),
            || {
                run(command(
                    "npm",
                    &[
                        "install",
                        "--ignore-scripts",
                        "--no-audit",
                        "--no-fund",
                        "--loglevel=error",
                    ],
                )
                .arg("--prefix")
                .arg(staging)
                .arg(format!("{name}@{version}")))
            },
        )
    })?;
    Ok(folder.join("node_modules").join(name))
}

/// cargo-deny.
pub fn cargo_deny() -> Result<PathBuf> {
    let folder = from_crates_io("cargo-deny", CARGO_DENY, &["--locked"])?;
    Ok(folder.join("bin/cargo-deny"))
}

/// The folder of wasm-pack.
pub fn wasm_pack() -> Result<PathBuf> {
    from_crates_io("wasm-pack", WASM_PACK, &["--locked"])
}

/// The folder of the command `wasm-bindgen`, in the version of the crate.
pub fn wasm_bindgen() -> Result<PathBuf> {
    let lock = fs::read_to_string(paths::root().join("Cargo.lock"))?;
    let version = lock
        .split_once("name = \"wasm-bindgen\"\nversion = \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .context("Cargo.lock has no wasm-bindgen")?
        .0;
    // It does not install with `--locked`.
    from_crates_io("wasm-bindgen-cli", version, &[])
}

/// matchbox's signaling server, which this project's is measured beside.
pub fn matchbox() -> Result<PathBuf> {
    let folder = from_crates_io("matchbox_server", MATCHBOX, &["--locked"])?;
    Ok(folder.join("bin/matchbox_server"))
}

/// Compiles a tool, where it is not there yet, and returns its folder.
fn from_crates_io(name: &str, version: &str, options: &[&str]) -> Result<PathBuf> {
    let folder = paths::tool(name, version)?;
    installed(&folder, |staging| {
        step(
            &format!(
                "cargo: installing {name} {version} into {} (some minutes)",
                folder.display()
            ),
            || {
                run(cargo(&["install", name, "--quiet", "--version", version])
                    .args(options)
                    .arg("--root")
                    .arg(staging))
            },
        )
    })?;
    Ok(folder)
}

/// Fails unless npm is there, and a Node that is new enough.
pub fn node() -> Result<()> {
    static SEEN: OnceLock<()> = OnceLock::new();
    if SEEN.get().is_some() {
        return Ok(());
    }
    let version = capture(&mut command("node", &["--version"]))?;
    let major = version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|word| word.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE) {
        bail!(
            "Node {NODE} or later is needed, and `node --version` says {}",
            version.trim()
        );
    }
    if !on_path(&["npm"]) {
        bail!("`npm` is needed beside Node; Debian has it in a package of its own, npm");
    }
    SEEN.get_or_init(|| ());
    Ok(())
}

/// A Debian package, and whether what is wanted of it is there.
pub struct Package {
    name: &'static str,
    there: bool,
}

/// The browsers of the tests, the font without which emoji are boxes, what makes a video, and
/// the TURN server.
pub fn browsers() -> Vec<Package> {
    let emoji = Path::new("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf");
    vec![
        Package {
            name: "chromium",
            there: on_path(&["chromium", "chromium-browser", "google-chrome"]),
        },
        Package {
            name: "firefox-esr",
            there: on_path(&["firefox-esr", "firefox"]),
        },
        Package {
            name: "fonts-noto-color-emoji",
            there: emoji.exists(),
        },
        Package {
            name: "ffmpeg",
            there: on_path(&["ffmpeg"]),
        },
        Package {
            name: "coturn",
            there: on_path(&["turnserver"]),
        },
    ]
}

/// The C++ compiler that libFuzzer is built with.
pub fn cpp_compiler() -> Vec<Package> {
    vec![Package {
        name: "g++",
        there: on_path(&["c++", "g++"]),
    }]
}

/// Installs those packages that are not there, or says how to: all in one command.
pub fn install(wanted: &[Package]) -> Result<()> {
    let missing: Vec<_> = wanted
        .iter()
        .filter(|package| !package.there)
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    let is_root = capture(&mut command("id", &["-u"])).is_ok_and(|id| id.trim() == "0");
    if !is_root || !on_path(&["apt-get"]) {
        let install = format!("apt-get install -y --no-install-recommends {names}");
        let command = if on_path(&["sudo"]) {
            format!("sudo apt-get update && sudo {install}")
        } else {
            format!("su - -c 'apt-get update && {install}'")
        };
        bail!("{names} must be installed, which needs root. On Debian:\n\n    {command}\n");
    }
    step(&format!("apt-get: installing {names}"), || {
        run(command("apt-get", &["-qq", "update"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
        run(command(
            "apt-get",
            &["-qq", "install", "-y", "--no-install-recommends"],
        )
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    })
}

fn on_path(programs: &[&str]) -> bool {
    let Some(path) = std::env::var_os("PATH") else {
        return false;
    };
    std::env::split_paths(&path).any(|folder| {
        programs
            .iter()
            .any(|program| folder.join(program).is_file())
    })
}

/// Makes sure that `folder` is there, filled by `install`, which is given a folder
/// to fill that takes its place in the end.
fn installed(folder: &Path, install: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let _lock = stamp::lock(&folder.with_extension("lock"))?;
    if folder.exists() {
        return Ok(());
    }
    let staging = folder.with_extension("partial");
    if staging.exists() {
        fs::remove_dir_all(&staging)
            .with_context(|| format!("cannot remove {}", staging.display()))?;
    }
    fs::create_dir_all(&staging)
        .with_context(|| format!("cannot make the folder {}", staging.display()))?;
    install(&staging)?;
    fs::rename(&staging, folder).with_context(|| format!("cannot make {}", folder.display()))
}
