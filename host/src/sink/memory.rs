//! Keeps what is written: for tests and embedding.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::record::Batch;

use super::{Sink, SinkError, SinkWriter};

/// All batches, with the task that wrote them, in order of arrival; clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemorySink {
    batches: Arc<Mutex<Vec<(usize, Batch)>>>,
}

impl MemorySink {
    /// Takes out what was written so far.
    pub fn take(&self) -> Vec<(usize, Batch)> {
        std::mem::take(&mut *self.batches.lock())
    }
}

impl Sink for MemorySink {
    fn writer(&self, task: usize) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(MemoryWriter {
            task,
            sink: self.clone(),
        }))
    }
}

struct MemoryWriter {
    task: usize,
    sink: MemorySink,
}

impl SinkWriter for MemoryWriter {
    fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        self.sink.batches.lock().push((self.task, batch));
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
