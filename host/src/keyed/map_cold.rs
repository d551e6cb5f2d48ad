//! Keys of a `KeyMap` beyond memory: a key is in the map or in its vault, and goes from one to the other with its value.
//! What a value is as bytes, and when a key is wanted back, the map's owner says.

use super::cold::{ColdKeys, Due, Dues, WHOLE};
use super::key_map::{KeyId, KeyMap};
use super::put_entry_key;
use crate::spill::{SpillError, Vault};
use crate::state::{Extent, Mark, StateBuffer};
use crate::step::key_group;

/// Before a value: what was known of it when it left.
fn marks(mark: Mark) -> u8 {
    u8::from(mark.stored) | u8::from(mark.changed) << 1
}

impl<T> KeyMap<T> {
    /// From now on keys may be moved to a vault.
    pub fn set_vault(&mut self, vault: Vault) {
        self.cold = Some(Box::new(ColdKeys::new(vault)));
    }

    /// Keys that are not in memory.
    pub fn cold(&self) -> usize {
        self.cold.as_ref().map_or(0, |cold| cold.len())
    }

    /// Whether keys may be moved to a vault.
    pub fn has_vault(&self) -> bool {
        self.cold.is_some()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.cold.as_ref().map_or(0, |cold| cold.disk_bytes())
    }

    /// See `ColdKeys::next_due`.
    pub fn next_due(&self, clock: usize) -> Option<i64> {
        self.cold.as_ref().and_then(|cold| cold.next_due(clock))
    }

    /// See `ColdKeys::may_leave`.
    pub fn may_leave(&self, dues: &Dues) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.may_leave(dues))
    }

    /// See `ColdKeys::note_time`.
    pub fn note_time(&mut self, clock: usize, time: i64) {
        if let Some(cold) = &mut self.cold {
            cold.note_time(clock, time);
        }
    }

    /// See `ColdKeys::due`.
    pub fn due(
        &self,
        clock: usize,
        until: i64,
        most: usize,
    ) -> Result<(Vec<Due>, bool), SpillError> {
        match &self.cold {
            Some(cold) => cold.due(clock, until, most),
            None => Ok((Vec::new(), false)),
        }
    }

    /// See `ColdKeys::due_whole`.
    pub fn due_whole(
        &self,
        clock: usize,
        until: i64,
        most: usize,
    ) -> Result<(Vec<Due>, i64), SpillError> {
        match &self.cold {
            Some(cold) => cold.due_whole(clock, until, most),
            None => Ok((Vec::new(), until)),
        }
    }

    /// Whether a key that came back just now was in a snapshot that was taken while it was beyond memory; for those
    /// who keep marks of their own. Tells it once.
    pub fn take_stored(&mut self, id: KeyId) -> bool {
        std::mem::take(&mut self.slot_mut(id).mark.stored)
    }

    /// See `ColdKeys::each`. All is in a snapshot then.
    pub fn each_cold(
        &mut self,
        extent: Extent,
        mut each: impl FnMut(Option<&[u8]>, bool, &[u8]),
    ) -> Result<(), SpillError> {
        let Some(cold) = &self.cold else {
            return Ok(());
        };
        let in_memory = |key: Option<&[u8]>| self.find(key).is_some();
        cold.each(extent, in_memory, |key, recently, value| {
            let (_, value) = value.split_first().expect(WHOLE);
            each(key, recently, value);
        })?;
        if let Some(cold) = &mut self.cold {
            cold.snapshot_taken();
        }
        Ok(())
    }

    /// See `ColdKeys::pass`.
    pub fn pass(
        &mut self,
        clock: usize,
        until: i64,
        last: Option<(i64, &[u8])>,
    ) -> Result<(), SpillError> {
        match &mut self.cold {
            Some(cold) => cold.pass(clock, until, last),
            None => Ok(()),
        }
    }

    /// Moves keys to the vault; all of them may leave. All other keys get new numbers, which are answered by the old ones
    /// (`KeyId::MAX`: not here any more).
    pub fn evict(
        &mut self,
        mut leaving: Vec<KeyId>,
        mut encode: impl FnMut(&T, &mut Vec<u8>),
        dues: impl Fn(&T) -> Dues,
    ) -> Result<Vec<KeyId>, SpillError> {
        leaving.sort_unstable_by(|a, b| self.key(*a).cmp(&self.key(*b)));
        if let Some(mut cold) = self.cold.take() {
            let result = cold.take_in(
                &leaving,
                |id| self.key(id),
                |id, value| {
                    let slot = self.slot(id);
                    value.push(marks(slot.mark));
                    encode(&slot.value, value);
                },
                |id| dues(&self.slot(id).value),
            );
            self.cold = Some(cold);
            result?;
        } else {
            leaving.clear();
        }
        leaving.sort_unstable();
        Ok(self.keep_only(|id| leaving.binary_search(&id).is_err()))
    }

    /// Brings back those of the keys that are cold (and of which `decode` makes something); answers their numbers.
    pub fn fetch<'k>(
        &mut self,
        keys: impl Iterator<Item = Option<&'k [u8]>>,
        mut decode: impl FnMut(Option<&[u8]>, &[u8]) -> Option<T>,
    ) -> Result<Vec<KeyId>, SpillError> {
        let mut fetched = Vec::new();
        if self.cold() == 0 {
            return Ok(fetched);
        }
        let wanted = keys.filter(|key| self.find(*key).is_none()).collect();
        let Some(mut cold) = self.cold.take() else {
            return Ok(fetched);
        };
        let result = cold.give_back(wanted, |key, stored, value| {
            let (marks, value) = value.split_first().expect(WHOLE);
            let Some(value) = decode(key, value) else {
                return false;
            };
            let id = self.find_or_insert(key, || value);
            let slot = self.slot_mut(id);
            slot.below = true;
            slot.mark.stored = stored || marks & 1 > 0;
            if !stored && marks & 2 > 0 {
                self.touch(id);
            }
            fetched.push(id);
            true
        });
        self.cold = Some(cold);
        result.map(|()| fetched)
    }

    /// Appends the cold keys, as `snapshot` does those in memory.
    pub fn snapshot_cold(
        &mut self,
        extent: Extent,
        prefix: &[u8],
        into: &mut StateBuffer,
    ) -> Result<(), SpillError> {
        let Some(cold) = &self.cold else {
            return Ok(());
        };
        let in_memory = |key: Option<&[u8]>| self.find(key).is_some();
        cold.each(extent, in_memory, |key, recently, value| {
            let (marks, value) = value.split_first().expect(WHOLE);
            if extent == Extent::Whole || recently && marks & 2 > 0 {
                into.set(
                    key_group(key.unwrap_or_default()),
                    |name| {
                        name.extend_from_slice(prefix);
                        put_entry_key(name, key);
                    },
                    |to| to.extend_from_slice(value),
                );
            }
        })?;
        if let Some(cold) = &mut self.cold {
            cold.snapshot_taken();
        }
        Ok(())
    }
}
