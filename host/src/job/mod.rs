//! A running job behind a handle: start, stop, status, wait. Any number of them live in one process.
//!
//! This module starts threads and says how a job ended; what tasks do is `runtime`'s.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use crate::checkpoint::Claim;
use crate::config::{Plan, Redactor};
use crate::runtime::assemble::{Assembly, AssemblySettings};
use crate::runtime::epochs::Epochs;
use crate::runtime::permits::{Pace, Permits};
use crate::runtime::task::TaskError;
use crate::runtime::worker::{self, CheckpointLine, Ending, Shared};
use crate::sink::kafka::Transactions;
use crate::sink::{Console, Sink};
use crate::time::{Clock, Stopwatch};

use checkpoints::Keeper;
use commit::CheckpointStatus;
pub use commit::{StoreWait, Took};
use commit_point::CommitPoint;
pub use commit_point::Known;
use recover::Recovery;
pub(crate) use recover::new_id;
pub use savepoint::{NoSavepoint, Savepoint, SavepointRequest, Savepoints};

mod chains;
mod checkpoints;
mod commit;
mod commit_point;
mod identity;
pub mod inspect;
mod recover;
pub mod report;
pub mod reporting;
mod savepoint;
mod sinks;
mod start;
mod times;

/// What a job runs with beside its plan.
#[derive(Clone)]
pub struct Environment {
    /// Processing time.
    pub clock: Clock,
    /// CPU permits, shared by all jobs of the process.
    pub permits: Permits,
    /// Standard output, for console sinks.
    pub console: Console,
    /// What to go on from.
    pub restore: Restore,
    /// Sources and steps whose positions or state need not be kept when the job has changed.
    pub forget: BTreeSet<String>,
    /// A new plugin instance for every call: slow, and every result must stay the same.
    pub paranoid: bool,
    /// What this process knew of the job's transactions, where it starts the job anew.
    pub before: Option<Known>,
}

impl Environment {
    /// The machine's clock, cores and standard output.
    pub fn system() -> Environment {
        Environment {
            clock: Clock::System,
            permits: Permits::per_core(),
            console: Console::stdout(),
            restore: Restore::Latest,
            forget: BTreeSet::new(),
            paranoid: false,
            before: None,
        }
    }
}

/// What a job with checkpoints goes on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Restore {
    /// The latest checkpoint, if there is one.
    #[default]
    Latest,
    /// Nothing: it starts empty.
    None,
    /// A savepoint's folder or a checkpoint's manifest, wherever it is.
    Path(PathBuf),
}

/// A started job, or word that there is nothing to do.
pub enum Started {
    /// It runs.
    Running(Box<Job>),
    /// Its last checkpoint (this epoch) says that all input was read before.
    FinishedBefore(u64),
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnding {
    /// The input ended and all results are written.
    Finished,
    /// It was stopped: what was read is processed and written, open windows stay open.
    Stopped,
    /// What failed: step, record, limit, in words.
    Failed(String),
}

/// Where a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// At work.
    Running,
    /// Asked to stop.
    Stopping,
    /// Over.
    Ended(JobEnding),
}

/// A running job. Dropping the handle stops the job, without waiting for it.
pub struct Job {
    assembly: Arc<Assembly>,
    stop: Arc<Mutex<Option<Sender<std::convert::Infallible>>>>,
    status: Arc<Mutex<JobStatus>>,
    /// Disconnected when the job is over.
    over: Receiver<std::convert::Infallible>,
    started: Stopwatch,
    checkpoints: Arc<CheckpointStatus>,
    passed_over: Vec<String>,
    clock: Clock,
    commit: Option<Arc<Transactions>>,
    again: Arc<AtomicBool>,
    notes: Vec<String>,
    savepoints: Savepoints,
}

impl Job {
    /// Starts all tasks of a plan.
    pub fn start(plan: Plan, environment: Environment) -> Result<Started, TaskError> {
        let plan = Arc::new(plan);
        let settings = AssemblySettings {
            parallelism: plan.parallelism,
            ordered: false,
            show_unread: false,
            paranoid: environment.paranoid,
        };
        let mut commit = CommitPoint::Manifest;
        let mut commits = || {
            commit = CommitPoint::open(&plan, environment.before.as_ref())?;
            Ok(commit.transactions().map(|t| t.known_marker()))
        };
        let beginning = match &plan.checkpoint {
            None => None,
            Some(checkpoint) => {
                match recover::recover(
                    &plan,
                    &checkpoint.path,
                    &environment.restore,
                    &environment.forget,
                    match environment.before {
                        None => Claim::First,
                        Some(_) => Claim::Again,
                    },
                    &environment.clock,
                    &mut commits,
                )? {
                    Recovery::Finished(beginning) => {
                        let epoch = beginning.epoch;
                        let assembly = Assembly::new(Arc::clone(&plan), settings)?;
                        sinks::publish_left(
                            &assembly,
                            *beginning,
                            &environment.console,
                            commit.transactions(),
                        )?;
                        return Ok(Started::FinishedBefore(epoch));
                    }
                    Recovery::Begin(beginning) => Some(*beginning),
                }
            }
        };
        let transactions = commit.transactions().cloned();
        let (stop, stopped) = worker::stop_channel();
        let pace = Pace {
            permits: environment.permits.clone(),
            stop: stopped.clone(),
        };
        let assembly = Arc::new(Assembly::new(Arc::clone(&plan), settings)?.paced(pace));
        let sinks = sinks::open(
            &assembly,
            beginning.as_ref(),
            &environment.console,
            transactions.as_ref(),
        )?;
        let (endings, ended) = unbounded();
        let epochs = beginning.as_ref().map(|b| Epochs::after(b.epoch));
        let (reports, reported) = unbounded();
        let whole = Arc::new(AtomicBool::new(false));
        let line = epochs.clone().map(|epochs| CheckpointLine {
            epochs,
            whole: Arc::clone(&whole),
            reports,
        });
        let shared = Shared {
            clock: environment.clock.clone(),
            permits: environment.permits,
            limits: plan.batch,
            stop: stopped,
            checkpoints: line,
        };
        let restored = beginning.as_ref().and_then(|b| b.restored.as_ref());
        let (workers, committed) = start::workers(&assembly, &shared, &sinks, restored)?;
        drop(shared);
        let mut count = workers.len();
        let thread = |e: std::io::Error| TaskError::Host(format!("cannot start a thread: {e}"));
        for (name, worker) in workers {
            worker::spawn(name, worker, endings.clone()).map_err(thread)?;
        }
        let clock = environment.clock.clone();
        let checkpoints = Arc::new(CheckpointStatus::default());
        let (mut passed_over, mut notes) = (Vec::new(), Vec::new());
        let stop = Arc::new(Mutex::new(Some(stop)));
        let status = Arc::new(Mutex::new(JobStatus::Running));
        let mut savepoints = Savepoints {
            status: Arc::clone(&status),
            ask: None,
        };
        if let (Some(beginning), Some(epochs), Some(checkpoint)) =
            (beginning, epochs, &plan.checkpoint)
        {
            passed_over = beginning.passed_over;
            notes = beginning.notes;
            let keeper = Keeper {
                assembly: Arc::clone(&assembly),
                identity: beginning.identity,
                run: beginning.run,
                store: Some(beginning.store),
                plan: checkpoint.clone(),
                clock: environment.clock,
                due_at_once: beginning.from_elsewhere,
                epochs,
                status: Arc::clone(&checkpoints),
                sinks: sinks.iter().map(Option::clone).collect(),
                commit: Arc::new(commit),
                committed,
                savepoints: {
                    let (ask, asked) = unbounded();
                    savepoints.ask = Some(ask);
                    asked
                },
                whole,
                stop: Box::new(stopper(&stop, &status)),
                reports: reported,
            };
            count += 1;
            let name = format!("{}/checkpoints", plan.name);
            let endings = endings.clone();
            let body = move || {
                let ending = keeper
                    .run()
                    .map_or_else(Ending::Failed, |()| Ending::Finished);
                let _ = endings.send(("checkpoints".into(), ending));
            };
            std::thread::Builder::new()
                .name(name)
                .spawn(body)
                .map_err(thread)?;
        }
        drop(endings);
        let again = Arc::new(AtomicBool::new(false));
        let (running, over) = worker::stop_channel();
        {
            let (stop, status) = (Arc::clone(&stop), Arc::clone(&status));
            let again = Arc::clone(&again);
            let redactor = plan.redactor();
            let scratch = Arc::clone(assembly.scratch());
            std::thread::Builder::new()
                .name(format!("{}/supervisor", plan.name))
                .spawn(move || {
                    let ending = supervise(count, &ended, &stop, &again, &sinks, &redactor);
                    // Before anyone hears of the end, and maybe ends the process.
                    scratch.remove();
                    *status.lock() = JobStatus::Ended(ending);
                    drop(running);
                })
                .map_err(thread)?;
        }
        let started = Stopwatch::start();
        let job = Job {
            assembly,
            stop,
            status,
            over,
            started,
            checkpoints,
            passed_over,
            clock,
            commit: transactions,
            again,
            notes,
            savepoints,
        };
        Ok(Started::Running(Box::new(job)))
    }

    /// Asks it to stop: sources read no more, what was read is finished. Returns at once.
    pub fn stop(&self) {
        let mut status = self.status.lock();
        if *status == JobStatus::Running {
            *status = JobStatus::Stopping;
        }
        self.stop.lock().take();
    }

    /// A cheap clone that can only stop it: for signal handlers.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static {
        stopper(&self.stop, &self.status)
    }

    /// A cheap handle that asks it for savepoints.
    pub fn savepoints(&self) -> Savepoints {
        self.savepoints.clone()
    }

    /// Where it is.
    pub fn status(&self) -> JobStatus {
        self.status.lock().clone()
    }

    /// Waits until it is over.
    pub fn wait(&self) -> JobEnding {
        loop {
            if let Some(ending) = self.wait_for(Duration::from_secs(3600)) {
                return ending;
            }
        }
    }

    /// Waits so long at most; none: it is not over yet.
    pub fn wait_for(&self, time: Duration) -> Option<JobEnding> {
        let _ = self.over.recv_timeout(time);
        match self.status() {
            JobStatus::Ended(ending) => Some(ending),
            JobStatus::Running | JobStatus::Stopping => None,
        }
    }

    /// Counters, names and stages, for reports.
    pub fn assembly(&self) -> &Assembly {
        &self.assembly
    }

    /// When its last checkpoint was taken (milliseconds since 1970 UTC); 0 before the first, and without any.
    pub fn checkpointed_at(&self) -> i64 {
        self.checkpoints.taken_at.load(Ordering::Relaxed)
    }

    /// What its checkpoints took so far.
    pub fn checkpoints_took(&self) -> Took {
        *self.checkpoints.took.lock()
    }

    /// What the checkpoint under way waits for, when the store did not do what it was asked.
    pub fn checkpoint_waits(&self) -> Option<StoreWait> {
        self.checkpoints.waits.lock().clone()
    }

    /// How old the last checkpoint is (before the first: the start), milliseconds; none: it takes none.
    pub fn checkpoint_age_ms(&self) -> Option<i64> {
        let at = self.checkpointed_at();
        (at != 0).then(|| self.clock.now().saturating_sub(at).max(0))
    }

    /// Checkpoints that were passed over at the start because they are broken.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// For a job that failed: whether started anew from what is committed, it may well go on; and what the start
    /// has to know (`Environment::before`).
    pub fn may_start_again(&self) -> Option<Known> {
        let again = self.again.load(Ordering::Acquire);
        let transactions = self.commit.as_ref().filter(|_| again)?;
        Some(transactions.known())
    }

    /// What became of the state that it goes on with, where the job has changed since.
    pub fn restore_notes(&self) -> &[String] {
        &self.notes
    }

    /// Since when it runs.
    pub fn started(&self) -> Stopwatch {
        self.started
    }
}

/// Whether the same job, started anew from what is committed, has a chance.
fn may_go_on(error: &TaskError) -> bool {
    match error {
        TaskError::Again(_) => true,
        TaskError::Sink(error) => error.again,
        _ => false,
    }
}

fn stopper(
    stop: &Arc<Mutex<Option<Sender<std::convert::Infallible>>>>,
    status: &Arc<Mutex<JobStatus>>,
) -> impl Fn() + Send + Sync + use<> + 'static {
    let (stop, status) = (Arc::clone(stop), Arc::clone(status));
    move || {
        let mut status = status.lock();
        if *status == JobStatus::Running {
            *status = JobStatus::Stopping;
        }
        stop.lock().take();
    }
}

/// Collects endings. The first failure stops the others and is the job's.
fn supervise(
    count: usize,
    ended: &Receiver<(String, Ending)>,
    stop: &Mutex<Option<Sender<std::convert::Infallible>>>,
    again: &AtomicBool,
    sinks: &[Option<Arc<dyn Sink>>],
    redactor: &Redactor,
) -> JobEnding {
    let (mut failure, mut stopped) = (None, false);
    for (name, ending) in ended.iter().take(count) {
        match ending {
            Ending::Finished => {}
            Ending::Stopped => stopped = true,
            // Someone else failed: that ending comes too.
            Ending::DownstreamGone | Ending::UpstreamGone => {}
            // `| head`: whoever read the output has enough. Nothing is wrong.
            Ending::Failed(TaskError::Sink(error)) if error.reader_gone => {
                stopped = true;
                stop.lock().take();
            }
            Ending::Failed(error) => {
                if failure.is_none() && may_go_on(&error) {
                    again.store(true, Ordering::Release);
                }
                failure = failure.or_else(|| Some(error.to_string()));
            }
            Ending::Panicked(text) => {
                failure = failure
                    .or_else(|| Some(format!("task {name} panicked (a bug of the host): {text}")));
            }
        }
        if failure.is_some() {
            stop.lock().take();
            // Writers that wait for something outside would never look up.
            sinks.iter().flatten().for_each(|s| s.abort());
        }
    }
    match failure {
        // A client library may say which value it did not like.
        Some(text) => JobEnding::Failed(redactor.redact(&text)),
        None if stopped => JobEnding::Stopped,
        None => JobEnding::Finished,
    }
}
