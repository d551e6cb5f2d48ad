//! What keyed steps are made of: keys as small numbers, rows kept in columns, queues in order of time.
//!
//! Plain data structures: no function is called here, no time is read, and none of them decides what
//! is late or what matches.

mod cold;
mod key_map;
mod map_cold;
mod rows;
mod time_list;
mod time_queue;

pub use cold::{ColdKeys, Dues, first_to_leave, leave};
pub use key_map::{KeyId, KeyMap};
pub use rows::{RowId, RowStore, StoredRows};
pub use time_list::TimeList;
pub use time_queue::TimeQueue;

use arrow_array::{Array, BinaryArray, Int64Array};

use crate::record::{Batch, Form, Value};

/// The key of a row, if it has one.
#[inline]
pub fn key_of(batch: &Batch, row: usize) -> Option<&[u8]> {
    let keys: &BinaryArray = batch.keys.as_ref()?;
    (!keys.is_null(row)).then(|| keys.value(row))
}

/// The timestamp of a row, if it has one.
#[inline]
pub fn timestamp_of(batch: &Batch, row: usize) -> Option<i64> {
    let timestamps: &Int64Array = batch.timestamps.as_ref()?;
    (!timestamps.is_null(row)).then(|| timestamps.value(row))
}

/// Whether a row's value is null: for tables, a deletion. JSON's null is one too: functions put out no other.
#[inline]
pub fn is_null(batch: &Batch, row: usize) -> bool {
    match &batch.value.form {
        Form::Null => true,
        Form::Bytes(values) => values.is_null(row) || values.value(row) == b"null",
        Form::Row(typed) => typed.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)),
        Form::Csv(_) | Form::Pruned => false,
    }
}

/// All of a batch but its values, headers and windows: what results take over from their rows.
pub fn described(batch: &Batch) -> Batch {
    Batch {
        keys: batch.keys.clone(),
        timestamps: batch.timestamps.clone(),
        origins: batch.origins.clone(),
        ..Batch::of(batch.len, Value::new(Form::Null))
    }
}

/// Name of a key in snapshots: 0 for "no key", else 1 and the key. Must stay stable.
pub fn put_entry_key(name: &mut Vec<u8>, key: Option<&[u8]>) {
    name.push(u8::from(key.is_some()));
    name.extend_from_slice(key.unwrap_or_default());
}

/// The other way: which key such a name stands for. None: it is no such name.
pub fn key_of_entry(name: &[u8]) -> Option<Option<&[u8]>> {
    match name {
        [0] => Some(None),
        [1, key @ ..] => Some(Some(key)),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
