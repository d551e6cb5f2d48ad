//! Cases made of files, as `tests/README.md` tells of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Script cases give the same at each of these, unless a file `parallelism` says otherwise.
pub const PARALLELISM: &str = "1 2 7";

/// The folders in a folder, by name.
pub fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("read {}: {e}", folder.display()));
    let mut found: Vec<PathBuf> = entries
        .map(|e| e.expect("a readable folder").path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// A file of the case, if it has one.
pub fn file(case: &Path, name: &str) -> Result<Option<String>> {
    let path = case.join(name);
    if !path.exists() {
        return Ok(None);
    }
    fs::read_to_string(&path)
        .with_context(|| format!("read {}", path.display()))
        .map(Some)
}

/// Copies a folder with all in it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
