//! What a job gives when its process dies again and again: exactly what it gives undisturbed. `cargo xtask soak` does this
//! for long.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use wasmill_tests::soak::{Counts, round};
use wasmill_tests::{command, lines_of_parts, run, scratch};

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

/// Deaths of a job before it is left to finish.
const DEATHS: u64 = 12;

fn results(folder: &Path) -> Result<[Vec<String>; 2]> {
    Ok([
        lines_of_parts(&folder.join("sums"))?,
        lines_of_parts(&folder.join("both"))?,
    ])
}

#[test]
fn job_that_dies_at_random_with_torn_files_and_other_tasks_writes_what_it_would_have_written()
-> Result<()> {
    let first = u64::from(std::process::id());
    let mut all = Counts::default();
    for seed in first..first + 3 {
        let folder = tempfile::tempdir_in(scratch()?)?;
        let counts = round(folder.path(), seed, DEATHS).with_context(|| format!("seed {seed}"))?;
        println!("seed {seed}: {counts:?}");
        all.add(&counts);
    }
    ensure!(all.at_points + all.anywhen >= 10, "few deaths: {all:?}");
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
