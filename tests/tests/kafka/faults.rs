//! What goes wrong with a cluster, and what a job makes of it: it goes on by itself, and nothing is lost or comes twice.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use wasmill_tests::kafka::{Broker, Life, Settings, outage};
use wasmill_tests::wait;

use crate::cluster::{
    Undecided, brokers, config, create, create_as, produce, signal, start, until, write_job,
};
use crate::owners::{at_work, newest};
use crate::sums::{FED, Feed, compare, compare_on, fill, job, job_of_feed};

/// Runs the job while its input comes and something happens to the cluster. Each result must be there once.
fn through(
    name: &str,
    cluster: &mut [Broker],
    happens: impl FnOnce(&mut [Broker], &Path, &Child) -> Result<()>,
) -> Result<()> {
    let addresses: Vec<&str> = cluster.iter().map(Broker::address).collect();
    let (all, out) = (addresses.join(","), format!("{name}-out"));
    let copies = cluster.len() as i32;
    let feed = Feed::start(&all, copies)?;
    create_as(&config(&all), &out, 3, copies)?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("job.toml"), job_of_feed(name, &all))?;
    let child = start(folder.path(), &["--quiet"])?;
    let checkpoints = folder.path().join("checkpoints");
    let happened = at_work(&checkpoints).and_then(|()| happens(cluster, &checkpoints, &child));
    if happened.is_err() {
        signal(&child, Signal::KILL)?;
    } else {
        feed.finish()?;
    }
    let ended = wait(child)?;
    happened.with_context(|| ended.said())?;
    let ended = ended.expect_code(0)?;
    compare_on(&all, &out, FED, &ended.said())
}

#[test]
fn job_goes_on_by_itself_when_the_broker_was_killed_and_comes_back() -> Result<()> {
    let data = tempfile::tempdir()?;
    let broker = Broker::start(data.path(), &Settings::default(), Life::Ours)?;
    let mut cluster = [broker];
    // A broker that is the only controller, too, has been seen to come back from its death amidst a commit with the
    // transaction complete, but for a partition that it did not know yet when it wrote the markers: its results were lost,
    // whatever the client. So it dies with a transaction open and none under way to its end; three brokers die at any moment.
    let held = through("broker", &mut cluster, |cluster, _, job| {
        signal(job, Signal::STOP)?;
        std::thread::sleep(Duration::from_millis(500));
        cluster[0].kill()?;
        signal(job, Signal::CONT)?;
        std::thread::sleep(outage());
        cluster[0].restart()
    });
    if held.is_err() {
        // The broker's logs say what it did with the transactions.
        cluster[0].kill()?;
        eprintln!("kept: {}", data.keep().display());
    }
    held
}

#[test]
fn job_goes_on_by_itself_when_leaders_and_coordinators_move_between_three_brokers() -> Result<()> {
    let data = tempfile::tempdir()?;
    let mut cluster = Broker::cluster(data.path(), 3)?;
    let held = through("moved", &mut cluster, |cluster, checkpoints, _| {
        // The first one is the controller; every partition, coordinators' ones too, has copies on all three.
        for moved in [1, 2] {
            cluster[moved].kill()?;
            std::thread::sleep(outage());
            cluster[moved].restart()?;
            let before = newest(checkpoints);
            until("a checkpoint since", || Ok(newest(checkpoints) > before))?;
        }
        if outage().is_zero() {
            return Ok(());
        }
        // In a soak, all of them are away at once, too, for longer than the transaction may take.
        for broker in cluster.iter_mut() {
            broker.kill()?;
        }
        std::thread::sleep(outage());
        std::thread::scope(|scope| {
            let all: Vec<_> = cluster
                .iter_mut()
                .map(|broker| scope.spawn(move || broker.restart()))
                .collect();
            all.into_iter()
                .try_for_each(|one| one.join().expect("no panic"))
        })
    });
    if held.is_err() {
        for broker in &mut cluster {
            broker.kill()?;
        }
        eprintln!("kept: {}", data.keep().display());
    }
    held
}

/// A job that was frozen in the middle of a transaction until the broker gave that up; it goes on now.
fn slept(name: &str) -> Result<(tempfile::TempDir, Child)> {
    let out = format!("{name}-out");
    fill()?;
    create(brokers(), &out, 2)?;
    let folder = tempfile::tempdir()?;
    let client = "\n[sink.out.client]\ntransaction.timeout.ms = 1500\n";
    write_job(folder.path(), &format!("{}{client}", job(name)))?;
    let child = start(folder.path(), &["--quiet"])?;
    at_work(&folder.path().join("checkpoints"))?;
    let undecided = Undecided::new(brokers(), &out)?;
    until("frozen in the middle of a transaction", || {
        if !undecided.look(2)? {
            return Ok(false);
        }
        signal(&child, Signal::STOP)?;
        // What it had asked the broker for by then happens all the same.
        std::thread::sleep(Duration::from_millis(200));
        let frozen = undecided.look(2)?;
        if !frozen {
            signal(&child, Signal::CONT)?;
        }
        Ok(frozen)
    })?;
    until("given up by the broker", || Ok(!undecided.look(2)?))?;
    signal(&child, Signal::CONT)?;
    Ok((folder, child))
}

#[test]
fn job_whose_transaction_timed_out_starts_itself_again_and_writes_each_result_once() -> Result<()> {
    let (_folder, child) = slept("slept")?;
    let ended = wait(child)?.expect_code(0)?;
    ensure!(
        ended
            .stderr
            .contains("starts again from its last checkpoint"),
        "{}",
        ended.said()
    );
    compare("slept-out", &ended.said())
}

#[test]
fn first_interrupt_ends_a_job_that_waits_to_be_started_again() -> Result<()> {
    let (_folder, mut child) = slept("given-up")?;
    let mut said = BufReader::new(child.stderr.take().context("stderr")?).lines();
    let mut before = String::new();
    for line in said.by_ref() {
        before += &line?;
        if before.contains("starts again from its last checkpoint") {
            break;
        }
    }
    signal(&child, Signal::INT)?;
    let rest: Vec<String> = said.collect::<Result<_, _>>()?;
    let rest = rest.join("\n");
    let ended = wait(child)?;
    // On a slow machine the pause may be over: a start is not stopped in good order.
    let in_pause = rest.contains("stopped before it was started again");
    let code = if in_pause { 1 } else { 130 };
    ensure!(
        ended.status.code() == Some(code),
        "{before}\n{rest}\n{}",
        ended.said()
    );
    Ok(())
}

#[test]
fn job_whose_reader_is_slow_holds_little_and_loses_nothing() -> Result<()> {
    const RECORDS: usize = 120_000;
    create(brokers(), "slow-in", 2)?;
    let text = "x".repeat(1_000);
    let records = (0..RECORDS).map(|i| ((i % 2) as i32, "k", Some(text.as_str()), 1_000));
    produce(brokers(), "slow-in", records)?;
    let folder = tempfile::tempdir()?;
    write_job(
        folder.path(),
        r#"
name = "slow"
parallelism = 2
[source.in]
type = "kafka"
brokers = "BROKERS"
topics = "slow-in"
end = "latest"
[sink.out]
from = "in"
type = "console"
format = "value"
"#,
    )?;
    // Nobody reads what it prints.
    let mut child = start(folder.path(), &["--quiet"])?;
    let status = format!("/proc/{}/status", child.id());
    let resident = || -> Result<u64> {
        let text = std::fs::read_to_string(&status)?;
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.split_whitespace().next());
        Ok(kib.context("no VmRSS")?.parse::<u64>()? / 1024)
    };
    std::thread::sleep(Duration::from_secs(4));
    let held = resident()?;
    let mut out = String::new();
    child
        .stdout
        .take()
        .context("stdout")?
        .read_to_string(&mut out)?;
    wait(child)?.expect_code(0)?;
    println!("held {held} MiB of 120 MB");
    ensure!(
        out.lines().count() == RECORDS,
        "{} lines",
        out.lines().count()
    );
    ensure!(held < 100, "it holds {held} MiB of 120 MB");
    Ok(())
}
