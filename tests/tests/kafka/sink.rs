//! What a sink makes of records: topics, keys, partitions, compression; and records that a topic does not take.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use wasmill_tests::{Ended, command, kafka, run, wait};

use crate::cluster::{Seen, brokers, create, read_all, spawn, write_job};

/// Lines of a file into a topic.
fn job(name: &str, source: &str, sink: &str) -> String {
    format!(
        r#"
name = "{name}"
parallelism = 2
[checkpoint]
path = "checkpoints"
every = "200ms"
[source.in]
type = "file"
path = "in.jsonl"
{source}
[sink.out]
from = "in"
type = "kafka"
brokers = "BROKERS"
{sink}
"#
    )
}

fn write_through(name: &str, source: &str, sink: &str, lines: &str) -> Result<Ended> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("in.jsonl"), lines)?;
    write_job(folder.path(), &job(name, source, sink))?;
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")
}

#[test]
fn records_name_their_topic_and_have_key_and_timestamp() -> Result<()> {
    for topic in ["named-a", "named-b", "named-rest"] {
        create(brokers(), topic, 1)?;
    }
    let lines = r#"{"to":"named-a","k":"x","t":1000}
{"to":"named-b","k":"y","t":2000}
{"k":"z","t":3000}
{"to":7,"k":"z","t":4000}
"#;
    let source = "format = \"json\"\nkey = \"/k\"\ntimestamp = \"/t\"";
    let sink = "topic-from = \"/to\"\ntopic = \"named-rest\"";
    write_through("named", source, sink, lines)?.expect_code(0)?;
    let short = |seen: Vec<Seen>| -> Vec<(String, i64)> {
        let short = seen.into_iter();
        short
            .map(|s| (s.key.unwrap_or_default(), s.timestamp.unwrap_or(-1)))
            .collect()
    };
    let read = |topic: &str| -> Result<_> { Ok(short(read_all(brokers(), topic)?)) };
    ensure!(read("named-a")? == [("x".into(), 1_000)], "a");
    ensure!(read("named-b")? == [("y".into(), 2_000)], "b");
    ensure!(
        read("named-rest")? == [("z".into(), 3_000), ("z".into(), 4_000)],
        "rest"
    );
    Ok(())
}

#[test]
fn record_that_names_no_topic_where_the_sink_has_none_stops_the_job() -> Result<()> {
    let ended = write_through("nameless", "", "topic-from = \"/to\"", "{\"k\":1}\n");
    // Without a fixed topic and without a source of the cluster, exactly once has nowhere to keep its marker.
    let ended = ended?.expect_code(2)?;
    ensure!(ended.stderr.contains("topic"), "{}", ended.said());
    let sink = "topic-from = \"/to\"\ndelivery = \"at-least-once\"";
    let ended = write_through("nameless", "", sink, "{\"k\":1}\n")?.expect_code(1)?;
    ensure!(ended.stderr.contains("names no topic"), "{}", ended.said());
    Ok(())
}

#[test]
fn keys_go_to_the_partitions_that_the_java_client_chooses() -> Result<()> {
    const PARTITIONS: i32 = 7;
    create(brokers(), "java-keys", PARTITIONS)?;
    create(brokers(), "our-keys", PARTITIONS)?;
    let keys: Vec<String> = (0..3_000)
        .map(|i: u32| match i % 4 {
            0 => format!("{i}"),
            1 => format!("key-{}", "x".repeat(i as usize % 40)) + &i.to_string(),
            2 => format!("ключ {i} 鍵"),
            _ => format!("{:08x}", i.wrapping_mul(0x9e37_79b9)),
        })
        .collect();
    let mut java = kafka::tool("org.apache.kafka.tools.ConsoleProducer")?;
    java.args(["--bootstrap-server", brokers(), "--topic", "java-keys"])
        .args(["--reader-property", "parse.key=true"])
        .env("LC_ALL", "C.UTF-8");
    let lines: String = keys.iter().map(|k| format!("{k}\t1\n")).collect();
    run(java, lines.as_bytes())?.expect_code(0)?;
    let lines: String = keys
        .iter()
        .map(|k| format!("{{\"k\":\"{k}\"}}\n"))
        .collect();
    let source = "format = \"json\"\nkey = \"/k\"";
    write_through("keys", source, "topic = \"our-keys\"", &lines)?.expect_code(0)?;
    let placed = |topic: &str| -> Result<BTreeMap<String, i32>> {
        let seen = read_all(brokers(), topic)?;
        Ok(seen
            .into_iter()
            .filter_map(|s| Some((s.key?, s.partition)))
            .collect())
    };
    let (theirs, ours) = (placed("java-keys")?, placed("our-keys")?);
    ensure!(theirs.len() == keys.len(), "{} keys by Java", theirs.len());
    ensure!(theirs == ours, "keys in other partitions");
    let used: std::collections::BTreeSet<i32> = ours.into_values().collect();
    ensure!(used.len() == PARTITIONS as usize, "{used:?}");
    Ok(())
}

#[test]
fn java_consumer_reads_every_compression_and_only_what_is_committed() -> Result<()> {
    create(brokers(), "packed", 1)?;
    let mut expected = Vec::new();
    for compression in ["none", "lz4", "zstd", "snappy", "gzip"] {
        let lines: Vec<String> = (0..200).map(|i| format!("{compression} {i}")).collect();
        let sink = format!("topic = \"packed\"\ncompression = \"{compression}\"");
        let name = format!("packed-{compression}");
        write_through(&name, "", &sink, &(lines.join("\n") + "\n"))?.expect_code(0)?;
        expected.extend(lines);
    }
    let mut java = kafka::tool("org.apache.kafka.tools.consumer.ConsoleConsumer")?;
    java.args(["--bootstrap-server", brokers(), "--topic", "packed"])
        .args(["--from-beginning", "--max-messages", "1000"])
        .args(["--isolation-level", "read_committed"]);
    let said = run(java, b"")?.expect_code(0)?.stdout;
    let lines: Vec<&str> = said.lines().collect();
    ensure!(lines == expected, "{} lines, or others", lines.len());
    Ok(())
}

#[test]
fn record_that_is_too_large_stops_the_job_with_the_reason_and_is_not_tried_for_ever() -> Result<()>
{
    create(brokers(), "large", 1)?;
    let lines = format!("small\n{}\n", "x".repeat(3_000_000));
    for (delivery, more) in [
        // The client's own limit, then the broker's.
        ("exactly-once", ""),
        ("exactly-once", "message.max.bytes = 8000000"),
        ("at-least-once", "message.max.bytes = 8000000"),
    ] {
        let sink =
            format!("topic = \"large\"\ndelivery = \"{delivery}\"\n[sink.out.client]\n{more}");
        let ended = write_through("large", "", &sink, &lines)?.expect_code(1)?;
        ensure!(
            ended.stderr.contains("too large") && ended.stderr.contains("3000000 bytes"),
            "{delivery} {more}: {}",
            ended.said()
        );
        ensure!(!ended.stderr.contains("starts again"), "{}", ended.said());
    }
    let seen = read_all(brokers(), "large")?;
    // Nothing of a transaction that failed; at least once has sent what came before.
    ensure!(
        seen.iter().all(|s| s.value.as_deref() == Some("small")),
        "{seen:?}"
    );
    ensure!(seen.len() <= 1, "{seen:?}");
    Ok(())
}

#[test]
fn records_without_a_key_are_spread_over_the_partitions() -> Result<()> {
    create(brokers(), "spread", 3)?;
    let lines: String = (0..20_000).map(|i| format!("{i}\n")).collect();
    write_through(
        "spread",
        "",
        "topic = \"spread\"\n[sink.out.client]\nlinger.ms = 0",
        &lines,
    )?
    .expect_code(0)?;
    let mut counts = BTreeMap::new();
    for seen in read_all(brokers(), "spread")? {
        *counts.entry(seen.partition).or_insert(0) += 1;
    }
    ensure!(
        counts.values().sum::<i32>() == 20_000 && counts.len() == 3,
        "{counts:?}"
    );
    Ok(())
}

#[test]
fn records_of_a_transaction_that_was_never_committed_come_once_all_the_same() -> Result<()> {
    create(brokers(), "left", 1)?;
    let folder = tempfile::tempdir()?;
    let lines: String = (0..200_000).map(|i| format!("{i}\n")).collect();
    std::fs::write(folder.path().join("in.jsonl"), lines)?;
    write_job(folder.path(), &job("left", "", "topic = \"left\""))?;
    let mut killed = command(folder.path(), ["run", "job.toml", "--quiet"]);
    killed
        .env("WASMILL_CRASH_AT", "transaction-offsets-sent")
        .stdout(Stdio::null());
    let ended = wait(spawn(killed)?)?;
    ensure!(ended.status.code().is_none(), "{}", ended.said());
    run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    let seen = read_all(brokers(), "left")?;
    let mut numbers: Vec<u64> = seen
        .iter()
        .map(|s| s.value.as_deref().unwrap_or("").parse().context("a number"))
        .collect::<Result<_>>()?;
    numbers.sort_unstable();
    ensure!(
        numbers.iter().copied().eq(0..200_000),
        "{} records",
        numbers.len()
    );
    Ok(())
}
