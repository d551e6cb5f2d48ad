//! Where a job's epochs are committed: by the manifest's name, or by a Kafka transaction.
//!
//! With transactions, snapshot and manifest are written before, and count only once the transaction that names
//! their epoch is committed: the cluster's marker says which. See `checkpoint::transaction` for what a start does.

use std::sync::Arc;

use crate::checkpoint::manifest::{PartitionPosition, TransactionNote};
use crate::config::Plan;
use crate::config::kafka::{KafkaDelivery, KafkaSinkPlan, KafkaTopics};
use crate::config::plan::{SinkConnector, SourceConnector};
use crate::kafka::KafkaPosition;
use crate::kafka::offsets::PartitionOffset;
use crate::runtime::task::TaskError;
use crate::sink::kafka::{CommitError, Marker, Scope, SourceOffsets, Transactions};
use crate::source::Position;

/// Where epochs are committed.
pub enum CommitPoint {
    /// The manifest's name.
    Manifest,
    /// The transaction of the job's exactly-once Kafka sinks.
    Transaction {
        /// Them.
        transactions: Arc<Transactions>,
        /// Their cluster: only offsets of the same one can be part of a transaction.
        brokers: String,
    },
}

impl CommitPoint {
    /// Of a plan. With transactions, they are taken over from whoever had them: call it once it is known that the
    /// job is ours. `before`: what this process last knew of them, where it starts the job anew.
    pub fn open(plan: &Plan, before: Option<&Known>) -> Result<CommitPoint, TaskError> {
        let Some((sink, topic)) = transactional(plan) else {
            return Ok(CommitPoint::Manifest);
        };
        let transactions = Transactions::open(sink, &topic, &scope(plan, sink), before);
        let transactions = transactions.map_err(|e| match e {
            CommitError::Undecided(why) => TaskError::Again(format!("kafka sink: {why}")),
            CommitError::Failed(why) => TaskError::Host(format!("kafka sink: {why}")),
        })?;
        Ok(CommitPoint::Transaction {
            transactions: Arc::new(transactions),
            brokers: sink.brokers.clone(),
        })
    }

    /// The transactions, if they are it.
    pub fn transactions(&self) -> Option<&Arc<Transactions>> {
        match self {
            CommitPoint::Manifest => None,
            CommitPoint::Transaction { transactions, .. } => Some(transactions),
        }
    }

    /// What the manifest says of it.
    pub fn note(&self) -> Option<TransactionNote> {
        let transactions = self.transactions()?;
        Some(TransactionNote {
            id: transactions.id().to_owned(),
            after: transactions.known_marker().map(|m| m.epoch),
        })
    }

    /// Commits an epoch whose manifest is written. With transactions, offsets of the cluster's sources are part of it.
    pub fn commit(
        &self,
        plan: &Plan,
        epoch: u64,
        positions: &[PartitionPosition],
    ) -> Result<(), TaskError> {
        let CommitPoint::Transaction {
            transactions,
            brokers,
        } = self
        else {
            return Ok(());
        };
        let sources: Vec<SourceOffsets> = plan
            .sources
            .iter()
            .filter_map(|source| match &source.connector {
                SourceConnector::Kafka(kafka) if kafka.brokers == *brokers => Some((source, kafka)),
                _ => None,
            })
            .map(|(source, kafka)| SourceOffsets {
                group: kafka.group.clone(),
                offsets: offsets(epoch, positions.iter().filter(|p| p.source == source.name)),
            })
            .collect();
        transactions.commit(epoch, &sources).map_err(|e| match e {
            CommitError::Undecided(why) => TaskError::Again(why),
            CommitError::Failed(why) => TaskError::Host(why),
        })
    }

    /// Whether the transaction has the offsets of a source.
    pub fn has_offsets_of(&self, source: &SourceConnector) -> bool {
        match (self, source) {
            (CommitPoint::Transaction { brokers, .. }, SourceConnector::Kafka(kafka)) => {
                kafka.brokers == *brokers
            }
            _ => false,
        }
    }
}

/// What a process knows of the transactions that it had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The marker that it found or wrote last.
    pub marker: Option<Marker>,
    /// Its own name in markers.
    pub by: String,
    /// Topics that it wrote to.
    pub topics: Vec<String>,
}

fn offsets<'a>(
    epoch: u64,
    positions: impl Iterator<Item = &'a PartitionPosition>,
) -> Vec<PartitionOffset> {
    positions
        .filter_map(|p| KafkaPosition::read(&Position(p.position.clone())).ok())
        .map(|at| PartitionOffset {
            topic: at.topic,
            partition: at.partition,
            offset: at.offset,
            metadata: format!("wasmill epoch={epoch}"),
        })
        .collect()
}

/// What the transactions are about, as far as the plan says it: records may name more topics.
fn scope(plan: &Plan, transactional: &KafkaSinkPlan) -> Scope {
    let topics = plan.sinks.iter().filter_map(|s| match &s.connector {
        SinkConnector::Kafka(k) if k.delivery == KafkaDelivery::ExactlyOnce => {
            k.topic.fixed.clone()
        }
        _ => None,
    });
    let groups = plan.sources.iter().filter_map(|s| match &s.connector {
        SourceConnector::Kafka(k) if k.brokers == transactional.brokers => Some(k.group.clone()),
        _ => None,
    });
    let mut scope = Scope {
        topics: topics.collect(),
        groups: groups.collect(),
    };
    for names in [&mut scope.topics, &mut scope.groups] {
        names.sort();
        names.dedup();
    }
    scope
}

/// The sink whose settings the transactions have, and the topic that their marker is kept by.
fn transactional(plan: &Plan) -> Option<(&KafkaSinkPlan, String)> {
    plan.checkpoint.as_ref()?;
    let sinks: Vec<&KafkaSinkPlan> = plan
        .sinks
        .iter()
        .filter_map(|s| match &s.connector {
            SinkConnector::Kafka(k) if k.delivery == KafkaDelivery::ExactlyOnce => Some(&**k),
            _ => None,
        })
        .collect();
    let first = *sinks.first()?;
    let fixed = sinks.iter().find_map(|s| s.topic.fixed.clone());
    let read = plan.sources.iter().find_map(|s| match &s.connector {
        SourceConnector::Kafka(k) if k.brokers == first.brokers => match &k.topics {
            KafkaTopics::List(names) => names.first().cloned(),
            KafkaTopics::Pattern(_) => None,
        },
        _ => None,
    });
    // `check` refuses a job without either.
    Some((first, fixed.or(read)?))
}
