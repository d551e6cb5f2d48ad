use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{BinaryArray, Int64Array};
use parking_lot::Mutex;

use super::file::{FileSettings, FileSink};
use super::folder::{Folder, OsFolder, PartFile};
use super::*;
use crate::config::plan::{ConsoleFormat, FileFormat};
use crate::record::{ErrorInfo, Form, Value, Windows};

fn batch(values: &[&str]) -> Batch {
    let array: BinaryArray = values.iter().map(|v| Some(v.as_bytes())).collect();
    Batch::of(values.len(), Value::new(Form::Bytes(array)))
}

/// What a console writes, kept.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    fn console(&self) -> Console {
        Console::new(Box::new(self.clone()), 80)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).expect("text")
    }
}

fn run(id: &str, checkpoints: bool) -> SinkRun {
    SinkRun {
        id: id.to_string(),
        checkpoints,
        first_epoch: u64::from(checkpoints),
        transactions: None,
        console: Screen::default().console(),
    }
}

const SETTINGS: FileSettings = FileSettings {
    format: FileFormat::Value,
    roll_bytes: 1 << 20,
    roll_every_ms: None,
    overwrite: false,
};

fn open_file(path: &Path, settings: FileSettings, run: &SinkRun) -> Result<FileSink, SinkError> {
    FileSink::open("out", path, Arc::new(OsFolder::new(path)), settings, run)
}

/// Name and content of all parts that readers see.
fn parts(path: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(path)
        .expect("folder")
        .map(|e| e.expect("entry").path());
    entries
        .map(|p| {
            (
                p.file_name().expect("name").to_string_lossy().into_owned(),
                p,
            )
        })
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, p)| (name, fs::read_to_string(p).expect("text")))
        .collect()
}

fn hidden(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path)
        .expect("folder")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned());
    names.filter(|n| n.starts_with(".part")).collect()
}

fn named(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(n, c)| (format!("part-{n}.jsonl"), c.to_string()))
        .collect()
}

#[test]
fn parts_are_seen_only_after_commit_and_a_second_commit_changes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("out");
    let sink = open_file(&path, SETTINGS, &run("r", true)).expect("new");
    let mut writers = [sink.writer(0).expect("0"), sink.writer(1).expect("1")];
    writers[0].write(batch(&["a", "b"])).expect("write");
    writers[1].write(batch(&["c"])).expect("write");
    let prepared: Vec<_> = writers
        .iter_mut()
        .map(|w| w.prepare(1).expect("prepare"))
        .collect();
    writers[0].write(batch(&["d"])).expect("write");
    writers[0].flush().expect("flush");
    assert_eq!(parts(&path), named(&[]));
    for _ in 0..2 {
        for value in &prepared {
            // Any writer can publish what another one prepared.
            writers[1].commit(1, value).expect("commit");
        }
        assert_eq!(
            parts(&path),
            named(&[
                ("0000000001-0000-000000", "a\nb\n"),
                ("0000000001-0001-000000", "c\n")
            ])
        );
    }
    let second = writers[0].prepare(2).expect("prepare");
    writers[0].commit(2, &second).expect("commit");
    assert_eq!(parts(&path).len(), 3);
    assert_eq!(parts(&path)["part-0000000002-0000-000000.jsonl"], "d\n");
    let nothing = writers[0].prepare(3).expect("prepare");
    writers[0].commit(3, &nothing).expect("commit");
    assert_eq!(parts(&path).len(), 3);
}

#[test]
fn parts_roll_by_bytes_at_line_ends_and_by_time() {
    let folder = tempfile::tempdir().expect("folder");
    let settings = FileSettings {
        roll_bytes: 10,
        roll_every_ms: Some(1000),
        ..SETTINGS
    };
    let sink = open_file(folder.path(), settings, &run("r", false)).expect("new");
    let mut writer = sink.writer(0).expect("writer");
    writer
        .write(batch(&["1234", "5678", "9", "one longer than that", "x"]))
        .expect("write");
    let expected = [
        ("0000000000-0000-000000", "1234\n5678\n"),
        ("0000000000-0000-000001", "9\none longer than that\n"),
    ];
    assert_eq!(parts(folder.path()), named(&expected));
    writer.flush().expect("flush");
    writer.on_time(5000).expect("time");
    writer.on_time(5999).expect("time");
    assert_eq!(parts(folder.path()).len(), 2);
    writer.on_time(6000).expect("time");
    assert_eq!(
        parts(folder.path())["part-0000000000-0000-000002.jsonl"],
        "x\n"
    );
}

#[test]
fn without_checkpoints_the_last_part_is_published_at_the_end() {
    let folder = tempfile::tempdir().expect("folder");
    let sink = open_file(folder.path(), SETTINGS, &run("r", false)).expect("new");
    let mut writer = sink.writer(3).expect("writer");
    writer.write(batch(&["a"])).expect("write");
    assert_eq!(parts(folder.path()), named(&[]));
    let prepared = writer.prepare(0).expect("prepare");
    writer.commit(0, &prepared).expect("commit");
    assert_eq!(
        parts(folder.path()),
        named(&[("0000000000-0003-000000", "a\n")])
    );
}

#[test]
fn folder_with_parts_of_another_run_is_refused_unless_overwrite_replaces_them_at_the_first_commit()
{
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("notes.txt"), "mine").expect("write");
    let first = open_file(folder.path(), SETTINGS, &run("first", true)).expect("no parts yet");
    let mut writer = first.writer(0).expect("writer");
    writer.write(batch(&["old", "older"])).expect("write");
    let prepared = writer.prepare(1).expect("prepare");
    writer.commit(1, &prepared).expect("commit");
    assert!(
        open_file(folder.path(), SETTINGS, &run("first", true)).is_ok(),
        "the same run goes on"
    );

    let error = open_file(folder.path(), SETTINGS, &run("second", true))
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("holds 1 parts of another run") && error.contains("overwrite = true"),
        "{error}"
    );

    let overwrite = FileSettings {
        overwrite: true,
        ..SETTINGS
    };
    let second = open_file(folder.path(), overwrite, &run("second", true)).expect("may replace");
    let mut writer = second.writer(0).expect("writer");
    writer.write(batch(&["new"])).expect("write");
    let prepared = writer.prepare(1).expect("prepare");
    assert_eq!(
        parts(folder.path())["part-0000000001-0000-000000.jsonl"],
        "old\nolder\n"
    );

    // A crash here: the run goes on from its checkpoint, and still knows what it replaces.
    drop(writer);
    let again = open_file(folder.path(), overwrite, &run("second", true)).expect("the same run");
    again.recover(1, &[prepared]).expect("recover");
    let left = parts(folder.path());
    assert_eq!(left["part-0000000001-0000-000000.jsonl"], "new\n");
    assert_eq!(left["notes.txt"], "mine");
    assert_eq!(left.len(), 2);
}

#[test]
fn leftovers_of_a_crash_go_and_what_the_checkpoint_names_is_published() {
    let folder = tempfile::tempdir().expect("folder");
    let crashed = run("r", true);
    let sink = open_file(folder.path(), SETTINGS, &crashed).expect("new");
    let mut writer = sink.writer(0).expect("writer");
    // Epoch 1 is in the manifest; the crash comes before its parts are published, and amid those of 2 and 3.
    writer.write(batch(&["a"])).expect("write");
    let first = writer.prepare(1).expect("prepare");
    writer.write(batch(&["b"])).expect("write");
    writer.prepare(2).expect("prepare");
    writer.write(batch(&["open"])).expect("write");
    writer.flush().expect("flush");
    std::mem::forget(writer);
    assert_eq!(
        (hidden(folder.path()).len(), parts(folder.path()).len()),
        (3, 0)
    );
    let again = open_file(
        folder.path(),
        SETTINGS,
        &SinkRun {
            first_epoch: 2,
            ..crashed
        },
    )
    .expect("the same run");
    again
        .recover(1, std::slice::from_ref(&first))
        .expect("recover");
    assert_eq!(
        parts(folder.path()),
        named(&[("0000000001-0000-000000", "a\n")])
    );
    assert_eq!(hidden(folder.path()), Vec::<String>::new());
    again.recover(1, &[first]).expect("twice is fine");
}

#[test]
fn parts_after_the_restored_epoch_are_set_aside_not_deleted() {
    let folder = tempfile::tempdir().expect("folder");
    let sink = open_file(folder.path(), SETTINGS, &run("r", true)).expect("new");
    let mut writer = sink.writer(0).expect("writer");
    for (epoch, value) in [(1, "a"), (2, "b")] {
        writer.write(batch(&[value])).expect("write");
        let prepared = writer.prepare(epoch).expect("prepare");
        writer.commit(epoch, &prepared).expect("commit");
    }
    drop(writer);
    sink.recover(1, &[]).expect("recover");
    assert_eq!(
        parts(folder.path()),
        named(&[("0000000001-0000-000000", "a\n")])
    );
    let aside = folder
        .path()
        .join(".superseded-part-0000000002-0000-000000.jsonl");
    assert_eq!(fs::read_to_string(aside).expect("kept"), "b\n");
}

#[test]
fn prepared_part_that_was_lost_is_an_error_and_not_silence() {
    let folder = tempfile::tempdir().expect("folder");
    let sink = open_file(folder.path(), SETTINGS, &run("r", true)).expect("new");
    let mut writer = sink.writer(0).expect("writer");
    writer.write(batch(&["a"])).expect("write");
    let prepared = writer.prepare(1).expect("prepare");
    fs::remove_file(
        folder
            .path()
            .join(hidden(folder.path()).pop().expect("one")),
    )
    .expect("remove");
    let error = writer.commit(1, &prepared).expect_err("lost").to_string();
    assert!(error.contains("is lost"), "{error}");
    assert!(writer.commit(1, &serde_json::json!({"other": 1})).is_err());
}

/// A folder whose disk has room for so many bytes.
struct SmallDisk {
    inner: OsFolder,
    room: Arc<Mutex<u64>>,
}

struct SmallFile {
    inner: Box<dyn PartFile>,
    room: Arc<Mutex<u64>>,
}

impl Write for SmallFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = self.room.lock();
        if *room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let fitting = bytes.len().min(*room as usize);
        *room -= fitting as u64;
        self.inner.write(&bytes[..fitting])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl PartFile for SmallFile {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Folder for SmallDisk {
    fn make(&self) -> io::Result<()> {
        self.inner.make()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.inner.read(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn PartFile>> {
        Ok(Box::new(SmallFile {
            inner: self.inner.create(name)?,
            room: self.room.clone(),
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.inner.exists(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn full_disk_fails_by_name_and_committed_parts_stay_whole_wherever_it_strikes() {
    for room in 0..200 {
        let folder = tempfile::tempdir().expect("folder");
        let disk = Arc::new(SmallDisk {
            inner: OsFolder::new(folder.path()),
            room: Arc::new(Mutex::new(room)),
        });
        let written = (|| {
            let sink = FileSink::open("out", folder.path(), disk, SETTINGS, &run("r", true))?;
            let mut writer = sink.writer(0)?;
            for epoch in 1..=30 {
                writer.write(batch(&["0123456789", "abcdefghij"]))?;
                let prepared = writer.prepare(epoch)?;
                writer.commit(epoch, &prepared)?;
            }
            Ok::<(), SinkError>(())
        })();
        let error = written.expect_err("660 bytes do not fit").to_string();
        assert!(
            error.starts_with("sink out: cannot write") && error.contains("the disk is full"),
            "room {room}: {error}"
        );
        let kept = parts(folder.path());
        assert!(
            kept.values().all(|part| part == "0123456789\nabcdefghij\n"),
            "room {room}: {kept:?}"
        );
        assert!(kept.len() as u64 <= room / 22);
    }
}

#[test]
fn folder_that_is_a_file_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("blocker/out");
    fs::write(folder.path().join("blocker"), "a file").expect("write");
    let error = open_file(&path, SETTINGS, &run("r", true))
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("cannot make the folder") && error.contains("blocker/out"),
        "{error}"
    );
}

fn console(format: ConsoleFormat, screen: &Screen) -> Box<dyn SinkWriter> {
    console::ConsoleSink::new("out", format, screen.console())
        .writer(0)
        .expect("writer")
}

#[test]
fn console_prints_envelopes_and_values_at_flush() {
    let screen = Screen::default();
    let mut writer = console(ConsoleFormat::Json, &screen);
    let mut records = batch(&["{\"a\":1}", "text"]);
    records.keys = Some(vec![Some(&b"k"[..]), None].into());
    records.timestamps = Some(Int64Array::from(vec![Some(5), None]));
    writer.write(records).expect("write");
    writer.flush().expect("flush");
    assert_eq!(
        screen.text(),
        "{\"key\":\"k\",\"value\":{\"a\":1},\"timestamp\":5}\n{\"value\":\"text\"}\n"
    );
    let screen = Screen::default();
    let mut writer = console(ConsoleFormat::Value, &screen);
    writer.write(batch(&["{\"a\":1}", "text"])).expect("write");
    writer.flush().expect("flush");
    assert_eq!(screen.text(), "{\"a\":1}\ntext\n");
}

#[test]
fn reader_of_the_console_that_went_away_is_told_apart() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let sink = console::ConsoleSink::new(
        "out",
        ConsoleFormat::Value,
        Console::new(Box::new(Gone), 80),
    );
    let mut writer = sink.writer(0).expect("writer");
    writer.write(batch(&["x"])).expect("buffered");
    assert!(writer.flush().expect_err("nobody reads").reader_gone);
}

fn windowed(values: &[&str]) -> Batch {
    let mut records = batch(values);
    records.keys = Some(
        values
            .iter()
            .enumerate()
            .map(|(i, _)| Some(format!("k{i}")))
            .collect::<Vec<_>>()
            .iter()
            .map(|k| k.as_deref().map(str::as_bytes))
            .collect(),
    );
    let starts: Vec<i64> = (0..values.len() as i64)
        .map(|i| 1_356_998_400_000 + i * 3_600_000)
        .collect();
    let ends: Vec<i64> = starts.iter().map(|s| s + 3_600_000).collect();
    records.windows = Some(Windows {
        starts: starts.into(),
        ends: ends.into(),
    });
    records
}

#[test]
fn table_shows_key_window_and_members_and_repeats_no_header() {
    let screen = Screen::default();
    let mut writer = console(ConsoleFormat::Table, &screen);
    writer
        .write(windowed(&[
            "{\"n\":1,\"mean\":2.123456,\"name\":\"JFK\"}",
            "{\"n\":20,\"mean\":null,\"name\":\"LGA\"}",
        ]))
        .expect("write");
    writer.flush().expect("flush");
    let expected = "\
key  window start          window end             n   mean  name
---  --------------------  --------------------  --  -----  ----
k0   2013-01-01T00:00:00Z  2013-01-01T01:00:00Z   1  2.123  JFK
k1   2013-01-01T01:00:00Z  2013-01-01T02:00:00Z  20         LGA
";
    assert_eq!(screen.text(), expected);
    writer
        .write(windowed(&["{\"n\":3,\"mean\":1.5,\"name\":\"EWR\"}"]))
        .expect("write");
    writer.flush().expect("flush");
    assert_eq!(
        screen.text(),
        format!("{expected}k0   2013-01-01T00:00:00Z  2013-01-01T01:00:00Z   3    1.5  EWR\n")
    );
    writer.write(windowed(&["7"])).expect("write");
    writer.flush().expect("flush");
    assert!(screen.text().ends_with("window end            value\n---  --------------------  --------------------  -----\nk0   2013-01-01T00:00:00Z  2013-01-01T01:00:00Z      7\n"), "{}", screen.text());
}

#[test]
fn writers_of_one_sink_share_a_header_and_another_sink_has_its_own() {
    let screen = Screen::default();
    let console = screen.console();
    let one = console::ConsoleSink::new("one", ConsoleFormat::Table, console.clone());
    let two = console::ConsoleSink::new("two", ConsoleFormat::Table, console);
    for sink in [&one, &one, &two, &one] {
        let mut writer = sink.writer(0).expect("writer");
        writer.write(batch(&["1"])).expect("write");
        writer.flush().expect("flush");
    }
    let header = "value\n-----\n";
    assert_eq!(
        screen.text(),
        format!("{header}    1\n    1\n{header}    1\n{header}    1\n")
    );
}

#[test]
fn table_stays_within_the_width_and_on_one_line_a_record() {
    let screen = Screen::default();
    let mut writer = console(ConsoleFormat::Table, &screen);
    let long = format!(
        "{{\"text\":\"{}\\nsecond\",\"more\":\"{}\"}}",
        "x".repeat(200),
        "äöü".repeat(30)
    );
    writer
        .write(batch(&[&long, "not json \u{1b}[31m"]))
        .expect("write");
    writer.flush().expect("flush");
    let text = screen.text();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(
        text.lines().all(|l| ::console::measure_text_width(l) <= 80),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn many_rows_are_printed_in_pieces_with_the_header_again() {
    let screen = Screen::default();
    let mut writer = console(ConsoleFormat::Table, &screen);
    let values: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
    writer
        .write(batch(
            &values.iter().map(String::as_str).collect::<Vec<_>>(),
        ))
        .expect("write");
    writer.flush().expect("flush");
    let text = screen.text();
    let rows: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| l.parse::<u32>().is_ok())
        .collect();
    assert_eq!(rows, values);
    assert!(text.lines().filter(|l| l.trim() == "value").count() > 10);
}

#[test]
fn dead_letters_are_appended_with_their_error_up_to_the_bound() {
    let folder = tempfile::tempdir().expect("folder");
    let letters = |n: usize| {
        let mut records = batch(&vec!["x"; n]);
        let error = ErrorInfo {
            step: "ints".into(),
            function: None,
            plugin_sha256: None,
            kind: "rejected",
            message: "not a number".to_string(),
            source: None,
            partition: None,
            offset: None,
            log: Vec::new(),
        };
        records.errors = Some(vec![error; n].into());
        records
    };
    let line = "{\"value\":\"x\",\"error\":{\"step\":\"ints\",\"kind\":\"rejected\",\"message\":\"not a number\"}}\n";
    let dead = dead_letters::DeadLetters::new(
        &folder.path().join("dead-letters"),
        "ints",
        3 * line.len() as u64 + 10,
        Default::default(),
    );
    assert!(!dead.path().exists());
    dead.append(letters(2)).expect("append");
    dead.clone().append(letters(3)).expect("append");
    dead.sync().expect("sync");
    assert_eq!(
        fs::read_to_string(dead.path()).expect("text"),
        line.repeat(3)
    );
    assert_eq!(dead.dropped(), 2);
}

#[test]
fn blackhole_counts_over_all_writers_and_memory_keeps() {
    let blackhole = blackhole::Blackhole::default();
    let memory = memory::MemorySink::default();
    for task in 0..2 {
        blackhole
            .writer(task)
            .expect("writer")
            .write(batch(&["a", "b"]))
            .expect("write");
        memory
            .writer(task)
            .expect("writer")
            .write(batch(&["a"]))
            .expect("write");
    }
    assert_eq!(blackhole.records(), 4);
    assert_eq!(
        memory
            .take()
            .iter()
            .map(|(task, b)| (*task, b.len))
            .collect::<Vec<_>>(),
        [(0, 1), (1, 1)]
    );
}
