//! Rows of a join beyond memory: a key leaves with all its rows, and comes back when it has records, or when the first
//! of its rows is to be forgotten.

use crate::keyed::{
    Dues, KeyId, KeyMap, RowId, StoredRows, TimeList, TimeQueue, key_of_entry, leave,
};
use crate::record::RowsBuilder;
use crate::record::codec::{Reader, put_bytes, put_i64};
use crate::state::{Extent, Mark, StateBuffer};
use crate::step::{Step, StepError, key_group};

use super::Side;
use super::snapshot::{MATCHED, VERSION, put_name};
use super::step::{Beside, Half, JoinStep, Lists};

/// Keys brought back at once; few in tests, so that it takes several turns.
const KEYS_A_TURN: usize = if cfg!(test) { 2 } else { 4096 };

/// Rows moved at once where what stays is made anew.
const ROWS_AT_ONCE: usize = 4096;

const WHOLE: &str = "a vault gives back what was put in";

const SIDES: [Side; 2] = [Side::Left, Side::Right];

const RIGHT: u8 = 1;
const HAD_PARTNER: u8 = 2;
const STORED: u8 = 4;
const CHANGED: u8 = 8;

/// A row as the vault has it: flags, number of arrival, the row without its key.
struct SpilledRow<'a> {
    flags: u8,
    arrival: u64,
    row: &'a [u8],
}

impl SpilledRow<'_> {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag > 0
    }

    fn side(&self) -> Side {
        SIDES[usize::from(self.flags & RIGHT)]
    }
}

/// The rows in a value.
fn rows(value: &[u8]) -> impl Iterator<Item = SpilledRow<'_>> {
    let mut from = Reader::new(value);
    std::iter::from_fn(move || {
        (!from.is_empty()).then(|| SpilledRow {
            flags: from.byte().expect(WHOLE),
            arrival: from.i64().expect(WHOLE) as u64,
            row: from.bytes().expect(WHOLE),
        })
    })
}

/// A key is wanted back when the first of its rows is to be forgotten. Rows of a side are in order of their times.
fn dues(lists: &Lists) -> Dues {
    let first = |list: &TimeList| Some(list.all().first()?.0);
    [first(&lists.left), first(&lists.right), None]
}

impl JoinStep {
    /// Brings back those of the keys that are beyond memory.
    pub(super) fn fetch<'k>(
        &mut self,
        keys: impl Iterator<Item = Option<&'k [u8]>>,
    ) -> Result<(), StepError> {
        if self.keys.cold() == 0 {
            return Ok(());
        }
        let mut found: [(RowsBuilder, Vec<Beside>); 2] = Default::default();
        let mut nth: KeyId = 0;
        let fetched = self.keys.fetch(keys, |key, value| {
            for row in rows(value) {
                let (builder, besides) = &mut found[usize::from(row.flags & RIGHT)];
                let ts = builder.push(&mut Reader::new(row.row), key).expect(WHOLE);
                let ts = ts.expect("rows that wait have a timestamp");
                let mut beside = Beside::new(row.arrival, ts, nth, row.has(HAD_PARTNER));
                beside.mark = Mark {
                    stored: row.has(STORED),
                    changed: row.has(CHANGED),
                };
                besides.push(beside);
            }
            nth += 1;
            Some(Lists::default())
        })?;
        let stored: Vec<bool> = fetched
            .iter()
            .map(|id| self.keys.take_stored(*id))
            .collect();
        for (side, (mut builder, mut besides)) in SIDES.into_iter().zip(found) {
            let batch = builder.finish();
            let mut changed = Vec::with_capacity(besides.len());
            for beside in &mut besides {
                let stored = stored[beside.key as usize];
                changed.push(!stored && beside.mark.changed);
                beside.key = fetched[beside.key as usize];
                beside.mark = Mark {
                    stored: stored || beside.mark.stored,
                    changed: false,
                };
            }
            let numbers: Vec<u32> = (0..batch.len as u32).collect();
            let mut ids = Vec::new();
            let half = match side {
                Side::Left => &mut self.left,
                Side::Right => &mut self.right,
            };
            half.rows
                .keep(&batch, &numbers, besides.iter().copied(), &mut ids);
            let all = half.rows.len();
            for ((id, beside), changed) in ids.into_iter().zip(besides).zip(changed) {
                if changed {
                    half.touched
                        .touch(id, &mut half.rows.beside_mut(id).mark, all);
                }
                self.keys.get_mut(beside.key).of(side).insert(beside.ts, id);
                half.expiry.push(beside.ts, id);
            }
        }
        Ok(())
    }

    /// Brings back the next keys with rows that are to be forgotten by `gone`. Answers the time of rows up to which
    /// nothing is missing now: rows of both sides come out in order of their times, though they are not forgotten at the
    /// same time. The greatest: nothing is missing at all.
    pub(super) fn bring_due(&mut self, gone: i64) -> Result<i64, StepError> {
        let mut lists = Vec::new();
        let mut until = i64::MAX;
        for (clock, side) in SIDES.into_iter().enumerate() {
            let Some(gone) = self.spec.bounds.gone_until(side, gone) else {
                continue;
            };
            let (list, whole) = self.keys.due_whole(clock, gone, KEYS_A_TURN)?;
            if whole < gone {
                until = until.min(whole);
            }
            lists.push((clock, gone, list));
        }
        for (clock, gone, list) in lists {
            let now = list.iter().take_while(|(time, _)| *time <= until);
            self.fetch(now.map(|(_, name)| key_of_entry(name).expect(WHOLE)))?;
            self.keys.pass(clock, gone.min(until), None)?;
        }
        Ok(until)
    }

    /// Makes rows take no more memory than about so many bytes: those go whose keys had none for the longest time.
    pub(super) fn shed_rows(&mut self, bytes_max: usize) -> Result<(), StepError> {
        self.seal_restored();
        let now = self.state_bytes();
        // Rows whose time has come are named by number.
        if !self.keys.has_vault() || now <= bytes_max || !self.due.is_empty() {
            return Ok(());
        }
        let leaving = self.leaving(bytes_max, now);
        if leaving.is_empty() {
            return Ok(());
        }
        let JoinStep {
            keys, left, right, ..
        } = self;
        let mut left_rows = StoredRows::of(&left.rows);
        let mut right_rows = StoredRows::of(&right.rows);
        let mut bytes = Vec::new();
        let encode = |lists: &Lists, value: &mut Vec<u8>| {
            for (half, list, stored, side) in [
                (&*left, &lists.left, &mut left_rows, 0),
                (&*right, &lists.right, &mut right_rows, RIGHT),
            ] {
                for &(_, id) in list.all() {
                    let beside = half.rows.beside(id);
                    let bit = |is: bool, bit: u8| if is { bit } else { 0 };
                    value.push(
                        side | bit(beside.matched, HAD_PARTNER)
                            | bit(beside.mark.stored, STORED)
                            | bit(beside.mark.changed, CHANGED),
                    );
                    put_i64(value, beside.arrival as i64);
                    bytes.clear();
                    stored.put(&mut bytes, id);
                    put_bytes(value, &bytes);
                }
            }
        };
        let new = keys.evict(leaving, encode, dues)?;
        left.renew(Side::Left, &new, keys);
        right.renew(Side::Right, &new, keys);
        Ok(())
    }

    /// Keys to leave, so that about so many of `now` bytes stay.
    fn leaving(&self, bytes_max: usize, now: usize) -> Vec<KeyId> {
        let newest = |half: &Half, list: &TimeList| {
            let last = list.all().last();
            last.map_or(0, |last| half.rows.beside(last.1).arrival)
        };
        let mut may_leave: Vec<(u64, usize, KeyId)> = Vec::new();
        for id in self.keys.ids() {
            let lists = self.keys.get(id);
            let count = lists.left.all().len() + lists.right.all().len();
            if count > 0 && self.keys.may_leave(&dues(lists)) {
                let newest = newest(&self.left, &lists.left).max(newest(&self.right, &lists.right));
                may_leave.push((newest, count, id));
            }
        }
        may_leave.sort_unstable();
        let all = self.left.rows.len() + self.right.rows.len();
        let mut leave = leave(all, bytes_max, now);
        let leaves = |&(_, count, _): &(u64, usize, KeyId)| {
            let leaves = leave > 0;
            leave = leave.saturating_sub(count);
            leaves
        };
        let leaving = may_leave.into_iter().take_while(leaves);
        leaving.map(|(_, _, id)| id).collect()
    }

    /// Appends the rows in the vault, as `snapshot_rows` does those in memory.
    pub(super) fn snapshot_cold(
        &mut self,
        extent: Extent,
        into: &mut StateBuffer,
    ) -> Result<(), StepError> {
        self.keys.each_cold(extent, |key, recently, value| {
            for row in rows(value) {
                if extent == Extent::Whole || recently && row.has(CHANGED) {
                    into.set(
                        key_group(key.unwrap_or_default()),
                        |name| put_name(name, row.side(), row.arrival, key),
                        |to| {
                            to.push(VERSION);
                            to.push(if row.has(HAD_PARTNER) { MATCHED } else { 0 });
                            to.extend_from_slice(row.row);
                        },
                    );
                }
            }
        })?;
        Ok(())
    }
}

impl Half {
    /// Drops the rows of keys that left; what stays is made anew, as small as it can be. `new`: numbers of keys by their
    /// old ones.
    fn renew(&mut self, side: Side, new: &[KeyId], keys: &mut KeyMap<Lists>) {
        let old = std::mem::take(&mut self.rows);
        self.expiry = TimeQueue::default();
        let key_of = |id: RowId| new[old.beside(id).key as usize];
        let mut new_ids = vec![RowId::MAX; old.ids().last().map_or(0, |last| last as usize + 1)];
        let staying: Vec<RowId> = old.ids().filter(|id| key_of(*id) != KeyId::MAX).collect();
        let mut ids = Vec::new();
        for some in staying.chunks(ROWS_AT_ONCE) {
            let (batch, at) = old.gather(some);
            let mut in_order = vec![0; some.len()];
            for (&id, at) in some.iter().zip(at) {
                in_order[at as usize] = id;
            }
            let besides = in_order.iter().map(|&id| Beside {
                key: key_of(id),
                ..*old.beside(id)
            });
            let rows: Vec<u32> = (0..batch.len as u32).collect();
            self.rows.keep(&batch, &rows, besides, &mut ids);
            for (&old_id, &id) in in_order.iter().zip(&ids) {
                new_ids[old_id as usize] = id;
                self.expiry.push(self.rows.beside(id).ts, id);
            }
        }
        let of = |id: u32| new_ids.get(id as usize).copied();
        self.touched
            .renumber(|id| of(id).filter(|id| *id != RowId::MAX));
        let all: Vec<KeyId> = keys.ids().collect();
        for key in all {
            let list = keys.get_mut(key).of(side);
            let mut renewed = TimeList::default();
            for &(ts, id) in list.all() {
                renewed.insert(ts, new_ids[id as usize]);
            }
            *list = renewed;
        }
    }
}
