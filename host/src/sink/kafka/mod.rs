//! Topics of a Kafka cluster.
//!
//! `at-least-once`: one idempotent producer a sink; an epoch ends when all that was sent is acknowledged.
//! `exactly-once`: one transactional producer a job; the transaction of an epoch is the job's commit point
//! (`Transactions`). Only delivery reports say what was delivered; a flush that answers "ok" says nothing.

mod encode;
mod settle;
mod transactions;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::kafka::client_settings;
use crate::config::{KafkaDelivery, KafkaSinkPlan};
use crate::kafka::produce::Producer;
use crate::kafka::{Client, Kind, settings, topics};

use super::{Sink, SinkError, SinkWriter};

pub use settle::Scope;
pub use transactions::{CommitError, Marker, SourceOffsets, Transactions};
use writer::KafkaWriter;

/// How long a start waits for the cluster.
const WAIT: Duration = Duration::from_secs(30);

/// A sink.
pub struct KafkaSink {
    name: String,
    plan: KafkaSinkPlan,
    shared: Arc<Shared>,
}

/// What a sink's writers share.
pub(super) struct Shared {
    producer: Arc<Producer>,
    transactions: Option<Arc<Transactions>>,
    aborted: AtomicBool,
    /// Writers that wait until all that was sent is acknowledged. Others add nothing meanwhile: of a producer that all share
    /// no more is known than whether anything at all is on its way, and under load there may always be something.
    draining: AtomicUsize,
}

/// A writer that waits for acknowledgements.
pub(super) struct Draining<'s>(&'s Shared);

impl Shared {
    /// Others are not to send until this is over.
    pub(super) fn drain(&self) -> Draining<'_> {
        self.draining.fetch_add(1, Ordering::AcqRel);
        Draining(self)
    }

    /// Whether somebody waits for acknowledgements.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire) > 0
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.draining.fetch_sub(1, Ordering::AcqRel);
    }
}

impl KafkaSink {
    /// `transactions`: those of the job, for delivery exactly once.
    pub fn open(
        name: &str,
        plan: &KafkaSinkPlan,
        transactions: Option<&Arc<Transactions>>,
    ) -> Result<KafkaSink, SinkError> {
        let transactions = match plan.delivery {
            KafkaDelivery::AtLeastOnce => None,
            KafkaDelivery::ExactlyOnce => Some(transactions.cloned().ok_or_else(|| {
                SinkError::new(name, "delivery = \"exactly-once\" needs [checkpoint]")
            })?),
        };
        let producer = match &transactions {
            Some(transactions) => Arc::clone(transactions.producer()),
            None => {
                // Without end: while the cluster is away, the job waits.
                let more = [("message.timeout.ms", "0".to_owned())];
                let producer = producer(plan, &more).map_err(|e| SinkError::new(name, e))?;
                if let Some(topic) = &plan.topic.fixed {
                    topics::must_exist(producer.client(), topic, WAIT)
                        .map_err(|e| SinkError::new(name, e))?;
                }
                Arc::new(producer)
            }
        };
        Ok(KafkaSink {
            name: name.to_owned(),
            plan: plan.clone(),
            shared: Arc::new(Shared {
                producer,
                transactions,
                aborted: AtomicBool::new(false),
                draining: AtomicUsize::new(0),
            }),
        })
    }
}

/// A producer as a sink wants it. `more` goes before the job's own settings.
fn producer(plan: &KafkaSinkPlan, more: &[(&str, String)]) -> Result<Producer, String> {
    let ours = settings::producer();
    let ours = ours.iter().map(|(k, v)| (*k, v.as_str()));
    let own = [
        ("bootstrap.servers", plan.brokers.as_str()),
        ("partitioner", plan.partitioner),
        ("compression.type", plan.compression),
    ];
    let all = [("client.id", "wasmill")]
        .into_iter()
        .chain(ours)
        .chain(more.iter().map(|(k, v)| (*k, v.as_str())))
        .chain(client_settings(&plan.client))
        .chain(settings::PRODUCER_FIXED.iter().copied())
        .chain(own);
    let client =
        Client::new(Kind::Producer, all).map_err(|e| format!("the client cannot be made: {e}"))?;
    Ok(Producer::new(client))
}

impl Sink for KafkaSink {
    fn writer(&self, _task: usize) -> Result<Box<dyn SinkWriter>, SinkError> {
        let writer = KafkaWriter::new(&self.name, &self.plan, &self.shared)?;
        Ok(Box::new(writer))
    }

    fn abort(&self) {
        self.shared.aborted.store(true, Ordering::Release);
        if let Some(transactions) = &self.shared.transactions {
            transactions.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::BinaryArray;

    use super::*;
    use crate::config::SinkTopic;
    use crate::config::plan::FileFormat;
    use crate::record::{Batch, Form, Value};

    /// A sink of a cluster that nobody can reach: what is sent waits.
    fn unreachable() -> KafkaSink {
        let plan = KafkaSinkPlan {
            brokers: "127.0.0.1:1".into(),
            topic: SinkTopic {
                fixed: None,
                from: Some("/topic".into()),
            },
            format: FileFormat::Json,
            delivery: KafkaDelivery::AtLeastOnce,
            partitioner: "murmur2_random",
            compression: "none",
            headers: false,
            client: Vec::new(),
            job: "job".into(),
            every_ms: None,
        };
        KafkaSink::open("out", &plan, None).expect("nothing is asked for yet")
    }

    fn record() -> Batch {
        let values = BinaryArray::from_iter_values([br#"{"topic":"t"}"#]);
        Batch::of(1, Value::new(Form::Bytes(values)))
    }

    /// Waits until it is so: without end, as what is waited for needs no broker.
    fn until(is_so: impl Fn() -> bool) {
        while !is_so() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn while_a_writer_waits_for_acknowledgements_no_other_adds_to_what_it_waits_for() {
        let sink = unreachable();
        let (mut one, mut other) = (
            sink.writer(0).expect("a writer"),
            sink.writer(1).expect("a writer"),
        );
        let waiting = || sink.shared.producer.waiting();
        one.write(record()).expect("there is room");
        assert_eq!(waiting(), 1);
        std::thread::scope(|scope| {
            let prepares = scope.spawn(|| one.prepare(1));
            until(|| sink.shared.is_draining());
            let writes = scope.spawn(|| other.write(record()));
            // Long enough for a writer that is not held.
            std::thread::sleep(Duration::from_millis(300));
            let (waits, goes_on) = (waiting(), writes.is_finished());
            // A job that ends keeps nobody waiting, nor does this test when it fails.
            sink.abort();
            let prepared = prepares.join().expect("no panic");
            let _ = writes.join().expect("no panic");
            assert_eq!((waits, goes_on), (1, false));
            let why = prepared.expect_err("it was stopped").to_string();
            assert!(
                why.contains("stopped while waiting for acknowledgements"),
                "{why}"
            );
        });
        assert!(!sink.shared.is_draining());
        // Then others send again.
        let before = waiting();
        other.write(record()).expect("there is room");
        assert_eq!(waiting(), before + 1);
    }
}
