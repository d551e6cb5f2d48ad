//! Partitions that say what a test has them say, asked at times that it names.

use std::sync::Arc;

use arrow_array::{BinaryArray, Int64Array};

use super::*;
use crate::config::plan::{EventTime, OnError, SourceConnector};
use crate::runtime::counters::JobCounters;
use crate::runtime::graph::Routes;
use crate::runtime::policy::ErrorPolicy;
use crate::runtime::task::{TaskSettings, TaskSource};
use crate::source::SourceError;

const IDLE_AFTER_MS: i64 = 60_000;

/// Says these one after the other, then that there is nothing now.
struct Scripted(u32, VecDeque<Read>);

impl PartitionReader for Scripted {
    fn partition(&self) -> u32 {
        self.0
    }
    fn name(&self) -> &str {
        "scripted"
    }
    fn read(&mut self, _: &BatchLimits) -> Result<Read, SourceError> {
        Ok(self.1.pop_front().unwrap_or(Read::Pending(10)))
    }
    fn position(&self) -> Position {
        Position(serde_json::Value::Null)
    }
    fn seek(&mut self, _: &Position) -> Result<(), SourceError> {
        Ok(())
    }
}

fn batch(timestamp: i64) -> Read {
    let mut batch = Batch::of(
        1,
        Value::new(Form::Bytes(BinaryArray::from_vec(vec![b"1"]))),
    );
    batch.timestamps = Some(Int64Array::from(vec![timestamp]));
    Read::Batch(batch, Vec::new())
}

/// A task that reads these partitions, and its reader.
fn reading(partitions: Vec<VecDeque<Read>>) -> (Reader, Task) {
    let names = OriginNames::new(["in"].into_iter());
    let event_time = Some(EventTime {
        max_disorder_ms: 0,
        idle_after_ms: Some(IDLE_AFTER_MS),
        max_ahead_ms: None,
    });
    let policy = ErrorPolicy {
        noun: "source",
        node: "in".into(),
        function: None,
        plugin_sha256: None,
        on_error: OnError::Fail,
        names: names.clone(),
    };
    let settings = TaskSettings {
        index: 0,
        batch_records: LIMITS.records,
        key_bytes_max: 1 << 16,
        ordered: false,
        lockstep: false,
    };
    let source = TaskSource::new(0, Routes::default(), policy, event_time);
    let counters = Arc::new(JobCounters::new(1, 0, 0));
    let task = Task::new(
        settings,
        Some(source),
        Vec::new(),
        Vec::new(),
        &[],
        Default::default(),
        BTreeMap::new(),
        [],
        counters,
    );
    let plan = SourcePlan {
        name: "in".into(),
        connector: SourceConnector::Stdin,
        format: FormatSpec::Lines,
        key: None,
        timestamp: None,
        event_time,
        on_error: OnError::Fail,
    };
    let (dealer, arrivals) = crossbeam_channel::unbounded();
    for (number, says) in (0..).zip(partitions) {
        let reader: Box<dyn PartitionReader> = Box::new(Scripted(number, says));
        dealer.send(reader).expect("it is read below");
    }
    (
        Reader::new(plan, 0, None, arrivals, names, Vec::new()),
        task,
    )
}

const LIMITS: BatchLimits = BatchLimits {
    records: 4096,
    bytes: 1 << 20,
    latency_ms: 10,
};

/// Asks until nobody has anything at this time; whether a partition fell idle.
fn ask(reader: &mut Reader, task: &mut Task, now: i64) -> bool {
    let mut idle = false;
    loop {
        match reader.poll(task, &LIMITS, now).expect("nothing fails here") {
            Polled::Records => {}
            Polled::Time => idle = true,
            Polled::Nothing(wait) if wait.is_zero() => {}
            Polled::Nothing(_) | Polled::End => return idle,
        }
    }
}

#[test]
fn a_partition_is_idle_once_it_had_nothing_for_long_enough() {
    let (mut reader, mut task) = reading(vec![VecDeque::from([batch(5)])]);
    // 0: a record ├──────────── asked each 500 ms, nothing ────────────┤ 60,000
    for now in (0..IDLE_AFTER_MS).step_by(500) {
        assert!(!ask(&mut reader, &mut task, now), "idle at {now}");
    }
    assert!(ask(&mut reader, &mut task, IDLE_AFTER_MS));
}

#[test]
fn a_partition_is_not_idle_while_its_task_waits_for_room() {
    let (mut reader, mut task) = reading(vec![
        VecDeque::from([batch(5), batch(6)]),
        VecDeque::from([Read::Pending(10), batch(6)]),
        VecDeque::new(),
    ]);
    // 0: all asked ├── an hour: what partition 0 put out finds no room, so nobody is asked ──┤ 3,600,000
    assert!(!ask(&mut reader, &mut task, 0));
    // Partition 1 has a record that came meanwhile, partition 2 had nothing but was not asked either.
    let hour = 3_600_000;
    assert!(!ask(&mut reader, &mut task, hour));
    // What counts from here on is a minute of silence, as ever.
    let idle_at = (hour..)
        .step_by(500)
        .find(|&now| ask(&mut reader, &mut task, now));
    let idle_at = idle_at.expect("an endless range") - hour;
    assert!((58_000..=IDLE_AFTER_MS).contains(&idle_at), "{idle_at}");
}
