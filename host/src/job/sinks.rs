//! Opens a job's sinks, and brings them to where the checkpoint stands that the job goes on from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Plan;
use crate::job::recover::{Beginning, new_id};
use crate::runtime::assemble::Assembly;
use crate::runtime::graph::GraphSink;
use crate::runtime::task::TaskError;
use crate::sink::kafka::Transactions;
use crate::sink::{Console, Sink, SinkError, SinkRun};

/// One for each sink of the graph, standing where the checkpoint says.
pub fn open(
    assembly: &Assembly,
    beginning: Option<&Beginning>,
    console: &Console,
    transactions: Option<&Arc<Transactions>>,
) -> Result<Vec<Option<Arc<dyn Sink>>>, TaskError> {
    if let (Some(transactions), Some(beginning)) = (transactions, beginning) {
        transactions
            .begin(&beginning.run, beginning.epoch + 1)
            .map_err(|e| TaskError::Host(e.to_string()))?;
    }
    let recover =
        |sink: &dyn Sink, epoch: u64, prepared: &[serde_json::Value]| sink.recover(epoch, prepared);
    opened(assembly, beginning, console, transactions, recover)
}

/// For a job that had finished: its process may have died between the last checkpoint and its publishing.
pub fn publish_left(
    assembly: &Assembly,
    beginning: Beginning,
    console: &Console,
    transactions: Option<&Arc<Transactions>>,
) -> Result<(), TaskError> {
    let publish =
        |sink: &dyn Sink, _: u64, prepared: &[serde_json::Value]| sink.publish_left(prepared);
    opened(assembly, Some(&beginning), console, transactions, publish)?;
    Ok(())
}

fn opened(
    assembly: &Assembly,
    beginning: Option<&Beginning>,
    console: &Console,
    transactions: Option<&Arc<Transactions>>,
    bring: impl Fn(&dyn Sink, u64, &[serde_json::Value]) -> Result<(), SinkError>,
) -> Result<Vec<Option<Arc<dyn Sink>>>, TaskError> {
    let plan = assembly.plan();
    let run = SinkRun {
        id: beginning.map_or_else(new_id, |b| b.run.clone()),
        checkpoints: beginning.is_some(),
        first_epoch: beginning.map_or(0, |b| b.epoch + 1),
        console: console.clone(),
        transactions: transactions.cloned(),
    };
    let mut sinks = Vec::new();
    for at in &assembly.graph().sinks {
        let name = assembly.sink_name(at);
        let sink: Arc<dyn Sink> = match at {
            GraphSink::Plan(index) => Arc::from(crate::sink::open(&plan.sinks[*index], &run)?),
            GraphSink::DeadLetters(_) | GraphSink::Unread(..) => {
                let step = name
                    .rsplit_once('.')
                    .map_or(name.as_str(), |(step, _)| step);
                Arc::new(crate::sink::dead_letters::DeadLetters::new(
                    &dead_letter_folder(plan),
                    step,
                    crate::sink::dead_letters::DEAD_LETTERS_BYTES_MAX,
                    plan.writes.clone(),
                ))
            }
        };
        if let Some(restored) = beginning.and_then(|b| b.restored.as_ref()) {
            let prepared = restored.manifest.prepared.iter().filter(|p| p.sink == name);
            let prepared: Vec<serde_json::Value> = prepared.map(|p| p.parts.clone()).collect();
            bring(&*sink, restored.manifest.epoch, &prepared)?;
            crate::crash::at(crate::crash::CrashPoint::SinkRecovered);
        }
        sinks.push(Some(sink));
    }
    Ok(sinks)
}

/// Beside the checkpoints, where those are in a folder, else beside the job file.
pub fn dead_letter_folder(plan: &Plan) -> PathBuf {
    let beside = plan
        .checkpoint
        .as_ref()
        .filter(|c| !c.path.contains("://"))
        .map(|c| Path::new(&c.path))
        .and_then(Path::parent);
    beside.unwrap_or(&plan.base).join("dead-letters")
}
