//! What a job gives when its process is killed again and again, each time at another moment and restored at another
//! parallelism: exactly what it gives undisturbed.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wasmill_tests::{command, lines_of_parts, run};

/// Keyed state of several kinds behind three partitions; results do not depend on the order between partitions.
const JOB: &str = r#"
name = "kills"
parallelism = 2
[checkpoint]
path = "checkpoints"
every = "30ms"
[source.in]
type = "generator"
records = 120000
rate = 60000
seed = 7
partitions = 3
template = '{"k":"u{{int 0 400}}","v":{{int 0 100}},"t":{{time 1700000000000 10}}}'
key = "/k"
timestamp = "/t"
[source.in.event-time]
max-disorder = "0ms"
[step.sums]
from = "in"
window = { sliding = "20s", every = "10s" }
aggregate = "std.sum"
config = { field = "/v" }
[step.visits]
from = "in"
window = { session = "2s" }
aggregate = "std.count"
[step.both]
from = ["sums", "visits"]
join = "left"
within = { from = "-10s", to = "0s" }
[sink.sums-out]
from = "sums"
type = "file"
path = "sums"
[sink.both-out]
from = "both"
type = "file"
path = "both"
"#;

/// Kills before the job is left to finish.
const KILLS: usize = 12;

fn results(folder: &Path) -> Result<[Vec<String>; 2]> {
    Ok([
        lines_of_parts(&folder.join("sums"))?,
        lines_of_parts(&folder.join("both"))?,
    ])
}

#[test]
fn job_killed_at_any_moment_and_restored_at_another_parallelism_writes_what_it_would_have_written()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), JOB)?;
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    let undisturbed = results(folder.path())?;
    ensure!(
        undisturbed.iter().all(|lines| lines.len() > 1_000),
        "too little came out to prove anything"
    );

    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), JOB)?;
    let seed = u64::from(std::process::id());
    let mut random = seed;
    for kill in 0..KILLS {
        let parallelism = format!("parallelism={}", [1, 3, 2][kill % 3]);
        let mut child = command(
            folder.path(),
            ["run", "job.toml", "--quiet", "--set", &parallelism],
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start wasmill")?;
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // The moment is the point of the test: anywhere between the start and a few epochs later.
        thread::sleep(Duration::from_millis(40 + (random >> 33) % 250));
        child.kill()?;
        let ended = child.wait_with_output()?;
        let stderr = String::from_utf8_lossy(&ended.stderr);
        ensure!(
            ended.status.code().is_none_or(|code| code == 0),
            "seed {seed}, start {kill} failed: {stderr}"
        );
    }
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    let killed = results(folder.path())?;
    for (name, (one, other)) in ["sums", "both"]
        .into_iter()
        .zip(undisturbed.iter().zip(&killed))
    {
        ensure!(
            one == other,
            "seed {seed}: {name} has {} lines undisturbed, {} with kills, or others",
            one.len(),
            other.len()
        );
    }
    Ok(())
}

#[test]
fn finished_job_says_so_and_starts_again_only_when_told_to() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let job = JOB
        .replace("records = 120000", "records = 2000")
        .replace("rate = 60000\n", "");
    fs::write(folder.path().join("job.toml"), job)?;
    let again = |arguments: &[&str]| run(command(folder.path(), arguments), b"");
    again(&["run", "job.toml", "--quiet"])?.expect_code(0)?;
    let before = results(folder.path())?;
    let said = again(&["run", "job.toml"])?.expect_code(0)?.stderr;
    ensure!(
        said.contains("nothing to do") && said.contains("--restore none"),
        "it says: {said}"
    );
    ensure!(
        results(folder.path())? == before,
        "a finished job must not write again"
    );
    let refused = again(&["run", "job.toml", "--restore", "none", "--quiet"])?
        .expect_code(1)?
        .stderr;
    ensure!(refused.contains("another run"), "it says: {refused}");
    Ok(())
}
