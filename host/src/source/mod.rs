//! Sources: partitions of records that can be read in batches, and sought where the medium allows.
//!
//! A reader answers raw batches (values and origins); keys, timestamps and watermarks are made by
//! the task that owns it. Readers never block for long: a thread of their own does, where the medium has no
//! other way (stdin).

use crate::config::plan::BatchLimits;
use crate::plugin::Rejected;
use crate::record::Batch;

/// What a reader answered.
#[derive(Debug)]
pub enum Read {
    /// Records, and rows that are none (bad CSV, not JSON, too long): those are not in the batch but in `bad`.
    Batch(Batch, Vec<BadRecord>),
    /// Nothing now; ask again after so many milliseconds.
    Pending(u64),
    /// No more for ever.
    End,
}

/// Bytes that did not become a record.
#[derive(Debug)]
pub struct BadRecord {
    /// As they stand in the source (cut to a bound).
    pub raw: Vec<u8>,
    /// Where: partition and offset (line).
    pub origin: crate::record::Origin,
    /// Why: `row` has no meaning here; the message names file and line.
    pub rejected: Rejected,
}

/// Where a partition stands: small JSON, stored in checkpoints. Must stay readable by later versions.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position(pub serde_json::Value);

/// One partition of a source.
pub trait PartitionReader: Send {
    /// Partition number within the source.
    fn partition(&self) -> u32;
    /// What people call it: a file's path, `stdin`, `generator[2]`.
    fn name(&self) -> &str;
    /// The next records.
    fn read(&mut self, limits: &BatchLimits) -> Result<Read, SourceError>;
    /// Position after the last record that was read.
    fn position(&self) -> Position;
    /// Goes on from a position of this or an earlier process.
    fn seek(&mut self, position: &Position) -> Result<(), SourceError>;
}

/// A source as a task sees it: finds partitions, now and (growing folders) later.
pub trait Source: Send {
    /// Partitions found since the last call, in a stable order.
    fn discover(&mut self) -> Result<Vec<Box<dyn PartitionReader>>, SourceError>;
    /// Whether more may be found later: how long to wait before asking again, milliseconds.
    fn discover_again_ms(&self) -> Option<u64> {
        None
    }
}

/// A source broke: the job ends.
#[derive(Debug, thiserror::Error)]
#[error("source {source_name}: {message}")]
pub struct SourceError {
    /// Name in the job.
    pub source_name: String,
    /// What, where, why.
    pub message: String,
}
