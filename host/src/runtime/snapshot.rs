//! What a job remembers, as plain data: state entry by entry, and where time stood. Not tied to a
//! parallelism: entries are dealt to tasks by key group when they are taken back.

use std::collections::BTreeMap;

use crate::record::NodeIndex;
use crate::runtime::task::{OwnedPartition, Task, TaskError};
use crate::step::{StateEntry, task_of};
use crate::window::watermark::WatermarkTracker;

/// A job at a boundary.
#[derive(Clone, Debug, Default)]
pub struct JobSnapshot {
    /// State of each stateful step.
    entries: BTreeMap<NodeIndex, Vec<StateEntry>>,
    /// Time of each stateful step.
    times: BTreeMap<NodeIndex, WatermarkTracker>,
    /// Time of each partition read.
    partitions: BTreeMap<(NodeIndex, u32), OwnedPartition>,
}

impl JobSnapshot {
    /// Adds what a task remembers.
    pub fn add(&mut self, task: &mut Task) {
        // State that all tasks of a step share is the first one's to tell.
        let tells_shared = task.index() == 0;
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
            let entries = self.entries.entry(slot.index).or_default();
            let before = entries.len();
            slot.step.snapshot(&mut |entry| entries.push(entry));
            if !tells_shared {
                let mut own = entries.split_off(before);
                own.retain(|entry| !slot.step.is_shared(entry));
                entries.append(&mut own);
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
            for entry in self.entries.get(&slot.index).into_iter().flatten() {
                if task_of(entry.key_group, tasks) == index || slot.step.is_shared(entry) {
                    slot.step.restore(entry)?;
                }
            }
        }
        Ok(())
    }

    /// Where time stood for a step.
    pub fn tracker(&self, step: NodeIndex) -> Option<WatermarkTracker> {
        self.times.get(&step).cloned()
    }

    /// State by step.
    pub fn entries(&self) -> impl Iterator<Item = (NodeIndex, &Vec<StateEntry>)> {
        self.entries.iter().map(|(&step, entries)| (step, entries))
    }

    /// Time by step.
    pub fn trackers(&self) -> impl Iterator<Item = (NodeIndex, &WatermarkTracker)> {
        self.times.iter().map(|(&step, tracker)| (step, tracker))
    }

    /// Adds state read from a checkpoint.
    pub fn add_entry(&mut self, step: NodeIndex, entry: StateEntry) {
        self.entries.entry(step).or_default().push(entry);
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
