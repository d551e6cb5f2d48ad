//! Windows whose bounds are known from a record's timestamp alone: tumbling, sliding (window by window)
//! and global.
//!
//! Each window has its own table of groups, so that a window that is past is dropped as a whole.
//! Windows are ordered by end: a boundary at which nothing closes looks at the first one only.

use std::collections::BTreeMap;

use hashbrown::HashTable;

use super::accumulators::Accumulators;
use super::assign::Grid;
use super::codec::GroupState;
use super::core::{Arrivals, Core, LeftOut};
use super::fixed_close::Closing;
use super::keys::{KeyArena, KeyHasher, KeyRef, key_of, sort_by_key};
use super::results::Pane;
use super::round::{Round, RowSet, Tried};
use super::{Emit, WindowKind, WindowSpec};
use crate::record::{Batch, Blobs, NO_TIMESTAMP};
use crate::step::{Output, StepError};

/// Pairs of row and window a call of `add`: bounds memory where windows overlap much.
const PAIRS_A_CALL: usize = 1 << 16;

/// A key in a window.
#[derive(Debug)]
pub(super) struct Group {
    pub key: KeyRef,
    /// Newest timestamp of the pane's records (global windows).
    pub newest: i64,
    /// Records since it last fired (kept where that matters; more than 0 = changed).
    pub count: u64,
    /// Which batch `local` is of.
    stamp: u32,
    /// Number among the groups that the batch touches.
    local: u32,
}

/// A window and its groups.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub start: i64,
    pub end: i64,
    table: HashTable<u32>,
    pub groups: Vec<Group>,
    pub arena: KeyArena,
    pub accs: Accumulators,
    /// Groups that got a record since they last fired (some may have fired, and be here twice).
    pub dirty: Vec<u32>,
}

impl Window {
    /// The group of a key, made if there is none.
    #[inline]
    fn group(
        &mut self,
        hash: u64,
        key: Option<&[u8]>,
        hasher: &KeyHasher,
        init: &[u8],
    ) -> (u32, bool) {
        let Window {
            table,
            groups,
            arena,
            accs,
            ..
        } = self;
        if let Some(&group) = table.find(hash, |g| groups[*g as usize].key.is(key, arena)) {
            return (group, false);
        }
        let group = groups.len() as u32;
        groups.push(Group {
            key: arena.keep(key),
            newest: NO_TIMESTAMP,
            count: 0,
            stamp: 0,
            local: 0,
        });
        accs.push(init);
        table.insert_unique(hash, group, |g| {
            hasher.hash(groups[*g as usize].key.get(arena))
        });
        (group, true)
    }

    /// Takes a group out as if it had never been; the last group takes its number.
    fn remove(&mut self, group: u32, hasher: &KeyHasher) {
        let Window {
            table,
            groups,
            arena,
            accs,
            ..
        } = self;
        let last = groups.len() as u32 - 1;
        let hash = |g: u32| hasher.hash(groups[g as usize].key.get(arena));
        if let Ok(entry) = table.find_entry(hash(group), |g| *g == group) {
            entry.remove();
        }
        if let Some(moved) = table.find_mut(hash(last), |g| *g == last) {
            *moved = group;
        }
        arena.forget(&groups[group as usize].key);
        groups.swap_remove(group as usize);
        accs.swap_remove(group as usize);
        self.dirty
            .iter_mut()
            .filter(|g| **g == last)
            .for_each(|g| *g = group);
    }

    /// The pane of a group.
    pub fn pane(&self, group: u32) -> Pane<'_> {
        let g = &self.groups[group as usize];
        Pane {
            key: g.key.get(&self.arena),
            start: self.start,
            end: self.end,
            newest: g.newest,
            acc: self.accs.get(group as usize),
        }
    }

    /// Orders groups by key.
    pub fn sort(&self, groups: &mut [u32]) {
        sort_by_key(groups, |g| self.groups[g as usize].key.get(&self.arena));
    }

    fn memory(&self) -> usize {
        self.groups.capacity() * size_of::<Group>()
            + self.table.allocation_size()
            + self.arena.memory()
            + self.accs.memory()
            + self.dirty.capacity() * size_of::<u32>()
    }
}

/// A group that the batch touches.
#[derive(Clone, Copy, Debug)]
struct Local {
    window: u32,
    group: u32,
    /// Made for this batch.
    born: bool,
    /// Got a record for good.
    kept: bool,
}

/// The windows of a job.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Tumbling(Grid),
    Sliding(Grid),
    Global,
}

/// The state of tumbling, sliding and global windows.
#[derive(Debug)]
pub(super) struct FixedWindows {
    shape: Shape,
    pub windows: Vec<Window>,
    free: Vec<u32>,
    pub by_end: BTreeMap<i64, u32>,
    /// Windows with groups in `dirty`.
    pub dirty: Vec<u32>,
    /// Groups that got a record since they last fired.
    pub changed: usize,
    pub groups: usize,
    pub closing: Option<Closing>,
    stamp: u32,
    locals: Vec<Local>,
    round: Round,
    accs: Blobs,
}

impl FixedWindows {
    /// None yet.
    pub fn new(spec: &WindowSpec) -> FixedWindows {
        let shape = match spec.kind {
            WindowKind::Tumbling { size, offset } => Shape::Tumbling(Grid::new(size, size, offset)),
            WindowKind::Sliding {
                size,
                every,
                offset,
            } => Shape::Sliding(Grid::new(size, every, offset)),
            _ => Shape::Global,
        };
        FixedWindows {
            shape,
            windows: Vec::new(),
            free: Vec::new(),
            by_end: BTreeMap::new(),
            dirty: Vec::new(),
            changed: 0,
            groups: 0,
            closing: None,
            stamp: 0,
            locals: Vec::new(),
            round: Round::default(),
            accs: Blobs::default(),
        }
    }

    /// Adds records to the windows that they fall in.
    pub fn on_batch(
        &mut self,
        core: &mut Core,
        batch: &Batch,
        arrivals: &Arrivals,
        left_out: &mut LeftOut,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        let mut from = 0;
        while from < arrivals.rows.len() {
            from = self.assign(core, batch, arrivals, from, left_out)?;
            match core.spec.trigger.records {
                None => self.add_all(core, batch, arrivals, left_out)?,
                Some(n) => self.add_counted(core, batch, arrivals, left_out, n.max(1), out)?,
            }
            self.undo_births(core);
            core.check_groups(self.groups)?;
        }
        core.flush(out)
    }

    /// Finds the groups of records, from `from` on; makes those that are not there. Answers where it stopped.
    fn assign(
        &mut self,
        core: &mut Core,
        batch: &Batch,
        arrivals: &Arrivals,
        from: usize,
        left_out: &mut LeftOut,
    ) -> Result<usize, StepError> {
        let init = core.init()?;
        self.next_stamp();
        let keys = batch.keys.as_ref();
        // The window of the record before: most often it is that of this one, too.
        let mut last: Option<(i64, i64, Option<u32>)> = None;
        for (at, &row) in arrivals.rows.iter().enumerate().skip(from) {
            if self.round.rows.len() >= PAIRS_A_CALL {
                return Ok(at);
            }
            let timestamp = arrivals.times[row as usize];
            let (hash, key) = (arrivals.hashes[row as usize], key_of(keys, row as usize));
            let window = match last {
                Some((start, end, window)) if timestamp >= start && timestamp < end => window,
                _ => match self.shape {
                    Shape::Global => {
                        let window = Some(self.window(i64::MIN, i64::MAX));
                        last = Some((i64::MIN, i64::MAX, window));
                        window
                    }
                    Shape::Tumbling(grid) => match grid.last_start(timestamp) {
                        None => {
                            left_out.reject(row, out_of_range(timestamp));
                            continue;
                        }
                        Some(start) => {
                            let end = grid.end(start);
                            let past = core.retention.is_past(end, core.time.passed);
                            let window = (!past).then(|| self.window(start, end));
                            last = Some((start, end, window));
                            window
                        }
                    },
                    Shape::Sliding(grid) => {
                        self.assign_sliding(core, grid, row, timestamp, hash, key, &init, left_out);
                        continue;
                    }
                },
            };
            match window {
                Some(window) => self.pair(core, window, row, hash, key, &init),
                None => left_out.late.push(row),
            }
        }
        Ok(arrivals.rows.len())
    }

    /// A record goes to all its windows that are not past; it is late if they all are.
    #[expect(
        clippy::too_many_arguments,
        reason = "one record's facts, passed on from one loop"
    )]
    fn assign_sliding(
        &mut self,
        core: &Core,
        grid: Grid,
        row: u32,
        timestamp: i64,
        hash: u64,
        key: Option<&[u8]>,
        init: &[u8],
        left_out: &mut LeftOut,
    ) {
        let Some((first, last)) = grid.starts(timestamp) else {
            left_out.reject(row, out_of_range(timestamp));
            return;
        };
        let mut late = true;
        let mut start = first;
        while start <= last {
            let end = grid.end(start);
            if !core.retention.is_past(end, core.time.passed) {
                late = false;
                let window = self.window(start, end);
                self.pair(core, window, row, hash, key, init);
            }
            let Some(next) = start.checked_add(grid.every()) else {
                break;
            };
            start = next;
        }
        if late {
            left_out.late.push(row);
        }
    }

    /// The window with these bounds, made if there is none.
    pub fn window(&mut self, start: i64, end: i64) -> u32 {
        if let Some(&window) = self.by_end.get(&end) {
            return window;
        }
        let window = self.free.pop().unwrap_or_else(|| {
            self.windows.push(Window::default());
            self.windows.len() as u32 - 1
        });
        let w = &mut self.windows[window as usize];
        (w.start, w.end) = (start, end);
        self.by_end.insert(end, window);
        window
    }

    /// Drops a window with all its groups.
    pub fn drop_window(&mut self, window: u32) {
        let gone = std::mem::take(&mut self.windows[window as usize]);
        self.changed -= gone
            .groups
            .iter()
            .filter(|g| g.count > 0)
            .count()
            .min(self.changed);
        self.groups -= gone.groups.len();
        self.by_end.remove(&gone.end);
        self.free.push(window);
    }

    /// Notes that a row goes to a group.
    #[inline]
    fn pair(
        &mut self,
        core: &Core,
        window: u32,
        row: u32,
        hash: u64,
        key: Option<&[u8]>,
        init: &[u8],
    ) {
        let w = &mut self.windows[window as usize];
        let (group, born) = w.group(hash, key, &core.hasher, init);
        self.groups += usize::from(born);
        let g = &mut w.groups[group as usize];
        if g.stamp != self.stamp {
            g.stamp = self.stamp;
            g.local = self.locals.len() as u32;
            self.locals.push(Local {
                window,
                group,
                born,
                kept: false,
            });
            self.round.members.push(g.local);
        }
        self.round.rows.push(row);
        self.round.groups.push(g.local);
    }

    fn next_stamp(&mut self) {
        self.locals.clear();
        self.round.clear();
        self.stamp = self.stamp.checked_add(1).unwrap_or_else(|| {
            self.windows
                .iter_mut()
                .flat_map(|w| &mut w.groups)
                .for_each(|g| g.stamp = 0);
            1
        });
    }

    /// One call of `add` for all that was assigned, repeated without what it rejects.
    fn add_all(
        &mut self,
        core: &mut Core,
        batch: &Batch,
        arrivals: &Arrivals,
        left_out: &mut LeftOut,
    ) -> Result<(), StepError> {
        let mut round = std::mem::take(&mut self.round);
        while !round.rows.is_empty() {
            match self.try_round(core, batch, &round)? {
                Tried::Added(accs) => {
                    self.keep(core, arrivals, &round, &accs);
                    break;
                }
                Tried::Rejected(rejected) => {
                    round.remove(&RowSet::of(batch, &rejected));
                    left_out.rejected.extend(rejected);
                }
            }
        }
        self.round = round;
        Ok(())
    }

    /// Calls of `add` that end where a group's n-th record comes, with a firing after each.
    fn add_counted(
        &mut self,
        core: &mut Core,
        batch: &Batch,
        arrivals: &Arrivals,
        left_out: &mut LeftOut,
        n: u64,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        let all = std::mem::take(&mut self.round);
        let mut queue: Vec<(u32, u32)> = all
            .rows
            .iter()
            .copied()
            .zip(all.groups.iter().copied())
            .collect();
        while !queue.is_empty() {
            let (round, later, mut fired) = self.cut(core, &queue, n);
            match self.try_round(core, batch, &round)? {
                Tried::Added(accs) => {
                    self.keep(core, arrivals, &round, &accs);
                    self.fire_counted(core, &mut fired, out)?;
                    queue = later;
                }
                Tried::Rejected(rejected) => {
                    let rows = RowSet::of(batch, &rejected);
                    queue.retain(|(row, _)| !rows.has(*row));
                    left_out.rejected.extend(rejected);
                }
            }
        }
        self.round = all;
        Ok(())
    }

    /// As much of the queue as fits in one call: a record waits if one of its groups is at its n-th record
    /// already, or has a record waiting. The call's round, what waits, and the groups that fire after it.
    fn cut(&self, core: &Core, queue: &[(u32, u32)], n: u64) -> (Round, Vec<(u32, u32)>, Vec<u32>) {
        let mut round = Round::default();
        let mut later = Vec::new();
        let mut fired = Vec::new();
        let mut number = vec![u32::MAX; self.locals.len()];
        let mut count = vec![0u64; self.locals.len()];
        let mut blocked = vec![false; self.locals.len()];
        let mut all_wait = false;
        for pairs in queue.chunk_by(|a, b| a.0 == b.0) {
            if all_wait || pairs.iter().any(|(_, local)| blocked[*local as usize]) {
                pairs
                    .iter()
                    .for_each(|(_, local)| blocked[*local as usize] = true);
                later.extend_from_slice(pairs);
                continue;
            }
            for &(row, local) in pairs {
                let l = local as usize;
                let Local { window, group, .. } = self.locals[l];
                let window = &self.windows[window as usize];
                if number[l] == u32::MAX {
                    number[l] = round.members.len() as u32;
                    round.members.push(local);
                    count[l] = window.groups[group as usize].count;
                }
                round.rows.push(row);
                round.groups.push(number[l]);
                count[l] += 1;
                // A closed window fires at the boundary, whatever the trigger.
                if count[l] >= n && !core.retention.is_closed(window.end, core.time.passed) {
                    blocked[l] = true;
                    fired.push(local);
                    all_wait |= core.spec.emit == Emit::Complete;
                }
            }
        }
        (round, later, fired)
    }

    /// Fires groups that are at their n-th record; in complete mode all.
    fn fire_counted(
        &mut self,
        core: &mut Core,
        fired: &mut [u32],
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        if fired.is_empty() {
            return Ok(());
        }
        if core.spec.emit == Emit::Complete {
            let windows: Vec<u32> = self.by_end.values().copied().collect();
            for window in windows {
                let mut groups: Vec<u32> =
                    (0..self.windows[window as usize].groups.len() as u32).collect();
                self.windows[window as usize].sort(&mut groups);
                for group in groups {
                    // A group that was made for a record still waiting has nothing to show yet.
                    if !self.is_unborn(window, group) {
                        self.fire(core, window, group)?;
                        self.flush_full(core, out)?;
                    }
                }
            }
            return Ok(());
        }
        let place = |local: &u32| {
            let Local { window, group, .. } = self.locals[*local as usize];
            let w = &self.windows[window as usize];
            (w.end, w.groups[group as usize].key.get(&w.arena))
        };
        fired.sort_by(|a, b| place(a).cmp(&place(b)));
        for local in fired.iter() {
            let Local { window, group, .. } = self.locals[*local as usize];
            self.fire(core, window, group)?;
            self.flush_full(core, out)?;
        }
        Ok(())
    }

    fn flush_full(&self, core: &mut Core, out: &mut dyn Output) -> Result<(), StepError> {
        if core.results.is_full() {
            core.flush(out)
        } else {
            Ok(())
        }
    }

    fn is_unborn(&self, window: u32, group: u32) -> bool {
        let g = &self.windows[window as usize].groups[group as usize];
        g.stamp == self.stamp && {
            let local = self.locals[g.local as usize];
            local.born && !local.kept
        }
    }

    /// Puts out a group's pane, and starts the next.
    pub fn fire(&mut self, core: &mut Core, window: u32, group: u32) -> Result<(), StepError> {
        let w = &mut self.windows[window as usize];
        core.results.push(w.pane(group));
        let discards = core.discards();
        let g = &mut w.groups[group as usize];
        if g.count > 0 {
            g.count = 0;
            self.changed -= 1;
        }
        if discards {
            g.newest = NO_TIMESTAMP;
            let init = core.init()?;
            w.accs.set(group as usize, &init);
        }
        Ok(())
    }

    fn try_round(
        &mut self,
        core: &mut Core,
        batch: &Batch,
        round: &Round,
    ) -> Result<Tried, StepError> {
        self.accs.clear();
        for member in &round.members {
            let Local { window, group, .. } = self.locals[*member as usize];
            self.accs
                .push(self.windows[window as usize].accs.get(group as usize));
        }
        core.try_round(batch, round, &self.accs)
    }

    /// Keeps what `add` answered.
    fn keep(&mut self, core: &Core, arrivals: &Arrivals, round: &Round, accs: &Blobs) {
        for (member, acc) in round.members.iter().zip(accs.iter()) {
            let local = &mut self.locals[*member as usize];
            local.kept = true;
            self.windows[local.window as usize]
                .accs
                .set(local.group as usize, acc);
        }
        let (global, tracks) = (matches!(self.shape, Shape::Global), core.tracks_changes());
        if !global && !tracks {
            return;
        }
        for (row, group) in round.rows.iter().zip(&round.groups) {
            let local = self.locals[round.members[*group as usize] as usize];
            let w = &mut self.windows[local.window as usize];
            let g = &mut w.groups[local.group as usize];
            if global {
                g.newest = g.newest.max(arrivals.times[*row as usize]);
            }
            g.count += u64::from(tracks);
            if tracks && g.count == 1 {
                self.changed += 1;
                if w.dirty.is_empty() {
                    self.dirty.push(local.window);
                }
                w.dirty.push(local.group);
            }
        }
    }

    /// Takes out groups that were made for records which were then rejected, and windows left empty by that.
    fn undo_births(&mut self, core: &Core) {
        for at in (0..self.locals.len()).rev() {
            let Local {
                window,
                group,
                born,
                kept,
            } = self.locals[at];
            if !born || kept {
                continue;
            }
            let w = &mut self.windows[window as usize];
            w.remove(group, &core.hasher);
            self.groups -= 1;
            if w.groups.is_empty() {
                self.drop_window(window);
            }
        }
    }

    /// Puts back a group that a checkpoint holds.
    pub fn restore(&mut self, core: &Core, state: &GroupState) -> bool {
        let (key, count) = (state.key.as_deref(), state.count);
        let window = self.window(state.start, state.end);
        let w = &mut self.windows[window as usize];
        let (group, born) = w.group(core.hasher.hash(key), key, &core.hasher, &state.acc);
        if !born {
            return false;
        }
        self.groups += 1;
        let g = &mut w.groups[group as usize];
        g.newest = state.newest;
        if core.tracks_changes() && count > 0 {
            g.count = count;
            self.changed += 1;
            if w.dirty.is_empty() {
                self.dirty.push(window);
            }
            w.dirty.push(group);
        }
        true
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.windows.iter().map(Window::memory).sum::<usize>()
            + self.windows.capacity() * size_of::<Window>()
    }
}

/// Why a record falls in no window.
pub(super) fn out_of_range(timestamp: i64) -> String {
    format!("the window of timestamp {timestamp} would leave the range of 64-bit milliseconds")
}
