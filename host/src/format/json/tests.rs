//! The reader against serde_json, over documents that are mutated until most of them are wrong.

use arrow_array::BinaryArray;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Shown, is_document, shown};
use crate::format::extract_fields;
use crate::record::{Batch, Column, FieldSpec, Form, IssueKind, Kind};

/// A small generator of numbers, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

const POINTERS: [&str; 9] = [
    "/user",
    "/ms",
    "/score",
    "/ok",
    "/place/lat",
    "/place",
    "/tags/1",
    "",
    "/a~1b/0/~0",
];

const KINDS: [Kind; 5] = [
    Kind::Text,
    Kind::Ints,
    Kind::Floats,
    Kind::Bools,
    Kind::Json,
];

fn specs() -> Vec<FieldSpec> {
    let of = |pointer: &str, kind| FieldSpec {
        pointer: pointer.into(),
        kind,
    };
    POINTERS
        .iter()
        .flat_map(|pointer| KINDS.map(|kind| of(pointer, kind)))
        .collect()
}

/// Deeper than serde_json reads.
fn too_deep(document: &str) -> bool {
    // IgnoredAny and RawValue do not count; Value does. A document that only Value refuses, and whose numbers and
    // escapes are harmless, is too deep.
    let harmless: String = document
        .chars()
        .map(|c| {
            if matches!(c, '{' | '}' | '[' | ']' | ',' | ':' | '"') {
                c
            } else {
                ' '
            }
        })
        .collect();
    let mut depth = 0i32;
    let mut deepest = 0;
    let mut inside = false;
    let mut escaped = false;
    for (c, h) in document.chars().zip(harmless.chars()) {
        if inside {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => inside = false,
                _ => {}
            }
            continue;
        }
        match h {
            '"' => inside = true,
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest > 127
}

/// Compares one row of what was extracted with serde_json's reading of the document.
fn compare(batch: &Batch, row: usize, document: &[u8], context: &str) {
    let text = std::str::from_utf8(document).ok();
    let valid = text
        .is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok() && !too_deep(text));
    // Numbers beyond all floats and halves of surrogate pairs are refused by `Value`, yet valid by the grammar:
    // then only that is compared.
    let value: Option<Value> = serde_json::from_slice(document).ok();
    assert!(valid || value.is_none() || text.is_none(), "{context}");
    for (spec, extracted) in &batch.value.extracted {
        let context = || {
            format!(
                "{context}: {spec:?} of {:?}",
                String::from_utf8_lossy(document)
            )
        };
        let issue = extracted
            .issues
            .iter()
            .find(|i| i.row as usize == row)
            .map(|i| i.kind);
        let null = extracted.column.nulls().is_some_and(|n| n.is_null(row));
        assert_eq!(issue == Some(IssueKind::Malformed), !valid, "{}", context());
        if !valid {
            continue;
        }
        let Some(value) = &value else { continue };
        let Some(at) = value.pointer(&spec.pointer) else {
            assert_eq!(
                (issue, null),
                (Some(IssueKind::Missing), true),
                "{}",
                context()
            );
            continue;
        };
        if at.is_null() {
            assert_eq!((issue, null), (None, true), "{}", context());
            continue;
        }
        let same = |same: bool| {
            let expected = if same {
                (None, false)
            } else {
                (Some(IssueKind::Mismatch), true)
            };
            assert_eq!((issue, null), expected, "{}", context());
        };
        match &extracted.column {
            Column::Text(a) => {
                same(at.is_string());
                assert!(null || Some(a.value(row)) == at.as_str(), "{}", context());
            }
            Column::Ints(a) => {
                same(at.is_i64());
                assert!(null || Some(a.value(row)) == at.as_i64(), "{}", context());
            }
            Column::Floats(a) => {
                same(at.is_number());
                assert!(
                    null || Some(a.value(row).to_bits()) == at.as_f64().map(f64::to_bits),
                    "{}: {} for {at}",
                    context(),
                    a.value(row)
                );
            }
            Column::Bools(a) => {
                same(at.is_boolean());
                assert!(null || Some(a.value(row)) == at.as_bool(), "{}", context());
            }
            Column::Json(a) => {
                same(true);
                assert_eq!(
                    serde_json::from_str::<Value>(a.value(row)).ok().as_ref(),
                    Some(at),
                    "{}",
                    context()
                );
                assert_eq!(a.value(row).trim(), a.value(row), "{}", context());
            }
        }
    }
}

fn check(documents: &[Vec<u8>], context: &str) {
    let array: BinaryArray = documents.iter().map(Some).collect();
    let mut batch = Batch::of(
        documents.len(),
        crate::record::Value::new(Form::Bytes(array)),
    );
    extract_fields(&mut batch, &specs());
    let array: BinaryArray = documents.iter().map(Some).collect();
    for (document, shown) in documents.iter().zip(shown(&array)) {
        let text = std::str::from_utf8(document);
        let expected = match text {
            Ok(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() && !too_deep(text) => {
                Shown::Document
            }
            Ok(_) => Shown::Text,
            Err(_) => Shown::Bytes,
        };
        assert_eq!(
            shown,
            expected,
            "{context}: {:?}",
            String::from_utf8_lossy(document)
        );
        assert_eq!(
            is_document(document),
            expected == Shown::Document,
            "{context}: {:?}",
            String::from_utf8_lossy(document)
        );
    }
    for (row, document) in documents.iter().enumerate() {
        compare(&batch, row, document, context);
    }
}

const GOOD: [&str; 8] = [
    r#"{"user":"u123","ms":512,"score":0.25,"ok":true,"ts":1357034400000,"page":"/index"}"#,
    r#"{"user":"u124","ms":7,"score":12.5e-3,"ok":false,"ts":1357034400001,"page":"/a/b/c","place":{"lat":1.5,"lon":-2}}"#,
    r#"{ "user" : "a longer text than eight", "ms" : -44, "place" : { "lat" : 3, "x" : [ ] }, "tags" : [ 1 , "two", { } ] }"#,
    r#"{"a/b":[{"~":"deep"}],"tags":["x",["y",{"z":null}],3],"user":null,"ms":1e3}"#,
    r#"{"user":"with \"escapes\" \u00e4\n","ms":9007199254740993,"score":1e22}"#,
    r#"[1,{"user":2}]"#,
    "17",
    r#"{"a name that is longer than sixteen bytes":1,"user":"ü","another name that is longer than sixteen":{},"ms":9223372036854775807}"#,
];

#[test]
fn awkward_documents_between_good_ones_read_as_serde_json_reads_them() {
    let deep = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n));
    let mut awkward: Vec<Vec<u8>> = [
        "",
        " ",
        "{}",
        "[]",
        "{} ",
        " {}",
        "{}{}",
        "{},",
        "nul",
        "null",
        "nulll",
        "true",
        "\"\"",
        "\"",
        "\"\\\"",
        "-",
        "-0",
        "-0.0",
        "0",
        "00",
        "01",
        "-01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "1e5",
        "1E-5",
        "1e400",
        "-1e400",
        "123456789012345678",
        "1234567890123456789",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "99999999999999999999999",
        r#"{"ms":1,"ms":2}"#,
        r#"{"ms":1,"ms":null}"#,
        r#"{"place":{"lat":1},"place":{"lon":2}}"#,
        r#"{"place":{"lat":1},"place":7}"#,
        r#"{"place":7,"place":{"lat":1}}"#,
        r#"{"tags":[1,2],"tags":[3]}"#,
        r#"{"\u0075ser":"escaped name"}"#,
        r#"{"user":"\ud83d\ude00"}"#,
        r#"{"user":"\ud83d"}"#,
        r#"{"\ud83d":1,"ms":2}"#,
        r#"{"x":"\ud83d","ms":2}"#,
        r#"{"user":"\x"}"#,
        r#"{"user":"\u12g4"}"#,
        "{\"user\":\"tab\tinside\"}",
        "{\"user\":\"nul\0inside\"}",
        r#"{"user":"torn"#,
        r#"{"user":"torn","#,
        r#"{"user":"torn","ms""#,
        r#"{"user":"torn","ms":"#,
        r#"{"user":"torn","ms":5"#,
        r#"{"ms":1,}"#,
        r#"{,"ms":1}"#,
        r#"{"ms" 1}"#,
        r#"{"ms":}"#,
        r#"{ms:1}"#,
        r#"{"ms":1 "user":2}"#,
        r#"[1,]"#,
        r#"[,1]"#,
        r#"[1 2]"#,
        r#"{"x":[1,{"y":}]}"#,
        r#"{"x":[1,{"y":2]}}"#,
        r#"{"x":{"y":1]}"#,
        r#"{"tags":[0,"one"}"#,
        r#"{"ms":1}]"#,
        r#"{"ms":1} x"#,
        "{\"ms\":\u{a0}1}",
        "\u{feff}{}",
        "{\"ms\":1}\u{0b}",
        r#"{"":1}"#,
        r#"{"score":9.8e57}"#,
        r#"{"score":2.2250738585072011e-308}"#,
        r#"{"score":0.1234567890123456789012345678901234567890}"#,
        r#"{"score":179769313486231580793728971405301e277}"#,
        r#"{"score":4.9e-324}"#,
        r#"{"score":1e-400}"#,
        r#"{"score":123456789012345678901234567890.5e-30}"#,
    ]
    .iter()
    .map(|s| s.as_bytes().to_vec())
    .collect();
    for n in [126, 127, 128, 129] {
        awkward.push(deep("[", "]", n).into_bytes());
        awkward.push(format!(r#"{{"x":{},"ms":1}}"#, deep("[", "]", n - 1)).into_bytes());
        awkward.push(format!(r#"{{"place":{}}}"#, deep("[", "]", n - 1)).into_bytes());
        awkward.push(format!(r#"{{"place":{{"lat":{}}}}}"#, deep("[", "]", n - 2)).into_bytes());
    }
    awkward.push(b"{\"user\":\"\xff\"}".to_vec());
    awkward.push(b"{\"x\":\"\xe4\",\"ms\":1}".to_vec());
    // Two documents, torn within one character: together they are UTF-8.
    awkward.push(b"{\"user\":\"\xc3".to_vec());
    awkward.push(b"\xa4\",\"ms\":1}".to_vec());
    for end in [true, false] {
        for document in &awkward {
            let mut documents: Vec<Vec<u8>> = vec![
                GOOD[0].into(),
                document.clone(),
                GOOD[0].into(),
                GOOD[1].into(),
                document.clone(),
            ];
            if end {
                documents.push(GOOD[1].into());
            }
            check(&documents, "awkward");
        }
        let utf8: Vec<Vec<u8>> = awkward
            .iter()
            .filter(|d| std::str::from_utf8(d).is_ok())
            .cloned()
            .collect();
        check(&utf8, "all together");
    }
}

fn mutate(random: &mut Random, document: &mut Vec<u8>) {
    const PIECES: [&str; 40] = [
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "\t",
        "\0",
        "0",
        "1",
        "9",
        "-",
        "+",
        ".",
        "e",
        "E",
        "\\u00e4",
        "\\ud83d",
        "\\n",
        "ä",
        "null",
        "true",
        "\"ms\":1,",
        "\"user\":\"x\",",
        "\"place\":{\"lat\":2},",
        "\"ms\":-0,",
        "\"score\":1e400,",
        "\"tags\":[0,1],",
        "[[[[",
        "1234567890123456789",
        "0.1",
        "1e-7",
        "\"a/b\":[{\"~\":1}],",
        "}{",
        "\\",
        "\"\"",
    ];
    let at = random.below(document.len() + 1);
    match random.below(7) {
        0 if at < document.len() => document[at] = random.below(256) as u8,
        1 if at < document.len() => {
            document.remove(at);
        }
        2 => document.truncate(at),
        3 if at < document.len() => {
            let end = at + random.below(document.len() - at + 1).min(12);
            let piece = document[at..end].to_vec();
            let to = random.below(document.len() + 1);
            document.splice(to..to, piece);
        }
        4 if at < document.len() => document[at] = PIECES[random.below(20)].as_bytes()[0],
        _ => {
            let piece = random.pick(&PIECES);
            document.splice(at..at, piece.bytes());
        }
    }
}

#[test]
fn mutated_documents_read_as_serde_json_reads_them() {
    let seed = 20260707;
    let mut random = Random(seed);
    let mut refused = 0;
    for round in 0..3_000 {
        let mut documents: Vec<Vec<u8>> = Vec::new();
        for _ in 0..40 {
            let mut document = random.pick(&GOOD).as_bytes().to_vec();
            for _ in 0..random.below(4) {
                mutate(&mut random, &mut document);
            }
            // Most batches are UTF-8 throughout: else the scanner is left out.
            if round % 8 != 0 && std::str::from_utf8(&document).is_err() {
                continue;
            }
            refused += usize::from(serde_json::from_slice::<IgnoredAny>(&document).is_err());
            documents.push(document);
        }
        check(&documents, &format!("seed {seed} round {round}"));
    }
    assert!(refused > 20_000, "mutations break documents: {refused}");
}
