//! Keeps a running job's checkpoints: starts epochs, gathers what tasks report, and watches how old the last one is.
//! `commit` makes them last.
//!
//! The order of a checkpoint, which is what makes output exactly once:
//! 1. every task reports its state, and its sinks have closed their parts (synced, hidden);
//! 2. files of state are written and synced;
//! 3. the manifest gets its name: from here on the checkpoint counts, unless
//! 4. the job's epochs are committed by Kafka transactions: then it counts once its transaction is committed;
//! 5. parts are published, by renames that may be repeated;
//! 6. older checkpoints and their files are removed.
//!
//! A crash before the commit leaves the checkpoint before; after it, recovery repeats 5 from the manifest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};

use super::commit::{CheckpointStatus, Committer, Order, StoreWait};
use super::commit_point::CommitPoint;
use super::savepoint::Asked;
use crate::checkpoint::manifest::{Manifest, PartitionPosition, PreparedSink};
use crate::checkpoint::{CheckpointStore, FORMAT_VERSION, JobIdentity};
use crate::config::plan::CheckpointPlan;
use crate::job::times;
use crate::runtime::assemble::Assembly;
use crate::runtime::epochs::Epochs;
use crate::runtime::task::TaskError;
use crate::runtime::worker::TaskReport;
use crate::sink::Sink;
use crate::source::Committed;
use crate::time::{Clock, Stopwatch};

/// How often the keeper looks whether an epoch is due.
const LOOK: Duration = Duration::from_millis(20);

/// How long a job that failed lets a commit under way end.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// How long a job that is over waits until its place is free for another start. A store that hangs may not free it at all.
const LET_GO: Duration = Duration::from_secs(1);

/// What the keeper of a job's checkpoints has.
pub struct Keeper {
    /// The job.
    pub assembly: Arc<Assembly>,
    /// Whose checkpoints they are.
    pub identity: JobIdentity,
    /// The run that takes them.
    pub run: String,
    /// Where they go; taken when it runs.
    pub store: Option<CheckpointStore>,
    /// When, how many.
    pub plan: CheckpointPlan,
    /// The clock of the job.
    pub clock: Clock,
    /// Take the first checkpoint at once: until it is there, a restart would begin with something else.
    pub due_at_once: bool,
    /// The epoch that reading tasks should end next.
    pub epochs: Epochs,
    /// How they stand; for reports.
    pub status: Arc<CheckpointStatus>,
    /// Sinks, by number in the graph, where they take part in checkpoints.
    pub sinks: Vec<Option<Arc<dyn Sink>>>,
    /// Where epochs are committed.
    pub commit: Arc<CommitPoint>,
    /// Who hears of positions, by source.
    pub committed: Vec<Option<Arc<dyn Committed>>>,
    /// Who wants savepoints.
    pub savepoints: Receiver<Asked>,
    /// Told to tasks: whether what they report now should hold everything.
    pub whole: Arc<AtomicBool>,
    /// Stops the job.
    pub stop: Box<dyn Fn() + Send>,
    /// From the tasks. Closed when all are gone.
    pub reports: Receiver<TaskReport>,
}

#[derive(Default)]
struct Gathered {
    /// Reports of the epoch under way, by (stage, task).
    epoch: BTreeMap<(usize, usize), TaskReport>,
    /// Last reports of tasks that are over.
    over: BTreeMap<(usize, usize), TaskReport>,
}

impl Gathered {
    /// Whether each task has a word for the epoch under way. One that is over without having seen the barrier
    /// ended before it: its last word holds.
    fn complete(&self, tasks: usize) -> bool {
        let only_over = self
            .over
            .keys()
            .filter(|at| !self.epoch.contains_key(at))
            .count();
        self.epoch.len() + only_over == tasks
    }
}

impl Keeper {
    /// Works until the job is over. An error ends the job.
    pub fn run(mut self) -> Result<(), TaskError> {
        // Dropped at the end, however it comes: the committer stops trying.
        let (waiting, given_up) = bounded(0);
        let (orders, ordered) = bounded(1);
        let (done, committed) = bounded(1);
        let committer = Committer {
            assembly: Arc::clone(&self.assembly),
            identity: self.identity.clone(),
            run: self.run.clone(),
            store: self.store.take().expect("the keeper runs once"),
            keep: self.plan.keep,
            clock: self.clock.clone(),
            sinks: std::mem::take(&mut self.sinks),
            commit: Arc::clone(&self.commit),
            committed: std::mem::take(&mut self.committed),
            status: Arc::clone(&self.status),
            orders: ordered,
            done,
            given_up,
        };
        std::thread::Builder::new()
            .name(format!("{}/store", self.identity.job))
            .spawn(move || committer.run())
            .map_err(|e| TaskError::Host(format!("cannot start a thread: {e}")))?;
        let ending = self.keep(&orders, &committed);
        drop((waiting, orders));
        // Who starts the job again when it hears of the end must not find its folder taken, by this very process.
        let over = Stopwatch::start();
        while let Some(left) = LET_GO.checked_sub(over.elapsed()) {
            if let Err(RecvTimeoutError::Disconnected) = committed.recv_timeout(left) {
                break;
            }
        }
        ending
    }

    /// The same, with a committer at work.
    fn keep(
        &mut self,
        orders: &Sender<Order>,
        committed: &Receiver<Result<(), TaskError>>,
    ) -> Result<(), TaskError> {
        let tasks = self.assembly.graph().stages.len() * self.assembly.parallelism();
        let mut gathered = Gathered::default();
        let (mut under_way, mut last_start) = (None, self.clock.now());
        self.status.taken_at.store(last_start, Ordering::Relaxed);
        if self.due_at_once {
            last_start = last_start.saturating_sub(self.plan.every_ms);
        }
        let mut committing = None;
        // Savepoints that the next order is for.
        let mut asked: Vec<Asked> = Vec::new();
        let gone = || {
            TaskError::Host("the thread that stores checkpoints is gone (a bug of the host)".into())
        };
        loop {
            select! {
                recv(self.reports) -> report => match report {
                    Ok(report) => take(report, under_way, &mut gathered),
                    // All tasks are gone. Not all with a last word: the job failed, and its last checkpoint stands.
                    Err(_) if gathered.over.len() < tasks => {
                        return match committing {
                            Some(_) => committed.recv_timeout(LAST_COMMIT).unwrap_or(Ok(())),
                            None => Ok(()),
                        };
                    }
                    // The last checkpoint is on its way.
                    Err(_) => match committed.recv_timeout(LOOK) {
                        Ok(answer) => {
                            answer?;
                            if committing.take() == Some(Last(true)) {
                                return Ok(());
                            }
                        }
                        Err(e) if e.is_timeout() => {}
                        Err(_) => return Err(gone()),
                    },
                },
                recv(committed) -> answer => {
                    answer.map_err(|_| gone())??;
                    under_way = None;
                    if committing.take() == Some(Last(true)) {
                        return Ok(());
                    }
                },
                default(LOOK) => {}
            }
            let now = self.clock.now();
            if committing.is_none() {
                let is_last = gathered.over.len() == tasks;
                let epoch = match under_way {
                    _ if is_last => Some(self.epochs.wanted() + 1),
                    Some(epoch) if gathered.complete(tasks) => Some(epoch),
                    _ => None,
                };
                if let Some(epoch) = epoch {
                    let started = if under_way.is_some() { last_start } else { now };
                    let order = Order {
                        asked: std::mem::take(&mut asked),
                        ..self.order(epoch, started, is_last, &mut gathered)
                    };
                    self.whole.store(false, Ordering::Release);
                    orders.send(order).map_err(|_| gone())?;
                    committing = Some(Last(is_last));
                }
            }
            let age = now.saturating_sub(self.status.taken_at.load(Ordering::Relaxed));
            if let Some(max) = self.plan.max_age_ms.filter(|&max| age > max) {
                let why = self.status.waits.lock().as_ref().map(StoreWait::words);
                let message = format!(
                    "the last checkpoint is {age} ms old, older than checkpoint.max-age ({max} ms){}",
                    why.map(|why| format!("; {why}")).unwrap_or_default()
                );
                return Err(TaskError::Host(message));
            }
            let is_idle = under_way.is_none() && committing.is_none() && asked.is_empty();
            if is_idle {
                asked.extend(self.savepoints.try_iter());
            }
            if is_idle && !asked.is_empty() {
                self.whole.store(true, Ordering::Release);
                if asked.iter().any(|a| a.request.stop) {
                    // The last checkpoint is the savepoint: nothing is read behind it.
                    (self.stop)();
                } else {
                    last_start = now;
                    under_way = Some(self.epochs.want_next());
                }
            }
            if is_idle && asked.is_empty() && now.saturating_sub(last_start) >= self.plan.every_ms {
                last_start = now;
                under_way = Some(self.epochs.want_next());
            }
        }
    }

    /// Gathered reports as something to commit.
    fn order(&self, epoch: u64, started: i64, is_last: bool, gathered: &mut Gathered) -> Order {
        let (mut prepared, mut pieces) = (Vec::new(), Vec::new());
        let mut reports = std::mem::take(&mut gathered.epoch);
        let mut take = |report: &mut TaskReport| {
            self.take_prepared(report, &mut prepared);
            let of = report.epoch.unwrap_or(epoch);
            pieces.push((of, report.task, std::mem::take(&mut report.pieces)));
        };
        if is_last {
            // An epoch that no one waits for any more: its parts, and what it tells of state, are part of the last one.
            reports.values_mut().for_each(&mut take);
            reports.clear();
        }
        for (at, report) in &mut gathered.over {
            if !reports.contains_key(at) {
                take(report);
            }
        }
        reports.values_mut().for_each(take);
        let over = gathered
            .over
            .iter()
            .filter(|(at, _)| !reports.contains_key(at))
            .map(|(_, r)| r);
        let all: Vec<&TaskReport> = reports.values().chain(over).collect();
        let mut manifest = Manifest {
            format: FORMAT_VERSION,
            epoch,
            taken_at: self.clock.now(),
            identity: self.identity.clone(),
            run: self.run.clone(),
            finished: is_last && all.iter().all(|r| r.finished),
            files: Vec::new(),
            positions: Vec::new(),
            times: BTreeMap::new(),
            prepared,
            transaction: self.commit.note(),
        };
        for report in &all {
            self.describe(report, &mut manifest);
        }
        Order {
            started,
            gathered: self.clock.now(),
            manifest,
            pieces,
            asked: Vec::new(),
            is_last,
        }
    }

    /// Parts belong to the manifest that has the state behind them, and to no earlier one.
    fn take_prepared(&self, report: &mut TaskReport, into: &mut Vec<PreparedSink>) {
        for (sink, parts) in std::mem::take(&mut report.prepared) {
            let name = self.assembly.sink_name(&self.assembly.graph().sinks[sink]);
            into.push(PreparedSink {
                sink: name,
                task: report.task,
                parts,
            });
        }
    }

    fn describe(&self, report: &TaskReport, manifest: &mut Manifest) {
        let plan = self.assembly.plan();
        for (step, tracker) in report.snapshot.trackers() {
            // Tasks of a step see the same times at a barrier; the first one's word is as good as another's.
            let name = plan.steps[usize::from(step)].name.clone();
            manifest
                .times
                .entry(name)
                .or_insert_with(|| json(&times::of_step(plan, step, tracker)));
        }
        for read in &report.positions {
            let times = report.snapshot.partition(read.source, read.partition);
            manifest.positions.push(PartitionPosition {
                source: plan.sources[usize::from(read.source)].name.clone(),
                partition: read.partition,
                name: read.name.clone(),
                position: read.position.0.clone(),
                ended: read.ended,
                times: times.map_or(serde_json::Value::Null, |t| {
                    json(&times::of_partition(plan, t))
                }),
            });
        }
    }
}

/// Whether what is being committed is the job's last checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Last(bool);

/// Keeps a report. One for an epoch that is not under way (any more) cannot come: a new one starts when the last is
/// written.
fn take(report: TaskReport, under_way: Option<u64>, gathered: &mut Gathered) {
    let at = (report.stage, report.task);
    if report.epoch.is_none() {
        gathered.over.insert(at, report);
    } else if report.epoch == under_way {
        gathered.epoch.insert(at, report);
    }
}

/// Times as the manifest has them.
fn json(times: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(times).expect("times are plain data")
}
