//! One process a job: a second start is refused, takes over from one that is gone, and a frozen one that wakes can do
//! nothing any more.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use wasmill_tests::{command, limit, run, wait};

use crate::cluster::{brokers, create, read_all, signal, spawn, start, stop, until, write_job};
use crate::s3_server::Server;
use crate::sums::{compare, fill, job};

/// Checkpoints in a folder.
fn manifests(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder);
    names.map_or(0, |names| {
        let names = names.filter_map(|n| n.ok()?.file_name().into_string().ok());
        names.filter(|n| n.starts_with("manifest-")).count()
    })
}

/// Number of the newest checkpoint in a folder.
pub fn newest(folder: &Path) -> Option<u64> {
    let names = std::fs::read_dir(folder).ok()?;
    let names = names.filter_map(|n| n.ok()?.file_name().into_string().ok());
    names
        .filter_map(|n| n.strip_prefix("manifest-")?.parse().ok())
        .max()
}

/// Has committed something, and is in the middle of more.
pub fn at_work(folder: &Path) -> Result<()> {
    until("a few checkpoints", || Ok(manifests(folder) >= 2))
}

#[test]
fn frozen_process_whose_job_another_took_over_leaves_nothing_visible_when_it_wakes() -> Result<()> {
    fill()?;
    create(brokers(), "zombie-out", 2)?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &job("zombie"))?;
    let frozen = start(folder.path(), &["--quiet"])?;
    at_work(&folder.path().join("checkpoints"))?;
    signal(&frozen, Signal::STOP)?;
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
    signal(&frozen, Signal::CONT)?;
    let ended = wait(frozen)?.expect_code(1)?;
    ensure!(ended.stderr.contains("took over"), "{}", ended.said());
    compare("zombie-out", "after the first one woke")
}

#[test]
fn second_start_of_a_running_job_is_refused_and_one_after_a_kill_goes_on() -> Result<()> {
    fill()?;
    create(brokers(), "second-out", 2)?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &job("second"))?;
    let mut first = start(folder.path(), &["--quiet"])?;
    at_work(&folder.path().join("checkpoints"))?;
    let pid = first.id().to_string();
    let second = wait(start(folder.path(), &["--quiet"])?)?.expect_code(1)?;
    ensure!(
        second.stderr.contains(&pid),
        "it says who: {}",
        second.said()
    );
    ensure!(first.try_wait()?.is_none(), "the first one goes on");
    first.kill()?;
    first.wait()?;
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    compare("second-out", "killed, and started again")
}

#[test]
fn process_frozen_past_its_lease_leaves_nothing_visible_when_it_wakes() -> Result<()> {
    fill()?;
    create(brokers(), "lease-out", 2)?;
    let server = Server::start()?;
    let text = job("lease").replace("path = \"checkpoints\"", "path = \"s3://jobs/lease\"");
    // Two folders, as on two machines; the store is what they share.
    let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
    write_job(here.path(), &text)?;
    write_job(there.path(), &text)?;
    let wasmill = |folder: &Path| {
        let mut command = command(folder, ["run", "job.toml", "--quiet"]);
        server.known_to(&mut command);
        command
    };
    let frozen = spawn(wasmill(here.path()))?;
    at_work(&server.objects().join("lease"))?;
    signal(&frozen, Signal::STOP)?;
    // As long as its lease may still hold, nobody takes over.
    let refused = run(wasmill(there.path()), b"")?.expect_code(1)?;
    ensure!(
        refused.stderr.contains("another process has it"),
        "{}",
        refused.said()
    );
    let begun = std::time::Instant::now();
    loop {
        let tried = run(wasmill(there.path()), b"")?;
        if tried.status.success() {
            break;
        }
        ensure!(
            tried.stderr.contains("another process has it") && begun.elapsed() < limit(),
            "{}",
            tried.said()
        );
        std::thread::sleep(Duration::from_secs(1));
    }
    compare("lease-out", "while the first one is frozen")?;
    let objects = || server.names("lease");
    let (before, seen) = (objects()?, read_all(brokers(), "lease-out")?.len());
    signal(&frozen, Signal::CONT)?;
    let woken = wait(frozen)?.expect_code(1)?;
    ensure!(
        woken.stderr.contains("took") || woken.stderr.contains("taken"),
        "{}",
        woken.said()
    );
    compare("lease-out", "after the first one woke")?;
    ensure!(
        read_all(brokers(), "lease-out")?.len() == seen,
        "it wrote something"
    );
    let manifests = |names: Vec<String>| -> Vec<String> {
        names
            .into_iter()
            .filter(|n| n.starts_with("manifest-"))
            .collect()
    };
    let (before, after) = (manifests(before), manifests(objects()?));
    ensure!(
        after == before,
        "it changed the manifests, {before:?}, to {after:?}; {}",
        woken.said()
    );
    Ok(())
}

#[test]
fn job_that_is_asked_to_stop_commits_what_it_has_and_goes_on_there() -> Result<()> {
    fill()?;
    create(brokers(), "stopped-out", 2)?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &job("stopped"))?;
    for _ in 0..3 {
        let before = newest(&folder.path().join("checkpoints"));
        let running = start(folder.path(), &["--quiet"])?;
        until("a new checkpoint", || {
            Ok(newest(&folder.path().join("checkpoints")) > before)
        })?;
        stop(running)?.expect_code(0)?;
    }
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    compare("stopped-out", "stopped three times")
}
