//! How fixed windows and slices take groups back: many at a time, so that what is waited for (places in tables that
//! memory is slow with) is waited for at once.

use std::borrow::Cow;

use super::codec::{GroupState, State, broken, decode, put_name};
use super::core::Core;
use super::fixed::FixedWindows;
use super::sliced::SlicedWindows;
use crate::record::Blobs;
use crate::state::StateRef;
use crate::step::StepError;

/// Groups that come between asking for a place and using it.
const AHEAD: usize = 32;

impl Core {
    /// Brings accumulators of one version up to date.
    pub(super) fn migrated<'a>(
        &mut self,
        from_version: u32,
        accs: &[&'a [u8]],
    ) -> Result<Vec<Cow<'a, [u8]>>, StepError> {
        let own = self.facts.state_version;
        if from_version == own {
            return Ok(accs.iter().map(|acc| Cow::Borrowed(*acc)).collect());
        }
        if from_version > own {
            let what =
                format!("its accumulator has version {from_version}, the function's is {own}");
            return Err(broken(&what));
        }
        let blobs = Blobs::from_iter(accs.iter().copied());
        let migrated = self.function.migrate(from_version, &blobs)?;
        if migrated.len() != accs.len() {
            return Err(StepError::Failed(format!(
                "migrate answered {} accumulators for {}",
                migrated.len(),
                accs.len()
            )));
        }
        let owned = (0..migrated.len()).map(|at| Cow::Owned(migrated.get(at).to_vec()));
        Ok(owned.collect())
    }
}

/// Takes groups back, of windows or of slices (`slices`); passes over those that are there already. How many were taken.
pub(super) fn restore_groups(
    core: &mut Core,
    windows: &mut FixedWindows,
    slices: Option<&dyn Fn(i64) -> Option<i64>>,
    entries: &[StateRef<'_>],
) -> Result<usize, StepError> {
    let mut taken = 0;
    let mut groups: Vec<GroupState<'_>> = Vec::with_capacity(entries.len());
    let mut of_version = None;
    for &entry in entries {
        let (state, version) = decode(entry)?;
        let group = match (state, slices) {
            (State::Group(group), None) => group,
            (State::Slice(slice), Some(end)) => {
                let end = end(slice.start).ok_or_else(unfit)?;
                slice.as_group(end)
            }
            _ => return Err(broken("it is of other windows than the job's")),
        };
        if of_version.is_some_and(|v| v != version) {
            taken += windows.restore_many(core, of_version.unwrap_or(version), &groups)?;
            groups.clear();
        }
        of_version = Some(version);
        groups.push(group);
    }
    match of_version {
        Some(version) => Ok(taken + windows.restore_many(core, version, &groups)?),
        None => Ok(taken),
    }
}

fn unfit() -> StepError {
    broken("it does not fit the job's windows")
}

impl SlicedWindows {
    /// Takes slices back, likewise.
    pub fn restore_many(
        &mut self,
        core: &mut Core,
        entries: &[StateRef<'_>],
    ) -> Result<usize, StepError> {
        let size = self.slice_size();
        let end = |start: i64| start.checked_add(size);
        restore_groups(core, &mut self.slices, Some(&end), entries)
    }
}

impl FixedWindows {
    /// So many groups may be taken back. Without older ones among them nothing is looked up in the vault meanwhile, so
    /// that its runs need not be few.
    pub fn expect(&mut self, core: &mut Core, groups: usize, older: bool) {
        (self.expected, self.expects_older) = (groups, older);
        if let Some(vault) = &mut core.vault {
            vault.defer_merges(!older);
        }
    }

    /// All was taken back.
    pub fn restored(&mut self, core: &mut Core) -> Result<(), StepError> {
        self.expected = 0;
        self.windows.iter_mut().for_each(|w| w.expected = 0);
        match &mut core.vault {
            Some(vault) => Ok(vault.merge_deferred()?),
            None => Ok(()),
        }
    }

    fn restore_many(
        &mut self,
        core: &mut Core,
        version: u32,
        groups: &[GroupState<'_>],
    ) -> Result<usize, StepError> {
        let accs: Vec<&[u8]> = groups.iter().map(|group| group.acc).collect();
        let accs = core.migrated(version, &accs)?;
        let hashes: Vec<u64> = groups.iter().map(|g| core.hasher.hash(g.key)).collect();
        let (mut from, mut taken) = (0, 0);
        for of_window in groups.chunk_by(|a, b| (a.start, a.end) == (b.start, b.end)) {
            let (start, end) = (of_window[0].start, of_window[0].end);
            if !self.holds(start, end) {
                return Err(unfit());
            }
            let window = self.window(start, end);
            let w = &mut self.windows[window as usize];
            w.expected = self.expected;
            self.expected = self.expected.saturating_sub(of_window.len());
            let until = from + of_window.len();
            let hashes = &hashes[from..until];
            let below = self.below(core, window, of_window, hashes)?;
            for (at, group) in of_window.iter().enumerate() {
                if below.get(at).copied().unwrap_or(false) {
                    continue;
                }
                let w = &mut self.windows[window as usize];
                w.prefetch(hashes.get(at + AHEAD).copied().into_iter());
                let (number, born) = w.group(hashes[at], group.key, &accs[from + at]);
                if !born {
                    continue;
                }
                taken += 1;
                self.groups += 1;
                w.set_newest(number, group.newest);
                let g = &mut w.groups[number];
                if core.tracks_changes() && group.count > 0 {
                    g.count = group.count;
                    self.changed += 1;
                    if !w.has_changed() {
                        self.dirty.push(window);
                    }
                    w.dirty.push(number);
                }
            }
            from = until;
        }
        Ok(taken)
    }

    /// Which groups of a window went to the vault since they were taken back; empty: none did.
    fn below(
        &self,
        core: &mut Core,
        window: u32,
        groups: &[GroupState<'_>],
        hashes: &[u64],
    ) -> Result<Vec<bool>, StepError> {
        let w = &self.windows[window as usize];
        let is_wanted = self.expects_older && w.spilled.groups > 0;
        let Some(vault) = core.vault.as_mut().filter(|_| is_wanted) else {
            return Ok(Vec::new());
        };
        let kind = self.kind();
        let absent = groups.iter().zip(hashes).enumerate();
        let absent = absent.filter(|(_, (group, hash))| w.find(**hash, group.key).is_none());
        let mut names: Vec<(Vec<u8>, usize)> = absent
            .map(|(at, (group, _))| {
                let mut name = Vec::new();
                put_name(&mut name, kind, w.start, group.key);
                (name, at)
            })
            .collect();
        names.sort_unstable();
        let mut below = vec![false; groups.len()];
        let in_order = names.iter().map(|(name, _)| &name[..]);
        vault.get_many(in_order, |i, _| below[names[i].1] = true)?;
        Ok(below)
    }
}
