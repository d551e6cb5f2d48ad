//! Selecting, cutting and joining against a naive model: batches as lists of records.

use proptest::prelude::*;

use super::*;
use crate::format::csv::CsvDialect;
use crate::format::{extract_fields, value_bytes};
use crate::record::{Column, EmitField, ErrorInfo, IssueKind, Kind, Needs};

/// One record with everything that it carries.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    key: Option<Vec<u8>>,
    timestamp: Option<i64>,
    value: Option<Vec<u8>>,
    fields: Vec<(FieldSpec, String, Option<IssueKind>)>,
    window: Option<(i64, i64)>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    origin: Option<Origin>,
    error: Option<String>,
}

fn entry(column: &Column, row: usize) -> String {
    if column.nulls().is_some_and(|n| n.is_null(row)) {
        return "null".into();
    }
    match column {
        Column::Text(a) | Column::Json(a) => format!("{:?}", a.value(row)),
        Column::Ints(a) => a.value(row).to_string(),
        Column::Floats(a) => a.value(row).to_string(),
        Column::Bools(a) => a.value(row).to_string(),
    }
}

fn records(batch: &Batch) -> Vec<Record> {
    let pruned = matches!(batch.value.form, Form::Pruned);
    let values = (!pruned).then(|| value_bytes(&mut batch.clone()));
    let record = |row: usize| Record {
        key: batch
            .keys
            .as_ref()
            .filter(|k| k.is_valid(row))
            .map(|k| k.value(row).to_vec()),
        timestamp: batch
            .timestamps
            .as_ref()
            .filter(|t| t.is_valid(row))
            .map(|t| t.value(row)),
        value: values
            .as_ref()
            .filter(|v| v.is_valid(row))
            .map(|v| v.value(row).to_vec()),
        fields: batch
            .value
            .extracted
            .iter()
            .map(|(spec, e)| {
                assert_eq!(e.column.len(), batch.len);
                let issue = e
                    .issues
                    .iter()
                    .find(|i| i.row as usize == row)
                    .map(|i| i.kind);
                (spec.clone(), entry(&e.column, row), issue)
            })
            .collect(),
        window: batch
            .windows
            .as_ref()
            .map(|w| (w.starts.value(row), w.ends.value(row))),
        headers: batch.headers.as_ref().map_or(vec![], |h| {
            let entries = h.first[row] as usize..h.first[row + 1] as usize;
            entries
                .map(|i| (h.names.get(i).to_vec(), h.values.get(i).to_vec()))
                .collect()
        }),
        origin: batch.origins.get(row),
        error: batch.errors.as_ref().map(|e| e[row].message.clone()),
    };
    (0..batch.len).map(record).collect()
}

/// How a batch under test is made: everything follows from these numbers.
#[derive(Clone, Debug)]
struct Recipe {
    len: usize,
    form: u8,
    seed: u64,
    keys: bool,
    timestamps: bool,
    fields: bool,
    windows: bool,
    headers: bool,
    origins: u8,
    errors: bool,
}

fn recipe(all_windows: bool) -> impl Strategy<Value = Recipe> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (
        0..20usize,
        0..4u8,
        any::<u64>(),
        flags,
        0..3u8,
        any::<bool>(),
    )
        .prop_map(move |(len, form, seed, flags, origins, errors)| Recipe {
            len,
            form,
            seed,
            keys: flags.0,
            timestamps: flags.1,
            fields: flags.2,
            windows: all_windows,
            headers: flags.3,
            origins,
            errors: errors && all_windows,
        })
}

thread_local! {
    static DIALECT: Arc<CsvDialect> = Arc::new(CsvDialect { header: vec!["a".into(), "b".into()], nulls: vec![String::new()], strings: false });
}

fn batch(recipe: &Recipe) -> Batch {
    let len = recipe.len;
    let mut state = recipe.seed;
    let mut random = move |n: u64| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) % n
    };
    let words = ["", "x", "äö", "a longer word, with a comma"];
    let form = match recipe.form {
        0 => Form::Null,
        1 => {
            let docs = [
                "{\"a\":1,\"b\":\"x\"}",
                "{\"b\":\"ü\"}",
                "oops",
                "{\"a\":true}",
                "",
            ];
            Form::Bytes(
                (0..len)
                    .map(|_| (random(6) > 0).then(|| docs[random(5) as usize].as_bytes()))
                    .collect(),
            )
        }
        2 => {
            let mut rows = CsvCopy::with_capacity(0, 0);
            for _ in 0..2 * len {
                rows.data.extend_from_slice(if random(2) == 0 {
                    b"17"
                } else {
                    words[random(4) as usize].as_bytes()
                });
                rows.ends.push(rows.data.len() as u32);
                rows.data.push(b',');
            }
            Form::Csv(CsvRows {
                dialect: DIALECT.with(Arc::clone),
                ends: rows.ends.into(),
                data: Buffer::from_vec(rows.data),
                start: 0,
            })
        }
        _ => {
            let kinds = [
                ("a", Kind::Ints),
                ("b", Kind::Text),
                ("c", Kind::Floats),
                ("d", Kind::Bools),
                ("e", Kind::Json),
            ];
            let schema: Arc<[EmitField]> = kinds
                .map(|(name, kind)| EmitField {
                    name: name.into(),
                    kind,
                })
                .into();
            let columns = vec![
                Column::Ints(
                    (0..len)
                        .map(|_| (random(4) > 0).then(|| random(100) as i64))
                        .collect(),
                ),
                Column::Text(
                    (0..len)
                        .map(|_| (random(4) > 0).then(|| words[random(4) as usize]))
                        .collect(),
                ),
                Column::Floats(
                    (0..len)
                        .map(|_| (random(4) > 0).then(|| random(100) as f64 / 4.0))
                        .collect(),
                ),
                Column::Bools(
                    (0..len)
                        .map(|_| (random(4) > 0).then(|| random(2) == 0))
                        .collect(),
                ),
                Column::Json((0..len).map(|_| (random(4) > 0).then_some("[1]")).collect()),
            ];
            let nulls = (random(2) == 0).then(|| {
                (0..len)
                    .map(|_| random(5) > 0)
                    .collect::<Vec<bool>>()
                    .into()
            });
            Form::Row(Row {
                schema,
                columns,
                nulls,
            })
        }
    };
    let mut batch = Batch::of(len, Value::new(form));
    batch.keys = recipe.keys.then(|| {
        (0..len)
            .map(|_| (random(4) > 0).then(|| words[random(4) as usize].as_bytes()))
            .collect()
    });
    batch.timestamps = recipe.timestamps.then(|| {
        (0..len)
            .map(|_| (random(4) > 0).then(|| random(1000) as i64))
            .collect()
    });
    batch.windows = recipe.windows.then(|| {
        let starts: Vec<i64> = (0..len).map(|_| random(100) as i64).collect();
        Windows {
            ends: starts.iter().map(|s| s + 10).collect::<Vec<_>>().into(),
            starts: starts.into(),
        }
    });
    batch.headers = recipe.headers.then(|| {
        let mut headers = Headers::none(0);
        for _ in 0..len {
            for _ in 0..random(3) {
                headers.names.push(words[random(4) as usize].as_bytes());
                headers.values.push(words[random(4) as usize].as_bytes());
            }
            headers.first.push(headers.names.len() as u32);
        }
        Arc::new(headers)
    });
    let first = Origin {
        source: 1,
        partition: 2,
        offset: random(5),
    };
    batch.origins = match recipe.origins {
        0 => Origins::None,
        1 => Origins::Run(first),
        _ => Origins::Each(
            (0..len)
                .map(|_| Origin {
                    offset: random(1000),
                    ..first
                })
                .collect(),
        ),
    };
    batch.errors = recipe.errors.then(|| {
        let error = |message: String| ErrorInfo {
            step: "s".into(),
            function: None,
            plugin_sha256: None,
            kind: "rejected",
            message,
            source: None,
            partition: None,
            offset: None,
            log: vec![],
        };
        (0..len).map(|_| error(random(100).to_string())).collect()
    });
    if recipe.fields {
        extract_fields(&mut batch, &specs());
        if random(2) == 0 {
            value_bytes(&mut batch);
        }
    }
    batch
}

fn specs() -> Vec<FieldSpec> {
    let of = |pointer: &str, kind| FieldSpec {
        pointer: pointer.into(),
        kind,
    };
    vec![
        of("/a", Kind::Ints),
        of("/b", Kind::Text),
        of("/c", Kind::Floats),
        of("/d", Kind::Bools),
        of("/a", Kind::Json),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn taking_rows_takes_all_that_they_carry(recipe in recipe(true), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..30), run in any::<bool>()) {
        let batch = batch(&recipe);
        let rows: Vec<u32> = if recipe.len == 0 {
            vec![]
        } else if run {
            let start = picks.first().map_or(0, |p| p.index(recipe.len)) as u32;
            (start..recipe.len as u32).collect()
        } else {
            picks.iter().map(|p| p.index(recipe.len) as u32).collect()
        };
        let all = records(&batch);
        let expected: Vec<Record> = rows.iter().map(|&r| all[r as usize].clone()).collect();
        let taken = batch.take(&rows);
        prop_assert_eq!(records(&taken), expected.clone());
        // Once more, from a batch that is itself a slice of another.
        let again: Vec<u32> = (0..rows.len() as u32).rev().collect();
        let reversed: Vec<Record> = expected.into_iter().rev().collect();
        prop_assert_eq!(records(&taken.take(&again)), reversed);
    }

    #[test]
    fn slices_joined_again_are_the_batch(recipe in recipe(true), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let batch = batch(&recipe);
        let (a, b) = (a.index(recipe.len + 1), b.index(recipe.len + 1));
        let (from, to) = (a.min(b), a.max(b));
        let all = records(&batch);
        let parts = vec![batch.slice(0, from), batch.slice(from, to - from), batch.slice(to, recipe.len - to)];
        for (part, range) in parts.iter().zip([0..from, from..to, to..recipe.len]) {
            prop_assert_eq!(records(part), all[range].to_vec());
        }
        prop_assert!(parts.iter().map(Batch::size_bytes).sum::<usize>() <= 2 * batch.size_bytes() + 300);
        let joined = Batch::concat(parts);
        prop_assert_eq!(records(&joined), all);
        prop_assert_eq!(std::mem::discriminant(&joined.value.form), std::mem::discriminant(&if recipe.len == 0 { Form::Null } else { batch.value.form }));
    }

    #[test]
    fn batches_of_any_forms_join(recipes in prop::collection::vec(recipe(false), 0..5)) {
        let batches: Vec<Batch> = recipes.iter().map(batch).collect();
        let mut expected: Vec<Record> = batches.iter().flat_map(records).collect();
        let joined = Batch::concat(batches);
        let found = records(&joined);
        // Fields stay where all batches have them.
        let with = recipes.iter().filter(|r| r.len > 0).all(|r| r.fields);
        if !with {
            expected.iter_mut().for_each(|r| r.fields.clear());
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn pruning_extracts_what_is_needed_before_the_value_goes() {
    let recipe = Recipe {
        len: 9,
        form: 1,
        seed: 5,
        keys: true,
        timestamps: true,
        fields: false,
        windows: true,
        headers: true,
        origins: 1,
        errors: false,
    };
    let mut batch = batch(&recipe);
    let mut with_field = batch.clone();
    extract_fields(&mut with_field, &specs()[..1]);
    let needs = Needs {
        value: false,
        keys: false,
        timestamps: true,
        headers: false,
        fields: vec![specs()[0].clone()],
    };
    batch.prune(&needs);
    assert!(
        matches!(batch.value.form, Form::Pruned) && batch.keys.is_none() && batch.headers.is_none()
    );
    let fields = |b: &Batch| records(b).into_iter().map(|r| r.fields).collect::<Vec<_>>();
    assert_eq!(fields(&batch), fields(&with_field));
    // Left out stays left out.
    let joined = Batch::concat(vec![batch.clone(), with_field]);
    assert!(matches!(joined.value.form, Form::Pruned));
    assert_eq!(joined.value.extracted.len(), 1);
    batch.prune(&Needs {
        value: true,
        ..Needs::default()
    });
    assert!(batch.value.extracted.is_empty());
}

#[test]
fn identity_and_neighbours_share_their_buffers() {
    let recipe = Recipe {
        len: 19,
        form: 1,
        seed: 7,
        keys: true,
        timestamps: true,
        fields: true,
        windows: true,
        headers: false,
        origins: 1,
        errors: false,
    };
    let batch = batch(&recipe);
    let all: Vec<u32> = (0..19).collect();
    for taken in [batch.take(&all), batch.take(&all[3..9]), batch.slice(3, 6)] {
        let (Form::Bytes(a), Form::Bytes(b)) = (&batch.value.form, &taken.value.form) else {
            panic!("bytes stay bytes")
        };
        assert_eq!(a.values().as_ptr(), b.values().as_ptr());
    }
}
