//! A join's state, one entry a row, so that a key with many rows costs what changes. Must stay stable: checkpoints
//! hold it.
//!
//! | name | value |
//! |---|---|
//! | `r`, side (0 left, 1 right), number of arrival (8 bytes, little endian), key | version 1, flags (2: it had a partner), the row without its key (`record::codec`) |
//! | `keyed::put_entry_key` (read, not written any more) | version 1, then all rows of the key in order of arrival, each: flags (1: right side, 2: it had a partner), the row |
//!
//! The number of arrival orders the rows of a key, whichever task gave it.

use crate::keyed::{RowId, StoredRows, key_of_entry};
use crate::record::codec::{Broken, Reader};
use crate::state::{Extent, Mark, StateBuffer, StateRef};
use crate::step::{StepError, key_group};

use super::Side;
use super::step::{Beside, JoinStep, Lists};

const ROW: u8 = b'r';
/// Bytes of a row's name before the key.
const NAME_HEAD: usize = 10;
pub(super) const VERSION: u8 = 1;
const RIGHT: u8 = 1;
pub(super) const MATCHED: u8 = 2;

/// Restored rows become chunks of so many.
const CHUNK_ROWS: usize = 4096;

/// Rows whose values become bytes together, where not all are written.
const BLOCK_ROWS: usize = 16 * 1024;

/// The name of a row.
pub(super) fn put_name(name: &mut Vec<u8>, side: Side, arrival: u64, key: Option<&[u8]>) {
    name.push(ROW);
    name.push(if side == Side::Right { RIGHT } else { 0 });
    name.extend_from_slice(&arrival.to_le_bytes());
    name.extend_from_slice(key.unwrap_or_default());
}

impl JoinStep {
    pub(super) fn snapshot_rows(&mut self, extent: Extent, into: &mut StateBuffer) -> Extent {
        let known = self.left.touched.is_on() && self.right.touched.is_on();
        let extent = if known { extent } else { Extent::Whole };
        for side in [Side::Left, Side::Right] {
            match extent {
                Extent::Whole => {
                    self.half(side).touched.start();
                    let ids: Vec<RowId> = self.half(side).rows.ids().collect();
                    self.put_rows(side, &ids, extent, into);
                }
                Extent::Changes => {
                    let half = self.half(side);
                    for name in half.touched.take_gone().names() {
                        let key = name.get(NAME_HEAD..).unwrap_or_default();
                        into.delete(key_group(key), |to| to.extend_from_slice(name));
                    }
                    let mut ids = half.touched.take_numbers();
                    ids.retain(|&id| {
                        half.rows.contains(id)
                            && std::mem::take(&mut half.rows.beside_mut(id).mark.changed)
                    });
                    for ids in ids.chunks(BLOCK_ROWS) {
                        self.put_rows(side, ids, extent, into);
                    }
                }
            }
        }
        extent
    }

    fn put_rows(&mut self, side: Side, ids: &[RowId], extent: Extent, into: &mut StateBuffer) {
        let half = match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        };
        let mut stored = match extent {
            Extent::Whole => StoredRows::of(&half.rows),
            Extent::Changes => StoredRows::of_these(&half.rows, ids),
        };
        for &id in ids {
            let beside = half.rows.beside(id);
            let key = self.keys.key(beside.key);
            into.set(
                key_group(key.unwrap_or_default()),
                |name| put_name(name, side, beside.arrival, key),
                |value| {
                    value.push(VERSION);
                    value.push(if beside.matched { MATCHED } else { 0 });
                    stored.put(value, id);
                },
            );
        }
        for &id in ids {
            half.rows.beside_mut(id).mark = Mark::STORED;
        }
    }

    pub(super) fn restore_entry(&mut self, entry: StateRef<'_>) -> Result<(), StepError> {
        // Others of its rows may have left already.
        let key = match entry.key.first() {
            Some(&ROW) => entry.key.get(NAME_HEAD..),
            _ => key_of_entry(entry.key).flatten(),
        };
        self.fetch(key.map(Some).into_iter())?;
        let restored = match entry.key.first() {
            Some(&ROW) => self.restore_row(entry.key, entry.value),
            _ => self.restore_key(entry.key, entry.value),
        };
        restored
            .map_err(|e| StepError::Failed(format!("the stored state of a join is broken: {e}")))?;
        if self.left.restored.len() >= CHUNK_ROWS || self.right.restored.len() >= CHUNK_ROWS {
            self.seal_restored();
        }
        Ok(())
    }

    fn restore_row(&mut self, name: &[u8], value: &[u8]) -> Result<(), Broken> {
        let (head, key) = name
            .split_first_chunk::<NAME_HEAD>()
            .ok_or(Broken::Content("its name is cut off"))?;
        let [_, side, arrival @ ..] = *head;
        let side = match side {
            0 => Side::Left,
            RIGHT => Side::Right,
            _ => return Err(Broken::Content("its name has no side")),
        };
        let mut from = Reader::new(value);
        version(&mut from)?;
        let flags = from.byte()?;
        if flags & !MATCHED != 0 {
            return Err(Broken::Flags(flags));
        }
        let arrival = u64::from_le_bytes(arrival);
        self.next_arrival = self.next_arrival.max(
            arrival
                .checked_add(1)
                .ok_or(Broken::Content("its number of arrival is beyond all"))?,
        );
        self.take_row(side, key, arrival, flags, &mut from)?;
        from.end()
    }

    /// Rows as they were written before each had an entry.
    fn restore_key(&mut self, name: &[u8], value: &[u8]) -> Result<(), Broken> {
        let Some(Some(key)) = key_of_entry(name) else {
            return Err(Broken::Content(
                "its name is neither that of a row nor of a key",
            ));
        };
        let mut from = Reader::new(value);
        version(&mut from)?;
        if from.is_empty() {
            return Err(Broken::Content("a key without rows"));
        }
        while !from.is_empty() {
            let flags = from.byte()?;
            if flags & !(RIGHT | MATCHED) != 0 {
                return Err(Broken::Flags(flags));
            }
            let side = if flags & RIGHT != 0 {
                Side::Right
            } else {
                Side::Left
            };
            let arrival = self.next_arrival;
            self.next_arrival += 1;
            self.take_row(side, key, arrival, flags, &mut from)?;
        }
        Ok(())
    }

    fn take_row(
        &mut self,
        side: Side,
        key: &[u8],
        arrival: u64,
        flags: u8,
        from: &mut Reader<'_>,
    ) -> Result<(), Broken> {
        let number = self.keys.find_or_insert(Some(key), Lists::default);
        let half = self.half(side);
        let ts = half
            .restored
            .push(from, Some(key))?
            .ok_or(Broken::Content("a row without timestamp"))?;
        half.restored_beside
            .push(Beside::new(arrival, ts, number, flags & MATCHED != 0));
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

fn version(from: &mut Reader<'_>) -> Result<(), Broken> {
    match from.byte()? {
        VERSION => Ok(()),
        other => Err(Broken::Version(other)),
    }
}
