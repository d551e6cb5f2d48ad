//! What plugins log: shown on standard error, as much as was asked for.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use wasmill_tests::{Ended, command, root, run};

const JOB: &str = r#"
name = "logging"
parallelism = 1
[plugin.l]
path = "letters.wat"
[source.in]
type = "file"
path = "in.txt"
[step.speaks]
from = "in"
transform = "l.letters"
on-error = "skip"
[sink.out]
from = "speaks"
type = "console"
format = "value"
"#;

/// A folder with the job; its plugin logs a few lines at this level when it meets a `g`, then traps.
fn folder(level: u8) -> Result<tempfile::TempDir> {
    let text = fs::read_to_string(root().join("tests/fixtures/plugins/letters.wat"))?;
    let (flood, line) = ("(i32.const 100000)", "(call $log (i32.const 2)");
    ensure!(text.contains(flood) && text.contains(line), "another flood");
    let text = text
        .replace(flood, "(i32.const 3)")
        .replace(line, &format!("(call $log (i32.const {level})"));
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("letters.wat"), text)?;
    fs::write(folder.path().join("job.toml"), JOB)?;
    fs::write(folder.path().join("in.txt"), "x1\ngoes\nx2\n")?;
    Ok(folder)
}

/// Of warnings (3) or information (2).
fn said(level: u8, arguments: &[&str], environment: Option<&str>) -> Result<Ended> {
    let folder = folder(level)?;
    let mut command = command(
        folder.path(),
        ["run", "job.toml"].iter().chain(arguments).copied(),
    );
    match environment {
        Some(value) => command.env("WASMILL_LOG", value),
        None => command.env_remove("WASMILL_LOG"),
    };
    run(command, b"")
}

#[test]
fn plugins_warnings_are_shown_and_the_rest_when_it_is_asked_for() -> Result<()> {
    for (level, arguments, environment, word) in [
        (3, &[][..], None, Some("warning")),
        (3, &["--quiet"], None, Some("warning")),
        (3, &["--log", "error"], None, None),
        (3, &["--log", "warn"], Some("off"), Some("warning")),
        (2, &[], None, None),
        (2, &["--log", "info"], None, Some("info")),
        (2, &[], Some("info"), Some("info")),
        (1, &[], Some("info"), None),
        (1, &["--log=debug"], None, Some("debug")),
    ] {
        let ended = said(level, arguments, environment)?.expect_code(0)?;
        let about = format!("{level}, {arguments:?}, {environment:?}: {}", ended.said());
        ensure!(ended.stdout == "x1\nx2\n", "{about}");
        let line = word.map(|w| format!("{w}: step speaks, partition 0, logs: still on"));
        let found = ended.stderr.lines().find(|l| l.contains("still on"));
        ensure!(found.map(str::to_owned) == line, "{about}");
    }
    Ok(())
}

#[test]
fn logs_are_json_lines_where_progress_is() -> Result<()> {
    let ended = said(3, &["--json"], None)?.expect_code(0)?;
    let lines = ended.stderr.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().context(ended.said())?;
    let log = lines.iter().find_map(|l| l.get("log")).context("no log")?;
    for (member, value) in [
        ("level", "warning"),
        ("step", "speaks"),
        ("function", "letters"),
        ("message", "still on"),
    ] {
        ensure!(log[member] == value, "{member} in {log}");
    }
    Ok(())
}

#[test]
fn level_that_is_none_is_refused() -> Result<()> {
    let ended = said(3, &[], Some("loud"))?.expect_code(2)?;
    for word in ["WASMILL_LOG", "loud", "warn"] {
        ensure!(ended.stderr.contains(word), "no {word}: {}", ended.stderr);
    }
    said(3, &["--log", "loud"], None)?.expect_code(2)?;
    Ok(())
}
