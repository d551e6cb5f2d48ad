//! Where each partition begins: from the checkpoint if that has it, else as the job says.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ASK, KafkaSource};
use crate::config::{KafkaEnd, KafkaOffsets, KafkaStart, OnGap};
use crate::kafka::offsets;
use crate::kafka::topics::{self, TopicInfo};
use crate::kafka::{Client, KafkaPosition};
use crate::source::SourceError;

/// What a partition's log has, and what a checkpoint wants of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// Position of the checkpoint.
    pub wanted: &'a KafkaPosition,
    /// The topic's id now.
    pub id: &'a str,
    /// First offset.
    pub low: i64,
    /// Behind the last.
    pub high: i64,
}

/// What to do with a position of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// The log has it.
    There,
    /// It is gone: why.
    Gap(String),
}

/// Whether the log still is the one that was read, and has the position.
pub(super) fn resume(found: &Found<'_>) -> Resume {
    let at = found.wanted;
    let place = format!("{}[{}]", at.topic, at.partition);
    if !at.id.is_empty() && !found.id.is_empty() && at.id != found.id {
        return Resume::Gap(format!(
            "topic {} was deleted and created again since the checkpoint (its id was {}, now {})",
            at.topic, at.id, found.id
        ));
    }
    if at.offset < found.low {
        return Resume::Gap(format!(
            "{place}: the checkpoint stands at offset {}, the topic begins at {}: {} records are gone",
            at.offset,
            found.low,
            found.low - at.offset
        ));
    }
    if at.offset > found.high {
        return Resume::Gap(format!(
            "{place}: the checkpoint stands at offset {}, the topic ends at {}: it is not the log that was read",
            at.offset, found.high
        ));
    }
    Resume::There
}

impl KafkaSource {
    /// A position for each partition, by its number in the source.
    pub(super) fn begins(
        &mut self,
        control: &Client,
        found: &BTreeMap<String, TopicInfo>,
    ) -> Result<Vec<(u32, KafkaPosition)>, SourceError> {
        for (topic, partition) in self.known.keys() {
            let there = found
                .get(topic)
                .is_some_and(|t| t.partitions.contains(partition));
            if !there {
                return Err(self.error(format!(
                    "the checkpoint has {topic}[{partition}], which is not there (any more)"
                )));
            }
        }
        let mut begins = Vec::new();
        for (topic, info) in found {
            let mut fresh = self.fresh(control, topic, info)?;
            let known_topic = self.known.keys().any(|(t, _)| t == topic);
            for &partition in &info.partitions {
                let mut at = fresh.remove(&partition).expect("one for each partition");
                let known = self.known.get(&(topic.clone(), partition)).cloned();
                match known {
                    Some((number, before)) => {
                        let (low, high) = self.ends(control, topic, partition)?;
                        let at = self.restored(before, &info.id, low, high)?;
                        begins.push((number, at));
                    }
                    None => {
                        if known_topic {
                            // Added to a topic that was read: all of it is new.
                            at.offset = self.ends(control, topic, partition)?.0;
                        }
                        begins.push((self.next, at));
                        self.next += 1;
                    }
                }
            }
        }
        begins.sort_by_key(|(number, _)| *number);
        Ok(begins)
    }

    fn restored(
        &mut self,
        before: KafkaPosition,
        id: &str,
        low: i64,
        high: i64,
    ) -> Result<KafkaPosition, SourceError> {
        let found = Found {
            wanted: &before,
            id,
            low,
            high,
        };
        match resume(&found) {
            Resume::There => Ok(KafkaPosition {
                id: id.to_owned(),
                ..before
            }),
            Resume::Gap(why) => {
                let offset = match self.plan.on_gap {
                    OnGap::Fail => {
                        let advice = "on-gap = \"earliest\" or \"latest\" on the source goes on without them";
                        return Err(self.error(format!("{why} ({advice})")));
                    }
                    OnGap::Earliest => low,
                    OnGap::Latest => high,
                };
                self.notes.push(format!(
                    "source {}: {why}; going on at offset {offset}, as on-gap says",
                    self.name
                ));
                Ok(KafkaPosition {
                    id: id.to_owned(),
                    offset,
                    ..before
                })
            }
        }
    }

    fn ends(
        &self,
        control: &Client,
        topic: &str,
        partition: i32,
    ) -> Result<(i64, i64), SourceError> {
        retried(|| topics::ends(control, topic, partition, ASK))
            .map_err(|e| self.error(control.explain(e)))
    }

    /// Where the partitions of a topic begin and end, as the job says.
    fn fresh(
        &self,
        control: &Client,
        topic: &str,
        info: &TopicInfo,
    ) -> Result<BTreeMap<i32, KafkaPosition>, SourceError> {
        let by_time = |time: i64| {
            retried(|| offsets::at_time(control, topic, &info.partitions, time, ASK))
                .map_err(|e| self.error(control.explain(e)))
        };
        let start_times = match self.plan.start {
            KafkaStart::Timestamp(time) => Some(by_time(time)?),
            _ => None,
        };
        let end_times = match self.plan.end {
            Some(KafkaEnd::Timestamp(time)) => Some(by_time(time)?),
            _ => None,
        };
        let mut all = BTreeMap::new();
        for &partition in &info.partitions {
            let (low, high) = self.ends(control, topic, partition)?;
            let timed = |times: &Option<Vec<offsets::PartitionOffset>>| {
                let found = times.iter().flatten().find(|o| o.partition == partition);
                found.map(|o| o.offset).filter(|o| *o >= 0).unwrap_or(high)
            };
            let named = |offsets: &KafkaOffsets, otherwise: i64| {
                offsets.get(&partition).copied().unwrap_or(otherwise)
            };
            let offset = match &self.plan.start {
                KafkaStart::Earliest => low,
                KafkaStart::Latest => high,
                KafkaStart::Timestamp(_) => timed(&start_times),
                KafkaStart::Offsets(offsets) => named(offsets, low),
            };
            if offset < low || offset > high {
                return Err(self.error(format!(
                    "{topic}[{partition}]: \"start\" says offset {offset}, the topic has {low} to {high}"
                )));
            }
            let end = self.plan.end.as_ref().map(|end| match end {
                KafkaEnd::Latest => high,
                KafkaEnd::Timestamp(_) => timed(&end_times),
                KafkaEnd::Offsets(offsets) => named(offsets, high),
            });
            let at = KafkaPosition {
                topic: topic.to_owned(),
                id: info.id.clone(),
                partition,
                offset,
                end,
            };
            all.insert(partition, at);
        }
        Ok(all)
    }
}

/// A question that is asked again while leaders move.
fn retried<T>(
    mut ask: impl FnMut() -> Result<T, crate::kafka::Fault>,
) -> Result<T, crate::kafka::Fault> {
    const TRIES: usize = 20;
    let mut last = None;
    for _ in 0..TRIES {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(fault) => last = Some(fault),
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    Err(last.expect("it was asked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> KafkaPosition {
        KafkaPosition {
            topic: "t".into(),
            id: "one".into(),
            partition: 2,
            offset,
            end: None,
        }
    }

    fn decide(offset: i64, id: &str) -> Resume {
        let wanted = at(offset);
        resume(&Found {
            wanted: &wanted,
            id,
            low: 10,
            high: 20,
        })
    }

    #[test]
    fn position_within_the_log_is_gone_on_from() {
        for offset in [10, 15, 20] {
            assert_eq!(decide(offset, "one"), Resume::There);
        }
        // Older brokers tell no ids.
        assert_eq!(decide(15, ""), Resume::There);
    }

    #[test]
    fn expired_position_is_a_gap_that_says_how_many_are_gone() {
        let Resume::Gap(why) = decide(7, "one") else {
            panic!("a gap")
        };
        assert!(why.contains("3 records are gone"), "{why}");
    }

    #[test]
    fn position_behind_the_end_or_of_another_topic_id_is_a_gap() {
        let Resume::Gap(why) = decide(21, "one") else {
            panic!("a gap")
        };
        assert!(why.contains("ends at 20"), "{why}");
        let Resume::Gap(why) = decide(15, "two") else {
            panic!("a gap")
        };
        assert!(why.contains("created again"), "{why}");
    }
}
