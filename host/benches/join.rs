//! Keyed steps alone, from memory, with native functions: an interval join of two streams with one match a
//! record, dedup, and a million timers set and fired. In CPU time, so that other load doesn't matter.
//!
//! `cargo bench -p wasmill --bench join`

use std::hint::black_box;
use std::time::Duration;

use arrow_array::builder::BinaryBuilder;
use arrow_array::{BinaryArray, Int64Array};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wasmill::config::plan::Port;
use wasmill::dedup::DedupStep;
use wasmill::join::{Exclusive, JoinBounds, JoinKind, JoinSpec, JoinStep};
use wasmill::plugin::{
    Fault, FiredTimer, Join, Joined, Process, Processed, Rejected, TimeDomain, TimerOp,
};
use wasmill::process::{ProcessSpec, ProcessStep};
use wasmill::record::{Batch, Blobs, Form, Value};
use wasmill::step::{Boundary, Output, Progress, Step, StepError};
use wasmill::time::Watermark;

/// Runs on fresh input so often, and answers the CPU time of this thread: a busy machine changes nothing.
fn cpu_time<I>(times: u64, mut input: impl FnMut() -> I, mut run: impl FnMut(I)) -> Duration {
    let now = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let mut total = Duration::ZERO;
    for _ in 0..times {
        let input = input();
        let start = now();
        run(input);
        let end = now();
        let nanos = (end.tv_sec - start.tv_sec) * 1_000_000_000 + (end.tv_nsec - start.tv_nsec);
        total += Duration::from_nanos(u64::try_from(nanos).expect("time goes on"));
    }
    total
}

const BATCH: usize = 4096;
const RECORDS: usize = 245 * BATCH;

/// Counts what comes out.
#[derive(Default)]
struct Count(usize);

impl Output for Count {
    fn emit(&mut self, _: Port, batch: Batch) -> Result<(), StepError> {
        self.0 += black_box(batch).len;
        Ok(())
    }
    fn reject(&mut self, _: &Batch, rejected: Vec<Rejected>) -> Result<(), StepError> {
        panic!("nothing fails here: {rejected:?}")
    }
    fn reject_result(
        &mut self,
        _: Option<&[u8]>,
        _: Option<(i64, i64)>,
        rejected: Rejected,
    ) -> Result<(), StepError> {
        panic!("nothing fails here: {rejected:?}")
    }
    fn count_late(&mut self, records: u64) {
        panic!("{records} late records")
    }
}

/// Values one behind the other: what any join has to copy at least.
struct Glue;

fn bytes(batch: &Batch) -> &BinaryArray {
    match &batch.value.form {
        Form::Bytes(values) => values,
        other => panic!("bytes went in, not {other:?}"),
    }
}

impl Join for Glue {
    fn join(
        &mut self,
        left: &mut Batch,
        right: &mut Batch,
        left_rows: &[u32],
        right_rows: &[u32],
    ) -> Result<Joined, Fault> {
        let (left, right) = (bytes(left), bytes(right));
        let (mut offsets, mut data) = (
            Vec::with_capacity(left_rows.len() + 1),
            Vec::with_capacity(left_rows.len() * 110),
        );
        offsets.push(0_i32);
        for (&l, &r) in left_rows.iter().zip(right_rows) {
            data.extend_from_slice(left.value(l as usize));
            data.extend_from_slice(right.value(r as usize));
            offsets.push(data.len() as i32);
        }
        let values = BinaryArray::new(
            arrow_buffer::OffsetBuffer::new(offsets.into()),
            data.into(),
            None,
        );
        let pairs = (0..left_rows.len() as u32).collect();
        Ok(Joined {
            batch: Batch::of(left_rows.len(), Value::new(Form::Bytes(values))),
            pairs,
            rejected: Vec::new(),
        })
    }
}

/// Every key counts its records and has a timer, 1,000 s after the last.
struct Remind;

impl Process for Remind {
    fn prepare(&mut self, _: &mut Batch) -> Result<Vec<Rejected>, Fault> {
        Ok(Vec::new())
    }
    fn process(
        &mut self,
        batch: &Batch,
        rows: &[u32],
        groups: &[u32],
        _: &BinaryArray,
        states: &[Option<Box<[u8]>>],
        fired: &[FiredTimer],
    ) -> Result<Processed, Fault> {
        let mut states = states.to_vec();
        let mut timers = Vec::with_capacity(rows.len());
        let times = batch.timestamps.as_ref();
        for (&row, &group) in rows.iter().zip(groups) {
            let time = times.expect("timed").value(row as usize) + 1_000_000;
            timers.push(TimerOp {
                group,
                domain: TimeDomain::Event,
                time,
                set: true,
            });
            states[group as usize] = Some(Box::from(1_u64.to_le_bytes()));
        }
        for timer in fired {
            states[timer.group as usize] = None;
        }
        let values = BinaryArray::from_iter_values(fired.iter().map(|t| t.time.to_le_bytes()));
        let sources = (rows.len() as u32..).take(fired.len()).collect();
        let out = Batch::of(fired.len(), Value::new(Form::Bytes(values)));
        Ok(Processed {
            ports: vec![(out, sources)],
            states,
            timers,
            rejected: Vec::new(),
        })
    }
    fn migrate(&mut self, _: u32, states: &Blobs) -> Result<Blobs, Fault> {
        Ok(states.clone())
    }
}

/// Batches of records, 1,000 to a second of event time; `key(i)` is the key of record i.
fn stream(seed: u64, key: impl Fn(u64) -> u64) -> Vec<Batch> {
    (0..RECORDS as u64)
        .collect::<Vec<_>>()
        .chunks(BATCH)
        .map(|numbers| {
            let mut keys = BinaryBuilder::new();
            let mut values = BinaryBuilder::new();
            for &i in numbers {
                keys.append_value(format!("k{:07}", key(i)));
                values.append_value(format!(
                    "{{\"id\":{i},\"user\":\"u{}\",\"amount\":{}}}",
                    (i * seed) % 10_000,
                    i % 977
                ));
            }
            Batch {
                keys: Some(keys.finish()),
                timestamps: Some(Int64Array::from_iter_values(
                    numbers.iter().map(|&i| i as i64),
                )),
                ..Batch::of(numbers.len(), Value::new(Form::Bytes(values.finish())))
            }
        })
        .collect()
}

fn boundary(step: &mut dyn Step, watermark: i64, out: &mut Count) {
    let inputs = [Watermark(watermark); 2];
    let at = Boundary {
        watermark: inputs[0],
        inputs: &inputs,
        now: 0,
        end: false,
    };
    while step.on_boundary(at, out).expect("works") == Progress::More {}
}

/// Name, key of record i, bound of the join in milliseconds.
type Case = (&'static str, fn(u64) -> u64, i64);

fn joins(c: &mut Criterion) {
    let mut group = c.benchmark_group("interval-join");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4))
        .warm_up_time(Duration::from_secs(1));
    // Records of each side.
    group.throughput(Throughput::Elements(RECORDS as u64));
    let cases: [Case; 3] = [
        ("one-pair-a-key", |i| i * 7_919 % 10_000_000, 10_000),
        ("10k-keys", |i| i * 7_919 % 10_000, 5_000),
        // 200,000 rows a side in state.
        (
            "one-pair-a-key-large-state",
            |i| i * 7_919 % 10_000_000,
            200_000,
        ),
    ];
    for (name, key, back) in cases {
        let (left, right) = (stream(3, key), stream(5, key));
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                cpu_time(
                    times,
                    || (left.clone(), right.clone()),
                    |(left, right)| {
                        let bounds = JoinBounds::Interval {
                            from: -back,
                            to: back,
                            exclusive: Exclusive::Neither,
                        };
                        let spec = JoinSpec {
                            kind: JoinKind::Inner,
                            bounds,
                            allowed_lateness_ms: 0,
                        };
                        let mut step = JoinStep::new(spec, Some(Box::new(Glue)));
                        let mut out = Count::default();
                        for (i, (left, right)) in left.into_iter().zip(right).enumerate() {
                            step.on_batch(0, left, &mut out).expect("taken");
                            step.on_batch(1, right, &mut out).expect("taken");
                            boundary(&mut step, ((i + 1) * BATCH) as i64 - 1, &mut out);
                        }
                        assert_eq!(out.0, RECORDS);
                    },
                )
            });
        });
    }
    group.finish();
}

fn keyed(c: &mut Criterion) {
    let mut group = c.benchmark_group("keyed");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4))
        .warm_up_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(RECORDS as u64));
    let records = stream(3, |i| i * 7_919 % 10_000_000);
    group.bench_function("dedup-all-new", |b| {
        b.iter_custom(|times| {
            cpu_time(
                times,
                || records.clone(),
                |records| {
                    let (mut step, mut out) = (DedupStep::new(60_000), Count::default());
                    for (i, batch) in records.into_iter().enumerate() {
                        step.on_batch(0, batch, &mut out).expect("taken");
                        boundary(&mut step, ((i + 1) * BATCH) as i64 - 1, &mut out);
                    }
                    assert_eq!(out.0, RECORDS);
                },
            )
        });
    });
    group.bench_function("timers-set-and-fired", |b| {
        b.iter_custom(|times| {
            cpu_time(
                times,
                || records.clone(),
                |records| {
                    let spec = ProcessSpec {
                        ttl_ms: 10_000_000,
                        time: TimeDomain::Event,
                        state_version: 0,
                    };
                    let (mut step, mut out) =
                        (ProcessStep::new(spec, Box::new(Remind)), Count::default());
                    for batch in records {
                        step.on_batch(0, batch, &mut out).expect("taken");
                        boundary(&mut step, 0, &mut out);
                    }
                    // All of them are pending now.
                    boundary(&mut step, 10_000_000, &mut out);
                    assert_eq!(out.0, RECORDS);
                },
            )
        });
    });
    group.finish();
}

criterion_group!(benches, joins, keyed);
criterion_main!(benches);
