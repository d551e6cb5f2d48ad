//! What all kinds of windows need: the function with its limits checked, time, results on their way.

use std::sync::Arc;

use super::keys::KeyHasher;
use super::results::Results;
use super::time::{Retention, StepTime};
use super::{Emit, Panes, WindowKind, WindowSpec};
use crate::plugin::{Added, Aggregate, Descriptor, Fault, RejectKind, Rejected};
use crate::record::{Batch, Blobs};
use crate::spill::Vault;
use crate::step::{Output, StepError};

/// What a function says of itself that windows depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionFacts {
    /// `merge` works.
    pub mergeable: bool,
    /// The result depends on the order of records.
    pub order_dependent: bool,
    /// Version of its accumulators.
    pub state_version: u32,
}

impl From<&Descriptor> for FunctionFacts {
    fn from(descriptor: &Descriptor) -> FunctionFacts {
        FunctionFacts {
            mergeable: descriptor.mergeable,
            order_dependent: descriptor.order_dependent,
            state_version: descriptor.state_version,
        }
    }
}

/// Bounds on what a window step keeps. Passing one ends the job with a clear error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimits {
    /// Bytes of one group's accumulator.
    pub accumulator_bytes_max: usize,
    /// Groups kept by one task.
    pub groups_max: usize,
    /// Windows that one record may fall in.
    pub windows_per_record_max: u64,
}

impl Default for WindowLimits {
    fn default() -> WindowLimits {
        WindowLimits {
            accumulator_bytes_max: 1 << 20,
            // Numbers of groups are u32; at some 100 bytes a group memory ends before.
            groups_max: 1 << 30,
            // A day by the second is 86,400.
            windows_per_record_max: 100_000,
        }
    }
}

/// Records of a batch that take part: neither rejected by a field's policy nor without a needed timestamp.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Rows of the batch, ascending.
    pub rows: Vec<u32>,
    /// Rows that a field's policy rejected, ascending, where windows may be past: late ones are late, as late is decided
    /// before the function sees a record.
    pub unfit: Vec<u32>,
    /// The time of each row *of the batch* in the windows' clock; for windows that need none, its timestamp or
    /// `NO_TIMESTAMP`.
    pub times: Vec<i64>,
    /// The hash of the key of each row of the batch.
    pub hashes: Vec<u64>,
}

/// Records of a batch that do not come through.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// They failed.
    pub rejected: Vec<Rejected>,
    /// They are late.
    pub late: Vec<u32>,
}

impl LeftOut {
    /// A record that the step itself cannot take.
    pub fn reject(&mut self, row: u32, message: String) {
        self.rejected.push(Rejected {
            row,
            kind: RejectKind::Step,
            message,
            log: Vec::new(),
        });
    }
}

/// The parts that all kinds of windows share.
pub(super) struct Core {
    pub spec: WindowSpec,
    pub facts: FunctionFacts,
    pub limits: WindowLimits,
    pub retention: Retention,
    pub function: Box<dyn Aggregate>,
    pub time: StepTime,
    pub results: Results,
    pub hasher: KeyHasher,
    /// Everything is put out at the coming boundary (complete mode: the tasks of the step agreed on it).
    pub fires_whole: bool,
    /// Everything was put out inside the batch (complete mode: the other tasks of the step may follow).
    pub fired_inside: bool,
    /// Where groups go that find no room in memory.
    pub vault: Option<Vault>,
    init: Option<Arc<[u8]>>,
}

impl Core {
    /// A step that nothing has reached yet.
    pub fn new(
        spec: WindowSpec,
        function: Box<dyn Aggregate>,
        facts: FunctionFacts,
        limits: WindowLimits,
    ) -> Core {
        let windowed = !matches!(spec.kind, WindowKind::Count { .. } | WindowKind::Global);
        Core {
            retention: Retention::of(&spec),
            time: StepTime::start(&spec),
            results: Results::new(windowed),
            hasher: KeyHasher::default(),
            fires_whole: false,
            fired_inside: false,
            vault: None,
            init: None,
            spec,
            facts,
            limits,
            function,
        }
    }

    /// The accumulator of a new group.
    pub fn init(&mut self) -> Result<Arc<[u8]>, StepError> {
        if let Some(init) = &self.init {
            return Ok(init.clone());
        }
        let init = self.function.init()?;
        self.check_size(&init)?;
        Ok(self.init.insert(init).clone())
    }

    /// Calls `add`, and checks what it answers.
    pub fn add(
        &mut self,
        batch: &Batch,
        rows: &[u32],
        groups: &[u32],
        accs: &Blobs,
    ) -> Result<Added, StepError> {
        let added = self.function.add(batch, rows, groups, accs)?;
        match &added {
            Added::Accumulators(new) => self.check(accs.len(), new)?,
            Added::Rejected(rejected) if rejected.is_empty() => {
                return Err(bad_output(
                    "add rejected records without naming any".to_owned(),
                ));
            }
            Added::Rejected(_) => {}
        }
        Ok(added)
    }

    /// Calls `merge`, and checks what it answers.
    pub fn merge(&mut self, left: &Blobs, right: &Blobs) -> Result<Blobs, StepError> {
        let merged = self.function.merge(left, right)?;
        self.check(left.len(), &merged)?;
        Ok(merged)
    }

    /// Sends panes to `finish` and results on.
    pub fn flush(&mut self, out: &mut dyn Output) -> Result<(), StepError> {
        self.results.flush(self.function.as_mut(), out)
    }

    /// Whether a firing empties the accumulator.
    pub fn discards(&self) -> bool {
        self.spec.panes == Panes::Discarding && self.spec.emit != Emit::Complete
    }

    /// Whether it matters which groups got records since they last fired.
    pub fn tracks_changes(&self) -> bool {
        self.spec.emit != Emit::Append
            || !self.spec.trigger.is_none()
            || self.retention.keeps_closed()
            || self.discards()
    }

    /// Whether open windows fire at each boundary.
    pub fn fires_each_boundary(&self) -> bool {
        self.spec.emit != Emit::Append && self.spec.trigger.is_none()
    }

    /// Refuses to keep so many groups.
    pub fn check_groups(&self, groups: usize) -> Result<(), StepError> {
        if groups > self.limits.groups_max {
            let max = self.limits.groups_max;
            return Err(StepError::Failed(format!(
                "more than {max} groups (keys × windows) are open in one task"
            )));
        }
        Ok(())
    }

    fn check(&self, expected: usize, accs: &Blobs) -> Result<(), StepError> {
        if accs.len() != expected {
            return Err(bad_output(format!(
                "{} accumulators came back for {expected} groups",
                accs.len()
            )));
        }
        if accs.data().len() > self.limits.accumulator_bytes_max {
            accs.iter().try_for_each(|acc| self.check_size(acc))?;
        }
        Ok(())
    }

    fn check_size(&self, acc: &[u8]) -> Result<(), StepError> {
        let (len, max) = (acc.len(), self.limits.accumulator_bytes_max);
        if len > max {
            return Err(StepError::Failed(format!(
                "the accumulator of a group has {len} bytes, at most {max} are allowed"
            )));
        }
        Ok(())
    }
}

fn bad_output(message: String) -> StepError {
    StepError::Fault(Fault {
        message,
        kind: RejectKind::BadOutput,
        log: Vec::new(),
    })
}
