//! Where checkpoints are that a command is about: given as a job file, a folder, a URL or a manifest.

use std::path::Path;

use super::Exit;
use super::check::show_problems;
use crate::checkpoint::CheckpointStore;
use crate::checkpoint::store::epoch_of;
use crate::config::checkpoint_place;

/// A place of checkpoints, and maybe one of them.
pub struct Where {
    /// The folder or URL.
    pub place: String,
    /// Named with it.
    pub epoch: Option<u64>,
}

/// Prints why nothing is done.
pub fn refuse(why: &str) -> Exit {
    super::style::tell("error:", &crate::config::conceal(why));
    Exit::Refused
}

impl Where {
    /// Reads what was typed. What is wrong was shown.
    pub fn find(typed: &str, overrides: &[String]) -> Result<Where, Exit> {
        let typed = match typed.trim_end_matches('/') {
            "" => typed,
            trimmed => trimmed,
        };
        let manifest = match typed.rsplit_once('/') {
            Some((place, name)) => epoch_of(name).map(|epoch| (place, epoch)),
            None => epoch_of(typed).map(|epoch| (".", epoch)),
        };
        if let Some((place, epoch)) = manifest {
            return Ok(Where {
                place: place.to_owned(),
                epoch: Some(epoch),
            });
        }
        let whole = |place: String| Where { place, epoch: None };
        if typed.contains("://") {
            return Ok(whole(typed.to_owned()));
        }
        let path = Path::new(typed);
        let meta = std::fs::metadata(path).map_err(|e| {
            refuse(&format!(
                "{typed}: {e}; it takes a job file, a folder of checkpoints or s3://bucket/prefix"
            ))
        })?;
        if meta.is_dir() {
            return Ok(whole(typed.to_owned()));
        }
        match checkpoint_place(path, overrides) {
            Ok(Some(place)) => Ok(whole(place)),
            Ok(None) => Err(refuse(&format!(
                "{typed}: the job has no [checkpoint], so nothing of it is kept"
            ))),
            Err(problems) => Err(show_problems(&problems)),
        }
    }

    /// Opens it, only to read.
    pub fn open(&self) -> Result<CheckpointStore, Exit> {
        CheckpointStore::read_only(&self.place).map_err(|e| refuse(&e.to_string()))
    }
}
