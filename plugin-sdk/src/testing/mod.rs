//! Runs functions in `cargo test`, on the author's machine: no host, no Wasm.
//!
//! ```
//! use wasmill_plugin::testing::{open, record};
//! use wasmill_plugin::{Fields, filter};
//!
//! #[derive(Fields)]
//! struct Page {
//!     size: i64,
//! }
//!
//! #[filter]
//! fn large(page: Page) -> bool {
//!     page.size > 100
//! }
//!
//! let ran = open::<large>("{}").run(&[record(r#"{"size":7}"#), record(r#"{"size":700}"#), record("{}")]);
//! assert_eq!(ran.values(), [r#"{"size":700}"#]);
//! assert_eq!(ran.rejected, [(2, "/size is missing".into())]);
//! ```
//!
//! It does what the host does (extracts typed fields, leaves out rejected rows, keeps accumulators and
//! states), one batch at a time, without windows: for whole jobs there is `wasmill test`.

mod extract;
pub(crate) mod host;
mod keyed;

use std::collections::BTreeSet;

use crate::contract::{
    Batch, BytesCol, Columns, Descriptor, Failure, FieldSpec, FunctionKind, Headers, Level, NO_ROW,
    NO_TIMESTAMP, Nulls, Windows,
};
use crate::function::{Export, Instance};
use crate::metrics;
use host::{OutPayload, Recorder};
pub use keyed::Keyed;

/// A record to run a function on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The key, or null.
    pub key: Option<Vec<u8>>,
    /// The value, or null.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since 1970 UTC.
    pub timestamp: Option<i64>,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A record with this value.
pub fn record(value: impl Into<Vec<u8>>) -> Record {
    Record {
        value: Some(value.into()),
        ..Record::default()
    }
}

impl Record {
    /// With this key.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Record {
        self.key = Some(key.into());
        self
    }

    /// With this timestamp.
    pub fn at(mut self, timestamp: i64) -> Record {
        self.timestamp = Some(timestamp);
        self
    }

    /// With this header too.
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Record {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// What a function did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ran {
    /// Records put out, in order.
    pub outputs: Vec<Output>,
    /// Rows (groups, pairs) rejected, each with its reason, in order.
    pub rejected: Vec<(u32, String)>,
    /// Log messages.
    pub logs: Vec<(Level, String)>,
    /// Values of metrics, as sent.
    pub metrics: Vec<(String, f64)>,
}

/// A record put out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The named port, or none for the main output.
    pub port: Option<String>,
    /// Row (group, pair) that it comes from.
    pub source: u32,
    /// The key, as text.
    pub key: Option<String>,
    /// The value, as text; typed fields as a JSON object.
    pub value: Option<String>,
    /// The timestamp.
    pub timestamp: Option<i64>,
}

impl Ran {
    /// Values of the main output.
    pub fn values(&self) -> Vec<&str> {
        self.outputs
            .iter()
            .filter(|o| o.port.is_none())
            .filter_map(|o| o.value.as_deref())
            .collect()
    }

    /// Values of a named port.
    pub fn port(&self, name: &str) -> Vec<&str> {
        let of_port = |o: &&Output| o.port.as_deref() == Some(name);
        self.outputs
            .iter()
            .filter(of_port)
            .filter_map(|o| o.value.as_deref())
            .collect()
    }
}

/// Rows of a left and a right side; none = no row on that side.
pub type Pair = (Option<u32>, Option<u32>);

/// An opened function.
pub struct Opened {
    instance: Box<dyn Instance>,
    kind: FunctionKind,
    descriptor: Descriptor,
}

/// Opens a function with a config (JSON).
///
/// # Panics
/// If the config is refused; [`try_open`] answers why.
pub fn open<F: Export>(config: &str) -> Opened {
    try_open::<F>(config).unwrap_or_else(|message| panic!("{message}"))
}

/// Opens a function with a config (JSON), or says what is wrong with it.
pub fn try_open<F: Export>(config: &str) -> Result<Opened, String> {
    let instance = (F::FUNCTION.open)(config.as_bytes()).map_err(|failure| failure.message)?;
    let descriptor = instance.descriptor();
    Ok(Opened {
        instance,
        kind: F::FUNCTION.kind,
        descriptor,
    })
}

/// A batch of records as the function gets it, and the rows that its fields' policies reject.
fn batch(records: &[Record], needs: Columns, fields: &[FieldSpec]) -> (Batch, Vec<(u32, String)>) {
    let values: Vec<_> = records.iter().map(|r| r.value.as_deref()).collect();
    let (columns, rejected) = extract::extract(&values, fields);
    let wanted = |flag: Columns| needs & flag == flag;
    let strings = |of: fn(&Record) -> &Option<Vec<u8>>| {
        let mut column = BytesCol::default();
        records
            .iter()
            .for_each(|r| column.push(of(r).as_deref().unwrap_or_default()));
        column
    };
    let batch = Batch {
        len: records.len() as u32,
        values: wanted(Columns::VALUES).then(|| strings(|r| &r.value)),
        keys: wanted(Columns::KEYS).then(|| strings(|r| &r.key)),
        timestamps: wanted(Columns::TIMESTAMPS).then(|| {
            records
                .iter()
                .map(|r| r.timestamp.unwrap_or(NO_TIMESTAMP))
                .collect()
        }),
        fields: columns,
    };
    (batch, rejected)
}

fn nulls(records: &[Record]) -> Option<Nulls> {
    let marks = |of: fn(&Record) -> bool| {
        let marks: Vec<u8> = records.iter().map(|r| u8::from(of(r))).collect();
        marks.contains(&1).then_some(marks)
    };
    Some(Nulls {
        keys: marks(|r| r.key.is_none()),
        values: marks(|r| r.value.is_none()),
    })
}

fn headers(records: &[Record]) -> Option<Headers> {
    records.iter().any(|r| !r.headers.is_empty()).then(|| {
        let mut all = Headers {
            first: vec![0],
            names: BytesCol::default(),
            values: BytesCol::default(),
        };
        for record in records {
            for (name, value) in &record.headers {
                all.names.push(name.as_bytes());
                all.values.push(value);
            }
            all.first.push(all.names.len() as u32);
        }
        all
    })
}

/// Starts a recorded call.
fn start(rows: u32, left: &[Record], right: &[Record]) {
    metrics::reset();
    crate::logging::forget_level();
    host::start(Recorder {
        rows,
        nulls: [nulls(left), nulls(right)],
        headers: headers(left),
        ..Recorder::default()
    });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Opened {
    /// What it reads and writes.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Runs a transform or filter on one batch.
    ///
    /// # Panics
    /// If the call answers a failure, or the function is of another kind.
    pub fn run(&mut self, records: &[Record]) -> Ran {
        let (_, mut rejected) = batch(records, self.descriptor.needs, &self.descriptor.fields);
        let out_of: BTreeSet<u32> = rejected.iter().map(|r| r.0).collect();
        let rows: Vec<u32> = (0..records.len() as u32)
            .filter(|row| !out_of.contains(row))
            .collect();
        let kept: Vec<Record> = rows
            .iter()
            .map(|row| records[*row as usize].clone())
            .collect();
        let (input, _) = batch(&kept, self.descriptor.needs, &self.descriptor.fields);
        start(kept.len() as u32, &kept, &[]);
        let mut filtered = None;
        match self.kind {
            FunctionKind::Transform => self.instance.transform(input).unwrap_or_else(failed),
            _ => filtered = Some(self.instance.filter(input).unwrap_or_else(failed)),
        }
        metrics::send();
        let recorder = host::stop();
        let failed: BTreeSet<u32> = recorder.rejected.iter().map(|r| r.0).collect();
        let mut ran = self.ran(recorder, &kept, &|source| Some(&kept[source as usize]));
        if let Some(keep) = filtered {
            assert_eq!(keep.len(), kept.len(), "a filter answers one byte a record");
            for (row, _) in keep
                .iter()
                .enumerate()
                .filter(|(row, k)| **k != 0 && !failed.contains(&(*row as u32)))
            {
                let record = &kept[row];
                ran.outputs.push(Output {
                    port: None,
                    source: row as u32,
                    key: record.key.as_deref().map(text),
                    value: record.value.as_deref().map(text),
                    timestamp: record.timestamp,
                });
            }
        }
        for output in &mut ran.outputs {
            output.source = rows[output.source as usize];
        }
        rejected.extend(
            ran.rejected
                .drain(..)
                .map(|(row, reason)| (rows[row as usize], reason)),
        );
        rejected.sort_by_key(|r| r.0);
        ran.rejected = rejected;
        ran
    }

    /// Runs an aggregate over these records as one group, and puts its result out.
    pub fn aggregate(&mut self, records: &[Record]) -> Ran {
        let (acc, rejected) = self.accumulate(records);
        let mut ran = self.finish(&acc);
        ran.rejected.splice(0..0, rejected);
        ran
    }

    /// The accumulator of these records, and the rows that were rejected.
    pub fn accumulate(&mut self, records: &[Record]) -> (Vec<u8>, Vec<(u32, String)>) {
        let (input, mut rejected) = batch(records, self.descriptor.needs, &self.descriptor.fields);
        start(records.len() as u32, records, &[]);
        let init = self.instance.init().unwrap_or_else(failed);
        loop {
            let out: BTreeSet<u32> = rejected.iter().map(|r| r.0).collect();
            let rows: Vec<u32> = (0..input.len).filter(|row| !out.contains(row)).collect();
            let mut accs = BytesCol::default();
            accs.push(&init);
            start(records.len() as u32, records, &[]);
            let groups = vec![0; rows.len()];
            let all = rows.len() == records.len();
            let accs = self
                .instance
                .add(input.clone(), (!all).then_some(rows), groups, accs)
                .unwrap_or_else(failed);
            let recorder = host::stop();
            if recorder.rejected.is_empty() {
                assert_eq!(accs.len(), 1, "add answers one accumulator a group");
                rejected.sort_by_key(|r| r.0);
                return (accs.get(0).to_vec(), rejected);
            }
            rejected.extend(recorder.rejected);
        }
    }

    /// Merges two accumulators.
    pub fn merge(&mut self, left: &[u8], right: &[u8]) -> Result<Vec<u8>, Failure> {
        let column = |bytes: &[u8]| {
            let mut column = BytesCol::default();
            column.push(bytes);
            column
        };
        self.instance
            .merge(column(left), column(right))
            .map(|merged| merged.get(0).to_vec())
    }

    /// Brings an accumulator of an older version up to date.
    pub fn migrate(&mut self, from_version: u32, state: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut states = BytesCol::default();
        states.push(state);
        self.instance
            .migrate(from_version, states)
            .map(|new| new.get(0).to_vec())
    }

    /// Puts the result of an accumulator out, for key `k` and window [0, 1000).
    pub fn finish(&mut self, acc: &[u8]) -> Ran {
        self.finish_for("k", acc)
    }

    /// Puts the result of an accumulator out, for this key and window [0, 1000).
    pub fn finish_for(&mut self, key: &str, acc: &[u8]) -> Ran {
        let (mut keys, mut accs) = (BytesCol::default(), BytesCol::default());
        keys.push(key.as_bytes());
        accs.push(acc);
        start(1, &[], &[]);
        let windows = Windows {
            starts: vec![0],
            ends: vec![1000],
        };
        self.instance
            .finish(keys, windows, accs)
            .unwrap_or_else(failed);
        metrics::send();
        let recorder = host::stop();
        self.ran(recorder, &[], &|_| None)
    }

    /// Session gaps of the records, in milliseconds.
    pub fn gaps(&mut self, records: &[Record]) -> Result<Vec<i64>, Failure> {
        let (input, _) = batch(records, self.descriptor.needs, &self.descriptor.fields);
        start(records.len() as u32, records, &[]);
        self.instance.gaps(input)
    }

    /// Runs a join on pairs of rows; none = no row on that side.
    pub fn join(&mut self, left: &[Record], right: &[Record], pairs: &[Pair]) -> Ran {
        let d = &self.descriptor;
        let (left_batch, left_bad) = batch(left, d.needs, &d.fields);
        let (right_batch, right_bad) = batch(right, d.right_needs, &d.right_fields);
        let bad = |bad: &[(u32, String)], row: Option<u32>| {
            row.and_then(|row| bad.iter().find(|b| b.0 == row))
                .map(|b| b.1.clone())
        };
        let (mut good, mut rejected) = (Vec::new(), Vec::new());
        for (i, (l, r)) in pairs.iter().enumerate() {
            match bad(&left_bad, *l).or_else(|| bad(&right_bad, *r)) {
                Some(reason) => rejected.push((i as u32, reason)),
                None => good.push(i as u32),
            }
        }
        let rows = |side: fn(&Pair) -> Option<u32>| {
            good.iter()
                .map(|i| side(&pairs[*i as usize]).unwrap_or(NO_ROW))
                .collect()
        };
        start(good.len() as u32, left, right);
        self.instance
            .join(left_batch, right_batch, rows(|p| p.0), rows(|p| p.1))
            .unwrap_or_else(failed);
        metrics::send();
        let recorder = host::stop();
        let pair_of = |source: u32| pairs[good[source as usize] as usize];
        let mut ran = self.joined(recorder, left, right, &pair_of);
        for output in &mut ran.outputs {
            output.source = good[output.source as usize];
        }
        rejected.extend(
            ran.rejected
                .drain(..)
                .map(|(pair, reason)| (good[pair as usize], reason)),
        );
        rejected.sort_by_key(|r| r.0);
        ran.rejected = rejected;
        ran
    }

    /// The function with states and timers kept, to be driven record by record.
    pub fn keyed(self) -> Keyed {
        Keyed::new(self)
    }

    fn ran(&self, recorder: Recorder, left: &[Record], record_of: &RecordOf<'_>) -> Ran {
        let input = |source: u32, field: u32| {
            let (batch, _) = batch(left, Columns::empty(), &self.descriptor.fields);
            extract::member(&batch.fields[field as usize], source as usize, &|_| {
                "null".into()
            })
        };
        self.made(recorder, record_of, &input)
    }

    fn joined(
        &self,
        recorder: Recorder,
        left: &[Record],
        right: &[Record],
        pair_of: &dyn Fn(u32) -> Pair,
    ) -> Ran {
        let (d, lefts) = (&self.descriptor, self.descriptor.fields.len() as u32);
        let (l, _) = batch(left, Columns::empty(), &d.fields);
        let (r, _) = batch(right, Columns::empty(), &d.right_fields);
        let input = |source: u32, field: u32| {
            let (row, fields, field) = match field.checked_sub(lefts) {
                None => (pair_of(source).0, &l.fields, field),
                Some(field) => (pair_of(source).1, &r.fields, field),
            };
            row.map_or("null".into(), |row| {
                extract::member(&fields[field as usize], row as usize, &|_| "null".into())
            })
        };
        let record_of = |source: u32| pair_of(source).0.map(|row| &left[row as usize]);
        self.made(recorder, &record_of, &input)
    }

    fn made(
        &self,
        recorder: Recorder,
        record_of: &RecordOf<'_>,
        input: &dyn Fn(u32, u32) -> String,
    ) -> Ran {
        let failed: BTreeSet<u32> = recorder.rejected.iter().map(|r| r.0).collect();
        let names: Vec<String> = self
            .descriptor
            .emits
            .iter()
            .map(|e| e.name.clone())
            .collect();
        let kept = recorder.outs.iter().filter(|o| !failed.contains(&o.source));
        let outputs = kept.map(|out| {
            let record = record_of(out.source);
            let value = match &out.payload {
                OutPayload::Null => None,
                OutPayload::Inherit => record.and_then(|r| r.value.as_deref()).map(text),
                OutPayload::Bytes(bytes) => Some(text(bytes)),
                OutPayload::Fields(fields, row) => {
                    Some(extract::object(fields, &names, *row, &|field| {
                        input(out.source, field)
                    }))
                }
            };
            let key = match &out.key {
                Some(key) => key.as_deref().map(text),
                None => record.and_then(|r| r.key.as_deref()).map(text),
            };
            let port = out.port.map(|p| self.descriptor.ports[p as usize].clone());
            let timestamp = out.timestamp.or_else(|| record.and_then(|r| r.timestamp));
            Output {
                port,
                source: out.source,
                key,
                value,
                timestamp,
            }
        });
        let mut rejected = recorder.rejected.clone();
        rejected.sort_by_key(|r| r.0);
        Ran {
            outputs: outputs.collect(),
            rejected,
            logs: recorder.logs.clone(),
            metrics: recorder.metrics.clone(),
        }
    }
}

/// The record that an output comes from, if it comes from one.
type RecordOf<'a> = dyn Fn(u32) -> Option<&'a Record> + 'a;

fn failed<T>(failure: Failure) -> T {
    panic!("the call answered a failure: {}", failure.message)
}
