//! `cargo xtask kafka soak`: the tests' kills and outages, longer: hundreds of kills with a seed, brokers that are away
//! for a minute. The outcome is the tests' own: every result once.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Kills of one round; a few more are tried.
const KILLS_A_ROUND: u64 = 10;

const USAGE: &str = "cargo xtask kafka soak [--kills 100] [--outage SECONDS, 60] [--seed N]";

/// Runs it.
pub fn soak(args: &[&str]) -> Result<()> {
    let (mut kills, mut outage, mut seed) = (100, 60, u64::from(std::process::id()));
    for pair in args.chunks(2) {
        let [name, value] = pair else {
            bail!("{USAGE}")
        };
        let value: u64 = value.parse().context(USAGE)?;
        match *name {
            "--kills" => kills = value,
            "--outage" => outage = value,
            "--seed" => seed = value,
            _ => bail!("{USAGE}"),
        }
    }
    if std::env::var_os("WASMILL_BIN").is_none() {
        shell::build()?;
    }
    wasmill_tests::kafka::jars()?;
    let rounds = kills.div_ceil(KILLS_A_ROUND);
    println!("=== at least {kills} kills at random moments, seed {seed}");
    run(
        "kills::",
        &[("WASMILL_TEST_ROUNDS", rounds), ("WASMILL_TEST_SEED", seed)],
    )?;
    println!("=== brokers away for {outage} s, leaders moved, transactions timed out");
    run("faults::", &[("WASMILL_TEST_OUTAGE_S", outage)])
}

fn run(tests: &str, environment: &[(&str, u64)]) -> Result<()> {
    let begun = Instant::now();
    let arguments = [
        "test",
        "--release",
        "-p",
        "wasmill-tests",
        "--test",
        "kafka",
        "--",
    ];
    let mut command = shell::cargo(&arguments);
    command.args([tests, "--nocapture", "--test-threads=1"]);
    for (name, value) in environment {
        command.env(name, value.to_string());
    }
    shell::run(&mut command)?;
    println!("=== {tests} done in {} s", begun.elapsed().as_secs());
    Ok(())
}
