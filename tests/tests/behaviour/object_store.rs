//! Checkpoints in an S3-compatible store: killed, frozen, and with the store away.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use wasmill_tests::{command, lines_of_parts, run, wait};

use crate::s3_server::Server;
use crate::savepoints::{paced, unpaced};

fn job(records: u32, rate: u32) -> String {
    let head = r#"
name = "remote"
parallelism = 2
[checkpoint]
path = "s3://jobs/some/prefix"
every = "50ms"
keep = 2
"#;
    paced(head, records, rate)
}

fn wasmill(server: &Server, folder: &Path, parallelism: usize) -> Command {
    let parallelism = format!("parallelism={parallelism}");
    let mut command = command(
        folder,
        ["run", "job.toml", "--quiet", "--set", &parallelism],
    );
    server.known_to(&mut command);
    command
}

fn started(mut command: Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start wasmill")
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(child.id().cast_signed()).context("a pid")?;
    kill_process(pid, signal).context("signal")
}

/// Waits until there is a checkpoint after those named.
fn next_manifest(server: &Server, after: usize) -> Result<()> {
    for _ in 0..12_000 {
        let names = server.names("some/prefix").unwrap_or_default();
        let last = names.iter().rfind(|n| n.starts_with("manifest-"));
        let epoch = last.and_then(|n| n["manifest-".len()..].parse::<usize>().ok());
        if epoch.is_some_and(|epoch| epoch > after) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    anyhow::bail!("no checkpoint after {after} within a minute")
}

/// What the job writes undisturbed.
fn golden(job: &str) -> Result<Vec<String>> {
    let server = Server::start()?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), job)?;
    run(wasmill(&server, folder.path(), 2), b"")?.expect_code(0)?;
    let names = server.names("some/prefix")?;
    ensure!(
        names.iter().any(|n| n.starts_with("manifest-")) && names.iter().any(|n| n == "lease"),
        "in the store: {names:?}"
    );
    lines_of_parts(&folder.path().join("out"))
}

fn same(golden: &[String], folder: &Path) -> Result<()> {
    let got = lines_of_parts(&folder.join("out"))?;
    let lost = golden.iter().find(|l| !got.contains(l));
    let more = got.iter().find(|l| !golden.contains(l));
    ensure!(
        got == golden,
        "{} lines instead of {}; lost {lost:?}, more {more:?}; folder: {:?}",
        got.len(),
        golden.len(),
        fs::read_dir(folder.join("out"))?
            .filter_map(|e| Some((e.as_ref().ok()?.file_name(), e.ok()?.metadata().ok()?.len())))
            .collect::<Vec<_>>()
    );
    Ok(())
}

#[test]
fn job_with_checkpoints_in_a_bucket_killed_at_steps_of_a_commit_goes_on_exactly() -> Result<()> {
    let job = job(6_000, 20_000);
    let golden = golden(&job)?;
    let (server, folder) = (Server::start()?, tempfile::tempdir()?);
    fs::write(folder.path().join("job.toml"), &job)?;
    let points = [
        "state-stored:3",
        "states-stored:2",
        "manifest-stored:2",
        "part-published:2",
    ];
    for (number, point) in points.into_iter().enumerate() {
        let mut command = wasmill(&server, folder.path(), [1, 3, 2][number % 3]);
        command.env("WASMILL_CRASH_AT", point);
        let ended = run(command, b"")?;
        ensure!(
            ended.status.code().is_none_or(|code| code == 0),
            "{point}: {}",
            ended.said()
        );
    }
    run(wasmill(&server, folder.path(), 2), b"")?.expect_code(0)?;
    same(&golden, folder.path())?;
    let said = run(wasmill(&server, folder.path(), 2), b"")?.expect_code(0)?;
    ensure!(
        lines_of_parts(&folder.path().join("out"))? == golden,
        "{}",
        said.said()
    );
    Ok(())
}

#[test]
fn process_frozen_past_its_lease_leaves_nothing_visible_when_it_thaws() -> Result<()> {
    let job = job(60_000, 2_000);
    let golden = golden(&unpaced(&job))?;
    let (server, folder) = (Server::start()?, tempfile::tempdir()?);
    fs::write(folder.path().join("job.toml"), &job)?;
    let frozen = started(wasmill(&server, folder.path(), 2))?;
    next_manifest(&server, 1)?;
    signal(&frozen, Signal::STOP)?;
    let refused = run(wasmill(&server, folder.path(), 2), b"")?.expect_code(1)?;
    ensure!(
        refused.stderr.contains(&format!("pid {}", frozen.id())),
        "it says: {}",
        refused.stderr
    );
    // The lease runs out: half a minute that nobody waits for.
    let lease = server.objects().join("some/prefix/lease");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&lease)?)?;
    record["until"] = 0.into();
    fs::write(&lease, serde_json::to_vec(&record)?)?;
    let next = started(wasmill(&server, folder.path(), 3))?;
    next_manifest(&server, 4)?;
    signal(&frozen, Signal::CONT)?;
    let frozen = wait(frozen)?.expect_code(1)?;
    ensure!(
        frozen.stderr.contains("took over") || frozen.stderr.contains("taken the job over"),
        "it says: {}",
        frozen.stderr
    );
    signal(&next, Signal::TERM)?;
    wait(next)?.expect_code(0)?;
    fs::write(folder.path().join("job.toml"), unpaced(&job))?;
    run(wasmill(&server, folder.path(), 2), b"")?.expect_code(0)?;
    same(&golden, folder.path())?;
    Ok(())
}

#[test]
fn store_that_is_away_delays_checkpoints_loudly_and_the_job_goes_on_by_itself() -> Result<()> {
    let job = job(60_000, 2_000);
    let golden = golden(&unpaced(&job))?;
    let (server, folder) = (Server::start()?, tempfile::tempdir()?);
    fs::write(folder.path().join("job.toml"), &job)?;
    let running = started(wasmill(&server, folder.path(), 2))?;
    next_manifest(&server, 1)?;
    server.set_down(true);
    // Longer than a request is tried for.
    std::thread::sleep(Duration::from_millis(2_500));
    server.set_down(false);
    // When the one under way is stored, the job can be stopped, and what is left goes on unpaced.
    let last = server.names("some/prefix")?;
    let last = last.iter().rfind(|n| n.starts_with("manifest-"));
    let last = last.context("a checkpoint")?["manifest-".len()..].parse()?;
    next_manifest(&server, last)?;
    signal(&running, Signal::TERM)?;
    let ended = wait(running)?.expect_code(0)?;
    ensure!(
        ended.stderr.contains("waits for the store") && ended.stderr.contains("waits no longer"),
        "it says: {}",
        ended.stderr
    );
    fs::write(folder.path().join("job.toml"), unpaced(&job))?;
    run(wasmill(&server, folder.path(), 2), b"")?.expect_code(0)?;
    same(&golden, folder.path())?;

    // A bound on the age ends it instead.
    let folder = tempfile::tempdir()?;
    let bounded = job.replace("keep = 2", "keep = 2\nmax-age = \"1s\"");
    fs::write(
        folder.path().join("job.toml"),
        bounded.replace("some/prefix", "another"),
    )?;
    let running = started(wasmill(&server, folder.path(), 2))?;
    while server.names("another").unwrap_or_default().len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    server.set_down(true);
    let ended = wait(running)?.expect_code(1)?;
    ensure!(
        ended.stderr.contains("max-age"),
        "it says: {}",
        ended.stderr
    );
    Ok(())
}

#[test]
fn slow_store_gives_fewer_checkpoints_and_the_same_lines() -> Result<()> {
    let job = job(12_000, 12_000);
    let golden = golden(&job)?;
    let (server, folder) = (Server::start()?, tempfile::tempdir()?);
    fs::write(folder.path().join("job.toml"), &job)?;
    server.set_delay(80);
    let begin = Instant::now();
    run(wasmill(&server, folder.path(), 2), b"")?.expect_code(0)?;
    let elapsed = begin.elapsed();
    same(&golden, folder.path())?;
    // Every 50 ms, were the store quick; but a checkpoint takes some requests, one after the other.
    let names = server.names("some/prefix")?;
    let last = names.iter().rfind(|n| n.starts_with("manifest-"));
    let last: u128 = last.context("a checkpoint")?["manifest-".len()..].parse()?;
    ensure!(
        last * 160 < elapsed.as_millis(),
        "{last} checkpoints within {elapsed:?}, of a store that needs more than 160 ms for one"
    );
    Ok(())
}

#[test]
fn savepoint_goes_into_a_bucket_and_a_job_starts_from_there() -> Result<()> {
    let job = job(60_000, 2_000);
    let golden = golden(&unpaced(&job))?;
    let (server, folder) = (Server::start()?, tempfile::tempdir()?);
    fs::write(folder.path().join("job.toml"), &job)?;
    // Jobs are found by the place of their checkpoints: the same bucket of another store is another place.
    let elsewhere = (Server::start()?, tempfile::tempdir()?);
    fs::write(elsewhere.1.path().join("job.toml"), &job)?;
    let mut other = started(wasmill(&elsewhere.0, elsewhere.1.path(), 1))?;
    let running = started(wasmill(&server, folder.path(), 1))?;
    next_manifest(&server, 1)?;
    next_manifest(&elsewhere.0, 1)?;
    let place = "s3://jobs/kept/before-the-change";
    let of_server = |arguments: &[&str]| {
        let mut command = command(folder.path(), arguments);
        server.known_to(&mut command);
        run(command, b"")
    };
    let asked = ["savepoint", "job.toml", "--stop", "--to", place];
    // It listens a moment after its first checkpoint.
    let taken = (0..200).find_map(|_| {
        let ended = of_server(&asked);
        let waits = matches!(&ended, Ok(e) if e.status.code() == Some(3));
        waits.then(|| std::thread::sleep(Duration::from_millis(20)));
        (!waits).then_some(ended)
    });
    taken.context("the job does not listen")??.expect_code(0)?;
    wait(running)?.expect_code(0)?;
    ensure!(other.try_wait()?.is_none(), "the other store's job stopped");
    ensure!(
        elsewhere.0.names("kept").is_err(),
        "it is in the other store"
    );
    other.kill()?;
    wait(other)?;
    let names = server.names("kept/before-the-change")?;
    ensure!(
        names.iter().any(|n| n.starts_with("manifest-")),
        "{names:?}"
    );
    of_server(&["checkpoint", "verify", place])?.expect_code(0)?;
    let listed = of_server(&["checkpoint", "list", place])?.expect_code(0)?;
    ensure!(listed.stdout.contains("epoch"), "{}", listed.stdout);

    // Another place for checkpoints: all that there is, is the savepoint.
    let moved = unpaced(&job).replace("some/prefix", "another");
    fs::write(folder.path().join("job.toml"), moved)?;
    let mut command = wasmill(&server, folder.path(), 3);
    command.args(["--restore", place]);
    run(command, b"")?.expect_code(0)?;
    same(&golden, folder.path())?;
    // Nobody writes to a savepoint.
    ensure!(server.names("kept/before-the-change")? == names);
    let nothing = of_server(&["run", "job.toml", "--restore", "s3://jobs/kept/nothing"])?;
    let said = nothing.expect_code(1)?.stderr;
    ensure!(said.contains("s3://jobs/kept/nothing"), "it says: {said}");
    Ok(())
}
