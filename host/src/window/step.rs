//! The window step: takes batches apart into records that take part and records that don't, and leaves the
//! rest to the kind of windows.

use arrow_array::Array;

use super::codec::{State, broken, decode};
use super::core::{Arrivals, Core, FunctionFacts, LeftOut, WindowLimits};
use super::count::Counts;
use super::fixed::FixedWindows;
use super::keys::key_of;
use super::restore::restore_groups;
use super::session::Sessions;
use super::session_whole::WholePass;
use super::sliced::SlicedWindows;
use super::{Emit, WindowKind, WindowSpec};
use crate::config::plan::Port;
use crate::keyed::ColdKeys;
use crate::plugin::{Aggregate, TimeDomain};
use crate::record::{Batch, NO_TIMESTAMP};
use crate::spill::Vault;
use crate::state::{Extent, StateBuffer, StateRef};
use crate::step::{Boundary, Output, Progress, Step, StepError, Whole, WholeFiring};

/// A windowed aggregate in one task.
///
/// Processing time is 0 until `clock`, the first boundary, or `resume` tells: whoever runs windows by the machine's clock
/// calls one of them before the first batch.
pub struct WindowStep {
    core: Core,
    windows: Windows,
    arrivals: Arrivals,
    /// The clock as of the records that come: what an earlier step puts out when time moves comes when it has moved.
    clock: i64,
}

/// One kind of windows with its state.
enum Windows {
    Fixed(FixedWindows),
    Sliced(SlicedWindows),
    Session(Sessions, Option<i64>),
    Count(Counts),
}

impl WindowStep {
    /// A step that nothing has reached yet. Fails if the spec makes no sense together with the function or the limits.
    pub fn new(
        spec: WindowSpec,
        function: Box<dyn Aggregate>,
        facts: FunctionFacts,
        limits: WindowLimits,
    ) -> Result<WindowStep, StepError> {
        check(&spec, facts, &limits).map_err(StepError::Failed)?;
        let sliced = SlicedWindows::serves(&spec, facts);
        let windows = match (sliced, &spec.kind) {
            (Some(grid), _) => Windows::Sliced(SlicedWindows::new(grid)),
            (None, &WindowKind::Session { gap }) => Windows::Session(Sessions::default(), gap),
            (None, &WindowKind::Count { size, every }) => Windows::Count(Counts::new(size, every)),
            (None, _) => Windows::Fixed(FixedWindows::new(&spec)),
        };
        Ok(WindowStep {
            core: Core::new(spec, function, facts, limits),
            windows,
            arrivals: Arrivals::default(),
            clock: i64::MIN,
        })
    }

    /// How many groups (keys × windows) are kept.
    pub fn groups(&self) -> usize {
        match &self.windows {
            Windows::Fixed(w) => w.groups,
            Windows::Sliced(w) => w.slices.groups,
            Windows::Session(s, _) => s.len(),
            Windows::Count(c) => c.live().len(),
        }
    }

    /// Leaves out what field policies reject and what lacks a needed timestamp; finds times and hashes for the rest.
    fn arrive(&mut self, batch: &mut Batch, left_out: &mut LeftOut) -> Result<(), StepError> {
        left_out.rejected = self.core.function.prepare(batch)?;
        let mut bad: Vec<u32> = left_out.rejected.iter().map(|r| r.row).collect();
        bad.sort_unstable();
        let endless = matches!(
            self.core.spec.kind,
            WindowKind::Count { .. } | WindowKind::Global
        );
        let by_clock = self.core.spec.time == TimeDomain::Processing && !endless;
        let Arrivals {
            rows,
            unfit,
            times,
            hashes,
        } = &mut self.arrivals;
        rows.clear();
        unfit.clear();
        times.clear();
        hashes.clear();
        match &batch.timestamps {
            _ if by_clock => times.resize(batch.len, self.clock.max(self.core.time.now)),
            None => times.resize(batch.len, NO_TIMESTAMP),
            Some(column) => times.extend_from_slice(column.values()),
        }
        let nulls = if by_clock {
            None
        } else {
            batch.timestamps.as_ref().and_then(|t| t.nulls())
        };
        let none_has_one = !by_clock && batch.timestamps.is_none();
        let mut bad = bad.into_iter().peekable();
        for row in 0..batch.len as u32 {
            let timeless = none_has_one || nulls.is_some_and(|n| n.is_null(row as usize));
            if bad.peek().is_some_and(|b| *b == row) {
                while bad.next_if_eq(&row).is_some() {}
                if !endless && !by_clock && !timeless {
                    unfit.push(row);
                }
                continue;
            }
            if timeless {
                if !endless {
                    left_out.reject(
                        row,
                        "the record has no timestamp, which windows by event time need".to_owned(),
                    );
                    continue;
                }
                times[row as usize] = NO_TIMESTAMP;
            }
            rows.push(row);
        }
        let keys = batch.keys.as_ref();
        let hasher = &self.core.hasher;
        hashes.extend((0..batch.len).map(|row| hasher.hash(key_of(keys, row))));
        Ok(())
    }
}

impl Step for WindowStep {
    fn on_batch(
        &mut self,
        _input: usize,
        mut batch: Batch,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        if batch.len == 0 {
            return Ok(());
        }
        self.core.fired_inside = false;
        let mut left_out = LeftOut::default();
        self.arrive(&mut batch, &mut left_out)?;
        let WindowStep {
            core,
            windows,
            arrivals,
            ..
        } = self;
        match windows {
            Windows::Fixed(w) => w.on_batch(core, &batch, arrivals, &mut left_out, out)?,
            Windows::Sliced(w) => w.on_batch(core, &batch, arrivals, &mut left_out, out)?,
            Windows::Session(s, gap) => {
                s.on_batch(core, &batch, arrivals, *gap, &mut left_out, out)?
            }
            Windows::Count(c) => c.on_batch(core, &batch, arrivals, &mut left_out, out)?,
        }
        let LeftOut {
            mut rejected,
            mut late,
        } = left_out;
        late.sort_unstable();
        if !arrivals.unfit.is_empty() {
            rejected.retain(|r| late.binary_search(&r.row).is_err());
        }
        if !rejected.is_empty() {
            rejected.sort_by_key(|r| r.row);
            out.reject(&batch, rejected)?;
        }
        if !late.is_empty() {
            out.count_late(late.len() as u64);
            out.emit(Port::Late, batch.take(&late))?;
        }
        Ok(())
    }

    fn clock(&mut self, now: i64) {
        self.clock = self.clock.max(now);
    }

    fn on_boundary(
        &mut self,
        at: Boundary<'_>,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        let WindowStep { core, windows, .. } = self;
        match windows {
            Windows::Fixed(w) => w.on_boundary(core, &at, out),
            Windows::Sliced(w) => w.on_boundary(core, &at, out),
            Windows::Session(s, _) => s.on_boundary(core, &at, out),
            Windows::Count(c) => c.on_boundary(core, &at, out),
        }
    }

    fn next_wakeup(&self) -> Option<i64> {
        match &self.windows {
            Windows::Fixed(w) => w.next_wakeup(&self.core),
            Windows::Sliced(w) => w.next_wakeup(&self.core),
            Windows::Session(s, _) => s.next_wakeup(&self.core),
            Windows::Count(_) => None,
        }
    }

    fn snapshot(&mut self, extent: Extent, into: &mut StateBuffer) -> Result<Extent, StepError> {
        let version = self.core.facts.state_version;
        match &mut self.windows {
            Windows::Fixed(w) => w.snapshot(&self.core, extent, into),
            Windows::Sliced(w) => w.slices.snapshot(&self.core, extent, into),
            Windows::Session(s, _) => {
                let extent = s.snapshot(extent, version, into);
                s.snapshot_spilled(&self.core, extent, version, into)?;
                Ok(extent)
            }
            Windows::Count(c) => {
                let extent = c.snapshot(extent, version, into);
                c.snapshot_spilled(&self.core, extent, version, into)?;
                Ok(extent)
            }
        }
    }

    fn restore(&mut self, entry: StateRef<'_>) -> Result<(), StepError> {
        let WindowStep { core, windows, .. } = self;
        let fits = match windows {
            Windows::Fixed(w) => restore_groups(core, w, None, &[entry])? > 0,
            Windows::Sliced(w) => w.restore_many(core, &[entry])? > 0,
            Windows::Session(s, _) => match decode(entry)? {
                (State::Group(mut g), version) => {
                    let acc = core.migrated(version, &[g.acc])?;
                    g.acc = &acc[0];
                    s.restore(core, &g)?
                }
                _ => return Err(other_windows()),
            },
            Windows::Count(counts) => match decode(entry)? {
                (State::Count(c), version) => {
                    let accs: Vec<&[u8]> = c.panes.iter().map(|(_, _, acc)| *acc).collect();
                    let accs = core.migrated(version, &accs)?;
                    let panes = c.panes.iter().zip(accs);
                    let panes = panes.map(|(&(fires_at, newest, _), acc)| (fires_at, newest, acc));
                    counts.fetch_key(core, c.key)?;
                    counts.restore(core, c.key, c.records, &panes.collect::<Vec<_>>())
                }
                _ => return Err(other_windows()),
            },
        };
        match fits {
            true => Ok(()),
            false => Err(broken(
                "it is there twice, or does not fit the job's windows",
            )),
        }
    }

    fn restore_many(&mut self, entries: &[StateRef<'_>]) -> Result<(), StepError> {
        match &mut self.windows {
            Windows::Fixed(w) => restore_groups(&mut self.core, w, None, entries).map(drop),
            Windows::Sliced(w) => w.restore_many(&mut self.core, entries).map(drop),
            _ => entries.iter().try_for_each(|entry| self.restore(*entry)),
        }
    }

    fn expect(&mut self, entries: usize, older: bool) {
        match &mut self.windows {
            Windows::Fixed(w) => w.expect(&mut self.core, entries, older),
            Windows::Sliced(w) => w.slices.expect(&mut self.core, entries, older),
            _ => {}
        }
    }

    fn restored(&mut self) -> Result<(), StepError> {
        match &mut self.windows {
            Windows::Fixed(w) => w.restored(&mut self.core),
            Windows::Sliced(w) => w.slices.restored(&mut self.core),
            _ => Ok(()),
        }
    }

    fn knows_names(&self) -> bool {
        matches!(self.windows, Windows::Fixed(_) | Windows::Sliced(_))
    }

    fn resume(&mut self, at: Boundary<'_>) {
        self.core.time = self.core.time.after(&self.core.spec, &at);
    }

    fn as_whole(&mut self) -> Option<&mut dyn Whole> {
        (self.core.spec.emit == Emit::Complete).then_some(self)
    }

    fn function_stats(&self) -> Option<crate::plugin::FunctionStats> {
        Some(self.core.function.stats())
    }

    fn take_vault(&mut self, vault: Vault) {
        match &mut self.windows {
            Windows::Session(sessions, _) => sessions.cold = Some(ColdKeys::new(vault)),
            Windows::Count(counts) => counts.cold = Some(ColdKeys::new(vault)),
            Windows::Fixed(_) | Windows::Sliced(_) => self.core.vault = Some(vault),
        }
    }

    fn shed(&mut self, bytes_max: usize) -> Result<(), StepError> {
        let core = &mut self.core;
        match &mut self.windows {
            Windows::Fixed(w) => w.shed(core, bytes_max),
            Windows::Sliced(w) => w.shed(core, bytes_max),
            Windows::Session(s, _) => s.shed(core, bytes_max),
            Windows::Count(c) => c.shed(core, bytes_max),
        }
    }

    fn disk_bytes(&self) -> u64 {
        let of_keys = |cold: &Option<ColdKeys>| cold.as_ref().map_or(0, ColdKeys::disk_bytes);
        match &self.windows {
            Windows::Session(s, _) => {
                of_keys(&s.cold) + s.whole.as_ref().map_or(0, WholePass::disk_bytes)
            }
            Windows::Count(counts) => of_keys(&counts.cold),
            Windows::Fixed(_) | Windows::Sliced(_) => {
                self.core.vault.as_ref().map_or(0, Vault::disk_bytes)
            }
        }
    }

    fn growth(&self) -> usize {
        match &self.windows {
            Windows::Fixed(w) => w.growth(),
            Windows::Sliced(w) => w.slices.growth(),
            Windows::Session(s, _) => s.growth(),
            Windows::Count(c) => c.growth(),
        }
    }

    fn state_bytes(&self) -> usize {
        let vault = self.core.vault.as_ref().map_or(0, Vault::memory);
        vault
            + match &self.windows {
                Windows::Fixed(w) => w.memory(),
                Windows::Sliced(w) => w.memory(),
                Windows::Session(s, _) => s.memory(),
                Windows::Count(c) => c.memory(),
            }
    }
}

impl Whole for WindowStep {
    fn firing(&mut self, at: &Boundary<'_>) -> Result<WholeFiring, StepError> {
        match &mut self.windows {
            Windows::Fixed(w) => Ok(w.firing(&self.core, at)),
            Windows::Session(s, _) => s.firing(&self.core, at),
            // These know no complete mode.
            Windows::Sliced(_) | Windows::Count(_) => Ok(WholeFiring::default()),
        }
    }

    fn fire_at_boundary(&mut self) {
        self.core.fires_whole = true;
    }

    fn fired_inside(&self) -> bool {
        self.core.fired_inside
    }

    fn fire_now(&mut self, out: &mut dyn Output) -> Result<(), StepError> {
        match &mut self.windows {
            Windows::Fixed(w) => w.fire_now(&mut self.core, out),
            Windows::Session(s, _) => {
                s.fire_whole(&mut self.core, out)?;
                self.core.flush(out)
            }
            Windows::Sliced(_) | Windows::Count(_) => Ok(()),
        }
    }
}

fn other_windows() -> StepError {
    broken("it is of other windows than the job's")
}

/// Why windows like these cannot be.
fn check(spec: &WindowSpec, facts: FunctionFacts, limits: &WindowLimits) -> Result<(), String> {
    let overlap = match spec.kind {
        WindowKind::Tumbling { size, .. } if size <= 0 => {
            return Err(format!("a window of {size} ms holds nothing"));
        }
        WindowKind::Sliding { size, every, .. } if every <= 0 || every > size => {
            return Err(format!(
                "sliding windows of {size} ms every {every} ms: `every` must be from 1 ms to the size"
            ));
        }
        WindowKind::Session { gap: Some(gap) } if gap <= 0 => {
            return Err(format!("a session gap of {gap} ms closes at once"));
        }
        WindowKind::Session { .. } if !facts.mergeable => {
            return Err("session windows merge, but the function has no `merge`".to_owned());
        }
        WindowKind::Count { size, every } if size == 0 || every == 0 => {
            return Err("a count window of 0 records".to_owned());
        }
        WindowKind::Sliding { size, every, .. } => size as u64 / every as u64,
        WindowKind::Count { size, every } => size / every,
        _ => 1,
    };
    if overlap > limits.windows_per_record_max {
        let max = limits.windows_per_record_max;
        return Err(format!(
            "each record would fall in {overlap} windows, at most {max} are allowed"
        ));
    }
    Ok(())
}
