//! State beyond memory: where a step's entries go when the job's budget is used up, and who has to give way.
//!
//! A `Vault` is a log-structured store of one step in one task: sorted runs of entries in files, with fences and a
//! Bloom filter of each run in memory. It is scratch: made empty, never synced, never recovered from (checkpoints
//! are), and gone with the job. It fits how steps spill: entries leave by the thousand in order of their names, are
//! looked up by the batch, and go by whole windows. `budget` decides, purely, who spills how much.
//!
//! Nothing here knows what an entry means, and no lock is held while files are read or written.

mod block;
mod bloom;
mod budget;
mod file;
mod merge;
mod run;
mod scratch;
mod vault;

pub use budget::{
    Decision, KEY_BYTES_DEFAULT, Ledger, MEMORY_DEFAULT, StateBudget, VALUE_BYTES_DEFAULT,
};
pub use file::ScratchFile;
pub use scratch::Scratch;
pub use vault::{Entry, Eviction, Vault};

use std::path::{Path, PathBuf};

/// Why spilled state cannot be written or read. It ends the job; its checkpoints stay good.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// No space is left.
    #[error(
        "no space is left in {} for state beyond [state] memory: free some, name a folder on another disk with [state] path, or raise [state] memory",
        .0.display()
    )]
    Full(PathBuf),
    /// A key has more than it may.
    #[error(
        "what it keeps of one key takes {bytes} bytes, more than [state] value-max ({bytes_max}): raise it, or keep less of a key (a shorter window, ttl or bound); the key starts with {key:?}"
    )]
    ValueTooLarge {
        /// How its key starts.
        key: String,
        /// Bytes of it.
        bytes: u64,
        /// Bytes allowed.
        bytes_max: u64,
    },
    /// A file cannot be read or written.
    #[error("cannot {what} state spilled to {}: {source}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file does not hold what was written.
    #[error("state spilled to {} was changed on disk: {what}", .path.display())]
    Broken {
        /// What is wrong.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
}

impl SpillError {
    fn io(what: &'static str, path: &Path, source: std::io::Error) -> SpillError {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                SpillError::Full(path.parent().unwrap_or(path).to_owned())
            }
            _ => SpillError::Io {
                what,
                path: path.to_owned(),
                source,
            },
        }
    }
}

/// For tests of steps: an empty vault in a folder of the test's own.
#[cfg(test)]
pub(crate) fn test_vault() -> Vault {
    use std::sync::{Arc, LazyLock};
    static FOLDER: LazyLock<tempfile::TempDir> =
        LazyLock::new(|| tempfile::tempdir().expect("a folder for tests"));
    static SCRATCH: LazyLock<Arc<Scratch>> =
        LazyLock::new(|| Arc::new(Scratch::new(FOLDER.path(), "model")));
    Vault::new(Arc::clone(&SCRATCH), "step", 0)
}

#[cfg(test)]
mod tests;
