//! What crosses the boundary: the contract's types, columns in (bulk copies), output through `emit`
//! (read in place, staged, checked), and batches made of it.
//!
//! This module trusts nothing that a guest says, and calls no guest: `instance` does.

pub mod check;
pub mod descriptor;
pub mod imports;
pub mod input;
pub mod output;
pub mod payload;
pub mod staging;
pub mod types;
pub mod wasi;
