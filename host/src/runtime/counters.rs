//! Every counter of a running job, named once. Tasks add, anyone reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::plugin::FunctionStats;
use crate::record::NodeIndex;
use crate::time::Watermark;

/// Counters of a step, source or sink, shared by all tasks.
#[derive(Debug, Default)]
pub struct NodeCounters {
    /// Records taken.
    pub records_in: AtomicU64,
    /// Records put out, over all ports but late and errors.
    pub records_out: AtomicU64,
    /// Records that failed.
    pub rejected: AtomicU64,
    /// Records that were late.
    pub late: AtomicU64,
    /// Bytes of state in memory, over all tasks (as last measured).
    pub state_bytes: AtomicU64,
    /// Bytes of state on disk, likewise.
    pub state_disk_bytes: AtomicU64,
    /// The most that the two were.
    pub state_peak: [AtomicU64; 2],
    /// The least watermark over the tasks.
    pub watermark: LeastOf,
    /// What functions cost, by task (as of its last boundary).
    function: Mutex<Vec<FunctionStats>>,
}

impl NodeCounters {
    /// Adds.
    pub fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// A part of a sum changes.
    pub fn change(counter: &AtomicU64, peak: &AtomicU64, from: u64, to: u64) {
        if from != to {
            let more = to.wrapping_sub(from);
            let sum = counter
                .fetch_add(more, Ordering::Relaxed)
                .wrapping_add(more);
            peak.fetch_max(sum, Ordering::Relaxed);
        }
    }

    /// A task's word on what its function cost so far.
    pub fn set_function(&self, task: usize, stats: FunctionStats) {
        let mut all = self.function.lock();
        if all.len() <= task {
            all.resize(task + 1, FunctionStats::default());
        }
        all[task] = stats;
    }

    /// What the function cost over all tasks; none: there is none, or it was not asked for yet.
    pub fn function(&self) -> Option<FunctionStats> {
        let all = self.function.lock();
        let mut sum = *all.first()?;
        all[1..].iter().for_each(|s| sum.add(s));
        Some(sum)
    }

    /// Reads.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// The least of one value per task.
#[derive(Debug, Default)]
pub struct LeastOf(Mutex<Vec<Arc<AtomicI64>>>);

impl LeastOf {
    /// A place for one task's value.
    pub fn place(&self) -> Arc<AtomicI64> {
        let place = Arc::new(AtomicI64::new(i64::MIN));
        self.0.lock().push(Arc::clone(&place));
        place
    }

    /// The least; none where no task has a place.
    pub fn get(&self) -> Option<i64> {
        self.0
            .lock()
            .iter()
            .map(|v| v.load(Ordering::Relaxed))
            .min()
    }
}

/// Notes that are kept.
const NOTES_MAX: usize = 200;

/// All counters of a job.
#[derive(Debug, Default)]
pub struct JobCounters {
    /// By source of the plan.
    pub sources: Vec<NodeCounters>,
    /// By step of the plan.
    pub steps: Vec<NodeCounters>,
    /// By sink of the graph.
    pub sinks: Vec<NodeCounters>,
    /// What a user must know of what happened.
    notes: Mutex<Vec<String>>,
    /// Records between position and end of source partitions, where that is known.
    pub behind: Mutex<BTreeMap<(NodeIndex, u32), u64>>,
    /// Where each source partition's time stands.
    pub partitions: Mutex<BTreeMap<(NodeIndex, u32), PartitionState>>,
}

/// A source partition, to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// Its watermark: made at the source, or at the step that assigns timestamps.
    pub watermark: Watermark,
    /// Nothing came for long.
    pub idle: bool,
}

impl JobCounters {
    /// Zeros.
    pub fn new(sources: usize, steps: usize, sinks: usize) -> JobCounters {
        let zeros = |n| (0..n).map(|_| NodeCounters::default()).collect();
        JobCounters {
            sources: zeros(sources),
            steps: zeros(steps),
            sinks: zeros(sinks),
            notes: Mutex::default(),
            behind: Mutex::default(),
            partitions: Mutex::default(),
        }
    }

    /// Keeps a note for the summary; the first few hundred.
    pub fn note(&self, note: String) {
        let mut notes = self.notes.lock();
        if notes.len() < NOTES_MAX {
            notes.push(note);
        }
    }

    /// The notes so far.
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().clone()
    }
}
