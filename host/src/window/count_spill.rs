//! Count windows beyond memory: a key leaves with all its panes, and comes back when it has records, or at the end,
//! when what came since it last fired comes out.

use super::codec::{CountState, State};
use super::core::{Arrivals, Core};
use super::count::{CountKey, CountPane, Counts};
use super::keys::sort_by_key;
use super::time::StepTime;
use crate::keyed::{ColdKeys, first_to_leave, key_of_entry, leave};
use crate::record::Batch;
use crate::record::codec::{Reader, put_bytes, put_i64};
use crate::state::{Extent, Mark, StateBuffer};
use crate::step::StepError;

/// Keys brought back at once; few in tests, so that it takes several turns.
const KEYS_A_TURN: usize = if cfg!(test) { 2 } else { 4096 };

const WHOLE: &str = "a vault gives back what was put in";

const STORED: u8 = 1;
const CHANGED: u8 = 2;

/// The end, in turns: keys come out in their order, whether they are in memory or not.
#[derive(Debug)]
pub(super) struct Closing {
    /// The time it will be then.
    pub to: StepTime,
    /// Keys of this turn, the last first.
    pub keys: Vec<u32>,
    /// Keys in memory behind them, the last first.
    rest: Vec<u32>,
    /// There are more beyond memory.
    pub more: bool,
}

/// A key as the vault has it.
struct SpilledCount<'a> {
    marks: u8,
    records: u64,
    /// Fires at, newest timestamp, accumulator.
    panes: Vec<(u64, i64, &'a [u8])>,
}

fn decode(value: &[u8]) -> SpilledCount<'_> {
    let mut from = Reader::new(value);
    let mut found = SpilledCount {
        marks: from.byte().expect(WHOLE),
        records: from.i64().expect(WHOLE) as u64,
        panes: Vec::new(),
    };
    while !from.is_empty() {
        found.panes.push((
            from.i64().expect(WHOLE) as u64,
            from.i64().expect(WHOLE),
            from.bytes().expect(WHOLE),
        ));
    }
    found
}

impl Counts {
    fn is_all_in_memory(&self) -> bool {
        self.cold.as_ref().is_none_or(ColdKeys::is_empty)
    }

    /// Brings back a key that is to be restored, if it is there already.
    pub fn fetch_key(&mut self, core: &Core, key: Option<&[u8]>) -> Result<(), StepError> {
        if !self.is_all_in_memory() && !self.keys.has(&core.hasher, key) {
            self.take_back(core, vec![key])?;
        }
        Ok(())
    }

    /// Brings back the keys of a batch.
    pub fn fetch(
        &mut self,
        core: &Core,
        batch: &Batch,
        arrivals: &Arrivals,
    ) -> Result<(), StepError> {
        if self.is_all_in_memory() {
            return Ok(());
        }
        self.take_back(core, self.keys.absent(batch, arrivals))?;
        Ok(())
    }

    /// Brings back keys, none of which is in memory. Answers their numbers.
    fn take_back(
        &mut self,
        core: &Core,
        wanted: Vec<Option<&[u8]>>,
    ) -> Result<Vec<u32>, StepError> {
        let mut back = Vec::new();
        let Some(mut cold) = self.cold.take() else {
            return Ok(back);
        };
        let result = cold.give_back(wanted, |key, stored, value| {
            let found = decode(value);
            let id = self.key(core.hasher.hash(key), key);
            let pane = |(fires_at, newest, acc): (u64, i64, &[u8])| CountPane {
                fires_at,
                newest,
                acc: self.store(acc),
            };
            let panes = found.panes.into_iter().map(pane).collect();
            let all = self.keys.numbers();
            self.keys[id].below = true;
            let kept = &mut self.keys[id].of;
            (kept.records, kept.panes) = (found.records, panes);
            kept.mark.stored = stored || found.marks & STORED > 0;
            if !stored && found.marks & CHANGED > 0 {
                self.touched.touch(id, &mut kept.mark, all);
            }
            back.push(id);
            true
        });
        self.cold = Some(cold);
        result?;
        Ok(back)
    }

    /// All keys are to come out: the first of them.
    pub fn start_closing(&mut self, core: &Core, to: StepTime) -> Result<Closing, StepError> {
        let mut rest = self.live();
        sort_by_key(&mut rest, |k| self.keys.key(k));
        rest.reverse();
        let mut closing = Closing {
            to,
            keys: Vec::new(),
            rest,
            more: true,
        };
        self.close_more(core, &mut closing)?;
        Ok(closing)
    }

    /// The next keys that are to come out.
    pub fn close_more(&mut self, core: &Core, closing: &mut Closing) -> Result<(), StepError> {
        let Some(cold) = &self.cold else {
            closing.keys = std::mem::take(&mut closing.rest);
            closing.more = false;
            return Ok(());
        };
        let (list, more) = cold.due(0, i64::MAX, KEYS_A_TURN)?;
        let names = list
            .iter()
            .map(|(_, name)| key_of_entry(name).expect(WHOLE));
        let absent = names.filter(|key| !self.keys.has(&core.hasher, *key));
        let absent = absent.collect();
        closing.keys = self.take_back(core, absent)?;
        let last = list.last().filter(|_| more);
        let last_key = last.map(|(_, name)| key_of_entry(name).expect(WHOLE));
        let of = |k: u32| self.keys.key(k);
        while let Some(key) = closing
            .rest
            .pop_if(|key| last_key.is_none_or(|last| of(*key) <= last))
        {
            closing.keys.push(key);
        }
        sort_by_key(&mut closing.keys, of);
        closing.keys.reverse();
        closing.more = more;
        if let Some(cold) = &mut self.cold {
            let last = last.map(|(time, name)| (*time, name.as_slice()));
            cold.pass(0, i64::MAX, last)?;
        }
        Ok(())
    }

    /// Makes keys take no more memory than about so many bytes: those go that had no records for the longest time.
    pub fn shed(&mut self, core: &Core, bytes_max: usize) -> Result<(), StepError> {
        let now = self.memory();
        let Some(mut cold) = self.cold.take() else {
            return Ok(());
        };
        let result = self.shed_to(core, &mut cold, bytes_max, now);
        self.cold = Some(cold);
        result
    }

    fn shed_to(
        &mut self,
        core: &Core,
        cold: &mut ColdKeys,
        bytes_max: usize,
        now: usize,
    ) -> Result<(), StepError> {
        // At the end, keys that come out are named by number.
        let dues = [Some(i64::MAX), None, None];
        if now <= bytes_max || self.closing.is_some() || !cold.may_leave(&dues) {
            return Ok(());
        }
        let live = self.live().into_iter();
        let may_leave: Vec<(u32, u32)> = live.map(|k| (self.keys[k].stamp, k)).collect();
        let all = may_leave.len();
        let mut leaving = first_to_leave(may_leave, leave(all, bytes_max, now));
        if leaving.is_empty() {
            return Ok(());
        }
        let key_of = |key: u32| self.keys.key(key);
        leaving.sort_unstable_by(|a, b| key_of(*a).cmp(&key_of(*b)));
        let encode = |key: u32, value: &mut Vec<u8>| {
            let entry = &self.keys[key].of;
            let Mark { stored, changed } = entry.mark;
            value.push((u8::from(stored) * STORED) | (u8::from(changed) * CHANGED));
            put_i64(value, entry.records as i64);
            for pane in &entry.panes {
                put_i64(value, pane.fires_at as i64);
                put_i64(value, pane.newest);
                put_bytes(value, self.accs.get(pane.acc as usize));
            }
        };
        cold.take_in(&leaving, key_of, encode, |_| dues)?;
        leaving.sort_unstable();
        self.keep_others(core, &leaving);
        Ok(())
    }

    /// Drops keys (their numbers, in order): what stays is made anew, as small as it can be.
    fn keep_others(&mut self, core: &Core, gone: &[u32]) {
        let mut staying = self.live();
        staying.retain(|key| gone.binary_search(key).is_err());
        staying.sort_unstable();
        let new = Counts::new(self.size, self.every);
        let old = std::mem::replace(self, new);
        self.keys.stamp = old.keys.stamp;
        let mut new_ids = vec![None; old.keys.numbers()];
        for number in staying {
            let (entry, bytes) = (&old.keys[number], old.keys.key(number));
            let id = self.key(core.hasher.hash(bytes), bytes);
            let panes = entry.of.panes.iter().map(|pane| CountPane {
                acc: self.store(old.accs.get(pane.acc as usize)),
                ..*pane
            });
            let panes = panes.collect();
            let new_entry = &mut self.keys[id];
            (new_entry.stamp, new_entry.below) = (entry.stamp, entry.below);
            new_entry.of = CountKey {
                records: entry.of.records,
                panes,
                mark: entry.of.mark,
            };
            new_ids[number as usize] = Some(id);
        }
        self.touched = old.touched;
        self.touched.renumber(|id| new_ids[id as usize]);
    }

    /// Appends the keys in the vault, as `snapshot` does those in memory.
    pub fn snapshot_spilled(
        &mut self,
        core: &Core,
        extent: Extent,
        version: u32,
        into: &mut StateBuffer,
    ) -> Result<(), StepError> {
        let Some(cold) = &self.cold else {
            return Ok(());
        };
        let in_memory = |key: Option<&[u8]>| self.keys.has(&core.hasher, key);
        cold.each(extent, in_memory, |key, recently, value| {
            let found = decode(value);
            if extent == Extent::Whole || recently && found.marks & CHANGED > 0 {
                let state = CountState {
                    key,
                    records: found.records,
                    panes: found.panes,
                };
                State::Count(state).put(version, into);
            }
        })?;
        if let Some(cold) = &mut self.cold {
            cold.snapshot_taken();
        }
        Ok(())
    }
}
