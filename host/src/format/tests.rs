use std::sync::Arc;

use arrow_array::{Array, BinaryArray};

use super::*;
use crate::config::plan::TimeUnit;
use crate::record::{Column, IssueKind, Kind, Value};

fn documents(values: &[Option<&str>]) -> Batch {
    let array: BinaryArray = values.iter().map(|v| v.map(str::as_bytes)).collect();
    Batch::of(values.len(), Value::new(Form::Bytes(array)))
}

fn spec(pointer: &str, kind: Kind) -> FieldSpec {
    FieldSpec {
        pointer: pointer.into(),
        kind,
    }
}

/// The field's values in words, and its issues by row.
fn read(batch: &mut Batch, pointer: &str, kind: Kind) -> (Vec<String>, Vec<(u32, IssueKind)>) {
    let spec = spec(pointer, kind);
    extract_fields(batch, std::slice::from_ref(&spec));
    let e = batch.value.extracted(&spec).unwrap();
    let texts = (0..batch.len).map(|row| {
        if e.column.nulls().is_some_and(|n| n.is_null(row)) {
            return "-".to_string();
        }
        match &e.column {
            Column::Text(a) | Column::Json(a) => a.value(row).to_string(),
            Column::Ints(a) => a.value(row).to_string(),
            Column::Floats(a) => format!("{:?}", a.value(row)),
            Column::Bools(a) => a.value(row).to_string(),
        }
    });
    (
        texts.collect(),
        e.issues.iter().map(|i| (i.row, i.kind)).collect(),
    )
}

fn keys_of(batch: &mut Batch, pointers: KeyPointers) -> Vec<String> {
    let (keys, rejected) = keys(batch, &pointers);
    let mut texts: Vec<String> = (0..keys.len())
        .map(|i| {
            if keys.is_null(i) {
                "-".into()
            } else {
                String::from_utf8(keys.value(i).to_vec()).unwrap()
            }
        })
        .collect();
    texts.extend(
        rejected
            .into_iter()
            .map(|r| format!("{}: {}", r.row, r.message)),
    );
    texts
}

#[test]
fn kinds_take_what_the_contract_says_and_nothing_is_coerced() {
    use IssueKind::{Malformed, Mismatch, Missing};
    let docs = [
        Some(r#"{"a":1}"#),
        Some(r#"{"a":1.0}"#),
        Some(r#"{"a":"x\n"}"#),
        Some(r#"{"a":null}"#),
        Some(r#"{"b":1}"#),
        Some("oops"),
        None,
        Some(r#"{"a":true}"#),
        Some(r#"{"a": [1, 2] }"#),
        Some(r#"{"a":1,"a":9223372036854775808}"#),
        Some(r#"{"a":-0}"#),
        Some(r#"{"a":1e400}"#),
        Some("3"),
    ];
    let mut batch = documents(&docs);
    let absent = [(4, Missing), (5, Malformed), (6, Missing), (12, Missing)];
    let issues = |mismatches: &[u32]| {
        let mut all: Vec<_> = absent
            .into_iter()
            .chain(mismatches.iter().map(|&row| (row, Mismatch)))
            .collect();
        all.sort_by_key(|(row, _)| *row);
        all
    };
    let (values, found) = read(&mut batch, "/a", Kind::Ints);
    assert_eq!(
        values,
        [
            "1", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"
        ]
    );
    assert_eq!(found, issues(&[1, 2, 7, 8, 9, 10, 11]));
    let (values, found) = read(&mut batch, "/a", Kind::Floats);
    assert_eq!(
        values,
        [
            "1.0",
            "1.0",
            "-",
            "-",
            "-",
            "-",
            "-",
            "-",
            "-",
            "9.223372036854776e18",
            "-0.0",
            "-",
            "-"
        ]
    );
    assert_eq!(found, issues(&[2, 7, 8, 11]));
    let (values, found) = read(&mut batch, "/a", Kind::Text);
    assert_eq!(
        values,
        [
            "-", "-", "x\n", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"
        ]
    );
    assert_eq!(found, issues(&[0, 1, 7, 8, 9, 10, 11]));
    let (values, _) = read(&mut batch, "/a", Kind::Bools);
    assert_eq!(values[7], "true");
    let (values, found) = read(&mut batch, "/a", Kind::Json);
    assert_eq!(
        values,
        [
            "1",
            "1.0",
            r#""x\n""#,
            "-",
            "-",
            "-",
            "-",
            "true",
            "[1, 2]",
            "9223372036854775808",
            "-0",
            "1e400",
            "-"
        ]
    );
    assert_eq!(found, issues(&[]));
    let messages: Vec<&str> = batch
        .value
        .extracted(&spec("/a", Kind::Ints))
        .unwrap()
        .issues
        .iter()
        .map(|i| i.message)
        .collect();
    assert_eq!(
        messages[0],
        "/a: a 64-bit integer expected, found the number 1.0"
    );
    assert_eq!(messages[2], "/a: there is no such member");
    assert_eq!(messages[3], "not JSON: expected value at line 1 column 1");
}

#[test]
fn pointers_reach_into_objects_and_arrays_and_the_last_of_duplicates_wins() {
    let docs = [
        r#" {"a":{"b":[10,{"c~/":"deep"}]},"n":7} "#,
        r#"{"a":{"b":[1]},"a":{"x":2}}"#,
        r#"{"\u0061":{"b":[5]}}"#,
    ];
    let mut batch = documents(&docs.map(Some));
    assert_eq!(read(&mut batch, "/a/b/0", Kind::Ints).0, ["10", "-", "5"]);
    assert_eq!(
        read(&mut batch, "/a/b/1/c~0~1", Kind::Text).0,
        ["deep", "-", "-"]
    );
    assert_eq!(
        read(&mut batch, "/a", Kind::Json).0,
        [r#"{"b":[10,{"c~/":"deep"}]}"#, r#"{"x":2}"#, r#"{"b":[5]}"#]
    );
    assert_eq!(
        read(&mut batch, "", Kind::Json).0,
        [docs[0].trim(), docs[1], docs[2]]
    );
}

#[test]
fn keys_are_text_or_compact_json_and_null_or_absent_parts_reject() {
    let docs = [
        r#"{"a":"x","b":1}"#,
        r#"{"a":{ "k" : "\u0041 b" },"b":1.50}"#,
        r#"{"a":null,"b":true}"#,
        r#"{"b":2}"#,
        r#"{"a":"\u0041","b":"c"}"#,
    ];
    let mut batch = documents(&docs.map(Some));
    assert_eq!(
        keys_of(&mut batch, KeyPointers::One("/a".into())),
        [
            "x",
            r#"{"k":"A b"}"#,
            "-",
            "-",
            "A",
            "2: key /a: is null",
            "3: key /a: is missing"
        ]
    );
    assert_eq!(
        keys_of(
            &mut batch,
            KeyPointers::Many(vec!["/a".into(), "/b".into()])
        ),
        [
            r#"["x",1]"#,
            r#"[{"k":"A b"},1.50]"#,
            "-",
            "-",
            r#"["A","c"]"#,
            "2: key /a: is null",
            "3: key /a: is missing"
        ]
    );
    assert!(batch.keys.is_none());
}

fn times(docs: &[&str], unit: TimeUnit, format: Option<&str>) -> Vec<String> {
    let mut batch = documents(&docs.iter().map(|d| Some(*d)).collect::<Vec<_>>());
    let spec = TimestampSpec {
        pointer: "".into(),
        unit,
        format: format.map(str::to_string),
    };
    let (times, rejected) = timestamps(&mut batch, &spec);
    let mut all: Vec<String> = times
        .iter()
        .map(|t| t.map_or("-".into(), |t| t.to_string()))
        .collect();
    all.extend(rejected.into_iter().map(|r| r.message));
    all
}

#[test]
fn timestamps_are_integers_rfc_3339_or_formatted_text() {
    assert_eq!(times(&["5", "-1"], TimeUnit::Micros, None), ["0", "-1"]);
    assert_eq!(
        times(&["5", "9223372036854775807"], TimeUnit::Seconds, None),
        [
            "5000",
            "-",
            "timestamp : 9223372036854775807 seconds are beyond the range of time"
        ]
    );
    assert_eq!(
        times(
            &[
                r#""2013-01-01T10:00:00Z""#,
                r#""2013-01-01T10:00:00.5+01:00""#,
                r#""1""#
            ],
            TimeUnit::Millis,
            None
        ),
        [
            "1357034400000",
            "1357030800500",
            "-",
            "timestamp : \"1\" is not RFC 3339"
        ]
    );
    assert_eq!(
        times(
            &[r#""2013-01-02""#, "\"x\""],
            TimeUnit::Millis,
            Some("%Y-%m-%d")
        )[0],
        "1357084800000"
    );
    assert_eq!(
        times(
            &[r#""2013-01-02 03:04:05""#],
            TimeUnit::Millis,
            Some("%Y-%m-%d %H:%M:%S")
        ),
        ["1357095845000"]
    );
    assert_eq!(
        times(
            &[r#""2013-01-02 03:04 +0100""#],
            TimeUnit::Millis,
            Some("%Y-%m-%d %H:%M %z")
        ),
        ["1357092240000"]
    );
    assert_eq!(
        times(&["20130102"], TimeUnit::Millis, Some("%Y%m%d")),
        ["1357084800000"]
    );
    assert_eq!(
        times(&[r#""1357084800""#], TimeUnit::Millis, Some("%s")),
        ["1357084800000"]
    );
}

#[test]
fn csv_rows_read_as_typed_cells_and_become_json_objects() {
    let dialect = csv::CsvDialect {
        header: vec!["a".into(), "b".into()],
        nulls: vec!["".into(), "NA".into()],
        strings: false,
    };
    let rows = |cells: &[&str], strings: bool| {
        let mut ends = Vec::new();
        let mut data = Vec::new();
        for cell in cells {
            data.extend_from_slice(cell.as_bytes());
            ends.push(data.len() as u32);
            data.push(b',');
        }
        let dialect = csv::CsvDialect {
            header: dialect.header.clone(),
            nulls: dialect.nulls.clone(),
            strings,
        };
        let rows = crate::record::CsvRows {
            dialect: Arc::new(dialect),
            ends: ends.into(),
            data: data.into(),
            start: 0,
        };
        Batch::of(cells.len() / 2, Value::new(Form::Csv(rows)))
    };
    let cells = ["1", "x\"y", "NA", "1.5", "007", ""];
    let mut batch = rows(&cells, false);
    assert_eq!(
        read(&mut batch, "/a", Kind::Ints),
        (
            vec!["1".into(), "-".into(), "-".into()],
            vec![(2, IssueKind::Mismatch)]
        )
    );
    assert_eq!(read(&mut batch, "/a", Kind::Text).0, ["1", "-", "007"]);
    assert_eq!(
        read(&mut batch, "/b", Kind::Floats),
        (
            vec!["-".into(), "1.5".into(), "-".into()],
            vec![(0, IssueKind::Mismatch)]
        )
    );
    assert_eq!(read(&mut batch, "/b/c", Kind::Text).1.len(), 3);
    assert_eq!(
        keys_of(&mut batch, KeyPointers::One("/a".into())),
        ["1", "-", "007", "1: key /a: is null"]
    );
    let objects = [
        r#"{"a":1,"b":"x\"y"}"#,
        r#"{"a":null,"b":1.5}"#,
        r#"{"a":"007","b":null}"#,
    ];
    let bytes = value_bytes(&mut batch);
    assert_eq!(
        (0..3)
            .map(|i| std::str::from_utf8(bytes.value(i)).unwrap())
            .collect::<Vec<_>>(),
        objects
    );
    assert_eq!(read(&mut batch, "", Kind::Json).0, objects);
    let mut batch = rows(&cells, true);
    assert_eq!(read(&mut batch, "/a", Kind::Ints).1.len(), 2);
    assert_eq!(value_bytes(&mut batch).value(0), br#"{"a":"1","b":"x\"y"}"#);
}

#[test]
fn a_null_is_null_as_a_whole_and_has_nothing_in_it() {
    let text = Value::new(Form::Bytes(BinaryArray::from_iter([
        Some(b"null".as_slice()),
        None,
    ])));
    for mut batch in [Batch::of(2, text), Batch::of(2, Value::new(Form::Null))] {
        let (values, issues) = read(&mut batch, "", Kind::Ints);
        assert_eq!((values, issues), (vec!["-".into(), "-".into()], vec![]));
        let (_, issues) = read(&mut batch, "/a", Kind::Ints);
        let missing = [0, 1].map(|row| (row, IssueKind::Missing));
        assert_eq!(issues, missing);
    }
}
