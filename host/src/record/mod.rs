//! Records in columns: the one form in which data moves through the host.
//!
//! Plain data: this module does no I/O, knows no format (`format` converts between the forms of a
//! value) and no plugin. Columns are Arrow arrays, because Arrow's layouts are those of the plugin
//! contract: a column crosses the boundary with one copy.

pub(crate) mod arrays;
mod batch;
mod blobs;
pub mod codec;
mod issues;
mod needs;
mod select;
mod value;

pub use batch::{Batch, ErrorInfo, Headers, Origin, Origins, Windows};
pub use blobs::Blobs;
pub use codec::RowsBuilder;
pub use issues::{Issue, IssueRun, Issues};
pub use needs::Needs;
pub use value::{
    Column, CsvRows, EmitField, Extracted, FieldSpec, Form, IssueKind, Kind, Row, Value,
};

/// Number of a source, step, table or sink in its plan.
pub type NodeIndex = u16;

/// Milliseconds since 1970 UTC; the sentinel for "no timestamp" where a column cannot hold nulls.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// Bytes of a key that a message shows.
const KEY_SHOWN: usize = 40;

/// The start of a key, as messages show it.
pub(crate) fn shown_key(key: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&key[..key.len().min(KEY_SHOWN)])
}

/// Stands for "no row on this side" in pairs of a join.
pub const NO_ROW: u32 = u32::MAX;
