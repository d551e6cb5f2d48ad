//! Random jobs and scripts through `wasmill test`, against a naive model of the rules in
//! docs/job-file.md: all records kept, every window a plain list, nothing shared with the engine.
//!
//! `MODEL_CASES=n` runs n of each kind instead of a few, `MODEL_SEED=n` starts at another seed; a failure
//! prints its seed, the job and the script.

mod chains;
mod dedup;
mod free;
mod joins;
mod lookups;
mod progress;
mod random;
mod script;
mod windows;

use std::fs;

use anyhow::{Context, Result, ensure};
use wasmill_tests::{command, compare_lines, run};

use crate::random::Random;
use crate::script::{Row, rendered};

/// A job, a script, and what must come out.
struct Scenario {
    job: String,
    script: Vec<String>,
    expected: Vec<Row>,
}

/// Runs scenarios of one kind, at several parallelisms each.
fn agrees(cases: u64, make: impl Fn(&mut Random) -> Scenario) -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("MODEL_SEED").unwrap_or(0);
    for seed in first..first + number("MODEL_CASES").unwrap_or(cases) {
        let scenario = make(&mut Random::new(seed));
        let parallelism = [1, 2, 7][(seed % 3) as usize].to_string();
        one(&scenario, &parallelism).with_context(|| {
            let script: String = scenario
                .script
                .iter()
                .enumerate()
                .map(|(i, l)| format!("{:>3} {l}\n", i + 1))
                .collect();
            format!(
                "MODEL_SEED={seed}, parallelism {parallelism}\n{}\n{script}",
                scenario.job
            )
        })?;
    }
    Ok(())
}

fn one(scenario: &Scenario, parallelism: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), &scenario.job)?;
    fs::write(
        folder.path().join("script.jsonl"),
        scenario.script.join("\n") + "\n",
    )?;
    let args = [
        "test",
        "job.toml",
        "script.jsonl",
        "--parallelism",
        parallelism,
    ];
    let ended = run(command(folder.path(), args), b"")?.expect_code(0)?;
    let got: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
    compare_lines("stdout", &rendered(&scenario.expected), &got)
}

/// Runs one job in all ways that may not make a difference. Whether it worked at all.
fn free(job: &free::Free) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), &job.job)?;
    let attempt = |script: &[String], more: &[&str]| -> Result<_> {
        fs::write(folder.path().join("script.jsonl"), script.join("\n") + "\n")?;
        let args = ["test", "job.toml", "script.jsonl"].iter().chain(more);
        run(command(folder.path(), args), b"")
    };
    let first = attempt(&job.straight, &["--parallelism", "1"])?;
    let code = first.status.code();
    ensure!(
        matches!(code, Some(0..=2)),
        "{}\n{}",
        first.status,
        first.said()
    );
    if code != Some(0) {
        // Jobs that are refused, or fail, are for other tests.
        return Ok(false);
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let ways: [(&[String], &[&str]); 4] = [
        (&job.straight, &["--parallelism", "7", "--paranoid"]),
        (&job.straight, &["--parallelism", "2"]),
        (&job.script, &["--parallelism", "1"]),
        (&job.script, &["--parallelism", "7"]),
    ];
    for (script, more) in ways {
        let what = format!("{} restarts, {more:?}", script != job.straight.as_slice());
        let again = attempt(script, more)?
            .expect_code(0)
            .with_context(|| what.clone())?;
        compare_lines(&what, &lines(&first.stdout), &lines(&again.stdout))?;
    }
    Ok(true)
}

#[test]
fn any_job_is_the_same_at_any_parallelism_and_over_restarts() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("MODEL_SEED").unwrap_or(0);
    let cases = number("MODEL_CASES").unwrap_or(40);
    let mut worked = 0;
    for seed in first..first + cases {
        let job = free::make(&mut Random::new(seed));
        let done = free(&job).with_context(|| {
            format!("MODEL_SEED={seed}\n{}\n{}", job.job, job.script.join("\n"))
        })?;
        worked += u64::from(done);
    }
    ensure!(
        worked * 2 > cases,
        "only {worked} of {cases} jobs are valid"
    );
    Ok(())
}

#[test]
fn aligned_windows() -> Result<()> {
    agrees(60, windows::aligned)
}

#[test]
fn session_windows() -> Result<()> {
    agrees(60, windows::sessions)
}

#[test]
fn count_windows() -> Result<()> {
    agrees(20, windows::counts)
}

#[test]
fn global_windows() -> Result<()> {
    agrees(20, windows::global)
}

#[test]
fn dedup_within_a_bound() -> Result<()> {
    agrees(30, dedup::scenario)
}

#[test]
fn interval_joins() -> Result<()> {
    agrees(60, joins::intervals)
}

#[test]
fn windowed_joins() -> Result<()> {
    agrees(40, joins::windowed)
}

#[test]
fn lookups_in_a_table_kept_current() -> Result<()> {
    agrees(60, lookups::scenario)
}

#[test]
fn windows_behind_windows() -> Result<()> {
    agrees(30, chains::windows)
}

#[test]
fn windows_behind_joins() -> Result<()> {
    agrees(40, chains::join)
}
