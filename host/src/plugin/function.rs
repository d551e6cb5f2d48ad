//! Functions as the rest of the host sees them: traits over batches. Plugins implement them by calls
//! into the sandbox; tests and benches also natively.
//!
//! All of them isolate: a call that traps, overruns a limit or answers nonsense is repeated on parts
//! until the single failing rows are known. What comes out is either rows that worked plus rows
//! that failed, each with its reason, or a `Fault` that must end the job.

use std::sync::Arc;

use arrow_array::BinaryArray;

use crate::record::{Batch, Blobs, EmitField, FieldSpec, Windows};

/// What kind of function it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// Any number of records out for each in.
    Transform,
    /// Keeps or drops.
    Filter,
    /// Accumulates per key and window.
    Aggregate,
    /// Works on matched pairs.
    Join,
    /// Keyed state and timers.
    Process,
}

impl FunctionKind {
    /// The contract's word.
    pub fn name(self) -> &'static str {
        match self {
            FunctionKind::Transform => "transform",
            FunctionKind::Filter => "filter",
            FunctionKind::Aggregate => "aggregate",
            FunctionKind::Join => "join",
            FunctionKind::Process => "process",
        }
    }
}

/// What to do where a field is absent or of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnBad {
    /// The field is null.
    Null,
    /// The record is rejected before the call.
    Reject,
    /// The job fails.
    Fail,
}

/// A field that a function reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldRead {
    /// Where and as what.
    pub spec: FieldSpec,
    /// Where the document has no such member.
    pub missing: OnBad,
    /// Where it has another type.
    pub mismatch: OnBad,
}

/// Raw columns that a function reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ColumnSet {
    /// Values as bytes.
    pub values: bool,
    /// Keys.
    pub keys: bool,
    /// Timestamps.
    pub timestamps: bool,
}

/// All that a function reads of its records (of one side, for joins).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reads {
    /// Raw columns.
    pub columns: ColumnSet,
    /// Typed fields, in the function's order.
    pub fields: Vec<FieldRead>,
}

/// What a function reads and writes under its config: the contract's `descriptor`, checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// Of the records; of the left side, for joins.
    pub reads: Reads,
    /// Of the right side (joins).
    pub right: Reads,
    /// Members of the values written; empty: bytes or inherited.
    pub emits: Arc<[EmitField]>,
    /// Named outputs beside the main one.
    pub ports: Vec<String>,
    /// Emits keys.
    pub sets_keys: bool,
    /// Emits timestamps.
    pub sets_timestamps: bool,
    /// `merge` works.
    pub mergeable: bool,
    /// The result depends on the order of records.
    pub order_dependent: bool,
    /// Version of accumulators or states.
    pub state_version: u32,
    /// Most records a call; 0 = any.
    pub max_records: u32,
}

/// How a record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectKind {
    /// The function said so (`reject`, or a `failure` answer).
    Rejected,
    /// A field was missing, mistyped, or the document malformed.
    Field,
    /// The guest trapped (unreachable, out of bounds, stack overflow …).
    Trap,
    /// The guest panicked: the message is the panic's.
    Panic,
    /// The call ran past its time.
    Deadline,
    /// The guest asked for more memory than it may have.
    Memory,
    /// Its stack overflowed.
    Stack,
    /// It put out more than it may: bytes or records of a call, records of one record.
    OutputLimit,
    /// An accumulator or state is larger than it may be.
    StateLimit,
    /// It set more timers than it may.
    TimerLimit,
    /// It registered more metrics than it may.
    MetricLimit,
    /// It rejected rows more often than there are.
    RejectLimit,
    /// So many records in a row failed that no more are tried.
    Quarantined,
    /// What came back breaks the contract.
    BadOutput,
    /// The source could not make a record of it (bad CSV row, missing pointer, too far ahead).
    Source,
    /// The step could not take it (no key, no timestamp, gap <= 0 …).
    Step,
}

impl RejectKind {
    /// The word in dead letters and summaries: stable, people match on it.
    pub fn name(self) -> &'static str {
        match self {
            RejectKind::Rejected => "rejected",
            RejectKind::Field => "field",
            RejectKind::Trap => "trap",
            RejectKind::Panic => "panic",
            RejectKind::Deadline => "deadline",
            RejectKind::Memory => "memory",
            RejectKind::Stack => "stack",
            RejectKind::OutputLimit => "output-limit",
            RejectKind::StateLimit => "state-limit",
            RejectKind::TimerLimit => "timer-limit",
            RejectKind::MetricLimit => "metric-limit",
            RejectKind::RejectLimit => "reject-limit",
            RejectKind::Quarantined => "quarantined",
            RejectKind::BadOutput => "bad-output",
            RejectKind::Source => "source",
            RejectKind::Step => "step",
        }
    }
}

/// A row that failed, and why. Rare: it may allocate.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// Row of the batch (group of `finish`, pair of `join`).
    pub row: u32,
    /// What happened.
    pub kind: RejectKind,
    /// In words, for people: which field, which column, which limit, the panic's text.
    pub message: String,
    /// The guest's last log lines in that call.
    pub log: Vec<String>,
}

/// Ends the job: no record is to blame, or the policy of a field says so.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// In words: what the function did, which limit.
    pub message: String,
    /// What kind of thing it was.
    pub kind: RejectKind,
    /// The guest's last log lines.
    pub log: Vec<String>,
}

/// A function that a plugin has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Name inside the plugin.
    pub name: String,
    /// What it is.
    pub kind: FunctionKind,
    /// One line for people.
    pub doc: String,
    /// JSON Schema of its config, or empty.
    pub config_schema: String,
}

/// What a function cost so far, over all instances of one step's partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionStats {
    /// Calls into the guest.
    pub calls: u64,
    /// Records (groups, pairs, timers) that calls worked on with success.
    pub records: u64,
    /// Wall time inside calls.
    pub guest_time: std::time::Duration,
    /// Most linear memory that an instance had.
    pub memory_bytes_peak: u64,
    /// Calls that trapped, deadlines and limits included.
    pub traps: u64,
    /// Instances made.
    pub instances: u64,
    /// Wall time that it waited because its records failed one after the other.
    pub backed_off: std::time::Duration,
}

impl FunctionStats {
    /// Of several partitions together.
    pub fn add(&mut self, other: &FunctionStats) {
        self.calls += other.calls;
        self.records += other.records;
        self.guest_time += other.guest_time;
        self.memory_bytes_peak = self.memory_bytes_peak.max(other.memory_bytes_peak);
        self.traps += other.traps;
        self.instances += other.instances;
        self.backed_off += other.backed_off;
    }
}

/// What a transform or filter made of a batch.
#[derive(Debug)]
pub struct Transformed {
    /// Output of the main port, then of each port of the descriptor, in its order.
    pub ports: Vec<Batch>,
    /// In order of rows.
    pub rejected: Vec<Rejected>,
}

/// Transforms and filters.
pub trait Transform: Send {
    /// Runs the function over the batch. Fields that it reads are extracted into the batch if they
    /// are not there yet, so that further steps find them.
    fn process(&mut self, input: &mut Batch) -> Result<Transformed, Fault>;
    /// What it cost so far.
    fn stats(&self) -> FunctionStats {
        FunctionStats::default()
    }
    /// Metrics that the function recorded.
    fn metrics(&self) -> Vec<super::Metric> {
        Vec::new()
    }
}

/// Answer of `Aggregate::add`.
#[derive(Debug)]
pub enum Added {
    /// The new accumulators, one a group.
    Accumulators(Blobs),
    /// Nothing happened, since these rows fail: call again without them.
    Rejected(Vec<Rejected>),
}

/// Results of `Aggregate::finish`.
#[derive(Debug)]
pub struct Finished {
    /// The values; keys, timestamps and windows are the caller's to set.
    pub batch: Batch,
    /// Group that each result is of; ascending.
    pub groups: Vec<u32>,
    /// Groups whose result failed (`row` is the group).
    pub rejected: Vec<Rejected>,
}

/// Aggregates.
pub trait Aggregate: Send {
    /// Extracts the fields that the function reads; the rows that must be left out of `gaps` and
    /// `add`, since a field's policy rejects them.
    fn prepare(&mut self, batch: &mut Batch) -> Result<Vec<Rejected>, Fault>;
    /// The accumulator of a new group (asked once, then kept).
    fn init(&mut self) -> Result<Arc<[u8]>, Fault>;
    /// The gap of each row in `rows` (plugin-chosen sessions), in milliseconds, in the order of `rows`.
    fn gaps(&mut self, batch: &Batch, rows: &[u32]) -> Result<(Vec<i64>, Vec<Rejected>), Fault>;
    /// Adds `rows[i]` to group `groups[i]`; group g's accumulator is `accs.get(g)`.
    fn add(
        &mut self,
        batch: &Batch,
        rows: &[u32],
        groups: &[u32],
        accs: &Blobs,
    ) -> Result<Added, Fault>;
    /// Merges `right[i]` into `left[i]`, which came first.
    fn merge(&mut self, left: &Blobs, right: &Blobs) -> Result<Blobs, Fault>;
    /// Results of groups. `windows` as the contract says, also for count and global windows.
    fn finish(
        &mut self,
        keys: &BinaryArray,
        windows: &Windows,
        accs: &Blobs,
    ) -> Result<Finished, Fault>;
    /// Brings accumulators of an older version up to date.
    fn migrate(&mut self, from_version: u32, accs: &Blobs) -> Result<Blobs, Fault>;
    /// What it cost so far.
    fn stats(&self) -> FunctionStats {
        FunctionStats::default()
    }
    /// Metrics that the function recorded.
    fn metrics(&self) -> Vec<super::Metric> {
        Vec::new()
    }
}

/// Answer of `Join::join`.
#[derive(Debug)]
pub struct Joined {
    /// Values; keys and timestamps are the caller's to set.
    pub batch: Batch,
    /// Pair that each result comes from; ascending.
    pub pairs: Vec<u32>,
    /// Pairs that failed (`row` is the pair).
    pub rejected: Vec<Rejected>,
}

/// Joins (and lookups).
pub trait Join: Send {
    /// Works on pairs (`left_rows[i]`, `right_rows[i]`), `NO_ROW` where a side has none. A row whose field is
    /// bad rejects the pairs it is in.
    fn join(
        &mut self,
        left: &mut Batch,
        right: &mut Batch,
        left_rows: &[u32],
        right_rows: &[u32],
    ) -> Result<Joined, Fault>;
    /// What it cost so far.
    fn stats(&self) -> FunctionStats {
        FunctionStats::default()
    }
    /// Metrics that the function recorded.
    fn metrics(&self) -> Vec<super::Metric> {
        Vec::new()
    }
}

/// Which clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimeDomain {
    /// The watermark.
    Event,
    /// The machine's clock.
    Processing,
}

/// A timer due now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiredTimer {
    /// Whose.
    pub group: u32,
    /// Which clock.
    pub domain: TimeDomain,
    /// The time it was set for.
    pub time: i64,
}

/// What a call did to timers; in order of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerOp {
    /// Whose.
    pub group: u32,
    /// Which clock.
    pub domain: TimeDomain,
    /// For when.
    pub time: i64,
    /// Set, or delete.
    pub set: bool,
}

/// Answer of `Process::process`. If `rejected` is not empty, the whole call changed nothing:
/// the caller leaves the rows (or timers) out and calls again.
#[derive(Debug)]
pub struct Processed {
    /// Output of the main port, then of each port.
    pub ports: Vec<(Batch, Vec<u32>)>,
    /// States of all groups; none = no state.
    pub states: Vec<Option<Box<[u8]>>>,
    /// Timer changes.
    pub timers: Vec<TimerOp>,
    /// `row` is the row, or batch.len + i for fired timer i.
    pub rejected: Vec<Rejected>,
}

/// Keyed state with timers.
pub trait Process: Send {
    /// Extracts fields; rows to leave out.
    fn prepare(&mut self, batch: &mut Batch) -> Result<Vec<Rejected>, Fault>;
    /// `rows[i]` of the batch belongs to `groups[i]`. `ports` of the answer carry, beside the batch, the
    /// source of each output: an index into `rows`, or `rows.len() + i` for fired timer i.
    fn process(
        &mut self,
        batch: &Batch,
        rows: &[u32],
        groups: &[u32],
        keys: &BinaryArray,
        states: &[Option<Box<[u8]>>],
        fired: &[FiredTimer],
    ) -> Result<Processed, Fault>;
    /// Brings states of an older version up to date.
    fn migrate(&mut self, from_version: u32, states: &Blobs) -> Result<Blobs, Fault>;
    /// What it cost so far.
    fn stats(&self) -> FunctionStats {
        FunctionStats::default()
    }
    /// Metrics that the function recorded.
    fn metrics(&self) -> Vec<super::Metric> {
        Vec::new()
    }
}
