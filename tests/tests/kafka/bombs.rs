//! Hostile batches: records that a producer packed so well that a megabyte on the wire is hundreds of them in memory, and
//! records with more headers than anybody reads.

use std::time::Duration;

use anyhow::{Result, ensure};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use wasmill_tests::{Ended, command, run, wait};

use crate::cluster::{brokers, config, create, start, write_job};

const MIB: usize = 1 << 20;

/// Writes records of a mebibyte of nothing as one batch.
fn pack(topic: &str, codec: &str, records: usize) -> Result<()> {
    create(brokers(), topic, 1)?;
    let producer: BaseProducer = config(brokers())
        .set("compression.type", codec)
        .set("message.max.bytes", "1000000000")
        .set("batch.size", "1000000000")
        .set("queue.buffering.max.kbytes", "2000000")
        .set("linger.ms", "2000")
        .create()?;
    let nothing = vec![b'.'; MIB - 1024];
    for _ in 0..records {
        let record = BaseRecord::<str, [u8]>::to(topic).partition(0);
        producer
            .send(record.payload(&nothing))
            .map_err(|(e, _)| e)?;
    }
    producer.flush(Duration::from_secs(110))?;
    Ok(())
}

fn job(name: &str, topic: &str) -> String {
    format!(
        "name = \"{name}\"\nparallelism = 1\n[source.in]\ntype = \"kafka\"\nbrokers = \"BROKERS\"\ntopics = \"{topic}\"\nend = \"latest\"\n\
         [sink.out]\nfrom = \"in\"\ntype = \"blackhole\"\n"
    )
}

/// Runs it: how it ended, and the most memory that it had, in MiB.
fn measured(job: &str) -> Result<(Ended, u64)> {
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), job)?;
    let mut child = start(folder.path(), &["--json"])?;
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait()?.is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.split_whitespace().next());
        most = kib
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0)
            .max(most);
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((wait(child)?, most / 1024))
}

/// The client unpacks a batch whole, and zstd alone has a limit there.
#[test]
fn r03_batch_packed_to_a_thousandth_is_read_or_ends_the_job_and_takes_little_more_than_itself()
-> Result<()> {
    let raised = "[source.in.client]\nreceive.message.max.bytes = 1000000000\n";
    for (codec, records, client) in [
        ("gzip", 60, ""),
        ("zstd", 60, ""),
        ("zstd", 95, ""),
        ("lz4", 60, ""),
        ("gzip", 300, ""),
        ("zstd", 300, ""),
        ("zstd", 300, raised),
    ] {
        let topic = format!("bomb-{codec}-{records}");
        // With other settings it is read again.
        if client.is_empty() {
            pack(&topic, codec, records)?;
        }
        let (ended, most) = measured(&(job("bomb", &topic) + client))?;
        println!(
            "{codec}: {most} MiB at most for a batch of {records}, {}",
            ended.status
        );
        let beyond = codec == "zstd" && records > 95 && client.is_empty();
        let ended = ended.expect_code(i32::from(beyond))?;
        let said = if beyond {
            "a batch at or after offset 0 cannot be unpacked".to_owned()
        } else {
            format!("\"records_in\":{records},")
        };
        ensure!(ended.stderr.contains(&said), "{codec}: {}", ended.said());
        if beyond {
            let limit = "= 300000000 is enough for any batch of 100000000 bytes";
            ensure!(ended.stderr.contains(limit), "{}", ended.said());
            ensure!(ended.stderr.contains(&topic), "{}", ended.said());
        }
        let room = 150 + 3 * records as u64;
        ensure!(most < room, "{codec}: {most} MiB for a batch of {records}");
    }
    Ok(())
}

#[test]
fn r02_ten_thousand_headers_go_through_or_are_an_error_of_their_record() -> Result<()> {
    create(brokers(), "headers-in", 1)?;
    let producer: BaseProducer = config(brokers()).create()?;
    let many = (0..10_000).fold(OwnedHeaders::new(), |all, _| {
        all.insert(Header {
            key: "a-header",
            value: Some("with a value"),
        })
    });
    for headers in [None, Some(many), None] {
        let record = BaseRecord::<str, str>::to("headers-in")
            .partition(0)
            .payload("v");
        let record = match headers {
            Some(headers) => record.headers(headers),
            None => record,
        };
        producer.send(record).map_err(|(e, _)| e)?;
    }
    producer.flush(Duration::from_secs(30))?;
    let folder = tempfile::tempdir()?;
    write_job(folder.path(), &job("headers", "headers-in"))?;
    let ended = run(command(folder.path(), ["run", "job.toml", "--json"]), b"")?.expect_code(0)?;
    ensure!(
        ended.stderr.contains("\"records_in\":3"),
        "{}",
        ended.said()
    );
    Ok(())
}
