//! One partition of a topic.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings::rd_kafka_resp_err_t as Code;

use super::watch::Shared;
use crate::config::OnGap;
use crate::config::plan::BatchLimits;
use crate::kafka::consume::{Columns, Event, PartitionQueue};
use crate::kafka::{Fault, KafkaPosition, settings, topics};
use crate::record::{Batch, Form, NodeIndex, Origin, Origins, Value};
use crate::source::{PartitionReader, Position, Read, SourceError};

/// Reads a partition.
pub struct KafkaReader {
    shared: Arc<Shared>,
    index: NodeIndex,
    number: u32,
    name: String,
    queue: PartitionQueue,
    at: KafkaPosition,
    on_gap: OnGap,
    /// What came behind the last records, not looked at yet.
    event: Option<Event>,
    /// Reads in a row that found nothing.
    empty: u32,
    /// Size of the batch before: how much room the next one gets.
    last: (usize, usize),
    notes: Vec<String>,
}

impl KafkaReader {
    /// At a position; nothing is fetched before the first read.
    pub fn new(
        shared: &Arc<Shared>,
        index: NodeIndex,
        number: u32,
        at: KafkaPosition,
        on_gap: OnGap,
    ) -> Result<KafkaReader, Fault> {
        let queue =
            PartitionQueue::new(shared.consumer(), &at.topic, at.partition, shared.headers)?;
        Ok(KafkaReader {
            shared: Arc::clone(shared),
            index,
            number,
            name: format!("{}[{}]", at.topic, at.partition),
            queue,
            at,
            on_gap,
            event: None,
            empty: 0,
            last: (0, 0),
            notes: Vec::new(),
        })
    }

    fn error(&self, message: impl std::fmt::Display) -> SourceError {
        SourceError {
            source_name: self.shared.source_name.clone(),
            message: format!("{}: {message}", self.name),
        }
    }

    fn at_end(&self) -> bool {
        self.at.end.is_some_and(|end| self.at.offset >= end)
    }

    fn batch(&mut self, mut columns: Columns) -> Batch {
        if let Some(end) = self.at.end {
            columns.cut_at(end);
        }
        let offsets = std::mem::take(&mut columns.offsets);
        if let Some(last) = offsets.last() {
            self.at.offset = last + 1;
        } else if let Some(end) = self.at.end {
            self.at.offset = end;
        }
        self.last = (offsets.len(), columns.bytes());
        let len = offsets.len();
        let (values, keys, timestamps, headers) = columns.finish();
        let mut batch = Batch::of(len, Value::new(Form::Bytes(values)));
        batch.keys = keys;
        batch.timestamps = timestamps;
        batch.headers = headers;
        batch.origins = self.origins(&offsets);
        batch
    }

    /// A run where no offset is left out (by transactions, or by compaction).
    fn origins(&self, offsets: &[i64]) -> Origins {
        let origin = |offset: i64| Origin {
            source: self.index,
            partition: self.number,
            offset: offset as u64,
        };
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
            return Origins::None;
        };
        if last - first + 1 == offsets.len() as i64 {
            Origins::Run(origin(*first))
        } else {
            Origins::Each(offsets.iter().map(|o| origin(*o)).collect())
        }
    }

    /// Something that is no record.
    fn on_event(&mut self, event: Event) -> Result<(), SourceError> {
        match event {
            Event::End(offset) => self.at.offset = self.at.offset.max(offset),
            Event::Failed(Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, why) => self.gap(&why)?,
            Event::Failed(code, why) if is_passing(code) => {
                tracing::debug!(target: "wasmill::kafka", "{}: {why}", self.name);
            }
            Event::Failed(Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, _)
            | Event::Failed(Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID, _)
            | Event::Failed(Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, _)
            | Event::Failed(Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, _) => {
                // A broker that starts says so, too: the watching thread finds out.
                self.shared.suspect();
                self.queue
                    .start(self.at.offset)
                    .map_err(|e| self.error(e))?;
            }
            Event::Failed(Code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION, _) => {
                let why = settings::cannot_unpack(self.shared.consumer(), self.at.offset);
                return Err(self.error(why));
            }
            Event::Failed(_, why) => return Err(self.error(why)),
        }
        Ok(())
    }

    /// The position is not in the log.
    fn gap(&mut self, why: &str) -> Result<(), SourceError> {
        let (topic, partition) = (&self.at.topic, self.at.partition);
        // Offsets of another log say nothing, and on-gap is not about it.
        let anew = self.shared.is_made_anew(topic);
        if anew.map_err(|e| self.error(format!("{why}; {e}")))? {
            let why = self.shared.failure().unwrap_or_default();
            return Err(self.error(format!("{why}; it stood at offset {}", self.at.offset)));
        }
        let ends = topics::ends(
            self.shared.control(),
            topic,
            partition,
            Duration::from_secs(10),
        );
        let (low, high) = ends.map_err(|e| self.error(format!("{why}; {e}")))?;
        let what = format!(
            "offset {} is not in the topic, which has {low} to {high}",
            self.at.offset
        );
        let offset = match self.on_gap {
            OnGap::Fail => {
                let advice = "on-gap = \"earliest\" or \"latest\" on the source goes on without what is missing";
                return Err(self.error(format!("{what} ({advice})")));
            }
            OnGap::Earliest => low,
            OnGap::Latest => high,
        };
        self.notes.push(format!(
            "source {}: {}: {what}; going on at offset {offset}, as on-gap says",
            self.shared.source_name, self.name
        ));
        self.at.offset = offset;
        self.queue.start(offset).map_err(|e| self.error(e))
    }
}

/// Errors that pass by themselves: the client goes on trying.
fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT
            | Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
            | Code::RD_KAFKA_RESP_ERR__RESOLVE
            | Code::RD_KAFKA_RESP_ERR__TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE
            | Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
            | Code::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION
            | Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR
            | Code::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE
            | Code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH
    )
}

impl PartitionReader for KafkaReader {
    fn partition(&self) -> u32 {
        self.number
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self, limits: &BatchLimits) -> Result<Read, SourceError> {
        if let Some(why) = self.shared.failure() {
            return Err(self.error(format!("{why}; it stood at offset {}", self.at.offset)));
        }
        if let Some(event) = self.event.take() {
            self.on_event(event)?;
        }
        if self.at_end() {
            return Ok(Read::End);
        }
        if !self.queue.started() {
            self.queue
                .start(self.at.offset)
                .map_err(|e| self.error(e))?;
        }
        let (records, bytes) = self.last;
        let mut columns = Columns::like(records, bytes + bytes / 8);
        self.event = self.queue.read(limits.records, limits.bytes, &mut columns);
        if !columns.is_empty() {
            self.empty = 0;
            let batch = self.batch(columns);
            if batch.len > 0 {
                return Ok(Read::Batch(batch, Vec::new()));
            }
        }
        if let Some(event) = self.event.take() {
            self.on_event(event)?;
        }
        if self.at_end() {
            return Ok(Read::End);
        }
        self.empty = self.empty.saturating_add(1);
        // Records are near while some came a moment ago; a silent topic should cost next to nothing.
        Ok(Read::Pending(match self.empty {
            0..100 => 1,
            100..1_000 => 5,
            _ => 20,
        }))
    }

    fn position(&self) -> Position {
        self.at.write()
    }

    fn seek(&mut self, position: &Position) -> Result<(), SourceError> {
        // `begin` has looked at the positions of the checkpoint before this reader was made, and may have moved them.
        let wanted = KafkaPosition::read(position).map_err(|e| self.error(e))?;
        if (&wanted.topic, wanted.partition) != (&self.at.topic, self.at.partition) {
            return Err(self.error(format!(
                "the position is of {}[{}]",
                wanted.topic, wanted.partition
            )));
        }
        Ok(())
    }

    fn lag(&self) -> Option<u64> {
        let end = self.queue.seen_end()?;
        Some(u64::try_from(end - self.at.offset).unwrap_or(0))
    }

    fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}
