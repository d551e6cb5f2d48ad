//! What was typed: the job file as typed values with their places. Each section is read by itself;
//! names of other nodes are still just names here, and `check` looks them up.

mod common;
mod connector;
mod kafka;
mod plugin;
mod sink;
mod source;
mod step;
mod window;

pub use common::FunctionRef;
pub use plugin::{PluginSettings, PluginSpec, read_limits, show as show_limit};
pub use sink::SinkSpec;
pub use source::{EventTimeSpec, SourceSpec, TableSpec};
pub use step::{Doing, StepSpec};

use super::document::{Node, Value};
use super::plan::{BatchLimits, CheckpointPlan, OnError};
use super::problem::Problems;
use super::reader::{At, Reader};
use super::values::is_name;
use crate::checkpoint::storage::Place;

/// The job file, read.
#[derive(Debug, Default)]
pub struct JobSpec {
    /// Name, if given.
    pub name: Option<String>,
    /// Partitions of keyed steps.
    pub parallelism: Option<usize>,
    /// Policy of nodes that say nothing.
    pub on_error: Option<OnError>,
    /// When a batch is full.
    pub batch: BatchLimits,
    /// `[checkpoint]`, its path as typed.
    pub checkpoint: Option<CheckpointPlan>,
    /// `[state] memory`.
    pub state_memory: Option<u64>,
    /// `[state] max`.
    pub state_max: Option<u64>,
    /// `[state] key-max`.
    pub state_key_max: Option<u64>,
    /// `[state] value-max`.
    pub state_value_max: Option<u64>,
    /// `[state] path`, as typed.
    pub state_path: Option<String>,
    /// Plugins, in the order of the file; likewise the rest.
    pub plugins: Vec<PluginSpec>,
    /// Sources.
    pub sources: Vec<SourceSpec>,
    /// Tables.
    pub tables: Vec<TableSpec>,
    /// Steps.
    pub steps: Vec<StepSpec>,
    /// Sinks.
    pub sinks: Vec<SinkSpec>,
}

impl Default for BatchLimits {
    fn default() -> BatchLimits {
        BatchLimits {
            records: 4096,
            bytes: 1 << 20,
            latency_ms: 10,
        }
    }
}

/// Parallelism can not pass the number of key groups: a task beyond would own none.
pub const PARALLELISM_MAX: i64 = crate::step::KEY_GROUPS as i64;

/// Less memory than this is no help: a batch takes more.
const STATE_MIN: u64 = 64 << 10;

/// Nodes of one kind that a job may have.
const NODES_MAX: usize = 10_000;

const ON_ERROR: [(&str, OnError); 3] = [
    ("fail", OnError::Fail),
    ("skip", OnError::Skip),
    ("dead-letter", OnError::DeadLetter),
];

/// `on-error` of a node.
pub(super) fn on_error(reader: &mut Reader<'_>, problems: &mut Problems) -> Option<At<OnError>> {
    reader.one_of("on-error", &ON_ERROR, problems)
}

/// Reads the whole document.
pub fn read(root: &Node, problems: &mut Problems) -> JobSpec {
    let mut job = JobSpec::default();
    let Some(mut top) = Reader::new("the job file", root, root.span, problems) else {
        return job;
    };
    if let Some(name) = top.string("name", problems) {
        if is_name(&name.value) {
            job.name = Some(name.value);
        } else {
            bad_name(&name.value, name.span, problems);
        }
    }
    job.parallelism = top
        .integer("parallelism", 1..=PARALLELISM_MAX, problems)
        .and_then(|n| usize::try_from(n).ok());
    job.on_error = on_error(&mut top, problems).map(|p| p.value);
    job.batch = batch(&mut top, problems);
    job.checkpoint = checkpoint(&mut top, problems);
    if let Some(mut state) = top.table("state", problems) {
        state.title = "[state]".to_string();
        job.state_memory = state.size("memory", STATE_MIN..=1 << 50, problems);
        job.state_max = state.size("max", STATE_MIN..=1 << 60, problems);
        job.state_key_max = state.size("key-max", 16..=16 << 20, problems);
        job.state_value_max = state.size("value-max", 1 << 10..=1 << 30, problems);
        job.state_path = state.string("path", problems).map(|p| p.value);
        state.finish(problems);
    }
    job.plugins = section(&mut top, "plugin", problems, plugin::read);
    job.sources = section(&mut top, "source", problems, source::read);
    job.tables = section(&mut top, "table", problems, source::read_table);
    job.steps = section(&mut top, "step", problems, step::read);
    job.sinks = section(&mut top, "sink", problems, sink::read);
    top.finish(problems);
    job
}

/// All `[kind.name]` tables.
fn section<'d, T>(
    top: &mut Reader<'d>,
    kind: &'static str,
    problems: &mut Problems,
    mut read: impl FnMut(At<String>, &mut Reader<'d>, &mut Problems) -> T,
) -> Vec<T> {
    let Some(entry) = top.entry(kind) else {
        return Vec::new();
    };
    let entries = match &entry.node.value {
        Value::Table(entries) => entries,
        other => {
            let message = format!(
                "{kind:?} is {}; write tables such as [{kind}.some-name]",
                other.kind()
            );
            problems.error(entry.node.span, message);
            return Vec::new();
        }
    };
    if entries.len() > NODES_MAX {
        problems.error(
            entry.key_span,
            format!(
                "{} of [{kind}.…]: a job has at most {NODES_MAX}",
                entries.len()
            ),
        );
        return Vec::new();
    }
    let mut all = Vec::new();
    for entry in entries {
        if !is_name(&entry.key) {
            bad_name(&entry.key, entry.key_span, problems);
        }
        let title = format!("[{kind}.{}]", entry.key);
        let Some(mut reader) = Reader::new(title, &entry.node, entry.key_span, problems) else {
            continue;
        };
        all.push(read(
            At::new(entry.key.clone(), entry.key_span),
            &mut reader,
            problems,
        ));
        reader.finish(problems);
    }
    all
}

fn bad_name(name: &str, span: super::problem::Span, problems: &mut Problems) {
    problems
        .error(span, format!("{name:?} is not a name"))
        .help("allowed: a small letter, then up to 62 small letters, digits and \"-\"");
}

fn batch(top: &mut Reader<'_>, problems: &mut Problems) -> BatchLimits {
    let mut limits = BatchLimits::default();
    let Some(mut reader) = top.table("batch", problems) else {
        return limits;
    };
    if let Some(records) = reader.integer("records", 1..=1 << 20, problems) {
        limits.records = records as usize;
    }
    // Offsets in a batch have 32 bits; this leaves room for a record that passes the bound.
    if let Some(bytes) = reader.size("bytes", 1 << 10..=256 << 20, problems) {
        limits.bytes = bytes as usize;
    }
    if let Some(latency) = reader.duration("latency", 0..=60_000, problems) {
        limits.latency_ms = latency.unsigned_abs();
    }
    reader.finish(problems);
    limits
}

fn checkpoint(top: &mut Reader<'_>, problems: &mut Problems) -> Option<CheckpointPlan> {
    const DAY: i64 = 86_400_000;
    let mut reader = top.table("checkpoint", problems)?;
    reader.title = "[checkpoint]".to_string();
    let path = reader.required_string("path", problems);
    let every_ms = reader
        .duration("every", 10..=DAY, problems)
        .unwrap_or(10_000);
    let keep = reader.integer("keep", 1..=10_000, problems).unwrap_or(3);
    let max_age = reader.entry("max-age").map(|e| e.key_span);
    let max_age_ms = reader.duration("max-age", 1_000..=365 * DAY, problems);
    if let (Some(span), Some(age)) = (max_age, max_age_ms)
        && age <= every_ms
    {
        problems.error(span, "\"max-age\" must be longer than \"every\": the job would stop before its next checkpoint");
    }
    reader.finish(problems);
    let path = path?;
    if path.value.is_empty() {
        problems.error(path.span, "\"path\" is empty");
        return None;
    }
    if let Err(why) = Place::parse(&path.value) {
        problems.error(path.span, why);
        return None;
    }
    Some(CheckpointPlan {
        path: path.value,
        every_ms,
        keep: keep as usize,
        max_age_ms,
    })
}
