//! Joins of two keyed inputs as pure code; see `window` for what it must not use.

mod spec;

pub use spec::{Exclusive, JoinBounds, JoinKind, JoinSpec};
