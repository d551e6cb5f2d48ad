//! What checkpoints cost: keyed windows with some 100 MB of state at full speed, without checkpoints and with one every
//! second, in turns; then the same with few keys changing; then how fast a job that died is back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Cost, cost};
use crate::shell;

/// Keys: with these 100 MB of state.
const KEYS: u64 = 1_000_000;

/// Records of a run: some seconds of full speed.
const RECORDS: u64 = 20_000_000;

/// Turns of each pair; the least cost counts.
const TURNS: usize = 3;

/// A job whose state is a sum for each key. The first `KEYS` records make all keys; those behind take one of `hot`.
fn job(records: u64, hot: u64, rate: Option<u64>, every: Option<&str>) -> String {
    let rate = rate.map_or(String::new(), |rate| format!("rate = {rate}\n"));
    let checkpoint = every.map_or(String::new(), |every| {
        format!("[checkpoint]\npath = \"checkpoints\"\nevery = \"{every}\"\n")
    });
    format!(
        r#"name = "bench"
parallelism = 2
{checkpoint}
[source.all]
type = "generator"
records = {KEYS}
partitions = 2
template = '{{"k":"user-{{{{index}}}}","v":1,"t":1700000000000}}'
key = "/k"
timestamp = "/t"
[source.hot]
type = "generator"
records = {records}
{rate}partitions = 2
template = '{{"k":"user-{{{{int 0 {hot}}}}}","v":1,"t":1700000000000}}'
key = "/k"
timestamp = "/t"
[step.sums]
from = ["all", "hot"]
window = {{ tumbling = "100d" }}
aggregate = "std.sum"
config = {{ field = "/v" }}
[sink.out]
from = "sums"
type = "blackhole"
"#
    )
}

/// All of them.
pub fn run() -> Result<()> {
    shell::build()?;
    let folder = shell::target().join("bench/checkpoints");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).context("make target/bench/checkpoints")?;
    println!(
        "| job | without | every second | costs | checkpoints | barrier to manifest | written each |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, hot, rate) in [
        ("all keys change, full speed", KEYS, None),
        ("1 % of keys change, full speed", KEYS / 100, None),
        ("all keys change, 200,000 records/s", KEYS, Some(200_000)),
    ] {
        let records = rate.map_or(RECORDS, |rate| rate * 8);
        compare(&folder, name, |every| job(records, hot, rate, every))?;
    }
    restart(&folder)
}

fn compare(folder: &Path, name: &str, job: impl Fn(Option<&str>) -> String) -> Result<()> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (mut took, mut sizes) = (Value::Null, Vec::new());
    for _ in 0..TURNS {
        without.push(start(folder, &job(None))?.1);
        let (summary, cost) = start(folder, &job(Some("1s")))?;
        with.push(cost);
        took = summary["checkpoints"].clone();
        sizes = self::sizes(folder)?;
    }
    let least =
        |costs: &[Cost], of: fn(&Cost) -> f64| costs.iter().map(of).fold(f64::INFINITY, f64::min);
    let cpu: fn(&Cost) -> f64 = |c| c.cpu;
    let wall: fn(&Cost) -> f64 = |c| c.wall;
    let more = |of| (least(&with, of) / least(&without, of) - 1.0) * 100.0;
    let number = |name: &str| took[name].as_u64().unwrap_or(0);
    println!(
        "| {name} | {:.2} s CPU, {:.2} s | {:.2} s CPU, {:.2} s | {:+.0} % CPU, {:+.0} % time | {} | {} ms, {} at most | {:.1} MB, {:.1} MB |",
        least(&without, cpu),
        least(&without, wall),
        least(&with, cpu),
        least(&with, wall),
        more(cpu),
        more(wall),
        number("count"),
        number("mean_ms"),
        number("longest_ms"),
        sizes.last().copied().unwrap_or(0) as f64 / 1e6,
        sizes.get(sizes.len() / 2).copied().unwrap_or(0) as f64 / 1e6
    );
    Ok(())
}

/// Bytes of state of each epoch whose files are still there, least first: at the end the base and what builds on it.
fn sizes(folder: &Path) -> Result<Vec<u64>> {
    let mut epochs: BTreeMap<String, u64> = BTreeMap::new();
    for entry in fs::read_dir(folder.join("checkpoints"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some((epoch, _)) = name.strip_prefix("state-").and_then(|n| n.split_once('-')) {
            *epochs.entry(epoch.to_owned()).or_default() += entry.metadata()?.len();
        }
    }
    let mut sizes: Vec<u64> = epochs.into_values().collect();
    sizes.sort_unstable();
    Ok(sizes)
}

/// Runs a job to its end; its summary.
fn start(folder: &Path, job: &str) -> Result<(Value, Cost)> {
    fs::write(folder.join("job.toml"), job)?;
    let _ = fs::remove_dir_all(folder.join("checkpoints"));
    cost(|| {
        let ended = Command::new(shell::wasmill())
            .args(["run", "job.toml", "--json"])
            .current_dir(folder)
            .output()
            .context("start wasmill")?;
        let said = String::from_utf8_lossy(&ended.stderr);
        if !ended.status.success() {
            bail!("the job ended with {}: {said}", ended.status);
        }
        let line = said.lines().last().context("a summary")?;
        let summary: Value = serde_json::from_str(line).context("read the summary")?;
        Ok(summary.get("summary").cloned().unwrap_or(summary))
    })
}

/// From a start after `kill -9` until the first line of output.
fn restart(folder: &Path) -> Result<()> {
    let job = job(100_000_000, KEYS, Some(100_000), Some("1s"));
    let _ = fs::remove_dir_all(folder.join("checkpoints"));
    fs::write(folder.join("job.toml"), &job)?;
    let mut child = wasmill(folder).stdout(Stdio::null()).spawn()?;
    let stored = wait_for_checkpoint(folder, 4);
    child.kill()?;
    child.wait()?;
    let bytes = stored?;
    let echo = "[sink.echo]\nfrom = \"hot\"\ntype = \"console\"\nformat = \"json\"\n";
    fs::write(folder.join("job.toml"), format!("{job}{echo}"))?;
    let begin = Instant::now();
    let mut child = wasmill(folder).stdout(Stdio::piped()).spawn()?;
    let mut first = [0];
    let stdout = child.stdout.as_mut().context("stdout is piped")?;
    let read = std::io::Read::read(stdout, &mut first)?;
    let elapsed = begin.elapsed();
    child.kill()?;
    child.wait()?;
    if read == 0 {
        bail!("the job that died wrote nothing when it was started again");
    }
    println!(
        "first output {} ms after the start of a job that died with {:.0} MB of state",
        elapsed.as_millis(),
        bytes as f64 / 1e6
    );
    Ok(())
}

fn wasmill(folder: &Path) -> Command {
    let mut command = Command::new(shell::wasmill());
    command
        .args(["run", "job.toml", "--quiet"])
        .current_dir(folder);
    command
}

/// Waits for the n-th checkpoint; bytes of all files of state.
fn wait_for_checkpoint(folder: &Path, number: u64) -> Result<u64> {
    let checkpoints = folder.join("checkpoints");
    let begin = Instant::now();
    while !checkpoints.join(format!("manifest-{number:010}")).exists() {
        if begin.elapsed().as_secs() > 60 {
            bail!("no checkpoint {number} within a minute");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let files: Vec<PathBuf> = fs::read_dir(&checkpoints)?
        .filter_map(|e| Some(e.ok()?.path()))
        .collect();
    Ok(files
        .iter()
        .filter_map(|p| Some(fs::metadata(p).ok()?.len()))
        .sum())
}
