//! Shows that a build with nothing changed does nothing, and is over at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use crate::process::{cargo_as_called, run};
use crate::{paths, stamp};

/// How long it may take: what nobody minds before each run. Half a second was measured, on
/// two cores.
const WITHIN: Duration = Duration::from_secs(5);

/// Runs `cargo xtask build` after a build; fails if it writes anything or takes long.
pub fn does_nothing() -> Result<()> {
    let before = written()?;
    let start = Instant::now();
    run(&mut cargo_as_called(&["xtask", "build"]))?;
    let took = start.elapsed();
    let changed = differences(&before, &written()?);
    if !changed.is_empty() {
        bail!(
            "it wrote, though nothing had changed:\n{}",
            changed.join("\n")
        );
    }
    if took > WITHIN {
        bail!(
            "it took {:.1} s, and may take {} s",
            took.as_secs_f32(),
            WITHIN.as_secs()
        );
    }
    eprintln!("    {} files as they were", before.len());
    Ok(())
}

/// What a build leaves, and when each file was written.
fn written() -> Result<BTreeMap<PathBuf, SystemTime>> {
    let mut files = vec![paths::server()];
    for folder in [paths::package(), paths::site()] {
        let names = stamp::files(&folder)?.into_iter();
        files.extend(names.map(|name| folder.join(name)));
    }
    let modified = |path: PathBuf| {
        let time = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let time = time.with_context(|| format!("{} was not built", path.display()))?;
        Ok((path, time))
    };
    files.into_iter().map(modified).collect()
}

/// The files that are not in both, or not as old.
fn differences(
    before: &BTreeMap<PathBuf, SystemTime>,
    after: &BTreeMap<PathBuf, SystemTime>,
) -> Vec<String> {
    let mut changed: Vec<_> = before
        .iter()
        .filter(|(path, time)| after.get(*path) != Some(time))
        .chain(after.iter().filter(|(path, _)| !before.contains_key(*path)))
        .map(|(path, _)| format!("    {}", path.display()))
        .collect();
    changed.sort();
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rewritten_new_or_gone_is_told() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let files = |files: &[(&str, u64)]| -> BTreeMap<_, _> {
            let file = |(name, seconds): &(&str, u64)| (PathBuf::from(name), at(*seconds));
            files.iter().map(file).collect()
        };
        let before = files(&[("gone", 1), ("rewritten", 1), ("same", 1)]);
        let after = files(&[("new", 2), ("rewritten", 2), ("same", 1)]);
        assert_eq!(
            differences(&before, &after),
            ["    gone", "    new", "    rewritten"]
        );
        assert!(differences(&before, &before).is_empty());
    }
}
