//! What a job says of itself: progress while it runs, a summary when it ended. Plain data, filled by
//! the runtime, shown by the command line, written as JSON (whose names must stay stable: scripts and
//! dashboards read them).

use serde::Serialize;

/// A running job at one moment. Counts are since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Since the start, milliseconds.
    pub elapsed_ms: u64,
    /// Records read from sources.
    pub records_in: u64,
    /// Records handed to sinks.
    pub records_out: u64,
    /// Records read a second, since the progress before.
    pub records_per_s: f64,
    /// Records that failed (skipped, or put into dead letters).
    pub errors: u64,
    /// Late records.
    pub late: u64,
    /// How far the slowest step's watermark is behind the newest one of a source, milliseconds of event
    /// time; none while either is unknown.
    pub lag_ms: Option<i64>,
    /// Records that wait in the sources, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// Event time of each source partition.
    pub partitions: Vec<PartitionTime>,
    /// Event time of each step that has a watermark.
    pub steps: Vec<StepTime>,
    /// Bytes that state takes, by step that keeps some.
    pub state: Vec<StateSize>,
    /// When the last checkpoint was taken, milliseconds since 1970 UTC; none: there was none.
    pub checkpointed_at: Option<i64>,
    /// How old it is (before the first: the job), milliseconds; none: the job takes none.
    pub checkpoint_age_ms: Option<i64>,
    /// What the checkpoint under way waits for, in words; none: the store does what it is asked.
    pub checkpoint_waits: Option<String>,
}

/// What a step's state takes, over all tasks, as last measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StateSize {
    /// Step.
    pub step: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes on disk, beyond memory.
    pub disk_bytes: u64,
}

/// Event time of a source partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartitionTime {
    /// Source.
    pub source: String,
    /// What people call the partition: a path, `stdin`, `generator[2]`.
    pub partition: String,
    /// Its watermark; none: nothing known yet. The greatest i64 is the end of time.
    pub watermark: Option<i64>,
    /// Whether it is idle.
    pub idle: bool,
    /// Whether it ended.
    pub ended: bool,
    /// Records that wait in it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
}

/// Event time of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepTime {
    /// Step.
    pub step: String,
    /// Its watermark over all inputs and tasks; none: nothing known yet.
    pub watermark: Option<i64>,
}

/// A job that ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Job.
    pub job: String,
    /// `finished`, `stopped` or `failed`.
    pub ending: &'static str,
    /// From start to end, milliseconds.
    pub elapsed_ms: u64,
    /// Records read from sources.
    pub records_in: u64,
    /// Records handed to sinks.
    pub records_out: u64,
    /// Records that failed, over all sources and steps.
    pub rejected: u64,
    /// Late records, over all steps.
    pub late: u64,
    /// By source, in the plan's order.
    pub sources: Vec<SourceSummary>,
    /// By step, in the plan's order.
    pub steps: Vec<StepSummary>,
    /// By sink, in the plan's order.
    pub sinks: Vec<SinkSummary>,
    /// What checkpoints took; none: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<CheckpointSummary>,
    /// Where event time stood, by source partition.
    pub partitions: Vec<PartitionTime>,
    /// What a reader must know: dead letters written to a file, late records that nobody read.
    pub notes: Vec<String>,
}

/// What the checkpoints of a run took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckpointSummary {
    /// How many.
    pub count: u64,
    /// From the barrier until the checkpoint counted, the mean, milliseconds.
    pub mean_ms: u64,
    /// Of that, until the last task had told its state; the rest is writing. The mean.
    pub gathering_ms: u64,
    /// The longest.
    pub longest_ms: u64,
    /// Bytes of state written, by all together.
    pub bytes: u64,
}

/// What a source did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceSummary {
    /// Source.
    pub source: String,
    /// Records read.
    pub records: u64,
    /// What did not become a record.
    pub rejected: u64,
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepSummary {
    /// Step.
    pub step: String,
    /// `plugin.function`, if it has one.
    pub function: Option<String>,
    /// Records taken.
    pub records_in: u64,
    /// Records put out.
    pub records_out: u64,
    /// Records that failed.
    pub rejected: u64,
    /// Late records.
    pub late: u64,
    /// Wall time inside the plugin over all tasks, milliseconds.
    pub plugin_ms: f64,
    /// That time for one record, nanoseconds; none: it worked on none.
    pub plugin_ns_per_record: Option<f64>,
    /// Most memory that an instance had, bytes; none: no plugin.
    pub guest_memory_bytes_peak: Option<u64>,
    /// Bytes of memory that state took at the most, over all tasks.
    pub state_memory_bytes_peak: u64,
    /// Bytes of state on disk, beyond memory, at the most.
    pub state_disk_bytes_peak: u64,
    /// Where event time stood; none: the step has none.
    pub watermark: Option<i64>,
}

/// What a sink got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SinkSummary {
    /// Sink.
    pub sink: String,
    /// Records.
    pub records: u64,
    /// What is promised of them: see `Delivery::words`.
    pub delivery: String,
}
