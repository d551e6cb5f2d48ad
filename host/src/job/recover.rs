//! What a job goes on from: finds checkpoints, lets `checkpoint::decide` decide, and reads what it says.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkpoint::decide::Wanted;
use crate::checkpoint::manifest::{Manifest, PartitionPosition, checksum};
use crate::checkpoint::transaction::decide_committed;
use crate::checkpoint::{
    CheckpointStore, Found, JobIdentity, Loaded, RecoveryDecision, decide, decide_and_load,
};
use crate::config::Plan;
use crate::config::plan::StepKind;
use crate::job::Restore;
use crate::record::NodeIndex;
use crate::runtime::assemble::function_of;
use crate::runtime::graph::{Root, is_stateful};
use crate::runtime::snapshot::{Chain, JobSnapshot};
use crate::runtime::task::{OwnedPartition, TaskError};
use crate::sink::kafka::Marker;
use crate::time::Clock;
use crate::window::watermark::PartitionWatermark;

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

/// Looks, decides, reads. `place`: `[checkpoint] path`.
/// `commits`: takes the job's transactions over, where those commit its epochs, and answers what they say; called
/// once the checkpoints, and so the job, are ours.
pub fn recover(
    plan: &Plan,
    place: &str,
    restore: &Restore,
    clock: &Clock,
    commits: &mut dyn FnMut() -> Result<Option<Option<Marker>>, TaskError>,
) -> Result<Recovery, TaskError> {
    let host = |e: &dyn std::fmt::Display| TaskError::Host(e.to_string());
    let store = CheckpointStore::open(place, clock).map_err(|e| host(&e))?;
    let marker = commits()?;
    let identity = identity(plan);
    let mut found = store.find().map_err(|e| host(&e))?;
    let wanted = match restore {
        Restore::Latest => Wanted::Latest,
        Restore::None => Wanted::None,
        Restore::Path(path) => Wanted::Epoch(epoch_of(path, &store)?),
    };
    let by = |found: &[Found]| match (&marker, &wanted) {
        (Some(marker), Wanted::Latest) => {
            let committed = marker.as_ref().map(|m| (m.epoch, m.run.as_str()));
            decide_committed(found, &identity, committed)
        }
        _ => decide(found, &identity, &wanted),
    };
    let (decision, loaded) = decide_and_load(&store, &mut found, &by).map_err(|e| host(&e))?;
    crate::crash::at(crate::crash::CrashPoint::RecoveryDecided);
    match decision {
        RecoveryDecision::Refuse(why) => {
            Err(TaskError::Host(format!("checkpoints in {place}: {why}")))
        }
        RecoveryDecision::Finished { epoch } => {
            let manifest = store.manifest(epoch).map_err(|e| host(&e))?;
            let run = manifest.run.clone();
            let snapshot = JobSnapshot::default();
            Ok(Recovery::Finished(Box::new(Beginning {
                store,
                identity,
                run,
                epoch,
                restored: Some(RestoredJob { manifest, snapshot }),
                passed_over: Vec::new(),
            })))
        }
        RecoveryDecision::Fresh { next } => {
            let run = new_id();
            let beginning = Beginning {
                store,
                identity,
                run,
                epoch: next - 1,
                restored: None,
                passed_over: Vec::new(),
            };
            Ok(Recovery::Begin(Box::new(beginning)))
        }
        RecoveryDecision::Restore { epoch, passed_over } => {
            let Loaded { manifest, chains } = loaded.expect("what to restore was loaded");
            let snapshot = read(plan, &store, &manifest, chains)?;
            let last = found.iter().map(Found::epoch).max().unwrap_or(epoch);
            let run = manifest.run.clone();
            let restored = Some(RestoredJob { manifest, snapshot });
            Ok(Recovery::Begin(Box::new(Beginning {
                store,
                identity,
                run,
                epoch: last,
                restored,
                passed_over,
            })))
        }
    }
}

/// `--restore PATH`: a manifest file of the job's folder.
fn epoch_of(path: &Path, store: &CheckpointStore) -> Result<u64, TaskError> {
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .and_then(|n| n.strip_prefix("manifest-"));
    let epoch = name.and_then(|n| n.parse().ok());
    epoch.ok_or_else(|| {
        let place = store.place();
        TaskError::Host(format!("--restore takes latest, none or a manifest such as {place}/manifest-0000000007, not {}", path.display()))
    })
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
    let step = |name: &str| {
        plan.steps
            .iter()
            .position(|s| s.name == name)
            .map(|i| i as NodeIndex)
    };
    let source = |name: &str| {
        plan.sources
            .iter()
            .position(|s| s.name == name)
            .map(|i| i as NodeIndex)
    };
    for (name, chain) in chains {
        let step = step(&name).ok_or_else(|| broken(&name, &"the job has no such step"))?;
        snapshot.add_chain(step, chain);
    }
    for (name, times) in &manifest.times {
        let step = step(name).ok_or_else(|| broken(name, &"the job has no such step"))?;
        snapshot.add_tracker(
            step,
            serde_json::from_value(times.clone()).map_err(|e| broken(name, &e))?,
        );
    }
    for read in &manifest.positions {
        let source = source(&read.source)
            .ok_or_else(|| broken(&read.source, &"the job has no such source"))?;
        let times: Option<Vec<(Root, PartitionWatermark)>> =
            serde_json::from_value(read.times.clone()).map_err(|e| broken(&read.name, &e))?;
        snapshot.add_partition(
            source,
            read.partition,
            OwnedPartition::of_watermarks(times.unwrap_or_default()),
        );
    }
    Ok(snapshot)
}

/// What a checkpoint of this plan belongs to: everything that gives state and positions their meaning.
pub fn identity(plan: &Plan) -> JobIdentity {
    let mut shape = Vec::new();
    for source in &plan.sources {
        shape.push(format!(
            "source {}: key {:?}, timestamp {:?}",
            source.name, source.key, source.timestamp
        ));
    }
    for (index, step) in plan.steps.iter().enumerate() {
        if !is_stateful(plan, index as NodeIndex) {
            continue;
        }
        let function = function_of(&step.kind).map(|f| &plan.functions[f]);
        let function = function.map(|f| {
            let plugin = &plan.plugins[f.plugin].name;
            format!(
                "{plugin}.{} {}, state version {}",
                f.function, f.config, f.descriptor.state_version
            )
        });
        let what = match &step.kind {
            StepKind::Window { window, .. } => format!("{window:?}"),
            StepKind::Join { join, .. } => format!("{join:?}"),
            StepKind::Dedup { within_ms } => format!("dedup within {within_ms} ms"),
            StepKind::Lookup {
                on, left, as_of_ms, ..
            } => format!("lookup on {on:?}, left {left}, as of {as_of_ms:?}"),
            StepKind::Process { ttl_ms, time, .. } => {
                format!("process, ttl {ttl_ms} ms, {time:?} time")
            }
            StepKind::Transform { .. } | StepKind::Key(_) => continue,
        };
        shape.push(format!(
            "step {}: {what}, {}",
            step.name,
            function.unwrap_or_else(|| "no function".into())
        ));
    }
    let plugins: BTreeMap<String, String> = plan
        .plugins
        .iter()
        .map(|p| (p.name.clone(), p.sha256.clone()))
        .collect();
    JobIdentity {
        job: plan.name.clone(),
        fingerprint: checksum(shape.join("\n").as_bytes()),
        shape,
        plugins,
    }
}

/// An id that no other run has.
pub fn new_id() -> String {
    let random =
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    format!("{random:016x}")
}
