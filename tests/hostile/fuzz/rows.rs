//! Records: CSV as it is read, and rows as they lie in checkpoints and in state on disk.

use std::sync::Arc;

use arrow_array::BinaryArray;
use wasmill::config::plan::{BatchLimits, CsvSpec, FormatSpec};
use wasmill::format::envelope::write_envelopes;
use wasmill::record::{Batch, FieldSpec, Form, Kind, Value, codec};
use wasmill::source::cut::{OriginUnit, Place};
use wasmill::source::file::cutter;

use super::{Random, fuzz};

const CSV: &[u8] = include_bytes!("../corpus/rows.csv");

/// What came of a text that arrived in these pieces: values, and messages of bad rows.
fn read(spec: &CsvSpec, pieces: &[&[u8]], records: usize) -> (Vec<Vec<u8>>, Vec<String>) {
    let place = Place {
        source: 0,
        partition: 0,
        name: "in.csv".into(),
    };
    let limits = BatchLimits {
        records,
        bytes: 1 << 20,
        latency_ms: 10,
    };
    let mut cutter = cutter(&FormatSpec::Csv(spec.clone()), place, OriginUnit::Line);
    let (mut values, mut bad) = (Vec::new(), Vec::new());
    let mut left: Vec<u8> = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        left.extend_from_slice(piece);
        let end = n + 1 == pieces.len();
        loop {
            let cut = cutter.cut(&left, end, &limits);
            assert!(cut.used <= left.len(), "{} of {}", cut.used, left.len());
            left.drain(..cut.used);
            if let Some((mut batch, rows)) = cutter.take() {
                assert!(batch.len <= records, "{} rows", batch.len);
                fields(&mut batch);
                let bytes = wasmill::format::value_bytes(&mut batch);
                values.extend(bytes.iter().map(|v| v.unwrap_or(b"null").to_vec()));
                bad.extend(rows.into_iter().map(|b| b.rejected.message));
            }
            if !cut.full {
                break;
            }
        }
    }
    (values, bad)
}

/// Reads fields of every kind: nothing is to be said of them but that they can be read.
fn fields(batch: &mut Batch) {
    let kinds = [
        Kind::Text,
        Kind::Ints,
        Kind::Floats,
        Kind::Bools,
        Kind::Json,
    ];
    let of = |pointer: &str| {
        let pointer: Arc<str> = pointer.into();
        kinds.map(|kind| FieldSpec {
            pointer: pointer.clone(),
            kind,
        })
    };
    let specs: Vec<FieldSpec> = ["/id", "/note", "", "/a~1b"]
        .into_iter()
        .flat_map(of)
        .collect();
    wasmill::format::extract_fields(batch, &specs);
}

/// However the bytes arrive, and however full batches are, the same rows come out.
#[test]
fn csv_rows() {
    fuzz("csv_rows", |random| {
        let header = random.below(3) > 0;
        let spec = CsvSpec {
            delimiter: b",;\t|"[random.below(4)],
            header,
            columns: (!header).then(|| ["id", "a/b", "note", "d"].map(String::from).to_vec()),
            nulls: vec!["NA".into(), String::new()],
            strings: random.below(2) == 0,
        };
        let mut text = random.bytes(&[CSV]);
        if spec.delimiter != b',' {
            for byte in &mut text {
                if *byte == b',' {
                    *byte = spec.delimiter;
                }
            }
        }
        let whole = read(&spec, &[&text], 4_096);
        for value in &whole.0 {
            let parsed: Result<serde_json::Value, _> = serde_json::from_slice(value);
            let fine = parsed.is_ok()
                || parsed.is_err_and(|e| e.to_string().contains("number out of range"));
            assert!(fine, "{:?}", String::from_utf8_lossy(value));
        }
        let mut pieces = Vec::new();
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + random.below(20)).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(&[]);
        assert_eq!(read(&spec, &pieces, 1 + random.below(3)), whole);
    });
}

/// Rows of all shapes, written, changed in a few places, and read again.
#[test]
fn stored_rows() {
    fuzz("stored_rows", |random| {
        let batch = some_batch(random);
        let values = codec::values_of(&batch);
        let with_key = random.below(2) == 0;
        let mut bytes = Vec::new();
        for row in 0..batch.len {
            codec::put_row(&mut bytes, &batch, &values, row, with_key);
        }
        let again = rows(&bytes).expect("they are as they were written");
        assert_eq!(again.len, batch.len);
        let mut again_bytes = Vec::new();
        let again_values = codec::values_of(&again);
        for row in 0..again.len {
            codec::put_row(&mut again_bytes, &again, &again_values, row, with_key);
        }
        assert_eq!(again_bytes, bytes);
        let changed = random.bytes(&[&bytes]);
        if let Some(mut batch) = rows(&changed) {
            assert!(batch.len <= changed.len());
            let mut out = Vec::new();
            write_envelopes(&mut batch, &mut out);
            fields(&mut batch);
        }
    });
}

fn some_batch(random: &mut Random) -> Batch {
    let len = random.below(6);
    let text = |random: &mut Random| -> Option<Vec<u8>> {
        (random.below(4) > 0)
            .then(|| random.bytes(&[b"{\"id\":1,\"note\":[true,null]}", b"", b"x"]))
    };
    let column = |random: &mut Random| -> BinaryArray {
        let texts: Vec<Option<Vec<u8>>> = (0..len).map(|_| text(random)).collect();
        texts.iter().map(Option::as_deref).collect()
    };
    let mut batch = Batch::of(len, Value::new(Form::Bytes(column(random))));
    batch.keys = (random.below(2) == 0).then(|| column(random));
    batch.timestamps = (random.below(2) == 0).then(|| {
        (0..len)
            .map(|_| (random.below(3) > 0).then(|| random.next() as i64))
            .collect()
    });
    batch
}

/// All rows, if the bytes are rows.
fn rows(bytes: &[u8]) -> Option<Batch> {
    let mut reader = codec::Reader::new(bytes);
    let mut rows = codec::RowsBuilder::default();
    while !reader.is_empty() {
        rows.push(&mut reader, None).ok()?;
    }
    Some(rows.finish())
}
