//! A thread for each task: reads channels or partitions, drives the task, sends what it leaves.
//!
//! A worker computes only while it holds a CPU permit, and waits (for records, for room in a channel)
//! only while it holds none. It never touches another task's state: all that passes is a message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{
    Receiver, Select, SendError, Sender, TryRecvError, TrySendError, never, select,
};

use crate::config::plan::BatchLimits;
use crate::runtime::epochs::Epochs;
use crate::runtime::message::Message;
use crate::runtime::permits::{Permit, Permits};
use crate::runtime::reader::{Polled, ReadPosition, Reader};
use crate::runtime::snapshot::{JobSnapshot, StatePiece, TaskChains, pieces};
use crate::runtime::task::{Task, TaskError};
use crate::sink::SinkError;
use crate::step::{Progress, StepError};
use crate::time::Clock;

/// Messages that wait in one channel at most. Enough that a sender need not stop while its receiver works on a batch.
const CHANNEL_MESSAGES_MAX: usize = 8;

/// Fewer would make sender and receiver wait for each other in turns.
const CHANNEL_MESSAGES_MIN: usize = 2;

/// Batches' worth of records that wait before a task, in all its channels together, where that leaves each channel room
/// for `CHANNEL_MESSAGES_MIN`: a checkpoint's barrier waits for as many, and a slow step holds its sources back by no more.
const BATCHES_AHEAD: usize = 4;

/// Messages that may wait in each channel to a task. `senders`: tasks that send to it. `receivers`: tasks of its stage,
/// among which a batch is dealt.
pub fn channel_messages(senders: usize, receivers: usize) -> usize {
    let fair = BATCHES_AHEAD * receivers / senders.max(1);
    fair.clamp(CHANNEL_MESSAGES_MIN, CHANNEL_MESSAGES_MAX)
}

/// How often sinks hear of time (rolling parts), and idle workers look around, at the least.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How a worker ended. The supervisor acts on it.
#[derive(Debug)]
pub enum Ending {
    /// The input ended and everything was written.
    Finished,
    /// The job was stopped: what came before is written.
    Stopped,
    /// The task that it sends to is gone: that one's ending tells why.
    DownstreamGone,
    /// A task that it reads from is gone without a word: that one's ending tells why.
    UpstreamGone,
    /// Step, sink or source failed.
    Failed(TaskError),
    /// A bug of the host: the thread panicked.
    Panicked(String),
}

/// What workers of a job share.
#[derive(Clone)]
pub struct Shared {
    /// Processing time.
    pub clock: Clock,
    /// Who may compute.
    pub permits: Permits,
    /// When a batch is full.
    pub limits: BatchLimits,
    /// Disconnected when the job is to stop.
    pub stop: Receiver<std::convert::Infallible>,
    /// For jobs with checkpoints.
    pub checkpoints: Option<CheckpointLine>,
}

/// How workers and the keeper of checkpoints speak.
#[derive(Clone)]
pub struct CheckpointLine {
    /// The epoch that tasks which read sources should end next.
    pub epochs: Epochs,
    /// The reports that come now should hold everything, not what changed: a savepoint is to be made of them.
    pub whole: Arc<AtomicBool>,
    /// What each task remembers at the end of an epoch.
    pub reports: Sender<TaskReport>,
}

/// A task at the end of an epoch.
pub struct TaskReport {
    /// Its stage.
    pub stage: usize,
    /// Its number there.
    pub task: usize,
    /// The epoch; none: the last report of a task that is over.
    pub epoch: Option<u64>,
    /// Whether it is over because the input ended (rather than being stopped).
    pub finished: bool,
    /// State: each piece builds on the one of its step in the task's report before.
    pub pieces: Vec<StatePiece>,
    /// Time.
    pub snapshot: JobSnapshot,
    /// How far its partitions were read.
    pub positions: Vec<ReadPosition>,
    /// What its sinks prepared: sink of the graph, the sink's words.
    pub prepared: Vec<(usize, serde_json::Value)>,
}

impl Shared {
    /// Whether the job is to stop.
    pub fn stopping(&self) -> bool {
        matches!(self.stop.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Waits so long, or until the job is to stop, or `woken` speaks.
    pub fn pause(&self, time: Duration, woken: &Receiver<()>) {
        select! {
            recv(self.stop) -> _ => {}
            recv(woken) -> _ => {}
            default(time) => {}
        }
    }
}

/// A task with all that it needs on its thread.
pub struct Worker {
    /// Its stage.
    pub stage: usize,
    /// Its number there.
    pub index: usize,
    /// The task.
    pub task: Task,
    /// One channel per task upstream, in the order of channel numbers.
    pub inbox: Vec<Receiver<Message>>,
    /// For each stage downstream: a channel per task.
    pub outlets: BTreeMap<usize, Vec<Sender<Message>>>,
    /// For tasks that read a source.
    pub reader: Option<Reader>,
    /// What all share.
    pub shared: Shared,
    /// How its snapshots build on each other.
    pub chains: TaskChains,
    /// Whose turn it is among the channels: a fast sender does not hold the others up.
    pub turn: usize,
}

/// What ends a worker's loop early.
enum Halt {
    Error(TaskError),
    Gone,
}

impl<E: Into<TaskError>> From<E> for Halt {
    fn from(error: E) -> Halt {
        match error.into() {
            TaskError::Step(StepError::DownstreamGone) => Halt::Gone,
            error => Halt::Error(error),
        }
    }
}

impl Worker {
    /// Works until the end, on the calling thread.
    pub fn run(mut self) -> Ending {
        let result = match self.reader.take() {
            Some(mut reader) => self.read(&mut reader),
            None => self.receive(),
        };
        match result {
            Ok(ending) => ending,
            Err(Halt::Gone) => Ending::DownstreamGone,
            Err(Halt::Error(error)) => Ending::Failed(error),
        }
    }

    // ---- tasks that read a source --------------------------------------------------------------

    fn read(&mut self, reader: &mut Reader) -> Result<Ending, Halt> {
        reader.adopt(&mut self.task)?;
        self.task.announce();
        self.send(None)?;
        let line = self.shared.checkpoints.as_ref();
        let woken = line.map_or_else(never, |line| line.epochs.listen());
        let mut epoch = line.map_or(0, |line| line.epochs.begun());
        loop {
            if self.shared.stopping() {
                return self.finish(false, reader.positions());
            }
            let wanted = self.wanted_epoch();
            if wanted > epoch {
                epoch = wanted;
                self.end_epoch(epoch, reader.positions())?;
            }
            let permit = self.shared.permits.acquire();
            let now = self.shared.clock.now();
            self.task.set_now(now);
            match reader.poll(&mut self.task, &self.shared.limits, now)? {
                Polled::Records => drop(self.boundary(permit, now, false)?),
                Polled::Time => drop(self.boundary(permit, now, false)?),
                Polled::Nothing(wait) => {
                    drop(permit);
                    self.flush_sinks(now)?;
                    self.shared.pause(wait.min(HEARTBEAT), &woken);
                }
                Polled::End => {
                    drop(permit);
                    return self.finish(true, reader.positions());
                }
            }
        }
    }

    // ---- tasks that receive --------------------------------------------------------------------

    fn receive(&mut self) -> Result<Ending, Halt> {
        let mut open: Vec<usize> = (0..self.inbox.len()).collect();
        // Steps learn what time it is before the first record.
        let permit = self.shared.permits.acquire();
        let now = self.shared.clock.now();
        drop(self.boundary(permit, now, false)?);
        let mut stopped = false;
        // Channels that delivered the barrier of this epoch wait for the others: what comes behind it belongs to the next.
        let mut aligned: Vec<usize> = Vec::new();
        let mut epoch = 0;
        while !open.is_empty() {
            let mut next = self.wait(&open)?;
            let permit = self.shared.permits.acquire();
            let started = crate::time::Stopwatch::start();
            let mut permit = Some(permit);
            // Takes what is there, up to a batch or the latency bound: that is one boundary.
            while let Some((channel, received)) = next {
                match received {
                    Ok(Message::Batch {
                        slot,
                        input,
                        tag,
                        batch,
                    }) => {
                        self.task.set_now(self.shared.clock.now());
                        self.task.on_records(slot, input, tag, batch)?;
                        permit = Some(self.send_all(permit)?);
                    }
                    Ok(Message::Times(updates)) => self.task.on_times(channel as u32, &updates),
                    Ok(Message::Barrier(of)) => {
                        epoch = of;
                        open.retain(|&c| c != channel);
                        aligned.push(channel);
                    }
                    Ok(Message::End) => open.retain(|&c| c != channel),
                    Ok(Message::Stop) => {
                        stopped = true;
                        open.retain(|&c| c != channel);
                    }
                    Err(()) => return Ok(Ending::UpstreamGone),
                }
                let full = self.task.pending_records() >= self.shared.limits.records
                    || started.elapsed() >= Duration::from_millis(self.shared.limits.latency_ms);
                next = if full { None } else { self.poll(&open) };
            }
            let permit = permit.expect("sending gives the permit back");
            let now = self.shared.clock.now();
            drop(self.boundary(permit, now, false)?);
            if open.is_empty() && !aligned.is_empty() {
                self.end_epoch(epoch, Vec::new())?;
                open.append(&mut aligned);
                open.sort_unstable();
            }
        }
        self.finish(!stopped, Vec::new())
    }

    /// Waits for a message; none: time to look at the clock.
    #[expect(
        clippy::type_complexity,
        reason = "which channel, and its message or that it closed"
    )]
    fn wait(&mut self, open: &[usize]) -> Result<Option<(usize, Result<Message, ()>)>, Halt> {
        if let Some(found) = self.poll(open) {
            return Ok(Some(found));
        }
        let now = self.shared.clock.now();
        self.flush_sinks(now)?;
        let mut timeout = HEARTBEAT;
        if let Some(wakeup) = self.task.next_wakeup() {
            timeout = timeout.min(Duration::from_millis(
                wakeup.saturating_sub(now).max(0) as u64
            ));
        }
        let mut select = Select::new();
        for &channel in open {
            select.recv(&self.inbox[channel]);
        }
        match select.ready_timeout(timeout) {
            Ok(at) => Ok(match self.inbox[open[at]].try_recv() {
                Ok(message) => Some((open[at], Ok(message))),
                Err(TryRecvError::Disconnected) => Some((open[at], Err(()))),
                Err(TryRecvError::Empty) => None,
            }),
            Err(_) => Ok(None),
        }
    }

    /// A message that is there, from any channel, each in its turn.
    fn poll(&mut self, open: &[usize]) -> Option<(usize, Result<Message, ()>)> {
        for turn in 0..open.len() {
            let channel = open[(self.turn + turn) % open.len()];
            match self.inbox[channel].try_recv() {
                Ok(message) => {
                    self.turn = self.turn.wrapping_add(turn + 1);
                    return Some((channel, Ok(message)));
                }
                Err(TryRecvError::Disconnected) => return Some((channel, Err(()))),
                Err(TryRecvError::Empty) => {}
            }
        }
        None
    }

    // ---- both ----------------------------------------------------------------------------------

    /// A whole boundary; what it puts out is sent as it comes, without a permit.
    fn boundary(&mut self, permit: Permit, now: i64, end: bool) -> Result<Permit, Halt> {
        let mut permit = Some(permit);
        loop {
            let progress = self.task.boundary(now, end)?;
            permit = Some(self.send_all(permit)?);
            if progress == Progress::Done {
                return Ok(permit.expect("sending gives the permit back"));
            }
        }
    }

    fn send_all(&mut self, permit: Option<Permit>) -> Result<Permit, Halt> {
        if !self.task.has_outgoing() {
            return Ok(permit.expect("the caller holds a permit"));
        }
        self.send(permit)?;
        Ok(self.shared.permits.acquire())
    }

    fn send(&mut self, permit: Option<Permit>) -> Result<(), Halt> {
        drop(permit);
        for out in self.task.take_outbox() {
            let targets = &self.outlets[&out.stage];
            match out.task {
                Some(task) => send_to(&targets[task], out.message)?,
                None => {
                    for target in targets {
                        send_to(target, out.message.clone())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The epoch that should end next.
    fn wanted_epoch(&self) -> u64 {
        self.shared
            .checkpoints
            .as_ref()
            .map_or(0, |c| c.epochs.wanted())
    }

    /// Everything up to here belongs to the epoch: tells those behind, and what the task remembers. Those behind go
    /// first where there is room, so that they work on what waits before the barrier while this one's sinks sync.
    fn end_epoch(&mut self, epoch: u64, positions: Vec<ReadPosition>) -> Result<(), Halt> {
        let mut full = Vec::new();
        for target in self.outlets.values().flatten() {
            match target.try_send(Message::Barrier(epoch)) {
                Ok(()) => {}
                Err(TrySendError::Full(barrier)) => full.push((target.clone(), barrier)),
                Err(TrySendError::Disconnected(_)) => return Err(Halt::Gone),
            }
        }
        self.report(Some(epoch), false, positions)?;
        full.into_iter()
            .try_for_each(|(target, barrier)| send_to(&target, barrier))
    }

    fn report(
        &mut self,
        epoch: Option<u64>,
        finished: bool,
        positions: Vec<ReadPosition>,
    ) -> Result<(), Halt> {
        let Some(line) = &self.shared.checkpoints else {
            return Ok(());
        };
        let mut prepared = Vec::new();
        for (number, sink) in self.task.sinks_mut() {
            sink.flush()?;
            let parts = sink.prepare(epoch.unwrap_or_else(|| line.epochs.wanted() + 1))?;
            if !parts.is_null() {
                prepared.push((number, parts));
            }
        }
        let whole = line.whole.load(Ordering::Acquire);
        let pieces = pieces(&mut self.task, &mut self.chains, whole)?;
        let mut snapshot = JobSnapshot::default();
        snapshot.add_times(&mut self.task);
        let report = TaskReport {
            stage: self.stage,
            task: self.index,
            epoch,
            finished,
            pieces,
            snapshot,
            positions,
            prepared,
        };
        // Without anyone to take it, the job is ending: its ending tells why.
        line.reports.send(report).map_err(|_| Halt::Gone)
    }

    /// The last boundary. `end`: the input is over, everything closes; else the job was stopped.
    fn finish(&mut self, end: bool, positions: Vec<ReadPosition>) -> Result<Ending, Halt> {
        let permit = self.shared.permits.acquire();
        let now = self.shared.clock.now();
        drop(self.boundary(permit, now, end)?);
        if self.shared.checkpoints.is_some() {
            self.report(None, end, positions)?;
        } else {
            for (_, sink) in self.task.sinks_mut() {
                sink.flush()?;
                let parts = sink.prepare(0)?;
                sink.commit(0, &parts)?;
            }
        }
        for targets in self.outlets.values() {
            for target in targets {
                send_to(target, if end { Message::End } else { Message::Stop })?;
            }
        }
        Ok(if end {
            Ending::Finished
        } else {
            Ending::Stopped
        })
    }

    fn flush_sinks(&mut self, now: i64) -> Result<(), SinkError> {
        for (_, sink) in self.task.sinks_mut() {
            sink.flush()?;
            sink.on_time(now)?;
        }
        Ok(())
    }
}

fn send_to(target: &Sender<Message>, message: Message) -> Result<(), Halt> {
    target.send(message).map_err(|SendError(_)| Halt::Gone)
}

/// Runs a worker on a thread of its own and tells the supervisor how it ended, panics included.
pub fn spawn(
    name: String,
    worker: Worker,
    endings: Sender<(String, Ending)>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            let ending = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.run()));
            let ending = ending.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
                Ending::Panicked(
                    text.or_else(|| panic.downcast_ref::<String>().cloned())
                        .unwrap_or_else(|| "no message".into()),
                )
            });
            let _ = endings.send((name, ending));
        })
}

/// A pair for `Shared::stop`: dropping the sender stops the job.
pub fn stop_channel() -> (
    Sender<std::convert::Infallible>,
    Receiver<std::convert::Infallible>,
) {
    crossbeam_channel::bounded(0)
}
