//! Keys of a table beyond memory: which leave, and how they come back, for records, for updates, and when a version of
//! theirs is to be dropped.

use crate::keyed::{Dues, KeyId, RowId, RowStore, StoredRows, TimeQueue, key_of_entry, leave};
use crate::record::RowsBuilder;
use crate::record::codec::Reader;
use crate::spill::SpillError;

use super::snapshot::{ROW, put_versions};
use super::versions::{Table, Versions};

/// Keys brought back at once; few in tests, so that it takes several turns.
const KEYS_A_TURN: usize = if cfg!(test) { 2 } else { 4096 };

const WHOLE: &str = "a vault gives back what was put in";

/// A key is wanted back when the first of its versions is to be dropped.
fn dues(versioned: bool, versions: &Versions) -> Dues {
    let due = match versions.as_slice() {
        [(time, None), ..] | [_, (time, _), ..] if versioned => Some(*time),
        _ => None,
    };
    [due, None, None]
}

impl Table {
    /// Brings back those of the keys that are beyond memory.
    pub(super) fn fetch<'k>(
        &mut self,
        keys: impl Iterator<Item = Option<&'k [u8]>>,
    ) -> Result<(), SpillError> {
        if self.keys.cold() == 0 {
            return Ok(());
        }
        let (mut rows, mut count) = (RowsBuilder::default(), 0);
        let fetched = self.keys.fetch(keys, |key, value| {
            let mut from = Reader::new(value);
            from.byte().expect(WHOLE);
            let mut versions = Versions::new();
            while !from.is_empty() {
                let is_row = from.byte().expect(WHOLE) == ROW;
                let time = from.i64().expect(WHOLE);
                if is_row {
                    rows.push(&mut from, key).expect(WHOLE);
                    count += 1;
                }
                // The place among the rows that came back, until these have numbers.
                versions.push((time, is_row.then(|| count - 1)));
            }
            Some(versions)
        })?;
        let batch = rows.finish();
        let all: Vec<u32> = (0..batch.len as u32).collect();
        let mut ids: Vec<RowId> = Vec::new();
        self.rows
            .keep(&batch, &all, all.iter().map(|_| ()), &mut ids);
        for key in fetched {
            for (time, row) in self.keys.get_mut(key) {
                if let Some(row) = row {
                    *row = ids[*row as usize];
                }
                if self.versioned {
                    self.superseding.push(*time, key);
                }
            }
        }
        Ok(())
    }

    /// Drops versions as `forget_before` does, those of keys beyond memory too; answers whether that is all.
    pub(super) fn forget_some_before(&mut self, horizon: i64) -> Result<bool, SpillError> {
        let (list, until) = self.keys.due_whole(0, horizon, KEYS_A_TURN)?;
        let names = list
            .iter()
            .map(|(_, name)| key_of_entry(name).expect(WHOLE));
        self.fetch(names)?;
        self.forget_before(until);
        self.keys.pass(0, until, None)?;
        Ok(until == horizon)
    }

    /// Makes the table take no more memory than about so many bytes: those keys go that came first.
    pub(super) fn shed(&mut self, bytes_max: usize) -> Result<(), SpillError> {
        let now = self.bytes();
        if !self.keys.has_vault() || now <= bytes_max {
            return Ok(());
        }
        let all = self.keys.len();
        let versioned = self.versioned;
        let may_leave = |id: &KeyId| self.keys.may_leave(&dues(versioned, self.keys.get(*id)));
        let leaving: Vec<KeyId> = {
            let ids = self.keys.ids().filter(may_leave);
            ids.take(leave(all, bytes_max, now)).collect()
        };
        if leaving.is_empty() {
            return Ok(());
        }
        let mut stored = StoredRows::of(&self.rows);
        self.keys.evict(
            leaving,
            |versions, value| put_versions(value, versions, &mut stored),
            |versions| dues(versioned, versions),
        )?;
        let old: RowStore<()> = std::mem::take(&mut self.rows);
        self.superseding = TimeQueue::default();
        let keys: Vec<KeyId> = self.keys.ids().collect();
        let mut ids = Vec::new();
        for some in keys.chunks(KEYS_A_TURN) {
            let versions = some.iter().flat_map(|key| self.keys.get(*key));
            let staying: Vec<RowId> = versions.filter_map(|version| version.1).collect();
            let (batch, at) = old.gather(&staying);
            let rows: Vec<u32> = (0..batch.len as u32).collect();
            self.rows
                .keep(&batch, &rows, rows.iter().map(|_| ()), &mut ids);
            let mut at = at.into_iter();
            for &key in some {
                for (time, row) in self.keys.get_mut(key) {
                    if let Some(row) = row {
                        let at = at.next().expect("each row that stays was gathered");
                        *row = ids[at as usize];
                    }
                    if versioned {
                        self.superseding.push(*time, key);
                    }
                }
            }
        }
        Ok(())
    }
}
