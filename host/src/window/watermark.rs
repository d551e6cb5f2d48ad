//! Watermarks as pure bookkeeping: what a source partition says (`PartitionWatermark`), and what a
//! step makes of all that its inputs say (`WatermarkTracker`).
//!
//! Nothing here reads a clock: whoever owns one decides that a partition is idle. Watermarks move
//! when their keeper is asked to advance, which the runtime does at batch boundaries only.

use serde::{Deserialize, Serialize};

use crate::record::NodeIndex;
use crate::time::Watermark;

/// The watermark of one source partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionWatermark {
    /// Allowed disorder, milliseconds; none: only watermarks by hand.
    disorder_ms: Option<i64>,
    /// Newest timestamp so far.
    newest: Option<i64>,
    /// Highest watermark given by hand.
    by_hand: Option<i64>,
    /// What was answered last.
    current: i64,
    /// Silent: watermarks by hand are ignored, the runtime tells downstream.
    idle: bool,
}

impl PartitionWatermark {
    /// A partition that said nothing yet. `disorder_ms`: how far behind its newest timestamp the
    /// watermark stays; none: it moves by hand (and at the end) only.
    pub fn new(disorder_ms: Option<i64>) -> PartitionWatermark {
        PartitionWatermark {
            disorder_ms,
            newest: None,
            by_hand: None,
            current: Watermark::NONE.0,
            idle: false,
        }
    }

    /// A record came: it wakes the partition. `newest` is the greatest timestamp of a batch, if any of its records
    /// has one. Answers whether the partition was idle.
    pub fn observe(&mut self, newest: Option<i64>) -> bool {
        self.newest = self.newest.max(newest);
        std::mem::replace(&mut self.idle, false)
    }

    /// A watermark by hand; ignored while the partition is idle.
    pub fn by_hand(&mut self, watermark: Watermark) {
        if !self.idle {
            self.by_hand = self.by_hand.max(Some(watermark.0));
        }
    }

    /// Nothing came for long.
    pub fn idle(&mut self) {
        self.idle = true;
    }

    /// Whether it is idle.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// The end of the partition.
    pub fn end(&mut self) {
        self.idle = false;
        self.by_hand = Some(Watermark::END.0);
    }

    /// Moves to what is known by now: newest timestamp - disorder - 1 ms, or the watermark by hand,
    /// whichever is higher. Never back. Called at batch boundaries.
    pub fn advance(&mut self) -> Watermark {
        let by_rule = match (self.newest, self.disorder_ms) {
            (Some(newest), Some(disorder)) => {
                Some(newest.saturating_sub(disorder).saturating_sub(1))
            }
            _ => None,
        };
        self.current = self
            .current
            .max(by_rule.max(self.by_hand).unwrap_or(Watermark::NONE.0));
        Watermark(self.current)
    }

    /// Where it stands since the last `advance`.
    pub fn watermark(&self) -> Watermark {
        Watermark(self.current)
    }
}

/// Whose watermark it is: what a step hears of, by one or more channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WatermarkId {
    /// A source partition behind stateless steps only.
    Partition {
        /// Index of the source in its plan.
        source: NodeIndex,
        /// Its partition.
        partition: u32,
    },
    /// The same behind a transform that assigns timestamps: its watermark is made there.
    Assigned {
        /// Index of the transform in its plan.
        step: NodeIndex,
        /// The source behind it.
        source: NodeIndex,
        /// Its partition.
        partition: u32,
    },
    /// A task of a step that keeps time itself (window, join, dedup …).
    Task {
        /// Index of the step in its plan.
        step: NodeIndex,
        /// Its task.
        task: u32,
    },
}

/// How a step's watermark comes from those of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Combine {
    /// The least of all that are not idle.
    Min,
    /// The greatest of the inputs' (`watermark = "max"`), an input's being the least of its own.
    Max,
}

/// Whether an entry counts. Stored in checkpoints: must stay readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// It counts.
    Active,
    /// It has nothing to say: it does not count.
    Idle,
    /// Woken, but still behind: it does not count, so that W need not wait for it.
    CatchingUp,
}

/// One thing heard of on one channel, for one input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    input: usize,
    channel: u32,
    id: WatermarkId,
    watermark: i64,
    /// Whether it counts for W, where that is the least of all. (The greatest of the inputs' goes by `in_input`.)
    activity: Activity,
    /// Whether it counts for its input's own watermark: what woke up may have caught up with one and not the other.
    in_input: Activity,
}

/// The watermark of a step in one task.
///
/// | the input …                       | and W                                             |
/// |-----------------------------------|---------------------------------------------------|
/// | said nothing yet                  | stays where it is                                 |
/// | is idle                           | does not wait for it                              |
/// | was idle, woke up, is behind W    | does not wait for it, until it has reached W      |
/// | joins later with less than W      | stays where it is until the newcomer has passed it|
/// | ended (watermark at the end)      | does not wait for it                              |
///
/// All idle (or ended, one at least idle): W stays. All ended: the end of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkTracker {
    combine: Combine,
    entries: Vec<Entry>,
    inputs: Vec<i64>,
    current: i64,
}

impl WatermarkTracker {
    /// A step with so many inputs, of which nothing is known.
    pub fn new(inputs: usize, combine: Combine) -> WatermarkTracker {
        WatermarkTracker {
            combine,
            entries: Vec::new(),
            inputs: vec![Watermark::NONE.0; inputs],
            current: Watermark::NONE.0,
        }
    }

    /// Something that will send watermarks to this input on this channel: W waits for it from now on. Adding what is
    /// there changes nothing.
    pub fn add(&mut self, input: usize, id: WatermarkId, channel: u32) {
        assert!(
            input < self.inputs.len(),
            "inputs are counted when the tracker is made"
        );
        let key = (channel, id, input);
        if let Err(at) = self
            .entries
            .binary_search_by_key(&key, |e| (e.channel, e.id, e.input))
        {
            let entry = Entry {
                input,
                channel,
                id,
                watermark: Watermark::NONE.0,
                activity: Activity::Active,
                in_input: Activity::Active,
            };
            self.entries.insert(at, entry);
        }
    }

    /// It said where it is (on every input that it is behind). Ignored while it is idle, except for the end; never
    /// back; of what was never added, nothing is taken.
    pub fn set(&mut self, channel: u32, id: WatermarkId, watermark: Watermark) {
        for entry in self.matching(channel, id) {
            if entry.activity != Activity::Idle || watermark == Watermark::END {
                entry.watermark = entry.watermark.max(watermark.0);
            }
        }
    }

    /// It has nothing to say for now.
    pub fn idle(&mut self, channel: u32, id: WatermarkId) {
        for entry in self.matching(channel, id) {
            (entry.activity, entry.in_input) = (Activity::Idle, Activity::Idle);
        }
    }

    /// It woke up: it counts again once it has caught up with W.
    pub fn active(&mut self, channel: u32, id: WatermarkId) {
        for entry in self.matching(channel, id) {
            for activity in [&mut entry.activity, &mut entry.in_input] {
                if *activity == Activity::Idle {
                    *activity = Activity::CatchingUp;
                }
            }
        }
    }

    /// Moves W to what is known by now, and answers it. Called at batch boundaries.
    pub fn advance(&mut self) -> Watermark {
        for entry in &mut self.entries {
            let caught_up = |activity: &mut Activity, with: i64| {
                if *activity == Activity::CatchingUp && entry.watermark >= with {
                    *activity = Activity::Active;
                }
            };
            caught_up(&mut entry.activity, self.current);
            caught_up(&mut entry.in_input, self.inputs[entry.input]);
        }
        for (input, current) in self.inputs.iter_mut().enumerate() {
            let of_input = self.entries.iter().filter(|e| e.input == input);
            let least = least(of_input.map(|e| (e.watermark, e.in_input)));
            *current = (*current).max(least.unwrap_or(Watermark::NONE.0));
        }
        let combined = match self.combine {
            Combine::Min => least(self.entries.iter().map(|e| (e.watermark, e.activity))),
            Combine::Max => self.inputs.iter().copied().max(),
        };
        self.current = self.current.max(combined.unwrap_or(Watermark::NONE.0));
        Watermark(self.current)
    }

    /// W, as of the last `advance`.
    pub fn watermark(&self) -> Watermark {
        Watermark(self.current)
    }

    /// The watermark of one input alone, as of the last `advance`.
    pub fn input(&self, input: usize) -> Watermark {
        Watermark(self.inputs[input])
    }

    /// All inputs' watermarks, as `Boundary::inputs` wants them.
    pub fn inputs(&self) -> Vec<Watermark> {
        self.inputs.iter().map(|&w| Watermark(w)).collect()
    }

    /// Whether everything is idle or ended, and something is idle: W stands still although nothing holds it.
    pub fn is_idle(&self) -> bool {
        let live = || {
            self.entries
                .iter()
                .filter(|e| e.watermark != Watermark::END.0)
        };
        live().next().is_some() && live().all(|e| e.activity == Activity::Idle)
    }

    /// Goes on where another tracker of this step stood, whatever channels it had: its time, and of each thing that
    /// both heard of, what it said last and whether it was idle.
    pub fn adopt(&mut self, before: &WatermarkTracker) {
        self.current = self.current.max(before.current);
        for (input, &watermark) in self.inputs.iter_mut().zip(&before.inputs) {
            *input = (*input).max(watermark);
        }
        for entry in &mut self.entries {
            let same = before
                .entries
                .iter()
                .filter(|b| b.input == entry.input && b.id == entry.id);
            if let Some(least) = same.min_by_key(|b| b.watermark) {
                entry.watermark = entry.watermark.max(least.watermark);
                entry.activity = least.activity;
                entry.in_input = least.in_input;
            }
        }
    }

    /// What a checkpoint keeps of it: whatever channels it has.
    pub fn record(&self) -> TrackerRecord<WatermarkId> {
        let mut heard: Vec<Heard<WatermarkId>> = Vec::new();
        for entry in &self.entries {
            let known = heard
                .iter_mut()
                .find(|h| h.input == entry.input && h.of == entry.id);
            match known {
                Some(known) if known.watermark <= entry.watermark => {}
                Some(known) => {
                    known.watermark = entry.watermark;
                    known.activity = entry.activity;
                    known.in_input = entry.in_input;
                }
                None => heard.push(Heard {
                    input: entry.input,
                    of: entry.id,
                    watermark: entry.watermark,
                    activity: entry.activity,
                    in_input: entry.in_input,
                }),
            }
        }
        heard.sort_by_key(|h| (h.input, h.of));
        TrackerRecord {
            current: self.current,
            inputs: self.inputs.clone(),
            heard,
        }
    }

    /// From a checkpoint: good for `adopt` only, since it has no channels.
    pub fn of_record(record: TrackerRecord<WatermarkId>) -> WatermarkTracker {
        let inputs = record.inputs.len();
        let heard = record.heard.into_iter().filter(|h| h.input < inputs);
        let entry = |h: Heard<WatermarkId>| Entry {
            input: h.input,
            channel: 0,
            id: h.of,
            watermark: h.watermark,
            activity: h.activity,
            in_input: h.in_input,
        };
        WatermarkTracker {
            combine: Combine::Min,
            entries: heard.map(entry).collect(),
            inputs: record.inputs,
            current: record.current,
        }
    }

    fn matching(&mut self, channel: u32, id: WatermarkId) -> impl Iterator<Item = &mut Entry> {
        let from = self
            .entries
            .partition_point(|e| (e.channel, e.id) < (channel, id));
        self.entries[from..]
            .iter_mut()
            .take_while(move |e| (e.channel, e.id) == (channel, id))
    }
}

/// What a checkpoint keeps of a step's time. `I`: how it names whose watermarks were heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerRecord<I> {
    /// W.
    pub current: i64,
    /// W of each input alone.
    pub inputs: Vec<i64>,
    /// What was heard, by input.
    pub heard: Vec<Heard<I>>,
}

/// What one of those behind an input said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard<I> {
    /// The input.
    pub input: usize,
    /// Who.
    pub of: I,
    /// Its watermark: the least, where it came on several channels.
    pub watermark: i64,
    /// Whether it counts for W.
    pub activity: Activity,
    /// Whether it counts for the input's own watermark.
    pub in_input: Activity,
}

/// The least of watermarks that count; the end of time if all have ended; none if W must stay.
fn least(entries: impl Iterator<Item = (i64, Activity)>) -> Option<i64> {
    let mut least = None;
    let (mut any, mut all_ended) = (false, true);
    for (watermark, activity) in entries {
        any = true;
        if watermark == Watermark::END.0 {
            continue;
        }
        all_ended = false;
        if activity == Activity::Active {
            least = Some(least.map_or(watermark, |l: i64| l.min(watermark)));
        }
    }
    if any && all_ended {
        Some(Watermark::END.0)
    } else {
        least
    }
}

#[cfg(test)]
#[path = "watermark_tests.rs"]
mod tests;
