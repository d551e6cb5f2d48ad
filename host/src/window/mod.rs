//! Windowed aggregation as pure code: no clock, no tokio, no files, no plugin. It is driven by batches,
//! watermarks and the processing time handed in, and calls an `Aggregate` for what accumulators are.

mod spec;
pub mod watermark;

pub use spec::{Emit, Panes, Trigger, WindowKind, WindowSpec};
