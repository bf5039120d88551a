//! Writes the list of files that go into the binary: the page and the package.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Folder and the path under which it is served.
const FOLDERS: [(&str, &str); 2] = [("../www", ""), ("../target/package/shoal", "/shoal")];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_EMBED").is_none() {
        return Ok(());
    }
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let list = PathBuf::from(variable("OUT_DIR")?).join("embedded.rs");
    let mut out = io::BufWriter::new(fs::File::create(list)?);
    writeln!(out, "static EMBEDDED: &[Embedded] = &[")?;
    for (folder, served) in FOLDERS {
        let folder = here.join(folder);
        // Cargo looks into the whole folder, so that new files are found too.
        println!("cargo::rerun-if-changed={}", folder.display());
        let folder = fs::canonicalize(&folder).map_err(|error| {
            let shown = folder.display();
            io::Error::other(format!("{shown}: {error}; use cargo xtask build"))
        })?;
        let mut files = Vec::new();
        collect(&folder, &mut files)?;
        files.sort();
        for file in files {
            let name = file.strip_prefix(&folder).map_err(io::Error::other)?;
            let name: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
            let path = format!("{served}/{}", name.join("/"));
            writeln!(out, "    ({path:?}, include_bytes!({file:?})),")?;
        }
    }
    writeln!(out, "];")?;
    out.flush()
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")))
}

/// All files under a folder but hidden ones.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
