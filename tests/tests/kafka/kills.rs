//! Kafka to a keyed window to Kafka, killed again and again: what a reader of committed records sees is what an
//! undisturbed run gives, each result once.

use std::fmt::Write as _;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wasmill_tests::kafka::{Broker, Life, Settings};
use wasmill_tests::{Ended, command, run, wait};

use crate::cluster::{Seen, brokers, create, produce, read_all, write_job};

const RECORDS: i64 = 2_000_000;
const PARTITIONS: i32 = 3;

fn job(name: &str) -> String {
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
fn fill() -> Result<()> {
    static FILLED: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
    let filled = FILLED.get_or_init(|| fill_into(brokers()).map_err(|e| format!("{e:#}")));
    filled.clone().map_err(anyhow::Error::msg)
}

fn fill_into(brokers: &str) -> Result<()> {
    create(brokers, "kills-in", PARTITIONS)?;
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
        seen.sort();
        ensure!(seen.len() > 5_000, "too little came out: {}", seen.len());
        Ok(seen)
    };
    let golden = GOLDEN.get_or_init(|| made().map_err(|e| format!("{e:#}")));
    golden.clone().map_err(anyhow::Error::msg)
}

fn compare(topic: &str, said: &str) -> Result<()> {
    compare_on(brokers(), topic, said)
}

fn compare_on(brokers: &str, topic: &str, said: &str) -> Result<()> {
    let golden = golden()?;
    let mut seen = read_all(brokers, topic)?;
    seen.sort();
    let twice = seen.windows(2).filter(|w| w[0] == w[1]).count();
    let missing = golden
        .iter()
        .filter(|g| seen.binary_search(g).is_err())
        .count();
    ensure!(
        seen == golden,
        "{said}: {} results, {} expected; {twice} twice, {missing} missing",
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
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start wasmill")
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

#[test]
fn job_killed_at_random_moments_writes_each_result_once() -> Result<()> {
    fill()?;
    create(brokers(), "random-out", 2)?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &job("random"))?;
    let seed = u64::from(std::process::id());
    let mut random = seed;
    let mut killed = 0;
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
    compare("random-out", &format!("seed {seed}"))
}

#[test]
fn frozen_process_whose_job_another_took_over_leaves_nothing_visible_when_it_wakes() -> Result<()> {
    fill()?;
    create(brokers(), "zombie-out", 2)?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &job("zombie"))?;
    let frozen = start(folder.path(), None)?;
    let signal = |name: &str| {
        let pid = frozen.id().to_string();
        std::process::Command::new("kill")
            .args([name, &pid])
            .status()
    };
    let begun = std::time::Instant::now();
    let manifests = || {
        let names = std::fs::read_dir(folder.path().join("checkpoints"));
        names.map_or(0, |names| {
            let names = names.filter_map(|n| n.ok()?.file_name().into_string().ok());
            names.filter(|n| n.starts_with("manifest-")).count()
        })
    };
    // It has committed something, and is in the middle of more.
    while manifests() < 2 {
        ensure!(begun.elapsed() < Duration::from_secs(60), "no checkpoint");
        thread::sleep(Duration::from_millis(5));
    }
    signal("-STOP")?;
    // The other one has a copy of the folder, as another machine would have the same store: the lock of the folder
    // itself does not help here, only the transactions do.
    let other = tempfile::tempdir()?;
    write_job(other.path(), &job("zombie"))?;
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(folder.path().join("checkpoints"))
        .arg(other.path())
        .status()?;
    ensure!(copied.success(), "the folder is not copied");
    run(command(other.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    compare("zombie-out", "while the first one is frozen")?;
    signal("-CONT")?;
    let ended = wait(frozen)?.expect_code(1)?;
    ensure!(ended.stderr.contains("took over"), "{}", ended.said());
    compare("zombie-out", "after the first one woke")
}

#[test]
fn job_goes_on_by_itself_when_the_broker_was_killed_and_comes_back() -> Result<()> {
    let data = tempfile::tempdir()?;
    let mut broker = Broker::start(data.path(), &Settings::default(), Life::Ours)?;
    let own = broker.address().to_owned();
    fill_into(&own)?;
    create(&own, "broker-out", 2)?;
    let folder = tempfile::tempdir()?;
    std::fs::write(
        folder.path().join("job.toml"),
        job("broker").replace("BROKERS", &own),
    )?;
    let child = start(folder.path(), None)?;
    thread::sleep(Duration::from_millis(400));
    broker.kill()?;
    broker.restart()?;
    let ended = wait(child)?.expect_code(0)?;
    compare_on(&own, "broker-out", &ended.said())
}
