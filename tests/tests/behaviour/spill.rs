//! State beyond memory, from outside: the same results with a budget that holds a part of the state only, through
//! kills, damage and restores.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wasmill_tests::{command, lines_of_parts, run};

/// Windows with and without slices, and one that is shown again whenever it changed: some 60,000 groups at once. The
/// one that is shown again says at its end what it held (`update` shows more where batches are cut otherwise).
const JOB: &str = r#"
name = "spills"
parallelism = 2
[checkpoint]
path = "checkpoints"
every = "100ms"
[state]
memory = "256KiB"
path = "scratch"
[source.in]
type = "generator"
records = 300000
seed = 7
partitions = 3
template = '{"k":"user-{{int 0 20000}}","v":{{int 0 100}},"t":{{time 1700000000000 1}}}'
key = "/k"
timestamp = "/t"
[source.in.event-time]
max-disorder = "0ms"
[step.tumbling]
from = "in"
window = { tumbling = "100s" }
aggregate = "std.sum"
config = { field = "/v" }
[step.slices]
from = "in"
window = { sliding = "60s", every = "20s" }
aggregate = "std.sum"
config = { field = "/v" }
[step.visits]
from = "in"
window = { session = "5s" }
allowed-lateness = "4s"
aggregate = "std.count"
[step.late]
from = "in"
window = { tumbling = "50s" }
allowed-lateness = "30s"
aggregate = "std.count"
# Which record of a key comes first depends on the order of partitions; that there is one does not.
[step.first]
from = "in"
dedup = { within = "1h" }
[step.firsts]
from = "first"
window = { tumbling = "365d" }
aggregate = "std.count"
# Which records fall together depends on the order of partitions; how many do does not.
[step.fours]
from = "in"
window = { count = 4 }
aggregate = "std.count"
[step.pairs]
from = ["in", "in"]
join = "inner"
within = { from = "58s", to = "60s" }
[step.alone]
from = ["in", "in"]
join = "anti"
within = { from = "1ms", to = "60s" }
[sink.alone-out]
from = "alone"
type = "file"
path = "alone"
[sink.fours-out]
from = "fours"
type = "file"
path = "fours"
format = "value"
[sink.pairs-out]
from = "pairs"
type = "file"
path = "pairs"
[sink.visits-out]
from = "visits"
type = "file"
path = "visits"
[sink.firsts-out]
from = "firsts"
type = "file"
path = "firsts"
[sink.tumbling-out]
from = "tumbling"
type = "file"
path = "tumbling"
[sink.slices-out]
from = "slices"
type = "file"
path = "slices"
[sink.late-out]
from = "late"
type = "file"
path = "late"
"#;

/// A table that is kept current, with versions, and a full join, whose rows come out in pieces.
const TABLES: &str = r#"
name = "tables"
parallelism = 1
[checkpoint]
path = "checkpoints"
every = "100ms"
[state]
memory = "128KiB"
path = "scratch"
[source.in]
type = "generator"
records = 60000
seed = 3
template = '{"k":"user-{{int 0 8000}}","v":{{int 0 100}},"t":{{time 1700000000000 1}}}'
key = "/k"
timestamp = "/t"
[source.in.event-time]
max-disorder = "0ms"
[source.names]
type = "generator"
records = 20000
seed = 4
template = '{"k":"user-{{int 0 8000}}","n":"name-{{int 0 100000}}","t":{{time 1700000000000 3}}}'
key = "/k"
timestamp = "/t"
[source.names.event-time]
max-disorder = "0ms"
[table.directory]
from = "names"
[step.known]
from = "in"
lookup = "directory"
join = "left"
as-of = "1h"
[step.full]
from = ["in", "names"]
join = "full"
within = { from = "-2s", to = "1s" }
[sink.known-out]
from = "known"
type = "file"
path = "known"
[sink.full-out]
from = "full"
type = "file"
path = "full"
"#;

const OUT: [&str; 8] = [
    "tumbling", "slices", "visits", "late", "firsts", "fours", "pairs", "alone",
];

fn results(folder: &Path) -> Result<Vec<Vec<String>>> {
    OUT.iter()
        .map(|out| lines_of_parts(&folder.join(out)))
        .collect()
}

fn job_folder(job: &str) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), job)?;
    Ok(folder)
}

/// What the job writes when all of its state is in memory.
fn in_memory() -> Result<Vec<Vec<String>>> {
    let folder = job_folder(JOB)?;
    let args = ["run", "job.toml", "--quiet", "--set", "state.memory=1GiB"];
    run(command(folder.path(), args), b"")?.expect_code(0)?;
    let lines = results(folder.path())?;
    ensure!(
        lines.iter().all(|lines| lines.len() > 15_000),
        "too little came out to prove anything: {:?}",
        lines.iter().map(Vec::len).collect::<Vec<_>>()
    );
    Ok(lines)
}

fn ensure_same(expected: &[Vec<String>], found: &[Vec<String>], how: &str) -> Result<()> {
    for (name, (one, other)) in OUT.iter().zip(expected.iter().zip(found)) {
        ensure!(
            one == other,
            "{how}: {name} has {} lines in memory, {} with spilled state, or others",
            one.len(),
            other.len()
        );
    }
    Ok(())
}

/// All files of spilled state.
fn spilled(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(spilled(&path));
        } else if path.extension().is_none_or(|e| e != "lock") {
            files.push(path);
        }
    }
    files
}

/// Starts the job so many times, at one parallelism after another, and kills it each time after so long.
fn kill_often(folder: &Path, kills: usize, after: Duration) -> Result<()> {
    for kill in 0..kills {
        let parallelism = format!("parallelism={}", [3, 1, 2][kill % 3]);
        let mut child = command(folder, ["run", "job.toml", "--quiet"])
            .args(["--set", &parallelism])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start wasmill")?;
        thread::sleep(after);
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// What the first step kept at most, in memory and on disk, by the summary of a run with `--json`.
fn peaks(stderr: &str) -> Result<(u64, u64)> {
    let line = stderr.lines().last().unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_str(line)?;
    let step = &summary["summary"]["steps"][0];
    let peak = |name: &str| step[name].as_u64().context("a peak");
    Ok((
        peak("state_memory_bytes_peak")?,
        peak("state_disk_bytes_peak")?,
    ))
}

#[test]
fn state_beyond_memory_changes_no_result_at_any_parallelism_and_leaves_nothing_behind() -> Result<()>
{
    let expected = in_memory()?;
    for parallelism in [1, 2, 7] {
        let folder = job_folder(JOB)?;
        let set = format!("parallelism={parallelism}");
        let args = ["run", "job.toml", "--json", "--set", &set];
        let ended = run(command(folder.path(), args), b"")?.expect_code(0)?;
        ensure_same(&expected, &results(folder.path())?, &set)?;
        let summary = ended.stderr.lines().last().unwrap_or_default();
        ensure!(
            summary.contains("\"state_disk_bytes_peak\":")
                && !summary.contains("\"state_disk_bytes_peak\":0"),
            "the steps spilled: {summary}"
        );
        let left = fs::read_dir(folder.path().join("scratch"))?.count();
        ensure!(left == 0, "{left} files of scratch were left");
    }
    Ok(())
}

#[test]
fn job_with_spilled_state_survives_kills_and_restores_into_other_budgets() -> Result<()> {
    let expected = in_memory()?;
    let folder = job_folder(JOB)?;
    let seed = u64::from(std::process::id());
    let mut random = seed;
    for kill in 0..8 {
        let parallelism = format!("parallelism={}", [1, 3, 2][kill % 3]);
        let memory = format!("state.memory={}", ["256KiB", "64KiB", "1MiB"][kill % 3]);
        let set = ["--set", &parallelism, "--set", &memory];
        let mut child = command(folder.path(), ["run", "job.toml", "--quiet"])
            .args(set)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start wasmill")?;
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // The moment is the point of the test: anywhere between the start and a few epochs later.
        thread::sleep(Duration::from_millis(100 + (random >> 33) % 400));
        child.kill()?;
        let ended = child.wait_with_output()?;
        let stderr = String::from_utf8_lossy(&ended.stderr);
        ensure!(
            ended.status.code().is_none_or(|code| code == 0),
            "seed {seed}, start {kill} failed: {stderr}"
        );
    }
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    ensure_same(&expected, &results(folder.path())?, &format!("seed {seed}"))?;
    let left = spilled(&folder.path().join("scratch"));
    ensure!(
        left.is_empty(),
        "what killed processes left is still there: {left:?}"
    );
    Ok(())
}

#[test]
fn damaged_scratch_ends_the_job_and_the_checkpoint_has_all_of_the_state() -> Result<()> {
    let expected = in_memory()?;
    let job = JOB.replace("seed = 7", "seed = 7\nrate = 60000");
    let folder = job_folder(&job)?;
    let child = command(folder.path(), ["run", "job.toml", "--quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start wasmill")?;
    let scratch = folder.path().join("scratch");
    let mut child = Some(child);
    let until = Instant::now() + Duration::from_secs(60);
    while let Some(running) = &mut child {
        ensure!(Instant::now() < until, "it never noticed");
        for file in spilled(&scratch) {
            let Ok(mut bytes) = fs::read(&file) else {
                continue;
            };
            bytes.iter_mut().for_each(|b| *b ^= 0x55);
            let _ = fs::write(&file, bytes);
        }
        if running.try_wait()?.is_some() {
            break;
        }
        thread::yield_now();
    }
    let ended = child.take().context("it was started")?.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&ended.stderr);
    ensure!(
        ended.status.code() == Some(1),
        "it ended with {}: {stderr}",
        ended.status
    );
    ensure!(
        stderr.contains("state spilled to") && stderr.contains("scratch"),
        "it says what and where: {stderr}"
    );
    run(
        command(
            folder.path(),
            [
                "run",
                "job.toml",
                "--quiet",
                "--set",
                "source.in.rate=1000000",
            ],
        ),
        b"",
    )?
    .expect_code(0)?;
    ensure_same(&expected, &results(folder.path())?, "after damage")
}

#[test]
fn tables_and_full_joins_beyond_memory_give_the_same_through_kills() -> Result<()> {
    let lines = |folder: &Path| -> Result<[Vec<String>; 2]> {
        Ok([
            lines_of_parts(&folder.join("known"))?,
            lines_of_parts(&folder.join("full"))?,
        ])
    };
    let folder = job_folder(TABLES)?;
    let args = ["run", "job.toml", "--quiet", "--set", "state.memory=1GiB"];
    run(command(folder.path(), args), b"")?.expect_code(0)?;
    let expected = lines(folder.path())?;
    ensure!(
        expected[0].len() == 60_000 && expected[1].len() > 60_000,
        "{} and {} lines",
        expected[0].len(),
        expected[1].len()
    );
    for kills in [0, 4] {
        let folder = job_folder(TABLES)?;
        // The moment is the point of the test: a few epochs after the start.
        kill_often(folder.path(), kills, Duration::from_millis(250))?;
        let args = ["run", "job.toml", "--json"];
        let ended = run(command(folder.path(), args), b"")?.expect_code(0)?;
        ensure!(
            lines(folder.path())? == expected,
            "{kills} kills: other lines"
        );
        let summary = ended.stderr.lines().last().unwrap_or_default();
        ensure!(
            kills > 0 || summary.matches("\"state_disk_bytes_peak\":0").count() == 0,
            "both steps spilled: {summary}"
        );
    }
    Ok(())
}

/// A table half a minute behind the records, which wait for it.
const WAITING: &str = r#"
name = "waits"
parallelism = 1
batch = { records = 500 }
[checkpoint]
path = "checkpoints"
every = "100ms"
[state]
memory = "256KiB"
path = "scratch"
[source.in]
type = "generator"
records = 60000
rate = 60000
seed = 3
template = '{"k":"user-{{int 0 200}}","v":{{int 0 100}},"t":{{time 1700000000000 1}}}'
key = "/k"
timestamp = "/t"
[source.in.event-time]
max-disorder = "0ms"
[source.names]
type = "generator"
records = 6000
rate = 6000
seed = 4
template = '{"k":"user-{{int 0 200}}","n":"name-{{int 0 100000}}","t":{{time 1700000000000 10}}}'
key = "/k"
timestamp = "/t"
[source.names.event-time]
max-disorder = "30s"
[table.directory]
from = "names"
[step.known]
from = "in"
lookup = "directory"
join = "left"
as-of = "1h"
[sink.out]
from = "known"
type = "file"
path = "known"
"#;

#[test]
fn records_that_wait_for_a_table_leave_memory_and_come_out_the_same_through_kills() -> Result<()> {
    let lines = |folder: &Path| lines_of_parts(&folder.join("known"));
    let folder = job_folder(WAITING)?;
    let args = ["run", "job.toml", "--json", "--set", "state.memory=1GiB"];
    run(command(folder.path(), args), b"")?.expect_code(0)?;
    let expected = lines(folder.path())?;
    ensure!(expected.len() == 60_000, "{} lines", expected.len());
    for kills in [0, 3] {
        let folder = job_folder(WAITING)?;
        // The moment is the point of the test: thousands wait, some beyond memory.
        kill_often(folder.path(), kills, Duration::from_millis(350))?;
        let args = ["run", "job.toml", "--json"];
        let ended = run(command(folder.path(), args), b"")?.expect_code(0)?;
        ensure!(
            lines(folder.path())? == expected,
            "{kills} kills: other lines"
        );
        if kills > 0 {
            // Maybe all was done before.
            continue;
        }
        let (memory, disk) = peaks(&ended.stderr)?;
        // Batches come in before room is made for them. How many wait at most is a matter of how the sources advance.
        ensure!(memory < disk, "{memory} bytes in memory, {disk} on disk");
    }
    Ok(())
}

/// Sessions that stay open until the end, and are put out together, again and again.
const COMPLETE: &str = r#"
name = "complete"
parallelism = 1
[checkpoint]
path = "checkpoints"
every = "100ms"
[state]
memory = "256KiB"
path = "scratch"
[source.in]
type = "generator"
records = 300000
seed = 7
template = '{"k":"user-{{int 0 20000}}","v":{{int 0 100}},"t":{{time 1700000000000 1}}}'
key = "/k"
timestamp = "/t"
[source.in.event-time]
max-disorder = "0ms"
[step.visits]
from = "in"
window = { session = "1000s" }
emit = "complete"
trigger = { every-event = "50s" }
aggregate = "std.sum"
config = { field = "/v" }
[sink.out]
from = "visits"
type = "file"
path = "out"
"#;

#[test]
fn sessions_in_complete_mode_leave_memory_and_come_out_whole_through_kills() -> Result<()> {
    // Which of them are shown in between depends on where batches are cut; what each comes to does not: by key and start,
    // the last end and sum.
    let last = |folder: &Path| -> Result<BTreeMap<(String, i64), (i64, i64)>> {
        let mut last = BTreeMap::new();
        for line in lines_of_parts(&folder.join("out"))? {
            let line: serde_json::Value = serde_json::from_str(&line)?;
            let number = |value: &serde_json::Value| value.as_i64().context("a number");
            let key = line["key"].as_str().context("a key")?.to_owned();
            let start = number(&line["window"]["start"])?;
            let now = (number(&line["window"]["end"])?, number(&line["value"])?);
            let known = last.entry((key, start)).or_insert(now);
            *known = now.max(*known);
        }
        Ok(last)
    };
    let folder = job_folder(COMPLETE)?;
    let args = ["run", "job.toml", "--quiet", "--set", "state.memory=1GiB"];
    run(command(folder.path(), args), b"")?.expect_code(0)?;
    let expected = last(folder.path())?;
    ensure!(expected.len() == 20_000, "{} sessions", expected.len());
    for kills in [0, 4] {
        let folder = job_folder(COMPLETE)?;
        // The moment is the point of the test: thousands of sessions are beyond memory, or on their way out.
        kill_often(folder.path(), kills, Duration::from_millis(350))?;
        let args = ["run", "job.toml", "--json"];
        let ended = run(command(folder.path(), args), b"")?.expect_code(0)?;
        ensure!(last(folder.path())? == expected, "{kills} kills: others");
        if kills > 0 {
            // Maybe all was done before.
            continue;
        }
        let (_, disk) = peaks(&ended.stderr)?;
        ensure!(disk > 1 << 20, "only {disk} bytes on disk");
    }
    Ok(())
}

/// Sums of 1.3 M keys: several times what the budget holds, in tables that grow by half of it at once.
const BUDGET_JOB: &str = r#"
name = "budget"
parallelism = 2
[state]
memory = "32MiB"
path = "scratch"
[source.updates]
type = "generator"
records = 3000000
seed = 1
template = '{"k":{{int 0 1500000}},"v":{{int 0 1000}}}'
key = "/k"
[source.updates.event-time]
max-disorder = "0s"
[step.sums]
from = "updates"
window = { global = true }
aggregate = "std.sum"
config = { field = "/v" }
[sink.out]
from = "sums"
type = "blackhole"
"#;

#[test]
fn state_in_memory_stays_within_its_budget_while_tables_grow() -> Result<()> {
    let folder = job_folder(BUDGET_JOB)?;
    let ended = run(command(folder.path(), ["run", "job.toml", "--json"]), b"")?.expect_code(0)?;
    let (peak, disk) = peaks(&ended.stderr)?;
    ensure!(peak <= 32 << 20, "{peak} bytes of 32 MiB");
    ensure!(disk > 32 << 20, "only {disk} bytes on disk");
    Ok(())
}

#[test]
fn state_that_passes_the_most_of_all_stops_the_job_with_what_to_do() -> Result<()> {
    let folder = job_folder(JOB)?;
    let args = ["run", "job.toml", "--quiet", "--set", "state.max=512KiB"];
    let ended = run(command(folder.path(), args), b"")?.expect_code(1)?;
    for part in ["[state] max", "524288", "raise it"] {
        ensure!(
            ended.stderr.contains(part),
            "{part} is missing: {}",
            ended.stderr
        );
    }
    Ok(())
}
