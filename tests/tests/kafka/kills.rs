//! Kafka to a keyed window to Kafka, killed again and again: what a reader of committed records sees is what an
//! undisturbed run gives, each result once.

use std::process::Child;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wasmill_tests::{Ended, command, run, wait};

use crate::cluster::{brokers, create, spawn, write_job};
use crate::sums::{compare, fill, job};

fn start(folder: &std::path::Path, kill_at: Option<&str>) -> Result<Child> {
    let mut command = command(folder, ["run", "job.toml", "--quiet"]);
    if let Some(point) = kill_at {
        command.env("WASMILL_CRASH_AT", point);
    }
    spawn(command)
}

fn was_killed(ended: &Ended) -> bool {
    ended.status.code().is_none()
}

#[test]
fn job_killed_at_each_point_of_the_commit_writes_each_result_once() -> Result<()> {
    fill()?;
    create(brokers(), "points-out", 2)?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &job("points"))?;
    let on_the_way = [
        "epoch-gathered",
        "state-stored",
        "states-stored",
        "manifest-stored",
        "transaction-offsets-sent",
        "transaction-committed",
        "transaction-begun",
        "parts-published",
        "manifest-removed",
        "cleaned",
    ];
    // A start passes these once; the first one has nothing to go on from, the others do.
    let at_the_start = ["transactions-taken-over", "recovery-decided"];
    let first = at_the_start.iter().map(|p| format!("{p}:1"));
    let ways = [1, 2].map(|times| on_the_way.map(|p| format!("{p}:{times}")));
    for at in first.clone().chain(ways.into_iter().flatten()).chain(first) {
        let ended = wait(start(folder.path(), Some(&at))?)?;
        ensure!(
            was_killed(&ended),
            "the job did not come to {at}: {}",
            ended.said()
        );
    }
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    compare("points-out", "killed at each point")
}

/// A number from the environment: the soak asks for more than the tests do.
fn asked(name: &str, otherwise: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is a number")),
        Err(_) => Ok(otherwise),
    }
}

#[test]
fn job_killed_at_random_moments_writes_each_result_once() -> Result<()> {
    fill()?;
    let seed = asked("WASMILL_TEST_SEED", u64::from(std::process::id()))?;
    let (rounds, mut killed) = (asked("WASMILL_TEST_ROUNDS", 1)?, 0);
    println!("seed {seed}");
    for round in 0..rounds {
        killed += killed_at_random(&format!("random-{round}"), seed + round)?;
        println!("{killed} kills while at work, in {} rounds", round + 1);
    }
    Ok(())
}

/// A whole run of the job, killed again and again; answers how often it was at work then.
fn killed_at_random(name: &str, seed: u64) -> Result<usize> {
    let out = format!("{name}-out");
    create(brokers(), &out, 2)?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &job(name))?;
    let (mut random, mut killed) = (seed, 0);
    for kill in 0..16 {
        let mut child = start(folder.path(), None)?;
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // The moment is the point of the test.
        thread::sleep(Duration::from_millis(150 + (random >> 33) % 600));
        child.kill()?;
        let ended = wait(child)?;
        ensure!(
            was_killed(&ended) || ended.status.code() == Some(0),
            "seed {seed}, start {kill}: {}",
            ended.said()
        );
        killed += usize::from(was_killed(&ended));
    }
    // Starts after the end of the input find nothing to do, and prove nothing.
    ensure!(
        killed >= 10,
        "seed {seed}: only {killed} of them were at work when they were killed"
    );
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    compare(&out, &format!("seed {seed}"))?;
    Ok(killed)
}
