//! Joins of two keyed inputs as pure code; see `window` for what it must not use.
//!
//! A row waits in state for partners of its key until the watermark has passed the last one possible.
//! Timeline of a left join `within = { from = "-2ms", to = "1ms" }`, rows of one key:
//!
//! ```text
//! time      0   1   2   3   4   5   6
//! left              L2              L6
//! right         R1      R3      R5
//! pairs: (L2, R1) and (L2, R3) when the second of each comes; (L6, R5) likewise.
//! L2 could have a partner up to time 3: at W >= 3 it is forgotten (or, had it none, comes out alone).
//! R1 could have one up to time 3 too (1 - from): the same.
//! ```

mod bounds;
mod cold;
mod snapshot;
mod spec;
mod step;

pub use bounds::Side;
pub use spec::{Exclusive, JoinBounds, JoinKind, JoinSpec};
pub use step::JoinStep;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
