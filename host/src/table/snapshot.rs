//! A lookup's state. Must stay stable: checkpoints hold it. Entries of two sorts, by the first byte of their key:
//!
//! - `t` and `keyed::entry_key`: rows of a table that is kept current. Value: version 1, then its versions in order of
//!   time, each a byte (0: a row follows, 1: deleted), the time from which it holds (8 bytes, little endian; the least
//!   i64 in tables without versions), and the row without its key (`record::codec`).
//! - `w` and `keyed::entry_key`: records of a key that wait. Value: version 1, then the records in order of arrival.
//!
//! With `on`, each task has the whole table: its entries are the same in all tasks, and all tasks need all.

use std::collections::BTreeMap;

use crate::keyed::{RowId, StoredRows, entry_key, key_of, key_of_entry};
use crate::record::RowsBuilder;
use crate::record::codec::{Broken, Reader, put_i64};
use crate::step::{StateEntry, StepError, key_group};

use super::LookupStep;
use super::lookup::Kept;

const VERSION: u8 = 1;
pub(super) const TABLE: u8 = b't';
const WAITING: u8 = b'w';
const ROW: u8 = 0;
const DELETED: u8 = 1;

fn named(sort: u8, key: Option<&[u8]>) -> Vec<u8> {
    [&[sort][..], &entry_key(key)].concat()
}

impl LookupStep {
    pub(super) fn snapshot_all(&self, each: &mut dyn FnMut(StateEntry)) {
        let mut waiting: BTreeMap<(u16, Vec<u8>), Vec<RowId>> = BTreeMap::new();
        let mut all: Vec<RowId> = self.waiting.ids().collect();
        all.sort_unstable_by_key(|&id| self.waiting.beside(id).arrival);
        let (batch, at) = self.waiting.gather(&all);
        for (&id, row) in all.iter().zip(at) {
            let key = key_of(&batch, row as usize);
            waiting
                .entry((key_group(key.unwrap_or_default()), named(WAITING, key)))
                .or_default()
                .push(id);
        }
        let mut waiting = waiting.into_iter().peekable();
        let mut waiting_rows = StoredRows::of(&self.waiting);
        let mut put_waiting = |((key_group, key), ids): ((u16, Vec<u8>), Vec<RowId>),
                               each: &mut dyn FnMut(StateEntry)| {
            let mut value = vec![VERSION];
            ids.into_iter()
                .for_each(|id| waiting_rows.put(&mut value, id));
            each(StateEntry {
                key_group,
                key,
                value: Some(value),
            });
        };
        if let Kept::Own(table) = &self.table {
            let mut rows = StoredRows::of(&table.rows);
            for (key_group, key) in table.keys.sorted() {
                while let Some(earlier) = waiting.next_if(|w| w.0.0 < key_group) {
                    put_waiting(earlier, each);
                }
                let mut value = vec![VERSION];
                for &(ts, id) in table.keys.get(key) {
                    value.push(if id.is_some() { ROW } else { DELETED });
                    put_i64(&mut value, ts);
                    if let Some(id) = id {
                        rows.put(&mut value, id);
                    }
                }
                each(StateEntry {
                    key_group,
                    key: named(TABLE, table.keys.key(key)),
                    value: Some(value),
                });
            }
        }
        waiting.for_each(|w| put_waiting(w, each));
    }

    pub(super) fn restore_entry(&mut self, entry: &StateEntry) -> Result<(), StepError> {
        let Some(value) = &entry.value else {
            return Ok(());
        };
        self.restore_rows(&entry.key, value)
            .map_err(|e| StepError::Failed(format!("the stored state of a lookup is broken: {e}")))
    }

    fn restore_rows(&mut self, name: &[u8], value: &[u8]) -> Result<(), Broken> {
        let unknown =
            Broken::Content("its name is neither that of a table's row nor of waiting records");
        let (&sort, key) = name.split_first().ok_or(unknown)?;
        let key = key_of_entry(key).ok_or(unknown)?;
        let mut from = Reader::new(value);
        match from.byte()? {
            VERSION => {}
            other => return Err(Broken::Version(other)),
        }
        if from.is_empty() {
            return Err(Broken::Content("a key without rows"));
        }
        match (sort, &mut self.table) {
            (WAITING, _) => {
                while !from.is_empty() {
                    self.restored
                        .push(&mut from, key)?
                        .ok_or(Broken::Content("a waiting record without timestamp"))?;
                }
                if self.restored.len() >= 4096 {
                    self.seal_restored();
                }
            }
            (TABLE, Kept::Own(table)) => {
                let mut last = None;
                let (mut versions, mut rows) = (Vec::new(), RowsBuilder::default());
                while !from.is_empty() {
                    let flag = from.byte()?;
                    if flag > DELETED {
                        return Err(Broken::Flags(flag));
                    }
                    let ts = from.i64()?;
                    if last.is_some_and(|last| ts <= last) {
                        return Err(Broken::Content("its versions are not in order"));
                    }
                    last = Some(ts);
                    if flag == ROW {
                        rows.push(&mut from, key)?;
                    }
                    versions.push((ts, flag == ROW));
                }
                let batch = rows.finish();
                let (mut ids, all): (Vec<RowId>, Vec<u32>) =
                    (Vec::new(), (0..batch.len as u32).collect());
                table
                    .rows
                    .keep(&batch, &all, all.iter().map(|_| ()), &mut ids);
                let mut ids = ids.into_iter();
                for (ts, has_row) in versions {
                    table.put(key, ts, if has_row { ids.next() } else { None });
                }
            }
            (TABLE, Kept::Loaded(_)) => {
                return Err(Broken::Content(
                    "rows of a table that is loaded from a file",
                ));
            }
            _ => return Err(unknown),
        }
        Ok(())
    }
}
