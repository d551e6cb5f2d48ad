//! Random jobs against the model: every kind of windows, output mode, trigger and pane mode, out-of-order and late
//! input, any batch splits, with restores and spills thrown in.

use proptest::prelude::*;

use super::model::{BatchOutcome, Model};
use super::test_support::{Collect, CountSum, Native, Rec, Recorder, Res, batch};
use super::*;
use crate::plugin::TimeDomain;
use crate::spill::test_vault;
use crate::state::testing::Chained;
use crate::step::{Boundary, Progress, Step, entries_of};
use crate::time::Watermark;

#[derive(Clone, Debug)]
enum Op {
    Batch(Vec<Rec>),
    /// The watermark and the clock move on by so much.
    Boundary(i64, i64),
    /// A snapshot: of what changed, if there was one before.
    Snapshot,
    /// Drop everything, restore.
    Restart,
    /// So many quarters of what is in memory may stay there.
    Shed(usize),
    End,
}

fn record() -> impl Strategy<Value = Rec> {
    let key = prop_oneof![
        Just(None),
        Just(Some("")),
        Just(Some("a")),
        Just(Some("b")),
        Just(Some("a key of more than 12 bytes")),
    ];
    (
        key,
        prop_oneof![20 => (-20i64..80).prop_map(Some), 1 => Just(None)],
        0i64..60,
    )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => prop::collection::vec(record(), 0..14).prop_map(Op::Batch),
        4 => (0i64..14, 0i64..12).prop_map(|(w, n)| Op::Boundary(w, n)),
        2 => Just(Op::Snapshot),
        1 => Just(Op::Restart),
        3 => (0usize..4).prop_map(Op::Shed),
    ]
}

fn kind() -> impl Strategy<Value = WindowKind> {
    prop_oneof![
        (1i64..20, -25i64..25).prop_map(|(size, offset)| WindowKind::Tumbling { size, offset }),
        (1i64..20, 1i64..20, -25i64..25).prop_map(|(a, b, offset)| WindowKind::Sliding {
            size: a.max(b),
            every: a.min(b),
            offset
        }),
        (1i64..12).prop_map(|gap| WindowKind::Session { gap: Some(gap) }),
        Just(WindowKind::Session { gap: None }),
        Just(WindowKind::Global),
        (1u64..7, 1u64..7).prop_map(|(size, every)| WindowKind::Count { size, every }),
    ]
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let part = |max: i64| prop_oneof![2 => Just(None), 1 => (1..max).prop_map(Some)];
    (part(5), part(20), part(20)).prop_map(|(records, every_ms, every_event_ms)| Trigger {
        records: records.map(|n| n as u64),
        every_ms,
        every_event_ms,
    })
}

fn spec() -> impl Strategy<Value = WindowSpec> {
    let emit = prop_oneof![Just(Emit::Append), Just(Emit::Update), Just(Emit::Complete)];
    let time = prop_oneof![3 => Just(TimeDomain::Event), 1 => Just(TimeDomain::Processing)];
    (
        kind(),
        time,
        prop_oneof![Just(0i64), 0i64..25],
        emit,
        prop_oneof![Just(Trigger::default()), trigger()],
        any::<bool>(),
    )
        .prop_map(
            |(kind, time, allowed_lateness_ms, emit, trigger, discarding)| {
                let panes = if discarding && emit != Emit::Complete {
                    Panes::Discarding
                } else {
                    Panes::Accumulating
                };
                let mut spec = WindowSpec {
                    kind,
                    time,
                    allowed_lateness_ms,
                    emit,
                    trigger,
                    panes,
                };
                if matches!(spec.kind, WindowKind::Count { .. }) {
                    (spec.emit, spec.trigger, spec.panes) =
                        (Emit::Append, Trigger::default(), Panes::Accumulating);
                }
                if matches!(spec.kind, WindowKind::Count { .. } | WindowKind::Global)
                    || spec.time == TimeDomain::Processing
                {
                    spec.allowed_lateness_ms = 0;
                }
                spec
            },
        )
}

fn facts(order_dependent: bool) -> FunctionFacts {
    FunctionFacts {
        mergeable: true,
        order_dependent,
        state_version: 1,
    }
}

fn step(spec: &WindowSpec, collect: bool) -> WindowStep {
    let function: Box<dyn crate::plugin::Aggregate> = if collect {
        Box::new(Native(Collect))
    } else {
        Box::new(Native(CountSum))
    };
    let limits = WindowLimits::default();
    let mut step = WindowStep::new(spec.clone(), function, facts(collect), limits).unwrap();
    step.take_vault(test_vault());
    step
}

fn listed(values: &[i64]) -> String {
    values.iter().map(|v| format!("{v},")).collect()
}

fn counted(values: &[i64]) -> String {
    format!("{}:{}", values.len(), values.iter().sum::<i64>())
}

/// Results of a batch may come in any order, but those of one group in theirs.
fn by_group(mut results: Vec<Res>) -> Vec<Res> {
    results.sort_by_key(|r| (r.1, r.0.clone()));
    results
}

fn run(spec: WindowSpec, collect: bool, ops: Vec<Op>) {
    let mut engine = step(&spec, collect);
    let mut snapshots = Chained::default();
    let mut model = Model::new(spec.clone(), if collect { listed } else { counted });
    let (mut watermark, mut now) = (Watermark::NONE.0, 0);
    for op in ops {
        let mut out = Recorder::default();
        match op {
            Op::Batch(records) => {
                let owned: Vec<_> = records
                    .iter()
                    .map(|r| (r.0.map(|k| k.as_bytes().to_vec()), r.1, r.2))
                    .collect();
                engine.on_batch(0, batch(&records), &mut out).unwrap();
                let expected = model.batch(&owned);
                let rejected = out.rejected.iter().map(|r| r.0).collect();
                let got = BatchOutcome {
                    results: by_group(out.results),
                    late: out.late,
                    rejected,
                };
                assert_eq!(
                    got,
                    BatchOutcome {
                        results: by_group(expected.results),
                        ..expected
                    },
                    "batch {records:?}"
                );
                assert_eq!(out.late_count, got.late.len() as u64);
            }
            Op::Boundary(w, n) => {
                watermark = if watermark == Watermark::NONE.0 {
                    w - 10
                } else {
                    watermark + w
                };
                now += n;
                let expected = model.boundary(watermark, now, false);
                boundary(&mut engine, watermark, now, false, &mut out);
                assert_eq!(out.results, expected, "boundary at {watermark}, {now}");
            }
            Op::End => {
                let expected = model.boundary(i64::MAX, now, true);
                boundary(&mut engine, i64::MAX, now, true, &mut out);
                assert_eq!(out.results, expected, "at the end");
            }
            Op::Snapshot => snapshots.take(&mut engine),
            Op::Shed(quarters) => {
                let memory = engine.state_bytes();
                engine.shed(memory * quarters / 4).unwrap();
            }
            Op::Restart => {
                // Batches after the last boundary are part of the state here: a step may be asked at any time.
                let entries = snapshots.finish(&mut engine);
                engine = step(&spec, collect);
                for entry in &entries {
                    engine.restore(entry.as_ref()).unwrap();
                }
                engine.resume(Boundary {
                    watermark: Watermark(watermark),
                    inputs: &[],
                    now,
                    end: false,
                });
                assert_eq!(entries, entries_of(&mut engine));
                snapshots = Chained::default();
            }
        }
    }
}

fn boundary(engine: &mut WindowStep, watermark: i64, now: i64, end: bool, out: &mut Recorder) {
    let at = Boundary {
        watermark: Watermark(watermark),
        inputs: &[],
        now,
        end,
    };
    while engine.on_boundary(at, out).unwrap() == Progress::More {
        // Between two turns, too, state may leave.
        let memory = engine.state_bytes();
        engine.shed(memory / 2).unwrap();
    }
}

proptest! {
    // More with PROPTEST_CASES.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(4000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn engine_does_what_the_model_does(spec in spec(), collect in any::<bool>(), mut ops in prop::collection::vec(op(), 1..20), end in any::<bool>()) {
        if end {
            ops.push(Op::End);
        }
        run(spec, collect, ops);
    }
}

#[test]
fn session_that_closed_does_not_fire_again_after_others_that_closed_before_it_were_spilled_with_late_records()
 {
    let spec = WindowSpec {
        kind: WindowKind::Session { gap: None },
        time: TimeDomain::Event,
        allowed_lateness_ms: 9,
        emit: Emit::Append,
        trigger: Trigger::default(),
        panes: Panes::Accumulating,
    };
    let ops = vec![
        Op::Boundary(11, 0),
        Op::Batch(vec![(Some("a"), Some(12), 31)]),
        Op::Boundary(11, 0),
        Op::Batch(vec![(Some("b"), Some(2), 23), (None, Some(2), 4)]),
        Op::Restart,
        Op::Shed(0),
        Op::Batch(vec![(Some("a"), Some(0), 8)]),
        Op::End,
    ];
    run(spec, false, ops);
}
