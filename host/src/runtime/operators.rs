//! The stateless steps: a function over batches, and the native key. They put out at once and ignore time.

use crate::config::plan::{KeyPointers, Port};
use crate::format;
use crate::plugin::{FunctionStats, RejectKind, Rejected, Transform};
use crate::record::{Batch, shown_key};
use crate::step::{Boundary, Output, Progress, Step, StepError};

/// A transform or filter.
pub struct TransformStep {
    function: Box<dyn Transform>,
}

impl TransformStep {
    /// Around an opened function.
    pub fn new(function: Box<dyn Transform>) -> TransformStep {
        TransformStep { function }
    }
}

impl Step for TransformStep {
    fn on_batch(
        &mut self,
        _input: usize,
        mut batch: Batch,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        let done = self.function.process(&mut batch)?;
        if !done.rejected.is_empty() {
            out.reject(&batch, done.rejected)?;
        }
        for (port, batch) in done.ports.into_iter().enumerate() {
            if batch.len > 0 {
                let port = if port == 0 {
                    Port::Main
                } else {
                    Port::Named(port as u16 - 1)
                };
                out.emit(port, batch)?;
            }
        }
        Ok(())
    }

    fn on_boundary(
        &mut self,
        _at: Boundary<'_>,
        _out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        Ok(Progress::Done)
    }

    fn function_stats(&self) -> Option<FunctionStats> {
        Some(self.function.stats())
    }
}

/// Sets the key from fields of the value.
pub struct KeyStep {
    pointers: KeyPointers,
}

impl KeyStep {
    /// Of these pointers.
    pub fn new(pointers: KeyPointers) -> KeyStep {
        KeyStep { pointers }
    }
}

impl Step for KeyStep {
    fn on_batch(
        &mut self,
        _input: usize,
        mut batch: Batch,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        let (keys, rejected) = format::keys(&mut batch, &self.pointers);
        let good = without(batch.len, &rejected);
        if !rejected.is_empty() {
            out.reject(&batch, rejected)?;
        }
        batch.keys = Some(keys);
        match good {
            None => out.emit(Port::Main, batch),
            Some(rows) => out.emit(Port::Main, batch.take(&rows)),
        }
    }

    fn on_boundary(
        &mut self,
        _at: Boundary<'_>,
        _out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        Ok(Progress::Done)
    }
}

/// Rows that did not fail; none: all of them.
pub fn without(len: usize, rejected: &[Rejected]) -> Option<Vec<u32>> {
    if rejected.is_empty() {
        return None;
    }
    let mut failed = vec![false; len];
    for r in rejected {
        failed[r.row as usize] = true;
    }
    Some(
        (0..len as u32)
            .filter(|&row| !failed[row as usize])
            .collect(),
    )
}

/// Rows whose timestamp is further ahead of the clock than it may be. Off while the clock was never read
/// (`i64::MIN`).
pub fn too_far_ahead(batch: &Batch, max_ahead_ms: Option<i64>, now: i64) -> Vec<Rejected> {
    let (Some(ahead), Some(timestamps)) = (max_ahead_ms, &batch.timestamps) else {
        return Vec::new();
    };
    if now == i64::MIN {
        return Vec::new();
    }
    let limit = now.saturating_add(ahead);
    let late = timestamps
        .iter()
        .enumerate()
        .filter_map(|(row, t)| Some((row, t.filter(|&t| t > limit)?)));
    late.map(|(row, timestamp)| {
        let message = format!(
            "timestamp {timestamp} is more than max-ahead ({ahead} ms) ahead of the clock ({now})"
        );
        Rejected {
            row: row as u32,
            kind: RejectKind::Source,
            message,
            log: Vec::new(),
        }
    })
    .collect()
}

/// Records whose keys are longer than a keyed step may keep.
pub fn keys_too_long(batch: &Batch, bytes_max: usize) -> Vec<Rejected> {
    let Some(keys) = batch.keys.as_ref().filter(|k| k.values().len() > bytes_max) else {
        return Vec::new();
    };
    let long = keys.iter().enumerate().filter_map(|(row, key)| {
        let key = key.filter(|key| key.len() > bytes_max)?;
        let start = shown_key(key);
        let message = format!(
            "its key has {} bytes, more than [state] key-max ({bytes_max}): shorten it, or raise key-max; it starts with {start:?}",
            key.len()
        );
        Some(Rejected {
            row: row as u32,
            kind: RejectKind::Step,
            message,
            log: Vec::new(),
        })
    });
    long.collect()
}
