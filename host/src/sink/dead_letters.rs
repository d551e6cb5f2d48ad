//! Dead letters that no step or sink reads: `dead-letters/<step>.jsonl`, the envelope and its error a line.
//!
//! Bounded: a job whose every record fails must not fill the disk. What comes past the limit is counted only.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::format::envelope;
use crate::reach::Reach;
use crate::record::Batch;

use super::{Sink, SinkError, SinkWriter};

/// Most bytes of one step's dead letters.
pub const DEAD_LETTERS_BYTES_MAX: u64 = 1 << 30;

/// Appends to one step's file; clones share it, so all tasks of a step write whole lines to one file.
#[derive(Clone)]
pub struct DeadLetters {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    step: String,
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
    dropped: u64,
    reach: Reach,
    buffer: Vec<u8>,
}

impl DeadLetters {
    /// For `step`, in `folder`, if that is within reach. Nothing is made before the first letter.
    pub fn new(folder: &Path, step: &str, bytes_max: u64, reach: Reach) -> DeadLetters {
        DeadLetters {
            shared: Arc::new(Mutex::new(Shared {
                step: step.to_string(),
                path: folder.join(format!("{step}.jsonl")),
                file: None,
                bytes: 0,
                bytes_max,
                dropped: 0,
                reach,
                buffer: Vec::new(),
            })),
        }
    }

    /// Where they go.
    pub fn path(&self) -> PathBuf {
        self.shared.lock().path.clone()
    }

    /// Appends the records of a batch, which carry their errors.
    pub fn append(&self, mut batch: Batch) -> Result<(), SinkError> {
        let mut shared = self.shared.lock();
        let mut buffer = std::mem::take(&mut shared.buffer);
        buffer.clear();
        envelope::write_envelopes(&mut batch, &mut buffer);
        let result = shared.write(&buffer);
        shared.buffer = buffer;
        result.map_err(|e| {
            SinkError::new(
                &shared.step,
                format!(
                    "cannot write dead letters to {}: {e}",
                    shared.path.display()
                ),
            )
        })
    }

    /// Letters that were not written since the file is full.
    pub fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// Waits until what was written is on the medium: before a checkpoint that counts these records as done.
    pub fn sync(&self) -> Result<(), SinkError> {
        let shared = self.shared.lock();
        match &shared.file {
            Some(file) => file.sync_data().map_err(|e| {
                SinkError::new(
                    &shared.step,
                    format!(
                        "cannot write dead letters to {}: {e}",
                        shared.path.display()
                    ),
                )
            }),
            None => Ok(()),
        }
    }
}

impl Sink for DeadLetters {
    fn writer(&self, _task: usize) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

/// At least once: letters of an epoch that did not commit stay in the file, and come again.
impl SinkWriter for DeadLetters {
    fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        self.append(batch)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn prepare(&mut self, _epoch: u64) -> Result<serde_json::Value, SinkError> {
        self.sync()?;
        Ok(serde_json::Value::Null)
    }

    fn commit(&mut self, _epoch: u64, _prepared: &serde_json::Value) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Shared {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        if self.file.is_none() {
            let file = self.reach.append(&self.path)?;
            self.bytes = file.metadata()?.len();
            self.file = Some(file);
        }
        let mut fitting = lines;
        if self.bytes + lines.len() as u64 > self.bytes_max {
            let room =
                usize::try_from(self.bytes_max.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
            let end = memchr::memrchr(b'\n', &lines[..room.min(lines.len())]).map_or(0, |i| i + 1);
            self.dropped += memchr::memchr_iter(b'\n', &lines[end..]).count() as u64;
            fitting = &lines[..end];
        }
        let file = self.file.as_mut().expect("opened above");
        file.write_all(fitting)?;
        self.bytes += fitting.len() as u64;
        Ok(())
    }
}
