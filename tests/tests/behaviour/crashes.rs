//! The process dies at every step of the commit protocol; the next start makes it as if nothing had happened. Readers of
//! the folder see whole parts, and nothing twice, all the while.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use wasmill_tests::soak::points;
use wasmill_tests::{command, lines_of_parts, run};

/// Small, and slow enough for some epochs. Results do not depend on the order between partitions.
const JOB: &str = r#"
name = "crashes"
parallelism = 2
[checkpoint]
path = "checkpoints"
every = "25ms"
keep = 2
[source.in]
type = "generator"
records = 12000
rate = 40000
seed = 7
partitions = 2
template = '{"k":"u{{int 0 200}}","v":{{int 0 100}},"t":{{time 1700000000000 10}}}'
key = "/k"
timestamp = "/t"
[source.in.event-time]
max-disorder = "0ms"
[step.sums]
from = "in"
window = { tumbling = "5s" }
aggregate = "std.sum"
config = { field = "/v" }
[sink.out]
from = "sums"
type = "file"
path = "out"
format = "json"
"#;

const KILLED: i32 = 9;

fn start(folder: &Path, crash_at: Option<&str>, parallelism: usize) -> Result<Option<i32>> {
    let parallelism = format!("parallelism={parallelism}");
    let arguments = ["run", "job.toml", "--quiet", "--set", &parallelism];
    let mut command = command(folder, arguments);
    if let Some(point) = crash_at {
        command.env("WASMILL_CRASH_AT", point);
    }
    let ended = run(command, b"")?;
    let signal = ended.status.signal();
    ensure!(
        ended.status.success() || signal == Some(KILLED),
        "{crash_at:?}: {}\n{}",
        ended.status,
        ended.said()
    );
    Ok(signal)
}

/// Looks at the folder again and again until told to stop. Parts never change and never go, each is whole.
fn watch(folder: &Path, stop: &AtomicBool) -> Result<u64> {
    let mut seen: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        looks += 1;
        let mut now = BTreeMap::new();
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let bytes = fs::read(entry.path()).with_context(|| format!("{name} went away"))?;
            ensure!(bytes.ends_with(b"\n"), "{name} is not whole");
            now.insert(name, bytes);
        }
        for (name, bytes) in &seen {
            ensure!(now.get(name) == Some(bytes), "{name} changed or went away");
        }
        seen = now;
        std::thread::yield_now();
    }
    Ok(looks)
}

#[test]
fn job_that_dies_at_any_step_of_a_checkpoint_writes_what_it_would_have_written() -> Result<()> {
    let golden = {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("job.toml"), JOB)?;
        start(folder.path(), None, 2)?;
        lines_of_parts(&folder.path().join("out"))?
    };
    ensure!(golden.len() > 1_000, "too little to prove anything");
    let points = {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("job.toml"), JOB)?;
        points(folder.path())?
    };
    ensure!(points.len() >= 20, "points: {points:?}");
    let mut died = Vec::new();
    for (number, point) in points.iter().enumerate() {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("job.toml"), JOB)?;
        let out = folder.path().join("out");
        let stop = Arc::new(AtomicBool::new(false));
        let watcher = {
            let (out, stop) = (out.clone(), Arc::clone(&stop));
            std::thread::spawn(move || watch(&out, &stop))
        };
        // The first time; later in the job, with other tasks; on a way that begins with a recovery which has something
        // to publish; then it is left alone.
        let ways = [
            format!("{point}:1"),
            format!("{point}:4"),
            "manifest-stored:2".to_owned(),
            format!("{point}:1"),
        ];
        for (kill, at) in ways.into_iter().enumerate() {
            if start(folder.path(), Some(&at), [1, 3, 2][(number + kill) % 3])? == Some(KILLED) {
                died.push(at);
            }
        }
        start(folder.path(), None, 2)?;
        stop.store(true, Ordering::Relaxed);
        match watcher.join() {
            Ok(watched) => watched.with_context(|| format!("killed at {point}"))?,
            Err(_) => bail!("the watcher panicked"),
        };
        let got = lines_of_parts(&out)?;
        ensure!(
            got == golden,
            "killed at {point}: {} lines instead of {}, or others",
            got.len(),
            golden.len()
        );
        let leftovers: Vec<String> = fs::read_dir(&out)?
            .chain(fs::read_dir(folder.path().join("checkpoints"))?)
            .filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| name.ends_with(".tmp"))
            .collect();
        ensure!(leftovers.is_empty(), "killed at {point}: {leftovers:?}");
    }
    // Only what a checkpoint that is passed over leaves is set aside; a kill alone never passes one over.
    let (aside, missed): (Vec<&String>, Vec<&String>) = points
        .iter()
        .filter(|p| !died.iter().any(|d| d.starts_with(&format!("{p}:"))))
        .partition(|p| *p == "part-set-aside");
    ensure!(aside.len() == 1, "a kill alone sets a part aside");
    // On a very busy machine the job may be over before it comes that far: there, one that takes its time dies.
    for point in missed {
        let folder = tempfile::tempdir()?;
        let slow = JOB.replace("rate = 40000", "rate = 1000");
        fs::write(folder.path().join("job.toml"), slow)?;
        let signal = start(folder.path(), Some(&format!("{point}:1")), 2)?;
        ensure!(signal == Some(KILLED), "never reached: {point}");
        fs::write(folder.path().join("job.toml"), JOB)?;
        start(folder.path(), None, 3)?;
        let got = lines_of_parts(&folder.path().join("out"))?;
        ensure!(got == golden, "killed at {point}: other lines");
    }
    Ok(())
}
