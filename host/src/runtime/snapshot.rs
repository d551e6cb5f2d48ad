//! What a job remembers, as plain data: state by step, in chains of buffers, and where time stood. Not tied to a
//! parallelism: entries are dealt to tasks by key group when they are taken back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::record::NodeIndex;
use crate::room::Room;
use crate::runtime::task::{OwnedPartition, Task, TaskError};
use crate::spill::ScratchFile;
use crate::state::{
    Bytes, Chain, ChainSizes, Extent, Overflow, StateBuffer, StateRef, Wanted, next_extent,
    replay_stored,
};
use crate::step::{KEY_GROUPS, StepError, task_of};
use crate::window::watermark::WatermarkTracker;

/// Entries taken back before a step's state is measured again.
const RESTORED_UNMEASURED: usize = 16 * 1024;

/// All pieces of state of a task on their way into a checkpoint have this part of the job's memory; what is more waits
/// in files.
const PIECES_SHARE: u64 = 4;

/// Each has at least so many bytes.
const PIECE_MIN: u64 = 64 << 10;

/// How the snapshots of one task build on each other.
#[derive(Debug, Default)]
pub struct TaskChains(BTreeMap<NodeIndex, (ChainSizes, Arc<Room>)>);

/// What a task says of a step's state at the end of an epoch.
#[derive(Debug)]
pub struct StatePiece {
    /// The step.
    pub step: NodeIndex,
    /// Everything, or what changed since the piece before.
    pub extent: Extent,
    /// The entries.
    pub buffer: StateBuffer,
}

/// Pieces of state that memory is too small for wait in scratch files.
impl Bytes for ScratchFile {
    fn len(&self) -> u64 {
        ScratchFile::len(self)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        ScratchFile::read(self, at, into).map_err(std::io::Error::other)
    }
}

impl Overflow for ScratchFile {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        ScratchFile::append(self, bytes).map_err(std::io::Error::other)
    }
}

/// A job at a boundary.
#[derive(Clone, Debug, Default)]
pub struct JobSnapshot {
    /// State of each stateful step: a chain from each task that wrote it.
    chains: BTreeMap<NodeIndex, Vec<Chain>>,
    /// Time of each stateful step.
    times: BTreeMap<NodeIndex, WatermarkTracker>,
    /// Time of each partition read.
    partitions: BTreeMap<(NodeIndex, u32), OwnedPartition>,
}

/// What changed in a task's steps since the last call with the same `chains`, or all that they keep, where that is
/// better, nothing was told yet, or it is asked for (`whole`).
pub fn pieces(
    task: &mut Task,
    chains: &mut TaskChains,
    whole: bool,
) -> Result<Vec<StatePiece>, StepError> {
    let mut pieces = Vec::new();
    // State that all tasks of a step share is the first one's to tell.
    let index = task.index();
    let tells_shared = index == 0;
    let keyed = task.slots_mut().iter().filter(|s| s.keyed.is_some());
    let share = PIECES_SHARE * keyed.count() as u64;
    for slot in task.slots_mut() {
        let Some(keyed) = &slot.keyed else { continue };
        let memory_max = keyed.ledger.budget().memory_max();
        let bytes_max = (memory_max / share).max(PIECE_MIN) as usize;
        let room = ScratchFile::new(keyed.scratch.clone(), &slot.policy.node, index);
        let mut buffer = if tells_shared {
            StateBuffer::default()
        } else {
            StateBuffer::without_shared()
        };
        let kept = slot.step.state_bytes() as u64 + slot.step.disk_bytes();
        let wanted = match whole {
            true => Extent::Whole,
            false => next_extent(chains.0.get(&slot.index).map(|of| &of.0), kept),
        };
        buffer.set_overflow(bytes_max, Box::new(room));
        // What changes in an epoch is mostly about as much as in the one before.
        let (sizes, memory) = chains.0.entry(slot.index).or_default();
        let expected = match wanted {
            Extent::Whole => kept,
            Extent::Changes => sizes.last.min(kept),
        };
        buffer.expect((expected + expected / 8) as usize, memory);
        let extent = slot.step.snapshot(wanted, &mut buffer)?;
        buffer
            .check()
            .map_err(|e| StepError::Failed(e.to_string()))?;
        sizes.add(extent, Bytes::len(&buffer));
        pieces.push(StatePiece {
            step: slot.index,
            extent,
            buffer,
        });
    }
    Ok(pieces)
}

/// How many entries of a chain are a task's, about.
fn share_of(chain: &Chain, tasks: usize, index: usize) -> usize {
    let (least, most) = chain.groups.unwrap_or((0, KEY_GROUPS - 1));
    let own = (least..=most).filter(|group| task_of(*group, tasks) == index);
    let all = u64::from(most - least) + 1;
    usize::try_from(chain.entries * own.count() as u64 / all).unwrap_or(usize::MAX)
}

impl JobSnapshot {
    /// Adds where time stands for a task.
    pub fn add_times(&mut self, task: &mut Task) {
        for slot in task.slots_mut() {
            let Some(keyed) = &slot.keyed else { continue };
            // Tasks of a step see the same times; the least is the safe one where they do not.
            let known = self
                .times
                .entry(slot.index)
                .or_insert_with(|| keyed.tracker.clone());
            if keyed.tracker.watermark() < known.watermark() {
                *known = keyed.tracker.clone();
            }
        }
        if let Some(source) = task.source() {
            for (&partition, owned) in source.partitions() {
                self.partitions
                    .insert((source.index, partition), owned.clone());
            }
        }
    }

    /// Gives a task its share back: task `index` of `tasks`.
    pub fn restore(&self, task: &mut Task, index: usize, tasks: usize) -> Result<(), TaskError> {
        for slot in task.slots_mut() {
            let is_own = |key_group| task_of(key_group, tasks) == index;
            let shares = slot.step.shares_entries();
            let groups = |key_group| shares || is_own(key_group);
            for chain in self.chains.get(&slot.index).into_iter().flatten() {
                if !chain.may_have(&groups) {
                    continue;
                }
                let older = chain.parts.len() > 1;
                slot.step.expect(share_of(chain, tasks, index), older);
                let wanted = Wanted {
                    groups: &groups,
                    knows_names: slot.step.knows_names(),
                };
                let mut unmeasured = 0_usize;
                let mut each = |entries: &[StateRef<'_>]| {
                    if shares {
                        for &entry in entries {
                            if is_own(entry.key_group) || slot.step.is_shared(entry) {
                                slot.step.restore(entry)?;
                            }
                        }
                    } else {
                        slot.step.restore_many(entries)?;
                    }
                    unmeasured += entries.len();
                    if unmeasured >= RESTORED_UNMEASURED {
                        unmeasured = 0;
                        slot.measure()?;
                    }
                    Ok(())
                };
                replay_stored::<TaskError>(&chain.parts, &wanted, &mut each)?;
            }
            slot.step.restored()?;
            slot.measure()?;
        }
        Ok(())
    }

    /// Where time stood for a step.
    pub fn tracker(&self, step: NodeIndex) -> Option<WatermarkTracker> {
        self.times.get(&step).cloned()
    }

    /// Time by step.
    pub fn trackers(&self) -> impl Iterator<Item = (NodeIndex, &WatermarkTracker)> {
        self.times.iter().map(|(&step, tracker)| (step, tracker))
    }

    /// Adds state read from a checkpoint.
    pub fn add_chain(&mut self, step: NodeIndex, chain: Chain) {
        self.chains.entry(step).or_default().push(chain);
    }

    /// Adds time read from a checkpoint.
    pub fn add_tracker(&mut self, step: NodeIndex, tracker: WatermarkTracker) {
        self.times.insert(step, tracker);
    }

    /// Adds the time of a partition read from a checkpoint.
    pub fn add_partition(&mut self, source: NodeIndex, partition: u32, times: OwnedPartition) {
        self.partitions.insert((source, partition), times);
    }

    /// Where a partition's time stood.
    pub fn partition(&self, source: NodeIndex, partition: u32) -> Option<&OwnedPartition> {
        self.partitions.get(&(source, partition))
    }
}
