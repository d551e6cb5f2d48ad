//! Sinks: where results go. Each task has its own writer per sink.
//!
//! A sink is opened once per run (`open`), told what a checkpoint says (`Sink::recover`), and then gives each
//! task its writer. At the end of a run, with or without checkpoints, `prepare` and `commit` make the
//! last records visible.

pub mod blackhole;
mod confined;
pub mod console;
pub mod dead_letters;
mod direct;
pub mod encode;
pub mod file;
pub mod folder;
pub mod kafka;
pub mod memory;
pub mod parts;
pub mod table;

pub use console::Console;

use crate::config::plan::{SinkConnector, SinkPlan};
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

/// A sink of one run.
pub trait Sink: Send + Sync {
    /// Before the first writer, when a run goes on from a checkpoint: what all writers of that epoch
    /// answered to `prepare` is published, if it was not, and everything that came after it is set aside.
    fn recover(&self, epoch: u64, prepared: &[serde_json::Value]) -> Result<(), SinkError> {
        let _ = (epoch, prepared);
        Ok(())
    }
    /// When a job had finished, and is started again: what its last checkpoint prepared and is still hidden is
    /// published. What is gone was there once: whoever read it took it away.
    fn publish_left(&self, prepared: &[serde_json::Value]) -> Result<(), SinkError> {
        let _ = prepared;
        Ok(())
    }
    /// The job failed: writers that wait for something outside give up. May be called at any time.
    fn abort(&self) {}
    /// The writer of a task.
    fn writer(&self, task: usize) -> Result<Box<dyn SinkWriter>, SinkError>;
}

/// What the sinks of one run share.
#[derive(Clone)]
pub struct SinkRun {
    /// Names the run; a run that goes on from a checkpoint has the id of the run that wrote it.
    pub id: String,
    /// Whether epochs are committed on the way. If not, parts are published when they roll.
    pub checkpoints: bool,
    /// Number of the first epoch to come: 1, or the restored one + 1. 0 without checkpoints.
    pub first_epoch: u64,
    /// Standard output.
    pub console: Console,
    /// Transactions of the job, where a sink is to be exactly once by them.
    pub transactions: Option<std::sync::Arc<kafka::Transactions>>,
}

/// The sink of a plan.
pub fn open(plan: &SinkPlan, run: &SinkRun) -> Result<Box<dyn Sink>, SinkError> {
    Ok(match &plan.connector {
        SinkConnector::Console(format) => Box::new(console::ConsoleSink::new(
            &plan.name,
            *format,
            run.console.clone(),
        )),
        SinkConnector::File {
            path,
            format,
            roll_bytes,
            roll_every_ms,
            overwrite,
            reach,
        } => {
            let settings = file::FileSettings {
                format: *format,
                roll_bytes: *roll_bytes,
                roll_every_ms: *roll_every_ms,
                overwrite: *overwrite,
            };
            let folder: std::sync::Arc<dyn folder::Folder> = match reach.is_bounded() {
                true => std::sync::Arc::new(confined::ConfinedFolder::new(path, reach.clone())),
                false => std::sync::Arc::new(folder::OsFolder::new(path)),
            };
            Box::new(file::FileSink::open(
                &plan.name, path, folder, settings, run,
            )?)
        }
        SinkConnector::Kafka(kafka) => Box::new(kafka::KafkaSink::open(
            &plan.name,
            kafka,
            run.transactions.as_ref(),
        )?),
        SinkConnector::Blackhole => Box::new(blackhole::Blackhole::default()),
    })
}

/// A sink broke: the job ends, and what was committed stays whole.
#[derive(Debug, thiserror::Error)]
#[error("sink {sink}: {message}")]
pub struct SinkError {
    /// Name in the job.
    pub sink: String,
    /// What, where, why.
    pub message: String,
    /// Whoever read the output went away (`| head`): the job ends, but nothing is wrong.
    pub reader_gone: bool,
    /// Started anew from what is committed, the job may well go on.
    pub again: bool,
}

impl SinkError {
    /// Something is wrong.
    pub fn new(sink: &str, message: impl Into<String>) -> SinkError {
        SinkError {
            sink: sink.to_string(),
            message: message.into(),
            reader_gone: false,
            again: false,
        }
    }
}

#[cfg(test)]
mod tests;
