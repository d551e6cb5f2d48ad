//! What a job goes on from: finds checkpoints, lets `checkpoint::decide` decide, and reads what it says.

use std::collections::BTreeSet;
use std::path::Path;

use crate::checkpoint::compat::Actions;
use crate::checkpoint::decide::Wanted;
use crate::checkpoint::manifest::{Manifest, PartitionPosition};
use crate::checkpoint::store::epoch_of;
use crate::checkpoint::transaction::decide_committed;
use crate::checkpoint::{
    CheckpointStore, Claim, Found, JobIdentity, Loaded, RecoveryDecision, decide, decide_and_load,
};
use crate::config::Plan;
use crate::config::plan::StepKind;
use crate::job::identity::{identity, shape_of_format_1, versions_before};
use crate::job::{Restore, times};
use crate::plugin::{FunctionKind, InstanceTag};
use crate::record::Blobs;
use crate::runtime::assemble::function_of;
use crate::runtime::snapshot::JobSnapshot;
use crate::runtime::task::TaskError;
use crate::sink::kafka::Marker;
use crate::state::Chain;
use crate::time::Clock;

/// A checkpoint that takes more than this part of the memory for state is not held in memory while it is taken back.
const RESTORED_SHARE: u64 = 4;

/// How a job with checkpoints begins.
pub struct Beginning {
    /// The place, held.
    pub store: CheckpointStore,
    /// Whose checkpoints they are.
    pub identity: JobIdentity,
    /// The run's id: that of the run which is gone on with.
    pub run: String,
    /// The last epoch that is there; 0: none.
    pub epoch: u64,
    /// What is gone on from.
    pub restored: Option<RestoredJob>,
    /// Checkpoints passed over because they are broken.
    pub passed_over: Vec<String>,
    /// What became of the state, where the job has changed.
    pub notes: Vec<String>,
    /// What is gone on from is not the latest of this folder: until there is a newer one, a restart would begin with
    /// something else.
    pub from_elsewhere: bool,
}

/// A checkpoint, read.
pub struct RestoredJob {
    /// Its manifest.
    pub manifest: Manifest,
    /// State and time.
    pub snapshot: JobSnapshot,
}

impl RestoredJob {
    /// How far the partitions of a source were read.
    pub fn positions<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a PartitionPosition> {
        self.manifest
            .positions
            .iter()
            .filter(move |p| p.source == source)
    }
}

/// What came of it.
pub enum Recovery {
    /// Begin.
    Begin(Box<Beginning>),
    /// The job read all its input before: only what its last checkpoint prepared may still have to be published.
    Finished(Box<Beginning>),
}

/// Looks, decides, reads. `place`: `[checkpoint] path`. `forget`: sources and steps whose positions or state need not
/// be kept.
/// `commits`: takes the job's transactions over, where those commit its epochs, and answers what they say; called
/// once the checkpoints, and so the job, are ours.
pub fn recover(
    plan: &Plan,
    place: &str,
    restore: &Restore,
    forget: &BTreeSet<String>,
    claim: Claim,
    clock: &Clock,
    commits: &mut dyn FnMut() -> Result<Option<Option<Marker>>, TaskError>,
) -> Result<Recovery, TaskError> {
    let host = |e: &dyn std::fmt::Display| TaskError::Host(e.to_string());
    let store = CheckpointStore::open(place, claim, clock).map_err(|e| host(&e))?;
    let marker = commits()?;
    let mut identity = identity(plan);
    identity.shape = shape_of_format_1(plan);
    let mut found = store.find().map_err(|e| host(&e))?;
    let last = found.iter().map(Found::epoch).max().unwrap_or(0);
    let elsewhere = match restore {
        Restore::Path(path) => Some(Elsewhere::open(path, &store)?),
        Restore::Latest | Restore::None => None,
    };
    let wanted = match (&elsewhere, restore) {
        (Some(Elsewhere::Own(epoch) | Elsewhere::Other(_, epoch)), _) => Wanted::Epoch(*epoch),
        (None, Restore::None) => Wanted::None,
        (None, _) => Wanted::Latest,
    };
    let from = match &elsewhere {
        Some(Elsewhere::Other(other, _)) => {
            found = other.find().map_err(|e| host(&e))?;
            other
        }
        _ => &store,
    };
    ask_migrations(plan, &found, &mut identity);
    let identity = identity;
    let by = |found: &[Found]| match (&marker, &wanted) {
        (Some(marker), Wanted::Latest) => {
            let committed = marker.as_ref().map(|m| (m.epoch, m.run.as_str()));
            decide_committed(found, &identity, committed, forget)
        }
        _ => decide(found, &identity, &wanted, forget),
    };
    // The tasks fill their share of the memory while they take it back.
    let memory_max = plan.state.memory / RESTORED_SHARE;
    let loaded = decide_and_load(from, &mut found, &by, memory_max);
    let (decision, loaded) = loaded.map_err(|e| host(&e))?;
    crate::crash::at(crate::crash::CrashPoint::RecoveryDecided);
    let (restored, run, passed_over, notes) = match decision {
        RecoveryDecision::Refuse(why) => {
            let place = from.place();
            return Err(TaskError::Host(format!("checkpoints in {place}: {why}")));
        }
        RecoveryDecision::Finished { epoch } => {
            let manifest = from.manifest(epoch).map_err(|e| host(&e))?;
            let run = manifest.run.clone();
            let snapshot = JobSnapshot::default();
            return Ok(Recovery::Finished(Box::new(Beginning {
                identity,
                run,
                epoch,
                restored: Some(RestoredJob { manifest, snapshot }),
                passed_over: Vec::new(),
                notes: Vec::new(),
                from_elsewhere: false,
                store,
            })));
        }
        RecoveryDecision::Fresh { .. } => (None, new_id(), Vec::new(), Vec::new()),
        RecoveryDecision::Restore {
            passed_over,
            actions,
            ..
        } => {
            let loaded = loaded.expect("what to restore was loaded");
            let Loaded {
                mut manifest,
                chains,
            } = loaded;
            forget_in(&mut manifest, &actions);
            let kept = |(step, _): &(String, Chain)| !actions.forget_steps.contains(step);
            let chains = chains.into_iter().filter(kept).collect();
            let snapshot = read(plan, from, &manifest, chains)?;
            let run = manifest.run.clone();
            let restored = RestoredJob { manifest, snapshot };
            (Some(restored), run, passed_over, actions.notes)
        }
    };
    let restored_epoch = restored.as_ref().map_or(0, |r| r.manifest.epoch);
    Ok(Recovery::Begin(Box::new(Beginning {
        identity,
        run,
        epoch: last.max(restored_epoch),
        from_elsewhere: restored_epoch != last || elsewhere.is_some(),
        restored,
        passed_over,
        notes,
        store,
    })))
}

/// Asks the functions of the job which older versions of their state, of those found, they can bring up to date: before any
/// state is read, so that a checkpoint which could not be gone on from is refused with what differs.
fn ask_migrations(plan: &Plan, found: &[Found], identity: &mut JobIdentity) {
    let found = || found.iter().filter_map(|f| Some(&f.whole()?.identity));
    for node in &mut identity.steps {
        let versions = versions_before(node, found());
        let Some(function) = &mut node.function else {
            continue;
        };
        let step = times::step_index(plan, &node.name).expect("the identity is the plan's");
        let kind = &plan.steps[usize::from(step)].kind;
        let can = |version: &u32| migrates(plan, kind, &node.name, *version);
        function.migrates_from = versions.into_iter().filter(can).collect();
    }
}

/// Whether a step's function brings state of a version up to date: it is called without any.
fn migrates(plan: &Plan, kind: &StepKind, step: &str, version: u32) -> bool {
    let Some(index) = function_of(kind) else {
        return false;
    };
    let function = &plan.functions[index];
    let plugin = &plan.plugins[function.plugin].plugin;
    if !plugin.migrates() {
        return false;
    }
    let tag = InstanceTag {
        job: plan.name.as_str().into(),
        step: step.into(),
        partition: 0,
    };
    let (name, config, descriptor) = (&function.function, &function.config, &function.descriptor);
    let none = Blobs::default();
    match function.kind {
        FunctionKind::Aggregate => plugin
            .aggregate(name, config, descriptor, tag)
            .is_ok_and(|mut f| f.migrate(version, &none).is_ok()),
        FunctionKind::Process => plugin
            .process(name, config, descriptor, tag)
            .is_ok_and(|mut f| f.migrate(version, &none).is_ok()),
        // These keep no state of their own.
        _ => false,
    }
}

/// What `--restore PATH` names.
enum Elsewhere {
    /// A checkpoint of the job's own folder.
    Own(u64),
    /// One of another folder: a savepoint, or another job folder's checkpoint.
    Other(CheckpointStore, u64),
}

impl Elsewhere {
    /// `path`: a manifest, or a folder, of which the newest counts.
    fn open(path: &Path, own: &CheckpointStore) -> Result<Elsewhere, TaskError> {
        let refuse = |why: String| {
            TaskError::Host(format!(
                "--restore {}: {why}; it takes latest, none, a savepoint's folder or a checkpoint's manifest",
                path.display()
            ))
        };
        let text = path
            .to_str()
            .ok_or_else(|| refuse("that is no text".into()))?;
        let is_url = text.contains("://");
        let (place, epoch) = match text.trim_end_matches('/').rsplit_once('/') {
            Some((place, name)) if epoch_of(name).is_some() => (place, epoch_of(name)),
            None if epoch_of(text).is_some() => (".", epoch_of(text)),
            _ => (text, None),
        };
        if !is_url {
            let found = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?;
            if epoch.is_none() && !found.is_dir() {
                return Err(refuse("that is not a manifest".into()));
            }
        }
        let store = CheckpointStore::read_only(place).map_err(|e| refuse(e.to_string()))?;
        let epoch = match epoch {
            Some(epoch) => epoch,
            None => store
                .epochs()
                .map_err(|e| refuse(e.to_string()))?
                .into_iter()
                .max()
                .ok_or_else(|| refuse("there is no checkpoint in it".into()))?,
        };
        let same = |a: &str, b: &str| {
            let real = |p: &str| Path::new(p).canonicalize().unwrap_or_else(|_| p.into());
            real(a) == real(b)
        };
        Ok(if same(place, own.place()) {
            Elsewhere::Own(epoch)
        } else {
            Elsewhere::Other(store, epoch)
        })
    }
}

/// Takes out of a checkpoint what need not be kept.
fn forget_in(manifest: &mut Manifest, actions: &Actions) {
    let (sources, steps) = (&actions.forget_sources, &actions.forget_steps);
    manifest.positions.retain(|p| !sources.contains(&p.source));
    manifest.files.retain(|f| !steps.contains(&f.step));
    manifest.times.retain(|step, _| !steps.contains(step));
}

fn read(
    plan: &Plan,
    store: &CheckpointStore,
    manifest: &Manifest,
    chains: Vec<(String, Chain)>,
) -> Result<JobSnapshot, TaskError> {
    let mut snapshot = JobSnapshot::default();
    let broken = |what: &str, why: &dyn std::fmt::Display| {
        TaskError::Host(format!(
            "checkpoint {} in {}: {what}: {why}",
            manifest.epoch,
            store.place()
        ))
    };
    for (name, chain) in chains {
        let step = times::step_index(plan, &name)
            .ok_or_else(|| broken(&name, &"the job has no such step"))?;
        snapshot.add_chain(step, chain);
    }
    for (name, time) in &manifest.times {
        let step = times::step_index(plan, name)
            .ok_or_else(|| broken(name, &"the job has no such step"))?;
        let tracker = times::read_step(plan, manifest, step, time).map_err(|e| broken(name, &e))?;
        snapshot.add_tracker(step, tracker);
    }
    for read in &manifest.positions {
        let source = times::source_index(plan, &read.source)
            .ok_or_else(|| broken(&read.source, &"the job has no such source"))?;
        let owned = times::read_partition(plan, manifest, source, &read.times)
            .map_err(|e| broken(&read.name, &e))?;
        snapshot.add_partition(source, read.partition, owned);
    }
    Ok(snapshot)
}

/// An id that no other run has.
pub fn new_id() -> String {
    let random =
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    format!("{random:016x}")
}
