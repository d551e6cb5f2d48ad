//! What tasks say to each other, in band: the order of messages on a channel is the order of events.

use std::sync::Arc;

use crate::record::{Batch, NodeIndex};
use crate::runtime::graph::Root;
use crate::time::Watermark;

/// From one task to another.
#[derive(Clone, Debug)]
pub enum Message {
    /// Records for an input of a slot.
    Batch {
        /// Slot of the receiving stage.
        slot: usize,
        /// Its input.
        input: usize,
        /// Their place among the others.
        tag: Tag,
        /// The records.
        batch: Batch,
    },
    /// Watermarks that changed. The first message of a task that reads a source is such a one, and
    /// names its partitions: until then the receiver's time stands still.
    Times(Arc<[TimeUpdate]>),
    /// A checkpoint's barrier: all before it belongs to the epoch.
    Barrier(u64),
    /// The input ended: nothing follows.
    End,
    /// The job was stopped: nothing follows, and what is open stays open.
    Stop,
}

/// Where a batch came from within a boundary: gives records a fixed order, whoever was faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// Which of the paths that lead to an input.
    pub lane: u32,
    /// Order within a path.
    pub sequence: u64,
    /// Number of its first row in the batch that it was cut from, where rows are dealt one by one.
    pub row: u32,
    /// The source partition that the records were read from, while that is known.
    pub partition: Option<(NodeIndex, u32)>,
}

/// Whose time: a source's partition, the same at a step that assigns timestamps, or a step's output.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct TimeId {
    /// Source, assigning step or stateful step.
    pub root: Root,
    /// Source behind it (0 for stateful steps).
    pub source: NodeIndex,
    /// Its partition (0 for stateful steps).
    pub partition: u32,
}

/// How time went on for one of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeUpdate {
    /// Whose.
    pub id: TimeId,
    /// Its watermark; `Watermark::NONE` where nothing was said yet, `END` where it ended.
    pub watermark: Watermark,
    /// It is idle: the others do not wait for it.
    pub idle: bool,
}

impl From<TimeId> for crate::window::watermark::WatermarkId {
    fn from(id: TimeId) -> Self {
        match id.root {
            Root::Source(source) => Self::Partition {
                source,
                partition: id.partition,
            },
            Root::Assigned(step) => Self::Assigned {
                step,
                source: id.source,
                partition: id.partition,
            },
            Root::Step(step) => Self::Task { step, task: 0 },
        }
    }
}
