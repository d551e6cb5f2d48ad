//! What a checkpoint belongs to: job, sources and stateful steps, with all that gives positions and state their
//! meaning. Plain data; members are only ever added. Must stay readable.
//!
//! Paths, limits and sinks are not in it: they may change as they like. Whether one identity's state is good for
//! another is `compat`'s to say.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A job as its checkpoints know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobIdentity {
    /// Name of the job.
    pub job: String,
    /// Its sources.
    #[serde(default)]
    pub sources: Vec<NodeIdentity>,
    /// Its steps that keep state.
    #[serde(default)]
    pub steps: Vec<NodeIdentity>,
    /// SHA-256 of each plugin, by name.
    #[serde(default)]
    pub plugins: BTreeMap<String, String>,
    /// What format 1 had instead of `sources` and `steps`: a line for each of them. A job is held against these
    /// lines when it meets such a checkpoint; they are not written any more.
    #[serde(default, skip_serializing)]
    pub shape: Vec<String>,
}

/// A source, or a step that keeps state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// Its name in the job: what ties its state to it.
    pub name: String,
    /// `file`, `generator` …; `window`, `join`, `lookup`, `dedup`, `process`.
    pub kind: String,
    /// Settings that give its state a meaning, as people read them. One that is absent here and there is the same.
    pub settings: BTreeMap<String, String>,
    /// Function whose state it keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionIdentity>,
}

/// A function that wrote state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionIdentity {
    /// Plugin, by its name in the job.
    pub plugin: String,
    /// Name in the plugin.
    pub name: String,
    /// Config as JSON text.
    pub config: String,
    /// Version of its accumulators or states.
    pub state_version: u32,
    /// Older versions, of those that were found, which it can bring up to date. Only asked of the job that is about to
    /// start.
    #[serde(skip)]
    pub migrates_from: BTreeSet<u32>,
}
