//! What groups cost in memory beyond their keys and accumulators.

use arrow_array::{BinaryArray, Int64Array};

use super::test_support::{CountSum, Native, Recorder};
use super::{
    Emit, FunctionFacts, Panes, Trigger, WindowKind, WindowLimits, WindowSpec, WindowStep,
};
use crate::plugin::TimeDomain;
use crate::record::{Batch, Form, Value};
use crate::step::Step;

const GROUPS: usize = 120_000;
const BATCH: usize = 4_000;
/// Bytes of a key, here, and of an accumulator.
const KEY: usize = 10;
const ACCUMULATOR: usize = 16;

/// Bytes a group beyond key and accumulator, with one record for each of many keys.
fn overhead(kind: WindowKind) -> usize {
    let spec = WindowSpec {
        kind,
        time: TimeDomain::Event,
        allowed_lateness_ms: 0,
        emit: Emit::Append,
        trigger: Trigger::default(),
        panes: Panes::Accumulating,
    };
    let facts = FunctionFacts {
        mergeable: true,
        order_dependent: false,
        state_version: 1,
    };
    let function = Box::new(Native(CountSum));
    let mut step = WindowStep::new(spec, function, facts, WindowLimits::default()).unwrap();
    for first in (0..GROUPS).step_by(BATCH) {
        let keys = (first..first + BATCH).map(|key| format!("{key:0KEY$}"));
        let values = BinaryArray::from_iter_values((0..BATCH).map(|_| b"1"));
        let mut batch = Batch::of(BATCH, Value::new(Form::Bytes(values)));
        batch.keys = Some(BinaryArray::from_iter_values(keys));
        batch.timestamps = Some(Int64Array::from(vec![0; BATCH]));
        step.on_batch(0, batch, &mut Recorder::default()).unwrap();
    }
    assert_eq!(step.groups(), GROUPS);
    step.state_bytes() / GROUPS - KEY - ACCUMULATOR
}

#[test]
fn group_costs_at_most_150_bytes_beyond_its_key_and_accumulator() {
    let tumbling = overhead(WindowKind::Tumbling {
        size: 10_000,
        offset: 0,
    });
    let session = overhead(WindowKind::Session { gap: Some(10_000) });
    assert!(tumbling <= 150, "{tumbling} bytes a group");
    assert!(session <= 150, "{session} bytes a session");
}
