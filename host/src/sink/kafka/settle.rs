//! What a start does before it trusts the cluster: nothing of a predecessor may be open any more.
//!
//! `init_transactions` should see to that, but a broker that died together with the cluster's only controller and
//! came back has been seen to call transactions given up without writing so into their partitions: it looked for the
//! partitions before it knew its topics again. Records of such a transaction would become part of the next one that is
//! committed, since both have the same producer id. And a coordinator that just started answers with offsets that it
//! knew some seconds before its end, until its log is confirmed again; an older marker would have results come twice.
//!
//! Both are settled by a transaction that is given up: it has an offset in each group, which lies behind all others
//! once it is confirmed, and a record in each partition that still has something open, whose end is then the end of
//! all that was open there. Nobody who reads committed records sees anything of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::transactions::{CommitError, WAIT, marker_at};
use crate::kafka::offsets::{self, PartitionOffset};
use crate::kafka::produce::{Outgoing, Producer, Sent};
use crate::kafka::topics::{self, TopicInfo};
use crate::kafka::{Client, Fault, comes_again};
use crate::time::Stopwatch;

/// How long what is open may be somebody else's, or be about to be decided, before a record of ours goes behind it.
const DECIDED_WITHIN: Duration = Duration::from_secs(3);

/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// A time that stands for the end of a partition.
const END: i64 = -1;

/// What a job's transactions are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Topics that it writes to.
    pub topics: Vec<String>,
    /// Groups of its sources.
    pub groups: Vec<String>,
}

/// Clients that ask for ends.
pub(super) struct Readers<'a> {
    /// Of all records.
    pub all: &'a Client,
    /// Of decided ones.
    pub decided: &'a Client,
}

/// Settles what a predecessor left. The producer has no transaction, before and after.
pub(super) fn settle(
    producer: &Producer,
    id: &str,
    marker_topic: &str,
    scope: &Scope,
    readers: &Readers<'_>,
) -> Result<(), CommitError> {
    let retried = Retried {
        producer,
        id,
        begun: Stopwatch::start(),
    };
    let open = retried.call(|| left_open(scope, readers))?;
    retried.call(|| producer.begin())?;
    let probe = [marker_at(marker_topic, 0, String::new())];
    for group in &scope.groups {
        retried.call(|| producer.add_offsets(group, &probe, Duration::from_secs(10)))?;
    }
    for (topic, partition) in &open {
        tracing::warn!(
            target: "wasmill::kafka",
            "{topic}[{partition}] has an open transaction, which {id} ends if it is one of its own"
        );
        retried.call(|| end_behind(producer, topic, *partition, id))?;
    }
    while !producer.drain() {
        producer.check()?;
        if retried.begun.elapsed() >= WAIT {
            return Err(retried.undecided("records are not acknowledged"));
        }
    }
    producer.check()?;
    retried.call(|| producer.abort(Duration::from_secs(10)))
}

/// A record behind all that is open in a partition. Nobody is meant to read it; it has a key, since compacted topics
/// take none without.
fn end_behind(producer: &Producer, topic: &str, partition: i32, id: &str) -> Result<(), Fault> {
    let topic = producer.topic(topic)?;
    let record = Outgoing {
        key: Some(id.as_bytes()),
        value: None,
        timestamp: None,
        headers: &[],
    };
    while producer.send_to(&topic, partition, &record)? == Sent::Full {
        producer.client().poll(LOOK);
    }
    Ok(())
}

/// Partitions where something from before now is not decided within a while.
fn left_open(scope: &Scope, readers: &Readers<'_>) -> Result<Vec<(String, i32)>, Fault> {
    if scope.topics.is_empty() {
        return Ok(Vec::new());
    }
    let all = topics::describe(readers.decided, &scope.topics, WAIT)?;
    let ends = ends(readers.all, &all)?;
    let begun = Stopwatch::start();
    loop {
        let open = behind(&ends, &self::ends(readers.decided, &all)?);
        if open.is_empty() || begun.elapsed() >= DECIDED_WITHIN {
            return Ok(open);
        }
        readers.decided.poll(LOOK);
    }
}

fn ends(client: &Client, of: &BTreeMap<String, TopicInfo>) -> Result<Vec<PartitionOffset>, Fault> {
    let mut all = Vec::new();
    for (topic, info) in of {
        all.extend(offsets::at_time(
            client,
            topic,
            &info.partitions,
            END,
            WAIT,
        )?);
    }
    Ok(all)
}

/// Partitions whose decided part does not reach the end.
fn behind(ends: &[PartitionOffset], decided: &[PartitionOffset]) -> Vec<(String, i32)> {
    let decided: BTreeMap<(&str, i32), i64> = decided
        .iter()
        .map(|at| ((at.topic.as_str(), at.partition), at.offset))
        .collect();
    ends.iter()
        .filter(|end| {
            let decided = decided.get(&(end.topic.as_str(), end.partition));
            decided.is_none_or(|decided| *decided < end.offset)
        })
        .map(|end| (end.topic.clone(), end.partition))
        .collect()
}

struct Retried<'a> {
    producer: &'a Producer,
    id: &'a str,
    begun: Stopwatch,
}

impl Retried<'_> {
    /// Repeats a call for a while, where that may help.
    fn call<T>(&self, call: impl Fn() -> Result<T, Fault>) -> Result<T, CommitError> {
        loop {
            match call() {
                Ok(answer) => return Ok(answer),
                Err(fault) if comes_again(fault.code) => {
                    return Err(CommitError::Failed(fault.to_string()));
                }
                Err(fault) if may_pass(&fault) && self.begun.elapsed() < WAIT => {
                    self.producer.client().poll(LOOK);
                }
                Err(fault) => return Err(self.undecided(fault)),
            }
        }
    }

    fn undecided(&self, why: impl std::fmt::Display) -> CommitError {
        let why = format!("transactional id {}: {why}", self.id);
        CommitError::Undecided(self.producer.client().explain(why))
    }
}

/// Questions about ends fail while leaders move, and say only the code.
fn may_pass(fault: &Fault) -> bool {
    fault.retriable || !(fault.fatal || fault.must_abort || fault.is_fenced())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, offset: i64) -> PartitionOffset {
        PartitionOffset {
            topic: "t".into(),
            partition,
            offset,
            metadata: String::new(),
        }
    }

    #[test]
    fn partition_is_open_where_the_decided_part_does_not_reach_what_was_its_end() {
        let ends = [at(0, 5), at(1, 5), at(2, 0), at(3, 7)];
        let decided = [at(0, 4), at(1, 9), at(2, 0)];
        assert_eq!(
            behind(&ends, &decided),
            [("t".to_owned(), 0), ("t".to_owned(), 3)]
        );
    }
}
