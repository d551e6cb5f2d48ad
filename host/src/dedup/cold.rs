//! Keys of a dedup beyond memory: which leave, and how they come back, for records and to be forgotten.

use crate::keyed::{Dues, KeyId, TimeList, TimeQueue, first_to_leave, key_of_entry, leave};
use crate::record::codec::Reader;
use crate::step::{Progress, Step, StepError};

use super::{DedupStep, encode};

/// Keys brought back at once; few in tests, so that it takes several turns.
const KEYS_A_TURN: usize = if cfg!(test) { 2 } else { 4096 };

const WHOLE: &str = "a vault gives back what was put in";

/// A key is wanted back when its last time is to be forgotten.
fn dues(times: &TimeList) -> Dues {
    [times.all().last().map(|last| last.0), None, None]
}

fn decode(value: &[u8]) -> TimeList {
    let mut times = TimeList::default();
    let mut from = Reader::new(value);
    from.byte().expect(WHOLE);
    while !from.is_empty() {
        times.insert(from.i64().expect(WHOLE), 0);
    }
    times
}

impl DedupStep {
    /// Brings back those of the keys that are beyond memory.
    pub(super) fn fetch<'k>(
        &mut self,
        keys: impl Iterator<Item = Option<&'k [u8]>>,
    ) -> Result<(), StepError> {
        for id in self.keys.fetch(keys, |_, value| Some(decode(value)))? {
            for &(time, _) in self.keys.get(id).all() {
                self.accepted.push(time, id);
                self.times += 1;
            }
        }
        Ok(())
    }

    /// Drops some thousand keys beyond memory that have no time left after this one.
    pub(super) fn forget_cold(&mut self, until: i64) -> Result<Progress, StepError> {
        let (list, more) = self.keys.due(0, until, KEYS_A_TURN)?;
        let key = |name| key_of_entry(name).expect(WHOLE);
        let gone = self
            .keys
            .fetch(list.iter().map(|(_, name)| key(name)), |_, value| {
                let times = decode(value);
                (dues(&times)[0] <= Some(until)).then_some(times)
            })?;
        for id in gone {
            self.keys.remove(id);
        }
        let last = list.last().filter(|_| more);
        let last = last.map(|(time, name)| (*time, name.as_slice()));
        self.keys.pass(0, until, last)?;
        Ok(if more { Progress::More } else { Progress::Done })
    }

    /// Makes keys take no more memory than about so many bytes: those go that will be forgotten first.
    pub(super) fn shed_keys(&mut self, bytes_max: usize) -> Result<(), StepError> {
        let now = self.state_bytes();
        // Times that are just being forgotten name their keys by number.
        if !self.keys.has_vault() || now <= bytes_max || !self.due.is_empty() {
            return Ok(());
        }
        let ids = self.keys.ids();
        let may_leave: Vec<(i64, KeyId)> = ids
            .filter_map(|id| {
                let dues = dues(self.keys.get(id));
                self.keys.may_leave(&dues).then_some((dues[0]?, id))
            })
            .collect();
        let all = self.keys.len();
        let leaving = first_to_leave(may_leave, leave(all, bytes_max, now));
        if leaving.is_empty() {
            return Ok(());
        }
        self.keys.evict(leaving, encode, dues)?;
        self.accepted = TimeQueue::default();
        self.times = 0;
        for id in self.keys.ids() {
            for &(time, _) in self.keys.get(id).all() {
                self.accepted.push(time, id);
                self.times += 1;
            }
        }
        Ok(())
    }
}
