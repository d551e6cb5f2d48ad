//! Savepoints of jobs that read topics: what starts from one, at another parallelism, writes what an undisturbed run
//! would have written.

use std::path::Path;
use std::process::Child;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wasmill_tests::{command, lines_of_parts, run, wait};

use crate::cluster::{brokers, create, start, until, write_job};
use crate::owners::newest;
use crate::sums::{RECORDS, compare, fill, golden, job};

/// Stops a job with a savepoint, in the middle of its work: after more checkpoints than it began with.
fn stop_with_savepoint(folder: &Path, child: Child, to: &str) -> Result<()> {
    let checkpoints = folder.join("checkpoints");
    let before = newest(&checkpoints);
    until("a checkpoint", || Ok(newest(&checkpoints) > before))?;
    let arguments = ["savepoint", "job.toml", "--json", "--stop", "--to", to];
    let taken = run(command(folder, arguments), b"")?;
    let ended = wait(child)?;
    let taken = taken
        .expect_code(0)
        .with_context(|| format!("the job said {}", ended.said()))?;
    let answer: Value = serde_json::from_str(&taken.stdout)?;
    ensure!(answer["savepoint"]["stopped"] == true, "{answer}");
    ended.expect_code(0)?;
    Ok(())
}

/// Runs a job over three savepoints, with one, three and two tasks a stage, the last time to its end.
fn moved_by_savepoints(folder: &Path) -> Result<()> {
    let child = start(folder, &["--quiet", "--set", "parallelism=1"])?;
    stop_with_savepoint(folder, child, "first")?;
    let first = ["--quiet", "--set", "parallelism=3", "--restore", "first"];
    stop_with_savepoint(folder, start(folder, &first)?, "second")?;
    // The savepoint is all that is needed.
    std::fs::remove_dir_all(folder.join("checkpoints"))?;
    let second = ["--quiet", "--set", "parallelism=2", "--restore", "second"];
    wait(start(folder, &second)?)?.expect_code(0)?;
    Ok(())
}

#[test]
fn topic_to_topic_goes_on_from_savepoints_at_other_parallelism_each_result_once() -> Result<()> {
    fill()?;
    create(brokers(), "saved-out", 2)?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &job("saved"))?;
    moved_by_savepoints(folder.path())?;
    compare("saved-out", "moved by savepoints")
}

#[test]
fn topic_to_files_goes_on_from_savepoints_at_other_parallelism_each_result_once() -> Result<()> {
    fill()?;
    let folder = tempfile::tempdir()?;
    let text = job("saved-files");
    let (head, _) = text.split_once("[sink.out]").context("a sink")?;
    let sink = "[sink.out]\nfrom = \"sums\"\ntype = \"file\"\npath = \"out\"\nformat = \"json\"\n";
    write_job(folder.path(), &format!("{head}{sink}"))?;
    moved_by_savepoints(folder.path())?;
    let mut lines = lines_of_parts(&folder.path().join("out"))?;
    lines.sort();
    let mut expected: Vec<String> = golden(RECORDS)
        .into_iter()
        .filter_map(|s| s.value)
        .collect();
    expected.sort();
    ensure!(
        lines == expected,
        "{} lines, {} expected; first {:?}, {:?}",
        lines.len(),
        expected.len(),
        lines.first(),
        expected.first()
    );
    Ok(())
}
