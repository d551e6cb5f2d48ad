//! Plugins: `Engine` (process) → `Plugin` (component, compiled once) → `Instance` (a Store, one step
//! of one partition); and functions, which is what the rest of the host sees of all that.
//!
//! Only this module knows wasmtime. It knows no window, no policy and no destination of records: it
//! answers which rows failed and why, and the caller decides.

pub mod function;

pub use function::{
    Added, Aggregate, ColumnSet, Descriptor, Fault, FieldRead, Finished, FiredTimer, FunctionKind,
    Join, Joined, OnBad, Process, Processed, Reads, RejectKind, Rejected, TimeDomain, TimerOp, Transform,
    Transformed,
};

/// A compiled component.
#[derive(Debug)]
pub struct Plugin;

/// What instances of a plugin may use.
#[derive(Clone, Debug, Default)]
pub struct Limits;
