//! For tests of keyed steps: records as plain text, an output that remembers, native functions.

use arrow_array::{Array, BinaryArray};

use crate::config::plan::Port;
use crate::plugin::{Fault, Join, Joined, RejectKind, Rejected};
use crate::record::{Batch, Form, NO_ROW, Value, codec};
use crate::state::StateEntry;
use crate::step::{Boundary, Output, Progress, Step, StepError, entries_of};
use crate::time::Watermark;

/// A record as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rec {
    pub(crate) ts: Option<i64>,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
}

/// A record with everything.
pub(crate) fn rec(key: &str, value: impl ToString, ts: i64) -> Rec {
    Rec {
        ts: Some(ts),
        key: Some(key.to_owned()),
        value: Some(value.to_string()),
    }
}

pub(crate) fn batch(records: &[Rec]) -> Batch {
    let values: BinaryArray = records
        .iter()
        .map(|r| r.value.as_ref().map(String::as_bytes))
        .collect();
    Batch {
        keys: Some(
            records
                .iter()
                .map(|r| r.key.as_ref().map(String::as_bytes))
                .collect(),
        ),
        timestamps: Some(records.iter().map(|r| r.ts).collect()),
        ..Batch::of(records.len(), Value::new(Form::Bytes(values)))
    }
}

pub(crate) fn records(batch: &Batch) -> Vec<Rec> {
    let values = codec::values_of(batch);
    assert_eq!(values.len(), batch.len);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("tests use text");
    (0..batch.len)
        .map(|row| Rec {
            ts: super::timestamp_of(batch, row),
            key: super::key_of(batch, row).map(text),
            value: (!values.is_null(row)).then(|| text(values.value(row))),
        })
        .collect()
}

/// Remembers what came out, in order.
#[derive(Debug, Default)]
pub(crate) struct Collect {
    pub(crate) main: Vec<Rec>,
    pub(crate) late: Vec<Rec>,
    pub(crate) rejected: Vec<(Rec, String)>,
    pub(crate) results: Vec<(Option<String>, String)>,
    pub(crate) late_count: u64,
    pub(crate) batches: Vec<Batch>,
    /// Rejections end the job.
    pub(crate) fail: bool,
}

impl Output for Collect {
    fn emit(&mut self, port: Port, batch: Batch) -> Result<(), StepError> {
        assert!(batch.len > 0, "empty batches are not put out");
        match port {
            Port::Late => self.late.extend(records(&batch)),
            _ => self.main.extend(records(&batch)),
        }
        self.batches.push(batch);
        Ok(())
    }

    fn reject(&mut self, batch: &Batch, rejected: Vec<Rejected>) -> Result<(), StepError> {
        let rows = records(batch);
        for one in rejected {
            if self.fail {
                return Err(StepError::Failed(one.message));
            }
            self.rejected
                .push((rows[one.row as usize].clone(), one.message));
        }
        Ok(())
    }

    fn reject_result(
        &mut self,
        key: Option<&[u8]>,
        _: Option<(i64, i64)>,
        rejected: Rejected,
    ) -> Result<(), StepError> {
        if self.fail {
            return Err(StepError::Failed(rejected.message));
        }
        self.results.push((
            key.map(|k| String::from_utf8_lossy(k).into_owned()),
            rejected.message,
        ));
        Ok(())
    }

    fn count_late(&mut self, records: u64) {
        self.late_count += records;
    }
}

/// A boundary with the same watermark on both inputs.
pub(crate) fn at(watermark: &[Watermark; 2], now: i64) -> Boundary<'_> {
    Boundary {
        watermark: watermark[0].min(watermark[1]),
        inputs: watermark,
        now,
        end: watermark[0].min(watermark[1]) == Watermark::END,
    }
}

/// Runs a step to the end of a boundary.
pub(crate) fn boundary(step: &mut dyn Step, watermark: i64, out: &mut Collect) {
    let both = [Watermark(watermark); 2];
    while step
        .on_boundary(at(&both, 0), out)
        .expect("the boundary works")
        == Progress::More
    {}
}

/// All of a step's state, in order; checks that nothing is there twice.
pub(crate) fn snapshot(step: &mut dyn Step) -> Vec<StateEntry> {
    let entries = entries_of(step);
    let names: Vec<_> = entries.iter().map(|e| (e.key_group, &e.key)).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "each entry comes once");
    entries
}

/// A join of text: `left|right`, `-` for an absent side; pairs whose two numbers add up to a multiple of
/// `reject` fail.
pub(crate) struct PairUp {
    pub(crate) reject: Option<u64>,
}

impl Join for PairUp {
    fn join(
        &mut self,
        left: &mut Batch,
        right: &mut Batch,
        left_rows: &[u32],
        right_rows: &[u32],
    ) -> Result<Joined, Fault> {
        let (left, right) = (records(left), records(right));
        let value = |side: &[Rec], row: u32| {
            (row != NO_ROW).then(|| side[row as usize].value.clone().unwrap_or("null".into()))
        };
        let (mut values, mut pairs, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
        for (pair, (&l, &r)) in (0..).zip(left_rows.iter().zip(right_rows)) {
            let (l, r) = (value(&left, l), value(&right, r));
            let sum = [&l, &r]
                .into_iter()
                .flatten()
                .map(|v| v.parse::<u64>().unwrap_or(0))
                .sum::<u64>();
            if self.reject.is_some_and(|n| sum.is_multiple_of(n)) {
                rejected.push(Rejected {
                    row: pair,
                    kind: RejectKind::Rejected,
                    message: format!("{sum} is bad"),
                    log: Vec::new(),
                });
            } else {
                pairs.push(pair);
                values.push(format!(
                    "{}|{}",
                    l.unwrap_or("-".into()),
                    r.unwrap_or("-".into())
                ));
            }
        }
        let batch = Batch::of(
            values.len(),
            Value::new(Form::Bytes(BinaryArray::from_iter_values(&values))),
        );
        Ok(Joined {
            batch,
            pairs,
            rejected,
        })
    }
}
