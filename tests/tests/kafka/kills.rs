//! Kafka to a keyed window to Kafka, killed again and again: what a reader of committed records sees is what an
//! undisturbed run gives, each result once.

use std::fmt::Write as _;
use std::process::Child;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wasmill_tests::{Ended, command, run, wait};

use crate::cluster::{
    Seen, brokers, config, create, create_as, produce, read_all, spawn, write_job,
};

const RECORDS: i64 = 2_000_000;
const PARTITIONS: i32 = 3;

pub fn job(name: &str) -> String {
    format!(
        r#"
name = "{name}"
parallelism = 2
batch = {{ records = 50 }}
[checkpoint]
path = "checkpoints"
every = "50ms"
[source.in]
type = "kafka"
brokers = "BROKERS"
topics = "kills-in"
end = "latest"
format = "json"
group = "{name}"
[source.in.event-time]
max-disorder = "0ms"
[step.sums]
from = "in"
window = {{ tumbling = "2s" }}
aggregate = "std.sum"
config = {{ field = "/v" }}
[sink.out]
from = "sums"
type = "kafka"
brokers = "BROKERS"
topic = "{name}-out"
format = "json"
"#
    )
}

/// The input, once for all tests here.
pub fn fill() -> Result<()> {
    static FILLED: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
    let filled = FILLED.get_or_init(|| fill_into(brokers(), 1).map_err(|e| format!("{e:#}")));
    filled.clone().map_err(anyhow::Error::msg)
}

/// The input, into a cluster that keeps so many copies.
pub fn fill_into(brokers: &str, copies: i32) -> Result<()> {
    create_as(&config(brokers), "kills-in", PARTITIONS, copies)?;
    let mut texts = Vec::new();
    for i in 0..RECORDS {
        let mut value = String::new();
        write!(value, "{{\"v\":{}}}", i % 97)?;
        texts.push((i, format!("k{}", i % 53), value));
    }
    let records = texts.iter().map(|(i, key, value)| {
        let partition = (i % i64::from(PARTITIONS)) as i32;
        (
            partition,
            key.as_str(),
            Some(value.as_str()),
            1_000_000 + i * 3,
        )
    });
    produce(brokers, "kills-in", records)
}

/// What an undisturbed run gives.
fn golden() -> Result<Vec<Seen>> {
    static GOLDEN: std::sync::OnceLock<Result<Vec<Seen>, String>> = std::sync::OnceLock::new();
    let made = || -> Result<Vec<Seen>> {
        fill()?;
        create(brokers(), "golden-out", 2)?;
        let folder = tempfile::tempdir()?;
        write_job(folder.path(), &job("golden"))?;
        run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
        let mut seen = read_all(brokers(), "golden-out")?;
        without_places(&mut seen);
        ensure!(seen.len() > 5_000, "too little came out: {}", seen.len());
        Ok(seen)
    };
    let golden = GOLDEN.get_or_init(|| made().map_err(|e| format!("{e:#}")));
    golden.clone().map_err(anyhow::Error::msg)
}

/// Sorted; which partition a result is in says nothing about the result.
fn without_places(seen: &mut [Seen]) {
    seen.iter_mut().for_each(|s| s.partition = 0);
    seen.sort();
}

/// By partition: how many results that came before, and where the first and the last of them is in the order read.
fn offsets_of_doubles(seen: &[Seen]) -> String {
    let (mut known, mut places) = (std::collections::BTreeSet::new(), Vec::new());
    for (place, one) in seen.iter().enumerate() {
        if !known.insert((&one.key, &one.value, one.timestamp)) {
            places.push((one.partition, place));
        }
    }
    let of = |partition: i32| {
        let all = places.iter().filter(|(p, _)| *p == partition);
        let all: Vec<usize> = all.map(|(_, place)| *place).collect();
        let ends = (all.first(), all.last());
        format!("{partition}: {} at {ends:?}", all.len())
    };
    let partitions: std::collections::BTreeSet<i32> = places.iter().map(|(p, _)| *p).collect();
    partitions
        .into_iter()
        .map(of)
        .collect::<Vec<_>>()
        .join(", ")
}

pub fn compare(topic: &str, said: &str) -> Result<()> {
    compare_on(brokers(), topic, said)
}

pub fn compare_on(brokers: &str, topic: &str, said: &str) -> Result<()> {
    let golden = golden()?;
    let mut seen = read_all(brokers, topic)?;
    let before = offsets_of_doubles(&seen);
    without_places(&mut seen);
    let twice = seen.windows(2).filter(|w| w[0] == w[1]).count();
    let missing = golden
        .iter()
        .filter(|g| seen.binary_search(g).is_err())
        .count();
    ensure!(
        seen == golden,
        "{said}: {} results, {} expected; {twice} twice, {missing} missing; places of doubles: {before}",
        seen.len(),
        golden.len()
    );
    Ok(())
}

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
