//! Building Arrow's columns of strings, and of nulls.

use arrow_array::{BinaryArray, StringArray};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

/// Rows that are null: they are few, so that the others cost nothing.
#[derive(Debug, Default)]
pub(crate) struct NullRows(Vec<u32>);

impl NullRows {
    /// Row `row` is null. Rows come in order.
    pub fn push(&mut self, row: usize) {
        self.0.push(row as u32);
    }

    /// The null marks of `len` rows.
    pub fn finish(&self, len: usize) -> Option<NullBuffer> {
        if self.0.is_empty() {
            return None;
        }
        let mut valid = BooleanBufferBuilder::new(len);
        valid.append_n(len, true);
        for &row in &self.0 {
            valid.set_bit(row as usize, false);
        }
        Some(NullBuffer::new(valid.finish()))
    }
}

/// Collects strings for an Arrow array.
#[derive(Debug)]
pub(crate) struct Strings {
    offsets: Vec<i32>,
    /// Bytes so far; `end` closes a string.
    pub data: Vec<u8>,
    nulls: NullRows,
}

impl Strings {
    /// Room for so many strings.
    pub fn new(rows: usize) -> Strings {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Strings {
            offsets,
            data: Vec::with_capacity(8 * rows),
            nulls: NullRows::default(),
        }
    }

    /// The string ends here: it is what was appended to `data` since the last one.
    #[inline]
    pub fn end(&mut self) {
        self.offsets
            .push(i32::try_from(self.data.len()).expect("a batch is bounded far below 2 GiB"));
    }

    /// Appends a string.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
        self.end();
    }

    /// Appends a null.
    pub fn push_null(&mut self) {
        self.nulls.push(self.offsets.len() - 1);
        self.end();
    }

    fn finish(self) -> (OffsetBuffer<i32>, Vec<u8>, Option<NullBuffer>) {
        let nulls = self.nulls.finish(self.offsets.len() - 1);
        (
            OffsetBuffer::new(ScalarBuffer::from(self.offsets)),
            self.data,
            nulls,
        )
    }

    /// The array as bytes.
    pub fn into_binary(self) -> BinaryArray {
        let (offsets, data, nulls) = self.finish();
        BinaryArray::new(offsets, Buffer::from_vec(data), nulls)
    }

    /// The array as text.
    ///
    /// # Panics
    /// If something else than whole texts was appended.
    pub fn into_text(self) -> StringArray {
        let (offsets, data, nulls) = self.finish();
        let text = simdutf8::basic::from_utf8(&data).expect("only text was appended");
        if !text.is_ascii() {
            assert!(
                offsets.iter().all(|&at| text.is_char_boundary(at as usize)),
                "only whole texts were appended"
            );
        }
        // SAFETY: the data is UTF-8 and every offset is at a character's boundary, as was just checked; `OffsetBuffer`
        // checked that offsets don't fall, and the last is the data's length. (Arrow's own check is the same,
        // at five times the cost.)
        unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(data), nulls) }
    }
}
