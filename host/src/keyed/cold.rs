//! Keys beyond memory: their values as bytes in a vault, and when they are wanted back. A `KeyMap` has its own (`map_cold`);
//! other tables use them by themselves.
//!
//! A key is in memory or *cold*. What the vault says of a key that is in memory is stale: it is not looked at, and
//! overwritten when the key leaves again, or buried when it is removed. For each clock there is a second vault of names
//! by time, so that a step finds what is due among millions of cold keys; an entry there may be stale, too, and brings
//! back a key too early, which does no harm.

use std::collections::BTreeSet;

use super::key_map::KeyId;
use super::{key_of_entry, put_entry_key};
use crate::record::codec::{ordered, unordered};
use crate::spill::{Entry, SpillError, Vault};
use crate::state::Extent;

/// Clocks by which keys can be wanted back.
const CLOCKS: usize = 3;
/// Times at which a key is wanted back, by clock.
pub type Dues = [Option<i64>; CLOCKS];

/// When a key is wanted back, and the key.
pub(super) type Due = (i64, Vec<u8>);

/// Bytes of entries read at once; few in tests, so that it takes several turns.
const SCAN_BYTES: usize = if cfg!(test) { 64 } else { 256 << 10 };
/// Names of removed keys that are remembered before the vault is told.
const BURIED_MAX: usize = 64 * 1024;
/// Bytes before a value: number of snapshots when it left.
const HEAD: usize = 8;

pub(super) const WHOLE: &str = "a vault gives back what was put in";

/// How many of all have to leave, if they take `now` bytes, more than `bytes_max`: each counts as if it took the same.
pub fn leave(all: usize, bytes_max: usize, now: usize) -> usize {
    all - (all as u128 * bytes_max as u128 / now as u128) as usize
}

/// The first to leave, so many of them, in any order: those with the least rank (when they were last touched, or when
/// they are wanted back).
pub fn first_to_leave<T: Ord>(mut may_leave: Vec<(T, KeyId)>, leave: usize) -> Vec<KeyId> {
    if leave < may_leave.len() {
        may_leave.select_nth_unstable(leave);
        may_leave.truncate(leave);
    }
    may_leave.into_iter().map(|(_, id)| id).collect()
}

/// Keys beyond memory.
#[derive(Debug)]
pub struct ColdKeys {
    states: Vault,
    /// Times (8 bytes, big endian, sign flipped) and names.
    dues: [Vault; CLOCKS],
    /// Nothing is due before, by clock.
    next: Dues,
    /// All that was due until then came back, by clock.
    passed: Dues,
    len: usize,
    /// Names that are still in the vault, of keys that are gone.
    buried: BTreeSet<Vec<u8>>,
    buried_bytes: usize,
    snapshots: u64,
    /// Age of the vault at the last one.
    age: u64,
}

fn due_name(time: i64, name: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(8 + name.len());
    all.extend_from_slice(&ordered(time));
    all.extend_from_slice(name);
    all
}

fn name_of(key: Option<&[u8]>) -> Vec<u8> {
    let mut name = Vec::with_capacity(key.map_or(0, <[u8]>::len) + 1);
    put_entry_key(&mut name, key);
    name
}

impl ColdKeys {
    /// None yet; they will be in this vault.
    pub fn new(vault: Vault) -> ColdKeys {
        ColdKeys {
            dues: std::array::from_fn(|_| vault.sibling()),
            states: vault,
            next: [None; CLOCKS],
            passed: [None; CLOCKS],
            len: 0,
            buried: BTreeSet::new(),
            buried_bytes: 0,
            snapshots: 0,
            age: 0,
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let dues: usize = self.dues.iter().map(Vault::memory).sum();
        self.states.memory() + dues + self.buried_bytes
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        let dues: u64 = self.dues.iter().map(Vault::disk_bytes).sum();
        self.states.disk_bytes() + dues
    }

    /// A key that came back from here is gone.
    pub fn bury(&mut self, key: Option<&[u8]>) {
        let name = name_of(key);
        // A name, its place in the tree, and the grain of the allocator.
        self.buried_bytes += name.len() + 48;
        self.buried.insert(name);
    }

    fn take_buried(&mut self) -> BTreeSet<Vec<u8>> {
        self.buried_bytes = 0;
        std::mem::take(&mut self.buried)
    }

    /// Tells the vault what is gone, if that is much.
    fn settle(&mut self) -> Result<(), SpillError> {
        if self.buried.len() < BURIED_MAX {
            return Ok(());
        }
        let buried = self.take_buried();
        let mut eviction = self.states.evict(buried.len())?;
        buried.iter().try_for_each(|name| eviction.delete(name))?;
        self.states.admit(eviction)
    }

    /// A time at or before the first at which a key is wanted back.
    pub fn next_due(&self, clock: usize) -> Option<i64> {
        self.next[clock]
    }

    /// Whether a key that is wanted back then may leave: what was due until a time came back by then.
    pub fn may_leave(&self, dues: &Dues) -> bool {
        let ahead = |(due, passed): (&Option<i64>, &Option<i64>)| {
            due.is_none_or(|due| passed.is_none_or(|passed| due > passed))
        };
        dues.iter().zip(&self.passed).all(ahead)
    }

    /// Takes keys in, whose numbers `leaving` are in order of their keys; all of them may leave.
    pub fn take_in<'k>(
        &mut self,
        leaving: &[KeyId],
        key: impl Fn(KeyId) -> Option<&'k [u8]>,
        mut encode: impl FnMut(KeyId, &mut Vec<u8>),
        dues: impl Fn(KeyId) -> Dues,
    ) -> Result<(), SpillError> {
        let buried = self.take_buried();
        let mut buried = buried.iter().peekable();
        let mut states = self.states.evict(leaving.len() + buried.len())?;
        let (mut name, mut value) = (Vec::new(), Vec::new());
        for &id in leaving {
            name.clear();
            put_entry_key(&mut name, key(id));
            while let Some(gone) = buried.next_if(|gone| **gone < name) {
                states.delete(gone)?;
            }
            // It came again.
            buried.next_if(|gone| **gone == name);
            value.clear();
            value.extend_from_slice(&self.snapshots.to_le_bytes());
            encode(id, &mut value);
            self.states.check_value(key(id), value.len())?;
            states.set(&name, &value)?;
        }
        buried.try_for_each(|gone| states.delete(gone))?;
        self.states.admit(states)?;
        self.len += leaving.len();
        for clock in 0..CLOCKS {
            let mut times: Vec<(i64, u32)> = (0..)
                .zip(leaving)
                .filter_map(|(at, id)| Some((dues(*id)[clock]?, at)))
                .collect();
            let Some(least) = times.iter().map(|t| t.0).min() else {
                continue;
            };
            times.sort_unstable();
            let mut eviction = self.dues[clock].evict(times.len())?;
            for (time, at) in times {
                let name = name_of(key(leaving[at as usize]));
                eviction.set(&due_name(time, &name), &[])?;
            }
            self.dues[clock].admit(eviction)?;
            self.next[clock] = Some(self.next[clock].map_or(least, |next| next.min(least)));
        }
        Ok(())
    }

    /// Looks keys up, which are none of those in memory. `found` hears of each that is here, whether a snapshot was taken
    /// since it left, and its value; it answers whether the key is in memory now.
    pub fn give_back(
        &mut self,
        mut wanted: Vec<Option<&[u8]>>,
        mut found: impl FnMut(Option<&[u8]>, bool, &[u8]) -> bool,
    ) -> Result<(), SpillError> {
        wanted.sort_unstable();
        wanted.dedup();
        let names = wanted.iter().map(|key| name_of(*key));
        let there = |name: &Vec<u8>| self.buried.is_empty() || !self.buried.contains(name);
        let names: Vec<Vec<u8>> = names.filter(there).collect();
        let (snapshots, mut given) = (self.snapshots, 0);
        let result = self
            .states
            .get_many(names.iter().map(Vec::as_slice), |i, bytes| {
                let (left, value) = bytes.split_first_chunk().expect(WHOLE);
                let stored = u64::from_le_bytes(*left) < snapshots;
                let key = key_of_entry(&names[i]).expect(WHOLE);
                given += usize::from(found(key, stored, value));
            });
        self.len -= given;
        result
    }

    /// Keys that a clock wants back until a time, and when: the next so many, in order of time and key; and whether there
    /// are more. They may be in memory.
    pub fn due(
        &self,
        clock: usize,
        until: i64,
        most: usize,
    ) -> Result<(Vec<Due>, bool), SpillError> {
        let mut found: Vec<(i64, Vec<u8>)> = Vec::new();
        if self.next[clock].is_none_or(|next| next > until) {
            return Ok((found, false));
        }
        let mut behind: Option<Vec<u8>> = None;
        loop {
            let (read, more) = self.dues[clock].scan(&[], behind.as_deref(), SCAN_BYTES)?;
            for entry in &read {
                let (time, name) = entry.name.split_first_chunk().expect(WHOLE);
                let time = unordered(*time);
                if time > until {
                    return Ok((found, false));
                }
                if found.len() == most {
                    return Ok((found, true));
                }
                found.push((time, name.to_vec()));
            }
            behind = read.last().map(|e| e.name.clone());
            if !more {
                return Ok((found, false));
            }
        }
    }

    /// What to bring back next where all of one time come back together: keys that a clock wants back until a time,
    /// about so many, and the time up to which nothing is missing then.
    pub fn due_whole(
        &self,
        clock: usize,
        until: i64,
        mut most: usize,
    ) -> Result<(Vec<Due>, i64), SpillError> {
        loop {
            let (mut list, more) = self.due(clock, until, most)?;
            let (Some(first), Some(last), true) = (list.first(), list.last(), more) else {
                return Ok((list, until));
            };
            // Of the last time there may be more.
            let (first, last) = (first.0, last.0);
            if first < last {
                list.truncate(list.partition_point(|due| due.0 < last));
                return Ok((list, last - 1));
            }
            most = most.saturating_mul(2);
        }
    }

    /// It is so late by a clock: keys that are wanted back until then stay from now on.
    pub fn note_time(&mut self, clock: usize, time: i64) {
        self.passed[clock] = self.passed[clock].max(Some(time));
    }

    /// What was due before and at `last` came back; none: all until that time did.
    pub fn pass(
        &mut self,
        clock: usize,
        until: i64,
        last: Option<(i64, &[u8])>,
    ) -> Result<(), SpillError> {
        self.note_time(clock, until);
        if self.next[clock].is_none_or(|next| next > until) {
            return Ok(());
        }
        let dues = &mut self.dues[clock];
        // A bound of several clocks may lie behind what this one shows.
        match last.filter(|last| last.0 <= until) {
            Some((time, name)) => {
                let mut floor = due_name(time, name);
                floor.push(0);
                dues.raise_floor(&floor)?;
                self.next[clock] = Some(time);
            }
            None => {
                match until.checked_add(1) {
                    Some(floor) => dues.raise_floor(&due_name(floor, &[]))?,
                    None => dues.raise_floor(&[0xff; 16])?,
                }
                let (first, _) = dues.scan(&[], None, 1)?;
                self.next[clock] = first.first().map(|entry| {
                    let time = entry.name.first_chunk().expect(WHOLE);
                    unordered(*time)
                });
            }
        }
        self.settle()
    }

    /// A clock begins anew: all that it wanted back came back.
    pub fn forget_times(&mut self, clock: usize) {
        // An empty one, too, says of all times up to where it was passed that they are gone.
        self.dues[clock] = self.states.sibling();
        (self.next[clock], self.passed[clock]) = (None, None);
    }

    /// Tells of all keys that are not in memory (or of some: all that left since the last snapshot), whether they left since
    /// then, and their values.
    pub fn each(
        &self,
        extent: Extent,
        in_memory: impl Fn(Option<&[u8]>) -> bool,
        mut each: impl FnMut(Option<&[u8]>, bool, &[u8]),
    ) -> Result<(), SpillError> {
        // What changed since the last snapshot was in memory then, so it was written since.
        let age = match extent {
            Extent::Whole => 0,
            Extent::Changes => self.age,
        };
        let (mut behind, mut more): (Option<Vec<u8>>, bool) = (None, self.len > 0);
        while more {
            let (read, further) =
                self.states
                    .scan_since(age, &[], behind.as_deref(), SCAN_BYTES)?;
            for entry in &read {
                let key = key_of_entry(&entry.name).expect(WHOLE);
                let (left, value) = entry.value.split_first_chunk::<HEAD>().expect(WHOLE);
                if !in_memory(key) && !self.buried.contains(&entry.name) {
                    each(key, u64::from_le_bytes(*left) == self.snapshots, value);
                }
            }
            behind = read.last().map(|e| e.name.clone());
            more = further;
        }
        Ok(())
    }

    /// Whether a key that is not in memory is like this; only those are looked at that a clock wants back until a time.
    pub fn any_due(
        &mut self,
        clock: usize,
        until: i64,
        in_memory: impl Fn(Option<&[u8]>) -> bool,
        is_like: impl Fn(&[u8]) -> bool,
    ) -> Result<bool, SpillError> {
        let mut more = self.next[clock].is_some_and(|next| next <= until);
        let mut behind: Option<Vec<u8>> = None;
        while more {
            let (read, further) = self.dues[clock].scan(&[], behind.as_deref(), SCAN_BYTES)?;
            let in_time = |due: &Entry| {
                let time = due.name.first_chunk().expect(WHOLE);
                unordered(*time) <= until
            };
            let until = read.partition_point(in_time);
            let names = read[..until].iter().map(|due| &due.name[8..]);
            let absent = names.filter(|name| {
                !in_memory(key_of_entry(name).expect(WHOLE)) && !self.buried.contains(*name)
            });
            let mut absent: Vec<&[u8]> = absent.collect();
            absent.sort_unstable();
            absent.dedup();
            let mut any = false;
            self.states.get_many(absent.into_iter(), |_, bytes| {
                any |= is_like(&bytes[HEAD..]);
            })?;
            if any {
                return Ok(true);
            }
            more = further && until == read.len();
            behind = read.into_iter().last().map(|due| due.name);
        }
        Ok(false)
    }

    /// Goes on through all keys that are not in memory, in the order of their names, from behind one of them. `each` hears of
    /// a key, whether a snapshot was taken since it left, and its value; what it writes, if anything, takes the value's place.
    /// Whether there are more.
    pub fn revise(
        &mut self,
        behind: &mut Option<Vec<u8>>,
        in_memory: impl Fn(Option<&[u8]>) -> bool,
        mut each: impl FnMut(Option<&[u8]>, bool, &[u8], &mut Vec<u8>),
    ) -> Result<bool, SpillError> {
        let (read, more) = self.states.scan(&[], behind.as_deref(), SCAN_BYTES)?;
        let mut revised: Vec<(&[u8], Vec<u8>)> = Vec::new();
        for Entry { name, value } in &read {
            let key = key_of_entry(name).expect(WHOLE);
            if in_memory(key) || self.buried.contains(name) {
                continue;
            }
            let (left, value) = value.split_first_chunk::<HEAD>().expect(WHOLE);
            let mut new = self.snapshots.to_le_bytes().to_vec();
            each(
                key,
                u64::from_le_bytes(*left) < self.snapshots,
                value,
                &mut new,
            );
            if new.len() > HEAD {
                revised.push((name, new));
            }
        }
        if !revised.is_empty() {
            let mut states = self.states.evict(revised.len())?;
            for (name, value) in &revised {
                states.set(name, value)?;
            }
            self.states.admit(states)?;
        }
        *behind = read.into_iter().last().map(|entry| entry.name);
        Ok(more)
    }

    /// An empty vault of the same step.
    pub fn another_vault(&self) -> Vault {
        self.states.sibling()
    }

    /// All is in a snapshot now.
    pub fn snapshot_taken(&mut self) {
        self.snapshots += 1;
        self.age = self.states.age();
    }
}
