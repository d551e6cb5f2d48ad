//! Records as messages: which bytes are key, value and headers, and which topic they name.

use std::ffi::CString;

use arrow_array::{Array, BinaryArray, Int64Array};

use crate::config::plan::FileFormat;
use crate::format::envelope::Envelopes;
use crate::format::value_bytes;
use crate::record::{Batch, ErrorInfo, Headers};

/// A batch as messages. Cloning shares the columns.
#[derive(Clone)]
pub struct Messages {
    /// Values, as they are sent.
    pub values: BinaryArray,
    /// Keys.
    pub keys: Option<BinaryArray>,
    /// Timestamps.
    pub timestamps: Option<Int64Array>,
    /// Headers of the records.
    pub headers: Option<std::sync::Arc<Headers>>,
    /// What was wrong with them: goes into headers.
    pub errors: Option<std::sync::Arc<[ErrorInfo]>>,
    /// The topic that each names, where that is asked for.
    pub topics: Option<Vec<Option<String>>>,
}

impl Messages {
    /// Of a batch. `topic_from`: JSON pointer to the topic's name.
    pub fn of(
        mut batch: Batch,
        format: FileFormat,
        headers: bool,
        topic_from: Option<&str>,
    ) -> Messages {
        let topics = topic_from.map(|pointer| topics(&mut batch, pointer));
        let (values, errors) = match format {
            FileFormat::Value => (value_bytes(&mut batch), batch.errors.clone()),
            FileFormat::Json => {
                let len = batch.len;
                let envelopes = Envelopes::of(&mut batch);
                let mut line = Vec::new();
                let mut values = arrow_array::builder::BinaryBuilder::new();
                for row in 0..len {
                    line.clear();
                    envelopes.write(row, &mut line);
                    values.append_value(&line);
                }
                // The envelope has them.
                (values.finish(), None)
            }
        };
        Messages {
            values,
            keys: batch.keys,
            timestamps: batch.timestamps,
            headers: batch.headers.filter(|_| headers),
            errors,
            topics,
        }
    }

    /// Records.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Bytes that they hold.
    pub fn bytes(&self) -> usize {
        let keys = self.keys.as_ref().map_or(0, |k| k.value_data().len());
        self.values.value_data().len() + keys + 16 * self.len()
    }

    /// Header entries of a record.
    pub fn headers_of(&self, row: usize, into: &mut Vec<(CString, Vec<u8>)>) {
        into.clear();
        let mut push = |name: &[u8], value: &[u8]| {
            // A name with NUL cannot be sent; the part before it can.
            let name: Vec<u8> = name.iter().copied().take_while(|b| *b != 0).collect();
            into.push((CString::new(name).unwrap_or_default(), value.to_vec()));
        };
        if let Some(headers) = &self.headers {
            let of = headers.first[row] as usize..headers.first[row + 1] as usize;
            for i in of {
                push(headers.names.get(i), headers.values.get(i));
            }
        }
        if let Some(error) = self.errors.as_ref().map(|e| &e[row]) {
            push(b"error.step", error.step.as_bytes());
            push(b"error.kind", error.kind.as_bytes());
            push(b"error.message", error.message.as_bytes());
            if let Some(function) = &error.function {
                push(b"error.function", function.as_bytes());
            }
            if let Some(plugin) = &error.plugin_sha256 {
                push(b"error.plugin-sha256", plugin.as_bytes());
            }
            if let Some(source) = &error.source {
                push(b"error.source", source.as_bytes());
            }
            if let Some(partition) = error.partition {
                push(b"error.partition", partition.to_string().as_bytes());
            }
            if let Some(offset) = error.offset {
                push(b"error.offset", offset.to_string().as_bytes());
            }
        }
    }

    /// Whether any record has headers.
    pub fn any_headers(&self) -> bool {
        self.headers.is_some() || self.errors.is_some()
    }
}

/// The text at a pointer in each value; none where there is none.
fn topics(batch: &mut Batch, pointer: &str) -> Vec<Option<String>> {
    let values = value_bytes(batch);
    (0..values.len())
        .map(|row| {
            if values.is_null(row) {
                return None;
            }
            let value: serde_json::Value = serde_json::from_slice(values.value(row)).ok()?;
            value.pointer(pointer)?.as_str().map(str::to_owned)
        })
        .collect()
}
