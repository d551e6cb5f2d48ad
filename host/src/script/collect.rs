//! The sinks of a job under test: they keep what they get, to be printed line by line.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::format::envelope::Envelopes;
use crate::record::Batch;
use crate::sink::{SinkError, SinkWriter};

/// (sink, batch), in the order in which they came.
type Collected = Vec<(Arc<str>, Batch)>;

/// Batches that came out since the last look, with the name of their sink.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    batches: Arc<Mutex<Collected>>,
}

impl Collector {
    /// A writer for a sink of this name.
    pub fn writer(&self, sink: &str) -> Box<dyn SinkWriter> {
        Box::new(CollectingWriter {
            sink: Arc::from(sink),
            into: self.clone(),
        })
    }

    /// What came out, as lines of output for this line of the script, in their order: by sink, timestamp,
    /// key, value as text, absent first.
    pub fn lines(&self, script_line: usize) -> Vec<String> {
        let mut rows: Vec<OutputRow> = Vec::new();
        for (sink, mut batch) in std::mem::take(&mut *self.batches.lock()) {
            let values = crate::format::value_bytes(&mut batch);
            let envelopes = Envelopes::of(&mut batch);
            let batch = envelopes.batch();
            for row in 0..batch.len {
                let key = batch
                    .keys
                    .as_ref()
                    .filter(|k| !arrow_array::Array::is_null(*k, row))
                    .map(|k| k.value(row).to_vec());
                let timestamp = batch
                    .timestamps
                    .as_ref()
                    .filter(|t| !arrow_array::Array::is_null(*t, row))
                    .map(|t| t.value(row));
                let value = (!arrow_array::Array::is_null(&values, row))
                    .then(|| values.value(row).to_vec());
                let window = batch
                    .windows
                    .as_ref()
                    .map(|w| (w.ends.value(row), w.starts.value(row)));
                let mut parts = Vec::new();
                envelopes.write_parts(row, &mut parts);
                let parts = String::from_utf8(parts).expect("an envelope is JSON text");
                rows.push(OutputRow {
                    sink: Arc::clone(&sink),
                    timestamp,
                    key,
                    value,
                    window,
                    parts,
                });
            }
        }
        rows.sort();
        rows.iter().map(|row| row.text(script_line)).collect()
    }
}

/// Ordered by its fields, in this order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct OutputRow {
    sink: Arc<str>,
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    /// Beyond what is promised, so that equal results of several windows have one order, too: (end, start).
    window: Option<(i64, i64)>,
    parts: String,
}

impl OutputRow {
    fn text(&self, script_line: usize) -> String {
        let comma = if self.parts.is_empty() { "" } else { "," };
        format!(
            "{{\"line\":{script_line},\"sink\":\"{}\"{comma}{}}}",
            self.sink, self.parts
        )
    }
}

struct CollectingWriter {
    sink: Arc<str>,
    into: Collector,
}

impl SinkWriter for CollectingWriter {
    fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        self.into
            .batches
            .lock()
            .push((Arc::clone(&self.sink), batch));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn prepare(&mut self, _epoch: u64) -> Result<serde_json::Value, SinkError> {
        Ok(serde_json::Value::Null)
    }

    fn commit(&mut self, _epoch: u64, _prepared: &serde_json::Value) -> Result<(), SinkError> {
        Ok(())
    }
}
