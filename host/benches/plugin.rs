//! The plugin boundary: what a call, a trap and a failing record cost. Guests are the WAT fixtures, so
//! that only the boundary is measured; a native twin does the same work in the same run.
//!
//! `cargo bench -p wasmill --bench plugin`

#![expect(clippy::unwrap_used, reason = "a bench that cannot run may panic")]

use std::hint::black_box;
use std::time::Duration;

use arrow_array::{BinaryArray, Int64Array};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wasmill::plugin::{
    CacheDir, Compiler, Engine, EngineOptions, InstanceTag, Limits, LoadOptions, Plugin, Transform,
};
use wasmill::record::{Batch, Column, Extracted, FieldSpec, Form, Kind, Value};

const RECORDS: usize = 4_096;
const VALUE_BYTES: usize = 100;

const PLAIN: &str = include_str!("../../tests/fixtures/plugins/plain.wat");
const LETTERS: &str = include_str!("../../tests/fixtures/plugins/letters.wat");

fn engine() -> Engine {
    Engine::new(EngineOptions {
        cache: CacheDir::Off,
        ..EngineOptions::new(Compiler::InProcess)
    })
    .unwrap()
}

fn load(engine: &Engine, wat: &str, interruptible: bool) -> Plugin {
    let limits = Limits {
        interruptible,
        ..Limits::default()
    };
    engine
        .load(
            wat.as_bytes(),
            &LoadOptions {
                name: "bench".into(),
                limits,
            },
        )
        .unwrap()
}

fn transform(plugin: &Plugin, function: &str) -> Box<dyn Transform> {
    let descriptor = plugin.open(function, "{}").unwrap();
    let tag = InstanceTag {
        job: "bench".into(),
        step: "step".into(),
        partition: 0,
    };
    plugin.transform(function, "{}", &descriptor, tag).unwrap()
}

/// Values of 100 bytes; `odd` replaces the first letter of one of them.
fn values(odd: Option<(usize, u8)>) -> Batch {
    let all = (0..RECORDS).map(|i| {
        let mut value = vec![b'.'; VALUE_BYTES];
        if let Some((row, letter)) = odd
            && row == i
        {
            value[0] = letter;
        }
        value
    });
    Batch::of(
        RECORDS,
        Value::new(Form::Bytes(BinaryArray::from_iter_values(all))),
    )
}

/// Values whose field /ms was extracted before: one in `every` is above 500.
fn with_field(every: i64) -> Batch {
    let mut batch = values(None);
    let column = Column::Ints(Int64Array::from_iter_values(
        (0..RECORDS as i64).map(|i| if i % every == 0 { 501 } else { i % 500 }),
    ));
    let spec = FieldSpec {
        pointer: "/ms".into(),
        kind: Kind::Ints,
    };
    batch.value.extracted.push((
        spec,
        Extracted {
            column,
            issues: Default::default(),
        },
    ));
    batch
}

fn map(c: &mut Criterion) {
    let engine = engine();
    let plugin = load(&engine, PLAIN, true);
    let mut group = c.benchmark_group("map, 4096 x 100 B");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let mut input = values(None);
    for function in ["same", "copied"] {
        let mut transform = transform(&plugin, function);
        group.bench_function(function, |b| {
            b.iter(|| black_box(transform.process(&mut input).unwrap()))
        });
    }
    let mut trusted = transform(&load(&engine, PLAIN, false), "copied");
    group.bench_function("copied, not interruptible", |b| {
        b.iter(|| black_box(trusted.process(&mut input).unwrap()))
    });
    group.bench_function("native copy", |b| {
        b.iter(|| {
            let Form::Bytes(values) = &input.value.form else {
                unreachable!()
            };
            let data = values.value_data().to_vec();
            let copied = BinaryArray::new(values.offsets().clone(), data.into(), None);
            black_box(Batch::of(RECORDS, Value::new(Form::Bytes(copied))))
        })
    });
    group.finish();
}

fn filter(c: &mut Criterion) {
    let engine = engine();
    let plugin = load(&engine, PLAIN, true);
    let mut group = c.benchmark_group("typed filter, 4096 x 100 B");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (name, every) in [
        ("none kept", i64::MAX),
        ("all kept", 1),
        ("one in eight kept", 8),
    ] {
        let mut input = with_field(every);
        let mut transform = transform(&plugin, "above");
        if name == "none kept" {
            let Column::Ints(_) = &input.value.extracted[0].1.column else {
                unreachable!()
            };
            input.value.extracted[0].1.column = Column::Ints(Int64Array::from_iter_values(
                (0..RECORDS as i64).map(|i| i % 500),
            ));
        }
        group.bench_function(name, |b| {
            b.iter(|| black_box(transform.process(&mut input).unwrap()))
        });
    }
    let input = with_field(8);
    group.bench_function("native, one in eight kept", |b| {
        b.iter(|| {
            let Column::Ints(ms) = &input.value.extracted[0].1.column else {
                unreachable!()
            };
            let kept: Vec<u32> = (0..ms.len() as u32)
                .filter(|i| ms.value(*i as usize) > 500)
                .collect();
            black_box(input.take(&kept))
        })
    });
    group.finish();
}

fn failures(c: &mut Criterion) {
    let engine = engine();
    let plugin = load(&engine, LETTERS, true);
    let mut group = c.benchmark_group("failures");
    let mut one = transform(&plugin, "letters");
    let mut record = Batch::of(
        1,
        Value::new(Form::Bytes(BinaryArray::from_iter_values(["t"]))),
    );
    group.bench_function("one trap and a new instance", |b| {
        b.iter(|| black_box(one.process(&mut record).unwrap()))
    });
    let mut record = Batch::of(
        1,
        Value::new(Form::Bytes(BinaryArray::from_iter_values(["."]))),
    );
    group.bench_function("call with one record", |b| {
        b.iter(|| black_box(one.process(&mut record).unwrap()))
    });
    let rows = [
        ("clean batch", None),
        ("one record rejected", Some((RECORDS / 2, b'r'))),
        ("one panic, row told", Some((RECORDS / 2, b'p'))),
        ("one trap, row not told", Some((RECORDS / 2, b't'))),
    ];
    for (name, odd) in rows {
        let mut input = values(odd);
        let mut transform = transform(&plugin, "letters");
        group.bench_function(name, |b| {
            b.iter(|| black_box(transform.process(&mut input).unwrap()))
        });
    }
    group.finish();
}

fn start(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let options = EngineOptions {
        cache: CacheDir::At(dir.path().into()),
        ..EngineOptions::new(Compiler::InProcess)
    };
    let cached = Engine::new(options).unwrap();
    let mut record = Batch::of(
        1,
        Value::new(Form::Bytes(BinaryArray::from_iter_values(["."]))),
    );
    let mut group = c.benchmark_group("start");
    let off = engine();
    for (name, engine) in [
        ("compiled plugin to first record", off),
        ("cached plugin to first record", cached),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut transform = transform(&load(&engine, LETTERS, true), "letters");
                black_box(transform.process(&mut record).unwrap())
            })
        });
    }
    group.finish();
}

fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

criterion_group! { name = benches; config = config(); targets = map, filter, failures, start }
criterion_main!(benches);
