//! Makes a job's workers: tasks, channels between them, partitions dealt to those that read.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::checkpoint::manifest::PartitionPosition;
use crate::config::plan::{Input, Node, Port, SourcePlan};
use crate::job::recover::RestoredJob;
use crate::record::NodeIndex;
use crate::runtime::assemble::Assembly;
use crate::runtime::message::Message;
use crate::runtime::needs;
use crate::runtime::reader::{Finder, ReadPosition, Reader};
use crate::runtime::snapshot::{JobSnapshot, TaskChains};
use crate::runtime::task::{Task, TaskError};
use crate::runtime::worker::{Shared, Worker, channel_messages};
use crate::sink::{Sink, SinkError};
use crate::source::{Committed, PartitionReader, Position};

/// All channels of a job: by (stage, task) that receives, in the order of channel numbers.
type Inboxes = BTreeMap<(usize, usize), Vec<Receiver<Message>>>;
/// By (stage, task) that sends: for each stage downstream, one a task.
type Outlets = BTreeMap<(usize, usize), BTreeMap<usize, Vec<Sender<Message>>>>;

/// Workers with names for their threads; who hears of positions, by source.
type Workers = (Vec<(String, Worker)>, Vec<Option<Arc<dyn Committed>>>);

/// All workers of a job, with names for their threads.
/// Also answers who hears of positions, by source.
pub fn workers(
    assembly: &Assembly,
    shared: &Shared,
    sinks: &[Option<Arc<dyn Sink>>],
    restored: Option<&RestoredJob>,
) -> Result<Workers, TaskError> {
    let mut committed: Vec<Option<Arc<dyn Committed>>> = vec![None; assembly.plan().sources.len()];
    let (mut inboxes, mut outlets) = channels(assembly);
    let tasks = assembly.parallelism();
    let plan = assembly.plan();
    let mut workers = Vec::new();
    let writer = |number: usize, task: usize| {
        let sink = sinks[number].as_ref().ok_or_else(|| {
            SinkError::new(
                &assembly.sink_name(&assembly.graph().sinks[number]),
                "it was not opened",
            )
        })?;
        sink.writer(task)
    };
    for (stage, at) in assembly.graph().stages.iter().enumerate() {
        let mut readers = match at.source {
            Some(source) => readers(
                &mut committed[usize::from(source)],
                assembly,
                shared,
                source,
                &plan.sources[usize::from(source)],
                restored,
            )?,
            None => Vec::new(),
        };
        readers.reverse();
        let label = match at.source {
            Some(source) => &plan.sources[usize::from(source)].name,
            None => &plan.steps[usize::from(at.slots[0].step)].name,
        };
        let mut of_stage = (0..tasks)
            .map(|index| assembly.task(stage, index, &writer))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(restored) = restored {
            restore(&mut of_stage, &restored.snapshot)?;
        }
        for (index, mut task) in of_stage.into_iter().enumerate() {
            // Fresh steps, too, must know what time it is before their first record.
            task.set_now(shared.clock.now());
            task.resume(shared.clock.now(), |step| restored?.snapshot.tracker(step));
            let worker = Worker {
                stage,
                index,
                task,
                inbox: inboxes.remove(&(stage, index)).unwrap_or_default(),
                outlets: outlets.remove(&(stage, index)).unwrap_or_default(),
                reader: readers.pop(),
                shared: shared.clone(),
                chains: TaskChains::default(),
                turn: 0,
            };
            workers.push((format!("{}/{label}/{index}", plan.name), worker));
        }
    }
    Ok((workers, committed))
}

/// Gives the tasks of a stage their state back, as many at a time as there are cores.
fn restore(of_stage: &mut [Task], snapshot: &JobSnapshot) -> Result<(), TaskError> {
    let tasks = of_stage.len();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = tasks.div_ceil(cores);
    std::thread::scope(|scope| {
        let shares = of_stage.chunks_mut(share).enumerate();
        let threads: Vec<_> = shares
            .map(|(number, of_share)| {
                let restore = move || {
                    of_share.iter_mut().enumerate().try_for_each(|(at, task)| {
                        snapshot.restore(task, number * share + at, tasks)
                    })
                };
                scope.spawn(restore)
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                let gone = |_| TaskError::Host("restoring panicked (a bug of the host)".into());
                thread.join().map_err(gone)?
            })
            .fold(Ok(()), Result::and)
    })
}

fn channels(assembly: &Assembly) -> (Inboxes, Outlets) {
    let (mut inboxes, mut outlets) = (Inboxes::new(), Outlets::new());
    let tasks = assembly.parallelism();
    for (stage, at) in assembly.graph().stages.iter().enumerate() {
        let room = channel_messages(at.upstream.len() * tasks, tasks);
        for to in 0..tasks {
            for &from_stage in &at.upstream {
                for from in 0..tasks {
                    let (sender, receiver) = bounded(room);
                    inboxes.entry((stage, to)).or_default().push(receiver);
                    outlets
                        .entry((from_stage, from))
                        .or_default()
                        .entry(stage)
                        .or_default()
                        .push(sender);
                }
            }
        }
    }
    (inboxes, outlets)
}

/// Finds the source's partitions and deals them to its tasks: those that were read before go on where they stood.
fn readers(
    committed: &mut Option<Arc<dyn Committed>>,
    assembly: &Assembly,
    shared: &Shared,
    index: NodeIndex,
    plan: &SourcePlan,
    restored: Option<&RestoredJob>,
) -> Result<Vec<Reader>, TaskError> {
    let tasks = assembly.parallelism();
    let mut source = crate::source::open(plan, index, &shared.clock)?;
    let (senders, arrivals): (Vec<Sender<Box<dyn PartitionReader>>>, Vec<_>) =
        (0..tasks).map(|_| unbounded()).unzip();
    let mut ended: Vec<Vec<ReadPosition>> = vec![Vec::new(); tasks];
    let known: Vec<&PartitionPosition> = restored
        .iter()
        .flat_map(|r| r.positions(&plan.name))
        .collect();
    if !known.is_empty() {
        let positions: Vec<_> = known
            .iter()
            .map(|p| (p.partition, Position(p.position.clone())))
            .collect();
        source.restore(&positions)?;
    }
    for mut reader in source.discover()? {
        let task = reader.partition() as usize % tasks;
        if let Some(before) = known.iter().find(|p| p.partition == reader.partition()) {
            let position = Position(before.position.clone());
            if before.ended {
                let (partition, name) = (reader.partition(), reader.name().to_owned());
                ended[task].push(ReadPosition {
                    source: index,
                    partition,
                    name,
                    position,
                    ended: true,
                });
                continue;
            }
            reader.seek(&position)?;
        }
        senders[task]
            .send(reader)
            .expect("the other end is held here");
    }
    *committed = source.committed();
    for note in source.notes() {
        assembly.counters().note(note);
    }
    let next_look = shared.clock.now();
    let mut finder = source.discover_again_ms().is_some().then_some(Finder {
        source,
        tasks: senders,
        next_look,
    });
    let output = Input {
        node: Node::Source(index),
        port: Port::Main,
    };
    let fields = needs::fields_behind(assembly.plan(), output);
    let times = |partition: u32| {
        restored
            .and_then(|r| r.snapshot.partition(index, partition))
            .cloned()
    };
    let reader = |(arrivals, ended): (Receiver<Box<dyn PartitionReader>>, Vec<ReadPosition>)| {
        let mut reader = Reader::new(
            plan.clone(),
            index,
            finder.take(),
            arrivals,
            assembly.names().clone(),
            fields.clone(),
        );
        reader.restore(ended, &times);
        reader
    };
    Ok(arrivals.into_iter().zip(ended).map(reader).collect())
}
