//! Native aggregates and an output that remembers: what window tests and benches need.

use std::sync::Arc;

use arrow_array::{Array, BinaryArray, Int64Array};

use crate::config::plan::Port;
use crate::plugin::{Added, Aggregate, Fault, Finished, RejectKind, Rejected};
use crate::record::{Batch, Blobs, Form, Value, Windows};
use crate::step::{Output, StepError};

/// A record: key, timestamp, value.
pub type Rec = (Option<&'static str>, Option<i64>, i64);

/// A batch of records whose values are numbers as text.
pub fn batch(records: &[Rec]) -> Batch {
    let values: Vec<String> = records.iter().map(|r| r.2.to_string()).collect();
    let values = BinaryArray::from_iter_values(values.iter().map(String::as_bytes));
    let mut batch = Batch::of(records.len(), Value::new(Form::Bytes(values)));
    if records.iter().any(|r| r.0.is_some()) {
        batch.keys = Some(records.iter().map(|r| r.0.map(str::as_bytes)).collect());
    }
    if records.iter().any(|r| r.1.is_some()) {
        batch.timestamps = Some(records.iter().map(|r| r.1).collect::<Int64Array>());
    }
    batch
}

/// The number that a record holds.
pub fn number(batch: &Batch, row: u32) -> i64 {
    let Form::Bytes(values) = &batch.value.form else {
        panic!("test values are bytes")
    };
    std::str::from_utf8(values.value(row as usize))
        .unwrap()
        .parse()
        .unwrap()
}

/// A field policy rejects this value.
pub fn is_bad_field(value: i64) -> bool {
    value % 10 == 8
}

/// `add` rejects this value.
pub fn is_rejected(value: i64) -> bool {
    value % 10 == 7
}

/// The gap that a record chooses; 0 for some.
pub fn gap_of(value: i64) -> i64 {
    value % 10
}

fn rejected(row: u32, message: &str) -> Rejected {
    Rejected {
        row,
        kind: RejectKind::Rejected,
        message: message.to_owned(),
        log: Vec::new(),
    }
}

/// How a test aggregate keeps numbers.
pub trait Fold: Send {
    fn add(&self, acc: &mut Vec<u8>, value: i64);
    fn merge(&self, left: &mut Vec<u8>, right: &[u8]);
    fn text(&self, acc: &[u8]) -> String;
    fn init(&self) -> Vec<u8>;
}

/// Count and sum in 16 bytes.
pub struct CountSum;

impl Fold for CountSum {
    fn add(&self, acc: &mut Vec<u8>, value: i64) {
        let (count, sum) = pair(acc);
        *acc = [(count + 1).to_le_bytes(), (sum + value).to_le_bytes()].concat();
    }

    fn merge(&self, left: &mut Vec<u8>, right: &[u8]) {
        let ((a, b), (c, d)) = (pair(left), pair(right));
        *left = [(a + c).to_le_bytes(), (b + d).to_le_bytes()].concat();
    }

    fn text(&self, acc: &[u8]) -> String {
        let (count, sum) = pair(acc);
        format!("{count}:{sum}")
    }

    fn init(&self) -> Vec<u8> {
        vec![0; 16]
    }
}

fn pair(acc: &[u8]) -> (i64, i64) {
    let number = |at: usize| i64::from_le_bytes(acc[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

/// All values in order, as text.
pub struct Collect;

impl Fold for Collect {
    fn add(&self, acc: &mut Vec<u8>, value: i64) {
        acc.extend(format!("{value},").as_bytes());
    }

    fn merge(&self, left: &mut Vec<u8>, right: &[u8]) {
        left.extend(right);
    }

    fn text(&self, acc: &[u8]) -> String {
        String::from_utf8(acc.to_vec()).unwrap()
    }

    fn init(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// A fold as an aggregate: rejects what `is_bad_field` and `is_rejected` say; refuses what the contract forbids.
pub struct Native<F>(pub F);

impl<F: Fold> Aggregate for Native<F> {
    fn prepare(&mut self, batch: &mut Batch) -> Result<Vec<Rejected>, Fault> {
        let bad = (0..batch.len as u32).filter(|row| is_bad_field(number(batch, *row)));
        Ok(bad.map(|row| rejected(row, "bad field")).collect())
    }

    fn init(&mut self) -> Result<Arc<[u8]>, Fault> {
        Ok(self.0.init().into())
    }

    fn gaps(&mut self, batch: &Batch, rows: &[u32]) -> Result<(Vec<i64>, Vec<Rejected>), Fault> {
        Ok((
            rows.iter().map(|row| gap_of(number(batch, *row))).collect(),
            Vec::new(),
        ))
    }

    fn add(
        &mut self,
        batch: &Batch,
        rows: &[u32],
        groups: &[u32],
        accs: &Blobs,
    ) -> Result<Added, Fault> {
        assert_eq!(rows.len(), groups.len());
        assert!(!rows.is_empty(), "a call without rows");
        let mut touched = vec![false; accs.len()];
        let mut new: Vec<Vec<u8>> = accs.iter().map(<[u8]>::to_vec).collect();
        let mut bad = Vec::new();
        for (row, group) in rows.iter().zip(groups) {
            let value = number(batch, *row);
            assert!(
                !is_bad_field(value),
                "a row that a field policy rejected was given to add"
            );
            touched[*group as usize] = true;
            if is_rejected(value) {
                bad.push(*row);
            } else {
                self.0.add(&mut new[*group as usize], value);
            }
        }
        assert!(
            touched.iter().all(|t| *t),
            "an accumulator crossed that no row touches"
        );
        if bad.is_empty() {
            return Ok(Added::Accumulators(new.into_iter().collect()));
        }
        bad.dedup();
        Ok(Added::Rejected(
            bad.into_iter()
                .map(|row| rejected(row, "rejected"))
                .collect(),
        ))
    }

    fn merge(&mut self, left: &Blobs, right: &Blobs) -> Result<Blobs, Fault> {
        assert_eq!(left.len(), right.len());
        let both = left.iter().zip(right.iter()).map(|(l, r)| {
            let mut l = l.to_vec();
            self.0.merge(&mut l, r);
            l
        });
        Ok(both.collect())
    }

    fn finish(
        &mut self,
        keys: &BinaryArray,
        windows: &Windows,
        accs: &Blobs,
    ) -> Result<Finished, Fault> {
        assert!(
            keys.len() == accs.len()
                && windows.starts.len() == accs.len()
                && windows.ends.len() == accs.len()
        );
        let texts: Vec<String> = accs.iter().map(|acc| self.0.text(acc)).collect();
        let values = BinaryArray::from_iter_values(texts.iter().map(String::as_bytes));
        let groups = (0..accs.len() as u32).collect();
        Ok(Finished {
            batch: Batch::of(accs.len(), Value::new(Form::Bytes(values))),
            groups,
            rejected: Vec::new(),
        })
    }

    fn migrate(&mut self, from_version: u32, accs: &Blobs) -> Result<Blobs, Fault> {
        assert_eq!(from_version, 0);
        Ok(accs.clone())
    }
}

/// Start and end.
pub type Range = (i64, i64);

/// A result: key, window, timestamp, value.
pub type Res = (Option<Vec<u8>>, Option<Range>, Option<i64>, String);

/// Remembers what a step puts out.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Main port.
    pub results: Vec<Res>,
    /// Sizes of its batches.
    pub batches: Vec<usize>,
    /// Values of late records.
    pub late: Vec<i64>,
    /// As counted.
    pub late_count: u64,
    /// Values of rejected records, and why.
    pub rejected: Vec<(i64, String)>,
    /// Results that failed: key, window, why.
    pub rejected_results: Vec<(Option<Vec<u8>>, Option<Range>, String)>,
}

impl Output for Recorder {
    fn emit(&mut self, port: Port, batch: Batch) -> Result<(), StepError> {
        if port == Port::Late {
            self.late
                .extend((0..batch.len as u32).map(|row| number(&batch, row)));
            return Ok(());
        }
        assert_eq!(port, Port::Main);
        self.batches.push(batch.len);
        let Form::Bytes(values) = &batch.value.form else {
            panic!("test results are bytes")
        };
        for row in 0..batch.len {
            let key = batch
                .keys
                .as_ref()
                .filter(|k| k.is_valid(row))
                .map(|k| k.value(row).to_vec());
            let window = batch
                .windows
                .as_ref()
                .map(|w| (w.starts.value(row), w.ends.value(row)));
            let time = batch
                .timestamps
                .as_ref()
                .filter(|t| t.is_valid(row))
                .map(|t| t.value(row));
            self.results.push((
                key,
                window,
                time,
                String::from_utf8(values.value(row).to_vec()).unwrap(),
            ));
        }
        Ok(())
    }

    fn reject(&mut self, batch: &Batch, rejected: Vec<Rejected>) -> Result<(), StepError> {
        assert!(rejected.is_sorted_by_key(|r| r.row));
        self.rejected.extend(
            rejected
                .into_iter()
                .map(|r| (number(batch, r.row), r.message)),
        );
        Ok(())
    }

    fn reject_result(
        &mut self,
        key: Option<&[u8]>,
        window: Option<(i64, i64)>,
        rejected: Rejected,
    ) -> Result<(), StepError> {
        self.rejected_results
            .push((key.map(<[u8]>::to_vec), window, rejected.message));
        Ok(())
    }

    fn count_late(&mut self, records: u64) {
        self.late_count += records;
    }
}
