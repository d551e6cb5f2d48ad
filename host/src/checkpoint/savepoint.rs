//! Savepoints: checkpoints that are copied to a place of their own, with all their files, and that nothing cleans away.
//!
//! A savepoint is a folder (or a prefix of a bucket) like any with one checkpoint in it: `--restore`, `checkpoint
//! inspect` and `verify` take it as it is, and it may be moved and copied. It counts once its manifest is there, which is
//! put last; it is read back before anyone is told that it is there.

use std::path::Path;

use super::CheckpointStore;
use super::far::LARGE;
use super::manifest::Manifest;
use super::store::{StoreError, Unread};
use super::verify::damage;

/// Why there is no savepoint.
#[derive(Debug, thiserror::Error)]
pub enum SavepointError {
    /// Something is there already.
    #[error(
        "{0}: there is something already; a savepoint takes a folder that is empty or not there"
    )]
    Occupied(String),
    /// The place, or the one copied from, did not do it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What is copied, or what was written, does not read.
    #[error("{0}")]
    Damaged(String),
}

/// A savepoint that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Files of state.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Where a savepoint goes when nobody says: `savepoints/JOB-EPOCH` beside the folder (or prefix) of checkpoints.
pub fn default_place(checkpoints: &str, job: &str, epoch: u64) -> String {
    let name = format!("savepoints/{job}-{epoch:010}");
    let (scheme, path) = match checkpoints.split_once("://") {
        Some((scheme, path)) => (format!("{scheme}://"), path),
        None => (String::new(), checkpoints),
    };
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some((beside, _)) => format!("{scheme}{beside}/{name}"),
        // A bucket without a prefix has nothing beside it.
        None if !scheme.is_empty() => format!("{scheme}{path}/{name}"),
        None => name,
    }
}

/// Copies a committed checkpoint and all its files to a place where nothing is, and reads them back.
pub fn copy(
    from: &CheckpointStore,
    manifest: &Manifest,
    to: &str,
) -> Result<Copied, SavepointError> {
    let target = open_empty(to)?;
    let copied = fill(from, manifest, &target);
    if copied.is_err() {
        // Half a savepoint is none; what cannot be removed has no manifest, and so is not read by anyone.
        for file in &manifest.files {
            let _ = target.remove(&file.name);
        }
    }
    copied
}

/// Opens a place where nothing is; a folder is made. For who wants to know before a job is stopped, too.
pub fn open_empty(place: &str) -> Result<CheckpointStore, SavepointError> {
    let occupied = || SavepointError::Occupied(place.to_owned());
    if !place.contains("://") && is_occupied(Path::new(place)) {
        return Err(occupied());
    }
    let target = CheckpointStore::new_place(place)?;
    match target.epochs()?[..] {
        [] => Ok(target),
        [..] => Err(occupied()),
    }
}

fn fill(
    from: &CheckpointStore,
    manifest: &Manifest,
    target: &CheckpointStore,
) -> Result<Copied, SavepointError> {
    let unread = |e: Unread| match e {
        Unread::Damaged(why) => SavepointError::Damaged(why),
        Unread::Failed(e) => SavepointError::Store(e),
    };
    for file in &manifest.files {
        if file.bytes >= LARGE {
            let far = from.far(file).map_err(unread)?;
            target.put_state_from(&file.name, &far)?;
        } else {
            let (bytes, _) = from.read_state(file).map_err(unread)?;
            target.put_state(&file.name, &bytes)?;
        }
    }
    // What the sinks had prepared is published by now: whoever starts from here has nothing to publish.
    let manifest = Manifest {
        prepared: Vec::new(),
        ..manifest.clone()
    };
    target.write_manifest(&manifest)?;
    let written = target.manifest(manifest.epoch)?;
    let mut wrong = damage(target, &written)?;
    // (What is not written, such as whether a plugin migrates, is not compared.)
    if written.encode() != manifest.encode() {
        wrong.push("its manifest reads otherwise than it was written".into());
    }
    if !wrong.is_empty() {
        let name = super::store::manifest_name(manifest.epoch);
        let _ = target.remove(&name);
        return Err(SavepointError::Damaged(format!(
            "what was written to {} is damaged: {}",
            target.place(),
            wrong.join("; ")
        )));
    }
    Ok(Copied {
        files: manifest.files.len(),
        bytes: manifest.files.iter().map(|f| f.bytes).sum(),
    })
}

/// Whether something is there. What cannot be looked into shows when it is opened.
fn is_occupied(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savepoints_go_beside_the_checkpoints_when_nobody_says_where() {
        for (checkpoints, expected) in [
            ("checkpoints", "savepoints/j-0000000007"),
            ("/a/b/checkpoints", "/a/b/savepoints/j-0000000007"),
            ("a/checkpoints/", "a/savepoints/j-0000000007"),
            ("s3://bucket", "s3://bucket/savepoints/j-0000000007"),
            ("s3://bucket/x", "s3://bucket/savepoints/j-0000000007"),
            ("s3://bucket/x/y", "s3://bucket/x/savepoints/j-0000000007"),
        ] {
            assert_eq!(default_place(checkpoints, "j", 7), expected);
        }
    }
}
