//! Sliding windows that cost by slice, not by overlap: a record goes to one slice, and a window is merged from its
//! slices when it fires. For aggregates with `merge` whose results do not depend on order, where windows fire at
//! their close (and again for late records) only; all others are kept window by window (`fixed`).

use super::assign::Grid;
use super::codec::{SLICE, put_name};
use super::core::{Arrivals, Core, LeftOut};
use super::fixed::FixedWindows;
use super::fixed_spill::SpilledGroup;
use super::groups::Window;
use super::sliced_spill::StreamedFiring;
use super::time::StepTime;
use super::{Emit, Panes, WindowKind, WindowSpec};
use crate::plugin::TimeDomain;
use crate::record::{Batch, Blobs};
use crate::step::{Boundary, Output, Progress, StepError};

/// Groups a call of `merge`.
const GROUPS_A_CALL: usize = 4096;
/// Calls of `merge` until others get their turn.
const CALLS_A_TURN: usize = 16;

/// The state of sliding windows, in slices.
#[derive(Debug)]
pub(super) struct SlicedWindows {
    pub slices: FixedWindows,
    windows: Grid,
    closing: Option<Closing>,
}

/// A boundary that is being worked on.
#[derive(Debug)]
struct Closing {
    to: StepTime,
    /// Starts of closed windows that fire again, for keys with late records; the next one last.
    again: Vec<i64>,
    /// Start of the next window that may close now.
    next: Option<i64>,
    current: Option<Firing>,
}

/// A window that is being put together, or put out.
#[derive(Debug)]
struct Firing {
    /// Its groups so far.
    merged: Window,
    /// End of the slice that comes next, and how many of its groups are done.
    slice: i64,
    done: usize,
    /// Keys that fire, where not all do.
    only: Option<Vec<Option<Vec<u8>>>>,
    /// Once it is together: the groups that are still to be put out, the next one last.
    groups: Option<Vec<u32>>,
    /// Some of it is in the vault: it is put together and put out key by key.
    streamed: Option<StreamedFiring>,
}

impl SlicedWindows {
    /// The grid of windows, if slices can serve them.
    pub fn serves(spec: &WindowSpec, facts: super::FunctionFacts) -> Option<Grid> {
        let WindowKind::Sliding {
            size,
            every,
            offset,
        } = spec.kind
        else {
            return None;
        };
        let plain = spec.emit == Emit::Append
            && spec.trigger.is_none()
            && spec.panes == Panes::Accumulating;
        let sliced = plain && facts.mergeable && !facts.order_dependent && every < size;
        sliced.then(|| Grid::new(size, every, offset))
    }

    /// None yet.
    pub fn new(windows: Grid) -> SlicedWindows {
        SlicedWindows {
            slices: FixedWindows::slices(windows.slices(), windows),
            windows,
            closing: None,
        }
    }

    /// Adds records to the slices that they fall in.
    pub fn on_batch(
        &mut self,
        core: &mut Core,
        batch: &Batch,
        arrivals: &Arrivals,
        left_out: &mut LeftOut,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        self.slices.on_batch(core, batch, arrivals, left_out, out)
    }

    /// Time moves. Answers `More` after each few thousand results, and in between when there is much to merge.
    pub fn on_boundary(
        &mut self,
        core: &mut Core,
        at: &Boundary<'_>,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        let mut closing = match self.closing.take() {
            Some(closing) => closing,
            None => self.plan(core, at),
        };
        let mut calls = 0;
        loop {
            let Some(firing) = &mut closing.current else {
                closing.current = self.next_firing(core, &mut closing)?;
                if closing.current.is_some() {
                    continue;
                }
                core.flush(out)?;
                self.drop_past(core, &closing);
                self.slices.forget_dropped(core)?;
                for slice in std::mem::take(&mut self.slices.dirty) {
                    let groups = std::mem::take(&mut self.slices.windows[slice as usize].dirty);
                    for group in groups {
                        self.slices.windows[slice as usize].groups[group].count = 0;
                        self.slices.mark(slice, group);
                    }
                }
                self.slices.changed = 0;
                core.time = closing.to;
                return Ok(Progress::Done);
            };
            if let Some(streamed) = &mut firing.streamed {
                let more = streamed.step(&self.slices, core)?;
                core.flush(out)?;
                if !more {
                    closing.current = None;
                }
                self.closing = Some(closing);
                return Ok(Progress::More);
            }
            let Some(groups) = &mut firing.groups else {
                calls += 1;
                self.merge_on(core, firing)?;
                if calls >= CALLS_A_TURN {
                    self.closing = Some(closing);
                    return Ok(Progress::More);
                }
                continue;
            };
            while let Some(group) = groups.pop() {
                core.results.push(firing.merged.pane(group));
                if core.results.is_full() {
                    core.flush(out)?;
                    self.closing = Some(closing);
                    return Ok(Progress::More);
                }
            }
            closing.current = None;
        }
    }

    fn plan(&self, core: &Core, at: &Boundary<'_>) -> Closing {
        let to = core.time.after(&core.spec, at);
        let from = core.time.passed;
        let mut again = Vec::new();
        for &slice in &self.slices.dirty {
            let start = self.slices.windows[slice as usize].start;
            let Some((mut window, last)) = self.windows.starts(start) else {
                continue;
            };
            while window <= last {
                let end = self.windows.end(window);
                if core.retention.is_closed(end, from) && !core.retention.is_past(end, from) {
                    again.push(window);
                }
                window += self.windows.every();
            }
        }
        again.sort_unstable();
        again.dedup();
        again.reverse();
        Closing {
            to,
            again,
            next: self.first_to_close(from),
            current: None,
        }
    }

    /// The first window with records that was not closed when `passed` was that.
    fn first_to_close(&self, passed: i64) -> Option<i64> {
        let slice = self.slices.by_end.values().next()?;
        let (first, _) = self
            .windows
            .starts(self.slices.windows[*slice as usize].start)?;
        // Closed are those with start <= passed + 1 - size.
        let closed = passed.saturating_add(1).saturating_sub(self.windows.size());
        let next = self
            .windows
            .last_start(closed)
            .and_then(|start| start.checked_add(self.windows.every()));
        self.with_records(next.map_or(first, |next| next.max(first)))
    }

    /// The first window from `start` on that has a slice.
    fn with_records(&self, start: i64) -> Option<i64> {
        let (_, slice) = self.slices.by_end.range(start.checked_add(1)?..).next()?;
        let slice = self.slices.windows[*slice as usize].start;
        if slice < self.windows.end(start) {
            return Some(start);
        }
        Some(self.windows.starts(slice)?.0)
    }

    /// The next window that fires, if any.
    fn next_firing(&self, core: &Core, closing: &mut Closing) -> Result<Option<Firing>, StepError> {
        let firing = |start: i64, only: Option<_>| {
            let end = self.windows.end(start);
            let streamed = match only {
                None => StreamedFiring::of(&self.slices, core, start, end)?,
                Some(_) => None,
            };
            Ok(Some(Firing {
                merged: Window::new(start, end),
                slice: start.saturating_add(1),
                done: 0,
                only,
                groups: None,
                streamed,
            }))
        };
        if let Some(start) = closing.again.pop() {
            return firing(start, Some(self.late_keys(start)));
        }
        let due = |start: &i64| {
            let end = self.windows.end(*start);
            core.retention.is_closed(end, closing.to.passed)
        };
        let Some(start) = closing.next.filter(due) else {
            return Ok(None);
        };
        closing.next = start
            .checked_add(self.windows.every())
            .and_then(|next| self.with_records(next));
        firing(start, None)
    }

    /// Keys with late records in the window that starts there.
    fn late_keys(&self, start: i64) -> Vec<Option<Vec<u8>>> {
        let end = self.windows.end(start);
        let slices = self
            .slices
            .dirty
            .iter()
            .map(|s| &self.slices.windows[*s as usize]);
        let within = slices.filter(|s| s.start >= start && s.end <= end);
        let mut keys: Vec<Option<Vec<u8>>> = within
            .flat_map(|s| s.dirty.iter().map(|g| s.key(*g).map(<[u8]>::to_vec)))
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// One call of `merge`: some more groups of the slice that comes next go into the window.
    fn merge_on(&self, core: &mut Core, firing: &mut Firing) -> Result<(), StepError> {
        // `range` panics where the start is beyond the end.
        let rest = firing.slice..=firing.merged.end;
        let next = if rest.is_empty() {
            None
        } else {
            self.slices.by_end.range(rest).next()
        };
        let Some((&end, &slice)) = next else {
            let mut groups: Vec<u32> = (0..firing.merged.groups.len() as u32).collect();
            firing.merged.sort(&mut groups);
            groups.reverse();
            firing.groups = Some(groups);
            return Ok(());
        };
        let slice = &self.slices.windows[slice as usize];
        let (mut members, mut left, mut right) = (Vec::new(), Blobs::default(), Blobs::default());
        let mut take = |hash: u64, key: Option<&[u8]>, acc: &[u8]| {
            let (member, new) = firing.merged.group(hash, key, acc);
            if !new {
                members.push(member);
                left.push(firing.merged.groups.acc(member));
                right.push(acc);
            }
        };
        let finished = match &firing.only {
            None => {
                for group in (firing.done..slice.groups.len()).take(GROUPS_A_CALL) {
                    let key = slice.key(group as u32);
                    take(core.hasher.hash(key), key, slice.groups.acc(group as u32));
                }
                firing.done += GROUPS_A_CALL;
                firing.done >= slice.groups.len()
            }
            Some(keys) => {
                let (mut missing, mut names) = (Vec::new(), Vec::new());
                for key in keys.iter().skip(firing.done).take(GROUPS_A_CALL) {
                    let key = key.as_deref();
                    let hash = core.hasher.hash(key);
                    if let Some(group) = slice.find(hash, key) {
                        take(hash, key, slice.groups.acc(group));
                    } else if slice.spilled.groups > 0 {
                        let mut name = Vec::new();
                        put_name(&mut name, SLICE, slice.start, key);
                        names.push(name);
                        missing.push((hash, key));
                    }
                }
                if let Some(vault) = &mut core.vault {
                    // Keys come in order, so names do.
                    vault.get_many(names.iter().map(Vec::as_slice), |i, value| {
                        let (hash, key) = missing[i];
                        take(hash, key, SpilledGroup::read(value).acc);
                    })?;
                }
                firing.done += GROUPS_A_CALL;
                firing.done >= keys.len()
            }
        };
        if !members.is_empty() {
            let merged = core.merge(&left, &right)?;
            for (member, acc) in members.iter().zip(merged.iter()) {
                firing.merged.groups.set_acc(*member, acc);
            }
        }
        if finished {
            firing.done = 0;
            firing.slice = end.saturating_add(1);
        }
        Ok(())
    }

    /// Drops slices whose last window is past.
    fn drop_past(&mut self, core: &Core, closing: &Closing) {
        while let Some((_, &slice)) = self.slices.by_end.first_key_value() {
            let last = self
                .windows
                .starts(self.slices.windows[slice as usize].start)
                .map(|(_, last)| self.windows.end(last));
            if last.is_some_and(|end| !core.retention.is_past(end, closing.to.passed)) {
                break;
            }
            self.slices.drop_window(slice);
        }
    }

    /// Milliseconds of a slice.
    pub(super) fn slice_size(&self) -> i64 {
        self.windows.slices().size()
    }

    /// Processing time at which something is to be done.
    pub fn next_wakeup(&self, core: &Core) -> Option<i64> {
        let start = self
            .first_to_close(core.time.passed)
            .filter(|_| core.spec.time == TimeDomain::Processing)?;
        Some(self.windows.end(start))
    }

    /// Makes slices take no more memory than about so many bytes.
    pub fn shed(&mut self, core: &mut Core, bytes_max: usize) -> Result<(), StepError> {
        if self.closing.is_some() {
            return Ok(());
        }
        self.slices.shed(core, bytes_max)
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let firing = self.closing.as_ref().and_then(|c| c.current.as_ref());
        self.slices.memory() + firing.map_or(0, |f| f.merged.memory())
    }
}
