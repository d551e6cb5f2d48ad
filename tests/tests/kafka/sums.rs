//! The job of most tests here: Kafka to a keyed window to Kafka. Its input, and what an undisturbed run makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use wasmill_tests::kafka::outage;

use crate::cluster::{Seen, Writer, brokers, config, create_as, read_all};

/// Of the input that most tests share.
pub const RECORDS: i64 = 2_000_000;

/// Of an input that comes while a cluster is in trouble (`Feed`).
pub const FED: i64 = 600_000;

const PARTITIONS: i32 = 3;

/// Milliseconds of event time.
const WINDOW: i64 = 2_000;

pub fn job(name: &str) -> String {
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

/// The same job on another cluster, for an input that is not all there yet.
pub fn job_of_feed(name: &str, brokers: &str) -> String {
    let each = FED / i64::from(PARTITIONS);
    let end = format!("end = {{ offsets = {{ \"0\" = {each}, \"1\" = {each}, \"2\" = {each} }} }}");
    job(name)
        .replace("BROKERS", brokers)
        .replace("end = \"latest\"", &end)
}

fn key(i: i64) -> String {
    format!("k{}", i % 53)
}

fn value(i: i64) -> i64 {
    i % 97
}

/// Some hours ago. A broker that starts again after a crash forgets producers whose last records have timestamps older
/// than a day, and takes what they repeat for new: input dated to 1970 came twice that way.
fn time(i: i64) -> i64 {
    static BEGIN: OnceLock<i64> = OnceLock::new();
    let begin = BEGIN.get_or_init(|| {
        let hours_ago = SystemTime::now() - Duration::from_secs(4 * 3_600);
        let since_1970 = hours_ago.duration_since(UNIX_EPOCH);
        let ms = since_1970.map_or(0, |since| since.as_millis() as i64);
        ms / WINDOW * WINDOW
    });
    begin + i * 3
}

fn write(writer: &Writer, records: Range<i64>) -> Result<()> {
    for i in records {
        let (key, value) = (key(i), format!("{{\"v\":{}}}", value(i)));
        let partition = (i % i64::from(PARTITIONS)) as i32;
        writer.send("kills-in", (partition, &key, Some(&value), time(i)))?;
    }
    Ok(())
}

/// The input, once for all tests here.
pub fn fill() -> Result<()> {
    static FILLED: OnceLock<Result<(), String>> = OnceLock::new();
    let make = || -> Result<()> {
        create_as(&config(brokers()), "kills-in", PARTITIONS, 1)?;
        let writer = Writer::new(&config(brokers()))?;
        write(&writer, 0..RECORDS)?;
        writer.flush()
    };
    let filled = FILLED.get_or_init(|| make().map_err(|e| format!("{e:#}")));
    filled.clone().map_err(anyhow::Error::msg)
}

/// An input that comes bit by bit, for as long as something happens to its cluster, so that the job is at work.
pub struct Feed {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Feed {
    /// Begins to write, into a topic with so many copies.
    pub fn start(brokers: &str, copies: i32) -> Result<Feed> {
        create_as(&config(brokers), "kills-in", PARTITIONS, copies)?;
        let writer = Writer::new(&config(brokers))?;
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            // Less and less at a time, so that some is left however long it takes.
            let pause = Duration::from_millis(50) + outage() / 200;
            let mut written = 0;
            while written < FED {
                let left = FED - written;
                let slice = (left / 900).max(1) * i64::from(PARTITIONS);
                let over = is_over.load(Ordering::Acquire);
                if over || slice < left {
                    let slice = if over { left } else { slice };
                    write(&writer, written..written + slice)?;
                    written += slice;
                }
                if !over {
                    thread::sleep(pause);
                }
            }
            writer.flush()
        });
        Ok(Feed { over, thread })
    }

    /// Writes what is left at once.
    pub fn finish(self) -> Result<()> {
        self.over.store(true, Ordering::Release);
        self.thread.join().expect("the feed does not panic")
    }
}

/// What an undisturbed run gives, sorted: reckoned without the job's code.
pub fn golden(records: i64) -> Vec<Seen> {
    let mut sums: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for i in 0..records {
        *sums.entry((time(i) / WINDOW, i % 53)).or_default() += value(i);
    }
    let result = |(&(window, k), sum): (&(i64, i64), &i64)| {
        let (key, start, end) = (key(k), window * WINDOW, (window + 1) * WINDOW);
        let last = end - 1;
        let value = format!(
            "{{\"key\":\"{key}\",\"value\":{sum},\"timestamp\":{last},\"window\":{{\"start\":{start},\"end\":{end}}}}}"
        );
        Seen {
            partition: 0,
            key: Some(key),
            value: Some(value),
            timestamp: Some(last),
            headers: Vec::new(),
        }
    };
    let mut golden: Vec<Seen> = sums.iter().map(result).collect();
    golden.sort();
    golden
}

/// By partition: how many results that came before, and where the first and the last of them is in the order read.
fn offsets_of_doubles(seen: &[Seen]) -> String {
    let (mut known, mut places) = (BTreeSet::new(), Vec::new());
    for (place, one) in seen.iter().enumerate() {
        if !known.insert((&one.key, &one.value, one.timestamp)) {
            places.push((one.partition, place));
        }
    }
    let of = |partition: i32| {
        let all = places.iter().filter(|(p, _)| *p == partition);
        let all: Vec<usize> = all.map(|(_, place)| *place).collect();
        let ends = (all.first(), all.last());
        format!("{partition}: {} at {ends:?}", all.len())
    };
    let partitions: BTreeSet<i32> = places.iter().map(|(p, _)| *p).collect();
    partitions
        .into_iter()
        .map(of)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether a topic of the shared broker has each result of the shared input once.
pub fn compare(topic: &str, said: &str) -> Result<()> {
    compare_on(brokers(), topic, RECORDS, said)
}

/// Whether a topic has each result of the input's first records once.
pub fn compare_on(brokers: &str, topic: &str, records: i64, said: &str) -> Result<()> {
    let golden = golden(records);
    let mut seen = read_all(brokers, topic)?;
    let before = offsets_of_doubles(&seen);
    // Which partition a result is in says nothing about the result.
    seen.iter_mut().for_each(|s| s.partition = 0);
    seen.sort();
    let twice = seen.windows(2).filter(|w| w[0] == w[1]).count();
    let missing = golden
        .iter()
        .filter(|g| seen.binary_search(g).is_err())
        .count();
    ensure!(
        seen == golden,
        "{said}: {} results, {} expected; {twice} twice, {missing} missing; places of doubles: {before}; \
         first {:?}, expected {:?}",
        seen.len(),
        golden.len(),
        seen.first(),
        golden.first()
    );
    Ok(())
}
