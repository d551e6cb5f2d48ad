//! Sessions beyond memory: a key leaves with all its sessions, and comes back when it has records, or when the first of
//! its sessions closes.
//!
//! Only for windows that fire at their close and at no other time. Then a move of time may be cut into several, each up
//! to a time until which all that closes was brought back: results come out in the same order.

use std::cmp::Reverse;

use super::codec::{GroupState, State};
use super::core::{Arrivals, Core};
use super::session::{NONE, Session, Sessions};
use super::time::StepTime;
use crate::keyed::{ColdKeys, Dues, first_to_leave, leave};
use crate::record::codec::{Reader, put_bytes, put_i64};
use crate::record::{Batch, NO_TIMESTAMP};
use crate::state::{Extent, Mark, StateBuffer};
use crate::step::StepError;

/// Keys brought back at once; few in tests, so that it takes several turns.
const KEYS_A_TURN: usize = if cfg!(test) { 2 } else { 4096 };

const WHOLE: &str = "a vault gives back what was put in";

/// A session as the vault has it.
struct SpilledSession<'a> {
    mark: Mark,
    start: i64,
    end: i64,
    acc: &'a [u8],
}

/// The sessions in a value.
fn sessions(value: &[u8]) -> impl Iterator<Item = SpilledSession<'_>> {
    let mut from = Reader::new(value);
    std::iter::from_fn(move || {
        if from.is_empty() {
            return None;
        }
        let marks = from.byte().expect(WHOLE);
        Some(SpilledSession {
            mark: Mark {
                stored: marks & 1 > 0,
                changed: marks & 2 > 0,
            },
            start: from.i64().expect(WHOLE),
            end: from.i64().expect(WHOLE),
            acc: from.bytes().expect(WHOLE),
        })
    })
}

impl Sessions {
    /// Brings back a key of which a session is to be restored, if others of it left already.
    pub fn fetch_key(&mut self, core: &Core, key: Option<&[u8]>) -> Result<(), StepError> {
        let cold = self.cold.as_ref().is_some_and(|cold| !cold.is_empty());
        if cold && self.keys.find(core.hasher.hash(key), key).is_none() {
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
        if self.cold.as_ref().is_none_or(ColdKeys::is_empty) {
            return Ok(());
        }
        self.take_back(core, self.keys.absent(batch, arrivals))
    }

    /// Brings back keys, none of which is in memory.
    fn take_back(&mut self, core: &Core, wanted: Vec<Option<&[u8]>>) -> Result<(), StepError> {
        let Some(mut cold) = self.cold.take() else {
            return Ok(());
        };
        let result = cold.give_back(wanted, |key, stored, value| {
            let key = self.key(core.hasher.hash(key), key);
            self.keys[key].below = true;
            for session in sessions(value) {
                let id = self.new_session(session.acc);
                self.keys[key].of.push(id);
                let s = &mut self.all[id as usize];
                (s.key, s.start, s.end) = (key, session.start, session.end);
                s.mark.stored = stored || session.mark.stored;
                if !stored && session.mark.changed {
                    self.touch(id);
                }
                self.schedule(core, id, core.time.passed);
            }
            true
        });
        self.cold = Some(cold);
        Ok(result?)
    }

    /// Brings back the next keys with sessions that close, if time moves to `to`. Answers the time up to which nothing is
    /// missing now.
    pub fn bring_due(&mut self, core: &Core, to: StepTime) -> Result<StepTime, StepError> {
        let Some(cold) = &self.cold else {
            return Ok(to);
        };
        // Sessions with one end come out in order of their starts: all of them, or none.
        let (list, until) = cold.due_whole(0, to.passed, KEYS_A_TURN)?;
        let key = |name| crate::keyed::key_of_entry(name).expect(WHOLE);
        let keys = list.iter().map(|(_, name)| key(name));
        let absent = keys.filter(|key| self.keys.find(core.hasher.hash(*key), *key).is_none());
        let absent = absent.collect();
        self.take_back(core, absent)?;
        if let Some(cold) = &mut self.cold {
            cold.pass(0, until, None)?;
        }
        Ok(StepTime {
            passed: until,
            ..if until == to.passed { to } else { core.time }
        })
    }

    /// Makes sessions take no more memory than about so many bytes: keys go that were touched longest ago.
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
        if now <= bytes_max || self.closing.is_some() {
            return Ok(());
        }
        let mut may_leave: Vec<(u32, u32)> = Vec::new();
        for key in self.keys.live() {
            if cold.may_leave(&self.dues(core, key)) {
                may_leave.push((self.keys[key].stamp, key));
            }
        }
        let all = self.keys.len();
        let mut leaving = first_to_leave(may_leave, leave(all, bytes_max, now));
        if leaving.is_empty() {
            return Ok(());
        }
        let key_of = |key: u32| self.keys.key(key);
        leaving.sort_unstable_by(|a, b| key_of(*a).cmp(&key_of(*b)));
        let encode = |key: u32, value: &mut Vec<u8>| {
            for &id in &self.keys[key].of {
                let s: &Session = &self.all[id as usize];
                value.push(u8::from(s.mark.stored) | u8::from(s.mark.changed) << 1);
                put_i64(value, s.start);
                put_i64(value, s.end);
                put_bytes(value, self.accs.get(id as usize));
            }
        };
        cold.take_in(&leaving, key_of, encode, |key| self.dues(core, key))?;
        leaving.sort_unstable();
        self.keep_others(core, &leaving);
        Ok(())
    }

    /// When a key is wanted back.
    fn dues(&self, core: &Core, key: u32) -> Dues {
        let sessions = self.keys[key].of.iter();
        let ends = sessions.map(|id| core.retention.close_at(self.all[*id as usize].end));
        [ends.min(), None, None]
    }

    /// Drops keys (their numbers, in order): what stays is made anew, as small as it can be.
    fn keep_others(&mut self, core: &Core, gone: &[u32]) {
        let old = std::mem::take(self);
        let mut new_ids = vec![NONE; old.all.len()];
        self.keys.stamp = old.keys.stamp;
        let mut staying: Vec<u32> = old.keys.live().collect();
        staying.retain(|key| gone.binary_search(key).is_err());
        staying.sort_unstable();
        for number in staying {
            let (entry, bytes) = (&old.keys[number], old.keys.key(number));
            let key = self.key(core.hasher.hash(bytes), bytes);
            let new_entry = &mut self.keys[key];
            (new_entry.stamp, new_entry.below) = (entry.stamp, entry.below);
            for &id in &entry.of {
                let new = self.new_session(old.accs.get(id as usize));
                let s = old.all[id as usize];
                self.all[new as usize] = Session { key, ..s };
                self.keys[key].of.push(new);
                if s.deadline != NO_TIMESTAMP {
                    self.deadlines.push(Reverse((s.deadline, new)));
                }
                new_ids[id as usize] = new;
            }
        }
        self.touched = old.touched;
        self.touched
            .renumber(|id| Some(new_ids[id as usize]).filter(|id| *id != NONE));
    }

    /// Appends the sessions in the vault, as `snapshot` does those in memory.
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
        let in_memory = |key: Option<&[u8]>| self.keys.find(core.hasher.hash(key), key).is_some();
        cold.each(extent, in_memory, |key, recently, value| {
            for session in sessions(value) {
                if extent == Extent::Whole || recently && session.mark.changed {
                    let state = GroupState {
                        key,
                        start: session.start,
                        end: session.end,
                        count: 0,
                        newest: NO_TIMESTAMP,
                        acc: session.acc,
                    };
                    State::Group(state).put(version, into);
                }
            }
        })?;
        if let Some(cold) = &mut self.cold {
            cold.snapshot_taken();
        }
        Ok(())
    }
}
