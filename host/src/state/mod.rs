//! State of steps as bytes: entries by name, written in one go, read back base first and changes after.
//!
//! A step hands out either everything that it keeps (a *base*) or what changed since it last handed
//! something out (a *delta*: entries set, and names of those that are gone). A base and the deltas behind it are a
//! *chain*; `replay` gives what the last of them leaves. Nothing here knows files, tasks or time.

mod buffer;
mod chain;
mod replay;
mod stored;
mod touched;

pub use buffer::{Item, Malformed, Overflow, StateBuffer, items};
pub use chain::{ChainSizes, next_extent};
pub use replay::{Wanted, replay, replay_stored};
pub use stored::{Bytes, Chain, Hear, Stored, StoredError};
pub use touched::{Gone, Mark, Touched};

/// Entries that one batch may bring, about.
const BATCH_ENTRIES: usize = 16 << 10;

/// Tables of fewer bytes grow unnoticed.
const GROWTH_MIN: usize = 1 << 20;

/// Bytes that a table grows by with the next batch, if it has room for so many more entries and would then be enlarged by
/// so many bytes.
pub fn growth_of(room: usize, bytes: usize) -> usize {
    match room < BATCH_ENTRIES && bytes >= GROWTH_MIN {
        true => bytes,
        false => 0,
    }
}

/// How much of a step's state a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// What changed, came or went since the snapshot before.
    Changes,
}

/// One piece of a step's state, where it stands in a buffer. `key` is unique within the step and key group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRef<'a> {
    /// Who owns it.
    pub key_group: u16,
    /// Name of the piece.
    pub key: &'a [u8],
    /// Its bytes.
    pub value: &'a [u8],
}

/// One piece of a step's state, by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateEntry {
    /// Who owns it.
    pub key_group: u16,
    /// Name of the piece.
    pub key: Vec<u8>,
    /// Its bytes.
    pub value: Vec<u8>,
}

impl StateEntry {
    /// As a step takes it back.
    pub fn as_ref(&self) -> StateRef<'_> {
        StateRef {
            key_group: self.key_group,
            key: &self.key,
            value: &self.value,
        }
    }
}

impl From<StateRef<'_>> for StateEntry {
    fn from(entry: StateRef<'_>) -> StateEntry {
        StateEntry {
            key_group: entry.key_group,
            key: entry.key.to_vec(),
            value: entry.value.to_vec(),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
