//! What of window state goes into a snapshot, and how each kind of windows knows what changed since the last one.
//!
//! Fixed windows and slices: by the stamp that a batch leaves on each group it touches, so records pay nothing; a
//! snapshot looks at the stamps of windows that were touched. They lose groups only with their window: one
//! deletion says so. Sessions and count windows remember numbers and names (`state::Touched`).

use super::codec::{
    CountState, GROUP, GroupState, SLICE, SliceState, State, key_in, prefix, put_name,
};
use super::core::Core;
use super::count::Counts;
use super::fixed::FixedWindows;
use super::session::Sessions;
use crate::record::NO_TIMESTAMP;
use crate::spill::Vault;
use crate::state::{Extent, Gone, Mark, StateBuffer};
use crate::step::{StepError, key_group};

/// So many dropped windows may be remembered for the next snapshot.
const DROPPED_MAX: usize = 1 << 20;

/// What fixed windows remember for the next snapshot.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// A snapshot was taken, and everything since is known.
    on: bool,
    /// Groups with stamps up to this are in it as they are. The stamp after it is no batch's: it is given to groups
    /// that change without one.
    pub clean: u32,
    /// Age of the vault then.
    pub vault_age: u64,
    /// Starts of windows that are in it and were dropped since.
    dropped: Vec<i64>,
}

impl Stamps {
    /// The stamp of groups that change without a batch.
    pub fn without_batch(&self) -> u32 {
        self.clean + 1
    }

    /// All stamps up to this are in a snapshot.
    pub fn take_snapshot(&mut self, stamp: u32) {
        (self.on, self.clean) = (true, stamp);
    }

    /// A window is dropped.
    pub fn drop_window(&mut self, stored: bool, start: i64) {
        if self.on && stored {
            self.dropped.push(start);
            if self.dropped.len() > DROPPED_MAX {
                // No snapshot is asked for any more, it seems.
                (self.on, self.dropped) = (false, Vec::new());
            }
        }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.dropped.capacity() * size_of::<i64>()
    }
}

impl FixedWindows {
    /// Appends groups; slices have entries of their own kind.
    pub fn snapshot(
        &mut self,
        core: &Core,
        extent: Extent,
        into: &mut StateBuffer,
    ) -> Result<Extent, StepError> {
        let version = core.facts.state_version;
        let mut spilled = Vec::new();
        let extent = if self.stamps.on {
            extent
        } else {
            Extent::Whole
        };
        let whole = extent == Extent::Whole;
        let sliced = self.is_sliced();
        let kind = if sliced { SLICE } else { GROUP };
        for start in std::mem::take(&mut self.stamps.dropped) {
            if !whole {
                into.delete_all(&prefix(kind, start));
            }
        }
        let clean = self.stamps.clean;
        for &window in self.by_end.values() {
            let w = &mut self.windows[window as usize];
            if !whole && w.touched <= clean {
                continue;
            }
            w.stored = !w.groups.is_empty() || w.spilled.groups > 0;
            if w.spilled.groups > 0 {
                spilled.push(window);
            }
            for (at, group) in (0..).zip(w.groups.iter()) {
                if !whole && group.stamp <= clean {
                    continue;
                }
                let (key, acc) = (group.key.get(&w.arena), w.groups.acc(at));
                let state = if sliced {
                    let flags = u8::from(group.count > 0);
                    let start = w.start;
                    State::Slice(SliceState {
                        key,
                        start,
                        flags,
                        acc,
                    })
                } else {
                    State::Group(GroupState {
                        key,
                        start: w.start,
                        end: w.end,
                        count: group.count,
                        newest: w.newest(at),
                        acc,
                    })
                };
                state.put(version, into);
            }
        }
        for window in spilled {
            self.snapshot_spilled(core, window, (!whole).then_some(clean), into)?;
        }
        self.all_stored();
        self.stamps.vault_age = core.vault.as_ref().map_or(0, Vault::age);
        Ok(extent)
    }
}

impl Sessions {
    /// Appends sessions.
    pub fn snapshot(&mut self, extent: Extent, version: u32, into: &mut StateBuffer) -> Extent {
        let changes = extent == Extent::Changes && self.touched.is_on();
        let ids = if changes {
            delete(&self.touched.take_gone(), into);
            let mut ids = self.touched.take_numbers();
            ids.retain(|id| {
                let s = &mut self.all[*id as usize];
                s.key != super::session::NONE && std::mem::take(&mut s.mark.changed)
            });
            ids
        } else {
            self.touched.start();
            self.live()
        };
        for id in ids {
            let s = &mut self.all[id as usize];
            s.mark = Mark::STORED;
            let state = GroupState {
                key: self.keys.key(s.key),
                start: s.start,
                end: s.end,
                count: s.count,
                newest: NO_TIMESTAMP,
                acc: self.accs.get(id as usize),
            };
            State::Group(state).put(version, into);
        }
        if changes {
            Extent::Changes
        } else {
            Extent::Whole
        }
    }

    /// The name under which the session may be stored is not used any more.
    pub(super) fn forget_name(&mut self, id: u32) {
        let bytes = self.all.len() * size_of::<super::session::Session>();
        let s = &mut self.all[id as usize];
        let mark = std::mem::take(&mut s.mark);
        let key = self.keys.key(s.key);
        self.touched
            .remove(mark, bytes, |name| put_name(name, GROUP, s.start, key));
    }
}

impl Counts {
    /// Appends keys.
    pub fn snapshot(&mut self, extent: Extent, version: u32, into: &mut StateBuffer) -> Extent {
        let changes = extent == Extent::Changes && self.touched.is_on();
        let keys = if changes {
            delete(&self.touched.take_gone(), into);
            let mut keys = self.touched.take_numbers();
            keys.retain(|key| {
                let entry = &mut self.keys[*key].of;
                !entry.panes.is_empty() && std::mem::take(&mut entry.mark.changed)
            });
            keys
        } else {
            self.touched.start();
            self.live()
        };
        for key in keys {
            self.keys[key].of.mark = Mark::STORED;
            let entry = &self.keys[key].of;
            let panes = entry
                .panes
                .iter()
                .map(|p| (p.fires_at, p.newest, self.accs.get(p.acc as usize)));
            let state = CountState {
                key: self.keys.key(key),
                records: entry.records,
                panes: panes.collect(),
            };
            State::Count(state).put(version, into);
        }
        if changes {
            Extent::Changes
        } else {
            Extent::Whole
        }
    }
}

fn delete(gone: &Gone, into: &mut StateBuffer) {
    for name in gone.names() {
        into.delete(key_group(key_in(name)), |to| to.extend_from_slice(name));
    }
}
