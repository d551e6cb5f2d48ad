//! Reading and writing alone, without any step: bytes of a file to batches, records to lines.
//!
//! `cargo bench -p wasmill --bench io`. The yardstick of reading is the copy of the same bytes.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use arrow_array::{BinaryArray, Int64Array};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wasmill::config::plan::{
    BatchLimits, CsvSpec, FormatSpec, GeneratorSpec, OnError, SourceConnector, SourcePlan,
};
use wasmill::record::{Batch, Form, Value, Windows};
use wasmill::sink::encode::{LineFormat, Lines};
use wasmill::source::{Read, open};
use wasmill::time::Clock;

const LIMITS: BatchLimits = BatchLimits {
    records: 4096,
    bytes: 1 << 20,
    latency_ms: 10,
};
const RECORDS: u64 = 500_000;

fn plan(connector: SourceConnector, format: FormatSpec) -> SourcePlan {
    SourcePlan {
        name: "in".to_string(),
        connector,
        format,
        key: None,
        timestamp: None,
        event_time: None,
        on_error: OnError::Fail,
    }
}

fn file(path: &Path, format: FormatSpec, partitions: Option<usize>) -> SourcePlan {
    let pattern = path.to_string_lossy().into_owned();
    plan(
        SourceConnector::File {
            pattern,
            partitions,
            watch_ms: None,
            reach: Default::default(),
        },
        format,
    )
}

fn read(plan: &SourcePlan) -> usize {
    let mut records = 0;
    let mut source = open(plan, 0, &Clock::System).expect("a right plan");
    for mut reader in source.discover().expect("found") {
        while let Read::Batch(batch, _) = reader.read(&LIMITS).expect("readable") {
            records += black_box(batch).len;
        }
    }
    records
}

fn sources(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("folder");
    let json: String = (0..RECORDS)
        .map(|i| {
            format!(
                "{{\"id\":{i},\"user\":\"u{}\",\"page\":\"/shop/item/{}\",\"ts\":{},\"ms\":{}}}\n",
                i % 10_000,
                i % 977,
                1_700_000_000_000 + i,
                i % 500
            )
        })
        .collect();
    let path = folder.path().join("in.jsonl");
    fs::write(&path, &json).expect("write");
    let rows: String =
        "year,month,day,dep_time,dep_delay,arr_time,arr_delay,carrier,tailnum,flight,origin,dest\n"
            .to_string()
            + &(0..RECORDS)
                .map(|i| {
                    format!(
                        "2013,1,{},{},2,830,11,UA,N{},1545,EWR,IAH\n",
                        i % 31,
                        i % 2400,
                        i % 9999
                    )
                })
                .collect::<String>();
    let csv = folder.path().join("in.csv");
    fs::write(&csv, &rows).expect("write");
    let spec = FormatSpec::Csv(CsvSpec {
        delimiter: b',',
        header: true,
        columns: None,
        nulls: vec![String::new()],
        strings: false,
    });

    let mut group = c.benchmark_group("source");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(RECORDS));
    group.bench_function("copy of the same bytes", |b| {
        b.iter(|| fs::read(&path).expect("read").len())
    });
    group.bench_function("lines", |b| {
        b.iter(|| read(&file(&path, FormatSpec::Lines, None)))
    });
    group.bench_function("lines, split in 4", |b| {
        b.iter(|| read(&file(&path, FormatSpec::Lines, Some(4))))
    });
    group.bench_function("csv", |b| b.iter(|| read(&file(&csv, spec.clone(), None))));
    group.bench_function("csv, split in 4", |b| {
        b.iter(|| read(&file(&csv, spec.clone(), Some(4))))
    });
    let generator = GeneratorSpec {
        records: Some(RECORDS),
        rate: None,
        seed: 1,
        partitions: 1,
        template: None,
    };
    let generator = plan(SourceConnector::Generator(generator), FormatSpec::Json);
    group.bench_function("generator, default template", |b| {
        b.iter(|| read(&generator))
    });
    group.finish();
}

fn sinks(c: &mut Criterion) {
    let keys: BinaryArray = (0..4096)
        .map(|i| Some(format!("user-{i}").into_bytes()))
        .collect();
    let values: BinaryArray = (0..4096)
        .map(|i| Some(format!("{{\"count\":{i},\"sum\":{}}}", i * 7).into_bytes()))
        .collect();
    let mut batch = Batch::of(4096, Value::new(Form::Bytes(values)));
    batch.keys = Some(keys);
    batch.timestamps = Some(Int64Array::from(vec![1_700_000_009_999; 4096]));
    batch.windows = Some(Windows {
        starts: vec![1_700_000_000_000; 4096].into(),
        ends: vec![1_700_000_010_000; 4096].into(),
    });
    let mut group = c.benchmark_group("sink");
    group.throughput(Throughput::Elements(4096));
    for (name, format) in [
        ("envelopes", LineFormat::Envelope),
        ("values", LineFormat::Value),
    ] {
        let mut lines = Lines::new(format);
        group.bench_function(name, |b| {
            b.iter(|| {
                lines.push(batch.clone());
                lines.consume(black_box(lines.bytes()).len());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, sources, sinks);
criterion_main!(benches);
