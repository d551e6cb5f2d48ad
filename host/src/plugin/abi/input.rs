//! Batches going in: the columns that a function reads, cut to the rows of a call, as slices that
//! wasmtime copies in bulk.
//!
//! Arrow's layouts are the contract's but for three things, each one pass over a column: offsets of a
//! slice start at 0 again, bits become bytes, and null timestamps become the least s64.

use std::sync::Arc;

use arrow_array::types::ByteArrayType;
use arrow_array::{Array, BinaryArray, GenericByteArray, Int64Array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};

use super::types::{BatchIn, BytesIn, ColumnIn, FieldIn};
use crate::plugin::Reads;
use crate::plugin::fields::extracted;
use crate::record::{Batch, Column, Form, Headers, NO_TIMESTAMP, Origins, Value, arrays};

/// The columns of a batch that a function reads.
#[derive(Clone, Debug)]
pub struct InputColumns {
    /// How many rows.
    pub len: usize,
    values: Option<BinaryArray>,
    keys: Option<Option<BinaryArray>>,
    timestamps: Option<Option<Int64Array>>,
    fields: Vec<Column>,
    headers: Option<Arc<Headers>>,
}

impl InputColumns {
    /// Of a batch whose fields are extracted (`fields::settle`).
    pub fn of(batch: &Batch, reads: &Reads) -> InputColumns {
        let values = reads
            .columns
            .values
            .then(|| match (&batch.value.bytes, &batch.value.form) {
                (Some(bytes), _) | (None, Form::Bytes(bytes)) => bytes.clone(),
                (None, Form::Null) => BinaryArray::new_null(batch.len),
                _ => unreachable!(
                    "values are made bytes before a function that reads them is called"
                ),
            });
        InputColumns {
            len: batch.len,
            values,
            keys: reads.columns.keys.then(|| batch.keys.clone()),
            timestamps: reads.columns.timestamps.then(|| batch.timestamps.clone()),
            fields: reads
                .fields
                .iter()
                .map(|f| extracted(batch, &f.spec).column.clone())
                .collect(),
            headers: batch.headers.clone(),
        }
    }

    /// Only these rows.
    pub fn take(&self, rows: &[u32]) -> InputColumns {
        let chosen = arrays::Rows::of(rows);
        InputColumns {
            len: rows.len(),
            values: self.values.as_ref().map(|a| arrays::take_bytes(a, &chosen)),
            keys: self
                .keys
                .as_ref()
                .map(|k| k.as_ref().map(|a| arrays::take_bytes(a, &chosen))),
            timestamps: self
                .timestamps
                .as_ref()
                .map(|t| t.as_ref().map(|a| arrays::take_ints(a, &chosen))),
            fields: self
                .fields
                .iter()
                .map(|c| arrays::take_column(c, &chosen))
                .collect(),
            headers: self.headers_of(|b| b.take(rows)),
        }
    }

    /// Neighbouring rows; nothing is copied.
    pub fn slice(&self, start: usize, len: usize) -> InputColumns {
        if start == 0 && len == self.len {
            return self.clone();
        }
        let chosen = arrays::Rows::Run(start, len);
        InputColumns {
            len,
            values: self.values.as_ref().map(|a| a.slice(start, len)),
            keys: self
                .keys
                .as_ref()
                .map(|k| k.as_ref().map(|a| a.slice(start, len))),
            timestamps: self
                .timestamps
                .as_ref()
                .map(|t| t.as_ref().map(|a| a.slice(start, len))),
            fields: self
                .fields
                .iter()
                .map(|c| arrays::take_column(c, &chosen))
                .collect(),
            headers: self.headers_of(|b| b.slice(start, len)),
        }
    }

    fn headers_of(&self, cut: impl FnOnce(&Batch) -> Batch) -> Option<Arc<Headers>> {
        let headers = self.headers.clone()?;
        let batch = Batch {
            len: self.len,
            keys: None,
            timestamps: None,
            value: Value::new(Form::Null),
            windows: None,
            headers: Some(headers),
            origins: Origins::None,
            errors: None,
        };
        cut(&batch).headers
    }
}

/// Columns in the contract's layout. Made per call; columns that need no change share Arrow's buffers.
pub struct Lowered {
    len: u32,
    values: Option<LoweredBytes>,
    keys: Option<LoweredBytes>,
    timestamps: Option<ScalarBuffer<i64>>,
    fields: Vec<LoweredField>,
    /// Marks that `host.input-nulls` answers.
    pub key_nulls: Option<Vec<u8>>,
    pub value_nulls: Option<Vec<u8>>,
    /// What `host.input-headers` answers.
    pub headers: Option<Arc<Headers>>,
}

/// Strings from offset 0.
pub struct LoweredBytes {
    offsets: ScalarBuffer<u32>,
    data: Buffer,
}

struct LoweredField {
    valid: Option<Vec<u8>>,
    data: LoweredColumn,
}

enum LoweredColumn {
    Text(LoweredBytes),
    Ints(ScalarBuffer<i64>),
    Floats(ScalarBuffer<f64>),
    Bools(Vec<u8>),
    Json(LoweredBytes),
}

impl LoweredBytes {
    /// Of an array or a slice of one.
    pub fn of<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>) -> LoweredBytes {
        let from = array.value_offsets();
        let (first, last) = (from[0], from[from.len() - 1]);
        if first == 0 {
            // The same bits: offsets are never negative.
            let offsets = ScalarBuffer::new(array.offsets().inner().inner().clone(), 0, from.len());
            return LoweredBytes {
                offsets,
                data: array.values().slice_with_length(0, last as usize),
            };
        }
        let offsets: Vec<u32> = from.iter().map(|o| (o - first) as u32).collect();
        LoweredBytes {
            offsets: offsets.into(),
            data: array
                .values()
                .slice_with_length(first as usize, (last - first) as usize),
        }
    }

    fn nulls(len: usize) -> LoweredBytes {
        LoweredBytes {
            offsets: vec![0; len + 1].into(),
            data: Buffer::from_vec(Vec::<u8>::new()),
        }
    }

    /// As wasmtime takes it.
    pub fn view(&self) -> BytesIn<'_> {
        BytesIn {
            offsets: &self.offsets,
            data: self.data.as_slice(),
        }
    }
}

impl Lowered {
    /// The newest timestamp that is passed in; 0 where none is.
    pub fn newest_ms(&self) -> u64 {
        let newest = self.timestamps.iter().flat_map(|t| t.iter()).max();
        newest.map_or(0, |t| u64::try_from(*t).unwrap_or(0))
    }

    /// For one call.
    pub fn of(columns: &InputColumns) -> Lowered {
        let len = columns.len;
        let mut key_nulls = None;
        let keys = columns.keys.as_ref().map(|keys| match keys {
            Some(keys) => {
                key_nulls = null_marks(keys.nulls());
                LoweredBytes::of(keys)
            }
            None => {
                key_nulls = (len > 0).then(|| vec![1; len]);
                LoweredBytes::nulls(len)
            }
        });
        Lowered {
            len: len as u32,
            values: columns.values.as_ref().map(LoweredBytes::of),
            value_nulls: columns.values.as_ref().and_then(|v| null_marks(v.nulls())),
            keys,
            key_nulls,
            timestamps: columns
                .timestamps
                .as_ref()
                .map(|t| lower_timestamps(t.as_ref(), len)),
            fields: columns.fields.iter().map(LoweredField::of).collect(),
            headers: columns.headers.clone(),
        }
    }

    /// Hands the batch to `call`.
    pub fn with<R>(&self, call: impl FnOnce(BatchIn<'_>) -> R) -> R {
        let fields: Vec<FieldIn<'_>> = self.fields.iter().map(LoweredField::view).collect();
        call(BatchIn {
            len: self.len,
            values: self.values.as_ref().map(LoweredBytes::view),
            keys: self.keys.as_ref().map(LoweredBytes::view),
            timestamps: self.timestamps.as_deref(),
            fields: &fields,
        })
    }
}

impl LoweredField {
    fn of(column: &Column) -> LoweredField {
        LoweredField {
            valid: column
                .nulls()
                .filter(|n| n.null_count() > 0)
                .map(|n| expand_bits(n.inner())),
            data: match column {
                Column::Text(a) => LoweredColumn::Text(LoweredBytes::of(a)),
                Column::Json(a) => LoweredColumn::Json(LoweredBytes::of(a)),
                Column::Ints(a) => LoweredColumn::Ints(a.values().clone()),
                Column::Floats(a) => LoweredColumn::Floats(a.values().clone()),
                Column::Bools(a) => LoweredColumn::Bools(expand_bits(a.values())),
            },
        }
    }

    fn view(&self) -> FieldIn<'_> {
        FieldIn {
            valid: self.valid.as_deref(),
            data: match &self.data {
                LoweredColumn::Text(b) => ColumnIn::Text(b.view()),
                LoweredColumn::Json(b) => ColumnIn::Json(b.view()),
                LoweredColumn::Ints(v) => ColumnIn::Ints(v),
                LoweredColumn::Floats(v) => ColumnIn::Floats(v),
                LoweredColumn::Bools(v) => ColumnIn::Bools(v),
            },
        }
    }
}

fn lower_timestamps(array: Option<&Int64Array>, len: usize) -> ScalarBuffer<i64> {
    match array {
        None => vec![NO_TIMESTAMP; len].into(),
        Some(array) => match array.nulls().filter(|n| n.null_count() > 0) {
            None => array.values().clone(),
            Some(nulls) => array
                .values()
                .iter()
                .zip(nulls.iter())
                .map(|(t, there)| if there { *t } else { NO_TIMESTAMP })
                .collect(),
        },
    }
}

/// One byte a row, 1 = null; none: no nulls.
pub fn null_marks(nulls: Option<&NullBuffer>) -> Option<Vec<u8>> {
    let nulls = nulls.filter(|n| n.null_count() > 0)?;
    let mut marks = expand_bits(nulls.inner());
    marks.iter_mut().for_each(|m| *m ^= 1);
    Some(marks)
}

/// One byte a bit, eight at a time.
pub fn expand_bits(bits: &BooleanBuffer) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bits.len().next_multiple_of(64));
    let chunks = bits.bit_chunks();
    let expand = |word: u64, bytes: &mut Vec<u8>| {
        for byte in word.to_le_bytes() {
            // Each byte of the product holds all eight bits; the mask leaves bit i in byte i.
            let spread =
                u64::from(byte).wrapping_mul(0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
            let ones = ((spread + 0x7f7f_7f7f_7f7f_7f7f) >> 7) & 0x0101_0101_0101_0101;
            bytes.extend_from_slice(&ones.to_le_bytes());
        }
    };
    for word in chunks.iter() {
        expand(word, &mut bytes);
    }
    if chunks.remainder_len() > 0 {
        expand(chunks.remainder_bits(), &mut bytes);
    }
    bytes.truncate(bits.len());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_bytes_at_any_offset() {
        let bools: Vec<bool> = (0..201).map(|i| i % 3 == 0 || i % 7 == 2).collect();
        let all = BooleanBuffer::from(bools.clone());
        for start in [0, 1, 7, 64, 130] {
            let expected: Vec<u8> = bools[start..].iter().map(|b| u8::from(*b)).collect();
            assert_eq!(expand_bits(&all.slice(start, 201 - start)), expected);
        }
    }

    #[test]
    fn slices_are_rebased_to_offset_zero() {
        let array = BinaryArray::from_vec(vec![b"ab", b"", b"cde"]);
        let lowered = LoweredBytes::of(&array.slice(1, 2));
        assert_eq!(
            (lowered.view().offsets, lowered.view().data),
            (&[0, 0, 3][..], &b"cde"[..])
        );
        let head = LoweredBytes::of(&array.slice(0, 1));
        assert_eq!(
            (head.view().offsets, head.view().data),
            (&[0, 2][..], &b"ab"[..])
        );
    }
}
