//! Plugins: `Engine` (process) → `Plugin` (component, compiled once) → instances (a Store, one step
//! of one partition); and functions, which is what the rest of the host sees of all that.
//!
//! Only this module knows wasmtime. It knows no window, no policy and no destination of records: it
//! answers which rows failed and why, and the caller decides.

mod abi;
mod aggregate;
mod bounds;
mod cache;
mod compile;
mod engine;
mod failure;
mod fields;
pub mod function;
mod host;
mod inspect;
mod instance;
mod isolate;
mod join;
pub mod limits;
mod load;
mod make;
mod metrics;
mod process;
mod shape;
mod transform;
mod wrap;

pub use compile::{COMMAND as COMPILE_COMMAND, Compiler, Gap, support, worker_main};
pub use engine::{CacheDir, Engine, EngineError, EngineOptions};
pub use function::{
    Added, Aggregate, ColumnSet, Descriptor, Fault, FieldRead, Finished, FiredTimer, FunctionInfo,
    FunctionKind, FunctionStats, Join, Joined, OnBad, Process, Processed, Reads, RejectKind,
    Rejected, TimeDomain, TimerOp, Transform, Transformed,
};
pub use host::{InstanceTag, LogLine, LogSink, PauseHook, YieldHook};
pub use inspect::{FunctionInspection, ImportInspection, ImportStatus, Inspection};
pub use instance::InstanceOptions;
pub use limits::{CompileLimits, Limits};
pub use load::{CompileLimit, LoadError, LoadOptions, OpenError, Plugin, sha256};
pub use metrics::{Metric, MetricKind};
pub use shape::{CONTRACT_VERSION, FileKind};

#[cfg(test)]
mod tests;
