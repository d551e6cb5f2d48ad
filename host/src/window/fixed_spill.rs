//! Groups of tumbling, sliding and global windows beyond memory: which leave, and how they come back.
//!
//! A group is in memory or in the step's vault. What the vault says of a group that is in memory is stale: it is not
//! looked at, and overwritten when the group leaves again. Those touched longest ago leave first. They come back
//! when a batch has records for them; a firing (`spilled_fire`) reads them without.
//!
//! Names in the vault are those of snapshots; values are: stamp (4 bytes), records since it fired (8), newest
//! timestamp (8), accumulator. They live as long as the process, no longer.

use super::codec::{GROUP, GroupState, SLICE, SliceState, State, prefix, put_name};
use super::core::{Arrivals, Core};
use super::fixed::{FixedWindows, PAIRS_A_CALL};
use super::groups::Window;
use super::keys::key_of;
use crate::record::Batch;
use crate::spill::{Entry, Vault};
use crate::state::StateBuffer;
use crate::step::StepError;

/// An entry that lies on disk, and the key that its name holds.
type EntryWithKey<'a> = (&'a Entry, Option<&'a [u8]>);

/// Bytes of entries read at once.
const SCAN_BYTES: usize = 256 << 10;

/// Bytes of a name before the key.
const NAME_HEAD: usize = 9;

/// What of a window is in the vault.
#[derive(Debug, Default)]
pub(super) struct Spilled {
    /// Groups that are there, and not in memory.
    pub groups: usize,
    /// Of them, those with records since they last fired.
    pub changed: usize,
    /// The vault knows the window.
    pub any: bool,
}

/// A group as the vault has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpilledGroup<'a> {
    pub stamp: u32,
    pub count: u64,
    pub newest: i64,
    pub acc: &'a [u8],
}

const WHOLE: &str = "a vault gives back what was put in";

impl<'a> SpilledGroup<'a> {
    pub fn read(value: &'a [u8]) -> SpilledGroup<'a> {
        let (stamp, rest) = value.split_first_chunk().expect(WHOLE);
        let (count, rest) = rest.split_first_chunk().expect(WHOLE);
        let (newest, acc) = rest.split_first_chunk().expect(WHOLE);
        SpilledGroup {
            stamp: u32::from_le_bytes(*stamp),
            count: u64::from_le_bytes(*count),
            newest: i64::from_le_bytes(*newest),
            acc,
        }
    }

    pub fn put(&self, value: &mut Vec<u8>) {
        value.clear();
        value.extend_from_slice(&self.stamp.to_le_bytes());
        value.extend_from_slice(&self.count.to_le_bytes());
        value.extend_from_slice(&self.newest.to_le_bytes());
        value.extend_from_slice(self.acc);
    }
}

/// The key in the name of a group.
pub(super) fn key_of_name(name: &[u8]) -> Option<&[u8]> {
    match name[NAME_HEAD] {
        0 => None,
        _ => Some(&name[NAME_HEAD + 1..]),
    }
}

impl Window {
    /// Whether a group got records since it last fired, wherever it is.
    pub fn has_changed(&self) -> bool {
        !self.dirty.is_empty() || self.spilled.changed > 0
    }
}

impl FixedWindows {
    pub(super) fn kind(&self) -> u8 {
        if self.is_sliced() { SLICE } else { GROUP }
    }

    /// Brings back the groups that records from `from` on go to: as many of them as `assign` takes.
    pub fn fetch(
        &mut self,
        core: &mut Core,
        batch: &Batch,
        arrivals: &Arrivals,
        from: usize,
    ) -> Result<(), StepError> {
        if self.spilled == 0 {
            return Ok(());
        }
        let mut wanted: Vec<(u32, u32)> = Vec::new();
        let mut pairs = 0;
        for &row in &arrivals.rows[from..] {
            if pairs >= PAIRS_A_CALL && self.overlaps() {
                break;
            }
            let hash = arrivals.hashes[row as usize];
            let key = key_of(batch.keys.as_ref(), row as usize);
            self.each_window(core, arrivals.times[row as usize], |end| {
                pairs += 1;
                let Some(&window) = self.by_end.get(&end) else {
                    return;
                };
                let w = &self.windows[window as usize];
                if w.spilled.groups > 0 && w.find(hash, key).is_none() {
                    wanted.push((window, row));
                }
            });
        }
        self.bring(core, batch, arrivals, &wanted)
    }

    /// Looks groups up, all at once and in order, and makes those that are found.
    fn bring(
        &mut self,
        core: &mut Core,
        batch: &Batch,
        arrivals: &Arrivals,
        wanted: &[(u32, u32)],
    ) -> Result<(), StepError> {
        let Some(vault) = core.vault.as_mut().filter(|_| !wanted.is_empty()) else {
            return Ok(());
        };
        let kind = self.kind();
        let mut names: Vec<u8> = Vec::with_capacity(wanted.len() * 24);
        let mut order: Vec<(usize, usize, u32, u32)> = Vec::with_capacity(wanted.len());
        for &(window, row) in wanted {
            let at = names.len();
            let key = key_of(batch.keys.as_ref(), row as usize);
            put_name(&mut names, kind, self.windows[window as usize].start, key);
            order.push((at, names.len(), window, row));
        }
        order.sort_unstable_by(|a, b| names[a.0..a.1].cmp(&names[b.0..b.1]));
        order.dedup_by(|a, b| names[a.0..a.1] == names[b.0..b.1]);
        let these = order.iter().map(|o| &names[o.0..o.1]);
        vault.get_many(these, |i, value| {
            let (_, _, window, row) = order[i];
            let key = key_of(batch.keys.as_ref(), row as usize);
            self.take_back(window, arrivals.hashes[row as usize], key, value);
        })?;
        Ok(())
    }

    /// A group is in memory again.
    fn take_back(&mut self, window: u32, hash: u64, key: Option<&[u8]>, value: &[u8]) {
        let group = SpilledGroup::read(value);
        let w = &mut self.windows[window as usize];
        let (at, _) = w.group(hash, key, group.acc);
        let g = &mut w.groups[at];
        (g.stamp, g.count) = (group.stamp, group.count);
        w.set_newest(at, group.newest);
        self.spilled -= 1;
        w.spilled.groups -= 1;
        if group.count > 0 {
            // The window is among those that changed already.
            w.spilled.changed -= 1;
            w.dirty.push(at);
        }
    }

    /// Makes the groups in memory take no more than about so many bytes: those go that were touched longest ago.
    pub fn shed(&mut self, core: &mut Core, bytes_max: usize) -> Result<(), StepError> {
        let (now, in_memory) = (self.memory(), self.groups - self.spilled);
        let Some(vault) = &mut core.vault else {
            return Ok(());
        };
        let room = bytes_max.saturating_sub(vault.memory()).max(bytes_max / 4);
        if now <= room || in_memory == 0 || self.closing.is_some() {
            return Ok(());
        }
        let keep = (in_memory as u128 * room as u128 / now as u128) as usize;
        let sliced = self.is_sliced();
        let all = || self.by_end.values().map(|w| &self.windows[*w as usize]);
        let mut stamps: Vec<u32> = Vec::with_capacity(in_memory);
        stamps.extend(all().flat_map(|w| w.groups.iter()).map(|g| g.stamp));
        let leave = in_memory - keep;
        let (_, &mut newest, _) = stamps.select_nth_unstable(leave.min(in_memory - 1));
        // Of those with the stamp at the border, so many leave.
        let mut border = leave - stamps[..leave].iter().filter(|s| **s < newest).count();
        drop(stamps);
        let mut leaving = vault.evict(leave)?;
        let (mut name, mut value) = (Vec::new(), Vec::new());
        let kind = self.kind();
        for &at in self.by_end.values() {
            let w = &mut self.windows[at as usize];
            let mut gone: Vec<u32> = Vec::new();
            for (i, g) in (0..).zip(w.groups.iter()) {
                // Of slices, those with late records are asked for at the next boundary.
                let leaves = g.stamp < newest || g.stamp == newest && border > 0;
                if leaves && !(sliced && g.count > 0) {
                    border -= usize::from(g.stamp == newest);
                    gone.push(i);
                }
            }
            if gone.is_empty() {
                continue;
            }
            w.sort(&mut gone);
            for &group in &gone {
                let g = &w.groups[group];
                name.clear();
                put_name(&mut name, kind, w.start, w.key(group));
                let spilled = SpilledGroup {
                    stamp: g.stamp,
                    count: g.count,
                    newest: w.newest(group),
                    acc: w.groups.acc(group),
                };
                spilled.put(&mut value);
                leaving.set(&name, &value)?;
                w.spilled.changed += usize::from(g.count > 0);
            }
            w.spilled.any = true;
            w.spilled.groups += gone.len();
            self.spilled += gone.len();
            w.keep_others(&mut gone, |key| core.hasher.hash(key));
        }
        vault.admit(leaving)?;
        Ok(())
    }

    /// What the vault has of windows that were dropped is of no use any more.
    pub fn forget_dropped(&mut self, core: &mut Core) -> Result<(), StepError> {
        let kind = self.kind();
        if let Some(vault) = &mut core.vault {
            for start in self.dropped_spilled.drain(..) {
                vault.forget(&prefix(kind, start))?;
            }
        }
        Ok(())
    }

    /// Appends the groups of a window that are in the vault only: all, or those with stamps after `clean`.
    pub fn snapshot_spilled(
        &self,
        core: &Core,
        window: u32,
        clean: Option<u32>,
        into: &mut StateBuffer,
    ) -> Result<(), StepError> {
        let w = &self.windows[window as usize];
        let version = core.facts.state_version;
        let mut scan = Scan::of(self.kind(), w);
        if clean.is_some() {
            // What changed since the last snapshot was in memory then, or was written since.
            scan.age = self.stamps.vault_age;
        }
        while let Some((entry, key)) = scan.next(core, w)? {
            let group = SpilledGroup::read(&entry.value);
            if clean.is_none_or(|clean| group.stamp > clean) {
                let (start, acc) = (w.start, group.acc);
                let state = if self.is_sliced() {
                    let flags = u8::from(group.count > 0);
                    State::Slice(SliceState {
                        key,
                        start,
                        flags,
                        acc,
                    })
                } else {
                    State::Group(GroupState {
                        key,
                        start,
                        end: w.end,
                        count: group.count,
                        newest: group.newest,
                        acc,
                    })
                };
                state.put(version, into);
            }
        }
        Ok(())
    }
}

/// The groups of a window that are in the vault and not in memory, in order of their keys.
#[derive(Debug)]
pub(super) struct Scan {
    prefix: [u8; NAME_HEAD],
    behind: Option<Vec<u8>>,
    /// The next one last.
    read: Vec<Entry>,
    current: Option<Entry>,
    more: bool,
    /// Entries taken in before are of no interest.
    age: u64,
}

impl Scan {
    /// From the first one on.
    pub fn of(kind: u8, window: &Window) -> Scan {
        Scan {
            prefix: prefix(kind, window.start),
            behind: None,
            read: Vec::new(),
            current: None,
            more: window.spilled.groups > 0,
            age: 0,
        }
    }

    /// The next, if there is one.
    pub fn next(
        &mut self,
        core: &Core,
        window: &Window,
    ) -> Result<Option<EntryWithKey<'_>>, StepError> {
        self.current = None;
        if self.peek(core, window)?.is_none() {
            return Ok(None);
        }
        self.current = self.read.pop();
        let entry = self.current.as_ref();
        Ok(entry.map(|entry| (entry, key_of_name(&entry.name))))
    }

    /// The entry that `peek` gave is done.
    pub fn pop(&mut self) {
        self.read.pop();
    }

    /// The same, which stays the next.
    pub fn peek(
        &mut self,
        core: &Core,
        window: &Window,
    ) -> Result<Option<EntryWithKey<'_>>, StepError> {
        loop {
            while let Some(entry) = self.read.last() {
                let key = key_of_name(&entry.name);
                if window.find(core.hasher.hash(key), key).is_none() {
                    break;
                }
                self.read.pop();
            }
            if !self.read.is_empty() || !self.more {
                break;
            }
            self.fill(core.vault.as_ref())?;
        }
        let entry = self.read.last();
        Ok(entry.map(|entry| (entry, key_of_name(&entry.name))))
    }

    fn fill(&mut self, vault: Option<&Vault>) -> Result<(), StepError> {
        let Some(vault) = vault else {
            self.more = false;
            return Ok(());
        };
        let (mut read, more) =
            vault.scan_since(self.age, &self.prefix, self.behind.as_deref(), SCAN_BYTES)?;
        self.more = more;
        self.behind = read.last().map(|e| e.name.clone());
        read.reverse();
        self.read = read;
        Ok(())
    }
}
