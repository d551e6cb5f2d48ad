//! Speaking to a running `wasmill run` on this machine: a Unix socket, a line of JSON each way.
//!
//! The socket has a name that follows from the job's place of checkpoints (of a bucket, with the store's address), in a folder that
//! is this user's alone (`$WASMILL_RUNTIME_DIR`, or `wasmill-UID` in the folder of temporary files), and mode 0600. It is not put beside the
//! checkpoints: those may be in a bucket, on a file system without sockets, or under a path too long for one. Who may
//! reach it may do what this user may do; there is no other authority here, and no network.
//!
//! | request | answer |
//! |---|---|
//! | `{"savepoint":{"to":PATH or null,"stop":false}}` | `{"savepoint":{"place":…,"epoch":…}}` |
//! | | `{"no-savepoint":"finishing"}`, `{"no-savepoint":{"failed":WHY}}` |
//! | no question | `{"refused":WHY}` |

mod client;
mod folder;
mod server;

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::storage::Place;
use crate::job::{NoSavepoint, Savepoint, SavepointRequest};

pub use client::{AskError, ask};
pub use server::Server;

/// Bytes of a line: paths are short, and nothing else is long.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Take a savepoint.
    Savepoint(SavepointRequest),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is there.
    Savepoint(Savepoint),
    /// The job did not do it.
    NoSavepoint(NoSavepoint),
    /// The question was no question, or there are too many at once.
    Refused(String),
}

/// Where the process listens that runs the job with these checkpoints (a folder or URL).
pub fn socket_of(checkpoints: &str) -> PathBuf {
    // What is no place has no job either.
    let named = Place::parse(checkpoints).map_or_else(|_| checkpoints.into(), |p| p.full_name());
    let name = xxhash_rust::xxh3::xxh3_64(named.as_bytes());
    runtime_folder().join(format!("{name:016x}.sock"))
}

fn runtime_folder() -> PathBuf {
    match std::env::var_os("WASMILL_RUNTIME_DIR").filter(|v| !v.is_empty()) {
        Some(folder) => folder.into(),
        None => std::env::temp_dir().join(format!("wasmill-{}", uid())),
    }
}

fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Makes the folder of sockets; one that others may write to is refused, for they could stand in for a job.
fn make_folder(folder: &Path) -> Result<(), String> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    let meta = std::fs::symlink_metadata(folder)
        .map_err(|e| format!("cannot look at {}: {e}", folder.display()))?;
    let is_ours = meta.is_dir() && meta.uid() == uid() && meta.mode() & 0o022 == 0;
    if is_ours {
        return Ok(());
    }
    Err(format!(
        "{} is not a folder that only this user can write to: set WASMILL_RUNTIME_DIR to one",
        folder.display()
    ))
}
