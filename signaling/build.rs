//! Writes the list of files that go into the binary, each with its compressed forms.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The page and the package as they are served, made by `cargo xtask build`. A compressed
/// form lies beside its file, under the same name and one of [`FORMS`].
const SITE: &str = "../target/site";

/// Fields of `Embedded` and the endings of their files.
const FORMS: [(&str, &str); 2] = [("brotli", "br"), ("gzip", "gz")];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_EMBED").is_none() {
        return Ok(());
    }
    let site = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join(SITE);
    // Cargo looks into the whole folder, so that new files are found too.
    println!("cargo::rerun-if-changed={}", site.display());
    let site = fs::canonicalize(&site).map_err(|error| {
        let shown = site.display();
        io::Error::other(format!("{shown}: {error}; use cargo xtask build"))
    })?;
    let mut files = Vec::new();
    collect(&site, &mut files)?;
    files.sort();

    let list = PathBuf::from(variable("OUT_DIR")?).join("embedded.rs");
    let mut out = io::BufWriter::new(fs::File::create(list)?);
    writeln!(out, "static EMBEDDED: &[Embedded] = &[")?;
    for file in files.iter().filter(|file| !is_form(file)) {
        let name = file.strip_prefix(&site).map_err(io::Error::other)?;
        let name: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
        let path = format!("/{}", name.join("/"));
        writeln!(out, "    Embedded {{ path: {path:?},")?;
        writeln!(out, "        identity: include_bytes!({file:?}),")?;
        for (field, ending) in FORMS {
            let form = file.with_added_extension(ending);
            if files.binary_search(&form).is_ok() {
                writeln!(out, "        {field}: Some(include_bytes!({form:?})),")?;
            } else {
                writeln!(out, "        {field}: None,")?;
            }
        }
        writeln!(out, "    }},")?;
    }
    writeln!(out, "];")?;
    out.flush()
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")))
}

fn is_form(file: &Path) -> bool {
    FORMS
        .iter()
        .any(|(_, ending)| file.extension().is_some_and(|found| found == *ending))
}

/// All files under a folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
