//! Checkpoints: a job's state, positions and prepared output at an epoch's end, durable as one.
//!
//! `manifest` says what a checkpoint is, `state` how entries are written, `decide` (pure) what recovery does with
//! what it finds, `compat` (pure) whether a changed job may have the state, `load` reads the one that is picked, `store`
//! reads and writes them in a place, `savepoint` copies one to another, `verify` reads all of one, `storage` is the
//! place (a folder, an S3-compatible store), `lease` keeps processes apart where there are no locks. Taking one while a
//! job runs is the runtime's part (barriers); this module knows no task.
//!
//! A checkpoint counts from the moment its manifest has its name: files of state are written and synced before,
//! parts of sinks are published after, from what the manifest says.

pub mod compat;
pub mod decide;
mod far;
pub mod identity;
pub mod lease;
pub mod load;
pub mod manifest;
mod outgoing;
pub mod savepoint;
pub mod state;
pub mod storage;
pub mod store;
pub mod times;
pub mod transaction;
pub mod verify;

pub use decide::{Found, RecoveryDecision, decide};
pub use identity::JobIdentity;
pub use lease::Claim;
pub use load::{Loaded, decide_and_load};
pub use manifest::{Manifest, StateFile};
pub use store::{CheckpointStore, StoreError, StoreErrorKind, Unread};

/// The version of manifests and state files that this host writes. It reads all versions up to it.
///
/// 1: every file of state is a whole one; times by the numbers of sources and steps in the plan, identities as lines of
/// text. 2: files of state say whose they are, and may build on others; times by names, identities with members.
pub const FORMAT_VERSION: u32 = 2;

#[cfg(test)]
mod store_tests;
