//! Drives the tasks of a job by hand: the same stages and tasks as `run`, without threads, in a fixed order,
//! with time that stands still between lines.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow_array::{Array, BinaryArray, Int64Array};

use crate::config::plan::Plan;
use crate::format;
use crate::plugin::Rejected;
use crate::record::{Batch, Form, NodeIndex, Origin, Origins, Value};
use crate::runtime::assemble::Assembly;
use crate::runtime::message::{Message, Tag};
use crate::runtime::operators::{too_far_ahead, without};
use crate::runtime::snapshot::{JobSnapshot, TaskChains, pieces};
use crate::runtime::task::{Task, TaskError};
use crate::script::collect::Collector;
use crate::script::line::{Control, ScriptRecord};
use crate::state::{Chain, Extent, Stored};
use crate::step::{Progress, WholeFiring};
use crate::time::Watermark;

/// A job in the driver's hands.
pub struct Driver {
    plan: Arc<Plan>,
    assembly: Assembly,
    collector: Collector,
    parallelism: usize,
    tasks: Vec<Vec<Task>>,
    /// Records since the last boundary, by partition, in the order of the partitions' first ones.
    waiting: Vec<((NodeIndex, u32), Vec<ScriptRecord>)>,
    script: ScriptState,
    told: Told,
}

/// What tasks told of their state since the last start, at each checkpoint only what had changed: as in a running job.
#[derive(Default)]
struct Told {
    /// By stage and task.
    sizes: BTreeMap<(usize, usize), TaskChains>,
    /// By step and task.
    chains: BTreeMap<(NodeIndex, usize), Chain>,
}

/// What the driver itself remembers over a restart.
#[derive(Clone, Debug, Default)]
struct ScriptState {
    now: Option<i64>,
    /// Those that exist.
    partitions: BTreeMap<(NodeIndex, u32), ScriptPartition>,
}

#[derive(Clone, Copy, Debug)]
struct ScriptPartition {
    /// Records taken so far.
    taken: u64,
    /// `now` at its last record (its first line, where there was none yet).
    heard: i64,
}

/// A point to go back to.
#[derive(Clone)]
pub struct Checkpoint {
    snapshot: Option<JobSnapshot>,
    script: ScriptState,
}

impl Driver {
    /// A fresh job.
    pub fn new(
        plan: Arc<Plan>,
        assembly: Assembly,
        collector: Collector,
        parallelism: usize,
    ) -> Result<Driver, TaskError> {
        let mut driver = Driver {
            plan,
            assembly,
            collector,
            parallelism,
            tasks: Vec::new(),
            waiting: Vec::new(),
            script: ScriptState::default(),
            told: Told::default(),
        };
        driver.build(None)?;
        Ok(driver)
    }

    /// The point at which nothing has happened yet.
    pub fn start_point() -> Checkpoint {
        Checkpoint {
            snapshot: None,
            script: ScriptState::default(),
        }
    }

    /// Makes the tasks, and gives them back what they knew.
    fn build(&mut self, restored: Option<&JobSnapshot>) -> Result<(), TaskError> {
        self.assembly.set_parallelism(self.parallelism);
        self.tasks.clear();
        self.told = Told::default();
        let collector = self.collector.clone();
        let names: Vec<String> = self
            .assembly
            .graph()
            .sinks
            .iter()
            .map(|s| self.assembly.sink_name(s))
            .collect();
        let sinks = |number: usize, _: usize| Ok(collector.writer(&names[number]));
        for stage in 0..self.assembly.graph().stages.len() {
            let tasks = (0..self.parallelism).map(|index| self.assembly.task(stage, index, &sinks));
            self.tasks.push(tasks.collect::<Result<_, _>>()?);
        }
        let now = self.script.now.unwrap_or(i64::MIN);
        for (index, task) in self
            .tasks
            .iter_mut()
            .flat_map(|tasks| tasks.iter_mut().enumerate())
        {
            task.set_now(now);
            if let Some(snapshot) = restored {
                snapshot.restore(task, index, self.parallelism)?;
            }
        }
        for (source, partition) in self.script.partitions.keys().copied().collect::<Vec<_>>() {
            let owner = self.owner(source, partition);
            owner.add_partition(partition);
            if let Some(before) = restored.and_then(|s| s.partition(source, partition)) {
                owner.restore_partition(partition, before);
            }
        }
        for stage in 0..self.tasks.len() {
            for index in 0..self.parallelism {
                self.tasks[stage][index].announce();
                self.deliver(stage, index)?;
            }
        }
        if let Some(snapshot) = restored {
            let now = self.script.now.unwrap_or(0);
            for task in self.tasks.iter_mut().flatten() {
                task.resume(now, |step| snapshot.tracker(step));
            }
            return Ok(());
        }
        // Steps learn what time it is before the first record.
        self.boundary(false)
    }

    fn owner(&mut self, source: NodeIndex, partition: u32) -> &mut Task {
        let index = partition as usize % self.parallelism;
        &mut self.tasks[usize::from(source)][index]
    }

    /// Number of a source of the plan.
    fn source(&self, name: &str) -> Result<NodeIndex, DriverError> {
        let at = self.plan.sources.iter().position(|s| s.name == name);
        at.map(|i| i as NodeIndex).ok_or_else(|| {
            let names: Vec<&str> = self.plan.sources.iter().map(|s| s.name.as_str()).collect();
            DriverError::Script(format!(
                "the job has no source {name:?}: it has {}",
                names.join(", ")
            ))
        })
    }

    /// A record waits for the next boundary.
    pub fn record(&mut self, record: ScriptRecord) -> Result<(), DriverError> {
        let id = (self.source(&record.source)?, record.partition);
        self.exists(id);
        let now = self.script.now.unwrap_or(0);
        if let Some(partition) = self.script.partitions.get_mut(&id) {
            partition.heard = now;
        }
        match self.waiting.iter_mut().find(|(at, _)| *at == id) {
            Some((_, records)) => records.push(record),
            None => self.waiting.push((id, vec![record])),
        }
        Ok(())
    }

    fn exists(&mut self, id: (NodeIndex, u32)) {
        if self.script.partitions.contains_key(&id) {
            return;
        }
        let heard = self.script.now.unwrap_or(0);
        let fresh = ScriptPartition { taken: 0, heard };
        self.script.partitions.insert(id, fresh);
        self.owner(id.0, id.1).add_partition(id.1);
    }

    /// A control line. `Checkpoint` and `Restart` are the caller's: `checkpoint` and `restart`.
    pub fn control(&mut self, control: &Control) -> Result<(), DriverError> {
        self.flush()?;
        match control {
            Control::Flush | Control::Checkpoint | Control::Restart { .. } => return Ok(()),
            Control::Watermark {
                source,
                partition,
                watermark,
            } => {
                let source = self.source(source)?;
                self.exists((source, *partition));
                self.owner(source, *partition)
                    .set_watermark(*partition, Watermark(*watermark));
            }
            Control::Idle {
                source,
                partition,
                idle,
            } => {
                let source = self.source(source)?;
                self.exists((source, *partition));
                let owner = self.owner(source, *partition);
                if *idle {
                    owner.idle_partition(*partition);
                } else {
                    owner.wake_partition(*partition);
                }
            }
            Control::Partitions { source, partitions } => {
                let source = self.source(source)?;
                (0..*partitions).for_each(|partition| self.exists((source, partition)));
            }
            Control::Now(now) => {
                if self.script.now.is_some_and(|before| before > *now) {
                    return Err(DriverError::Script(
                        "processing time does not go back".into(),
                    ));
                }
                self.script.now = Some(*now);
                let tasks = self.tasks.iter_mut().flatten();
                tasks.for_each(|task| task.set_now(*now));
                for ((source, number), partition) in self.script.partitions.clone() {
                    let silent = now.saturating_sub(partition.heard);
                    self.owner(source, number).silent_partition(number, silent);
                }
            }
            Control::End => {
                for (source, partition) in
                    self.script.partitions.keys().copied().collect::<Vec<_>>()
                {
                    self.owner(source, partition).end_partition(partition);
                }
                return Ok(self.boundary(true)?);
            }
        }
        Ok(self.boundary(false)?)
    }

    /// All that came so far is one boundary.
    pub fn flush(&mut self) -> Result<(), DriverError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        for (sequence, (id, records)) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            self.hand_in(id, sequence as u64, &records)?;
        }
        Ok(self.boundary(false)?)
    }

    fn hand_in(
        &mut self,
        id: (NodeIndex, u32),
        sequence: u64,
        records: &[ScriptRecord],
    ) -> Result<(), DriverError> {
        let partition = self
            .script
            .partitions
            .get_mut(&id)
            .expect("a partition exists from its first line");
        let first = partition.taken;
        partition.taken += records.len() as u64;
        let (mut batch, rejected) = self.assign(id, first, records);
        let tag = Tag {
            lane: 0,
            sequence,
            row: 0,
            partition: Some(id),
        };
        if let Some(now) = self.script.now {
            self.owner(id.0, id.1).set_now(now);
        }
        let good = without(batch.len, &rejected);
        if !rejected.is_empty() {
            self.owner(id.0, id.1)
                .on_bad_records(tag, &batch, &rejected)?;
        }
        if let Some(rows) = good {
            batch = batch.take(&rows);
        }
        Ok(self.owner(id.0, id.1).on_source_batch(tag, batch)?)
    }

    /// Records as a batch, with keys and timestamps from the source's pointers where lines give none.
    fn assign(
        &self,
        id: (NodeIndex, u32),
        first: u64,
        records: &[ScriptRecord],
    ) -> (Batch, Vec<Rejected>) {
        let source = &self.plan.sources[usize::from(id.0)];
        let values = BinaryArray::from_iter(records.iter().map(|r| r.value.as_deref()));
        let mut batch = Batch::of(records.len(), Value::new(Form::Bytes(values)));
        batch.origins = Origins::Run(Origin {
            source: id.0,
            partition: id.1,
            offset: first,
        });
        let mut rejected: Vec<Rejected> = Vec::new();
        let mut keys: Vec<Option<Vec<u8>>> =
            records.iter().map(|r| r.key.clone().flatten()).collect();
        if let Some(pointers) = source
            .key
            .as_ref()
            .filter(|_| records.iter().any(|r| r.key.is_none()))
        {
            let (found, bad) = format::keys(&mut batch, pointers);
            rejected.extend(
                bad.into_iter()
                    .filter(|b| records[b.row as usize].key.is_none()),
            );
            for (row, key) in keys
                .iter_mut()
                .enumerate()
                .filter(|(row, _)| records[*row].key.is_none())
            {
                *key = (!found.is_null(row)).then(|| found.value(row).to_vec());
            }
        }
        let mut times: Vec<Option<i64>> = records.iter().map(|r| r.timestamp.flatten()).collect();
        if let Some(spec) = source
            .timestamp
            .as_ref()
            .filter(|_| records.iter().any(|r| r.timestamp.is_none()))
        {
            let (found, bad) = format::timestamps(&mut batch, spec);
            rejected.extend(
                bad.into_iter()
                    .filter(|b| records[b.row as usize].timestamp.is_none()),
            );
            for (row, time) in times
                .iter_mut()
                .enumerate()
                .filter(|(row, _)| records[*row].timestamp.is_none())
            {
                *time = (!found.is_null(row)).then(|| found.value(row));
            }
        }
        if keys.iter().any(Option::is_some) {
            batch.keys = Some(BinaryArray::from_iter(keys));
        }
        if times.iter().any(Option::is_some) {
            batch.timestamps = Some(Int64Array::from(times));
        }
        let ahead = source.event_time.and_then(|e| e.max_ahead_ms);
        rejected.extend(too_far_ahead(
            &batch,
            ahead,
            self.script.now.unwrap_or(i64::MIN),
        ));
        rejected.sort_by_key(|r| r.row);
        rejected.dedup_by_key(|r| r.row);
        (batch, rejected)
    }

    /// Runs all stages, each whole before the ones behind it, so that one boundary is the same for every step.
    fn boundary(&mut self, end: bool) -> Result<(), TaskError> {
        let now = self.script.now.unwrap_or(0);
        for stage in 0..self.tasks.len() {
            let mut open: Vec<usize> = (0..self.parallelism).collect();
            while !open.is_empty() {
                // Every task up to the point at which its next step puts out …
                let mut done = Vec::new();
                for &index in &open {
                    while self.tasks[stage][index].about_to_fire().is_none()
                        && self.tasks[stage][index].waits_for_the_others().is_none()
                    {
                        if self.go_on(stage, index, now, end)? {
                            done.push(index);
                            break;
                        }
                    }
                }
                open.retain(|index| !done.contains(index));
                let waits = |&index: &usize| self.tasks[stage][index].waits_for_the_others();
                if let Some(slot) = open.iter().find_map(waits) {
                    self.row_by_row(stage, slot)?;
                    continue;
                }
                self.agree(stage, &open, now, end)?;
                // … then that step, in each of them.
                for &index in &open {
                    let slot = self.tasks[stage][index].about_to_fire();
                    while slot.is_some() && self.tasks[stage][index].about_to_fire() == slot {
                        if self.go_on(stage, index, now, end)? {
                            done.push(index);
                            break;
                        }
                    }
                }
                open.retain(|index| !done.contains(index));
            }
        }
        Ok(())
    }

    /// One call of a task; whether it is done with the boundary.
    fn go_on(
        &mut self,
        stage: usize,
        index: usize,
        now: i64,
        end: bool,
    ) -> Result<bool, TaskError> {
        let progress = self.tasks[stage][index].boundary(now, end)?;
        self.deliver(stage, index)?;
        Ok(progress == Progress::Done)
    }

    /// The tasks of a step in complete mode put everything out together.
    fn agree(
        &mut self,
        stage: usize,
        tasks: &[usize],
        now: i64,
        end: bool,
    ) -> Result<(), TaskError> {
        let first = tasks.first().map(|&task| &self.tasks[stage][task]);
        let Some(slot) = first.and_then(Task::about_to_fire) else {
            return Ok(());
        };
        let mut all = WholeFiring::default();
        for &task in tasks {
            let own = self.tasks[stage][task].whole_firing(slot, now, end)?;
            all.changed |= own.changed;
            all.due |= own.due;
        }
        if all.changed && all.due {
            for &task in tasks {
                if let Some(step) = self.tasks[stage][task].slots_mut()[slot].step.as_whole() {
                    step.fire_at_boundary();
                }
            }
        }
        Ok(())
    }

    /// Where a record makes a step put out everything inside a batch, the tasks take their records one by one, in
    /// the order that they would have in one task, and each sees what the others have kept so far.
    fn row_by_row(&mut self, stage: usize, slot: usize) -> Result<(), TaskError> {
        let mut rows = Vec::new();
        for (index, task) in self.tasks[stage].iter_mut().enumerate() {
            for (input, tag, batch) in task.take_pending(slot) {
                for row in 0..batch.len as u32 {
                    let place = (input, tag.lane, tag.sequence, tag.row + row);
                    rows.push((place, index, batch.take(&[row])));
                }
            }
        }
        rows.sort_by_key(|(place, ..)| *place);
        for (place, index, batch) in rows {
            let fired = self.tasks[stage][index].take_row(slot, place.0, batch)?;
            self.deliver(stage, index)?;
            for other in (0..self.parallelism).filter(|other| fired && *other != index) {
                self.tasks[stage][other].fire_now(slot)?;
                self.deliver(stage, other)?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, from_stage: usize, from: usize) -> Result<(), TaskError> {
        let mut outbox: VecDeque<_> = self.tasks[from_stage][from].take_outbox().into();
        while let Some(out) = outbox.pop_front() {
            let channel = self.assembly.channel(from_stage, from, out.stage);
            let targets = match out.task {
                Some(task) => task..task + 1,
                None => 0..self.parallelism,
            };
            for task in targets {
                let target = &mut self.tasks[out.stage][task];
                match out.message.clone() {
                    Message::Batch {
                        slot,
                        input,
                        tag,
                        batch,
                    } => target.on_records(slot, input, tag, batch)?,
                    Message::Times(updates) => target.on_times(channel, &updates),
                    Message::Barrier(_) | Message::End | Message::Stop => {}
                }
            }
        }
        Ok(())
    }

    /// This point, to go back to.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, DriverError> {
        let mut snapshot = JobSnapshot::default();
        for (stage, tasks) in self.tasks.iter_mut().enumerate() {
            for (index, task) in tasks.iter_mut().enumerate() {
                let sizes = self.told.sizes.entry((stage, index)).or_default();
                for piece in pieces(task, sizes, false).map_err(TaskError::Step)? {
                    let chain = self.told.chains.entry((piece.step, index)).or_default();
                    if piece.extent == Extent::Whole {
                        chain.parts.clear();
                    }
                    let bytes = piece.buffer.into_bytes();
                    let bytes = bytes.map_err(|e| TaskError::Host(e.to_string()))?;
                    let all = 0..bytes.len();
                    chain.parts.push(Stored::Here(bytes, all));
                }
                snapshot.add_times(task);
            }
        }
        for (&(step, _), chain) in &self.told.chains {
            snapshot.add_chain(step, chain.clone());
        }
        Ok(Checkpoint {
            snapshot: Some(snapshot),
            script: self.script.clone(),
        })
    }

    /// Drops everything and goes on from a checkpoint.
    pub fn restart(
        &mut self,
        from: &Checkpoint,
        parallelism: Option<usize>,
    ) -> Result<(), DriverError> {
        self.parallelism = parallelism.unwrap_or(self.parallelism);
        self.script = from.script.clone();
        self.waiting.clear();
        Ok(self.build(from.snapshot.as_ref())?)
    }
}

/// Why a script cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The script says something that cannot be.
    #[error("{0}")]
    Script(String),
    /// The job failed.
    #[error(transparent)]
    Job(#[from] TaskError),
}
