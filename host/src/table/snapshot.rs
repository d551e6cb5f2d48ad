//! A lookup's state. Must stay stable: checkpoints hold it. Entries of two sorts, by the first byte of their key:
//!
//! - `t` and `keyed::put_entry_key`: rows of a table that is kept current. Value: version 1, then its versions in order of
//!   time, each a byte (0: a row follows, 1: deleted), the time from which it holds (8 bytes, little endian; the least
//!   i64 in tables without versions), and the row without its key (`record::codec`).
//! - `w` and `keyed::put_entry_key`: records of a key that wait. Value: version 1, then the records in order of arrival.
//! - `a`, two numbers (8 bytes each, big endian) and `keyed::put_entry_key`: a record that waits beyond memory; in the order of
//!   the first numbers they came, the second tells two of the same key apart. Value: version 1, then the record.
//! - `b`, and the same: a record that waits in memory while others are beyond it.
//!
//! A snapshot of changes holds the table's keys that changed, the records beyond memory that came or went, and all records
//! that wait in memory: these stay for as long as the table lags behind, which is seconds, and few are the same at the next
//! snapshot.
//!
//! With `on`, each task has the whole table: its entries are the same in all tasks, and all tasks need all.

use std::collections::BTreeMap;

use crate::keyed::{RowId, StoredRows, key_of, key_of_entry, put_entry_key};
use crate::record::RowsBuilder;
use crate::record::codec::{Broken, Reader, put_i64};
use crate::state::{Extent, StateBuffer, StateRef};
use crate::step::{StepError, key_group};

use super::LookupStep;
use super::lookup::Kept;
use super::versions::Versions;

const VERSION: u8 = 1;
pub(super) const TABLE: u8 = b't';
const WAITING: u8 = b'w';
const WAITING_BEYOND: u8 = b'a';
const WAITING_ALONE: u8 = b'b';
pub(super) const ROW: u8 = 0;
const DELETED: u8 = 1;

/// Appends the versions of a key, as entries have them.
pub(super) fn put_versions(
    value: &mut Vec<u8>,
    versions: &Versions,
    rows: &mut StoredRows<'_, ()>,
) {
    value.push(VERSION);
    for &(ts, id) in versions {
        value.push(if id.is_some() { ROW } else { DELETED });
        put_i64(value, ts);
        if let Some(id) = id {
            rows.put(value, id);
        }
    }
}

impl LookupStep {
    pub(super) fn snapshot_all(
        &mut self,
        extent: Extent,
        into: &mut StateBuffer,
    ) -> Result<Extent, StepError> {
        let told = into.takes_shared() || self.spec.on.is_none();
        let extent = match &mut self.table {
            Kept::Own(table) if told => {
                let (keys, extent) = table.keys.to_snapshot(extent);
                let mut rows = match extent {
                    Extent::Whole => StoredRows::of(&table.rows),
                    Extent::Changes => {
                        let versions = keys.iter().flat_map(|&key| table.keys.get(key));
                        let ids: Vec<RowId> = versions.filter_map(|version| version.1).collect();
                        StoredRows::of_these(&table.rows, &ids)
                    }
                };
                table
                    .keys
                    .snapshot(&keys, &[TABLE], into, |value, versions| {
                        put_versions(value, versions, &mut rows);
                    });
                table.keys.snapshot_cold(extent, &[TABLE], into)?;
                extent
            }
            _ => extent,
        };
        self.snapshot_waiting(extent, into)?;
        Ok(extent)
    }

    fn snapshot_waiting(
        &mut self,
        extent: Extent,
        into: &mut StateBuffer,
    ) -> Result<(), StepError> {
        if extent == Extent::Changes && self.waiting_stored {
            into.delete_all(&[WAITING]);
            into.delete_all(&[WAITING_ALONE]);
        }
        self.waiting.snapshot_cold(extent, |name, key, row| {
            let group = key_group(key.unwrap_or_default());
            match row {
                Some(row) => {
                    into.set_parts(group, [&[WAITING_BEYOND], name], [&[VERSION], row]);
                }
                None => into.delete(group, |to| {
                    to.push(WAITING_BEYOND);
                    to.extend_from_slice(name);
                }),
            }
        })?;
        let (batch, all) = self.waiting.in_memory();
        self.waiting_stored = !all.is_empty();
        let mut rows = self.waiting.stored();
        if self.waiting.any_cold() {
            for (id, row) in all {
                let key = key_of(&batch, row as usize);
                into.set(
                    key_group(key.unwrap_or_default()),
                    |name| {
                        name.push(WAITING_ALONE);
                        name.extend(self.waiting.arrival(id).to_be_bytes());
                        name.extend(u64::from(id).to_be_bytes());
                        put_entry_key(name, key);
                    },
                    |value| {
                        value.push(VERSION);
                        rows.put(value, id);
                    },
                );
            }
            return Ok(());
        }
        let mut by_key: BTreeMap<Option<&[u8]>, Vec<RowId>> = BTreeMap::new();
        for (id, row) in all {
            let key = key_of(&batch, row as usize);
            by_key.entry(key).or_default().push(id);
        }
        for (key, ids) in by_key {
            into.set(
                key_group(key.unwrap_or_default()),
                |name| {
                    name.push(WAITING);
                    put_entry_key(name, key);
                },
                |value| {
                    value.push(VERSION);
                    ids.into_iter().for_each(|id| rows.put(value, id));
                },
            );
        }
        Ok(())
    }

    pub(super) fn restore_entry(&mut self, entry: StateRef<'_>) -> Result<(), StepError> {
        self.restore_rows(entry.key, entry.value)
            .map_err(|e| StepError::Failed(format!("the stored state of a lookup is broken: {e}")))
    }

    fn restore_rows(&mut self, name: &[u8], value: &[u8]) -> Result<(), Broken> {
        let unknown =
            Broken::Content("its name is neither that of a table's row nor of waiting records");
        let (&sort, mut key) = name.split_first().ok_or(unknown)?;
        let mut arrival = None;
        if matches!(sort, WAITING_BEYOND | WAITING_ALONE) {
            let (number, rest) = key.split_first_chunk().ok_or(unknown)?;
            arrival = Some(u64::from_be_bytes(*number));
            key = rest.get(8..).ok_or(unknown)?;
        }
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
            (WAITING | WAITING_BEYOND | WAITING_ALONE, _) => {
                while !from.is_empty() {
                    self.waiting.restore(&mut from, key, arrival)?;
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
