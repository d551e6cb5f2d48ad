//! The first record of a key within a bound of event time; pure code, see `window` for what it must not use.
//!
//! A record is dropped when an accepted one of its key lies at most `within` away, to either side.
//! Timeline of one key, `within = "3ms"`:
//!
//! ```text
//! arrival   a@5   b@2   c@9   d@7   e@1
//! a accepted; b dropped (3 before a); c accepted (4 after a); d dropped (2 after a, 2 before c);
//! e accepted (4 before a: what was dropped doesn't count).
//! ```
//!
//! An accepted time is kept while a record that is not late could lie within the bound: until
//! W >= time + within. Records without key are one group; records without timestamp are rejected.

use crate::config::plan::Port;
use crate::keyed::{KeyId, KeyMap, TimeList, TimeQueue, key_of, key_of_entry, timestamp_of};
use crate::plugin::{RejectKind, Rejected};
use crate::record::Batch;
use crate::record::codec::{Broken, Reader, put_i64};
use crate::spill::Vault;
use crate::state::{Extent, StateBuffer, StateRef};
use crate::step::{Boundary, Output, Progress, Step, StepError};
use crate::time::Watermark;

/// Times forgotten before the step lets others work.
const FORGET_MAX: usize = 64 * 1024;

/// Version of entries. Must stay stable: an entry is this byte, then the accepted times of the key (its
/// name: `keyed::put_entry_key`), ascending, 8 bytes each.
const VERSION: u8 = 1;

/// Drops records that come again, one task's share of keys.
pub struct DedupStep {
    within_ms: i64,
    /// Accepted times of each key (the number beside each is not used).
    keys: KeyMap<TimeList>,
    /// When times are to be forgotten: (time, key).
    accepted: TimeQueue,
    watermark: Watermark,
    due: Vec<(i64, KeyId)>,
    /// Accepted times in memory, over all keys.
    times: usize,
}

impl DedupStep {
    /// Records at most `within_ms` apart are the same.
    pub fn new(within_ms: i64) -> DedupStep {
        DedupStep {
            within_ms,
            keys: KeyMap::default(),
            accepted: TimeQueue::default(),
            watermark: Watermark::NONE,
            due: Vec::new(),
            times: 0,
        }
    }

    /// Times up to this one are of no use any more.
    fn forgotten_until(&self) -> Option<i64> {
        match self.watermark {
            Watermark::NONE => None,
            Watermark::END => Some(i64::MAX),
            Watermark(w) => w.checked_sub(self.within_ms),
        }
    }

    fn accept(&mut self, key: KeyId, ts: i64) {
        self.times += 1;
        self.keys.get_mut(key).insert(ts, 0);
        self.keys.touch(key);
        self.accepted.push(ts, key);
    }

    fn restore_times(&mut self, entry: StateRef<'_>) -> Result<(), Broken> {
        let key =
            key_of_entry(entry.key).ok_or(Broken::Content("its name is not that of a key"))?;
        let mut from = Reader::new(entry.value);
        match from.byte()? {
            VERSION => {}
            other => return Err(Broken::Version(other)),
        }
        if from.is_empty() {
            return Err(Broken::Content("a key without times"));
        }
        let key = self.keys.find_or_insert(key, TimeList::default);
        let mut last = None;
        while !from.is_empty() {
            let ts = from.i64()?;
            if last.is_some_and(|last| ts <= last) {
                return Err(Broken::Content("its times are not in order"));
            }
            last = Some(ts);
            self.accept(key, ts);
        }
        Ok(())
    }
}

impl Step for DedupStep {
    fn on_batch(
        &mut self,
        _: usize,
        mut batch: Batch,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        batch.windows = None;
        self.fetch((0..batch.len).map(|row| key_of(&batch, row)))?;
        let (mut kept, mut late, mut rejected) =
            (Vec::with_capacity(batch.len), Vec::new(), Vec::new());
        for row in 0..batch.len {
            let number = row as u32;
            let Some(ts) = timestamp_of(&batch, row) else {
                let message = "dedup needs records with a timestamp, this one has none".to_owned();
                rejected.push(Rejected {
                    row: number,
                    kind: RejectKind::Step,
                    message,
                    log: Vec::new(),
                });
                continue;
            };
            if self.watermark != Watermark::NONE && ts <= self.watermark.0 {
                late.push(number);
                continue;
            }
            let near = (
                ts.saturating_sub(self.within_ms),
                ts.saturating_add(self.within_ms),
            );
            let key = self
                .keys
                .find_or_insert(key_of(&batch, row), TimeList::default);
            if self.keys.get(key).range(near).is_empty() {
                self.accept(key, ts);
                kept.push(number);
            }
        }
        if !kept.is_empty() {
            out.emit(Port::Main, batch.take(&kept))?;
        }
        if !rejected.is_empty() {
            out.reject(&batch, rejected)?;
        }
        if !late.is_empty() {
            out.count_late(late.len() as u64);
            out.emit(Port::Late, batch.take(&late))?;
        }
        Ok(())
    }

    fn on_boundary(&mut self, at: Boundary<'_>, _: &mut dyn Output) -> Result<Progress, StepError> {
        self.watermark = self
            .watermark
            .max(if at.end { Watermark::END } else { at.watermark });
        if self.due.is_empty()
            && let Some(until) = self.forgotten_until()
        {
            self.due = self.accepted.pop_until(until);
        }
        for (ts, key) in self.due.drain(self.due.len().saturating_sub(FORGET_MAX)..) {
            let times = self.keys.get_mut(key);
            self.times -= usize::from(times.remove(ts, 0));
            if times.is_empty() {
                self.keys.remove(key);
            } else {
                self.keys.touch(key);
            }
        }
        if !self.due.is_empty() {
            return Ok(Progress::More);
        }
        match self.forgotten_until() {
            Some(until) => self.forget_cold(until),
            None => Ok(Progress::Done),
        }
    }

    fn snapshot(&mut self, extent: Extent, into: &mut StateBuffer) -> Result<Extent, StepError> {
        let (keys, extent) = self.keys.to_snapshot(extent);
        self.keys
            .snapshot(&keys, &[], into, |value, times| encode(times, value));
        self.keys.snapshot_cold(extent, &[], into)?;
        Ok(extent)
    }

    fn restore(&mut self, entry: StateRef<'_>) -> Result<(), StepError> {
        self.restore_times(entry)
            .map_err(|e| StepError::Failed(format!("the stored state of a dedup is broken: {e}")))
    }

    fn resume(&mut self, at: Boundary<'_>) {
        self.watermark = at.watermark;
    }

    fn state_bytes(&self) -> usize {
        // The first time of a key stands in the map.
        let more = self.times.saturating_sub(self.keys.len());
        self.keys.bytes() + self.accepted.bytes() + more * size_of::<(i64, u32)>()
    }

    fn growth(&self) -> usize {
        self.keys.growth()
    }

    fn take_vault(&mut self, vault: Vault) {
        self.keys.set_vault(vault);
    }

    fn shed(&mut self, bytes_max: usize) -> Result<(), StepError> {
        self.shed_keys(bytes_max)
    }

    fn disk_bytes(&self) -> u64 {
        self.keys.disk_bytes()
    }
}

/// Appends the times of a key, as entries have them.
fn encode(times: &TimeList, value: &mut Vec<u8>) {
    value.push(VERSION);
    for &(ts, _) in times.all() {
        put_i64(value, ts);
    }
}

mod cold;

#[cfg(test)]
mod tests;
