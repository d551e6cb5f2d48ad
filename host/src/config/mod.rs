//! The job file, in two stages: `spec` is what was typed (serde; unknown keys refused), `plan` the
//! validated job, whose existence is the proof that all names, kinds and limits hold.
//!
//! This module reads the job file and the schemas of plugins; it starts nothing.

pub mod plan;

pub use plan::Plan;
