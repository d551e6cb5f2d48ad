//! Makes checkpoints last, on a thread of its own: files of state, manifest, publishing, cleaning.
//!
//! The tasks do not wait for it, and a store that fails or is slow does not end the job: what failed is tried again, with
//! growing pauses, until it is done or nobody waits for it any more (`checkpoint.max-age` is the keeper's to watch). Every
//! step may be repeated. Three things end the job from here: another process took the checkpoints over, a sink cannot
//! publish, or an epoch's Kafka transaction did not commit (the job may start anew from what the cluster has).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;

use super::chains::Chains;
use super::commit_point::CommitPoint;
use super::savepoint::{self, Asked};
use crate::checkpoint::manifest::{Manifest, PartitionPosition, PreparedSink};
use crate::checkpoint::{CheckpointStore, JobIdentity, StoreError, StoreErrorKind};
use crate::crash::{self, CrashPoint};
use crate::runtime::assemble::Assembly;
use crate::runtime::snapshot::StatePiece;
use crate::runtime::task::TaskError;
use crate::sink::Sink;
use crate::source::{Committed, Position};
use crate::time::Clock;

/// The pause after a first failure; each further one doubles it.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause: how much later than the store a job notices that it answers again.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What a checkpoint waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreWait {
    /// Which checkpoint.
    pub epoch: u64,
    /// The store's last words.
    pub error: String,
    /// Since when, on the job's clock.
    pub since: i64,
    /// Attempts that failed.
    pub attempts: u64,
}

impl StoreWait {
    /// For people.
    pub fn words(&self) -> String {
        format!(
            "checkpoint {} waits for the store: {}",
            self.epoch, self.error
        )
    }
}

/// What checkpoints took so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// Checkpoints that count.
    pub checkpoints: u64,
    /// From the barrier until the manifest counted, all together, milliseconds.
    pub total_ms: i64,
    /// The longest.
    pub longest_ms: i64,
    /// Of `total_ms`, until the last task had told its state: what barriers waited for, and copying.
    pub gathering_ms: i64,
    /// Bytes of state written.
    pub bytes: u64,
}

/// How checkpoints stand; for reports.
#[derive(Debug, Default)]
pub struct CheckpointStatus {
    /// What they took.
    pub took: Mutex<Took>,
    /// When the last one was durable, on the job's clock; before the first, the start.
    pub taken_at: AtomicI64,
    /// What the one under way waits for.
    pub waits: Mutex<Option<StoreWait>>,
}

/// A gathered epoch.
pub struct Order {
    /// When its barrier went out, on the job's clock.
    pub started: i64,
    /// When the last task had told its state.
    pub gathered: i64,
    /// What it says, but for its files.
    pub manifest: Manifest,
    /// What tasks told of their state: epoch, task, pieces.
    pub pieces: Vec<(u64, usize, Vec<StatePiece>)>,
    /// Who wants a savepoint of it.
    pub asked: Vec<Asked>,
    /// Nothing comes behind it.
    pub is_last: bool,
}

/// Makes orders last, one after the other.
pub struct Committer {
    /// The job.
    pub assembly: Arc<Assembly>,
    /// Whose checkpoints they are.
    pub identity: JobIdentity,
    /// The run that takes them.
    pub run: String,
    /// Where they go.
    pub store: CheckpointStore,
    /// Manifests kept.
    pub keep: usize,
    /// The clock of the job.
    pub clock: Clock,
    /// Sinks, by number in the graph, where they take part in checkpoints.
    pub sinks: Vec<Option<Arc<dyn Sink>>>,
    /// Where epochs are committed.
    pub commit: Arc<CommitPoint>,
    /// Who hears of positions, by source.
    pub committed: Vec<Option<Arc<dyn Committed>>>,
    /// For reports.
    pub status: Arc<CheckpointStatus>,
    /// What to make last.
    pub orders: Receiver<Order>,
    /// One answer an order.
    pub done: Sender<Result<(), TaskError>>,
    /// Disconnected when nobody waits any more.
    pub given_up: Receiver<Infallible>,
}

impl Committer {
    /// Works until there are no more orders. Whoever waits for `done` to be disconnected finds the place free for another
    /// start: what holds it, `store`, is gone before.
    pub fn run(self) {
        let mut chains = Chains::default();
        while let Ok(order) = self.orders.recv() {
            let committed = self.commit(order, &mut chains);
            let failed = committed.is_err();
            // Nobody there: the job is over.
            if self.done.send(committed).is_err() || failed {
                break;
            }
        }
        let Committer { store, done, .. } = self;
        drop(store);
        drop(done);
    }

    fn commit(&self, order: Order, chains: &mut Chains) -> Result<(), TaskError> {
        let mut manifest = order.manifest;
        for (epoch, task, pieces) in order.pieces {
            chains.add(epoch, task, pieces);
        }
        crash::at(CrashPoint::EpochGathered);
        self.patiently(manifest.epoch, || self.store(&mut manifest, chains))?;
        crash::at(CrashPoint::ManifestStored);
        self.note(order.started, order.gathered, &manifest);
        self.commit
            .commit(self.assembly.plan(), manifest.epoch, &manifest.positions)?;
        self.tell(&manifest.positions);
        self.status
            .taken_at
            .store(manifest.taken_at, Ordering::Relaxed);
        self.publish(manifest.epoch, &manifest.prepared)?;
        crash::at(CrashPoint::PartsPublished);
        savepoint::answer(&self.store, &manifest, order.asked, order.is_last);
        // What could not be removed now goes next time; the checkpoint stands.
        match self.store.clean(self.keep) {
            Err(e) if e.kind == StoreErrorKind::Taken => Err(TaskError::Host(e.to_string())),
            _ => Ok(()),
        }
    }

    fn note(&self, started: i64, gathered: i64, manifest: &Manifest) {
        let ms = self.clock.now().saturating_sub(started).max(0);
        let new = manifest.files.iter().filter(|f| f.epoch == manifest.epoch);
        let mut took = self.status.took.lock();
        took.checkpoints += 1;
        took.total_ms += ms;
        took.longest_ms = took.longest_ms.max(ms);
        took.gathering_ms += gathered.saturating_sub(started).max(0);
        took.bytes += new.map(|file| file.bytes).sum::<u64>();
    }

    fn store(&self, manifest: &mut Manifest, chains: &mut Chains) -> Result<(), StoreError> {
        let step = |step| self.assembly.plan().steps[usize::from(step)].name.as_str();
        manifest.files = chains.write(&self.store, &self.identity.job, &self.run, &step)?;
        crash::at(CrashPoint::StatesStored);
        self.store.write_manifest(manifest)
    }

    /// Tries until it is done, or nobody waits for it, or it can never be done.
    fn patiently(
        &self,
        epoch: u64,
        mut attempt: impl FnMut() -> Result<(), StoreError>,
    ) -> Result<(), TaskError> {
        let (mut pause, mut attempts, mut since) = (PAUSE_FIRST, 0, None);
        loop {
            let error = match attempt() {
                Ok(()) => {
                    *self.status.waits.lock() = None;
                    return Ok(());
                }
                Err(e) => e,
            };
            if error.kind == StoreErrorKind::Taken {
                return Err(TaskError::Host(error.to_string()));
            }
            attempts += 1;
            *self.status.waits.lock() = Some(StoreWait {
                epoch,
                error: error.to_string(),
                since: *since.get_or_insert_with(|| self.clock.now()),
                attempts,
            });
            if self.given_up.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return Err(TaskError::Host(error.to_string()));
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Tells those who want to know how far sources were read: after the commit, and without waiting.
    fn tell(&self, positions: &[PartitionPosition]) {
        let sources = self.assembly.plan().sources.iter().zip(&self.committed);
        for (source, committed) in sources {
            let Some(committed) = committed else { continue };
            if self.commit.has_offsets_of(&source.connector) {
                continue;
            }
            let of = positions.iter().filter(|p| p.source == source.name);
            let of: Vec<Position> = of.map(|p| Position(p.position.clone())).collect();
            committed.committed(&of);
        }
    }

    fn publish(&self, epoch: u64, prepared: &[PreparedSink]) -> Result<(), TaskError> {
        for (number, sink) in self.sinks.iter().enumerate() {
            let Some(sink) = sink else { continue };
            let name = self
                .assembly
                .sink_name(&self.assembly.graph().sinks[number]);
            let mut writer = sink.writer(0)?;
            for parts in prepared.iter().filter(|p| p.sink == name) {
                writer.commit(epoch, &parts.parts)?;
            }
        }
        Ok(())
    }
}
