//! A cluster that calls a transaction given up without having told it to the partitions: what a broker does that died
//! together with the cluster's only controller, and that tries to end transactions before it knows its topics again.

use std::fs;

use anyhow::{Result, ensure};
use wasmill_tests::kafka::{Broker, Life, Settings};
use wasmill_tests::{command, run, wait};

use crate::cluster::{create, produce, read_all, spawn};

const RECORDS: usize = 2_000;

const JOB: &str = r#"
name = "forgotten"
[checkpoint]
path = "checkpoints"
every = "1h"
[source.in]
type = "kafka"
brokers = "BROKERS"
topics = "forgotten-in"
end = "latest"
[sink.out]
from = "in"
type = "kafka"
brokers = "BROKERS"
topic = "forgotten-out"
"#;

#[test]
fn results_of_a_transaction_that_the_cluster_forgot_do_not_come_twice() -> Result<()> {
    let data = tempfile::tempdir()?;
    let mut broker = Broker::start(data.path(), &Settings::default(), Life::Ours)?;
    let own = broker.address().to_owned();
    for topic in ["forgotten-in", "forgotten-out"] {
        create(&own, topic, 3)?;
    }
    let texts: Vec<String> = (0..RECORDS).map(|i| format!("{i:05}")).collect();
    let records = texts.iter().zip((0..3).cycle());
    let records = records.map(|(text, p)| (p, text.as_str(), Some(text.as_str()), 1_000));
    produce(&own, "forgotten-in", records)?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("job.toml"), JOB.replace("BROKERS", &own))?;
    let killed_at = |point: &str| -> Result<()> {
        let mut command = command(folder.path(), ["run", "job.toml", "--quiet"]);
        command.env("WASMILL_CRASH_AT", format!("{point}:1"));
        let ended = wait(spawn(command)?)?;
        ensure!(ended.status.code().is_none(), "{point}: {}", ended.said());
        Ok(())
    };
    let log = data
        .path()
        .join("log/__transaction_state-0/00000000000000000000.log");
    killed_at("transactions-taken-over")?;
    let before = fs::metadata(&log)?.len();
    // All results are written, and their transaction is open.
    killed_at("transaction-offsets-sent")?;
    broker.kill()?;
    let file = fs::File::options().write(true).open(&log)?;
    ensure!(file.metadata()?.len() > before, "the log tells of it");
    file.set_len(before)?;
    broker.restart()?;
    // The producer's epoch is now the one that the open transaction has; the next start's is above it.
    killed_at("transactions-taken-over")?;
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    let seen = read_all(&own, "forgotten-out")?;
    let mut seen: Vec<String> = seen.into_iter().filter_map(|s| s.value).collect();
    seen.sort();
    ensure!(seen == texts, "{} results of {RECORDS} records", seen.len());
    Ok(())
}
