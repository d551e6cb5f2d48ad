//! Times as manifests have them: by the names of sources and steps, so that a plan with other steps, or the same in
//! another order, reads them rightly. Members are only ever added. Must stay readable.
//!
//! What became of a name in the plan is not known here: see `job::times`.

use serde::{Deserialize, Serialize};

use crate::window::watermark::{Activity, PartitionWatermark};

/// Where a stateful step's time stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTime {
    /// Its watermark.
    pub watermark: i64,
    /// Of each of its inputs.
    pub inputs: Vec<InputTime>,
}

/// Where the time of one input stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputTime {
    /// What is read: a source, a step, or one of their ports. A table is read by its own name.
    pub from: String,
    /// Watermark of this input alone.
    pub watermark: i64,
    /// Whose watermarks it waits for, and what they said.
    pub heard: Vec<HeardTime>,
}

/// What someone behind an input said last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardTime {
    /// Who.
    #[serde(flatten)]
    pub of: TimeOwner,
    /// The watermark.
    pub watermark: i64,
    /// Whether it counts for the step's watermark.
    pub activity: Activity,
    /// Whether it counts for the input's own, where that is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_input: Option<Activity>,
}

/// Whose watermark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeOwner {
    /// A stateful step's own; or, beside a source, the step that makes timestamps of the source's records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// A source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Which partition of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
}

/// Where the time of a partition stands, by one maker of timestamps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionTime {
    /// The step that makes the timestamps; none: the source itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The watermark, and what it comes from.
    #[serde(flatten)]
    pub watermark: PartitionWatermark,
}
