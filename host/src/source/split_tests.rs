use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::tests::{gzip, plan};
use super::*;
use crate::config::plan::{CsvSpec, FormatSpec, KeyPointers, OnError};
use crate::format::value_bytes;

const LIMITS: BatchLimits = BatchLimits {
    records: 100,
    bytes: 1 << 20,
    latency_ms: 10,
};

pub(super) fn csv() -> FormatSpec {
    FormatSpec::Csv(CsvSpec {
        delimiter: b',',
        header: true,
        columns: None,
        nulls: vec![String::new()],
        strings: false,
    })
}

fn split(
    pattern: &Path,
    format: &FormatSpec,
    partitions: usize,
    block_bytes: u64,
) -> file::FileSource {
    let pattern = pattern.to_string_lossy().into_owned();
    let plan = plan(
        SourceConnector::File {
            pattern,
            partitions: Some(partitions),
            watch_ms: None,
            reach: Default::default(),
        },
        format.clone(),
    );
    file::FileSource::new(&plan, 0).with_block_bytes(block_bytes)
}

/// Every record as JSON or text, with its origin, and messages of bad ones.
fn read(reader: &mut dyn PartitionReader) -> (Vec<(u64, String)>, Vec<String>) {
    let (mut records, mut messages) = (Vec::new(), Vec::new());
    while let Read::Batch(mut batch, bad) = reader.read(&LIMITS).expect("readable") {
        let values = value_bytes(&mut batch);
        for (i, value) in values.iter().enumerate() {
            let text = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
            records.push((batch.origins.get(i).expect("known").offset, text));
        }
        messages.extend(bad.into_iter().map(|b| b.rejected.message));
    }
    (records, messages)
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort_unstable();
    all
}

/// Reads all partitions; checks that origins count up, and that seeking to every position goes on the same way.
fn read_split(
    pattern: &Path,
    format: &FormatSpec,
    partitions: usize,
    block_bytes: u64,
) -> (Vec<String>, Vec<String>) {
    let readers = || {
        split(pattern, format, partitions, block_bytes)
            .discover()
            .expect("found")
    };
    let (mut all, mut messages) = (Vec::new(), Vec::new());
    for p in 0..partitions {
        let (records, bad) = read(readers()[p].as_mut());
        assert!(records.windows(2).all(|w| w[0].0 < w[1].0), "{records:?}");
        let mut reader = readers().remove(p);
        let mut before = 0;
        loop {
            let mut later = readers().remove(p);
            later.seek(&reader.position()).expect("the same files");
            assert_eq!(read(later.as_mut()).0, records[before..]);
            match reader
                .read(&BatchLimits {
                    records: 3,
                    ..LIMITS
                })
                .expect("readable")
            {
                Read::Batch(batch, _) => before += batch.len,
                _ => break,
            }
        }
        all.extend(records.into_iter().map(|(_, text)| text));
        messages.extend(bad);
    }
    (sorted(all), sorted(messages))
}

fn straight(pattern: &Path, format: &FormatSpec) -> (Vec<String>, Vec<String>) {
    let pattern = pattern.to_string_lossy().into_owned();
    let plan = plan(
        SourceConnector::File {
            pattern,
            partitions: None,
            watch_ms: None,
            reach: Default::default(),
        },
        format.clone(),
    );
    let (mut all, mut messages) = (Vec::new(), Vec::new());
    for mut reader in open(&plan, 0, &Clock::manual())
        .expect("right")
        .discover()
        .expect("found")
    {
        let (records, bad) = read(reader.as_mut());
        all.extend(records.into_iter().map(|(_, text)| text));
        messages.extend(bad);
    }
    (sorted(all), sorted(messages))
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z]{0,12}", 1 => "[a-z]{0,12}\r", 1 => Just(String::new()), 1 => "[a-z]{50,90}"]
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9]{0,6}",
        2 => "[a-z,\n\"]{0,9}".prop_map(|s| format!("\"{}\"", s.replace('"', "\"\""))),
        1 => "[a-z]{1,4}\"[a-z]{0,3}",
        1 => "\"[a-z\r\n]{0,5}\"[a-z]{0,3}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_read_exactly_once_whatever_the_blocks(
        files in prop::collection::vec(prop::collection::vec(line(), 0..30), 1..4),
        last_newline in any::<bool>(),
        partitions in 1usize..5,
        block_bytes in 1u64..80,
    ) {
        let folder = tempfile::tempdir().expect("folder");
        for (i, lines) in files.iter().enumerate() {
            let text = lines.join("\n") + if last_newline { "\n" } else { "" };
            fs::write(folder.path().join(format!("{i}.txt")), text).expect("write");
        }
        let pattern = folder.path().join("*.txt");
        for format in [FormatSpec::Lines, FormatSpec::Json] {
            prop_assert_eq!(read_split(&pattern, &format, partitions, block_bytes), straight(&pattern, &format));
        }
    }

    #[test]
    fn every_csv_row_is_read_exactly_once_whatever_the_quotes_and_blocks(
        files in prop::collection::vec(prop::collection::vec((cell(), cell()), 0..20), 1..3),
        partitions in 1usize..5,
        block_bytes in 1u64..60,
    ) {
        let folder = tempfile::tempdir().expect("folder");
        for (i, rows) in files.iter().enumerate() {
            let body: String = rows.iter().map(|(a, b)| format!("{a},{b}\n")).collect();
            fs::write(folder.path().join(format!("{i}.csv")), format!("\u{feff}a{i},\"b\nb\"\n{body}")).expect("write");
        }
        let pattern = folder.path().join("*.csv");
        prop_assert_eq!(read_split(&pattern, &csv(), partitions, block_bytes), straight(&pattern, &csv()));
    }
}

#[test]
fn compressed_files_are_dealt_whole_and_the_source_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    let mut expected = Vec::new();
    for i in 0..5 {
        let lines: Vec<String> = (0..40).map(|n| format!("{i} {n}")).collect();
        fs::write(
            folder.path().join(format!("{i}.gz")),
            gzip((lines.join("\n") + "\n").as_bytes()),
        )
        .expect("write");
        expected.extend(lines);
    }
    let pattern = folder.path().join("*.gz");
    assert_eq!(
        read_split(&pattern, &FormatSpec::Lines, 2, 64).0,
        sorted(expected)
    );
    let mut source = split(&pattern, &FormatSpec::Lines, 2, 64);
    source.discover().expect("found");
    assert!(
        source.notes()[0].contains("0.gz and 4 more cannot be split"),
        "{:?}",
        source.notes()
    );
}

#[test]
fn bad_rows_of_split_files_name_file_and_line() {
    let folder = tempfile::tempdir().expect("folder");
    let mut text = "a,b\n".to_string();
    for i in 2..100 {
        text += if i % 10 == 0 { "wrong\n" } else { "1,2\n" };
    }
    let path = folder.path().join("x.csv");
    fs::write(&path, text).expect("write");
    let messages = read_split(&path, &csv(), 3, 32).1;
    let expected: Vec<String> = (1..10)
        .map(|i| {
            format!(
                "{}:{}: the row has 1 cells, the header 2",
                path.display(),
                i * 10
            )
        })
        .collect();
    assert_eq!(messages, expected);
}

#[test]
fn record_of_a_split_file_is_located_by_file_and_line() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x.txt");
    fs::write(
        &path,
        (1..100).map(|i| format!("{i}\n\n")).collect::<String>(),
    )
    .expect("write");
    for mut reader in split(&path, &FormatSpec::Json, 3, 40)
        .discover()
        .expect("found")
    {
        while let Read::Batch(mut batch, _) = reader
            .read(&BatchLimits {
                records: 2,
                ..LIMITS
            })
            .expect("readable")
        {
            let values = value_bytes(&mut batch);
            for row in 0..batch.len {
                let number: u64 = std::str::from_utf8(values.value(row))
                    .expect("text")
                    .parse()
                    .expect("number");
                let origin = batch.origins.get(row).expect("known");
                assert_eq!(
                    reader.locate(row, origin),
                    format!("{}:{}", path.display(), number * 2 - 1)
                );
            }
        }
    }
}

#[test]
fn position_in_split_files_is_refused_when_a_file_was_added_or_changed() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.txt"), "1\n2\n3\n4\n5\n6\n").expect("write");
    let readers = || {
        split(&path("*.txt"), &FormatSpec::Lines, 2, 4)
            .discover()
            .expect("found")
    };
    let mut reader = readers().remove(0);
    let Read::Batch(..) = reader
        .read(&BatchLimits {
            records: 1,
            ..LIMITS
        })
        .expect("readable")
    else {
        panic!()
    };
    let position = reader.position();
    fs::write(path("a.txt"), "x\n2\n3\n4\n5\n6\n").expect("write");
    let error = readers()[0]
        .seek(&position)
        .expect_err("changed")
        .to_string();
    assert!(
        error.contains("not the file that was read before"),
        "{error}"
    );
    fs::write(path("b.txt"), "").expect("write");
    let error = readers()[0].seek(&position).expect_err("added").to_string();
    assert!(error.contains("one was added, removed"), "{error}");
}

#[test]
fn watch_together_with_partitions_is_refused() {
    let plan = plan(
        SourceConnector::File {
            pattern: "x".to_string(),
            partitions: Some(2),
            watch_ms: Some(1000),
            reach: Default::default(),
        },
        FormatSpec::Lines,
    );
    assert!(
        check(&plan)
            .expect_err("both")
            .contains("cannot be set together")
    );
}

fn csv_of(content: &[u8]) -> (Vec<(u64, String)>, Vec<String>) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x.csv");
    fs::write(&path, content).expect("write");
    let pattern = path.to_string_lossy().into_owned();
    let plan = plan(
        SourceConnector::File {
            pattern,
            partitions: None,
            watch_ms: None,
            reach: Default::default(),
        },
        csv(),
    );
    let mut reader = open(&plan, 0, &Clock::manual())
        .expect("right")
        .discover()
        .expect("found")
        .remove(0);
    let (records, bad) = read(reader.as_mut());
    (
        records,
        bad.into_iter()
            .map(|m| m.rsplit('/').next().expect("a name").to_string())
            .collect(),
    )
}

#[test]
fn csv_rows_have_the_line_on_which_they_start_and_bad_ones_are_told() {
    let (records, bad) = csv_of(b"\xef\xbb\xbfa,b\r\n1,\"x\ny\"\r\n2\r\n3,\xff\r\n\r\n4,z");
    let expected = [(2, r#"{"a":1,"b":"x\ny"}"#), (7, r#"{"a":4,"b":"z"}"#)];
    assert_eq!(
        records,
        expected.map(|(line, text)| (line, text.to_string()))
    );
    assert_eq!(bad.len(), 2, "{bad:?}");
    assert!(
        bad[0].starts_with("x.csv:4: the row has 1 cells, the header 2"),
        "{bad:?}"
    );
    assert!(
        bad[1].starts_with("x.csv:5: ") && bad[1].contains("UTF-8"),
        "{bad:?}"
    );
    assert_eq!(csv_of(b""), (vec![], vec![]));
    assert_eq!(csv_of(b"a,b\n"), (vec![], vec![]));
}

#[test]
fn csv_reads_on_from_every_position_also_compressed() {
    let folder = tempfile::tempdir().expect("folder");
    let text: String = "a,b\n".to_string()
        + &(0..200)
            .map(|i| format!("{i},\"x\n{i}\"\n"))
            .collect::<String>();
    for name in ["x.csv", "x.csv.gz"] {
        let path = folder.path().join(name);
        let content = if name == "x.csv" {
            text.clone().into_bytes()
        } else {
            gzip(text.as_bytes())
        };
        fs::write(&path, content).expect("write");
        let pattern = path.to_string_lossy().into_owned();
        let plan = plan(
            SourceConnector::File {
                pattern,
                partitions: None,
                watch_ms: None,
                reach: Default::default(),
            },
            csv(),
        );
        let reader = || {
            open(&plan, 0, &Clock::manual())
                .expect("right")
                .discover()
                .expect("found")
                .remove(0)
        };
        let straight = read(reader().as_mut()).0;
        assert_eq!(straight.len(), 200);
        let mut slow = reader();
        let mut before = 0;
        loop {
            let mut later = reader();
            later.seek(&slow.position()).expect("the same file");
            assert_eq!(read(later.as_mut()).0, straight[before..]);
            match slow
                .read(&BatchLimits {
                    records: 17,
                    ..LIMITS
                })
                .expect("readable")
            {
                Read::Batch(batch, _) => before += batch.len,
                _ => break,
            }
        }
    }
}

fn table(content: &str, on_error: OnError, bytes_max: usize) -> Result<Batch, SourceError> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("t.csv");
    fs::write(&path, content).expect("write");
    let pattern = path.to_string_lossy().into_owned();
    let mut plan = plan(
        SourceConnector::File {
            pattern,
            partitions: None,
            watch_ms: None,
            reach: Default::default(),
        },
        csv(),
    );
    plan.key = Some(KeyPointers::One("/carrier".into()));
    plan.on_error = on_error;
    table::read_bounded(&plan, bytes_max)
}

#[test]
fn table_is_read_whole_with_keys_within_its_bound() {
    let content = "carrier,name\nAA,American\nUA,United\n";
    let rows = table(content, OnError::Fail, 1000).expect("good");
    let keys: Vec<_> = rows
        .keys
        .as_ref()
        .expect("keys")
        .iter()
        .map(|k| k.expect("key").to_vec())
        .collect();
    assert_eq!(keys, [b"AA", b"UA"]);
    assert!(
        table(content, OnError::Fail, 10)
            .expect_err("too small")
            .to_string()
            .contains("more than 10 bytes")
    );
    let bad = "carrier,name\nAA,American\n,nobody\nwrong\nUA,United\n";
    assert_eq!(table(bad, OnError::Skip, 1000).expect("skipped").len, 2);
    let error = table(bad, OnError::Fail, 1000)
        .expect_err("fails")
        .to_string();
    assert!(error.contains("t.csv:4: the row has 1 cells"), "{error}");
    let error = table(&bad.replace("wrong\n", ""), OnError::Fail, 1000)
        .expect_err("fails")
        .to_string();
    assert!(error.contains("t.csv:3: key /carrier: is null"), "{error}");
}

#[test]
fn standard_input_may_hold_csv() {
    let plan = plan(SourceConnector::Stdin, csv());
    let mut source = stdin::StdinSource::from_stream(&plan, 0, Box::new(&b"a\n1\n2\n"[..]));
    let mut reader = source.discover().expect("one").remove(0);
    let mut records = Vec::new();
    loop {
        match reader.read(&LIMITS).expect("readable") {
            Read::Batch(mut batch, _) => records.extend(
                value_bytes(&mut batch)
                    .iter()
                    .map(|v| v.expect("row").to_vec()),
            ),
            Read::Pending(_) => std::thread::yield_now(),
            Read::End => break,
        }
    }
    assert_eq!(records, [br#"{"a":1}"#, br#"{"a":2}"#]);
}
