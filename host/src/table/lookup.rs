use std::collections::VecDeque;
use std::sync::Arc;

use crate::config::plan::{KeyPointers, Port};
use crate::keyed::{RowId, described, key_of, timestamp_of};
use crate::plugin::{Join, RejectKind, Rejected};
use crate::record::{Batch, NO_ROW};
use crate::spill::Vault;
use crate::state::{Extent, StateBuffer, StateRef};
use crate::step::{Boundary, Output, Progress, Step, StepError};
use crate::time::Watermark;

use super::Table;
use super::waiting::WaitingRows;

/// Records in one call of the function.
const PAIRS_MAX: usize = 4096;

/// Calls before the step lets others work.
const CALLS_MAX: usize = 8;

/// Everything that a job says about a lookup.
#[derive(Clone, Debug)]
pub struct LookupSpec {
    /// Where the table's key is in a record; none: it is the record's key.
    pub on: Option<KeyPointers>,
    /// Whether records without match are kept.
    pub left: bool,
    /// How many inputs bring records; the one after them is the table's.
    pub record_inputs: usize,
    /// Records get what holds at their timestamp, versions being kept so long, milliseconds.
    pub as_of_ms: Option<i64>,
    /// Every task keeps the whole table: one of them says which updates it cannot take, the others leave them out.
    pub speaks_for_table: bool,
}

/// Enriches records from a table.
///
/// The last input brings the updates of a table that is kept current. Then records wait for the
/// boundary, so that a flush's updates come first; with `as_of` on, until the table's own watermark has reached
/// their timestamps. Records that come out together keep the order in which they came.
///
/// No record is late here. A record without key (or where `on` finds none) has no match.
/// A version is dropped at the boundary at which all inputs have passed, by `as_of`, the one that replaced it.
pub struct LookupStep {
    pub(super) spec: LookupSpec,
    function: Box<dyn Join>,
    pub(super) table: Kept,
    /// Records of this boundary.
    arrived: Vec<Batch>,
    pub(super) waiting: WaitingRows,
    /// Records of this boundary that can go on, after those that waited.
    todo: VecDeque<Batch>,
    /// The boundary's records were dealt.
    begun: bool,
    /// Records that wait in memory are in the last snapshot.
    pub(super) waiting_stored: bool,
}

/// Where the table is.
pub(super) enum Kept {
    /// Loaded before the job started.
    Loaded(Arc<Table>),
    /// Kept current by the last input.
    Own(Box<Table>),
}

impl Kept {
    pub(super) fn table(&self) -> &Table {
        match self {
            Kept::Loaded(table) => table,
            Kept::Own(table) => table,
        }
    }
}

impl LookupStep {
    /// A lookup in a table that was loaded (with versions, if `spec.as_of_ms` is set), or else in one that the last
    /// input keeps current.
    pub fn new(
        spec: LookupSpec,
        function: Box<dyn Join>,
        loaded: Option<Arc<Table>>,
    ) -> LookupStep {
        let table = match loaded {
            Some(table) => Kept::Loaded(table),
            None => Kept::Own(Box::new(Table::new(spec.as_of_ms.is_some()))),
        };
        LookupStep {
            spec,
            function,
            table,
            arrived: Vec::new(),
            waiting: WaitingRows::default(),
            todo: VecDeque::new(),
            begun: false,
            waiting_stored: false,
        }
    }

    /// Looks up all records of a batch.
    fn look_up(&mut self, mut batch: Batch, out: &mut dyn Output) -> Result<(), StepError> {
        // Records where `on` finds no key have no match: that is no failure.
        let on = self
            .spec
            .on
            .as_ref()
            .map(|on| crate::format::keys(&mut batch, on).0);
        let key_of = |row: usize| match &on {
            None => key_of(&batch, row),
            Some(keys) => arrow_array::Array::is_valid(keys, row).then(|| keys.value(row)),
        };
        if let Kept::Own(table) = &mut self.table {
            table.fetch((0..batch.len).map(key_of).filter(Option::is_some))?;
        }
        let table = self.table.table();
        let (mut rows, mut found): (Vec<u32>, Vec<Option<RowId>>) =
            (Vec::with_capacity(batch.len), Vec::with_capacity(batch.len));
        for row in 0..batch.len {
            let key = key_of(row);
            let at = if self.spec.as_of_ms.is_some() {
                timestamp_of(&batch, row)
            } else {
                None
            };
            let id = table.find(key, at);
            if id.is_some() || self.spec.left {
                rows.push(row as u32);
                found.push(id);
            }
        }
        let description = described(&batch);
        for (rows, found) in rows.chunks(PAIRS_MAX).zip(found.chunks(PAIRS_MAX)) {
            let ids: Vec<RowId> = found.iter().flatten().copied().collect();
            let (mut right, at) = self.table.table().gather(&ids);
            let mut next = at.into_iter();
            let right_rows: Vec<u32> = found
                .iter()
                .map(|id| id.and_then(|_| next.next()).unwrap_or(NO_ROW))
                .collect();
            let joined = self
                .function
                .join(&mut batch, &mut right, rows, &right_rows)?;
            let source: Vec<u32> = joined
                .pairs
                .iter()
                .map(|&pair| rows[pair as usize])
                .collect();
            let mut result = description.take(&source);
            result.value = joined.batch.value;
            result.headers = joined.batch.headers;
            if result.len > 0 {
                out.emit(Port::Main, result)?;
            }
            if !joined.rejected.is_empty() {
                out.reject(
                    &batch,
                    joined
                        .rejected
                        .into_iter()
                        .map(|r| Rejected {
                            row: rows[r.row as usize],
                            ..r
                        })
                        .collect(),
                )?;
            }
        }
        Ok(())
    }

    /// Deals the boundary's records: those that the table has caught up with, and those that wait.
    fn begin(&mut self, table_watermark: Watermark) -> Result<(), StepError> {
        self.begun = true;
        let passed = (table_watermark != Watermark::NONE).then_some(table_watermark.0);
        if self.spec.as_of_ms.is_none() {
            self.todo.extend(self.arrived.drain(..));
            return Ok(());
        }
        if let Some(passed) = passed {
            self.waiting.begin(passed)?;
        }
        for batch in std::mem::take(&mut self.arrived) {
            let is_ready = |row: &u32| timestamp_of(&batch, *row as usize) <= passed;
            let (ready, not_yet): (Vec<u32>, Vec<u32>) = (0..batch.len as u32).partition(is_ready);
            self.waiting.keep(&batch, &not_yet);
            if !ready.is_empty() {
                self.todo.push_back(batch.take(&ready));
            }
        }
        Ok(())
    }

    /// The next records that can go on.
    fn next(&mut self) -> Result<Option<Batch>, StepError> {
        match self.waiting.next()? {
            None => Ok(self.todo.pop_front()),
            waited => Ok(waited),
        }
    }
}

impl Step for LookupStep {
    fn on_batch(
        &mut self,
        input: usize,
        mut batch: Batch,
        out: &mut dyn Output,
    ) -> Result<(), StepError> {
        self.waiting.seal_restored();
        batch.windows = None;
        if input >= self.spec.record_inputs {
            let Kept::Own(table) = &mut self.table else {
                return Err(StepError::Failed(
                    "a table that was loaded from a file gets no updates".to_owned(),
                ));
            };
            let keys = (0..batch.len).map(|row| key_of(&batch, row));
            table.fetch(keys.filter(Option::is_some))?;
            let rejected = table.update(&batch);
            if self.spec.speaks_for_table && !rejected.is_empty() {
                out.reject(&batch, rejected)?;
            }
            return Ok(());
        }
        if self.spec.as_of_ms.is_some() {
            let (timed, timeless): (Vec<u32>, Vec<u32>) =
                (0..batch.len as u32).partition(|&r| timestamp_of(&batch, r as usize).is_some());
            if !timeless.is_empty() {
                let reject = |row| {
                    let message = "a lookup as of event time needs records with a timestamp, this one has none".to_owned();
                    Rejected {
                        row,
                        kind: RejectKind::Step,
                        message,
                        log: Vec::new(),
                    }
                };
                out.reject(&batch, timeless.into_iter().map(reject).collect())?;
                batch = batch.take(&timed);
            }
        }
        match self.table {
            _ if batch.len == 0 => Ok(()),
            Kept::Loaded(_) => self.look_up(batch, out),
            Kept::Own(_) => {
                self.arrived.push(batch);
                Ok(())
            }
        }
    }

    fn on_boundary(
        &mut self,
        at: Boundary<'_>,
        out: &mut dyn Output,
    ) -> Result<Progress, StepError> {
        self.waiting.seal_restored();
        let Kept::Own(_) = self.table else {
            return Ok(Progress::Done);
        };
        if !self.begun {
            let table = at.inputs.last().copied().unwrap_or(at.watermark);
            self.begin(if at.end { Watermark::END } else { table })?;
        }
        for _ in 0..CALLS_MAX {
            match self.next()? {
                None => {
                    self.begun = false;
                    break;
                }
                Some(batch) => self.look_up(batch, out)?,
            }
        }
        if self.begun {
            return Ok(Progress::More);
        }
        if let (Kept::Own(table), Some(as_of)) = (&mut self.table, self.spec.as_of_ms) {
            // What records may still ask for: the input furthest behind decides.
            let least = at.inputs.iter().copied().min().unwrap_or(at.watermark);
            if let (false, Some(horizon)) = (least == Watermark::NONE, least.0.checked_sub(as_of)) {
                // Nothing else is to be done at this boundary when it comes again.
                if !table.forget_some_before(horizon)? {
                    return Ok(Progress::More);
                }
            }
        }
        Ok(Progress::Done)
    }

    /// A record that waits is not late for the next step.
    fn output_watermark(&self, watermark: Watermark) -> Watermark {
        match self.waiting.least() {
            Some(oldest) => watermark.min(Watermark(oldest.saturating_sub(1))),
            None => watermark,
        }
    }

    fn snapshot(&mut self, extent: Extent, into: &mut StateBuffer) -> Result<Extent, StepError> {
        self.waiting.seal_restored();
        self.snapshot_all(extent, into)
    }

    fn restore(&mut self, entry: StateRef<'_>) -> Result<(), StepError> {
        self.restore_entry(entry)
    }

    /// With `on`, each task has the whole table.
    fn shares_entries(&self) -> bool {
        self.spec.on.is_some()
    }

    fn is_shared(&self, entry: StateRef<'_>) -> bool {
        self.shares_entries() && entry.key.first() == Some(&super::snapshot::TABLE)
    }

    fn resume(&mut self, _: Boundary<'_>) {
        self.waiting.seal_restored();
    }

    fn function_stats(&self) -> Option<crate::plugin::FunctionStats> {
        Some(self.function.stats())
    }

    fn state_bytes(&self) -> usize {
        let own = if let Kept::Own(table) = &self.table {
            table.bytes()
        } else {
            0
        };
        own + self.waiting.bytes()
    }

    fn growth(&self) -> usize {
        match &self.table {
            Kept::Own(table) => table.keys.growth(),
            Kept::Loaded(_) => 0,
        }
    }

    fn take_vault(&mut self, vault: Vault) {
        if let Kept::Own(table) = &mut self.table {
            self.waiting.set_vault(&vault);
            table.keys.set_vault(vault);
        }
    }

    /// Records that wait go first: nobody asks for them before their time.
    fn shed(&mut self, bytes_max: usize) -> Result<(), StepError> {
        if let Kept::Own(table) = &mut self.table {
            self.waiting.shed(bytes_max.saturating_sub(table.bytes()))?;
            table.shed(bytes_max.saturating_sub(self.waiting.bytes()))?;
        }
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        match &self.table {
            Kept::Own(table) => table.keys.disk_bytes() + self.waiting.disk_bytes(),
            Kept::Loaded(_) => 0,
        }
    }
}
