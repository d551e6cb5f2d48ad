//! Nexmark: every query of `examples/nexmark` over one file of made-up events, beside Flink SQL's figures
//! on such a file (bench/peers/README.md).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Cost, cost, median, w2};
use crate::{plugins, shell};

/// Events in the file: 1 person : 3 auctions : 46 bids.
const EVENTS: u64 = 5_000_000;
/// Flink SQL's records per CPU-second, thousands, one task, heap state, warm.
const FLINK: [(&str, f64); 6] = [
    ("q0", 475.0),
    ("q1", 408.0),
    ("q2", 406.0),
    ("q5", 256.0),
    ("q7", 114.0),
    ("q8", 438.0),
];

/// Rounds of `limits`.
const ROUNDS: usize = 5;

/// Runs all queries, or those named. With `limits`, each several times with and without what lets the host stop a guest, in
/// turns.
pub fn run(wanted: &[String]) -> Result<()> {
    shell::build()?;
    plugins::build()?;
    let folder = shell::target().join("bench");
    fs::create_dir_all(&folder).context("make target/bench")?;
    let bench = Bench {
        events: events(&w2::generator(&folder)?, &folder)?,
        out: folder.join("nexmark-out"),
    };
    let (limits, wanted): (Vec<_>, Vec<_>) =
        wanted.iter().cloned().partition(|word| word == "limits");
    let queries = queries(&wanted)?;
    if !limits.is_empty() {
        return bench.limits(&queries);
    }
    println!("query   CPU s  wall s  M events per CPU-second  x Flink SQL");
    for (name, job) in &queries {
        let spent = bench.job(job, &[])?;
        let rate = EVENTS as f64 / spent.cpu / 1e6;
        let flink = FLINK.iter().find(|(query, _)| query == name);
        let times = flink.map_or(String::new(), |(_, known)| {
            format!("{:.1}", rate * 1e3 / known)
        });
        println!(
            "{name:<6} {:>6.2} {:>7.2} {rate:>24.2} {times:>12}",
            spent.cpu, spent.wall
        );
    }
    Ok(())
}

struct Bench {
    events: PathBuf,
    out: PathBuf,
}

impl Bench {
    /// One run of a job.
    fn job(&self, job: &Path, more: &[&str]) -> Result<Cost> {
        let ((), spent) = cost(|| {
            let mut wasmill = shell::command(shell::wasmill(), &["run", "--quiet"]);
            wasmill
                .arg(job)
                .arg("--set")
                .arg(format!("source.events.path={}", self.events.display()))
                .arg("--set")
                .arg(format!("sink.out.path={}", self.out.display()))
                .args(more);
            shell::run(&mut wasmill)
        })?;
        fs::remove_dir_all(&self.out).with_context(|| format!("clear {}", self.out.display()))?;
        Ok(spent)
    }

    /// What it costs whole jobs that their guests can be stopped.
    fn limits(&self, queries: &[(String, PathBuf)]) -> Result<()> {
        println!("query   CPU s with, without limits (middle of {ROUNDS})    cost");
        for (name, job) in queries {
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for round in 0..ROUNDS {
                for limited in [round % 2 == 0, round % 2 == 1] {
                    let free = ["--set", "plugin.nexmark.interruptible=false"];
                    let spent = self.job(job, if limited { &[] } else { &free })?;
                    let all = if limited { &mut with } else { &mut without };
                    all.push(spent.cpu);
                }
            }
            let [with, without] = [with, without].map(|all| median(all.into_iter()));
            let cost = (with / without - 1.0) * 100.0;
            println!("{name:<6} {with:>11.2} {without:>9.2} {cost:>29.1} %");
        }
        Ok(())
    }
}

/// (name, job file), by number.
fn queries(wanted: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let folder = shell::root().join("examples/nexmark");
    let mut found: Vec<(u32, String, PathBuf)> = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let number = name.strip_prefix('q').and_then(|n| n.parse().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|e| e == "toml"))
            && (wanted.is_empty() || wanted.contains(&name))
        {
            found.push((number, name, path));
        }
    }
    found.sort();
    if found.is_empty() {
        bail!("no such query in examples/nexmark");
    }
    Ok(found
        .into_iter()
        .map(|(_, name, path)| (name, path))
        .collect())
}

/// The input, made once: about 950 MB.
fn events(generator: &Path, folder: &Path) -> Result<PathBuf> {
    let events = folder.join("nexmark.jsonl");
    if !events.exists() {
        println!("making {EVENTS} events …");
        let half = folder.join("nexmark.half");
        let file = File::create(&half).context("make nexmark.half")?;
        shell::run(
            Command::new(generator)
                .args(["nexmark", &EVENTS.to_string()])
                .stdout(file),
        )?;
        fs::rename(&half, &events).context("name nexmark.jsonl")?;
    }
    // Read once, so that every query finds it in the page cache.
    std::io::copy(
        &mut File::open(&events).context("open nexmark.jsonl")?,
        &mut std::io::sink(),
    )?;
    Ok(events)
}
