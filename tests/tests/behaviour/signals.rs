//! How an endless job ends: by signal, or because no one reads its output.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use wasmill_tests::{command, lines_of_parts, wait};

/// Without end: counts made-up records in windows by key, shows each record, keeps results in a folder.
const ENDLESS: &str = r#"
name = "endless"
parallelism = 2
[source.in]
type = "generator"
rate = 20000
partitions = 2
[step.counts]
from = "in"
window = { count = 10 }
aggregate = "std.count"
[sink.shown]
from = "in"
type = "console"
format = "json"
[sink.kept]
from = "counts"
type = "file"
path = "kept"
format = "json"
"#;

fn start(folder: &std::path::Path) -> Result<Child> {
    fs::write(folder.join("job.toml"), ENDLESS)?;
    let mut command = command(folder, ["run", "job.toml", "--quiet"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().context("start wasmill")
}

/// Runs until 100 records came out, sends the signal, and answers what was kept.
fn ends_cleanly_on(signal: Signal) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let mut child = start(folder.path())?;
    let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut line = String::new();
    for _ in 0..100 {
        line.clear();
        anyhow::ensure!(stdout.read_line(&mut line)? > 0, "it ended by itself");
    }
    kill_process(Pid::from_child(&child), signal)?;
    let mut rest = String::new();
    stdout.read_to_string(&mut rest)?;
    anyhow::ensure!(
        rest.is_empty() || rest.ends_with('\n'),
        "the last line on stdout is cut"
    );
    wait(child)?.expect_code(0)?;
    lines_of_parts(&folder.path().join("kept"))
}

#[test]
fn interrupt_ends_the_job_with_exit_0_and_whole_parts() -> Result<()> {
    let kept = ends_cleanly_on(Signal::INT)?;
    assert!(!kept.is_empty(), "nothing was kept");
    for line in kept {
        serde_json::from_str::<serde_json::Value>(&line)
            .with_context(|| format!("a cut line: {line}"))?;
    }
    Ok(())
}

#[test]
fn terminate_ends_the_job_with_exit_0() -> Result<()> {
    ends_cleanly_on(Signal::TERM).map(|_| ())
}

#[test]
fn reader_that_goes_away_ends_the_job_without_a_panic() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut child = start(folder.path())?;
    let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    drop(stdout);
    let ended = wait(child)?;
    assert!(!ended.stderr.contains("panicked"), "{}", ended.said());
    assert_ne!(ended.status.code(), Some(101), "{}", ended.said());
    Ok(())
}
