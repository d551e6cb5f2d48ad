//! Fills the reports from a job's counters.

use super::Job;
use super::report::{
    CheckpointSummary, PartitionTime, Progress, SinkSummary, SourceSummary, StateSize, StepSummary,
    StepTime, Summary,
};
use crate::config::plan::Node;
use crate::job::JobEnding;
use crate::runtime::assemble::function_of;
use crate::runtime::counters::NodeCounters;
use crate::runtime::graph::GraphSink;
use crate::time::{Stopwatch, Watermark};

/// A job's progress, with what it takes to say a rate.
#[derive(Clone, Debug)]
pub struct ProgressMeter {
    at: Stopwatch,
    records_in: u64,
}

impl Default for ProgressMeter {
    fn default() -> ProgressMeter {
        ProgressMeter {
            at: Stopwatch::start(),
            records_in: 0,
        }
    }
}

impl ProgressMeter {
    /// Where the job is now; the rate is since the call before.
    pub fn progress(&mut self, job: &Job) -> Progress {
        let counters = job.assembly().counters();
        let all = || counters.sources.iter().chain(&counters.steps);
        let records_in: u64 = counters
            .sources
            .iter()
            .map(|s| NodeCounters::get(&s.records_in))
            .sum();
        let seconds = self.at.elapsed().as_secs_f64().max(1e-6);
        let records_per_s = (records_in - self.records_in) as f64 / seconds;
        *self = ProgressMeter {
            at: Stopwatch::start(),
            records_in,
        };
        let steps = step_times(job);
        let partitions = partition_times(job);
        let newest = partitions
            .iter()
            .filter_map(|p| p.watermark)
            .filter(|&w| w != Watermark::END.0)
            .max();
        let oldest = steps.iter().filter_map(|s| s.watermark).min();
        Progress {
            elapsed_ms: job.started().elapsed().as_millis() as u64,
            records_in,
            records_out: counters
                .sinks
                .iter()
                .map(|s| NodeCounters::get(&s.records_in))
                .sum(),
            records_per_s,
            errors: all().map(|n| NodeCounters::get(&n.rejected)).sum(),
            late: all().map(|n| NodeCounters::get(&n.late)).sum(),
            lag_ms: newest.zip(oldest).map(|(n, o)| n.saturating_sub(o).max(0)),
            behind: partitions
                .iter()
                .filter_map(|p| p.behind)
                .reduce(|a, b| a + b),
            partitions,
            steps,
            state: state_sizes(job),
            checkpointed_at: Some(job.checkpointed_at()).filter(|&at| at != 0),
            checkpoint_age_ms: job.checkpoint_age_ms(),
            checkpoint_waits: job.checkpoint_waits().map(|waits| waits.words()),
        }
    }
}

fn known(watermark: i64) -> Option<i64> {
    Some(watermark).filter(|&w| w != Watermark::NONE.0)
}

fn step_times(job: &Job) -> Vec<StepTime> {
    let assembly = job.assembly();
    let steps = assembly.plan().steps.iter().zip(&assembly.counters().steps);
    let timed = steps.filter_map(|(step, counters)| Some((step, counters.watermark.get()?)));
    timed
        .map(|(step, watermark)| StepTime {
            step: step.name.clone(),
            watermark: known(watermark),
        })
        .collect()
}

fn state_sizes(job: &Job) -> Vec<StateSize> {
    let assembly = job.assembly();
    let steps = assembly.plan().steps.iter().zip(&assembly.counters().steps);
    let sizes = steps.map(|(step, counters)| StateSize {
        step: step.name.clone(),
        memory_bytes: NodeCounters::get(&counters.state_bytes),
        disk_bytes: NodeCounters::get(&counters.state_disk_bytes),
    });
    sizes
        .filter(|s| s.memory_bytes + s.disk_bytes > 0)
        .collect()
}

fn partition_times(job: &Job) -> Vec<PartitionTime> {
    let assembly = job.assembly();
    let behind = assembly.counters().behind.lock().clone();
    let partitions = assembly.counters().partitions.lock();
    let shown = partitions
        .iter()
        .map(|(&(source, partition), state)| PartitionTime {
            source: assembly.plan().sources[usize::from(source)].name.clone(),
            partition: assembly.names().partition(source, partition),
            watermark: known(state.watermark.0),
            idle: state.idle,
            ended: state.watermark == Watermark::END,
            behind: behind.get(&(source, partition)).copied(),
        });
    shown.collect()
}

/// What a job did, once it is over (or until now).
pub fn summary(job: &Job, ending: &JobEnding) -> Summary {
    let assembly = job.assembly();
    let (plan, counters) = (assembly.plan(), assembly.counters());
    let get = NodeCounters::get;
    let sources = plan
        .sources
        .iter()
        .zip(&counters.sources)
        .map(|(source, c)| SourceSummary {
            source: source.name.clone(),
            records: get(&c.records_out),
            rejected: get(&c.rejected),
        });
    let steps = plan.steps.iter().zip(&counters.steps).map(|(step, c)| {
        let function = function_of(&step.kind).map(|f| &plan.functions[f]);
        let stats = c.function();
        StepSummary {
            step: step.name.clone(),
            function: function.map(|f| format!("{}.{}", plan.plugins[f.plugin].name, f.function)),
            records_in: get(&c.records_in),
            records_out: get(&c.records_out),
            rejected: get(&c.rejected),
            late: get(&c.late),
            plugin_ms: stats.map_or(0.0, |s| s.guest_time.as_secs_f64() * 1e3),
            plugin_ns_per_record: stats
                .filter(|s| s.records > 0)
                .map(|s| s.guest_time.as_nanos() as f64 / s.records as f64),
            guest_memory_bytes_peak: stats.map(|s| s.memory_bytes_peak),
            state_memory_bytes_peak: get(&c.state_peak[0]),
            state_disk_bytes_peak: get(&c.state_peak[1]),
            watermark: c.watermark.get().and_then(known),
        }
    });
    let sinks = assembly
        .graph()
        .sinks
        .iter()
        .zip(&counters.sinks)
        .filter_map(|(sink, c)| match sink {
            GraphSink::Plan(index) => {
                let sink = &plan.sinks[*index];
                let delivery = crate::config::delivery(plan, sink).words().to_owned();
                Some(SinkSummary {
                    sink: sink.name.clone(),
                    records: get(&c.records_in),
                    delivery,
                })
            }
            _ => None,
        });
    let (sources, steps, sinks): (Vec<_>, Vec<_>, Vec<_>) =
        (sources.collect(), steps.collect(), sinks.collect());
    Summary {
        job: plan.name.clone(),
        ending: match ending {
            JobEnding::Finished => "finished",
            JobEnding::Stopped => "stopped",
            JobEnding::Failed(_) => "failed",
        },
        elapsed_ms: job.started().elapsed().as_millis() as u64,
        records_in: sources.iter().map(|s| s.records + s.rejected).sum(),
        records_out: sinks.iter().map(|s| s.records).sum(),
        rejected: sources.iter().map(|s| s.rejected).sum::<u64>()
            + steps.iter().map(|s| s.rejected).sum::<u64>(),
        late: steps.iter().map(|s| s.late).sum(),
        sources,
        steps,
        sinks,
        checkpoints: checkpoint_summary(job),
        partitions: partition_times(job),
        notes: notes(job),
    }
}

fn checkpoint_summary(job: &Job) -> Option<CheckpointSummary> {
    let took = job.checkpoints_took();
    (took.checkpoints > 0).then(|| CheckpointSummary {
        count: took.checkpoints,
        mean_ms: took.total_ms.unsigned_abs() / took.checkpoints,
        gathering_ms: took.gathering_ms.unsigned_abs() / took.checkpoints,
        longest_ms: took.longest_ms.unsigned_abs(),
        bytes: took.bytes,
    })
}

/// What a reader of the summary must know.
fn notes(job: &Job) -> Vec<String> {
    let assembly = job.assembly();
    let (plan, counters) = (assembly.plan(), assembly.counters());
    let mut notes = counters.notes();
    for (sink, c) in assembly.graph().sinks.iter().zip(&counters.sinks) {
        let letters = NodeCounters::get(&c.records_in);
        if let (GraphSink::DeadLetters(node), true) = (sink, letters > 0) {
            let name = match node {
                Node::Source(s) => &plan.sources[usize::from(*s)].name,
                Node::Step(s) => &plan.steps[usize::from(*s)].name,
            };
            let file = super::sinks::dead_letter_folder(plan).join(format!("{name}.jsonl"));
            notes.push(format!(
                "{letters} dead letters of {name} are in {}",
                file.display()
            ));
        }
    }
    for (step, c) in plan.steps.iter().zip(&counters.steps) {
        let late = NodeCounters::get(&c.late);
        let read = plan.steps.iter().flat_map(|s| &s.inputs).chain(plan.sinks.iter().flat_map(|s| &s.inputs)).any(|input| {
            input.port == crate::config::plan::Port::Late
                && matches!(input.node, Node::Step(s) if plan.steps[usize::from(s)].name == step.name)
        });
        if late > 0 && !read {
            notes.push(format!(
                "{late} late records of {} were dropped: {}.late has them, if something reads it",
                step.name, step.name
            ));
        }
    }
    for (step, c) in plan.steps.iter().zip(&counters.steps) {
        let waited = c.function().map(|s| s.backed_off).unwrap_or_default();
        if !waited.is_zero() {
            notes.push(format!(
                "{} waited {:.1} s in all, because its records failed one after the other",
                step.name,
                waited.as_secs_f64()
            ));
        }
    }
    if !job.passed_over().is_empty() {
        notes.push(format!(
            "broken checkpoints were passed over: {}",
            job.passed_over().join("; ")
        ));
    }
    notes.extend(job.restore_notes().iter().cloned());
    notes
}
