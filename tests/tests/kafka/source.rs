//! What a source does with topics that grow, go, come back, or have lost what is wanted of them.

use std::process::Child;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustix::process::Signal;
use wasmill_tests::{command, run, wait};

use crate::cluster::{
    brokers, committed, config, create, delete, expire, grow, produce, read_all, signal, start,
    stop, until, write_job,
};

/// A job that prints what it reads.
fn printing(name: &str, source: &str) -> String {
    format!(
        r#"
name = "{name}"
parallelism = 2
[source.in]
type = "kafka"
brokers = "BROKERS"
{source}
[sink.out]
from = "in"
type = "console"
format = "value"
"#
    )
}

/// A job that never ends by itself and copies what it reads, with checkpoints.
fn copying(name: &str, source: &str) -> String {
    format!(
        r#"
name = "{name}"
parallelism = 2
[checkpoint]
path = "checkpoints"
every = "100ms"
[source.in]
type = "kafka"
brokers = "BROKERS"
{source}
[sink.out]
from = "in"
type = "kafka"
brokers = "BROKERS"
topic = "{name}-out"
"#
    )
}

/// The summary without the line ends that make it fit the terminal.
fn unfolded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn values(topic: &str) -> Result<Vec<String>> {
    let seen = read_all(brokers(), topic)?;
    let mut values: Vec<String> = seen.into_iter().filter_map(|s| s.value).collect();
    values.sort();
    Ok(values)
}

fn put(topic: &str, records: &[(i32, &str)]) -> Result<()> {
    let records = records.iter().map(|(p, v)| (*p, "k", Some(*v), 1_000));
    produce(brokers(), topic, records)
}

#[test]
fn partitions_and_topics_that_come_while_the_job_runs_are_read_from_their_start() -> Result<()> {
    create(brokers(), "grow-in-a", 1)?;
    create(brokers(), "grow-out", 1)?;
    put("grow-in-a", &[(0, "first")])?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &copying("grow", "topics = \"grow-in-*\""))?;
    let job = start(folder.path(), &["--quiet"])?;
    until("the first record", || Ok(values("grow-out")? == ["first"]))?;
    grow(brokers(), "grow-in-a", 2)?;
    create(brokers(), "grow-in-b", 1)?;
    put("grow-in-a", &[(1, "second")])?;
    put("grow-in-b", &[(0, "third")])?;
    let all = ["first", "second", "third"];
    until("the others", || Ok(values("grow-out")? == all))?;
    // What can be seen is in a checkpoint: killed and started again, each is gone on with where it stood.
    signal(&job, Signal::KILL)?;
    wait(job)?;
    put("grow-in-b", &[(0, "two more")])?;
    let job = start(folder.path(), &["--quiet"])?;
    let all = ["first", "second", "third", "two more"];
    until("the last one", || Ok(values("grow-out")?.len() >= 4))?;
    stop(job)?.expect_code(0)?;
    ensure!(values("grow-out")? == all, "{:?}", values("grow-out")?);
    Ok(())
}

#[test]
fn topic_that_is_deleted_while_it_is_read_stops_the_job_with_its_position() -> Result<()> {
    create(brokers(), "gone-in", 1)?;
    create(brokers(), "gone-out", 1)?;
    put("gone-in", &[(0, "a"), (0, "b")])?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &copying("gone", "topics = \"gone-in\""))?;
    let job = start(folder.path(), &["--quiet"])?;
    until("it reads", || Ok(values("gone-out")?.len() == 2))?;
    delete(brokers(), "gone-in")?;
    let ended = wait(job)?.expect_code(1)?;
    ensure!(
        ended.stderr.contains("topic gone-in was deleted") && ended.stderr.contains("offset 2"),
        "{}",
        ended.said()
    );
    Ok(())
}

#[test]
fn topic_that_is_made_anew_while_it_is_read_stops_the_job_with_its_position() -> Result<()> {
    create(brokers(), "swapped-in", 1)?;
    create(brokers(), "swapped-out", 1)?;
    put("swapped-in", &[(0, "a"), (0, "b")])?;
    let folder = tempfile::tempdir()?;
    let text = copying("swapped", "topics = \"swapped-in\"");
    write_job(folder.path(), &text)?;
    let job = start(folder.path(), &["--quiet"])?;
    until("it reads", || Ok(values("swapped-out")?.len() == 2))?;
    delete(brokers(), "swapped-in")?;
    create(brokers(), "swapped-in", 1)?;
    // Beyond the position, too: nothing about the offsets tells that it is another log.
    put("swapped-in", &[(0, "c"), (0, "d"), (0, "e"), (0, "f")])?;
    let ended = wait(job)?.expect_code(1)?;
    ensure!(
        ended
            .stderr
            .contains("topic swapped-in was deleted and created again while it was read")
            && ended.stderr.contains("it stood at offset 2"),
        "{}",
        ended.said()
    );
    let seen = values("swapped-out")?;
    ensure!(seen == ["a", "b"], "read of another log: {seen:?}");
    Ok(())
}

#[test]
fn topic_that_was_made_anew_is_a_gap_unless_the_job_says_where_to_go_on() -> Result<()> {
    create(brokers(), "anew-in", 1)?;
    create(brokers(), "anew-out", 1)?;
    put("anew-in", &[(0, "a"), (0, "b")])?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &copying("anew", "topics = \"anew-in\""))?;
    let job = start(folder.path(), &["--quiet"])?;
    until("it reads", || Ok(values("anew-out")?.len() == 2))?;
    stop(job)?.expect_code(0)?;
    delete(brokers(), "anew-in")?;
    create(brokers(), "anew-in", 1)?;
    put("anew-in", &[(0, "c"), (0, "d"), (0, "e")])?;
    let refused = wait(start(folder.path(), &["--quiet"])?)?.expect_code(1)?;
    ensure!(
        refused
            .stderr
            .contains("deleted and created again since the checkpoint"),
        "{}",
        refused.said()
    );
    let job = start(folder.path(), &["--set", "source.in.on-gap=earliest"])?;
    let all = ["a", "b", "c", "d", "e"];
    until("the new ones", || Ok(values("anew-out")? == all))?;
    let ended = stop(job)?.expect_code(0)?;
    ensure!(
        unfolded(&ended.stderr).contains("going on at offset 0, as on-gap says"),
        "told loudly: {}",
        ended.said()
    );
    Ok(())
}

#[test]
fn records_that_expired_since_the_checkpoint_are_a_gap_that_says_how_many() -> Result<()> {
    create(brokers(), "expired-in", 1)?;
    create(brokers(), "expired-out", 1)?;
    put("expired-in", &[(0, "a")])?;
    let folder = tempfile::tempdir()?;
    write_job(
        folder.path(),
        &copying("expired", "topics = \"expired-in\""),
    )?;
    let job = start(folder.path(), &["--quiet"])?;
    until("it reads", || Ok(values("expired-out")?.len() == 1))?;
    stop(job)?.expect_code(0)?;
    put("expired-in", &[(0, "b"), (0, "c"), (0, "d")])?;
    expire(brokers(), "expired-in", 0, 3)?;
    let refused = wait(start(folder.path(), &["--quiet"])?)?.expect_code(1)?;
    ensure!(
        refused
            .stderr
            .contains("stands at offset 1, the topic begins at 3: 2 records are gone"),
        "{}",
        refused.said()
    );
    let job = start(
        folder.path(),
        &["--quiet", "--set", "source.in.on-gap=latest"],
    )?;
    until("it runs", || {
        put("expired-in", &[(0, "e")])?;
        Ok(values("expired-out")?.len() > 1)
    })?;
    stop(job)?.expect_code(0)?;
    let seen = values("expired-out")?;
    ensure!(!seen.contains(&"d".to_owned()), "{seen:?}");
    Ok(())
}

/// Gives a job's partition other records while it stands still: these come, and all before an offset go.
fn overtake(job: &Child, topic: &str, values: &[(i32, &str)], before: i64) -> Result<()> {
    signal(job, Signal::STOP)?;
    // What it had asked the broker for by then comes back empty.
    thread::sleep(Duration::from_secs(1));
    put(topic, values)?;
    expire(brokers(), topic, 0, before)?;
    signal(job, Signal::CONT)
}

#[test]
fn records_that_expire_ahead_of_a_running_job_stop_it_unless_it_says_where_to_go_on() -> Result<()>
{
    let (from, to) = ("overtaken-in", "overtaken-out");
    create(brokers(), from, 1)?;
    create(brokers(), to, 1)?;
    put(from, &[(0, "a"), (0, "b")])?;
    let folder = tempfile::tempdir()?;
    let text = copying("overtaken", "topics = \"overtaken-in\"");
    write_job(folder.path(), &text)?;
    let job = start(folder.path(), &["--quiet"])?;
    until("it reads", || Ok(values(to)?.len() == 2))?;
    overtake(&job, from, &[(0, "c"), (0, "d"), (0, "e")], 4)?;
    let ended = wait(job)?.expect_code(1)?;
    ensure!(
        ended
            .stderr
            .contains("overtaken-in[0]: offset 2 is not in the topic, which has 4 to 5 (on-gap ="),
        "{}",
        ended.said()
    );
    ensure!(values(to)? == ["a", "b"], "nothing was skipped");

    let job = start(folder.path(), &["--set", "source.in.on-gap=earliest"])?;
    until("it goes on", || Ok(values(to)? == ["a", "b", "e"]))?;
    overtake(&job, from, &[(0, "f"), (0, "g"), (0, "h")], 7)?;
    until("it goes on again", || {
        Ok(values(to)? == ["a", "b", "e", "h"])
    })?;
    let ended = stop(job)?.expect_code(0)?;
    let told =
        "offset 5 is not in the topic, which has 7 to 8; going on at offset 7, as on-gap says";
    ensure!(unfolded(&ended.stderr).contains(told), "{}", ended.said());
    Ok(())
}

#[test]
fn runs_begin_and_end_at_times_and_offsets() -> Result<()> {
    create(brokers(), "bounds-in", 2)?;
    let records: Vec<(i32, String, i64)> = (0..10)
        .flat_map(|i| {
            [
                (0, format!("a{i}"), (i + 1) * 1_000),
                (1, format!("b{i}"), (i + 1) * 1_000),
            ]
        })
        .collect();
    let all = records
        .iter()
        .map(|(p, v, t)| (*p, "k", Some(v.as_str()), *t));
    produce(brokers(), "bounds-in", all)?;
    let cases = [
        (
            "start = { timestamp = 8000 }\nend = \"latest\"",
            "a7 a8 a9 b7 b8 b9",
        ),
        (
            "start = { timestamp = \"1970-01-01T00:00:04Z\" }\nend = { timestamp = 6000 }",
            "a3 a4 b3 b4",
        ),
        (
            "start = { offsets = { \"0\" = 8, \"1\" = 9 } }\nend = \"latest\"",
            "a8 a9 b9",
        ),
        ("end = { offsets = { \"0\" = 1, \"1\" = 2 } }", "a0 b0 b1"),
        ("start = \"latest\"\nend = \"latest\"", ""),
        ("start = { timestamp = 99000 }\nend = \"latest\"", ""),
    ];
    for (bounds, expected) in cases {
        let folder = tempfile::tempdir()?;
        let text = printing("bounds", &format!("topics = [\"bounds-in\"]\n{bounds}"));
        write_job(folder.path(), &text)?;
        let ended = run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?;
        let ended = ended.expect_code(0)?;
        let mut lines: Vec<&str> = ended.stdout.lines().collect();
        lines.sort_unstable();
        ensure!(lines.join(" ") == expected, "{bounds}: {lines:?}");
    }
    Ok(())
}

#[test]
fn records_of_transactions_that_were_given_up_come_only_where_a_job_asks_for_all() -> Result<()> {
    create(brokers(), "decided-in", 1)?;
    let wait = wasmill_tests::limit();
    let producer: BaseProducer = config(brokers())
        .set("transactional.id", "decided")
        .create()?;
    producer.init_transactions(wait)?;
    for (value, commit) in [("a", true), ("given-up", false), ("b", true)] {
        producer.begin_transaction()?;
        let record = BaseRecord::<str, str>::to("decided-in").payload(value);
        producer.send(record).map_err(|(e, _)| e)?;
        producer.flush(wait)?;
        if commit {
            producer.commit_transaction(wait)?;
        } else {
            producer.abort_transaction(wait)?;
        }
    }
    for (isolation, expected) in [
        ("", "a\nb\n"),
        ("isolation = \"read-committed\"", "a\nb\n"),
        ("isolation = \"read-uncommitted\"", "a\ngiven-up\nb\n"),
    ] {
        let folder = tempfile::tempdir()?;
        let source = format!("topics = \"decided-in\"\nend = \"latest\"\n{isolation}");
        write_job(folder.path(), &printing("decided", &source))?;
        let ended = run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?;
        let out = ended.expect_code(0)?.stdout;
        ensure!(out == expected, "{isolation}: {out:?}");
    }
    Ok(())
}

#[test]
fn keys_headers_times_and_null_values_go_through_a_job_unchanged() -> Result<()> {
    create(brokers(), "whole-in", 1)?;
    create(brokers(), "whole-out", 1)?;
    let producer: BaseProducer = config(brokers()).create()?;
    let headers = || {
        OwnedHeaders::new()
            .insert(Header {
                key: "trace",
                value: Some("1"),
            })
            .insert(Header {
                key: "trace",
                value: Some("2"),
            })
    };
    let full = BaseRecord::<str, str>::to("whole-in")
        .partition(0)
        .key("k")
        .payload("v")
        .timestamp(5_000)
        .headers(headers());
    let tombstone = BaseRecord::<str, str>::to("whole-in")
        .partition(0)
        .key("k")
        .timestamp(6_000);
    let keyless = BaseRecord::<str, str>::to("whole-in")
        .partition(0)
        .payload("")
        .timestamp(7_000);
    for record in [full, tombstone, keyless] {
        producer.send(record).map_err(|(e, _)| e)?;
    }
    producer.flush(Duration::from_secs(30))?;
    let folder = tempfile::tempdir()?;
    let source = "topics = \"whole-in\"\nend = \"latest\"";
    write_job(folder.path(), &copying("whole", source))?;
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    let (before, after) = (
        read_all(brokers(), "whole-in")?,
        read_all(brokers(), "whole-out")?,
    );
    ensure!(before == after && after.len() == 3, "{before:?}\n{after:?}");
    ensure!(
        after[0].headers.len() == 2 && after[1].value.is_none(),
        "{after:?}"
    );
    ensure!(after[2].key.is_none(), "{after:?}");
    let bare = copying("whole", &format!("{source}\nheaders = false"));
    write_job(folder.path(), &bare)?;
    run(
        command(
            folder.path(),
            ["run", "job.toml", "--quiet", "--restore", "none"],
        ),
        b"",
    )?
    .expect_code(0)?;
    let without = read_all(brokers(), "whole-out")?;
    ensure!(without.len() == 6, "{without:?}");
    ensure!(
        without[3].value == after[0].value && without[3].headers.is_empty(),
        "{without:?}"
    );
    Ok(())
}

#[test]
fn progress_tells_how_many_records_wait() -> Result<()> {
    create(brokers(), "lag-in", 1)?;
    let records = (0..1_500_000).map(|_| (0, "k", Some("v"), 1_000));
    produce(brokers(), "lag-in", records)?;
    let folder = tempfile::tempdir()?;
    // Batches this small take longer than the first report.
    let text = printing("lag", "topics = \"lag-in\"\ngroup = \"lag\"")
        .replace(
            "parallelism = 2",
            "parallelism = 1\nbatch = { records = 1 }\n[checkpoint]\npath = \"checkpoints\"\nevery = \"200ms\"",
        )
        .replace(
            "type = \"console\"\nformat = \"value\"",
            "type = \"blackhole\"",
        );
    write_job(folder.path(), &text)?;
    let job = start(folder.path(), &["--json"])?;
    // Progress is told twice a second: some of it while it still reads, some when there is nothing left to read.
    let group = || committed(brokers(), "lag", "lag-in", 1);
    let all = || Ok(group().is_ok_and(|g| g == [1_500_000]));
    until("the group has all", all)?;
    thread::sleep(Duration::from_secs(1));
    let ended = stop(job)?.expect_code(0)?;
    let behind: Vec<u64> = ended
        .stderr
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
        .filter_map(|v| v["progress"]["behind"].as_u64())
        .collect();
    ensure!(behind.last() == Some(&0), "{behind:?}");
    ensure!(behind.iter().any(|b| *b > 0), "{behind:?}");
    Ok(())
}
