//! Deals a batch to the tasks of a stage by key: pure code.

use arrow_array::Array;

use crate::record::Batch;
use crate::step::{key_group, task_of};

/// Cuts batches by key, with buffers that are kept.
#[derive(Debug)]
pub struct Dealer {
    rows: Vec<Vec<u32>>,
}

impl Dealer {
    /// For a stage of so many tasks.
    pub fn new(tasks: usize) -> Dealer {
        Dealer {
            rows: vec![Vec::new(); tasks],
        }
    }

    /// The part of each task, where it has one. Order within a part is that of the batch.
    /// Records without key belong together: to the key group of the empty key.
    pub fn deal(&mut self, batch: Batch, mut each: impl FnMut(usize, Batch)) {
        let tasks = self.rows.len();
        if batch.len == 0 {
            return;
        }
        let Some(keys) = batch.keys.as_ref().filter(|_| tasks > 1) else {
            return each(task_of(key_group(b""), tasks), batch);
        };
        for rows in &mut self.rows {
            rows.clear();
        }
        for row in 0..batch.len {
            let key = if keys.is_null(row) {
                b""
            } else {
                keys.value(row)
            };
            self.rows[task_of(key_group(key), tasks)].push(row as u32);
        }
        for (task, rows) in self.rows.iter().enumerate() {
            match rows.len() {
                0 => {}
                n if n == batch.len => return each(task, batch),
                _ => each(task, batch.take(rows)),
            }
        }
    }
}
