//! `cargo xtask bench`: whole jobs against reference programs on the same data in the same run, and
//! the criterion benches by name.

mod checkpoints;
mod flights;
mod kafka;
mod keyed;
mod nexmark;
mod spill;
mod spill_restore;
mod w2;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// Runs one benchmark, or lists them.
pub fn bench(args: &[String]) -> Result<()> {
    let criterion = criterion_benches()?;
    let Some(name) = args.first() else {
        println!(
            "w2         JSON page views: key, 10 s windows, count and sum; beside a plain Rust loop. Settings follow: state.memory=16MiB"
        );
        println!("flights    CSV: parse, key, hourly windows; on one task a stage, and on two");
        println!(
            "nexmark    the queries of examples/nexmark, or those named; beside Flink SQL's figures (`nexmark limits`: with and without what stops a guest)"
        );
        println!(
            "kafka      source, sink, exactly once, latency; beside librdkafka alone, with a real broker"
        );
        println!(
            "keyed      windows, sessions, joins, timers: the engine alone, then whole jobs (`keyed jobs`: those only)"
        );
        println!(
            "spill      statistics by 2 M keys: all state in memory, and a tenth of it; then w2 in 16 MiB, beside peers"
        );
        println!("spill-restore  1 GiB of state in 64 MiB: its checkpoint, and going on from it");
        println!("spill-soak sums by 100 M keys (or so many million) in 1 GiB");
        println!(
            "checkpoints  what a checkpoint every second costs, and how fast a job that died is back; or those with a word: flights, restart …"
        );
        for (package, bench) in &criterion {
            println!("{bench:<10} criterion bench of {package}");
        }
        return Ok(());
    };
    if name == "flights" {
        return flights::run();
    }
    if name == "kafka" {
        return kafka::run(&args[1..]);
    }
    if name == "keyed" {
        return keyed::run(&args[1..]);
    }
    if name == "checkpoints" {
        return checkpoints::run(&args[1..]);
    }
    if name == "w2" {
        return w2::run(&args[1..]);
    }
    if name == "spill" {
        return spill::run();
    }
    if name == "spill-restore" {
        return spill_restore::run();
    }
    if name == "spill-soak" {
        return spill::soak(&args[1..]);
    }
    if name == "nexmark" {
        return nexmark::run(&args[1..]);
    }
    let Some((package, bench)) = criterion.iter().find(|(_, bench)| bench == name) else {
        bail!("no benchmark is called {name}: `cargo xtask bench` lists them");
    };
    let mut command = shell::cargo(&["bench", "--package", package, "--bench", bench, "--"]);
    shell::run(command.args(&args[1..]))
}

/// (package, bench) of the workspace.
fn criterion_benches() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for package in shell::metadata()?["packages"]
        .as_array()
        .context("cargo metadata without packages")?
    {
        for target in package["targets"].as_array().into_iter().flatten() {
            let kinds = target["kind"].as_array().into_iter().flatten();
            if kinds.into_iter().any(|kind| kind == "bench") {
                let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
                found.push((name(package), name(target)));
            }
        }
    }
    Ok(found)
}

/// CPU and wall time of a program.
#[derive(Clone, Copy)]
pub struct Cost {
    /// User and system time, seconds, of the program and all its threads.
    pub cpu: f64,
    /// Seconds on the wall.
    pub wall: f64,
}

/// The middle of some figures (of an even number the upper one).
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = figures.collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Runs `work`, which must wait for the programs it starts, and answers what those cost.
pub fn cost<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Cost)> {
    let (start, before) = (std::time::Instant::now(), children_cpu()?);
    let answer = work()?;
    let cpu = children_cpu()? - before;
    Ok((
        answer,
        Cost {
            cpu,
            wall: start.elapsed().as_secs_f64(),
        },
    ))
}

/// CPU seconds of all children that ended and were waited for: fields 16 and 17 of /proc/self/stat,
/// in ticks of 10 ms (USER_HZ is 100 on every Linux that we build for).
fn children_cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")
        .context("read /proc/self/stat (benchmarks need Linux)")?;
    let after_name = stat
        .rsplit_once(')')
        .context("/proc/self/stat without a name")?
        .1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |i: usize| {
        fields
            .get(i)
            .and_then(|f| f.parse::<f64>().ok())
            .context("/proc/self/stat is short")
    };
    Ok((ticks(13)? + ticks(14)?) / 100.0)
}
