//! The plain data of the plugin contract (`wit/plugin.wit`), as whole-batch functions see it.
//!
//! Authors of row functions never need this: attributes and derives make it.

use crate::bindings::exports::wasmill::plugin::process;
pub use crate::bindings::wasmill::plugin::host::{Headers, Level, MetricKind, Nulls, Payload};
pub use crate::bindings::wasmill::plugin::types::{
    Batch, BytesCol, Column, Columns, Descriptor, EmitSpec, Failure, Field, FieldSpec, FiredTimer,
    FunctionKind, Kind, OnBad, TimeDomain, Traits, Windows,
};
pub use process::States;

/// Stands for "no row on this side" in the pairs of a join.
pub const NO_ROW: u32 = u32::MAX;

/// The timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = i64::MIN;

impl BytesCol {
    /// No strings, with room for some.
    pub fn with_capacity(strings: usize, bytes: usize) -> BytesCol {
        let mut offsets = Vec::with_capacity(strings + 1);
        offsets.push(0);
        BytesCol {
            offsets,
            data: Vec::with_capacity(bytes),
        }
    }

    /// How many strings.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// String i.
    #[inline]
    pub fn get(&self, i: usize) -> &[u8] {
        &self.data[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }

    /// Appends a string.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
        self.end_string();
    }

    /// Ends a string whose bytes were appended to `data`.
    #[inline]
    pub fn end_string(&mut self) {
        self.offsets.push(self.data.len() as u32);
    }

    /// Removes all strings, keeps the buffers.
    pub fn clear(&mut self) {
        self.offsets.clear();
        self.offsets.push(0);
        self.data.clear();
    }
}

impl Default for BytesCol {
    fn default() -> BytesCol {
        BytesCol {
            offsets: vec![0],
            data: Vec::new(),
        }
    }
}

impl Failure {
    /// A failure for which no single row is to blame.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            row: None,
        }
    }
}

impl Default for Descriptor {
    /// Reads nothing, emits what it passes on.
    fn default() -> Descriptor {
        Descriptor {
            needs: Columns::empty(),
            fields: Vec::new(),
            right_needs: Columns::empty(),
            right_fields: Vec::new(),
            emits: Vec::new(),
            ports: Vec::new(),
            traits: Traits::empty(),
            state_version: 0,
            max_records: 0,
        }
    }
}
