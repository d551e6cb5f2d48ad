//! One task's writer: encodes, sends, and waits where there is no room.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::Array;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;

use super::Shared;
use super::encode::Messages;
use super::transactions::Held;
use crate::config::KafkaSinkPlan;
use crate::kafka::produce::{Outgoing, Producer, Sent};
use crate::kafka::topics::Topic;
use crate::record::Batch;
use crate::sink::{SinkError, SinkWriter};

/// Where there is no room: between two looks.
const FULL_WAIT: Duration = Duration::from_millis(2);

/// A writer.
pub struct KafkaWriter {
    plan: KafkaSinkPlan,
    shared: Arc<Shared>,
    sender: Sender,
    held: Option<Arc<Held>>,
}

/// Sends messages to their topics.
#[derive(Clone)]
pub(super) struct Sender {
    sink: Arc<str>,
    producer: Arc<Producer>,
    fixed: Option<Arc<Topic>>,
    transactional: bool,
    headers: Vec<(CString, Vec<u8>)>,
}

impl KafkaWriter {
    /// A writer of a sink.
    pub(super) fn new(
        name: &str,
        plan: &KafkaSinkPlan,
        shared: &Arc<Shared>,
    ) -> Result<KafkaWriter, SinkError> {
        let fixed = match &plan.topic.fixed {
            Some(topic) => {
                let topic = shared.producer.topic(topic);
                Some(topic.map_err(|e| SinkError::new(name, e.to_string()))?)
            }
            None => None,
        };
        let sender = Sender {
            sink: name.into(),
            producer: Arc::clone(&shared.producer),
            fixed,
            transactional: shared.transactions.is_some(),
            headers: Vec::new(),
        };
        let held = shared.transactions.as_ref().map(|t| t.hold(sender.clone()));
        Ok(KafkaWriter {
            plan: plan.clone(),
            shared: Arc::clone(shared),
            sender,
            held,
        })
    }

    fn aborted(&self) -> bool {
        self.shared.aborted.load(Ordering::Acquire)
    }
}

impl Sender {
    pub(super) fn error(&self, message: impl Into<String>) -> SinkError {
        SinkError::new(&self.sink, message)
    }

    /// A producer that will not do any more. What a transaction had is not lost: started anew, the job makes it again.
    fn check(&self) -> Result<(), SinkError> {
        self.producer.check().map_err(|e| SinkError {
            again: self.transactional && !e.comes_again,
            ..self.error(e.message)
        })
    }

    /// Hands all over; waits for room, until `stop` says that there is no sense in it.
    pub(super) fn send(
        &mut self,
        messages: &Messages,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), SinkError> {
        let mut headers = std::mem::take(&mut self.headers);
        let any_headers = messages.any_headers();
        for row in 0..messages.len() {
            if any_headers {
                messages.headers_of(row, &mut headers);
            }
            let record = Outgoing {
                key: messages
                    .keys
                    .as_ref()
                    .filter(|k| k.is_valid(row))
                    .map(|k| k.value(row)),
                value: messages
                    .values
                    .is_valid(row)
                    .then(|| messages.values.value(row)),
                timestamp: messages
                    .timestamps
                    .as_ref()
                    .filter(|t| t.is_valid(row))
                    .map(|t| t.value(row))
                    // Kafka has no time before 1970.
                    .filter(|t| *t >= 0),
                headers: if any_headers { &headers } else { &[] },
            };
            let named = messages.topics.as_ref().and_then(|t| t[row].as_deref());
            self.send_one(named, &record, stop)?;
        }
        self.headers = headers;
        Ok(())
    }

    fn send_one(
        &self,
        named: Option<&str>,
        record: &Outgoing<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), SinkError> {
        let other;
        let topic = match (named, &self.fixed) {
            (Some(name), _) => {
                other = self
                    .producer
                    .topic(name)
                    .map_err(|e| self.error(e.to_string()))?;
                &other
            }
            (None, Some(fixed)) => fixed,
            (None, None) => {
                return Err(self.error(
                    "a record names no topic at \"topic-from\", and the sink has no \"topic\" for such",
                ));
            }
        };
        loop {
            match self.producer.send(topic, record) {
                Ok(Sent::Queued) => return Ok(()),
                Ok(Sent::Full) => {
                    self.check()?;
                    if stop() {
                        return Err(self.error(
                            self.producer
                                .client()
                                .explain("stopped while waiting for room to send"),
                        ));
                    }
                    self.producer.client().poll(FULL_WAIT);
                }
                Err(fault) => {
                    // Why the producer takes no records any more, where a report of delivery said it.
                    self.check()?;
                    // The transaction cannot be gone on with, or somebody else has it.
                    if fault.fatal
                        || fault.is_fenced()
                        || fault.code == Code::RD_KAFKA_RESP_ERR__STATE
                    {
                        return Err(SinkError {
                            again: self.transactional,
                            ..self.error(fault.to_string())
                        });
                    }
                    let bytes =
                        record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len);
                    return Err(
                        self.error(format!("a record of {bytes} bytes cannot be sent: {fault}"))
                    );
                }
            }
        }
    }
}

impl SinkWriter for KafkaWriter {
    fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        let from = self.plan.topic.from.as_deref();
        let messages = Messages::of(batch, self.plan.format, self.plan.headers, from);
        let shared = Arc::clone(&self.shared);
        let stop = || shared.aborted.load(Ordering::Acquire);
        match (&self.held, &shared.transactions) {
            (Some(held), Some(transactions)) => {
                transactions.write(held, &mut self.sender, messages, &stop)?;
            }
            _ => {
                while shared.is_draining() && !stop() {
                    self.sender.check()?;
                    self.sender.producer.client().poll(FULL_WAIT);
                }
                self.sender.send(&messages, &stop)?;
            }
        }
        self.sender.producer.client().poll(Duration::ZERO);
        self.sender.check()
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        // What lingers leaves by itself within milliseconds.
        if let (Some(held), Some(transactions)) = (&self.held, &self.shared.transactions) {
            transactions.release(held, &mut self.sender)?;
        }
        self.sender.producer.client().poll(Duration::ZERO);
        self.sender.check()
    }

    fn prepare(&mut self, epoch: u64) -> Result<serde_json::Value, SinkError> {
        if let (Some(held), Some(_)) = (&self.held, &self.shared.transactions) {
            // The commit waits for what was sent.
            held.end(epoch);
            return Ok(serde_json::Value::Null);
        }
        let _draining = self.shared.drain();
        while !self.sender.producer.drain() {
            self.sender.check()?;
            if self.aborted() {
                let what = "stopped while waiting for acknowledgements";
                return Err(self
                    .sender
                    .error(self.sender.producer.client().explain(what)));
            }
        }
        self.sender.check()?;
        Ok(serde_json::Value::Null)
    }

    fn commit(&mut self, _epoch: u64, _prepared: &serde_json::Value) -> Result<(), SinkError> {
        Ok(())
    }
}
