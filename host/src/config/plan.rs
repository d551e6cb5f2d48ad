//! The validated job. Made by `config::check` only; the runtime trusts what is here.

use std::path::PathBuf;
use std::sync::Arc;

use super::conceal::is_secret_name;
use super::kafka::ClientSetting;
use super::secret::Redactor;
use crate::plugin::{Descriptor, FunctionKind};
use crate::reach::Reach;
use crate::record::NodeIndex;

/// A job that can run. `P`: a loaded plugin (tests of `check` use another).
#[derive(Clone, Debug)]
pub struct Plan<P = Arc<crate::plugin::Plugin>> {
    /// Job name.
    pub name: String,
    /// The folder that paths are relative to.
    pub base: PathBuf,
    /// Where it may write: parts of sinks, dead letters, checkpoints, state beyond memory.
    pub writes: Reach,
    /// Partitions of keyed steps, and readers.
    pub parallelism: usize,
    /// When a batch is full.
    pub batch: BatchLimits,
    /// `[checkpoint]`, if any.
    pub checkpoint: Option<CheckpointPlan>,
    /// `[state]`.
    pub state: StatePlan,
    /// Plugins used, `std` included where a step uses it.
    pub plugins: Vec<PluginPlan<P>>,
    /// Functions used by steps, opened: one entry per (plugin, function, config).
    pub functions: Vec<FunctionPlan>,
    /// Sources.
    pub sources: Vec<SourcePlan>,
    /// Tables.
    pub tables: Vec<TablePlan>,
    /// Steps, in an order in which each comes after what it reads.
    pub steps: Vec<StepPlan>,
    /// Sinks.
    pub sinks: Vec<SinkPlan>,
    /// What `check` warns of: `file:line:column: text`.
    pub warnings: Vec<String>,
}

impl<P> Plan<P> {
    /// Takes the job's secrets out of what libraries say of them.
    pub fn redactor(&self) -> Redactor {
        let sources = self.sources.iter().filter_map(|s| match &s.connector {
            SourceConnector::Kafka(kafka) => Some(&kafka.client),
            _ => None,
        });
        let sinks = self.sinks.iter().filter_map(|s| match &s.connector {
            SinkConnector::Kafka(kafka) => Some(&kafka.client),
            _ => None,
        });
        let mut redactor = Redactor::default();
        let with_secrets = |s: &&ClientSetting| s.text.has_references() || is_secret_name(&s.name);
        for setting in sources.chain(sinks).flatten().filter(with_secrets) {
            if let Some(secret) = &setting.value {
                redactor.add(secret);
            }
        }
        redactor
    }
}

/// When a batch is full: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Records.
    pub records: usize,
    /// Payload bytes.
    pub bytes: usize,
    /// Time since its first record, milliseconds.
    pub latency_ms: u64,
}

/// `[state]`: what keyed state may take.
#[derive(Clone, Debug)]
pub struct StatePlan {
    /// Bytes of memory, over all steps and tasks. What is beyond goes to disk.
    pub memory: u64,
    /// Bytes in memory and on disk.
    pub max: Option<u64>,
    /// Bytes of a key.
    pub key_max: u64,
    /// Bytes of what a step keeps of one key, where it moves to disk.
    pub value_max: u64,
    /// The folder in which that of the job is made.
    pub path: PathBuf,
}

/// `[checkpoint]`.
#[derive(Clone, Debug)]
pub struct CheckpointPlan {
    /// Folder (already joined to the job's) or URL.
    pub path: String,
    /// Interval, milliseconds.
    pub every_ms: i64,
    /// Manifests kept.
    pub keep: usize,
    /// The job stops when its last checkpoint is older, milliseconds.
    pub max_age_ms: Option<i64>,
}

/// A plugin file with its limits.
#[derive(Clone, Debug)]
pub struct PluginPlan<P = Arc<crate::plugin::Plugin>> {
    /// Name in the job; `std` for the one that ships inside.
    pub name: String,
    /// Where it was read from; none for `std`.
    pub path: Option<PathBuf>,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// The loaded plugin.
    pub plugin: P,
    /// What its instances may use.
    pub limits: crate::plugin::Limits,
}

/// A function as some steps use it.
#[derive(Clone, Debug)]
pub struct FunctionPlan {
    /// Index into `Plan::plugins`.
    pub plugin: usize,
    /// Name inside the plugin.
    pub function: String,
    /// Its kind.
    pub kind: FunctionKind,
    /// Config as JSON text.
    pub config: String,
    /// What it answered to `open`.
    pub descriptor: Descriptor,
}

/// What feeds a step or sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Input {
    /// Source or step.
    pub node: Node,
    /// Which of its outputs.
    pub port: Port,
}

/// A node that puts records out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// Index into `Plan::sources`.
    Source(NodeIndex),
    /// Index into `Plan::steps`.
    Step(NodeIndex),
}

/// An output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// The one that the bare name means.
    Main,
    /// A transform's port, index into `Descriptor::ports`.
    Named(u16),
    /// `.late`.
    Late,
    /// `.errors`.
    Errors,
}

/// What becomes of a record that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The job fails.
    Fail,
    /// It is counted and dropped.
    Skip,
    /// It goes to the step's errors port (read by someone, or the file).
    DeadLetter,
}

/// Pointers whose values make a key: one = that value, several = a JSON array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPointers {
    /// The value itself.
    One(Arc<str>),
    /// A JSON array of the values.
    Many(Vec<Arc<str>>),
}

/// How a timestamp is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampSpec {
    /// Where.
    pub pointer: Arc<str>,
    /// Unit of integers.
    pub unit: TimeUnit,
    /// strptime format of text; none: RFC 3339.
    pub format: Option<String>,
}

/// Unit of integer timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
}

/// `event-time`. All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// Allowed disorder.
    pub max_disorder_ms: i64,
    /// A partition silent for this long is idle; none: never.
    pub idle_after_ms: Option<i64>,
    /// A timestamp further ahead of the clock fails the record; none: off.
    pub max_ahead_ms: Option<i64>,
}

/// A source.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// Name.
    pub name: String,
    /// Where records come from.
    pub connector: SourceConnector,
    /// How bytes become values.
    pub format: FormatSpec,
    /// Key, if the source sets one.
    pub key: Option<KeyPointers>,
    /// Timestamp, if the source sets one.
    pub timestamp: Option<TimestampSpec>,
    /// Watermarks, if it makes any.
    pub event_time: Option<EventTime>,
    /// For records that do not become one.
    pub on_error: OnError,
}

/// Where records come from.
#[derive(Clone, Debug)]
pub enum SourceConnector {
    /// Files of a glob, in path order.
    File {
        /// Glob, joined to the job's folder.
        pattern: String,
        /// Deal blocks of lines to so many partitions; none: a file is a partition.
        partitions: Option<usize>,
        /// Look for new files and growth so often, milliseconds; none: read once and end.
        watch_ms: Option<i64>,
        /// Where the files may be.
        reach: Reach,
    },
    /// Standard input, lines.
    Stdin,
    /// Made-up records.
    Generator(GeneratorSpec),
    /// Topics of a Kafka cluster.
    Kafka(Box<super::kafka::KafkaSourcePlan>),
}

/// A seeded generator: record i of partition p is a function of (seed, p, i).
#[derive(Clone, Debug)]
pub struct GeneratorSpec {
    /// Records over all partitions; none: without end.
    pub records: Option<u64>,
    /// Records a second over all partitions; none: as fast as it goes.
    pub rate: Option<u64>,
    /// Seed.
    pub seed: u64,
    /// Partitions.
    pub partitions: usize,
    /// JSON text with placeholders (see docs/job-file.md); the default template if none.
    pub template: Option<String>,
}

/// How bytes become values.
#[derive(Clone, Debug, PartialEq)]
pub enum FormatSpec {
    /// A line is a value.
    Lines,
    /// A line is a JSON document; one that is not fails.
    Json,
    /// CSV with these rules.
    Csv(CsvSpec),
    /// A whole file is a value.
    Bytes,
}

/// CSV rules, as typed.
#[derive(Clone, Debug, PartialEq)]
pub struct CsvSpec {
    /// Between cells.
    pub delimiter: u8,
    /// Whether the first row names the columns.
    pub header: bool,
    /// Names, where there is no header.
    pub columns: Option<Vec<String>>,
    /// Cells that are null.
    pub nulls: Vec<String>,
    /// `types = "strings"`: no numbers.
    pub strings: bool,
}

/// A table for lookups.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Name.
    pub name: String,
    /// Where its rows come from.
    pub input: TableInput,
}

/// Where a table's rows come from.
#[derive(Clone, Debug)]
pub enum TableInput {
    /// A file read before the job starts.
    File(Box<SourcePlan>),
    /// Kept current from a stream; null value deletes.
    Stream(Vec<Input>),
}

/// A step.
#[derive(Clone, Debug)]
pub struct StepPlan {
    /// Name.
    pub name: String,
    /// What it reads: a union, or (left, right) for joins.
    pub inputs: Vec<Input>,
    /// What it does.
    pub kind: StepKind,
    /// For records that fail here.
    pub on_error: OnError,
    /// `watermark = "max"`: the greatest of the inputs' watermarks.
    pub watermark_max: bool,
    /// Watermarks from here on (transforms before the first exchange only).
    pub event_time: Option<EventTime>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// Function of kind transform or filter.
    Transform {
        /// Index into `Plan::functions`.
        function: usize,
    },
    /// Sets the key, natively.
    Key(KeyPointers),
    /// Windowed aggregate.
    Window {
        /// Index into `Plan::functions`.
        function: usize,
        /// Everything about windows and firing.
        window: crate::window::WindowSpec,
    },
    /// Two-input join.
    Join {
        /// Index into `Plan::functions`; none for semi and anti.
        function: Option<usize>,
        /// Kind, bounds, lateness.
        join: crate::join::JoinSpec,
    },
    /// Enrichment from a table.
    Lookup {
        /// Index into `Plan::functions`.
        function: usize,
        /// Index into `Plan::tables`.
        table: usize,
        /// Where the table's key is in the record; none: the record's key (co-partitioned).
        on: Option<KeyPointers>,
        /// Whether records without match are kept.
        left: bool,
        /// Versions kept so long, milliseconds: the row valid at the record's timestamp.
        as_of_ms: Option<i64>,
    },
    /// First of a key within a bound, milliseconds.
    Dedup {
        /// Bound.
        within_ms: i64,
    },
    /// Keyed state and timers.
    Process {
        /// Index into `Plan::functions`.
        function: usize,
        /// State is dropped so long after its last write, milliseconds.
        ttl_ms: i64,
        /// Which clock ttl follows.
        time: crate::plugin::TimeDomain,
    },
}

/// A sink.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// Name.
    pub name: String,
    /// What it reads.
    pub inputs: Vec<Input>,
    /// Where records go.
    pub connector: SinkConnector,
}

/// Where records go.
#[derive(Clone, Debug)]
pub enum SinkConnector {
    /// Standard output.
    Console(ConsoleFormat),
    /// Part files in a folder.
    File {
        /// Folder, joined to the job's.
        path: PathBuf,
        /// Envelopes or bare values.
        format: FileFormat,
        /// Roll at so many bytes.
        roll_bytes: u64,
        /// Roll after so long, milliseconds.
        roll_every_ms: Option<i64>,
        /// Whether parts of another run may be replaced.
        overwrite: bool,
        /// Where the folder may be.
        reach: Reach,
    },
    /// Counts and drops.
    Blackhole,
    /// A topic of a Kafka cluster.
    Kafka(Box<super::kafka::KafkaSinkPlan>),
}

/// How the console shows records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleFormat {
    /// Columns for people.
    Table,
    /// Envelopes.
    Json,
    /// Bare values.
    Value,
}

/// What a line of a part file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// The envelope.
    Json,
    /// The bare value.
    Value,
}
