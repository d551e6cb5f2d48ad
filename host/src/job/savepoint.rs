//! Asking a running job for a savepoint: the asker's handle, and what the keeper of checkpoints is told.
//!
//! A savepoint is the copy of a checkpoint that the job takes for it at once, in whole files; or, when the job is to stop
//! with it, of its last one, behind which nothing is read any more.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::JobStatus;
use crate::checkpoint::CheckpointStore;
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::savepoint::{copy, default_place, open_empty};

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavepointRequest {
    /// A folder (of the machine where the job runs) or URL where nothing is; none: `savepoints/JOB-EPOCH` beside the
    /// checkpoints.
    #[serde(default)]
    pub to: Option<String>,
    /// Whether the job is to stop with it.
    #[serde(default)]
    pub stop: bool,
}

/// A savepoint that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Savepoint {
    /// The folder or URL: what `--restore` takes.
    pub place: String,
    /// The job.
    pub job: String,
    /// The checkpoint that it is.
    pub epoch: u64,
    /// When that was taken: milliseconds since 1970 UTC.
    pub taken_at: i64,
    /// Files of state.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whether the job stopped with it.
    pub stopped: bool,
}

/// Why there is no savepoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoSavepoint {
    /// The job takes no checkpoints.
    #[error(
        "the job has no [checkpoint], so nothing of it can be kept: give it one, and start it again"
    )]
    WithoutCheckpoints,
    /// The job is over, or about to be.
    #[error("the job is finishing: its last checkpoint has all that a savepoint would have")]
    Finishing,
    /// It could not be written. The job goes on.
    #[error("{0}")]
    Failed(String),
}

/// A request, and who waits for it.
pub struct Asked {
    /// What is wanted.
    pub request: SavepointRequest,
    /// Where the answer goes.
    pub reply: Sender<Result<Savepoint, NoSavepoint>>,
}

/// A cheap handle that asks a job for savepoints.
#[derive(Clone)]
pub struct Savepoints {
    pub(super) status: Arc<Mutex<JobStatus>>,
    /// None: the job takes no checkpoints.
    pub(super) ask: Option<Sender<Asked>>,
}

impl Savepoints {
    /// Of a job that takes no checkpoints.
    #[cfg(test)]
    pub fn none() -> Savepoints {
        Savepoints {
            status: Arc::new(Mutex::new(JobStatus::Running)),
            ask: None,
        }
    }

    /// Takes one: waits until it is there and was read back. An error leaves the job as it was, unless it was to stop.
    pub fn take(&self, request: SavepointRequest) -> Result<Savepoint, NoSavepoint> {
        let ask = self.ask.as_ref().ok_or(NoSavepoint::WithoutCheckpoints)?;
        if *self.status.lock() != JobStatus::Running {
            return Err(NoSavepoint::Finishing);
        }
        // Not to stop a job, and then find that its savepoint has no place.
        if let Some(to) = &request.to {
            open_empty(to).map_err(|e| NoSavepoint::Failed(e.to_string()))?;
        }
        let (reply, replied) = bounded(1);
        ask.send(Asked { request, reply })
            .map_err(|_| NoSavepoint::Finishing)?;
        // Nobody answers: the job was over before.
        replied.recv().unwrap_or(Err(NoSavepoint::Finishing))
    }
}

/// Copies a committed checkpoint for all who asked, and tells them. `is_last`: nothing comes behind it.
pub fn answer(store: &CheckpointStore, manifest: &Manifest, asked: Vec<Asked>, is_last: bool) {
    let job = &manifest.identity.job;
    for Asked { request, reply } in asked {
        let by_default = || default_place(store.place(), job, manifest.epoch);
        let mut place = request.to.unwrap_or_else(by_default);
        if !place.contains("://")
            && let Ok(absolute) = std::path::absolute(&place)
        {
            place = absolute.display().to_string();
        }
        let copied = copy(store, manifest, &place);
        let answer = copied
            .map(|copied| Savepoint {
                place,
                job: job.clone(),
                epoch: manifest.epoch,
                taken_at: manifest.taken_at,
                files: copied.files,
                bytes: copied.bytes,
                stopped: is_last,
            })
            .map_err(|e| NoSavepoint::Failed(e.to_string()));
        // Whoever asked may have gone away.
        let _ = reply.send(answer);
    }
}
