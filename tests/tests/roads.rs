//! One golden, many roads: every case that can be stopped and gone on with is, at every boundary, and gives the same lines
//! as when it is left alone.
//!
//! Script cases take three roads: stopped right after each checkpoint; stopped one boundary after each checkpoint, so that
//! what came between is replayed; checkpoints all along, each telling only what changed, and one stop before the end.
//! Each start has another parallelism. Cases that are run read files and write into folders, take checkpoints all the time,
//! and die at one step or another of each; where lines are lines, there are many times more of them, so that there is
//! more than the last checkpoint.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use wasmill_tests::cases::{PARALLELISM, copy, file, folders};
use wasmill_tests::{command, compare_lines, lines_of_parts, root, run, scratch};

/// Starts of a run that die. Those with more checkpoints are left alone then.
const KILLS_MAX: usize = 12;

/// Lines of input that a run with small batches is busy with for some checkpoints.
const LINES_MIN: usize = 30_000;

/// Where a run dies: before its first checkpoint counts, when it does, when its parts begin to be seen.
const POINTS: [&str; 3] = ["states-stored:1", "manifest-stored:1", "part-published:1"];

const KILLED: i32 = 9;

fn main() {
    let arguments = Arguments::from_args();
    let cases = root().join("tests/cases");
    let mut trials = Vec::new();
    for case in folders(&cases).iter().flat_map(|group| folders(group)) {
        let has = |name: &str| case.join(name).exists();
        if has("error") || has("args") || !has("job.toml") {
            continue;
        }
        let name = case.strip_prefix(&cases).expect("it is in there");
        let road = if has("script.jsonl") { script } else { killed };
        trials.push(Trial::test(name.display().to_string(), move || {
            road(&case).map_err(|error| Failed::from(format!("{error:#}")))
        }));
    }
    assert!(
        trials.len() > 200,
        "cases went missing: {} are left",
        trials.len()
    );
    libtest_mimic::run(&arguments, trials).exit();
}

/// A script with stops in it.
struct Stops<'a> {
    lines: Vec<String>,
    /// To start with next.
    parallelism: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl Stops<'_> {
    fn checkpoint(&mut self) {
        self.lines.push(r#"{"checkpoint":true}"#.to_owned());
    }

    fn restart(&mut self) {
        let n = self.parallelism.next().expect("it goes round");
        self.lines
            .push(format!(r#"{{"restart":{{"parallelism":{n}}}}}"#));
    }
}

/// Puts stops in before the control line of this number.
type Stop<'a> = &'a dyn Fn(&mut Stops, usize);

fn script(case: &Path) -> Result<()> {
    let text = file(case, "script.jsonl")?.context("a script")?;
    let list = file(case, "parallelism")?.unwrap_or(PARALLELISM.into());
    let list: Vec<usize> = list
        .split_whitespace()
        .map(|n| n.parse().context("parallelism"))
        .collect::<Result<_>>()?;
    let folder = tempfile::tempdir_in(scratch()?)?;
    copy(case, folder.path())?;
    let golden = play(folder.path(), "script.jsonl", list[0])?;
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().rposition(|l| is_control(l)).unwrap_or(0);
    let roads: [(&str, Stop<'_>); 3] = [
        ("stopped after each checkpoint", &|stops, _| {
            stops.checkpoint();
            stops.restart();
        }),
        ("stopped a boundary after each checkpoint", &|stops, _| {
            stops.restart();
            stops.checkpoint();
        }),
        ("checkpoints of changes", &|stops, at| {
            stops.checkpoint();
            if at == last {
                stops.restart();
            }
        }),
    ];
    for (road, stop) in roads {
        let mut stops = Stops {
            lines: Vec::new(),
            parallelism: list.iter().cycle(),
        };
        // Not the first one, which is where it starts.
        stops.parallelism.next();
        for (at, line) in lines.iter().enumerate() {
            // A control line flushes first; so does a checkpoint, and nothing is left to flush then.
            if is_control(line) {
                stop(&mut stops, at);
            }
            stops.lines.push((*line).to_owned());
        }
        let text = stops.lines.join("\n");
        fs::write(folder.path().join("stops.jsonl"), &text)?;
        let got = play(folder.path(), "stops.jsonl", list[0])
            .with_context(|| format!("{road}:\n{text}"))?;
        ensure!(
            got == golden,
            "{road}:\n{text}\n{got:#?}\ninstead of {golden:#?}"
        );
    }
    Ok(())
}

/// Everything but a record.
fn is_control(line: &str) -> bool {
    let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
        return false;
    };
    let by_hand = ["watermark", "idle", "partitions"];
    line.get("source").is_none() || by_hand.iter().any(|name| line.get(name).is_some())
}

/// What comes out, sorted, without the lines of the script.
fn play(folder: &Path, script: &str, parallelism: usize) -> Result<Vec<String>> {
    let parallelism = parallelism.to_string();
    let args = ["test", "job.toml", script, "--parallelism", &parallelism];
    let ended = run(command(folder, args), b"")?.expect_code(0)?;
    let without_number = |line: &str| line.split_once(',').map(|(_, rest)| rest.to_owned());
    let mut lines: Vec<String> = ended.stdout.lines().filter_map(without_number).collect();
    lines.sort();
    Ok(lines)
}

/// A case that is run: its input becomes a file, its sinks folders.
fn killed(case: &Path) -> Result<()> {
    let folder = tempfile::tempdir_in(scratch()?)?;
    copy(case, folder.path())?;
    let stdin = file(case, "stdin")?.unwrap_or_default();
    fs::write(folder.path().join("stdin.txt"), stdin)?;
    let mut job = file(case, "job.toml")?.context("a job")?;
    if ["csv", "bytes", "table"].iter().all(|f| !job.contains(f)) {
        for entry in fs::read_dir(folder.path())? {
            let path = entry?.path();
            let is_input = ["txt", "jsonl"]
                .iter()
                .any(|e| path.extension() == Some(e.as_ref()));
            let bytes = fs::read(&path).unwrap_or_default();
            let lines = bytes.iter().filter(|&&b| b == b'\n').count();
            if is_input && lines > 0 {
                fs::write(&path, bytes.repeat(LINES_MIN / lines))?;
            }
        }
    }
    job = job.replace("type = \"stdin\"", "type = \"file\"\npath = \"stdin.txt\"");
    let mut sinks = Vec::new();
    while let Some((before, behind)) = job.split_once("type = \"console\"") {
        let sink = format!("console-{}", sinks.len());
        job = format!("{before}type = \"file\"\npath = \"{sink}\"{behind}");
        sinks.push(sink);
    }
    for entry in fs::read_dir(case)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Dead letters are at least once.
        sinks.extend(
            name.strip_prefix("expected.")
                .filter(|name| *name != "dead-letters")
                .map(str::to_owned),
        );
    }
    // A table has no form in files.
    job = job.replace("format = \"table\"", "format = \"json\"");
    let results = |folder: &Path| -> Result<Vec<Vec<String>>> {
        sinks
            .iter()
            .map(|sink| match folder.join(sink) {
                sink if sink.exists() => lines_of_parts(&sink),
                _ => Ok(Vec::new()),
            })
            .collect()
    };
    fs::write(folder.path().join("job.toml"), &job)?;
    let arguments = ["run", "job.toml", "--quiet"];
    run(command(folder.path(), arguments), b"")?.expect_code(0)?;
    let golden = results(folder.path())?;
    for sink in &sinks {
        let _ = fs::remove_dir_all(folder.path().join(sink));
    }

    let tables = "[checkpoint]\npath = \"checkpoints\"\nevery = \"10ms\"\n";
    // Tables go behind what stands before the first one.
    let at = job.find("\n[").map_or(0, |at| at + 1);
    let batch = if job.contains("[batch]") {
        ""
    } else {
        "[batch]\nrecords = 7\n"
    };
    let (head, rest) = job.split_at(at);
    fs::write(
        folder.path().join("job.toml"),
        format!("{head}{tables}{batch}{rest}"),
    )?;
    let mut kills = 0;
    loop {
        let parallelism = format!("parallelism={}", [1, 3, 2][kills % 3]);
        let mut command = command(
            folder.path(),
            arguments.into_iter().chain(["--set", &parallelism]),
        );
        if kills < KILLS_MAX {
            command.env("WASMILL_CRASH_AT", POINTS[kills % 3]);
        }
        let ended = run(command, b"")?;
        if ended.status.signal() != Some(KILLED) {
            ended.expect_code(0)?;
            break;
        }
        kills += 1;
    }
    ensure!(kills > 0, "it was never killed");
    let got = results(folder.path())?;
    for ((sink, got), golden) in sinks.iter().zip(&got).zip(&golden) {
        compare_lines(sink, golden, got).with_context(|| format!("after {kills} kills"))?;
    }
    Ok(())
}
