//! The runtime: cuts a plan into stages, makes their tasks, and drives them.
//!
//! `graph`, `exchange`, `operators`, `policy`, `task` and `snapshot` are synchronous and know neither
//! threads nor clocks; `worker` gives each task a thread and channels, `script` (beside this module) drives
//! the same tasks by hand.

pub mod assemble;
pub mod counters;
pub mod epochs;
pub mod exchange;
pub mod graph;
pub mod message;
pub mod needs;
pub mod operators;
pub mod permits;
pub mod policy;
pub mod reader;
pub mod silence;
pub mod snapshot;
pub mod task;
pub mod worker;
