//! The keyed flights job over plain files, on one task a stage and on two: what the second core brings.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Cost, cost};
use crate::{plugins, shell};

/// The example's month, so many times over, dealt to the files: 4.3 M rows.
const MONTHS: usize = 160;
const FILES: usize = 4;
const ROWS_A_MONTH: usize = 27_004;
/// The job, in the repository.
const JOB: &str = "bench/flights/job.toml";

/// Runs the job at both parallelisms and compares.
pub fn run() -> Result<()> {
    shell::build()?;
    plugins::build()?;
    let folder = shell::target().join("bench/flights");
    make(&folder)?;
    let rows = (MONTHS * ROWS_A_MONTH) as f64;
    let one = measured(&folder, 1)?;
    let two = measured(&folder, 2)?;
    for (tasks, cost) in [(1, one), (2, two)] {
        println!(
            "parallelism {tasks}: {:>6.2} s CPU {:>6.2} s wall  {:>5.2} M rows/s, {:>5.2} M rows per CPU-second",
            cost.cpu,
            cost.wall,
            rows / cost.wall / 1e6,
            rows / cost.cpu / 1e6
        );
    }
    println!("parallelism 2 is {:.2} x as fast as 1", one.wall / two.wall);
    Ok(())
}

fn measured(folder: &Path, parallelism: usize) -> Result<Cost> {
    let out = folder.join(format!("out-{parallelism}"));
    let mut wasmill = shell::command(shell::wasmill(), &["run", JOB, "--quiet"]);
    wasmill
        .arg("--set")
        .arg(format!("parallelism={parallelism}"));
    wasmill.arg("--set").arg(format!(
        "source.departures.path={}/flights-*.csv",
        folder.display()
    ));
    wasmill
        .arg("--set")
        .arg(format!("sink.hours.path={}", out.display()));
    Ok(cost(|| shell::run(&mut wasmill))?.1)
}

/// The input, made once: 390 MB.
fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).context("make target/bench/flights")?;
    let month = shell::output(
        Command::new("gzip").args(["-dc", "examples/flights/data/flights-2013-01.csv.gz"]),
    )?;
    let (header, rows) = month.split_once('\n').context("the month has no header")?;
    for file in 0..FILES {
        let path = folder.join(format!("flights-{file}.csv"));
        if path.exists() {
            continue;
        }
        let mut out = BufWriter::new(
            File::create(&path).with_context(|| format!("make {}", path.display()))?,
        );
        writeln!(out, "{header}")?;
        for _ in 0..MONTHS / FILES {
            out.write_all(rows.as_bytes())?;
        }
        out.flush()?;
    }
    Ok(())
}
