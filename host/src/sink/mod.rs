//! Sinks: where results go. Each task has its own writer per sink.

use crate::record::Batch;

/// Writes the records of one task.
pub trait SinkWriter: Send {
    /// Takes records. They may stay in memory until `flush`.
    fn write(&mut self, batch: Batch) -> Result<(), SinkError>;
    /// What was written is handed to the medium; called at boundaries without backlog, and before a
    /// checkpoint.
    fn flush(&mut self) -> Result<(), SinkError>;
    /// Ends an epoch: parts written so far are closed; the answer says how to publish them (a small JSON
    /// value that goes into the manifest). Sinks without transactions flush and answer null.
    fn prepare(&mut self, epoch: u64) -> Result<serde_json::Value, SinkError>;
    /// Makes what `prepare` answered visible. May be called again after a crash: idempotent.
    fn commit(&mut self, epoch: u64, prepared: &serde_json::Value) -> Result<(), SinkError>;
    /// Processing time passed: roll parts that are old. Now in milliseconds.
    fn on_time(&mut self, now: i64) -> Result<(), SinkError> {
        let _ = now;
        Ok(())
    }
}

/// A sink broke: the job ends, and what was committed stays whole.
#[derive(Debug, thiserror::Error)]
#[error("sink {sink}: {message}")]
pub struct SinkError {
    /// Name in the job.
    pub sink: String,
    /// What, where, why.
    pub message: String,
}
