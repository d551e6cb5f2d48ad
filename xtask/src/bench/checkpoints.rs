//! What checkpoints cost: jobs with some 100 MB of state at full speed, without checkpoints and with one every second, in
//! turns; then how fast a job that died is back.

mod jobs;
mod restart;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Cost, cost, median};
use crate::{plugins, shell};

/// Keys: with these 100 MB of state.
const KEYS: u64 = 1_000_000;

/// Records of a run: some seconds of full speed, so that the first checkpoint, whose memory is fresh, is one of several.
const RECORDS: u64 = 50_000_000;

/// Turns of each pair; the median counts.
const TURNS: usize = 3;

/// All of them, or those whose names have one of these words.
pub fn run(words: &[String]) -> Result<()> {
    shell::build()?;
    plugins::build()?;
    let folder = shell::target().join("bench/checkpoints");
    fs::create_dir_all(&folder).context("make target/bench/checkpoints")?;
    jobs::make(&folder)?;
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(&**word));
    println!(
        "| job | without | every second | costs | checkpoints | barrier to manifest | of that gathering | largest, least written |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, hot, rate) in [
        ("all keys change, full speed", KEYS, None),
        ("1 % of keys change, full speed", KEYS / 100, None),
        ("all keys change, 200,000 records/s", KEYS, Some(200_000)),
    ] {
        let records = rate.map_or(RECORDS, |rate| rate * 8);
        if wanted(name) {
            compare(&folder, name, |every| {
                Ok(jobs::sums(KEYS, records, hot, rate, every))
            })?;
        }
    }
    if wanted("flights by plane") {
        compare(&folder, "flights by plane", |every| {
            Ok(jobs::flights(every))
        })?;
    }
    if wanted("Nexmark q18") {
        compare(&folder, "Nexmark q18", jobs::nexmark)?;
    }
    if wanted("restart") {
        restart::run(&folder)?;
    }
    Ok(())
}

fn compare(folder: &Path, name: &str, job: impl Fn(Option<&str>) -> Result<String>) -> Result<()> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (mut took, mut sizes) = (Value::Null, Vec::new());
    for _ in 0..TURNS {
        without.push(start(folder, &job(None)?)?.1);
        let (summary, cost) = start(folder, &job(Some("1s"))?)?;
        with.push(cost);
        took = summary["checkpoints"].clone();
        sizes = self::sizes(folder)?;
    }
    let median = |costs: &[Cost], of: fn(&Cost) -> f64| median(costs.iter().map(of));
    let cpu: fn(&Cost) -> f64 = |c| c.cpu;
    let wall: fn(&Cost) -> f64 = |c| c.wall;
    let more = |of| (median(&with, of) / median(&without, of) - 1.0) * 100.0;
    let largest = sizes.last().copied().unwrap_or(0) as f64;
    let least_written = sizes.first().copied().unwrap_or(0) as f64;
    let number = |name: &str| took[name].as_u64().unwrap_or(0);
    println!(
        "| {name} | {:.2} s CPU, {:.2} s | {:.2} s CPU, {:.2} s | {:+.0} % CPU, {:+.0} % time | {} | {} ms, {} at most | {} ms | {:.1} MB, {:.1} MB ({:.1} %) |",
        median(&without, cpu),
        median(&without, wall),
        median(&with, cpu),
        median(&with, wall),
        more(cpu),
        more(wall),
        number("count"),
        number("mean_ms"),
        number("longest_ms"),
        number("gathering_ms"),
        largest / 1e6,
        least_written / 1e6,
        least_written / largest * 100.0
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
