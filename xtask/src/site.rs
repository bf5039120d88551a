//! The site as the server embeds it: the page at its root, the package under `shoal/`, and
//! beside each file its compressed forms.
//!
//! Compressing as hard as the formats allow takes seconds for the WebAssembly, so a file is
//! compressed when it has changed and never while somebody waits for an answer. Node does it,
//! which a build needs anyway and which has the reference compressors inside.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::{command, run, step};
use crate::{package, paths, stamp, tools};

/// Endings of the compressed forms, as `compress.mjs` writes them and `signaling/build.rs`
/// looks for them.
const FORMS: [&str; 2] = ["br", "gz"];

/// A file to be compressed, and its place in the site.
struct Changed {
    source: PathBuf,
    target: PathBuf,
    bytes: Vec<u8>,
}

/// Builds the package and brings `target/site` up to date.
pub fn assemble() -> Result<()> {
    package::assemble()?;
    let (page, package) = (paths::root().join("www"), paths::package());
    bring_up_to_date(
        &paths::site(),
        &[(&page, ""), (&package, "shoal")],
        compress,
    )
}

/// Makes `site` hold the files of these folders, each in its place, and their compressed
/// forms, touching only what differs.
fn bring_up_to_date(
    site: &Path,
    folders: &[(&Path, &str)],
    compress: impl FnOnce(&[Changed]) -> Result<()>,
) -> Result<()> {
    let mut wanted = Vec::new();
    for (folder, place) in folders {
        for name in stamp::files(folder)? {
            if !is_hidden(&name) {
                wanted.push((folder.join(&name), Path::new(place).join(name)));
            }
        }
    }
    for name in stamp::files(site)? {
        let is_wanted = |name: &Path| wanted.iter().any(|(_, place)| place == name);
        let belongs = is_wanted(&name) || is_form(&name) && is_wanted(&name.with_extension(""));
        if !belongs {
            remove(&site.join(name))?;
        }
    }
    let mut changed = Vec::new();
    for (source, place) in wanted {
        let (target, bytes) = (site.join(place), stamp::read(&source)?);
        if !fs::read(&target).is_ok_and(|old| old == bytes) {
            // It goes first and comes last, so that the forms beside a file are always its own.
            remove(&target)?;
            changed.push(Changed {
                source,
                target,
                bytes,
            });
        }
    }
    if !changed.is_empty() {
        compress(&changed)?;
    }
    changed
        .iter()
        .try_for_each(|file| stamp::write(&file.target, &file.bytes))
}

fn compress(changed: &[Changed]) -> Result<()> {
    tools::node()?;
    step(
        &format!("node: compressing the site ({} changed)", changed.len()),
        || {
            let pairs = changed.iter().flat_map(|file| [&file.source, &file.target]);
            run(command("node", &["xtask/src/compress.mjs"]).args(pairs))
        },
    )
}

fn is_hidden(name: &Path) -> bool {
    name.iter()
        .any(|part| part.to_string_lossy().starts_with('.'))
}

fn is_form(name: &Path) -> bool {
    name.extension()
        .is_some_and(|ending| FORMS.iter().any(|form| ending == *form))
}

fn remove(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_its_forms_change_together_and_only_then() {
        let folder = std::env::temp_dir().join(format!("shoal-xtask-site-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        let (site, www, package) = (
            folder.join("site"),
            folder.join("www"),
            folder.join("package"),
        );
        let write = |path: PathBuf, text: &str| stamp::write(&path, text.as_bytes()).unwrap();
        // Returns what had to be compressed, and the files of the site afterwards.
        let build = || {
            let mut compressed = Vec::new();
            let compress = |changed: &[Changed]| {
                for file in changed {
                    assert!(!file.target.exists());
                    let text = fs::read_to_string(&file.source)?;
                    write(file.target.with_added_extension("br"), &text[..1]);
                    compressed.push(text);
                }
                Ok(())
            };
            bring_up_to_date(&site, &[(&www, ""), (&package, "shoal")], compress).unwrap();
            let files = stamp::files(&site).unwrap();
            let names = files.iter().map(|name| name.to_str().unwrap().to_owned());
            (compressed.join(" "), names.collect::<Vec<_>>().join(" "))
        };
        let text = |name: &str| fs::read_to_string(site.join(name)).unwrap();

        write(www.join("a.js"), "old");
        write(www.join(".hidden"), "x");
        write(package.join("b.js"), "same");
        let all = "a.js a.js.br shoal/b.js shoal/b.js.br";
        assert_eq!(build(), ("old same".into(), all.into()));
        assert_eq!(build(), (String::new(), all.into()));

        write(www.join("a.js"), "new");
        assert_eq!(build(), ("new".into(), all.into()));
        assert_eq!((text("a.js"), text("a.js.br")), ("new".into(), "n".into()));

        // Cut off while it was compressed.
        fs::remove_file(site.join("a.js")).unwrap();
        assert_eq!(build(), ("new".into(), all.into()));

        fs::remove_file(www.join("a.js")).unwrap();
        let rest = "shoal/b.js shoal/b.js.br";
        assert_eq!(build(), (String::new(), rest.into()));
        fs::remove_dir_all(&folder).unwrap();
    }
}
