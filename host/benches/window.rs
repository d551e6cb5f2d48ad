//! Windows alone, with a native count: what the engine itself costs a record; and with the plugin's, what it costs a job.
//!
//! `cargo xtask plugins && cargo bench -p wasmill --bench window`

#![expect(clippy::unwrap_used, reason = "a bench that cannot run may panic")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{BinaryArray, Int64Array};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wasmill::config::plan::Port;
use wasmill::plugin::{
    Added, Aggregate, CacheDir, Compiler, Engine, EngineOptions, Fault, Finished, InstanceTag,
    Limits, LoadOptions, Rejected, TimeDomain,
};
use wasmill::record::{Batch, Blobs, Form, Value, Windows};
use wasmill::step::{Boundary, Output, Progress, Step, StepError};
use wasmill::time::Watermark;
use wasmill::window::{
    Emit, FunctionFacts, Panes, Trigger, WindowKind, WindowLimits, WindowSpec, WindowStep,
};

/// Counts in eight bytes.
struct Count;

impl Aggregate for Count {
    fn prepare(&mut self, _: &mut Batch) -> Result<Vec<Rejected>, Fault> {
        Ok(Vec::new())
    }
    fn init(&mut self) -> Result<Arc<[u8]>, Fault> {
        Ok(Arc::from([0u8; 8]))
    }
    fn gaps(&mut self, _: &Batch, rows: &[u32]) -> Result<(Vec<i64>, Vec<Rejected>), Fault> {
        Ok((vec![1; rows.len()], Vec::new()))
    }
    fn add(&mut self, _: &Batch, _: &[u32], groups: &[u32], accs: &Blobs) -> Result<Added, Fault> {
        let mut data = accs.data().to_vec();
        for group in groups {
            let at = *group as usize * 8;
            let bytes: &mut [u8; 8] = (&mut data[at..at + 8]).try_into().expect("eight bytes");
            *bytes = (u64::from_le_bytes(*bytes) + 1).to_le_bytes();
        }
        Ok(Added::Accumulators(Blobs::from_parts(
            accs.offsets().to_vec(),
            data,
        )))
    }
    fn merge(&mut self, left: &Blobs, right: &Blobs) -> Result<Blobs, Fault> {
        let mut merged = left.data().to_vec();
        for (l, r) in merged.chunks_exact_mut(8).zip(right.data().chunks_exact(8)) {
            let number = |b: &[u8]| u64::from_le_bytes(b.try_into().expect("eight bytes"));
            let sum = number(l) + number(r);
            l.copy_from_slice(&sum.to_le_bytes());
        }
        Ok(Blobs::from_parts(left.offsets().to_vec(), merged))
    }
    fn finish(&mut self, _: &BinaryArray, _: &Windows, accs: &Blobs) -> Result<Finished, Fault> {
        let values = BinaryArray::from_iter_values(accs.iter());
        let groups = (0..accs.len() as u32).collect();
        Ok(Finished {
            batch: Batch::of(accs.len(), Value::new(Form::Bytes(values))),
            groups,
            rejected: Vec::new(),
        })
    }
    fn migrate(&mut self, _: u32, accs: &Blobs) -> Result<Blobs, Fault> {
        Ok(accs.clone())
    }
}

/// Counts results and drops them.
#[derive(Default)]
struct Sink(usize);

impl Output for Sink {
    fn emit(&mut self, _: Port, batch: Batch) -> Result<(), StepError> {
        self.0 += black_box(batch).len;
        Ok(())
    }
    fn reject(&mut self, _: &Batch, rejected: Vec<Rejected>) -> Result<(), StepError> {
        panic!("{rejected:?}")
    }
    fn reject_result(
        &mut self,
        _: Option<&[u8]>,
        _: Option<(i64, i64)>,
        rejected: Rejected,
    ) -> Result<(), StepError> {
        panic!("{rejected:?}")
    }
    fn count_late(&mut self, _: u64) {}
}

/// The standard plugin's count.
fn std_count() -> Box<dyn Aggregate> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/plugins/wasmill-std.wasm"
    );
    let bytes = std::fs::read(path).expect("cargo xtask plugins puts it there");
    let engine = Engine::new(EngineOptions {
        cache: CacheDir::Off,
        ..EngineOptions::new(Compiler::InProcess)
    });
    let options = LoadOptions {
        name: "std".into(),
        limits: Limits::default(),
    };
    let plugin = engine.unwrap().load(&bytes, &options).unwrap();
    let descriptor = plugin.open("count", "{}").unwrap();
    let tag = InstanceTag {
        job: "bench".into(),
        step: "step".into(),
        partition: 0,
    };
    plugin.aggregate("count", "{}", &descriptor, tag).unwrap()
}

fn step(kind: WindowKind) -> WindowStep {
    step_with(kind, Box::new(Count))
}

fn step_with(kind: WindowKind, function: Box<dyn Aggregate>) -> WindowStep {
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
    WindowStep::new(spec, function, facts, WindowLimits::default()).expect("a sound spec")
}

const BATCH: usize = 4096;

/// Batches of records over `keys` keys in random order, `per_ms` a millisecond.
fn batches(records: usize, keys: u64, per_ms: f64) -> Vec<(Batch, i64)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let values = BinaryArray::from_iter_values((0..BATCH).map(|_| b""));
    let mut at = 0;
    (0..records / BATCH)
        .map(|_| {
            let names: Vec<String> = (0..BATCH)
                .map(|_| format!("key{:07}", random() % keys))
                .collect();
            let times: Vec<i64> = (at..at + BATCH)
                .map(|i| (i as f64 / per_ms) as i64)
                .collect();
            at += BATCH;
            let newest = times[BATCH - 1];
            let mut batch = Batch::of(BATCH, Value::new(Form::Bytes(values.clone())));
            batch.keys = Some(BinaryArray::from_iter_values(
                names.iter().map(String::as_bytes),
            ));
            batch.timestamps = Some(Int64Array::from(times));
            (batch, newest - 1)
        })
        .collect()
}

fn boundary(step: &mut WindowStep, watermark: i64, sink: &mut Sink) -> Duration {
    let at = Boundary {
        watermark: Watermark(watermark),
        inputs: &[],
        now: 0,
        end: false,
    };
    let mut longest = Duration::ZERO;
    loop {
        let start = cpu();
        let progress = step.on_boundary(at, sink).expect("it works");
        longest = longest.max(cpu() - start);
        if progress == Progress::Done {
            return longest;
        }
    }
}

fn run(step: &mut WindowStep, batches: &[(Batch, i64)]) -> usize {
    let mut sink = Sink::default();
    for (batch, watermark) in batches {
        step.on_batch(0, batch.clone(), &mut sink)
            .expect("it works");
        boundary(step, *watermark, &mut sink);
    }
    sink.0
}

/// CPU time of this thread: other work on the machine does not count.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn windows(c: &mut Criterion) {
    let mut group = c.benchmark_group("window");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(200));
    let cases: [(&str, WindowKind, u64, f64); 6] = [
        (
            "tumbling 10 s, 1,000 keys",
            WindowKind::Tumbling {
                size: 10_000,
                offset: 0,
            },
            1_000,
            100.0,
        ),
        (
            "tumbling 10 s, 10,000 keys",
            WindowKind::Tumbling {
                size: 10_000,
                offset: 0,
            },
            10_000,
            100.0,
        ),
        (
            "tumbling 1 h, 1,000,000 keys",
            WindowKind::Tumbling {
                size: 3_600_000,
                offset: 0,
            },
            1_000_000,
            100.0,
        ),
        // 1,000 records a second of event time and key.
        (
            "sliding 60 s by 1 s, 100 keys",
            WindowKind::Sliding {
                size: 60_000,
                every: 1_000,
                offset: 0,
            },
            100,
            100.0,
        ),
        (
            "session 100 ms, 10,000 keys",
            WindowKind::Session { gap: Some(100) },
            10_000,
            100.0,
        ),
        (
            "count 100, 10,000 keys",
            WindowKind::Count {
                size: 100,
                every: 100,
            },
            10_000,
            100.0,
        ),
    ];
    let plain = cases.iter().cloned().map(|case| (case, false));
    // Many keys against few, as jobs have them: with a plugin.
    let guest = [cases[0].clone(), cases[2].clone()];
    let guest = guest.into_iter().map(|case| (case, true));
    for ((name, kind, keys, per_ms), guest) in plain.chain(guest) {
        let name = match guest {
            true => format!("{name}, std.count"),
            false => name.to_owned(),
        };
        let records = if keys >= 1_000_000 { 2 << 20 } else { 1 << 20 };
        let input = batches(records, keys, per_ms);
        group.throughput(Throughput::Elements(records as u64));
        let new = || match guest {
            true => step_with(kind.clone(), std_count()),
            false => step(kind.clone()),
        };
        // Many keys: time the steady state, not the growing of tables.
        let mut grown = (keys >= 1_000_000).then(|| {
            let mut step = new();
            run(&mut step, &input);
            step
        });
        let mut once = || {
            let mut fresh = None;
            let step = grown.as_mut().unwrap_or_else(|| fresh.insert(new()));
            let start = cpu();
            black_box(run(step, &input));
            cpu() - start
        };
        group.bench_function(name, |b| {
            b.iter_custom(|times| (0..times).map(|_| once()).sum());
        });
    }
    group.finish();
}

/// A million groups: what they take, and how long the longest part of closing them is.
fn closing(c: &mut Criterion) {
    let input = batches(8 << 20, 1_000_000, 100.0);
    let fill = |kind: WindowKind| {
        let mut step = step(kind);
        let mut sink = Sink::default();
        for (batch, _) in &input {
            step.on_batch(0, batch.clone(), &mut sink)
                .expect("it works");
        }
        step
    };
    for (name, kind) in [
        (
            "tumbling",
            WindowKind::Tumbling {
                size: 3_600_000,
                offset: 0,
            },
        ),
        (
            "session",
            WindowKind::Session {
                gap: Some(3_600_000),
            },
        ),
    ] {
        let mut step = fill(kind);
        let groups = step.groups();
        // Keys have ten bytes, accumulators eight.
        let overhead = step.state_bytes() as f64 / groups as f64 - 18.0;
        let start = cpu();
        let longest = boundary(&mut step, i64::MAX, &mut Sink::default());
        println!(
            "{name}: {groups} groups, {overhead:.0} B overhead each, closed in {:?}, longest part {longest:?}",
            cpu() - start
        );
    }
    let _ = c;
}

criterion_group!(benches, windows, closing);
criterion_main!(benches);
