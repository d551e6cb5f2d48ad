//! What a sink promises after a crash: a property of the plan, told by `check` and in the summary.

use super::kafka::KafkaDelivery;
use super::plan::{Plan, SinkConnector, SinkPlan, SourceConnector};

/// What is promised of a sink's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Each result is visible once, whatever happened.
    ExactlyOnce,
    /// After a crash, results since the last checkpoint come again.
    AtLeastOnce,
    /// Nothing is kept, so a job that stops starts anew.
    OneRun,
}

impl Delivery {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Delivery::ExactlyOnce => "exactly once",
            Delivery::AtLeastOnce => "at least once",
            Delivery::OneRun => "at least once (no checkpoint: a run starts anew)",
        }
    }
}

/// What a plan promises of one of its sinks.
pub fn delivery<P>(plan: &Plan<P>, sink: &SinkPlan) -> Delivery {
    if plan.checkpoint.is_none() {
        return Delivery::OneRun;
    }
    // Standard input cannot be read again: what was lost with the process is lost.
    let replayed = plan
        .sources
        .iter()
        .all(|s| !matches!(s.connector, SourceConnector::Stdin));
    match &sink.connector {
        SinkConnector::File { .. } if replayed => Delivery::ExactlyOnce,
        SinkConnector::Kafka(kafka) if replayed && kafka.delivery == KafkaDelivery::ExactlyOnce => {
            Delivery::ExactlyOnce
        }
        _ => Delivery::AtLeastOnce,
    }
}
