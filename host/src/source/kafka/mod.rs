//! Topics of a Kafka cluster: each partition of a topic is one of the source.
//!
//! Partitions are placed by the host (no group protocol), and read from where the job's checkpoint says; offsets
//! are committed to the group as well, for tools that show lag. What is wrong with a topic stops the job: a
//! position that is no more is never skipped silently.

mod begin;
mod reader;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::kafka::client_settings;
use crate::config::{KafkaSourcePlan, KafkaTopics};
use crate::kafka::offsets::{self, PartitionOffset};
use crate::kafka::topics::{self, TopicInfo};
use crate::kafka::{Client, KafkaPosition, Kind, comes_again, settings};
use crate::record::NodeIndex;

use super::{Committed, PartitionReader, Position, Source, SourceError};
use reader::KafkaReader;
use watch::Shared;

/// How long the start waits for the cluster.
const START_WAIT: Duration = Duration::from_secs(30);

/// One question to a broker.
const ASK: Duration = Duration::from_secs(10);

/// How often partitions found by the watching thread are taken over.
const LOOK_MS: u64 = 500;

/// The source.
pub struct KafkaSource {
    name: String,
    index: NodeIndex,
    plan: KafkaSourcePlan,
    /// From a checkpoint.
    known: BTreeMap<(String, i32), (u32, KafkaPosition)>,
    next: u32,
    shared: Option<Arc<Shared>>,
    notes: Vec<String>,
}

impl KafkaSource {
    /// Nothing is connected before `discover`.
    pub fn new(name: &str, plan: &KafkaSourcePlan, index: NodeIndex) -> KafkaSource {
        KafkaSource {
            name: name.to_owned(),
            index,
            plan: plan.clone(),
            known: BTreeMap::new(),
            next: 0,
            shared: None,
            notes: Vec::new(),
        }
    }

    fn error(&self, message: impl Into<String>) -> SourceError {
        SourceError {
            source_name: self.name.clone(),
            message: message.into(),
        }
    }

    fn client(
        &self,
        ours: &[(&'static str, String)],
        more: &[(&str, &str)],
    ) -> Result<Client, SourceError> {
        let isolation = if self.plan.uncommitted {
            "read_uncommitted"
        } else {
            "read_committed"
        };
        let ours = ours.iter().map(|(k, v)| (*k, v.as_str()));
        let fixed = settings::CONSUMER_FIXED.iter().copied();
        let own = [
            ("bootstrap.servers", self.plan.brokers.as_str()),
            ("isolation.level", isolation),
        ];
        let all = [("client.id", "wasmill")]
            .into_iter()
            .chain(ours)
            .chain(client_settings(&self.plan.client))
            .chain(fixed)
            .chain(own)
            .chain(more.iter().copied());
        Client::new(Kind::Consumer, all)
            .map_err(|e| self.error(format!("the client cannot be made: {e}")))
    }

    /// Connects, finds the partitions, and where each begins.
    fn start(&mut self) -> Result<Vec<Box<dyn PartitionReader>>, SourceError> {
        let control = Arc::new(self.client(&[], &[("group.id", &self.plan.group)])?);
        let found = self.describe(&control)?;
        let partitions = found.values().map(|t| t.partitions.len()).sum();
        let consumer = Arc::new(self.client(&settings::consumer(partitions), &[])?);
        let begins = self.begins(&control, &found)?;
        let shared = Arc::new(Shared::new(
            &self.name, &self.plan, control, consumer, &found,
        ));
        let mut readers: Vec<Box<dyn PartitionReader>> = Vec::new();
        for (number, at) in begins {
            readers.push(self.reader(&shared, number, at)?);
        }
        watch::spawn(&shared).map_err(|e| self.error(format!("cannot start a thread: {e}")))?;
        self.shared = Some(shared);
        Ok(readers)
    }

    fn reader(
        &self,
        shared: &Arc<Shared>,
        number: u32,
        at: KafkaPosition,
    ) -> Result<Box<dyn PartitionReader>, SourceError> {
        let reader = KafkaReader::new(shared, self.index, number, at, self.plan.on_gap)
            .map_err(|e| self.error(e.to_string()))?;
        Ok(Box::new(reader))
    }

    /// The topics, waiting for the cluster.
    fn describe(&self, control: &Client) -> Result<BTreeMap<String, TopicInfo>, SourceError> {
        let begun = crate::time::Stopwatch::start();
        loop {
            let tried = wanted(&self.plan.topics, control)
                .and_then(|names| Ok((topics::describe(control, &names, ASK)?, names)));
            control.poll(Duration::ZERO);
            match tried {
                Ok((found, names)) => {
                    let missing: Vec<&str> = names
                        .iter()
                        .filter(|n| !found.contains_key(*n))
                        .map(String::as_str)
                        .collect();
                    if missing.is_empty() && !found.is_empty() {
                        return Ok(found);
                    }
                    let what = match &self.plan.topics {
                        KafkaTopics::Pattern(pattern) => format!("no topic matches {pattern:?}"),
                        KafkaTopics::List(_) => format!("there is no topic {}", missing.join(", ")),
                    };
                    return Err(self.error(format!("{what} on {}", self.plan.brokers)));
                }
                Err(fault)
                    if begun.elapsed() >= START_WAIT
                        || fault.fatal
                        || control.is_denied()
                        || comes_again(fault.code) =>
                {
                    let brokers = &self.plan.brokers;
                    let seconds = begun.elapsed().as_secs();
                    return Err(self
                        .error(control.explain(format!(
                            "no answer from {brokers} in {seconds} s: {fault}"
                        ))));
                }
                Err(_) => control.poll(Duration::from_millis(200)),
            }
        }
    }
}

/// Names of the topics that are wanted.
fn wanted(topics: &KafkaTopics, client: &Client) -> Result<Vec<String>, crate::kafka::Fault> {
    match topics {
        KafkaTopics::List(names) => Ok(names.clone()),
        KafkaTopics::Pattern(pattern) => {
            let pattern = glob::Pattern::new(pattern).expect("checked with the job file");
            let mut names = topics::names(client, ASK)?;
            // The cluster's own topics only where they are asked for.
            names.retain(|n| {
                pattern.matches(n) && (!n.starts_with("__") || pattern.as_str().starts_with("__"))
            });
            names.sort();
            Ok(names)
        }
    }
}

impl Source for KafkaSource {
    fn discover(&mut self) -> Result<Vec<Box<dyn PartitionReader>>, SourceError> {
        let Some(shared) = self.shared.clone() else {
            return self.start();
        };
        let mut readers = Vec::new();
        for at in shared.take_found() {
            let number = self.next;
            self.next += 1;
            readers.push(self.reader(&shared, number, at)?);
        }
        Ok(readers)
    }

    fn discover_again_ms(&self) -> Option<u64> {
        self.plan.end.is_none().then_some(LOOK_MS)
    }

    fn restore(&mut self, known: &[(u32, Position)]) -> Result<(), SourceError> {
        for (number, position) in known {
            let at = KafkaPosition::read(position).map_err(|e| self.error(e))?;
            self.next = self.next.max(number + 1);
            self.known
                .insert((at.topic.clone(), at.partition), (*number, at));
        }
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn committed(&self) -> Option<Arc<dyn Committed>> {
        let shared: Arc<dyn Committed> = self.shared.clone()?;
        Some(shared)
    }
}

impl Committed for Shared {
    fn committed(&self, positions: &[Position]) {
        let offsets: Vec<PartitionOffset> = positions
            .iter()
            .filter_map(|p| KafkaPosition::read(p).ok())
            .map(|at| PartitionOffset {
                topic: at.topic,
                partition: at.partition,
                offset: at.offset,
                metadata: String::new(),
            })
            .collect();
        // Only for tools that show lag: the job goes on from its checkpoint.
        if let Err(fault) = offsets::commit(self.control(), &offsets) {
            tracing::warn!(target: "wasmill::kafka", "{fault}");
        }
    }
}
