//! The reading side of a task: the partitions that it owns, and where their time stands.

use std::collections::BTreeMap;

use arrow_array::Array;

use super::output::Emission;
use super::{Task, TaskError};
use crate::config::plan::{EventTime, Port};
use crate::plugin::Rejected;
use crate::record::{Batch, NodeIndex};
use crate::runtime::counters::NodeCounters;
use crate::runtime::graph::{Root, Routes};
use crate::runtime::message::Tag;
use crate::runtime::policy::ErrorPolicy;
use crate::time::Watermark;
use crate::window::watermark::PartitionWatermark;

/// A source partition that this task reads, as far as time goes.
#[derive(Clone, Debug)]
pub struct OwnedPartition {
    /// By whose timestamps: the source's own, and those of each step (of the plan) that assigns some.
    pub(super) times: BTreeMap<Root, PartitionTime>,
}

impl OwnedPartition {
    /// Its watermarks, as a manifest has them.
    pub fn watermarks(&self) -> Vec<(Root, PartitionWatermark)> {
        self.times
            .iter()
            .map(|(&root, time)| (root, time.watermark.clone()))
            .collect()
    }

    /// From a manifest.
    pub fn of_watermarks(watermarks: Vec<(Root, PartitionWatermark)>) -> OwnedPartition {
        let time = |watermark| PartitionTime {
            watermark,
            idle_after_ms: None,
            told: None,
        };
        OwnedPartition {
            times: watermarks
                .into_iter()
                .map(|(root, w)| (root, time(w)))
                .collect(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct PartitionTime {
    pub(super) watermark: PartitionWatermark,
    /// Silent for so long it is idle; none: never.
    pub(super) idle_after_ms: Option<i64>,
    /// As last told to those behind.
    pub(super) told: Option<(Watermark, bool)>,
}

/// The reading part of a stage.
pub struct TaskSource {
    /// Its place in the plan.
    pub index: NodeIndex,
    /// Where its records go.
    pub routes: Routes,
    /// What becomes of bytes that are no records.
    pub policy: ErrorPolicy,
    /// How its watermarks are made.
    pub event_time: Option<EventTime>,
    /// Partitions that this task owns.
    pub(super) partitions: BTreeMap<u32, OwnedPartition>,
}

impl TaskSource {
    /// Partitions that the task owns.
    pub fn partitions(&self) -> &BTreeMap<u32, OwnedPartition> {
        &self.partitions
    }

    /// Without partitions yet.
    pub fn new(
        index: NodeIndex,
        routes: Routes,
        policy: ErrorPolicy,
        event_time: Option<EventTime>,
    ) -> TaskSource {
        TaskSource {
            index,
            routes,
            policy,
            event_time,
            partitions: BTreeMap::new(),
        }
    }
}

impl Task {
    /// A partition that this task reads from now on; from here it holds time back.
    pub fn add_partition(&mut self, partition: u32) {
        let source = self
            .source
            .as_mut()
            .expect("only reading stages own partitions");
        let own = (Root::Source(source.index), source.event_time);
        let assigning = self
            .slots
            .iter()
            .filter(|s| s.event_time.is_some())
            .map(|s| (Root::Assigned(s.index), s.event_time));
        let made = |event_time: Option<EventTime>| PartitionTime {
            watermark: PartitionWatermark::new(event_time.map(|e| e.max_disorder_ms)),
            idle_after_ms: event_time.and_then(|e| e.idle_after_ms),
            told: None,
        };
        let times = std::iter::once(own)
            .chain(assigning)
            .map(|(root, e)| (root, made(e)))
            .collect();
        source
            .partitions
            .entry(partition)
            .or_insert(OwnedPartition { times });
    }

    /// A partition that was read before: its time goes on where it stood.
    pub fn restore_partition(&mut self, partition: u32, from: &OwnedPartition) {
        let source = self
            .source
            .as_mut()
            .expect("only reading stages own partitions");
        if let Some(owned) = source.partitions.get_mut(&partition) {
            for (root, time) in &mut owned.times {
                if let Some(before) = from.times.get(root) {
                    time.watermark = before.watermark.clone();
                }
            }
        }
    }

    /// The source's partitions are known: those behind may trust the times that they get.
    pub fn announce(&mut self) {
        self.collect_source_times();
        self.send_times(true);
    }

    /// Records read from a partition, with key and timestamp, and what was no record.
    pub fn on_source_batch(&mut self, tag: Tag, batch: Batch) -> Result<(), TaskError> {
        let source = self
            .source
            .as_mut()
            .expect("only reading stages get source batches");
        NodeCounters::add(
            &self.counters.sources[usize::from(source.index)].records_in,
            batch.len,
        );
        NodeCounters::add(
            &self.counters.sources[usize::from(source.index)].records_out,
            batch.len,
        );
        if let Some((_, partition)) = tag.partition {
            let owned = source
                .partitions
                .get_mut(&partition)
                .expect("partitions are added before they are read");
            let newest = newest(&batch);
            for (root, time) in &mut owned.times {
                // A record wakes the partition; what it says of time is the business of whoever made the timestamp.
                time.watermark
                    .observe(newest.filter(|_| *root == Root::Source(source.index)));
            }
        }
        if batch.len > 0 {
            self.emitted.push_back(Emission {
                slot: None,
                port: Port::Main,
                tag,
                batch,
            });
        }
        self.drain()
    }

    /// Bytes of a source that are no records: `batch` shows them as they are.
    pub fn on_bad_records(
        &mut self,
        tag: Tag,
        batch: &Batch,
        rejected: &[Rejected],
    ) -> Result<(), TaskError> {
        let source = self
            .source
            .as_ref()
            .expect("only reading stages get source batches");
        let counters = &self.counters.sources[usize::from(source.index)];
        NodeCounters::add(&counters.records_in, rejected.len());
        NodeCounters::add(&counters.rejected, rejected.len());
        if let Some(letters) = source.policy.settle(batch, rejected)? {
            self.emitted.push_back(Emission {
                slot: None,
                port: Port::Errors,
                tag,
                batch: letters,
            });
        }
        self.drain()
    }

    /// A watermark given by hand.
    pub fn set_watermark(&mut self, partition: u32, watermark: Watermark) {
        self.each_watermark(partition, |w| w.by_hand(watermark));
    }

    /// The partition ended: it holds time back no more.
    pub fn end_partition(&mut self, partition: u32) {
        self.each_watermark(partition, PartitionWatermark::end);
    }

    /// No record came from the partition for so many milliseconds. Where that is too long (`idle-after` of the source, and
    /// of each step that assigns timestamps), it is idle; answers whether that is new.
    pub fn silent_partition(&mut self, partition: u32, silent_ms: i64) -> bool {
        let mut new = false;
        self.each_time(partition, |time| {
            if time.idle_after_ms.is_some_and(|after| silent_ms >= after)
                && !time.watermark.is_idle()
            {
                time.watermark.idle();
                new = true;
            }
        });
        new
    }

    /// The partition is silent: the others do not wait for it until it speaks again.
    pub fn idle_partition(&mut self, partition: u32) {
        self.each_watermark(partition, PartitionWatermark::idle);
    }

    /// The partition speaks again, though no record came.
    pub fn wake_partition(&mut self, partition: u32) {
        self.each_watermark(partition, |w| {
            w.observe(None);
        });
    }

    /// The partition's watermark.
    pub fn partition_watermark(&self, partition: u32) -> Watermark {
        let source = self.source.as_ref();
        let owned = source.and_then(|s| Some((s.index, s.partitions.get(&partition)?)));
        owned
            .and_then(|(s, p)| p.times.get(&Root::Source(s)))
            .map_or(Watermark::NONE, |t| t.watermark.watermark())
    }

    fn each_watermark(&mut self, partition: u32, mut act: impl FnMut(&mut PartitionWatermark)) {
        self.each_time(partition, |time| act(&mut time.watermark));
    }

    fn each_time(&mut self, partition: u32, act: impl FnMut(&mut PartitionTime)) {
        let source = self
            .source
            .as_mut()
            .expect("only reading stages own partitions");
        if let Some(owned) = source.partitions.get_mut(&partition) {
            owned.times.values_mut().for_each(act);
        }
    }
}

/// The newest timestamp of a batch.
pub(super) fn newest(batch: &Batch) -> Option<i64> {
    let timestamps = batch.timestamps.as_ref()?;
    if timestamps.null_count() == 0 {
        return timestamps.values().iter().copied().max();
    }
    timestamps.iter().flatten().max()
}
