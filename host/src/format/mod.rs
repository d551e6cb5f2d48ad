//! Formats: cutting bytes into records, reading fields, keys and timestamps from values, writing values.
//!
//! Per record: one that is malformed is reported by row, and never costs the batch. Whatever form values
//! have (JSON documents, typed rows, CSV cells), they are read without being turned into another one first.

mod decimal;
mod decode;
mod fields;
mod found;
mod json;
mod keys;
mod mask;
mod number;
mod pointer;
mod row;
mod row_lines;
mod strings;
mod timestamps;
mod whole;
mod write;

pub mod csv;
pub mod envelope;

use arrow_array::{Array, BinaryArray, Int64Array};

pub use decode::{Wanted, decode};

use crate::config::plan::{KeyPointers, TimestampSpec};
use crate::plugin::Rejected;
use crate::record::{Batch, FieldSpec, Form};

/// Sees to it that `batch.value.extracted` has each of the fields; those that it has already are not read again.
///
/// # Panics
/// If the plan had the values left out before.
pub fn extract_fields(batch: &mut Batch, specs: &[FieldSpec]) {
    decode(
        batch,
        &Wanted {
            fields: specs,
            ..Wanted::default()
        },
    );
}

/// The keys that the values hold, and the rows that have none (null there). The rows' `kind` is `Field`.
/// Reads nothing else: where fields and timestamps are wanted too, `decode` reads all in one pass.
pub fn keys(batch: &mut Batch, pointers: &KeyPointers) -> (BinaryArray, Vec<Rejected>) {
    let before = batch.keys.take();
    let rejected = decode(
        batch,
        &Wanted {
            key: Some(pointers),
            ..Wanted::default()
        },
    );
    let keys = std::mem::replace(&mut batch.keys, before);
    (keys.expect("decode sets the keys asked for"), rejected)
}

/// The timestamps that the values hold, and the rows that have none (null there). As `keys`.
pub fn timestamps(batch: &mut Batch, spec: &TimestampSpec) -> (Int64Array, Vec<Rejected>) {
    let before = batch.timestamps.take();
    let rejected = decode(
        batch,
        &Wanted {
            timestamp: Some(spec),
            ..Wanted::default()
        },
    );
    let timestamps = std::mem::replace(&mut batch.timestamps, before);
    (
        timestamps.expect("decode sets the timestamps asked for"),
        rejected,
    )
}

/// The rows whose values are not JSON documents. Values in other forms than bytes always are; a null is fine.
pub fn check_documents(batch: &mut Batch) -> Vec<Rejected> {
    decode(
        batch,
        &Wanted {
            documents: true,
            ..Wanted::default()
        },
    )
}

/// The values as bytes: typed rows and CSV cells become compact JSON objects, once; the batch keeps them.
///
/// # Panics
/// If the plan had the values left out before.
pub fn value_bytes(batch: &mut Batch) -> BinaryArray {
    if let Some(bytes) = &batch.value.bytes {
        return bytes.clone();
    }
    let bytes = match &batch.value.form {
        Form::Bytes(bytes) => return bytes.clone(),
        Form::Null => BinaryArray::new_null(batch.len),
        Form::Row(rows) => row::bytes(rows, batch.len),
        Form::Csv(rows) => csv::bytes(rows),
        Form::Pruned => panic!("the plan left the values out before they were asked for"),
    };
    debug_assert_eq!(bytes.len(), batch.len);
    batch.value.bytes = Some(bytes.clone());
    bytes
}

#[cfg(test)]
mod tests;
