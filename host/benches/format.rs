//! Reading and writing values: extraction from JSON beside a serde_json struct, CSV to columns, typed rows to
//! JSON, selecting and joining batches. Each figure is for a batch of 4,096 records.
//!
//! `cargo bench -p wasmill --bench format`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array, BinaryArray, Float64Array, Int64Array, StringArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use wasmill::config::plan::{CsvSpec, KeyPointers, TimeUnit, TimestampSpec};
use wasmill::format::csv::RowCutter;
use wasmill::format::{Wanted, decode, envelope, extract_fields, value_bytes};
use wasmill::record::{Batch, Column, EmitField, FieldSpec, Form, Kind, Row, Value, Windows};

const RECORDS: usize = 4096;

fn documents(of: impl Fn(usize) -> String) -> BinaryArray {
    let texts: Vec<String> = (0..RECORDS).map(of).collect();
    texts.iter().map(|text| Some(text.as_bytes())).collect()
}

fn small(i: usize) -> String {
    let (user, ms, score) = (i * 7919 % 256, i * 31 % 1000, (i % 977) as f64 / 8.0);
    format!(
        r#"{{"user":"user{user:04}","ms":{ms},"page":"/index/{:03}","ts":{},"score":{score},"country":"de"}}"#,
        i % 100,
        1_700_000_000_000u64 + i as u64
    )
}

fn large(i: usize) -> String {
    let mut text = small(i);
    text.pop();
    text.insert_str(
        1,
        r#""id":"a2b7c9d0-1111-4222-8333-abcdefabcdef","version":3,"active":true,"#,
    );
    text.push_str(r#","agent":"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0","referrer":"https://example.org/start/page","width":1920,"height":1080,"#);
    text.push_str(r#""lang":"de-DE","session":"s-9f8e7d6c5b","tags":["a","b","c"],"zip":"10115","lat":52.53,"lon":13.38,"plan":"free"}"#);
    text
}

#[derive(Deserialize)]
struct One {
    ms: i64,
}

#[derive(Deserialize)]
struct Two<'a> {
    user: &'a str,
    ms: i64,
}

#[derive(Deserialize)]
struct Four<'a> {
    user: &'a str,
    ms: i64,
    ts: i64,
    score: f64,
}

fn spec(pointer: &str, kind: Kind) -> FieldSpec {
    FieldSpec {
        pointer: pointer.into(),
        kind,
    }
}

fn fields(n: usize) -> Vec<FieldSpec> {
    let all = [
        spec("/ms", Kind::Ints),
        spec("/user", Kind::Text),
        spec("/ts", Kind::Ints),
        spec("/score", Kind::Floats),
    ];
    all[..n].to_vec()
}

fn extraction(c: &mut Criterion) {
    for (name, values) in [("small", documents(small)), ("large", documents(large))] {
        let mut group = c.benchmark_group(format!("extract {name}"));
        group.throughput(Throughput::Elements(RECORDS as u64));
        let texts: Vec<&[u8]> = (0..values.len()).map(|i| values.value(i)).collect();
        group.bench_function("1 field, serde_json", |b| {
            b.iter(|| {
                texts
                    .iter()
                    .map(|t| {
                        serde_json::from_slice::<One>(t)
                            .expect("a good document")
                            .ms
                    })
                    .sum::<i64>()
            })
        });
        group.bench_function("2 fields, serde_json", |b| {
            b.iter(|| {
                let two = texts
                    .iter()
                    .map(|t| serde_json::from_slice::<Two>(t).expect("a good document"));
                two.map(|two| two.ms + two.user.len() as i64).sum::<i64>()
            })
        });
        group.bench_function("4 fields, serde_json", |b| {
            b.iter(|| {
                let four = texts
                    .iter()
                    .map(|t| serde_json::from_slice::<Four>(t).expect("a good document"));
                four.map(|four| four.ms + four.ts + four.user.len() as i64 + four.score as i64)
                    .sum::<i64>()
            })
        });
        let batch = Batch::of(RECORDS, Value::new(Form::Bytes(values.clone())));
        for n in [1, 2, 4] {
            let fields = fields(n);
            group.bench_function(format!("{n} fields"), |b| {
                b.iter(|| {
                    let mut batch = batch.clone();
                    extract_fields(&mut batch, &fields);
                    batch
                })
            });
        }
        let (key, timestamp) = (
            KeyPointers::One("/user".into()),
            TimestampSpec {
                pointer: "/ts".into(),
                unit: TimeUnit::Millis,
                format: None,
            },
        );
        let fields = fields(1);
        group.bench_function("key, timestamp and 1 field", |b| {
            let wanted = Wanted {
                key: Some(&key),
                timestamp: Some(&timestamp),
                fields: &fields,
                documents: true,
            };
            b.iter(|| {
                let mut batch = batch.clone();
                assert!(decode(&mut batch, &wanted).is_empty());
                batch
            })
        });
        group.bench_function("check only", |b| {
            b.iter(|| {
                decode(
                    &mut batch.clone(),
                    &Wanted {
                        documents: true,
                        ..Wanted::default()
                    },
                )
            })
        });
        group.finish();
    }
}

fn flights() -> Vec<u8> {
    let mut text = String::from(
        "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour\n",
    );
    for i in 0..RECORDS {
        let (delay, air) = if i % 40 == 0 {
            ("NA".into(), "NA".into())
        } else {
            ((i % 90).to_string(), (i % 300).to_string())
        };
        let carrier = ["UA", "AA", "B6", "DL"][i % 4];
        text.push_str(&format!("2013,1,{},517,515,{delay},830,819,11,{carrier},{},N14228,EWR,IAH,{air},1400,5,15,2013-01-01T10:00:00Z\n", 1 + i % 28, i % 2000));
    }
    text.into_bytes()
}

fn csv(c: &mut Criterion) {
    let text = flights();
    let csv = CsvSpec {
        delimiter: b',',
        header: true,
        columns: None,
        nulls: vec!["".into(), "NA".into()],
        strings: false,
    };
    let cut = |cutter: &mut RowCutter| {
        cutter.set_position(wasmill::format::csv::RowPlace { line: 1, record: 1 }, 0);
        cutter.cut(&text, true, RECORDS, usize::MAX);
        let cut = cutter.take().expect("rows were cut");
        assert_eq!(cut.rows.len(), RECORDS);
        Batch::of(RECORDS, Value::new(Form::Csv(cut.rows)))
    };
    let four = [
        spec("/origin", Kind::Text),
        spec("/carrier", Kind::Text),
        spec("/dep_delay", Kind::Ints),
        spec("/air_time", Kind::Ints),
    ];
    let mut group = c.benchmark_group("csv");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let mut cutter = RowCutter::new(&csv, 1 << 20);
    group.bench_function("cut 19 columns", |b| b.iter(|| cut(&mut cutter)));
    let batch = cut(&mut cutter);
    group.bench_function("4 fields of 19 columns", |b| {
        b.iter(|| {
            let mut batch = batch.clone();
            extract_fields(&mut batch, &four);
            batch
        })
    });
    group.bench_function("line to 4 fields", |b| {
        b.iter(|| {
            let mut batch = cut(&mut cutter);
            extract_fields(&mut batch, &four);
            batch
        })
    });
    let timestamp = TimestampSpec {
        pointer: "/time_hour".into(),
        unit: TimeUnit::Millis,
        format: None,
    };
    let key = KeyPointers::Many(vec!["/origin".into(), "/carrier".into()]);
    group.bench_function("RFC 3339 timestamp and a key of 2", |b| {
        let wanted = Wanted {
            key: Some(&key),
            timestamp: Some(&timestamp),
            ..Wanted::default()
        };
        b.iter(|| {
            let mut batch = batch.clone();
            assert!(decode(&mut batch, &wanted).is_empty());
            batch
        })
    });
    group.bench_function("19 columns to JSON", |b| {
        b.iter(|| value_bytes(&mut batch.clone()))
    });
    group.finish();
}

fn typed() -> Batch {
    let schema: Arc<[EmitField]> = [("user", Kind::Text), ("ms2", Kind::Ints)]
        .map(|(name, kind)| EmitField {
            name: name.into(),
            kind,
        })
        .into();
    let users: StringArray = (0..RECORDS)
        .map(|i| Some(format!("user{:04}", i * 7919 % 256)))
        .collect();
    let columns = vec![
        Column::Text(users),
        Column::Ints(
            (0..RECORDS as i64)
                .map(|i| i * 31 % 2000)
                .collect::<Vec<_>>()
                .into(),
        ),
    ];
    Batch::of(
        RECORDS,
        Value::new(Form::Row(Row {
            schema,
            columns,
            nulls: None,
        })),
    )
}

fn writing(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let batch = typed();
    group.bench_function("row of text and integer", |b| {
        b.iter(|| value_bytes(&mut batch.clone()))
    });
    let schema: Arc<[EmitField]> = [EmitField {
        name: "mean".into(),
        kind: Kind::Floats,
    }]
    .into();
    let means: Float64Array = (0..RECORDS).map(|i| Some(i as f64 / 7.0)).collect();
    let floats = Batch::of(
        RECORDS,
        Value::new(Form::Row(Row {
            schema,
            columns: vec![Column::Floats(means)],
            nulls: None,
        })),
    );
    group.bench_function("row of a float", |b| {
        b.iter(|| value_bytes(&mut floats.clone()))
    });

    let results = |value: Value| {
        let mut batch = Batch::of(RECORDS, value);
        batch.keys = Some(
            (0..RECORDS)
                .map(|i| Some(format!("user{i:04}")))
                .collect::<Vec<_>>()
                .iter()
                .map(|k| k.as_deref().map(str::as_bytes))
                .collect(),
        );
        let ends: Vec<i64> = (0..RECORDS as i64)
            .map(|i| 1_700_000_000_000 + i / 100 * 10_000)
            .collect();
        batch.timestamps = Some(ends.iter().map(|end| end - 1).collect::<Vec<_>>().into());
        batch.windows = Some(Windows {
            starts: ends
                .iter()
                .map(|end| end - 10_000)
                .collect::<Vec<_>>()
                .into(),
            ends: Int64Array::from(ends),
        });
        batch
    };
    let mut out = Vec::new();
    for (name, batch) in [
        ("typed", results(typed().value)),
        (
            "bytes",
            results(Value::new(Form::Bytes(value_bytes(&mut typed())))),
        ),
    ] {
        group.bench_function(format!("envelopes of {name} results"), |b| {
            b.iter(|| {
                out.clear();
                envelope::write_envelopes(&mut batch.clone(), &mut out);
                out.len()
            })
        });
    }
    group.finish();
}

fn selecting(c: &mut Criterion) {
    let mut group = c.benchmark_group("select");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let mut batch = Batch::of(RECORDS, Value::new(Form::Bytes(documents(small))));
    extract_fields(&mut batch, &fields(4));
    let third: Vec<u32> = (0..RECORDS as u32).filter(|i| i % 3 != 0).collect();
    let scattered: Vec<u32> = (0..RECORDS as u32)
        .map(|i| i * 769 % RECORDS as u32)
        .collect();
    group.bench_function("take two of three", |b| {
        b.iter(|| batch.take(black_box(&third)))
    });
    group.bench_function("take all, scattered", |b| {
        b.iter(|| batch.take(black_box(&scattered)))
    });
    group.bench_function("concat 4 quarters", |b| {
        let quarters: Vec<Batch> = (0..4)
            .map(|i| batch.slice(i * RECORDS / 4, RECORDS / 4))
            .collect();
        b.iter(|| Batch::concat(quarters.clone()))
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600)).sample_size(20);
    targets = extraction, csv, writing, selecting
}
criterion_main!(benches);
