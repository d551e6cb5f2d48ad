//! Windows whose bounds are known from a record's timestamp alone: tumbling, sliding (window by window)
//! and global.
//!
//! Each window has its own table of groups, so that a window that is past is dropped as a whole.
//! Windows are ordered by end: a boundary at which nothing closes looks at the first one only.

use std::collections::BTreeMap;

use super::assign::Grid;
use super::core::{Arrivals, Core, LeftOut};
use super::fixed_close::Closing;
use super::groups::Window;
use super::keys::key_of;
use super::round::{Round, RowSet, Tried};
use super::snapshot::Stamps;
use super::{Emit, WindowKind, WindowSpec};
use crate::record::{Batch, Blobs, NO_TIMESTAMP};
use crate::step::{Output, StepError};

/// Pairs of row and window a call of `add`: bounds memory where windows overlap much.
pub(super) const PAIRS_A_CALL: usize = 1 << 16;

/// Rows whose groups are asked for together. Work on a block takes longer than memory takes to answer, and what was
/// brought near for three of them is still there when it is needed.
const BLOCK: usize = 32;

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
    /// Records go to slices, windows are made of them when they close (`sliced`).
    Slices {
        slice: Grid,
        windows: Grid,
    },
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
    /// How many of them are in the vault, and not in memory.
    pub spilled: usize,
    /// Starts of dropped windows that the vault knows.
    pub dropped_spilled: Vec<i64>,
    pub closing: Option<Closing>,
    stamp: u32,
    pub stamps: Stamps,
    locals: Vec<Local>,
    round: Round,
    accs: Blobs,
    /// Groups that may still be taken back.
    pub(super) expected: usize,
    /// Some of them may be older than others of their name.
    pub(super) expects_older: bool,
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
            } if every == size => Shape::Tumbling(Grid::new(size, size, offset)),
            WindowKind::Sliding {
                size,
                every,
                offset,
            } => Shape::Sliding(Grid::new(size, every, offset)),
            _ => Shape::Global,
        };
        FixedWindows::of(shape)
    }

    /// Slices of sliding windows: as large as they can be, so that each window consists of whole ones.
    pub fn slices(slice: Grid, windows: Grid) -> FixedWindows {
        FixedWindows::of(Shape::Slices { slice, windows })
    }

    fn of(shape: Shape) -> FixedWindows {
        FixedWindows {
            shape,
            windows: Vec::new(),
            free: Vec::new(),
            by_end: BTreeMap::new(),
            dirty: Vec::new(),
            changed: 0,
            groups: 0,
            spilled: 0,
            dropped_spilled: Vec::new(),
            closing: None,
            stamp: Stamps::default().without_batch(),
            stamps: Stamps::default(),
            locals: Vec::new(),
            round: Round::default(),
            accs: Blobs::default(),
            expected: 0,
            expects_older: true,
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
        let time = |row: &u32| arrivals.times[*row as usize];
        let is_past = |window: (i64, i64, bool)| window.2;
        let late = |row: &u32| self.window_of(core, time(row)).is_some_and(is_past);
        left_out
            .late
            .extend(arrivals.unfit.iter().copied().filter(late));
        let mut from = 0;
        while from < arrivals.rows.len() {
            self.fetch(core, batch, arrivals, from)?;
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
        if let Shape::Sliding(grid) = self.shape {
            return Ok(self.assign_sliding(core, grid, batch, arrivals, from, &init, left_out));
        }
        // Neighbours most often fall in the same window: they go there together.
        let mut run = from;
        let (mut start, mut end, mut window) = (0, 0, None);
        for (at, &row) in arrivals.rows.iter().enumerate().skip(from) {
            let timestamp = arrivals.times[row as usize];
            if timestamp >= start && timestamp < end {
                continue;
            }
            self.assign_run(
                batch,
                arrivals,
                &arrivals.rows[run..at],
                window,
                &init,
                left_out,
            );
            run = at;
            match self.window_of(core, timestamp) {
                Some((s, e, past)) => {
                    (start, end) = (s, e);
                    window = (!past).then(|| self.window(s, e));
                }
                None => {
                    left_out.reject(row, out_of_range(timestamp));
                    (start, end, run) = (0, 0, at + 1);
                }
            }
        }
        self.assign_run(
            batch,
            arrivals,
            &arrivals.rows[run..],
            window,
            &init,
            left_out,
        );
        Ok(arrivals.rows.len())
    }

    /// Bounds of the only window (or slice) that holds a timestamp, and whether it is past; none if one would leave
    /// the range.
    fn window_of(&self, core: &Core, timestamp: i64) -> Option<(i64, i64, bool)> {
        match self.shape {
            Shape::Tumbling(grid) | Shape::Sliding(grid) => {
                let start = grid.last_start(timestamp)?;
                let end = grid.end(start);
                Some((start, end, core.retention.is_past(end, core.time.passed)))
            }
            Shape::Slices { slice, windows } => {
                let (start, (_, last)) = (slice.last_start(timestamp)?, windows.starts(timestamp)?);
                let past = core.retention.is_past(windows.end(last), core.time.passed);
                Some((start, slice.end(start), past))
            }
            Shape::Global => Some((i64::MIN, i64::MAX, false)),
        }
    }

    /// Rows that go to one window; none: they are late.
    fn assign_run(
        &mut self,
        batch: &Batch,
        arrivals: &Arrivals,
        rows: &[u32],
        window: Option<u32>,
        init: &[u8],
        left_out: &mut LeftOut,
    ) {
        let Some(window) = window else {
            left_out.late.extend_from_slice(rows);
            return;
        };
        self.round.rows.extend_from_slice(rows);
        self.round.groups.reserve(rows.len());
        let keys = batch.keys.as_ref();
        let hash = |row: &u32| arrivals.hashes[*row as usize];
        // While a block of rows is worked at, the groups of the next are on their way, and the slots of the one after it.
        let block = |k: usize| rows.chunks(BLOCK).nth(k).unwrap_or_default();
        let mut coming = [0; BLOCK];
        let w = &self.windows[window as usize];
        w.prefetch(block(0).iter().chain(block(1)).map(hash));
        w.guess(block(0).iter().map(hash), &mut coming);
        for (k, rows) in rows.chunks(BLOCK).enumerate() {
            let guesses = coming;
            let w = &self.windows[window as usize];
            w.prefetch(block(k + 2).iter().map(hash));
            w.guess(block(k + 1).iter().map(hash), &mut coming);
            for (&row, guess) in rows.iter().zip(guesses) {
                let key = key_of(keys, row as usize);
                let w = &mut self.windows[window as usize];
                let (group, born) = match w.is(guess, key) {
                    true => (guess - 1, false),
                    false => w.group(arrivals.hashes[row as usize], key, init),
                };
                let local = self.local(window, group, born);
                self.round.groups.push(local);
            }
        }
    }

    /// Like `assign`, window by window: a record goes to all its windows that are not past, and is late if they all
    /// are.
    #[expect(clippy::too_many_arguments, reason = "the other half of assign")]
    fn assign_sliding(
        &mut self,
        core: &Core,
        grid: Grid,
        batch: &Batch,
        arrivals: &Arrivals,
        from: usize,
        init: &[u8],
        left_out: &mut LeftOut,
    ) -> usize {
        for (at, &row) in arrivals.rows.iter().enumerate().skip(from) {
            if self.round.rows.len() >= PAIRS_A_CALL {
                return at;
            }
            let timestamp = arrivals.times[row as usize];
            let Some((first, last)) = grid.starts(timestamp) else {
                left_out.reject(row, out_of_range(timestamp));
                continue;
            };
            let (hash, key) = (
                arrivals.hashes[row as usize],
                key_of(batch.keys.as_ref(), row as usize),
            );
            let before = self.round.rows.len();
            let mut next = Some(first);
            while let Some(start) = next.filter(|start| *start <= last) {
                let end = grid.end(start);
                if !core.retention.is_past(end, core.time.passed) {
                    let window = self.window(start, end);
                    let (group, born) = self.windows[window as usize].group(hash, key, init);
                    let local = self.local(window, group, born);
                    self.round.rows.push(row);
                    self.round.groups.push(local);
                }
                next = start.checked_add(grid.every());
            }
            if self.round.rows.len() == before {
                left_out.late.push(row);
            }
        }
        arrivals.rows.len()
    }

    /// Whether a record may fall in several windows.
    pub fn overlaps(&self) -> bool {
        matches!(self.shape, Shape::Sliding(_))
    }

    /// Hears of the end of each window (or slice) that a record of this time goes to.
    pub fn each_window(&self, core: &Core, timestamp: i64, mut each: impl FnMut(i64)) {
        let Shape::Sliding(grid) = self.shape else {
            if let Some((_, end, false)) = self.window_of(core, timestamp) {
                each(end);
            }
            return;
        };
        let Some((first, last)) = grid.starts(timestamp) else {
            return;
        };
        let mut next = Some(first);
        while let Some(start) = next.filter(|start| *start <= last) {
            let end = grid.end(start);
            if !core.retention.is_past(end, core.time.passed) {
                each(end);
            }
            next = start.checked_add(grid.every());
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
        self.changed -= gone.spilled.changed.min(self.changed);
        self.groups -= gone.groups.len() + gone.spilled.groups;
        self.spilled -= gone.spilled.groups;
        if gone.spilled.any {
            self.dropped_spilled.push(gone.start);
        }
        self.stamps.drop_window(gone.stored, gone.start);
        self.by_end.remove(&gone.end);
        self.free.push(window);
    }

    /// The number of a group among those that the batch touches.
    #[inline]
    fn local(&mut self, window: u32, group: u32, born: bool) -> u32 {
        let w = &mut self.windows[window as usize];
        let g = &mut w.groups[group];
        self.groups += usize::from(born);
        if g.stamp != self.stamp {
            w.touched = self.stamp;
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
        g.local
    }

    fn next_stamp(&mut self) {
        self.locals.clear();
        self.round.clear();
        if self.stamp == u32::MAX {
            self.restart_stamps();
        }
        self.stamp += 1;
    }

    /// Stamps begin anew; what changed since the last snapshot is not known any more.
    fn restart_stamps(&mut self) {
        for w in &mut self.windows {
            w.touched = 0;
            (0..w.groups.len() as u32).for_each(|g| w.groups[g].stamp = 0);
        }
        self.stamps = Stamps::default();
        self.stamp = self.stamps.without_batch();
    }

    /// Everything is in a snapshot now.
    pub fn all_stored(&mut self) {
        if self.stamp > u32::MAX - 2 {
            self.restart_stamps();
        } else {
            self.stamps.take_snapshot(self.stamp);
            self.stamp = self.stamps.without_batch();
        }
    }

    /// Whether it keeps slices.
    pub fn is_sliced(&self) -> bool {
        matches!(self.shape, Shape::Slices { .. })
    }

    /// A group changes without a batch: the next snapshot is to hold it.
    pub fn mark(&mut self, window: u32, group: u32) {
        let w = &mut self.windows[window as usize];
        let stamp = self.stamps.without_batch();
        w.touched = w.touched.max(stamp);
        let g = &mut w.groups[group];
        g.stamp = g.stamp.max(stamp);
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
                    count[l] = window.groups[group].count;
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
            core.fired_inside = true;
            return self.fire_all(core, out);
        }
        let place = |local: &u32| {
            let Local { window, group, .. } = self.locals[*local as usize];
            let w = &self.windows[window as usize];
            (w.end, w.groups[group].key.get(&w.arena))
        };
        fired.sort_by(|a, b| place(a).cmp(&place(b)));
        for local in fired.iter() {
            let Local { window, group, .. } = self.locals[*local as usize];
            self.fire(core, window, group)?;
            self.flush_full(core, out)?;
        }
        Ok(())
    }

    /// Fires all groups that have something to show: those made for a record that still waits have not.
    fn fire_all(&mut self, core: &mut Core, out: &mut dyn Output) -> Result<(), StepError> {
        let windows: Vec<u32> = self.by_end.values().copied().collect();
        for window in windows {
            let w = &self.windows[window as usize];
            let mut groups: Vec<u32> = (0..w.groups.len() as u32).collect();
            groups.retain(|group| !self.is_unborn(window, *group));
            w.sort(&mut groups);
            self.fire_window(core, window, groups, out)?;
        }
        Ok(())
    }

    /// Fires all groups between batches.
    pub fn fire_now(&mut self, core: &mut Core, out: &mut dyn Output) -> Result<(), StepError> {
        self.next_stamp();
        self.fire_all(core, out)?;
        core.flush(out)
    }

    fn flush_full(&self, core: &mut Core, out: &mut dyn Output) -> Result<(), StepError> {
        if core.results.is_full() {
            core.flush(out)
        } else {
            Ok(())
        }
    }

    fn is_unborn(&self, window: u32, group: u32) -> bool {
        let g = &self.windows[window as usize].groups[group];
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
        let g = &mut w.groups[group];
        let changes = g.count > 0 || discards;
        if g.count > 0 {
            g.count = 0;
            self.changed -= 1;
        }
        if discards {
            w.set_newest(group, NO_TIMESTAMP);
            let init = core.init()?;
            w.groups.set_acc(group, &init);
        }
        if changes {
            self.mark(window, group);
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
        let local = |member: &u32| self.locals[*member as usize];
        for run in round
            .members
            .chunk_by(|a, b| local(a).window == local(b).window)
        {
            let window = &self.windows[local(&run[0]).window as usize];
            let groups = run.iter().map(|member| local(member).group);
            window.groups.gather(groups, &mut self.accs);
        }
        core.try_round(batch, round, &self.accs)
    }

    /// Keeps what `add` answered.
    fn keep(&mut self, core: &Core, arrivals: &Arrivals, round: &Round, accs: &Blobs) {
        for (member, acc) in round.members.iter().zip(accs.iter()) {
            let local = &mut self.locals[*member as usize];
            local.kept = true;
            self.windows[local.window as usize]
                .groups
                .set_acc(local.group, acc);
        }
        let (global, tracks) = (matches!(self.shape, Shape::Global), core.tracks_changes());
        if !global && !tracks {
            return;
        }
        for (row, group) in round.rows.iter().zip(&round.groups) {
            let local = self.locals[round.members[*group as usize] as usize];
            let w = &mut self.windows[local.window as usize];
            if global {
                let time = arrivals.times[*row as usize];
                w.set_newest(local.group, w.newest(local.group).max(time));
            }
            let g = &mut w.groups[local.group];
            g.count += u64::from(tracks);
            if tracks && g.count == 1 {
                self.changed += 1;
                if !w.has_changed() {
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
            w.remove(group, |key| core.hasher.hash(key));
            self.groups -= 1;
            if w.groups.is_empty() && w.spilled.groups == 0 {
                self.drop_window(window);
            }
        }
    }

    /// Whether a window is one of these.
    pub(super) fn holds(&self, start: i64, end: i64) -> bool {
        match self.shape {
            Shape::Tumbling(grid) | Shape::Sliding(grid) | Shape::Slices { slice: grid, .. } => {
                grid.holds(start, end)
            }
            Shape::Global => (start, end) == (i64::MIN, i64::MAX),
        }
    }

    /// Bytes that they may grow by at once (`Step::growth`).
    pub fn growth(&self) -> usize {
        self.windows.iter().map(Window::growth).sum()
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.windows.iter().map(Window::memory).sum::<usize>()
            + self.stamps.memory()
            + self.windows.capacity() * size_of::<Window>()
    }
}

/// Why a record falls in no window.
pub(super) fn out_of_range(timestamp: i64) -> String {
    format!("the window of timestamp {timestamp} would leave the range of 64-bit milliseconds")
}
