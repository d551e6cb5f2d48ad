//! Between files and topics, exactly once, through kills.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use wasmill_tests::{command, lines_of_parts, run, wait};

use crate::cluster::{brokers, create, produce, read_all, spawn, write_job};

const RECORDS: u64 = 400_000;

/// Runs a job again and again, killed each time a little later and at the points of a commit, then to its end.
fn killed_often(folder: &Path, points: &[&str]) -> Result<()> {
    let mut killed = 0;
    for point in points {
        let mut command = command(folder, ["run", "job.toml", "--quiet"]);
        command.env("WASMILL_CRASH_AT", point);
        let ended = wait(spawn(command)?)?;
        ensure!(
            ended.status.code().is_none(),
            "killed at {point}: {}",
            ended.said()
        );
        killed += 1;
    }
    for kill in 0..4 {
        let mut child = spawn(command(folder, ["run", "job.toml", "--quiet"]))?;
        std::thread::sleep(Duration::from_millis(20 + kill * 90));
        child.kill()?;
        killed += usize::from(child.wait()?.code().is_none());
    }
    ensure!(killed > points.len(), "too few kills: {killed}");
    run(command(folder, ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    Ok(())
}

/// Each number once.
fn whole(numbers: impl Iterator<Item = String>) -> Result<()> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for number in numbers {
        *counts.entry(number.trim().parse()?).or_default() += 1;
    }
    let twice = counts.values().filter(|c| **c > 1).count();
    let missing = (0..RECORDS).filter(|n| !counts.contains_key(n)).count();
    ensure!(
        counts.len() as u64 == RECORDS && twice == 0 && missing == 0,
        "{} of {RECORDS}; {twice} twice, {missing} missing",
        counts.len()
    );
    Ok(())
}

const CHECKPOINT: &str = "[checkpoint]\npath = \"checkpoints\"\nevery = \"50ms\"\n";

#[test]
fn topic_comes_into_files_once_whatever_kills_the_job() -> Result<()> {
    create(brokers(), "to-files-in", 2)?;
    let texts: Vec<String> = (0..RECORDS).map(|n| n.to_string()).collect();
    let records = texts.iter().enumerate();
    let records = records.map(|(n, text)| ((n % 2) as i32, "k", Some(text.as_str()), 1_000));
    produce(brokers(), "to-files-in", records)?;
    let folder = tempfile::tempdir()?;
    let text = format!(
        r#"
name = "to-files"
parallelism = 2
batch = {{ records = 50 }}
{CHECKPOINT}
[source.in]
type = "kafka"
brokers = "BROKERS"
topics = "to-files-in"
end = "latest"
[sink.out]
from = "in"
type = "file"
path = "out"
format = "value"
"#
    );
    write_job(folder.path(), &text)?;
    let points = [
        "states-stored",
        "manifest-stored",
        "part-published",
        "parts-published:2",
    ];
    killed_often(folder.path(), &points)?;
    whole(lines_of_parts(&folder.path().join("out"))?.into_iter())
}

#[test]
fn files_come_into_a_topic_once_whatever_kills_the_job() -> Result<()> {
    create(brokers(), "from-files-out", 3)?;
    let folder = tempfile::tempdir()?;
    for file in 0..4u64 {
        let lines = (0..RECORDS).filter(|n| n % 4 == file);
        let text: String = lines.map(|n| format!("{n}\n")).collect();
        std::fs::write(folder.path().join(format!("{file}.txt")), text)?;
    }
    let text = format!(
        r#"
name = "from-files"
parallelism = 2
batch = {{ records = 50 }}
{CHECKPOINT}
[source.in]
type = "file"
path = "*.txt"
[sink.out]
from = "in"
type = "kafka"
brokers = "BROKERS"
topic = "from-files-out"
"#
    );
    write_job(folder.path(), &text)?;
    let points = [
        "manifest-stored",
        "transaction-offsets-sent",
        "transaction-committed",
        "transaction-begun:2",
    ];
    killed_often(folder.path(), &points)?;
    let seen = read_all(brokers(), "from-files-out")?;
    whole(seen.into_iter().filter_map(|s| s.value))
}

#[test]
fn parts_of_a_job_that_writes_files_and_topics_agree_with_the_topic() -> Result<()> {
    create(brokers(), "both-out", 1)?;
    let folder = tempfile::tempdir()?;
    let text: String = (0..RECORDS).map(|n| format!("{n}\n")).collect();
    std::fs::write(folder.path().join("in.txt"), text)?;
    let text = format!(
        r#"
name = "both"
parallelism = 2
batch = {{ records = 50 }}
{CHECKPOINT}
[source.in]
type = "file"
path = "in.txt"
partitions = 2
[sink.topic]
from = "in"
type = "kafka"
brokers = "BROKERS"
topic = "both-out"
[sink.files]
from = "in"
type = "file"
path = "out"
format = "value"
"#
    );
    write_job(folder.path(), &text)?;
    let points = [
        "manifest-stored",
        "transaction-committed",
        "part-published",
        "transaction-offsets-sent:2",
    ];
    killed_often(folder.path(), &points)?;
    let seen = read_all(brokers(), "both-out")?;
    whole(seen.into_iter().filter_map(|s| s.value))?;
    whole(lines_of_parts(&folder.path().join("out"))?.into_iter())
}
