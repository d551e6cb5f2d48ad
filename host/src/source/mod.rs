//! Sources: partitions of records that can be read in batches, and sought where the medium allows.
//!
//! A reader answers raw batches (values and origins); keys, timestamps and watermarks are made by
//! the task that owns it. Readers never block for long: a thread of their own does, where the medium has no
//! other way (stdin).

pub mod block_reader;
pub mod blocks;
pub mod cut;
pub mod file;
pub mod file_reader;
pub mod generator;
pub mod identity;
pub mod kafka;
pub mod lines;
pub mod memory;
pub mod pump;
pub mod rows;
pub mod stdin;
pub mod stream;
pub mod table;
pub mod template;
pub mod whole;

pub use memory::MemorySource;
pub use table::read_all;
pub use template::GeneratorTemplate;

use crate::config::plan::{BatchLimits, SourceConnector, SourcePlan};
use crate::plugin::Rejected;
use crate::record::{Batch, NodeIndex, Origin};
use crate::time::Clock;

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
    /// What its offsets count, for people: `line`, `record`, `offset`.
    fn counts(&self) -> &'static str {
        "offset"
    }
    /// The next records.
    fn read(&mut self, limits: &BatchLimits) -> Result<Read, SourceError>;
    /// Where a record of the batch read last stands, for people: file and line, where there are such.
    fn locate(&mut self, row: usize, origin: Origin) -> String {
        let _ = row;
        format!("{}:{}", self.name(), origin.offset)
    }
    /// Position after the last record that was read.
    fn position(&self) -> Position;
    /// Goes on from a position of this or an earlier process.
    fn seek(&mut self, position: &Position) -> Result<(), SourceError>;
    /// Records between the position and the end of the partition, where that is known.
    fn lag(&self) -> Option<u64> {
        None
    }
    /// What a user must know of what happened since the last call (records that were gone …).
    fn take_notes(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Hears of positions once a checkpoint has them: a place outside the job where others look for them.
pub trait Committed: Send + Sync {
    /// These are durable. Must not wait.
    fn committed(&self, positions: &[Position]);
}

/// A source as a task sees it: finds partitions, now and (growing folders) later.
pub trait Source: Send {
    /// Partitions found since the last call, in a stable order.
    fn discover(&mut self) -> Result<Vec<Box<dyn PartitionReader>>, SourceError>;
    /// Whether more may be found later: how long to wait before asking again, milliseconds.
    fn discover_again_ms(&self) -> Option<u64> {
        None
    }
    /// Before the first `discover`, when a job goes on from a checkpoint: the partitions that it had, so
    /// that they keep their numbers. Each reader still has to be sought to its position.
    fn restore(&mut self, known: &[(u32, Position)]) -> Result<(), SourceError> {
        let _ = known;
        Ok(())
    }
    /// What a user should know about how this source is read (a file that could not be split …).
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
    /// Who hears of positions that a checkpoint has; asked after the first `discover`.
    fn committed(&self) -> Option<std::sync::Arc<dyn Committed>> {
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

/// The source of a plan. Nothing is read or looked for before `discover`. `clock` is for rates only.
pub fn open(
    plan: &SourcePlan,
    index: NodeIndex,
    clock: &Clock,
) -> Result<Box<dyn Source>, SourceError> {
    check(plan).map_err(|message| SourceError {
        source_name: plan.name.clone(),
        message,
    })?;
    Ok(match &plan.connector {
        SourceConnector::File { .. } => Box::new(file::FileSource::new(plan, index)),
        SourceConnector::Kafka(kafka) => {
            Box::new(kafka::KafkaSource::new(&plan.name, kafka, index))
        }
        SourceConnector::Stdin => Box::new(stdin::StdinSource::new(plan, index)),
        SourceConnector::Generator(spec) => Box::new(generator::GeneratorSource::new(
            &plan.name,
            spec,
            index,
            clock.clone(),
        )?),
    })
}

/// What can be said about a source without reading from it: globs, templates, settings that exclude each other.
pub fn check(plan: &SourcePlan) -> Result<(), String> {
    match &plan.connector {
        SourceConnector::File {
            pattern,
            partitions,
            watch_ms,
            ..
        } => {
            file::check_pattern(pattern)?;
            if partitions.is_some() && watch_ms.is_some() {
                return Err("`partitions` cannot be set together with `watch`: a growing file has no fixed blocks; \
                            without `partitions`, each file is a partition"
                    .to_string());
            }
            Ok(())
        }
        SourceConnector::Stdin | SourceConnector::Kafka(_) => Ok(()),
        SourceConnector::Generator(spec) => match &spec.template {
            Some(template) => GeneratorTemplate::parse(template).map(|_| ()),
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod split_tests;
