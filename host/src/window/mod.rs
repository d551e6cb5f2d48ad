//! Windowed aggregation as pure code: no clock, no tokio, no files, no plugin. It is driven by batches,
//! watermarks and the processing time handed in, and calls an `Aggregate` for what accumulators are.
//!
//! `WindowStep` takes records in and time's moves; one module for each kind of windows keeps the state:
//! `fixed` (tumbling, sliding window by window, global), `sliced` (sliding by slices), `session`, `count`. They share `core`
//! (the function, checked), `round` (calls of `add`), `results` (calls of `finish`) and `time`.

mod accumulators;
mod assign;
mod codec;
mod core;
mod count;
mod count_spill;
mod fixed;
mod fixed_close;
mod fixed_spill;
mod group_list;
mod groups;
pub mod inspect;
mod key_table;
mod keys;
mod restore;
mod results;
mod round;
mod session;
mod session_close;
mod session_spill;
mod session_whole;
mod sliced;
mod sliced_spill;
mod slots;
mod snapshot;
mod spec;
mod spilled_fire;
mod step;
mod time;
pub mod watermark;

pub use self::core::{FunctionFacts, WindowLimits};
pub use spec::{Emit, Panes, Trigger, WindowKind, WindowSpec};
pub use step::WindowStep;

#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
