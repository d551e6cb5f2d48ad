//! librdkafka alone, for `cargo xtask bench kafka`: what a client costs before anything of ours is added. It uses the
//! library's fastest calls and the settings that the host uses.
//!
//! `produce BROKERS TOPIC COUNT lines|ints|mixed`, `consume BROKERS TOPIC COUNT`, `relay BROKERS IN OUT` (until it is ended),
//! `latency BROKERS IN OUT RATE SECONDS`.

use std::ffi::CString;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::bindings as sys;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["produce", brokers, topic, count, what] => produce(brokers, topic, count.parse()?, what),
        ["consume", brokers, topic, count] => consume(brokers, topic, count.parse()?),
        ["relay", brokers, from, to] => relay(brokers, from, to),
        ["latency", brokers, from, to, rate, seconds] => {
            latency(brokers, from, to, rate.parse()?, seconds.parse()?)
        }
        _ => bail!(
            "produce BROKERS TOPIC COUNT lines|ints|mixed, consume BROKERS TOPIC COUNT, relay BROKERS IN OUT, or latency BROKERS IN OUT RATE SECONDS"
        ),
    }
}

fn producer(brokers: &str) -> Result<BaseProducer> {
    let producer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "16384")
        .set("linger.ms", "2")
        .set("batch.size", "262144")
        .set("delivery.report.only.error", "true")
        .create()?;
    Ok(producer)
}

/// Values of 100 bytes, or whole numbers below a million as text; `mixed`: each tenth is a word.
fn produce(brokers: &str, topic: &str, count: u64, what: &str) -> Result<()> {
    let producer = producer(brokers)?;
    let name = CString::new(topic)?;
    // SAFETY: a live handle and a string; the topic is destroyed below, before the handle.
    let rkt = unsafe {
        sys::rd_kafka_topic_new(
            producer.client().native_ptr(),
            name.as_ptr(),
            std::ptr::null_mut(),
        )
    };
    let mut line = *b"{\"id\":0000000000,\"text\":\"0123456789012345678901234567890123456789012345678901234567890123456789abcd\"}";
    let mut random = 7u64;
    for number in 0..count {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let digits = format!(
            "{:010}",
            if what != "lines" {
                (random >> 33) % 1_000_000
            } else {
                number
            }
        );
        let value: &[u8] = if what != "lines" {
            digits.trim_start_matches('0').as_bytes()
        } else {
            line[6..16].copy_from_slice(digits.as_bytes());
            &line
        };
        let value = if value.is_empty() { b"0" } else { value };
        let value: &[u8] = match what {
            "mixed" if number % 10 == 9 => b"unknown",
            _ => value,
        };
        loop {
            // SAFETY: a live topic; the value is copied.
            let code = unsafe {
                sys::rd_kafka_produce(
                    rkt,
                    -1,
                    sys::RD_KAFKA_MSG_F_COPY,
                    value.as_ptr().cast_mut().cast(),
                    value.len(),
                    std::ptr::null(),
                    0,
                    std::ptr::null_mut(),
                )
            };
            if code == 0 {
                break;
            }
            producer.poll(Duration::from_millis(2));
        }
    }
    producer.flush(Duration::from_secs(120))?;
    // SAFETY: the last use.
    unsafe { sys::rd_kafka_topic_destroy(rkt) };
    Ok(())
}

/// Reads so many records and drops them.
fn consume(brokers: &str, topic: &str, count: u64) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("queued.max.messages.kbytes", "8192")
        .set("fetch.max.bytes", "8388608")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "2")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30))?;
    let partitions = metadata.topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    // SAFETY: a live handle; the queue is destroyed below, before it, and every message right after it was counted.
    let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
    let mut messages: Vec<*mut sys::rd_kafka_message_t> = vec![std::ptr::null_mut(); 1_000];
    let (mut seen, mut bytes, begun) = (0, 0usize, Instant::now());
    while seen < count {
        // SAFETY: as above; there is room for so many.
        unsafe {
            let got = sys::rd_kafka_consume_batch_queue(
                queue,
                100,
                messages.as_mut_ptr(),
                messages.len(),
            );
            for &message in &messages[..usize::try_from(got).unwrap_or(0)] {
                if (*message).err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    seen += 1;
                    bytes += (*message).len;
                }
                sys::rd_kafka_message_destroy(message);
            }
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(120),
            "only {seen} of {count}"
        );
    }
    // SAFETY: the last use.
    unsafe { sys::rd_kafka_queue_destroy(queue) };
    println!("{seen} records, {bytes} bytes");
    Ok(())
}

/// Passes on what comes into a topic, as soon as it comes, until the process is ended: what a job cannot be faster than.
fn relay(brokers: &str, from: &str, to: &str) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "2")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(from), Duration::from_secs(30))?;
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(from, partition.id(), Offset::End)?;
    }
    consumer.assign(&list)?;
    let producer = producer(brokers)?;
    loop {
        // Any record wakes it; those that are there already follow without a wait.
        let mut wait = Duration::from_millis(100);
        while let Some(message) = consumer.poll(wait) {
            let message = message?;
            let payload = message.payload().unwrap_or_default();
            let record = BaseRecord::<(), [u8]>::to(to).payload(payload);
            producer.send(record).map_err(|(e, _)| e)?;
            wait = Duration::ZERO;
        }
        producer.poll(Duration::ZERO);
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Sends the time at which each record is due, at a rate, and looks when it comes out at the other end. The first two seconds do not count.
fn latency(brokers: &str, from: &str, to: &str, rate: u64, seconds: u64) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "5")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(to), Duration::from_secs(30))?;
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(to, partition.id(), Offset::End)?;
    }
    consumer.assign(&list)?;
    // Until it stands at the end.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        consumer.poll(Duration::from_millis(100));
    }
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "1000000")
        .create()?;
    let topic = from.to_owned();
    let sender = std::thread::spawn(move || -> Result<()> {
        let begun = now_us();
        let mut sent = 0;
        while sent < rate * seconds {
            let due = now_us().saturating_sub(begun) * rate / 1_000_000;
            while sent < due.min(rate * seconds) {
                // When it was to be sent, not when it was: a sender that is late must not make the others look fast.
                let text = (begun + sent * 1_000_000 / rate).to_string();
                let record = BaseRecord::<(), str>::to(&topic).payload(&text);
                producer.send(record).map_err(|(e, _)| e)?;
                sent += 1;
            }
            producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_micros(500));
        }
        producer.flush(Duration::from_secs(30))?;
        Ok(())
    });
    let mut waits = Vec::new();
    let (mut seen, begun) = (0, Instant::now());
    while seen < rate * seconds && begun.elapsed() < Duration::from_secs(seconds + 30) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message?;
        seen += 1;
        let text = message.payload().and_then(|p| std::str::from_utf8(p).ok());
        let sent: u64 = text.context("a time")?.parse()?;
        if seen > 2 * rate {
            waits.push(now_us().saturating_sub(sent));
        }
    }
    sender
        .join()
        .map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    ensure!(!waits.is_empty(), "only {seen} records came");
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
    println!(
        "{} records: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        waits.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}
