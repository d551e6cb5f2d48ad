//! Rows as bytes, for state that outlives the process.
//!
//! Must stay stable: checkpoints hold these bytes. A row is
//!
//! | part      | bytes                                                                  | where flag |
//! |-----------|------------------------------------------------------------------------|-----------|
//! | flags     | 1                                                                      |           |
//! | key       | varint length, bytes                                                   | 1         |
//! | timestamp | 8, little endian                                                       | 2         |
//! | value     | varint length, bytes (`format::value_bytes`: JSON for typed values)     | 4         |
//! | headers   | varint count, then name and value of each, with varint lengths         | 8         |
//! | origin    | source 2, partition 4, offset 8, little endian                         | 16        |
//!
//! A part without its flag is null. Varints are LEB128, shortest form. Windows and extracted fields
//! are not kept: the first belong to one step's output only, the others are read again from the value.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int64Builder};
use arrow_array::{Array, BinaryArray};

use super::{Batch, Blobs, Form, Headers, Origin, Origins, Value};

const KEY: u8 = 1;
const TIMESTAMP: u8 = 2;
const VALUE: u8 = 4;
const HEADERS: u8 = 8;
const ORIGIN: u8 = 16;

/// Bytes that are no state of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// They end too early.
    #[error("it ends in the middle of a value")]
    Short,
    /// Something follows where all should be read.
    #[error("{0} bytes follow its end")]
    Long(usize),
    /// A number is not in its shortest form, or too large.
    #[error("a length is malformed")]
    Varint,
    /// Flags that no version has written.
    #[error("unknown flags {0:#04x}")]
    Flags(u8),
    /// Written by a version that this one does not know.
    #[error("unknown version {0}")]
    Version(u8),
    /// Something that cannot be: in words.
    #[error("{0}")]
    Content(&'static str),
}

/// Appends a length.
pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a string with its length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a time.
pub fn put_i64(out: &mut Vec<u8>, n: i64) {
    out.extend_from_slice(&n.to_le_bytes());
}

/// Eight bytes that sort like the number: for names that are in order of time.
pub fn ordered(n: i64) -> [u8; 8] {
    (n as u64 ^ (1 << 63)).to_be_bytes()
}

/// The other way.
pub fn unordered(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)) as i64
}

/// Reads what the `put_` functions wrote.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Broken::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        Ok(self.take(N)?.try_into().expect("N bytes were taken"))
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Broken> {
        Ok(self.array::<1>()?[0])
    }

    /// A time.
    pub fn i64(&mut self) -> Result<i64, Broken> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A length.
    pub fn varint(&mut self) -> Result<u64, Broken> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(Broken::Varint);
            }
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 {
                    Err(Broken::Varint)
                } else {
                    Ok(n)
                };
            }
        }
        Err(Broken::Varint)
    }

    /// A number of things that take at least a byte each: never more than there are bytes.
    pub fn count(&mut self) -> Result<usize, Broken> {
        let n = usize::try_from(self.varint()?).map_err(|_| Broken::Varint)?;
        if n > self.rest.len() {
            Err(Broken::Short)
        } else {
            Ok(n)
        }
    }

    /// A string.
    pub fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let n = self.count()?;
        self.take(n)
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All must be read by now.
    pub fn end(&self) -> Result<(), Broken> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Broken::Long(self.rest.len()))
        }
    }
}

/// The values of a batch as bytes; values that were left out (`Form::Pruned`) are null.
pub fn values_of(batch: &Batch) -> BinaryArray {
    match &batch.value.form {
        Form::Pruned | Form::Null => BinaryArray::new_null(batch.len),
        Form::Bytes(values) => values.clone(),
        _ => crate::format::value_bytes(&mut batch.clone()).clone(),
    }
}

/// Appends a row; `values` is what `values_of` answered. The key is left out where it is known otherwise.
pub fn put_row(out: &mut Vec<u8>, batch: &Batch, values: &BinaryArray, row: usize, with_key: bool) {
    let key = if with_key {
        crate::keyed::key_of(batch, row)
    } else {
        None
    };
    let timestamp = crate::keyed::timestamp_of(batch, row);
    let value = (!values.is_null(row)).then(|| values.value(row));
    let headers = batch
        .headers
        .as_ref()
        .map(|h| (h, h.first[row] as usize..h.first[row + 1] as usize));
    let headers = headers.filter(|(_, range)| !range.is_empty());
    let origin = batch.origins.get(row);
    let flag = |there: bool, flag: u8| if there { flag } else { 0 };
    out.push(
        flag(key.is_some(), KEY)
            | flag(timestamp.is_some(), TIMESTAMP)
            | flag(value.is_some(), VALUE)
            | flag(headers.is_some(), HEADERS)
            | flag(origin.is_some(), ORIGIN),
    );
    if let Some(key) = key {
        put_bytes(out, key);
    }
    if let Some(timestamp) = timestamp {
        put_i64(out, timestamp);
    }
    if let Some(value) = value {
        put_bytes(out, value);
    }
    if let Some((headers, range)) = headers {
        put_varint(out, range.len() as u64);
        for i in range {
            put_bytes(out, headers.names.get(i));
            put_bytes(out, headers.values.get(i));
        }
    }
    if let Some(origin) = origin {
        out.extend_from_slice(&origin.source.to_le_bytes());
        out.extend_from_slice(&origin.partition.to_le_bytes());
        out.extend_from_slice(&origin.offset.to_le_bytes());
    }
}

/// Makes a batch of rows that were stored.
#[derive(Debug)]
pub struct RowsBuilder {
    keys: BinaryBuilder,
    timestamps: Int64Builder,
    values: BinaryBuilder,
    headers: Headers,
    origins: Vec<Origin>,
    len: usize,
}

impl Default for RowsBuilder {
    fn default() -> RowsBuilder {
        RowsBuilder {
            keys: BinaryBuilder::new(),
            timestamps: Int64Builder::new(),
            values: BinaryBuilder::new(),
            headers: Headers {
                first: vec![0],
                names: Blobs::default(),
                values: Blobs::default(),
            },
            origins: Vec::new(),
            len: 0,
        }
    }
}

impl RowsBuilder {
    /// How many rows it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads a row and appends it; answers its timestamp. A row written without key gets `key`. After an error
    /// the builder is of no more use.
    pub fn push(
        &mut self,
        from: &mut Reader<'_>,
        key: Option<&[u8]>,
    ) -> Result<Option<i64>, Broken> {
        let flags = from.byte()?;
        if flags & !(KEY | TIMESTAMP | VALUE | HEADERS | ORIGIN) != 0 {
            return Err(Broken::Flags(flags));
        }
        self.keys.append_option(if flags & KEY != 0 {
            Some(from.bytes()?)
        } else {
            key
        });
        let timestamp = if flags & TIMESTAMP != 0 {
            Some(from.i64()?)
        } else {
            None
        };
        self.timestamps.append_option(timestamp);
        self.values.append_option(if flags & VALUE != 0 {
            Some(from.bytes()?)
        } else {
            None
        });
        if flags & HEADERS != 0 {
            for _ in 0..from.count()? {
                self.headers.names.push(from.bytes()?);
                self.headers.values.push(from.bytes()?);
            }
        }
        self.headers.first.push(self.headers.names.len() as u32);
        self.origins.push(if flags & ORIGIN != 0 {
            let source = u16::from_le_bytes(from.array()?);
            let partition = u32::from_le_bytes(from.array()?);
            Origin {
                source,
                partition,
                offset: u64::from_le_bytes(from.array()?),
            }
        } else {
            Origin::NONE
        });
        self.len += 1;
        Ok(timestamp)
    }

    /// The batch; the builder starts anew.
    pub fn finish(&mut self) -> Batch {
        let RowsBuilder {
            mut keys,
            mut timestamps,
            mut values,
            headers,
            origins,
            len,
        } = std::mem::take(self);
        let (keys, timestamps, values) = (keys.finish(), timestamps.finish(), values.finish());
        let all_null = |nulls: usize| nulls == len;
        Batch {
            keys: (!all_null(keys.null_count())).then_some(keys),
            timestamps: (!all_null(timestamps.null_count())).then_some(timestamps),
            headers: (!headers.names.is_empty()).then(|| Arc::new(headers)),
            origins: if origins.iter().all(|o| *o == Origin::NONE) {
                Origins::None
            } else {
                Origins::Each(origins.into())
            },
            ..Batch::of(
                len,
                Value::new(if all_null(values.null_count()) {
                    Form::Null
                } else {
                    Form::Bytes(values)
                }),
            )
        }
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
