//! A task: one partition of a stage, as a synchronous machine.
//!
//! It is fed messages and boundaries and leaves what it sends in an outbox; it knows no thread, channel or
//! clock. `worker` drives it on a thread of its own, `script` by hand and in order: what is tested
//! is what runs.

mod output;
mod routing;
mod slot;
mod source;
mod times;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::record::{Batch, Needs, NodeIndex};
use crate::runtime::counters::JobCounters;
use crate::runtime::exchange::Dealer;
use crate::runtime::message::{Message, Tag, TimeUpdate};
use crate::sink::{SinkError, SinkWriter};
use crate::step::{Boundary, Progress, StepError, WholeFiring};
use crate::window::watermark::WatermarkTracker;

use output::{Emission, SlotOutput};
pub use slot::{KeyedSlot, TaskSlot};
pub use source::{OwnedPartition, TaskSource};

/// Channel number of times that come from within the task.
pub const LOCAL: u32 = u32::MAX;

/// Batches smaller than this are joined before a stateful step gets them: a call costs as much as a few hundred
/// records.
const SMALL_BATCH_RECORDS: usize = 1024;

/// A message and where it goes.
#[derive(Debug)]
pub struct Outgoing {
    /// Stage.
    pub stage: usize,
    /// Task of it; none: all of them.
    pub task: Option<usize>,
    /// What.
    pub message: Message,
}

/// Settings of a task that do not change.
#[derive(Clone, Copy, Debug)]
pub struct TaskSettings {
    /// Number of the task in its stage.
    pub index: usize,
    /// Most records that a stateful step gets at once.
    pub batch_records: usize,
    /// Bytes of a key that a stateful step takes.
    pub key_bytes_max: usize,
    /// Records wait for the boundary and are then taken in the order of their tags, so that results are a
    /// function of the input alone.
    pub ordered: bool,
    /// With that: where a record makes all tasks of a step put out, they get their records one by one.
    pub lockstep: bool,
}

/// Where in a boundary the task is, between two calls of `boundary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Records that wait go to slot i.
    Deliver(usize),
    /// Slot i sees the boundary.
    Fire(usize),
}

/// One partition of a stage.
pub struct Task {
    settings: TaskSettings,
    source: Option<TaskSource>,
    slots: Vec<TaskSlot>,
    sinks: Vec<Option<Box<dyn SinkWriter>>>,
    dealers: BTreeMap<usize, Dealer>,
    /// Slots of other stages, (stage, slot), that get their records one by one.
    by_row: std::collections::BTreeSet<(usize, usize)>,
    /// What is read behind each exchange: by (stage, slot, input).
    needs: BTreeMap<(usize, usize, usize), Needs>,
    downstream: Vec<usize>,
    counters: Arc<JobCounters>,
    emitted: VecDeque<Emission>,
    outbox: Vec<Outgoing>,
    times: Vec<TimeUpdate>,
    /// Channels whose tasks have not named their partitions yet.
    silent: std::collections::BTreeSet<u32>,
    next_sequence: u64,
    /// The clock, for timestamps too far ahead; the least i64 while it is not known.
    now: i64,
    at: Stage,
}

impl Task {
    /// Counters of the job.
    pub fn counters(&self) -> &JobCounters {
        &self.counters
    }

    /// `sinks`: a writer for each sink of the graph that this task's stage leads to. `dealers`: number of
    /// tasks of each stage downstream. `silent`: channels of tasks that read sources.
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, by whoever assembles a job"
    )]
    pub fn new(
        settings: TaskSettings,
        source: Option<TaskSource>,
        slots: Vec<TaskSlot>,
        sinks: Vec<Option<Box<dyn SinkWriter>>>,
        downstream: &[(usize, usize)],
        by_row: std::collections::BTreeSet<(usize, usize)>,
        needs: BTreeMap<(usize, usize, usize), Needs>,
        silent: impl IntoIterator<Item = u32>,
        counters: Arc<JobCounters>,
    ) -> Task {
        Task {
            settings,
            source,
            slots,
            sinks,
            dealers: downstream
                .iter()
                .map(|&(stage, tasks)| (stage, Dealer::new(tasks)))
                .collect(),
            downstream: downstream.iter().map(|d| d.0).collect(),
            by_row,
            needs,
            counters,
            emitted: VecDeque::new(),
            outbox: Vec::new(),
            times: Vec::new(),
            silent: silent.into_iter().collect(),
            next_sequence: (settings.index as u64) << 40,
            now: i64::MIN,
            at: Stage::Deliver(0),
        }
    }

    /// Its number in the stage.
    pub fn index(&self) -> usize {
        self.settings.index
    }

    /// What is to be sent, in order.
    pub fn take_outbox(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.outbox)
    }

    /// Whether something is to be sent.
    pub fn has_outgoing(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The clock, as of now: what timestamps are judged by, and when records arrive. (Time moves at boundaries.)
    pub fn set_now(&mut self, now: i64) {
        self.now = now;
        for slot in &mut self.slots {
            slot.step.clock(now);
        }
    }

    /// Records that wait for a boundary.
    pub fn pending_records(&self) -> usize {
        self.slots
            .iter()
            .filter_map(|s| s.keyed.as_ref())
            .map(|k| k.pending_records)
            .sum()
    }

    /// The earliest processing time at which a step wants a boundary.
    pub fn next_wakeup(&self) -> Option<i64> {
        self.slots.iter().filter_map(|s| s.step.next_wakeup()).min()
    }

    // ---- messages ----------------------------------------------------------------------------

    /// Records from another task.
    pub fn on_records(
        &mut self,
        slot: usize,
        input: usize,
        tag: Tag,
        batch: Batch,
    ) -> Result<(), TaskError> {
        self.enqueue(slot, input, tag, batch)?;
        self.drain()
    }

    // ---- boundaries --------------------------------------------------------------------------

    /// All that came so far is one boundary: steps get their records, then time moves. Works until there is
    /// something to send (`More`: send it and call again) or nothing left to do.
    pub fn boundary(&mut self, now: i64, end: bool) -> Result<Progress, TaskError> {
        if self.at == Stage::Deliver(0) {
            self.collect_source_times();
        }
        loop {
            match self.at {
                Stage::Deliver(slot) if slot == self.slots.len() => {
                    self.at = Stage::Deliver(0);
                    for slot in &self.slots {
                        if let Some(stats) = slot.step.function_stats() {
                            self.counters.steps[usize::from(slot.index)]
                                .set_function(self.settings.index, stats);
                        }
                    }
                    self.send_times(false);
                    return Ok(Progress::Done);
                }
                Stage::Deliver(slot) => {
                    if self.waits_for_the_others().is_some() {
                        return Ok(Progress::More);
                    }
                    if self.deliver_pending(slot)? == Progress::More {
                        return Ok(Progress::More);
                    }
                    self.advance(slot);
                    self.at = Stage::Fire(slot);
                    if self.settings.ordered && self.slots[slot].keyed.is_some() {
                        // The other tasks of the stage come to this point, too, before steps put out.
                        return Ok(Progress::More);
                    }
                }
                Stage::Fire(slot) => {
                    let more = self.fire(slot, now, end)?;
                    if more == Progress::Done {
                        self.publish(slot);
                        self.at = Stage::Deliver(slot + 1);
                    }
                    if !self.outbox.is_empty() {
                        return Ok(Progress::More);
                    }
                }
            }
        }
    }

    /// The slot that will put out next, where all of its records of this boundary were delivered.
    pub fn about_to_fire(&self) -> Option<usize> {
        match self.at {
            Stage::Fire(slot) => Some(slot),
            Stage::Deliver(_) => None,
        }
    }

    /// The slot whose records wait until those of the other tasks are there, to be taken by `take_pending`: one that a
    /// record of any task makes put out.
    pub fn waits_for_the_others(&self) -> Option<usize> {
        let Stage::Deliver(at) = self.at else {
            return None;
        };
        let slot = self.slots.get(at).filter(|_| self.settings.lockstep)?;
        let waits =
            slot.fires_all_inside && slot.keyed.as_ref().is_some_and(|k| !k.pending.is_empty());
        waits.then_some(at)
    }

    /// The records that wait for a slot.
    pub fn take_pending(&mut self, slot: usize) -> Vec<(usize, Tag, Batch)> {
        let Some(keyed) = &mut self.slots[slot].keyed else {
            return Vec::new();
        };
        keyed.pending_records = 0;
        let pending = keyed.pending.drain(..);
        pending.map(|p| (p.input, p.tag, p.batch)).collect()
    }

    /// One record for a slot; whether it made the step put everything out.
    pub fn take_row(&mut self, slot: usize, input: usize, row: Batch) -> Result<bool, TaskError> {
        self.hand_over(slot, input, Tag::default(), row)?;
        self.drain()?;
        let step = self.slots[slot].step.as_whole();
        Ok(step.is_some_and(|s| s.fired_inside()))
    }

    /// A slot puts everything out, as a record of another task asks for.
    pub fn fire_now(&mut self, slot: usize) -> Result<(), TaskError> {
        let this = &mut self.slots[slot];
        let Some(step) = this.step.as_whole() else {
            return Ok(());
        };
        let mut out = SlotOutput {
            emitted: &mut self.emitted,
            slot,
            tag: Tag::default(),
            sequence: Some(&mut self.next_sequence),
            policy: &this.policy,
            counters: &self.counters.steps[usize::from(this.index)],
        };
        step.fire_now(&mut out)?;
        self.drain()
    }

    /// What the coming boundary would do to a slot in complete mode.
    pub fn whole_firing(
        &mut self,
        slot: usize,
        now: i64,
        end: bool,
    ) -> Result<WholeFiring, TaskError> {
        let this = &mut self.slots[slot];
        let (Some(keyed), Some(step)) = (&this.keyed, this.step.as_whole()) else {
            return Ok(WholeFiring::default());
        };
        let at = Boundary {
            watermark: keyed.watermark,
            inputs: &keyed.inputs,
            now,
            end,
        };
        Ok(step.firing(&at)?)
    }

    fn deliver_pending(&mut self, slot: usize) -> Result<Progress, TaskError> {
        let ordered = self.settings.ordered;
        let Some(keyed) = &mut self.slots[slot].keyed else {
            return Ok(Progress::Done);
        };
        if ordered {
            keyed
                .pending
                .make_contiguous()
                .sort_by_key(|p| (p.input, p.tag.lane, p.tag.sequence));
        }
        while let Some((input, batch)) = self.next_pending(slot) {
            self.hand_over(slot, input, Tag::default(), batch)?;
            self.drain()?;
            if !self.outbox.is_empty() {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }

    /// The next waiting batch, small ones of one input joined.
    fn next_pending(&mut self, slot: usize) -> Option<(usize, Batch)> {
        let limit = self.settings.batch_records;
        let keyed = self.slots[slot].keyed.as_mut()?;
        let first = keyed.pending.pop_front()?;
        let mut records = first.batch.len;
        let mut batches = vec![first.batch];
        while records < SMALL_BATCH_RECORDS {
            match keyed.pending.front() {
                Some(next)
                    if next.input == first.input
                        && records + next.batch.len <= limit.max(SMALL_BATCH_RECORDS) =>
                {
                    records += next.batch.len;
                    batches.extend(keyed.pending.pop_front().map(|p| p.batch));
                }
                _ => break,
            }
        }
        keyed.pending_records -= records;
        let batch = if batches.len() == 1 {
            batches.pop()?
        } else {
            Batch::concat(batches)
        };
        Some((first.input, batch))
    }

    fn fire(&mut self, slot: usize, now: i64, end: bool) -> Result<Progress, TaskError> {
        let this = &mut self.slots[slot];
        let Some(keyed) = &mut this.keyed else {
            return Ok(Progress::Done);
        };
        let at = Boundary {
            watermark: keyed.watermark,
            inputs: &keyed.inputs,
            now,
            end,
        };
        let mut out = SlotOutput {
            emitted: &mut self.emitted,
            slot,
            tag: Tag::default(),
            sequence: Some(&mut self.next_sequence),
            policy: &this.policy,
            counters: &self.counters.steps[usize::from(this.index)],
        };
        let progress = this.step.on_boundary(at, &mut out)?;
        this.measure()?;
        self.drain()?;
        Ok(progress)
    }

    // ---- sinks -------------------------------------------------------------------------------

    /// All sinks that this task writes to, with their number in the graph.
    pub fn sinks_mut(&mut self) -> impl Iterator<Item = (usize, &mut Box<dyn SinkWriter>)> {
        self.sinks
            .iter_mut()
            .enumerate()
            .filter_map(|(i, s)| Some((i, s.as_mut()?)))
    }

    /// The task's steps.
    pub fn slots(&self) -> &[TaskSlot] {
        &self.slots
    }

    /// The task's steps, to be restored.
    pub fn slots_mut(&mut self) -> &mut [TaskSlot] {
        &mut self.slots
    }

    /// The reading part, if the task has one.
    pub fn source(&self) -> Option<&TaskSource> {
        self.source.as_ref()
    }

    /// After a restore: steps learn where time stands, trackers what their inputs last said.
    pub fn resume(&mut self, now: i64, tracker_of: impl Fn(NodeIndex) -> Option<WatermarkTracker>) {
        for slot in &mut self.slots {
            let Some(keyed) = &mut slot.keyed else {
                continue;
            };
            if let Some(before) = tracker_of(slot.index) {
                keyed.tracker.adopt(&before);
                keyed.watermark = keyed.tracker.watermark();
                keyed.inputs = keyed.tracker.inputs();
            }
            let at = Boundary {
                watermark: keyed.watermark,
                inputs: &keyed.inputs,
                now,
                end: false,
            };
            slot.step.resume(at);
        }
    }
}

/// Why a task cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A step, or the policy for a record.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A sink.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A source.
    #[error(transparent)]
    Source(#[from] crate::source::SourceError),
    /// The host itself (no thread to be had, a plugin that does not open any more …).
    #[error("{0}")]
    Host(String),
    /// A commit that did not happen, or of which nobody knows: started anew, the job goes on from what is committed.
    #[error("{0}")]
    Again(String),
    /// Bytes of state that are none.
    #[error("state that is to be restored is broken: {0}")]
    State(#[from] crate::state::Malformed),
    /// It was read before, and cannot be read again.
    #[error("state that is to be restored: {0}")]
    Stored(#[from] crate::state::StoredError),
}
