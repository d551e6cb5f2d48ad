//! Sessions beyond memory: a key leaves with all its sessions, and comes back when it has records, when the first of its
//! sessions closes (or is past), or when those fire that changed.
//!
//! A move of time is cut into several, each up to a time until which all that closes was brought back; then those fire
//! that changed and are open, each time up to an end until which all of them were brought back. Results come out in the
//! same order as if all had been in memory.
//!
//! In complete mode all fire together, which moves none of them (`session_whole`); then time moves as above.

use std::cmp::Reverse;

use super::Emit;
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

/// Clock of closing, and of being past.
pub(super) const CLOSING: usize = 0;
/// Not a clock: ends of sessions that changed since they fired (not in complete mode, where nobody asks for them).
pub(super) const CHANGED: usize = 1;

/// What a boundary does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Where time stands after it.
    pub to: StepTime,
    /// Open sessions that changed fire, if they end by then.
    pub open_until: Option<i64>,
    /// Nothing is left to do after it.
    pub last: bool,
}

/// A session as the vault has it.
pub(super) struct SpilledSession<'a> {
    pub mark: Mark,
    pub start: i64,
    pub end: i64,
    pub count: u64,
    pub acc: &'a [u8],
}

impl SpilledSession<'_> {
    /// Appends it to its key's value.
    pub fn put(&self, value: &mut Vec<u8>) {
        value.push(u8::from(self.mark.stored) | u8::from(self.mark.changed) << 1);
        put_i64(value, self.start);
        put_i64(value, self.end);
        put_i64(value, self.count as i64);
        put_bytes(value, self.acc);
    }
}

/// The sessions in a value.
pub(super) fn sessions(value: &[u8]) -> impl Iterator<Item = SpilledSession<'_>> {
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
            count: from.i64().expect(WHOLE) as u64,
            acc: from.bytes().expect(WHOLE),
        })
    })
}

impl Sessions {
    /// Brings back a key of which a session is to be restored, if others of it left already.
    pub fn fetch_key(&mut self, core: &Core, key: Option<&[u8]>) -> Result<(), StepError> {
        let cold = self.cold.as_ref().is_some_and(|cold| !cold.is_empty());
        if cold && !self.keys.has(&core.hasher, key) {
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
                // It is among those that changed, wherever it is.
                s.count = session.count;
                if session.count > 0 {
                    self.dirty.push(id);
                }
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

    /// Brings back what is needed for the next turn of a boundary that moves time to `to`. `open_fires`: those that
    /// changed are to fire, open ones too.
    pub fn next_turn(
        &mut self,
        core: &Core,
        to: StepTime,
        open_fires: bool,
    ) -> Result<Turn, StepError> {
        let mut closed = self.bring(core, CLOSING, to.passed)?;
        // What got a late record closed long ago; time does not go back to then.
        while closed < core.time.passed {
            closed = self.bring(core, CLOSING, to.passed)?;
        }
        let still = StepTime {
            passed: closed,
            ..core.time
        };
        let changed = self.cold.as_ref().and_then(|cold| cold.next_due(CHANGED));
        let turn = if closed < to.passed || open_fires && changed.is_some() && still != core.time {
            Turn {
                to: still,
                open_until: None,
                last: false,
            }
        } else if !open_fires {
            Turn {
                to,
                open_until: None,
                last: true,
            }
        } else {
            let until = self.bring(core, CHANGED, i64::MAX)?;
            let last = until == i64::MAX;
            if let (true, Some(cold)) = (last, &mut self.cold) {
                // Whatever changes from now on fires another time, and may end at any.
                cold.forget_times(CHANGED);
            }
            Turn {
                to: if last { to } else { still },
                open_until: Some(until),
                last,
            }
        };
        Ok(turn)
    }

    /// Brings back the next keys that a clock wants back until a time. Answers the time up to which nothing is missing
    /// now.
    fn bring(&mut self, core: &Core, clock: usize, until: i64) -> Result<i64, StepError> {
        let Some(cold) = &self.cold else {
            return Ok(until);
        };
        // Sessions with one end come out in order of their starts: all of them, or none.
        let (list, until) = cold.due_whole(clock, until, KEYS_A_TURN)?;
        let key = |name| crate::keyed::key_of_entry(name).expect(WHOLE);
        let keys = list.iter().map(|(_, name)| key(name));
        let absent = keys.filter(|key| !self.keys.has(&core.hasher, *key));
        let absent = absent.collect();
        self.take_back(core, absent)?;
        if let Some(cold) = &mut self.cold {
            cold.pass(clock, until, None)?;
        }
        Ok(until)
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
        if now <= bytes_max || self.closing.is_some() || self.whole.is_some() {
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
                SpilledSession {
                    mark: s.mark,
                    start: s.start,
                    end: s.end,
                    count: s.count,
                    acc: self.accs.get(id as usize),
                }
                .put(value);
            }
        };
        cold.take_in(&leaving, key_of, encode, |key| self.dues(core, key))?;
        leaving.sort_unstable();
        self.keep_others(core, &leaving);
        Ok(())
    }

    /// When a key is wanted back.
    fn dues(&self, core: &Core, key: u32) -> Dues {
        let sessions = || {
            let ids = self.keys[key].of.iter();
            ids.map(|id| &self.all[*id as usize])
        };
        let closing = |s: &Session| {
            let closed = core.retention.is_closed(s.end, core.time.passed);
            match closed && s.count == 0 {
                true => core.retention.past_at(s.end),
                // One that is closed and got a late record fires at the next boundary: it stays.
                false => core.retention.close_at(s.end),
            }
        };
        let asked_for = core.spec.emit != Emit::Complete;
        let changed = sessions().filter(|s| asked_for && s.count > 0);
        [
            sessions().map(closing).min(),
            changed.map(|s| s.end).min(),
            None,
        ]
    }

    /// Drops keys (their numbers, in order): what stays is made anew, as small as it can be.
    fn keep_others(&mut self, core: &Core, gone: &[u32]) {
        let old = std::mem::take(self);
        let mut new_ids = vec![NONE; old.all.len()];
        self.keys.stamp = old.keys.stamp;
        self.changed = old.changed;
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
                if s.count > 0 {
                    self.dirty.push(new);
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
        let in_memory = |key: Option<&[u8]>| self.keys.has(&core.hasher, key);
        cold.each(extent, in_memory, |key, recently, value| {
            for session in sessions(value) {
                if extent == Extent::Whole || recently && session.mark.changed {
                    let state = GroupState {
                        key,
                        start: session.start,
                        end: session.end,
                        count: session.count,
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
