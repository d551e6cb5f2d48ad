//! A join's state, one entry a key. Must stay stable: checkpoints hold it.
//!
//! Entry key: `keyed::entry_key`. Entry value: version 1, then the key's rows in order of arrival, each a
//! byte (1: right side, 2: it had a partner) and the row without its key (`record::codec`).

use crate::keyed::{RowId, StoredRows, entry_key, key_of_entry};
use crate::record::codec::{Broken, Reader};
use crate::step::{StateEntry, StepError};

use super::Side;
use super::step::{Beside, JoinStep, Lists};

const VERSION: u8 = 1;
const RIGHT: u8 = 1;
const MATCHED: u8 = 2;

/// Restored rows become chunks of so many.
const CHUNK_ROWS: usize = 4096;

impl JoinStep {
    pub(super) fn snapshot_keys(&self, each: &mut dyn FnMut(StateEntry)) {
        let (mut left, mut right) = (
            StoredRows::of(&self.left.rows),
            StoredRows::of(&self.right.rows),
        );
        let mut rows: Vec<(u64, Side, RowId)> = Vec::new();
        for (key_group, key) in self.keys.sorted() {
            let lists = self.keys.get(key);
            rows.clear();
            rows.extend(
                lists
                    .left
                    .all()
                    .iter()
                    .map(|&(_, id)| (self.left.rows.beside(id).arrival, Side::Left, id)),
            );
            rows.extend(
                lists
                    .right
                    .all()
                    .iter()
                    .map(|&(_, id)| (self.right.rows.beside(id).arrival, Side::Right, id)),
            );
            rows.sort_unstable_by_key(|row| row.0);
            let mut value = vec![VERSION];
            for &(_, side, id) in &rows {
                let (flag, store, stored) = match side {
                    Side::Left => (0, &self.left.rows, &mut left),
                    Side::Right => (RIGHT, &self.right.rows, &mut right),
                };
                value.push(flag | if store.beside(id).matched { MATCHED } else { 0 });
                stored.put(&mut value, id);
            }
            each(StateEntry {
                key_group,
                key: entry_key(self.keys.key(key)),
                value: Some(value),
            });
        }
    }

    pub(super) fn restore_key(&mut self, entry: &StateEntry) -> Result<(), StepError> {
        let Some(value) = &entry.value else {
            return Ok(());
        };
        self.restore_rows(&entry.key, value)
            .map_err(|e| StepError::Failed(format!("the stored state of a join is broken: {e}")))
    }

    fn restore_rows(&mut self, name: &[u8], value: &[u8]) -> Result<(), Broken> {
        let Some(Some(key)) = key_of_entry(name) else {
            return Err(Broken::Content("its name is not that of a key"));
        };
        let mut from = Reader::new(value);
        match from.byte()? {
            VERSION => {}
            other => return Err(Broken::Version(other)),
        }
        if from.is_empty() {
            return Err(Broken::Content("a key without rows"));
        }
        let number = self.keys.find_or_insert(Some(key), Lists::default);
        while !from.is_empty() {
            let flags = from.byte()?;
            if flags & !(RIGHT | MATCHED) != 0 {
                return Err(Broken::Flags(flags));
            }
            let arrival = self.next_arrival;
            self.next_arrival += 1;
            let half = self.half(if flags & RIGHT != 0 {
                Side::Right
            } else {
                Side::Left
            });
            let ts = half
                .restored
                .push(&mut from, Some(key))?
                .ok_or(Broken::Content("a row without timestamp"))?;
            half.restored_beside
                .push(Beside::new(arrival, ts, number, flags & MATCHED != 0));
        }
        if self.left.restored.len() >= CHUNK_ROWS || self.right.restored.len() >= CHUNK_ROWS {
            self.seal_restored();
        }
        Ok(())
    }

    /// Rows restored so far become chunks.
    pub(super) fn seal_restored(&mut self) {
        for side in [Side::Left, Side::Right] {
            let half = self.half(side);
            if half.restored.is_empty() {
                continue;
            }
            let batch = half.restored.finish();
            let beside = std::mem::take(&mut half.restored_beside);
            let rows: Vec<u32> = (0..batch.len as u32).collect();
            self.keep(side, &batch, &rows, &beside);
        }
    }
}
