//! Counts and drops: for benches, and for jobs whose use is in their counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::Batch;

use super::{Sink, SinkError, SinkWriter};

/// Drops all records; clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Blackhole {
    records: Arc<AtomicU64>,
}

impl Blackhole {
    /// Records so far, over all writers.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }
}

impl Sink for Blackhole {
    fn writer(&self, _task: usize) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for Blackhole {
    fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        self.records.fetch_add(batch.len as u64, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn prepare(&mut self, _epoch: u64) -> Result<serde_json::Value, SinkError> {
        Ok(serde_json::Value::Null)
    }

    fn commit(&mut self, _epoch: u64, _prepared: &serde_json::Value) -> Result<(), SinkError> {
        Ok(())
    }
}
