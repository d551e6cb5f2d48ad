//! The shared broker, and a client to fill and read topics.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rustix::process::{Pid, Signal, kill_process};
use wasmill_tests::kafka::{Broker, Life, Settings};
use wasmill_tests::{Ended, command, limit, wait};

/// The broker that all tests share; it dies with the test process.
pub fn brokers() -> &'static str {
    static BROKER: OnceLock<(Broker, tempfile::TempDir)> = OnceLock::new();
    let (broker, _) = BROKER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let broker = Broker::start(folder.path(), &Settings::default(), Life::Ours);
        (broker.expect("a broker"), folder)
    });
    broker.address()
}

/// Makes a topic.
pub fn create(brokers: &str, topic: &str, partitions: i32) -> Result<()> {
    create_as(&config(brokers), topic, partitions, 1)
}

/// Makes a topic, as this client.
pub fn create_as(client: &ClientConfig, topic: &str, partitions: i32, copies: i32) -> Result<()> {
    let admin: AdminClient<_> = client.create()?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(copies));
    let made = block_on(admin.create_topics([&new], &AdminOptions::new()))?;
    if let Some(Err((name, code))) = made.into_iter().next() {
        bail!("topic {name}: {code}");
    }
    // A broker may not have heard of it yet.
    until("every partition has a leader", || {
        let found = admin
            .inner()
            .fetch_metadata(Some(topic), Duration::from_secs(30))?;
        let led = |p: &&MetadataPartition| p.leader() >= 0;
        let leaders = |t: &MetadataTopic| t.partitions().iter().filter(led).count();
        Ok(found.topics().first().map(leaders) == usize::try_from(partitions).ok())
    })
}

/// Deletes a topic, and waits until it is gone.
pub fn delete(brokers: &str, topic: &str) -> Result<()> {
    let admin: AdminClient<_> = config(brokers).create()?;
    block_on(admin.delete_topics(&[topic], &AdminOptions::new()))?;
    let consumer: BaseConsumer = config(brokers)
        .set("allow.auto.create.topics", "false")
        .create()?;
    until("the topic is gone", || {
        let all = consumer.fetch_metadata(None, Duration::from_secs(30))?;
        Ok(all.topics().iter().all(|t| t.name() != topic))
    })
}

/// Gives a topic more partitions.
pub fn grow(brokers: &str, topic: &str, partitions: usize) -> Result<()> {
    let admin: AdminClient<_> = config(brokers).create()?;
    let new = NewPartitions::new(topic, partitions);
    let made = block_on(admin.create_partitions([&new], &AdminOptions::new()))?;
    if let Some(Err((name, code))) = made.into_iter().next() {
        bail!("topic {name}: {code}");
    }
    Ok(())
}

/// Removes the records of a partition before an offset, as retention would.
pub fn expire(brokers: &str, topic: &str, partition: i32, before: i64) -> Result<()> {
    let admin: AdminClient<_> = config(brokers).create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(before))?;
    block_on(admin.delete_records(&list, &AdminOptions::new()))?;
    Ok(())
}

/// Waits until something is so; an error after far more than it takes.
pub fn until(what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is()? {
        if begun.elapsed() > limit() {
            bail!("not after {} s: {what}", limit().as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Starts `wasmill run job.toml` of a folder.
pub fn start(folder: &Path, arguments: &[&str]) -> Result<Child> {
    spawn(command(folder, ["run", "job.toml"].iter().chain(arguments)))
}

/// Starts a command, with its outputs kept for `wait`.
pub fn spawn(mut command: Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start wasmill")
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(child.id().cast_signed()).context("a pid")?;
    kill_process(pid, signal).context("signal")
}

/// Asks a job to stop, and waits.
pub fn stop(child: Child) -> Result<Ended> {
    signal(&child, Signal::INT)?;
    wait(child)
}

/// Writes records.
pub fn produce<'a>(
    brokers: &str,
    topic: &str,
    records: impl IntoIterator<Item = Record<'a>>,
) -> Result<()> {
    produce_as(&config(brokers), topic, records)
}

/// Partition, key, value (none: a tombstone), timestamp.
pub type Record<'a> = (i32, &'a str, Option<&'a str>, i64);

/// Writes records, as this client.
pub fn produce_as<'a>(
    client: &ClientConfig,
    topic: &str,
    records: impl IntoIterator<Item = Record<'a>>,
) -> Result<()> {
    let writer = Writer::new(client)?;
    for record in records {
        writer.send(topic, record)?;
    }
    writer.flush()
}

/// Writes records. However long a cluster is away, each gets there once.
pub struct Writer(BaseProducer);

impl Writer {
    pub fn new(client: &ClientConfig) -> Result<Writer> {
        let producer = client
            .clone()
            .set("enable.idempotence", "true")
            .set("queue.buffering.max.messages", "1000000")
            .create()?;
        Ok(Writer(producer))
    }

    pub fn send(&self, topic: &str, (partition, key, value, time): Record<'_>) -> Result<()> {
        let mut record = BaseRecord::to(topic)
            .partition(partition)
            .key(key)
            .timestamp(time);
        record.payload = value;
        while let Err((error, again)) = self.0.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            self.0.poll(Duration::from_millis(10));
            record = again;
        }
        Ok(())
    }

    pub fn flush(&self) -> Result<()> {
        Ok(self.0.flush(limit())?)
    }
}

/// A record as a reader of committed ones sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub partition: i32,
    pub key: Option<String>,
    pub value: Option<String>,
    pub timestamp: Option<i64>,
    pub headers: Vec<(String, String)>,
}

/// Looks whether a transaction has records in a topic that are not decided yet.
pub struct Undecided {
    topic: String,
    all: BaseConsumer,
    decided: BaseConsumer,
}

impl Undecided {
    pub fn new(brokers: &str, topic: &str) -> Result<Undecided> {
        let reader = |isolation: &str| -> Result<BaseConsumer> {
            let mut client = config(brokers);
            client.set("group.id", "reader-of-tests");
            Ok(client.set("isolation.level", isolation).create()?)
        };
        Ok(Undecided {
            topic: topic.to_owned(),
            all: reader("read_uncommitted")?,
            decided: reader("read_committed")?,
        })
    }

    pub fn look(&self, partitions: i32) -> Result<bool> {
        let end = |reader: &BaseConsumer, partition| {
            reader.fetch_watermarks(&self.topic, partition, Duration::from_secs(30))
        };
        for partition in 0..partitions {
            // In this order: what comes between is taken for decided.
            let (_, all) = end(&self.all, partition)?;
            let (_, decided) = end(&self.decided, partition)?;
            if decided < all {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// All committed records of a topic, by partition and offset.
pub fn read_all(brokers: &str, topic: &str) -> Result<Vec<Seen>> {
    read_as(&config(brokers), topic)
}

/// All committed records of a topic, as this client sees them.
pub fn read_as(client: &ClientConfig, topic: &str) -> Result<Vec<Seen>> {
    let consumer: BaseConsumer = client
        .clone()
        .set("group.id", "reader-of-tests")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30))?;
    let partitions = metadata.topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for p in 0..partitions as i32 {
        list.add_partition_offset(topic, p, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let (mut seen, mut ended, begun) = (Vec::new(), vec![false; partitions], Instant::now());
    let mut next = vec![0; partitions];
    while ended.contains(&false) {
        if begun.elapsed() > limit() {
            bail!("topic {topic} does not come to its end");
        }
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(p))) => ended[p as usize] = true,
            // The client connects again by itself.
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure,
            ))) => {}
            Some(Err(e)) => return Err(e).context("read a topic"),
            Some(Ok(message)) => {
                let next = &mut next[message.partition() as usize];
                if message.offset() < *next {
                    bail!(
                        "the reader of the test went back: {topic}[{}] at {} after {next}",
                        message.partition(),
                        message.offset(),
                    );
                }
                *next = message.offset() + 1;
                let text = |b: Option<&[u8]>| b.map(|b| String::from_utf8_lossy(b).into_owned());
                let headers = message.headers().map(|h| {
                    h.iter()
                        .map(|h| (h.key.to_owned(), text(h.value).unwrap_or_default()))
                        .collect()
                });
                seen.push(Seen {
                    partition: message.partition(),
                    key: text(message.key()),
                    value: text(message.payload()),
                    timestamp: message.timestamp().to_millis(),
                    headers: headers.unwrap_or_default(),
                });
            }
        }
    }
    Ok(seen)
}

/// What a group has committed of a topic.
pub fn committed(brokers: &str, group: &str, topic: &str, partitions: i32) -> Result<Vec<i64>> {
    let consumer: BaseConsumer = config(brokers).set("group.id", group).create()?;
    let mut list = TopicPartitionList::new();
    (0..partitions).for_each(|p| drop(list.add_partition(topic, p)));
    let found = consumer.committed_offsets(list, Duration::from_secs(30))?;
    Ok(found
        .elements()
        .iter()
        .map(|e| e.offset().to_raw().unwrap_or(-1))
        .collect())
}

/// Writes a job file, with the broker put in.
pub fn write_job(folder: &Path, job: &str) -> Result<()> {
    Ok(std::fs::write(
        folder.join("job.toml"),
        job.replace("BROKERS", brokers()),
    )?)
}

pub fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = TaskContext::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}
