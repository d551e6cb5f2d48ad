//! Batches given by the caller: for tests, benches, embedding and jobs driven by a script.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::config::plan::BatchLimits;
use crate::record::Batch;

use super::{PartitionReader, Position, Read, Source, SourceError};

/// Partitions of ready batches.
pub struct MemorySource {
    name: String,
    partitions: VecDeque<Vec<Batch>>,
    next: u32,
}

impl MemorySource {
    /// `partitions[p]` are the batches of partition p. They are handed out as they are, whatever the limits.
    pub fn new(name: &str, partitions: Vec<Vec<Batch>>) -> MemorySource {
        MemorySource {
            name: name.to_string(),
            partitions: partitions.into(),
            next: 0,
        }
    }
}

impl Source for MemorySource {
    fn discover(&mut self) -> Result<Vec<Box<dyn PartitionReader>>, SourceError> {
        let mut readers: Vec<Box<dyn PartitionReader>> = Vec::new();
        while let Some(batches) = self.partitions.pop_front() {
            readers.push(Box::new(MemoryReader::new(
                &self.name,
                self.next,
                batches.into(),
            )));
            self.next += 1;
        }
        Ok(readers)
    }
}

/// One partition of ready batches; clones of them share their columns, so reading copies nothing.
pub struct MemoryReader {
    source: String,
    name: String,
    partition: u32,
    batches: Arc<[Batch]>,
    next: usize,
}

impl MemoryReader {
    /// A reader at the first batch.
    pub fn new(source: &str, partition: u32, batches: Arc<[Batch]>) -> MemoryReader {
        MemoryReader {
            source: source.to_string(),
            name: format!("memory[{partition}]"),
            partition,
            batches,
            next: 0,
        }
    }
}

impl PartitionReader for MemoryReader {
    fn partition(&self) -> u32 {
        self.partition
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self, _limits: &BatchLimits) -> Result<Read, SourceError> {
        let Some(batch) = self.batches.get(self.next) else {
            return Ok(Read::End);
        };
        self.next += 1;
        Ok(Read::Batch(batch.clone(), Vec::new()))
    }

    fn position(&self) -> Position {
        Position(serde_json::json!({ "batch": self.next }))
    }

    fn seek(&mut self, position: &Position) -> Result<(), SourceError> {
        match position.0.get("batch").and_then(serde_json::Value::as_u64) {
            Some(next) if next as usize <= self.batches.len() => {
                self.next = next as usize;
                Ok(())
            }
            _ => Err(SourceError {
                source_name: self.source.clone(),
                message: format!(
                    "{}: not a position of these {} batches: {}",
                    self.name,
                    self.batches.len(),
                    position.0
                ),
            }),
        }
    }
}
