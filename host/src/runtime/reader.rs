//! The reading side of a task: which of its partitions to read next, and when one is idle.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::config::plan::{BatchLimits, FormatSpec, SourcePlan};
use crate::format::{self, Wanted};
use crate::plugin::Rejected;
use crate::record::{Batch, FieldSpec, Form, NodeIndex, Origins, Value};
use crate::runtime::message::Tag;
use crate::runtime::operators::{too_far_ahead, without};
use crate::runtime::policy::OriginNames;
use crate::runtime::silence::Silence;
use crate::runtime::task::{OwnedPartition, Task, TaskError};
use crate::source::{BadRecord, PartitionReader, Position, Read, Source};

/// Partitions of one task that are read side by side. More of them wait, in the source's order, until one ends:
/// each open one costs a buffer and a file descriptor.
const OPEN_PARTITIONS_MAX: usize = 256;

/// How far a partition was read.
#[derive(Clone, Debug)]
pub struct ReadPosition {
    /// Source of the plan.
    pub source: NodeIndex,
    /// Partition.
    pub partition: u32,
    /// What people call it: what it is found again by.
    pub name: String,
    /// How far.
    pub position: Position,
    /// To its end.
    pub ended: bool,
}

/// What a look at the partitions gave.
pub enum Polled {
    /// Records came and are in the task.
    Records,
    /// No records, but time moved (a partition ended or fell idle).
    Time,
    /// Nothing now; look again after so long.
    Nothing(Duration),
    /// All partitions ended and no more will come.
    End,
}

/// A task's partitions of a source.
pub struct Reader {
    /// The source's plan.
    pub plan: SourcePlan,
    /// Its place in the plan of the job.
    pub index: NodeIndex,
    /// Finds more partitions (first task only), and deals them to the tasks.
    pub finder: Option<Finder>,
    /// Partitions dealt to this task.
    pub arrivals: Receiver<Box<dyn PartitionReader>>,
    /// Names for messages.
    pub names: OriginNames,
    open: Vec<OpenPartition>,
    waiting: VecDeque<Box<dyn PartitionReader>>,
    /// Partitions that were read to their end.
    ended: Vec<ReadPosition>,
    /// The finder is gone, or was never more than the first look.
    complete: bool,
    sequence: u64,
    /// Fields that steps behind read.
    fields: Vec<FieldSpec>,
    /// Time of partitions that were read before, until they are opened.
    times: BTreeMap<u32, OwnedPartition>,
}

/// Looks for more partitions.
pub struct Finder {
    /// Where.
    pub source: Box<dyn Source>,
    /// One a task.
    pub tasks: Vec<Sender<Box<dyn PartitionReader>>>,
    /// When to look again, on the clock.
    pub next_look: i64,
}

struct OpenPartition {
    reader: Box<dyn PartitionReader>,
    /// Nothing is expected before (clock, milliseconds).
    ready_at: i64,
    silence: Silence,
}

impl Reader {
    /// With partitions still to come through `arrivals`.
    pub fn new(
        plan: SourcePlan,
        index: NodeIndex,
        finder: Option<Finder>,
        arrivals: Receiver<Box<dyn PartitionReader>>,
        names: OriginNames,
        fields: Vec<FieldSpec>,
    ) -> Reader {
        Reader {
            plan,
            index,
            finder,
            arrivals,
            names,
            open: Vec::new(),
            waiting: VecDeque::new(),
            ended: Vec::new(),
            complete: false,
            sequence: 0,
            fields,
            times: BTreeMap::new(),
        }
    }

    /// What is known from a checkpoint: partitions that ended before, and where each one's time stood.
    pub fn restore(
        &mut self,
        ended: Vec<ReadPosition>,
        times: &dyn Fn(u32) -> Option<OwnedPartition>,
    ) {
        let waiting: Vec<_> = self.arrivals.try_iter().collect();
        for reader in &waiting {
            if let Some(time) = times(reader.partition()) {
                self.times.insert(reader.partition(), time);
            }
        }
        self.waiting.extend(waiting);
        self.ended = ended;
    }

    /// Takes the partitions that were dealt to this task.
    pub fn adopt(&mut self, task: &mut Task) -> Result<(), TaskError> {
        loop {
            match self.arrivals.try_recv() {
                Ok(reader) => self.waiting.push_back(reader),
                Err(crossbeam_channel::TryRecvError::Empty) => break,
                Err(crossbeam_channel::TryRecvError::Disconnected) => {
                    self.complete = true;
                    break;
                }
            }
        }
        while self.open.len() < OPEN_PARTITIONS_MAX {
            let Some(reader) = self.waiting.pop_front() else {
                break;
            };
            self.names.name_partition(self.index, &*reader);
            task.add_partition(reader.partition());
            if let Some(time) = self.times.remove(&reader.partition()) {
                task.restore_partition(reader.partition(), &time);
            }
            self.open.push(OpenPartition {
                reader,
                ready_at: i64::MIN,
                silence: Silence::default(),
            });
        }
        Ok(())
    }

    /// Reads one batch: from the partition furthest behind in event time, so that windows close and state stays
    /// small however many there are.
    pub fn poll(
        &mut self,
        task: &mut Task,
        limits: &BatchLimits,
        now: i64,
    ) -> Result<Polled, TaskError> {
        self.look_for_more(now)?;
        self.adopt(task)?;
        let ready = self
            .open
            .iter()
            .enumerate()
            .filter(|(_, p)| p.ready_at <= now);
        let next = ready
            .min_by_key(|(_, p)| task.partition_watermark(p.reader.partition()))
            .map(|(i, _)| i);
        let Some(next) = next else {
            if self.open.is_empty() && self.waiting.is_empty() && self.complete {
                return Ok(Polled::End);
            }
            let wake = self
                .open
                .iter()
                .map(|p| p.ready_at)
                .min()
                .unwrap_or(i64::MAX);
            let wake = wake.min(self.finder.as_ref().map_or(i64::MAX, |f| f.next_look));
            return Ok(Polled::Nothing(Duration::from_millis(
                wake.saturating_sub(now).clamp(1, 1_000) as u64,
            )));
        };
        let partition = self.open[next].reader.partition();
        let read = self.open[next].reader.read(limits)?;
        self.tell(task, next);
        match read {
            Read::Batch(batch, bad) => {
                let at = &mut self.open[next];
                at.silence.end();
                self.sequence += 1;
                let tag = Tag {
                    row: 0,
                    lane: 0,
                    sequence: self.sequence,
                    partition: Some((self.index, partition)),
                };
                for record in bad {
                    let (batch, rejected) = as_batch(record);
                    task.on_bad_records(tag, &batch, &[rejected])?;
                }
                let (batch, mut rejected) = self.decode(batch, now);
                for bad in &mut rejected {
                    if let Some(origin) = batch.origins.get(bad.row as usize) {
                        let place = self.open[next].reader.locate(bad.row as usize, origin);
                        bad.message = format!("{place}: {}", bad.message);
                    }
                }
                let good = without(batch.len, &rejected);
                if !rejected.is_empty() {
                    task.on_bad_records(tag, &batch, &rejected)?;
                }
                let batch = match good {
                    None => batch,
                    Some(rows) => batch.take(&rows),
                };
                task.on_source_batch(tag, batch)?;
                Ok(Polled::Records)
            }
            Read::Pending(wait) => {
                let at = &mut self.open[next];
                let wait = i64::try_from(wait).unwrap_or(i64::MAX).max(1);
                at.ready_at = now.saturating_add(wait);
                let silent_ms = at.silence.asked(now, wait);
                if task.silent_partition(partition, silent_ms) {
                    return Ok(Polled::Time);
                }
                Ok(Polled::Nothing(Duration::ZERO))
            }
            Read::End => {
                // The next one in line holds time back before this one lets it go.
                let reader = self.open.remove(next).reader;
                let (name, position) = (reader.name().to_owned(), reader.position());
                self.ended.push(ReadPosition {
                    source: self.index,
                    partition,
                    name,
                    position,
                    ended: true,
                });
                self.adopt(task)?;
                task.end_partition(partition);
                Ok(Polled::Time)
            }
        }
    }

    /// What is known of a partition beside its records.
    fn tell(&mut self, task: &Task, open: usize) {
        let reader = &mut self.open[open].reader;
        for note in reader.take_notes() {
            task.counters().note(note);
        }
        if let Some(behind) = reader.lag() {
            let at = (self.index, reader.partition());
            task.counters().behind.lock().insert(at, behind);
        }
    }

    /// Keys, timestamps and the fields that steps behind ask for, all in one pass over the values.
    fn decode(&self, mut batch: Batch, now: i64) -> (Batch, Vec<Rejected>) {
        let wanted = Wanted {
            fields: &self.fields,
            key: self.plan.key.as_ref(),
            timestamp: self.plan.timestamp.as_ref(),
            documents: self.plan.format == FormatSpec::Json,
        };
        let mut rejected = format::decode(&mut batch, &wanted);
        let ahead = too_far_ahead(
            &batch,
            self.plan.event_time.and_then(|e| e.max_ahead_ms),
            now,
        );
        if !ahead.is_empty() {
            rejected.extend(ahead);
            rejected.sort_by_key(|r| r.row);
            rejected.dedup_by_key(|r| r.row);
        }
        (batch, rejected)
    }

    /// Where every partition stands that was read so far: in the order in which they were opened.
    pub fn positions(&self) -> Vec<ReadPosition> {
        let open = self.open.iter().map(|p| ReadPosition {
            source: self.index,
            partition: p.reader.partition(),
            name: p.reader.name().to_owned(),
            position: p.reader.position(),
            ended: false,
        });
        open.chain(self.ended.iter().cloned()).collect()
    }

    fn look_for_more(&mut self, now: i64) -> Result<(), TaskError> {
        let Some(finder) = &mut self.finder else {
            return Ok(());
        };
        let Some(again) = finder.source.discover_again_ms() else {
            self.finder = None;
            return Ok(());
        };
        if now < finder.next_look {
            return Ok(());
        }
        finder.next_look = now.saturating_add(again as i64);
        for reader in finder.source.discover()? {
            let task = reader.partition() as usize % finder.tasks.len();
            // A task that ended takes no more; the supervisor knows.
            let _ = finder.tasks[task].send(reader);
        }
        Ok(())
    }
}

/// Bytes that are no record, as one that can go to the errors port.
fn as_batch(bad: BadRecord) -> (Batch, Rejected) {
    let value = arrow_array::BinaryArray::from_vec(vec![bad.raw.as_slice()]);
    let mut batch = Batch::of(1, Value::new(Form::Bytes(value)));
    batch.origins = Origins::Run(bad.origin);
    (
        batch,
        Rejected {
            row: 0,
            ..bad.rejected
        },
    )
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
