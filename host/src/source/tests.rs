use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::plan::{FormatSpec, GeneratorSpec, OnError};
use crate::record::Form;

const LIMITS: BatchLimits = BatchLimits {
    records: 4096,
    bytes: 1 << 20,
    latency_ms: 10,
};

pub(super) fn plan(connector: SourceConnector, format: FormatSpec) -> SourcePlan {
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

pub(super) fn files(pattern: &Path, format: FormatSpec, watch_ms: Option<i64>) -> Box<dyn Source> {
    let pattern = pattern.to_string_lossy().into_owned();
    let plan = plan(
        SourceConnector::File {
            pattern,
            partitions: None,
            watch_ms,
            reach: Default::default(),
        },
        format,
    );
    open(&plan, 0, &Clock::manual()).expect("a right plan")
}

#[test]
fn what_is_written_to_a_file_once_it_is_open_belongs_to_the_next_run_unless_it_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let half: String = (0..50_000).map(|n| format!("{n}\n")).collect();
    let packed = |text: &str| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    for (name, bytes) in [
        ("in.txt", half.clone().into_bytes()),
        ("in.gz", packed(&half)),
    ] {
        for (watch_ms, expected) in [(None, 50_000), (Some(1), 100_000)] {
            let path = folder.path().join(name);
            fs::write(&path, &bytes).unwrap();
            let mut reader = one(&path, FormatSpec::Lines, watch_ms);
            let Read::Batch(first, _) = reader.read(&LIMITS).unwrap() else {
                panic!("there is a first batch")
            };
            let mut file = fs::File::options().append(true).open(&path).unwrap();
            file.write_all(&bytes).unwrap();
            let (rest, bad) = drain(reader.as_mut(), &LIMITS);
            assert!(bad.is_empty(), "{name}: {bad:?}");
            assert_eq!(first.len + rest.len(), expected, "{name}, {watch_ms:?}");
        }
    }
}

fn one(path: &Path, format: FormatSpec, watch_ms: Option<i64>) -> Box<dyn PartitionReader> {
    let mut readers = files(path, format, watch_ms).discover().expect("found");
    assert_eq!(readers.len(), 1);
    readers.pop().expect("one")
}

pub(super) fn texts(batch: &Batch) -> Vec<String> {
    let Form::Bytes(values) = &batch.value.form else {
        panic!("bytes expected, not {:?}", batch.value.form)
    };
    values
        .iter()
        .map(|v| String::from_utf8_lossy(v.expect("no nulls")).into_owned())
        .collect()
}

/// All that comes until the end or until nothing comes now: values with their origins, and bad records' messages.
pub(super) fn drain(
    reader: &mut dyn PartitionReader,
    limits: &BatchLimits,
) -> (Vec<(u64, String)>, Vec<String>) {
    let (mut records, mut bad) = (Vec::new(), Vec::new());
    while let Read::Batch(batch, more) = reader.read(limits).expect("readable") {
        let origin = |i| batch.origins.get(i).expect("sources know origins").offset;
        records.extend(
            texts(&batch)
                .into_iter()
                .enumerate()
                .map(|(i, t)| (origin(i), t)),
        );
        bad.extend(more.into_iter().map(|b| b.rejected.message));
    }
    (records, bad)
}

fn lines_of(content: &[u8], name: &str) -> (Vec<(u64, String)>, Vec<String>) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join(name);
    fs::write(&path, content).expect("write");
    let (records, bad) = drain(one(&path, FormatSpec::Lines, None).as_mut(), &LIMITS);
    (
        records,
        bad.into_iter()
            .map(|m| m.replace(&format!("{}/", folder.path().display()), ""))
            .collect(),
    )
}

fn numbered(lines: &[&str]) -> Vec<(u64, String)> {
    lines
        .iter()
        .enumerate()
        .map(|(i, l)| (i as u64 + 1, l.to_string()))
        .collect()
}

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn lines_end_at_lf_or_crlf_or_the_end_and_a_byte_order_mark_is_dropped() {
    assert_eq!(
        lines_of(b"a\nb\r\n\n d", "x"),
        (numbered(&["a", "b", "", " d"]), vec![])
    );
    assert_eq!(
        lines_of(b"\xef\xbb\xbfa\nb\n", "x"),
        (numbered(&["a", "b"]), vec![])
    );
    assert_eq!(lines_of(b"", "x"), (vec![], vec![]));
    assert_eq!(lines_of(b"\n", "x"), (numbered(&[""]), vec![]));
}

#[test]
fn compressed_files_of_several_members_and_frames_read_like_plain_ones() {
    let gz = [gzip(b"a\nb"), gzip(b"c\nd\n")].concat();
    assert_eq!(lines_of(&gz, "x.gz"), (numbered(&["a", "bc", "d"]), vec![]));
    let zst = [
        zstd::encode_all(&b"a\nb"[..], 1).expect("zstd"),
        zstd::encode_all(&b"c\nd\n"[..], 1).expect("zstd"),
    ]
    .concat();
    assert_eq!(
        lines_of(&zst, "x.zst"),
        (numbered(&["a", "bc", "d"]), vec![])
    );
    assert_eq!(lines_of(&gzip(b""), "x.gz"), (vec![], vec![]));
    assert_eq!(lines_of(b"", "x.gz"), (vec![], vec![]));
    assert_eq!(lines_of(b"", "x.zst"), (vec![], vec![]));
}

#[test]
fn truncated_gzip_gives_the_records_before_and_then_a_bad_record_with_file_and_line() {
    // Text that does not compress to nothing, so that the cut falls among the lines.
    let text: String = (0..5000u64)
        .map(|i| format!("{}\n", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let whole = gzip(text.as_bytes());
    let (records, bad) = lines_of(&whole[..whole.len() / 2], "x.gz");
    let expected: Vec<&str> = text.lines().take(records.len()).collect();
    assert_eq!(records, numbered(&expected));
    assert!(records.len() > 1000);
    let line = records.len() + 1;
    assert_eq!(
        bad,
        [format!(
            "x.gz:{line}: the gzip data ends in the middle: the file is cut off; what comes before was read"
        )]
    );
}

#[test]
fn damaged_compressed_files_give_a_bad_record_each() {
    let mut broken = gzip(b"a\nb\n");
    let last = broken.len() - 6;
    broken[last] ^= 1; // the checksum
    let (records, bad) = lines_of(&broken, "x.gz");
    assert_eq!(records, numbered(&["a", "b"]));
    assert!(
        bad[0].starts_with("x.gz:3: the gzip data is damaged here"),
        "{bad:?}"
    );
    for name in ["x.gz", "x.zst"] {
        let (records, bad) = lines_of(b"this is not compressed at all, whatever the name", name);
        assert!(
            records.is_empty() && bad.len() == 1 && bad[0].contains("damaged"),
            "{bad:?}"
        );
    }
    let zst = zstd::encode_all(&b"abcdefgh\n".repeat(100)[..], 1).expect("zstd");
    let (_, bad) = lines_of(&zst[..zst.len() - 4], "x.zst");
    assert!(
        bad[0].contains("the zstd data ends in the middle"),
        "{bad:?}"
    );
}

#[test]
fn hundred_megabyte_line_is_one_bad_record_and_the_others_are_good() {
    let mut content = b"first\n".to_vec();
    content.resize(content.len() + 100_000_000, b'x');
    content.extend_from_slice(b"\nlast\n");
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x");
    fs::write(&path, &content).expect("write");
    let mut reader = one(&path, FormatSpec::Lines, None);
    let Read::Batch(batch, bad) = reader.read(&LIMITS).expect("readable") else {
        panic!("a batch")
    };
    assert_eq!(texts(&batch), ["first", "last"]);
    assert_eq!(
        (
            batch.origins.get(0).expect("0").offset,
            batch.origins.get(1).expect("1").offset
        ),
        (1, 3)
    );
    assert_eq!(bad.len(), 1);
    assert!(
        bad[0]
            .rejected
            .message
            .ends_with("x:2: the line has 100000001 bytes, the limit is 16777216"),
        "{}",
        bad[0].rejected.message
    );
    assert_eq!(bad[0].raw.len(), cut::BAD_RECORD_BYTES_MAX);
    assert!(matches!(reader.read(&LIMITS), Ok(Read::End)));
}

#[test]
fn batches_keep_both_limits() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x");
    fs::write(&path, "1234567890\n".repeat(1000)).expect("write");
    let small = BatchLimits {
        records: 7,
        bytes: 1 << 20,
        latency_ms: 10,
    };
    let Read::Batch(batch, _) = one(&path, FormatSpec::Lines, None)
        .read(&small)
        .expect("readable")
    else {
        panic!()
    };
    assert_eq!(batch.len, 7);
    let small = BatchLimits {
        records: 4096,
        bytes: 25,
        latency_ms: 10,
    };
    let Read::Batch(batch, _) = one(&path, FormatSpec::Lines, None)
        .read(&small)
        .expect("readable")
    else {
        panic!()
    };
    assert_eq!(batch.len, 2);
    let tiny = BatchLimits {
        records: 4096,
        bytes: 1,
        latency_ms: 10,
    };
    assert_eq!(
        drain(one(&path, FormatSpec::Lines, None).as_mut(), &tiny)
            .0
            .len(),
        1000
    );
}

#[test]
fn blank_lines_are_no_json_records_and_keep_the_line_numbers_right() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x");
    fs::write(&path, "{}\n\n  \n[]\n").expect("write");
    let (records, _) = drain(one(&path, FormatSpec::Json, None).as_mut(), &LIMITS);
    assert_eq!(records, [(1, "{}".to_string()), (4, "[]".to_string())]);
}

#[test]
fn whole_file_is_one_record_of_format_bytes() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("a"), "one\ntwo\n").expect("write");
    fs::write(folder.path().join("b"), "").expect("write");
    let mut readers = files(&folder.path().join("*"), FormatSpec::Bytes, None)
        .discover()
        .expect("found");
    assert_eq!(
        drain(readers[0].as_mut(), &LIMITS).0,
        [(1, "one\ntwo\n".to_string())]
    );
    assert_eq!(drain(readers[1].as_mut(), &LIMITS).0, [(1, String::new())]);
}

#[test]
fn files_are_partitions_in_path_order_without_hidden_ones_and_folders() {
    let folder = tempfile::tempdir().expect("folder");
    for name in ["b.txt", "a.txt", "c.txt", ".hidden.txt"] {
        fs::write(folder.path().join(name), name).expect("write");
    }
    fs::create_dir(folder.path().join("d.txt")).expect("folder");
    let readers = files(&folder.path().join("*.txt"), FormatSpec::Lines, None)
        .discover()
        .expect("found");
    let names: Vec<_> = readers
        .iter()
        .map(|r| Path::new(r.name()).file_name().expect("name").to_owned())
        .collect();
    assert_eq!(names, ["a.txt", "b.txt", "c.txt"]);
    assert_eq!(
        readers.iter().map(|r| r.partition()).collect::<Vec<_>>(),
        [0, 1, 2]
    );
}

#[test]
fn nothing_to_read_is_an_error_and_a_bad_glob_too() {
    let folder = tempfile::tempdir().expect("folder");
    let error = files(&folder.path().join("*.csv"), FormatSpec::Lines, None)
        .discover()
        .err()
        .expect("nothing there");
    assert!(
        error.to_string().contains("source in: no file matches"),
        "{error}"
    );
    assert!(
        files(&folder.path().join("*.csv"), FormatSpec::Lines, Some(1000))
            .discover()
            .expect("may come")
            .is_empty()
    );
    let plan = plan(
        SourceConnector::File {
            pattern: "a[".to_string(),
            partitions: None,
            watch_ms: None,
            reach: Default::default(),
        },
        FormatSpec::Lines,
    );
    assert!(check(&plan).expect_err("no glob").contains("not a glob"));
}

#[test]
fn growing_folder_gives_new_files_and_growth_and_half_lines_wait() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("b"), "1\n2").expect("write");
    let mut source = files(&path("*"), FormatSpec::Lines, Some(250));
    assert_eq!(source.discover_again_ms(), Some(250));
    let mut b = source.discover().expect("found").pop().expect("b");
    assert_eq!(drain(b.as_mut(), &LIMITS).0, numbered(&["1"]));
    assert!(matches!(b.read(&LIMITS), Ok(Read::Pending(250))));

    fs::write(path("a"), "x\n").expect("write");
    fs::OpenOptions::new()
        .append(true)
        .open(path("b"))
        .expect("b")
        .write_all(b"2\n3\n")
        .expect("append");
    let mut new = source.discover().expect("found");
    assert_eq!(new.len(), 1);
    assert_eq!(
        (new[0].partition(), drain(new[0].as_mut(), &LIMITS).0),
        (1, numbered(&["x"]))
    );
    assert_eq!(
        drain(b.as_mut(), &LIMITS).0,
        [(2, "22".to_string()), (3, "3".to_string())]
    );
    assert!(source.discover().expect("found").is_empty());

    fs::remove_file(path("a")).expect("remove");
    assert!(matches!(new[0].read(&LIMITS), Ok(Read::End)));
    fs::write(path("b"), "1\n").expect("write");
    let error = b.read(&LIMITS).expect_err("shrunk");
    assert!(error.to_string().contains("it shrank"), "{error}");
}

#[test]
fn half_line_of_a_removed_file_is_a_bad_record() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x");
    fs::write(&path, "1\nhalf").expect("write");
    let mut reader = one(&path, FormatSpec::Lines, Some(250));
    assert_eq!(drain(reader.as_mut(), &LIMITS).0, numbered(&["1"]));
    fs::remove_file(&path).expect("remove");
    let (records, bad) = drain(reader.as_mut(), &LIMITS);
    assert!(
        records.is_empty() && bad[0].contains("x:2: the file was removed"),
        "{bad:?}"
    );
    assert!(matches!(reader.read(&LIMITS), Ok(Read::End)));
}

#[test]
fn reading_on_from_every_position_equals_reading_straight() {
    let folder = tempfile::tempdir().expect("folder");
    let text: String = (0..500)
        .map(|i| {
            if i % 7 == 0 {
                "\r\n".to_string()
            } else {
                format!("line {i}\n")
            }
        })
        .collect();
    let contents = [
        ("x", text.clone().into_bytes()),
        ("x.gz", gzip(text.as_bytes())),
        ("x.zst", zstd::encode_all(text.as_bytes(), 1).expect("zstd")),
    ];
    let few = BatchLimits {
        records: 13,
        bytes: 1 << 20,
        latency_ms: 10,
    };
    for (name, content) in contents {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("write");
        for format in [FormatSpec::Lines, FormatSpec::Json] {
            let straight = drain(one(&path, format.clone(), None).as_mut(), &few).0;
            let mut reader = one(&path, format.clone(), None);
            let mut before = Vec::new();
            loop {
                let mut later = one(&path, format.clone(), None);
                later.seek(&reader.position()).expect("the same file");
                assert_eq!(
                    [before.clone(), drain(later.as_mut(), &few).0].concat(),
                    straight,
                    "{name} {format:?}"
                );
                match reader.read(&few).expect("readable") {
                    Read::Batch(batch, _) => {
                        let offset = |i| batch.origins.get(i).expect("known").offset;
                        before.extend(
                            texts(&batch)
                                .into_iter()
                                .enumerate()
                                .map(|(i, t)| (offset(i), t)),
                        );
                    }
                    _ => break,
                }
            }
        }
    }
}

fn after_some(path: &Path) -> Position {
    let mut reader = one(path, FormatSpec::Lines, None);
    let few = BatchLimits {
        records: 10,
        bytes: 1 << 20,
        latency_ms: 10,
    };
    let Read::Batch(..) = reader.read(&few).expect("readable") else {
        panic!("a batch")
    };
    reader.position()
}

#[test]
fn position_in_a_file_that_changed_shrank_or_vanished_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("folder");
    for name in ["x", "x.gz"] {
        let path: PathBuf = folder.path().join(name);
        let write = |text: &str| {
            let content = if name == "x" {
                text.as_bytes().to_vec()
            } else {
                gzip(text.as_bytes())
            };
            fs::write(&path, content).expect("write");
        };
        let text: String = (0..100).map(|i| format!("line {i}\n")).collect();
        write(&text);
        let position = after_some(&path);
        let seek = || {
            one(&path, FormatSpec::Lines, None)
                .seek(&position)
                .err()
                .map(|e| e.to_string())
        };
        assert_eq!(seek(), None);
        write(&text.replace("line 1", "lime 1"));
        assert!(
            seek()
                .expect("changed")
                .contains("not the file that was read before"),
            "{:?}",
            seek()
        );
        write("l");
        assert!(
            seek().expect("shrunk").contains("it shrank"),
            "{:?}",
            seek()
        );
        let mut reader = one(&path, FormatSpec::Lines, None);
        fs::remove_file(&path).expect("remove");
        let error = reader.seek(&position).expect_err("vanished").to_string();
        assert!(
            error.contains("the file is gone, and was read only up to line 11"),
            "{error}"
        );
    }
}

#[test]
fn files_of_a_checkpoint_keep_their_numbers_and_read_ones_may_be_gone() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("b"), "b\n").expect("write");
    fs::write(path("c"), "c\n").expect("write");
    let mut readers = files(&path("*"), FormatSpec::Lines, None)
        .discover()
        .expect("found");
    drain(readers[0].as_mut(), &LIMITS);
    let known: Vec<(u32, Position)> = readers
        .iter()
        .map(|r| (r.partition(), r.position()))
        .collect();

    fs::write(path("a"), "a\n").expect("write");
    fs::remove_file(path("b")).expect("remove");
    let mut source = files(&path("*"), FormatSpec::Lines, None);
    source.restore(&known).expect("positions of files");
    let mut readers = source.discover().expect("found");
    let names: Vec<_> = readers
        .iter()
        .map(|r| {
            (
                r.partition(),
                r.name().rsplit('/').next().expect("name").to_string(),
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            (0, "b".to_string()),
            (1, "c".to_string()),
            (2, "a".to_string())
        ]
    );
    readers[0]
        .seek(&known[0].1)
        .expect("it was read to its end");
    assert!(matches!(readers[0].read(&LIMITS), Ok(Read::End)));
}

#[test]
fn stdin_reads_lines_off_its_own_thread_and_cannot_be_sought() {
    let plan = plan(SourceConnector::Stdin, FormatSpec::Lines);
    let (reader, mut writer) = std::io::pipe().expect("pipe");
    let mut source = stdin::StdinSource::from_stream(&plan, 0, Box::new(reader));
    let mut stdin = source.discover().expect("one").pop().expect("one");
    assert!(matches!(stdin.read(&LIMITS), Ok(Read::Pending(_))));
    writer.write_all(b"a\nb\nhalf").expect("pipe");
    let mut records = Vec::new();
    while records.len() < 2 {
        records.extend(drain(stdin.as_mut(), &LIMITS).0);
        std::thread::yield_now();
    }
    assert_eq!(records, numbered(&["a", "b"]));
    drop(writer);
    let last = loop {
        match stdin.read(&LIMITS).expect("readable") {
            Read::Batch(batch, _) => break texts(&batch),
            Read::Pending(_) => std::thread::yield_now(),
            Read::End => panic!("half a line is a line at the end"),
        }
    };
    assert_eq!(last, ["half"]);
    assert!(matches!(stdin.read(&LIMITS), Ok(Read::End)));
    let error = stdin
        .seek(&stdin.position())
        .expect_err("read already")
        .to_string();
    assert!(error.contains("cannot be read again"), "{error}");
}

fn generator(
    records: Option<u64>,
    rate: Option<u64>,
    partitions: usize,
    clock: &Clock,
) -> Vec<Box<dyn PartitionReader>> {
    let spec = GeneratorSpec {
        records,
        rate,
        seed: 3,
        partitions,
        template: Some("{{index}}:{{int 0 1000}}".to_string()),
    };
    open(
        &plan(SourceConnector::Generator(spec), FormatSpec::Lines),
        0,
        clock,
    )
    .expect("right")
    .discover()
    .expect("made")
}

#[test]
fn generator_makes_the_same_records_at_any_number_of_partitions() {
    let all = |partitions| {
        let mut records: Vec<String> = generator(Some(1000), None, partitions, &Clock::manual())
            .iter_mut()
            .flat_map(|r| {
                drain(
                    r.as_mut(),
                    &BatchLimits {
                        records: 64,
                        bytes: 300,
                        latency_ms: 10,
                    },
                )
                .0
            })
            .map(|(_, text)| text)
            .collect();
        records.sort_unstable();
        records
    };
    assert_eq!(all(1).len(), 1000);
    assert_eq!(all(1), all(7));
}

#[test]
fn generator_goes_on_from_any_position() {
    let straight = drain(
        generator(Some(100), None, 2, &Clock::manual())[1].as_mut(),
        &LIMITS,
    )
    .0;
    let few = BatchLimits {
        records: 7,
        bytes: 1 << 20,
        latency_ms: 10,
    };
    let mut reader = generator(Some(100), None, 2, &Clock::manual()).remove(1);
    let mut before = 0;
    loop {
        let mut later = generator(Some(100), None, 2, &Clock::manual()).remove(1);
        later.seek(&reader.position()).expect("a position");
        assert_eq!(drain(later.as_mut(), &LIMITS).0, straight[before..]);
        let Read::Batch(batch, _) = reader.read(&few).expect("made") else {
            break;
        };
        before += batch.len;
    }
    assert!(
        generator(Some(100), None, 3, &Clock::manual())[0]
            .seek(&reader.position())
            .is_err()
    );
}

#[test]
fn generator_keeps_its_rate_by_the_clock_over_all_partitions() {
    let clock = Clock::manual();
    clock.set(5_000);
    let mut readers = generator(None, Some(100), 3, &clock);
    let mut count = |at: i64| -> usize {
        clock.set(at);
        readers
            .iter_mut()
            .map(|r| drain(r.as_mut(), &LIMITS).0.len())
            .sum()
    };
    assert_eq!(count(5_000), 1);
    assert_eq!(count(5_009), 0);
    assert_eq!(count(5_010), 1);
    assert_eq!(count(6_000), 99);
    let Ok(Read::Pending(wait)) = readers[0].read(&LIMITS) else {
        panic!("nothing is due")
    };
    assert!((1..=30).contains(&wait), "{wait}");
}

#[test]
fn generator_with_a_bad_template_is_refused_before_it_starts() {
    let spec = GeneratorSpec {
        records: None,
        rate: None,
        seed: 0,
        partitions: 1,
        template: Some("{{x}}".to_string()),
    };
    let plan = plan(SourceConnector::Generator(spec), FormatSpec::Lines);
    assert!(
        open(&plan, 0, &Clock::manual())
            .err()
            .expect("bad")
            .to_string()
            .contains("byte 1: `{{x}}`")
    );
}

#[test]
fn memory_source_hands_batches_out_and_goes_on_from_a_position() {
    let batch = |n| Batch::of(n, crate::record::Value::new(Form::Null));
    let mut source = MemorySource::new("m", vec![vec![batch(1), batch(2)], vec![]]);
    let mut readers = source.discover().expect("two");
    assert_eq!(readers.len(), 2);
    assert!(matches!(readers[0].read(&LIMITS), Ok(Read::Batch(b, _)) if b.len == 1));
    let position = readers[0].position();
    assert!(matches!(readers[0].read(&LIMITS), Ok(Read::Batch(b, _)) if b.len == 2));
    readers[0].seek(&position).expect("known");
    assert!(matches!(readers[0].read(&LIMITS), Ok(Read::Batch(b, _)) if b.len == 2));
    assert!(matches!(readers[1].read(&LIMITS), Ok(Read::End)));
}

#[test]
fn a_glob_that_finds_too_many_files_says_how_many_it_may() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..4 {
        fs::write(folder.path().join(format!("{n}.txt")), "x").unwrap();
    }
    let pattern = folder.path().join("*.txt").display().to_string();
    assert_eq!(file::find_at_most(&pattern, 4).unwrap().len(), 4);
    assert_eq!(
        file::find_at_most(&pattern, 3).unwrap_err(),
        format!("more than 3 files match {pattern}: name fewer, or put them together")
    );
}
