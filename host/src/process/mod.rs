//! Keyed state and timers: what a `process` function is called with, and what becomes of its answer.
//! Pure code; see `window` for what it must not use.
//!
//! Rules, beside those of the job file:
//! - Records of a batch are one call, in order. Timers fire at the boundary, after all records of it.
//! - Timers fire in order of time, key, clock (event before processing). A call fires at most one timer of a key,
//!   so that what a timer sets or deletes holds for the next one; those of other keys share the call (so one
//!   that a timer of the call sets comes after all of the call, whatever its time).
//! - A timer fires when its clock has reached it: W >= time, or now >= time. One that is set behind
//!   its clock fires at the same boundary. At the end of input both clocks go to the end of time: every timer fires.
//! - A timer that is set again and again at one boundary is stopped (`REARMED_MAX`): it is rejected like a
//!   record, and the key's other timers go on.
//! - The state of a key goes `ttl` after its last write, its timers with it; timers up to that very time
//!   fire before. A write is a call that changes the state's bytes, or, where there is no state, sets a timer. In event time a
//!   write counts as made at the newest time of the key's records (or timer) in the call, but not before W; in
//!   processing time, at the boundary. Records are never late here: what to do with old ones is the function's decision.
//! - Records without key are one group of their own. Records without timestamp are rejected, unless ttl
//!   counts in processing time.
//! - A call that fails changes nothing: the rows (or timers) to blame are left out and it is repeated.

mod call;
mod cold;
pub mod inspect;
mod keyed;
mod snapshot;
mod step;
mod timers;

pub use step::{ProcessSpec, ProcessStep};

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
