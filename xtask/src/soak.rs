//! `cargo xtask soak`: jobs that die at random and at named points, with torn files, for as long as one likes.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use wasmill_tests::soak::{self, Counts};

use crate::shell;

/// Deaths of one job before it is left to finish.
const DEATHS: u64 = 16;

/// Rounds between two lines of report.
const SHOWN_EVERY: u64 = 10;

/// Runs rounds until the time is over, with the wasmill that `$WASMILL_BIN` names, or the workspace's.
pub fn run(args: &[String]) -> Result<()> {
    let (mut minutes, mut seed) = (5.0, None);
    for pair in args.chunks(2) {
        match pair {
            [name, value] if name == "--minutes" => {
                minutes = value.parse().context("--minutes takes a number")?;
            }
            [name, value] if name == "--seed" => {
                seed = Some(value.parse::<u64>().context("--seed takes a number")?);
            }
            _ => bail!("usage: cargo xtask soak [--minutes N] [--seed N]"),
        }
    }
    if std::env::var_os("WASMILL_BIN").is_none() {
        shell::build()?;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let first = seed.unwrap_or_else(|| now.map_or(0, |d| d.as_secs()));
    println!("seeds from {first}; {minutes} minutes");
    let folder = shell::target().join("soak");
    let (start, mut all) = (Instant::now(), Counts::default());
    let mut rounds = 0;
    while start.elapsed() < Duration::from_secs_f64(minutes * 60.0) {
        let seed = first + rounds;
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).context("make target/soak")?;
        let counts = soak::round(&folder, seed, DEATHS)
            .with_context(|| format!("seed {seed} (its files: {})", folder.display()))?;
        all.add(&counts);
        rounds += 1;
        if rounds % SHOWN_EVERY == 0 {
            show(rounds, start, &all);
        }
    }
    show(rounds, start, &all);
    Ok(())
}

fn show(rounds: u64, start: Instant, all: &Counts) {
    println!(
        "{:>5} s: {rounds} jobs, {} deaths ({} at points, {} anywhen), {} files torn, {} lines, all as they should be",
        start.elapsed().as_secs(),
        all.at_points + all.anywhen,
        all.at_points,
        all.anywhen,
        all.torn,
        all.lines
    );
}
