//! A file of bytes that memory is too small for: written once from front to back, and read anywhere.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::SpillError;
use super::scratch::Scratch;

/// The file: made when something is written, and gone with what holds it.
#[derive(Debug)]
pub struct ScratchFile {
    scratch: Arc<Scratch>,
    step: String,
    task: usize,
    file: Option<(File, PathBuf)>,
    len: u64,
}

impl ScratchFile {
    /// An empty one, for a step in a task.
    pub fn new(scratch: Arc<Scratch>, step: &str, task: usize) -> ScratchFile {
        ScratchFile {
            scratch,
            step: step.to_owned(),
            task,
            file: None,
            len: 0,
        }
    }

    /// Bytes that it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts bytes at its end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SpillError> {
        let (file, path) = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.scratch.file(&self.step, self.task)?),
        };
        file.write_all(bytes)
            .map_err(|e| SpillError::io("write", path, e))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Fills `into` with the bytes from `at` on, which are there.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), SpillError> {
        let Some((file, path)) = &self.file else {
            return Ok(());
        };
        file.read_exact_at(into, at)
            .map_err(|e| SpillError::io("read", path, e))
    }
}
