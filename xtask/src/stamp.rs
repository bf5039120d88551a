//! Nothing is done twice: steps remember a hash of what they read, files are
//! written only where their content differs, and one build runs at a time.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::paths;

/// Gathers all that a step's result depends on.
pub struct Inputs(blake3::Hasher);

impl Inputs {
    /// Starts with what is not in a file: versions and flags.
    pub fn new(words: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for word in words {
            hasher
                .update(&(word.len() as u64).to_le_bytes())
                .update(word.as_bytes());
        }
        Self(hasher)
    }

    /// Adds the bytes of a file.
    pub fn file(mut self, path: &Path) -> Result<Self> {
        let bytes = read(path)?;
        self.0
            .update(&(bytes.len() as u64).to_le_bytes())
            .update(&bytes);
        Ok(self)
    }

    /// Runs `work` unless it has succeeded before on these very inputs and all of
    /// `outputs` are still there. Returns whether it ran.
    pub fn unless_done(
        self,
        name: &str,
        outputs: &[&Path],
        work: impl FnOnce() -> Result<()>,
    ) -> Result<bool> {
        let stamp = paths::state().join(format!("{name}.stamp"));
        self.unless_stamped(&stamp, outputs, work)
    }

    /// As [`Self::unless_done`], with the stamp in a place of its own.
    pub fn unless_stamped(
        self,
        stamp: &Path,
        outputs: &[&Path],
        work: impl FnOnce() -> Result<()>,
    ) -> Result<bool> {
        let hash = self.0.finalize().to_hex();
        let done = fs::read_to_string(stamp).is_ok_and(|old| old == hash.as_str());
        if done && outputs.iter().all(|path| path.exists()) {
            return Ok(false);
        }
        work()?;
        write(stamp, hash.as_bytes())?;
        Ok(true)
    }
}

/// Reads a file; the error names it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file and the folders above it, unless its content is this already.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// The files below a folder as paths relative to it, sorted. No folder, no files.
pub fn files(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = match fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot list {}", next.display()));
            }
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(folder)?.to_owned());
            }
        }
    }
    Ok(found)
}

/// Held while something is built or installed, so that two commands started at
/// once do not write the same files.
pub fn lock(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!(
                "==> waiting for another `cargo xtask` to finish ({})",
                path.display()
            );
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("shoal-xtask-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        folder
    }

    #[test]
    fn a_step_runs_again_only_when_its_inputs_differ_or_its_output_is_gone() {
        let folder = folder("stamp");
        let (stamp, output) = (folder.join("a.stamp"), folder.join("out"));
        let step = |word: &str| {
            Inputs::new(&[word])
                .unless_stamped(&stamp, &[&output], || write(&output, b"made"))
                .unwrap()
        };
        assert!(step("one"));
        assert!(!step("one"));
        assert!(step("two"));
        fs::remove_file(&output).unwrap();
        assert!(step("two"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn equal_content_is_not_written_again() {
        let folder = folder("write");
        let path = folder.join("deep/file");
        write(&path, b"same").unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        write(&path, b"same").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert_eq!(
            files(&folder).unwrap().into_iter().collect::<Vec<_>>(),
            [PathBuf::from("deep/file")]
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
