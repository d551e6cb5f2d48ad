//! A step within a task, with what a stateful one has beside itself.

use std::collections::VecDeque;
use std::sync::Arc;

use super::TaskError;
use crate::config::plan::EventTime;
use crate::record::{Batch, NodeIndex};
use crate::runtime::counters::{JobCounters, NodeCounters};
use crate::runtime::graph::{Root, Routes};
use crate::runtime::message::Tag;
use crate::runtime::policy::ErrorPolicy;
use crate::spill::{Decision, Ledger, Scratch};
use crate::step::{Step, StepError};
use crate::time::Watermark;
use crate::window::watermark::WatermarkTracker;

/// So much a step may need at once, however small the budget is.
const BEYOND_MIN: u64 = 8 << 20;

/// A step within a task.
pub struct TaskSlot {
    /// The step.
    pub step: Box<dyn Step>,
    /// Its place in the plan.
    pub index: NodeIndex,
    /// Where its outputs go.
    pub routes: Routes,
    /// What becomes of records that fail.
    pub policy: ErrorPolicy,
    /// For transforms that assign timestamps.
    pub event_time: Option<EventTime>,
    /// For stateful steps.
    pub keyed: Option<KeyedSlot>,
    /// A record can make the step put out groups of all keys, inside a batch.
    pub fires_all_inside: bool,
}

/// What a stateful step has beside itself.
pub struct KeyedSlot {
    /// Watermarks of its inputs.
    pub tracker: WatermarkTracker,
    /// Roots of each input: whose times concern it.
    pub roots: Vec<std::collections::BTreeSet<Root>>,
    /// Records that wait for the next boundary.
    pub pending: VecDeque<Pending>,
    /// How many.
    pub pending_records: usize,
    /// The step's watermark, as of the last boundary.
    pub watermark: Watermark,
    /// Those of its inputs.
    pub inputs: Vec<Watermark>,
    /// What it told the steps behind, and whether it was idle.
    pub told: Option<(Watermark, bool)>,
    /// It is idle for those behind where all before it is: it puts nothing out by itself.
    pub passes_idleness: bool,
    /// Where the watermark is shown.
    pub shown: Arc<std::sync::atomic::AtomicI64>,
    /// State bytes as last added to the counters: in memory, on disk.
    pub state_bytes: (u64, u64),
    /// Its place in the job's budget, and where its state is counted.
    pub ledger: Ledger,
    /// Where what is too large for memory waits.
    pub scratch: Arc<Scratch>,
    /// The step's counters.
    pub counters: Arc<JobCounters>,
}

impl TaskSlot {
    /// Measures the step's state, and sees to it that the job stays within its budget.
    pub fn measure(&mut self) -> Result<(), TaskError> {
        let Some(keyed) = &mut self.keyed else {
            return Ok(());
        };
        let mut before = None;
        loop {
            let (memory, disk) = (self.step.state_bytes() as u64, self.step.disk_bytes());
            let counters = &keyed.counters.steps[usize::from(self.index)];
            let told = std::mem::replace(&mut keyed.state_bytes, (memory, disk));
            let [peak, disk_peak] = &counters.state_peak;
            NodeCounters::change(&counters.state_bytes, peak, told.0, memory);
            NodeCounters::change(&counters.state_disk_bytes, disk_peak, told.1, disk);
            // With what the next batch may bring: looked at after it, that would be too late.
            let soon = memory + self.step.growth() as u64;
            let decision = keyed.ledger.tell(soon, disk);
            let budget = keyed.ledger.budget();
            if let Some(why) = budget.refusal(decision) {
                let step = &self.policy.node;
                return Err(StepError::Failed(format!("step {step}: {why}")).into());
            }
            match decision {
                Decision::Shed(to) if before.is_none() => {
                    before = Some(memory);
                    let step = &self.policy.node;
                    self.step
                        .shed(to as usize)
                        .map_err(|e| StepError::Failed(format!("step {step}: {e}")))?;
                }
                // What a batch or a firing needs at once is not there to be moved.
                Decision::Shed(_) if memory > 2 * budget.memory_max().max(BEYOND_MIN) => {
                    let (step, max) = (&self.policy.node, budget.memory_max());
                    return Err(StepError::Failed(format!(
                        "step {step}: it needs {memory} bytes of memory at once, twice what [state] memory ({max}) allows: raise [state] memory"
                    ))
                    .into());
                }
                _ => return Ok(()),
            }
        }
    }
}

/// A batch that waits.
pub struct Pending {
    pub(super) input: usize,
    pub(super) tag: Tag,
    pub(super) batch: Batch,
}
