//! What becomes of records that fail: counted, sent to the errors port, or the end of the job.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::config::plan::OnError;
use crate::plugin::{RejectKind, Rejected};
use crate::record::{Batch, ErrorInfo, NodeIndex, Origin, Origins, shown_key};
use crate::source::PartitionReader;
use crate::step::StepError;

/// Dead letters and rejected rows kept in memory at once: longer messages are cut.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The name of each (source, partition) that was met, and what its offsets count.
type PartitionNames = HashMap<(NodeIndex, u32), (Arc<str>, &'static str)>;

/// Names of sources and of their partitions, for messages. Shared by all tasks of a job.
#[derive(Clone, Debug, Default)]
pub struct OriginNames {
    sources: Arc<Vec<Arc<str>>>,
    partitions: Arc<RwLock<PartitionNames>>,
}

impl OriginNames {
    /// Of a job's sources, in the plan's order.
    pub fn new<'a>(sources: impl Iterator<Item = &'a str>) -> OriginNames {
        OriginNames {
            sources: Arc::new(sources.map(Arc::from).collect()),
            partitions: Arc::default(),
        }
    }

    /// Notes what people call a partition (a file's path).
    pub fn name_partition(&self, source: NodeIndex, reader: &dyn PartitionReader) {
        self.partitions.write().insert(
            (source, reader.partition()),
            (Arc::from(reader.name()), reader.counts()),
        );
    }

    /// A source's name.
    pub fn source(&self, source: NodeIndex) -> Option<Arc<str>> {
        self.sources.get(usize::from(source)).cloned()
    }

    /// What people call a partition: its name, or its number.
    pub fn partition(&self, source: NodeIndex, partition: u32) -> String {
        let name = self
            .partitions
            .read()
            .get(&(source, partition))
            .map(|(name, _)| name.to_string());
        name.unwrap_or_else(|| partition.to_string())
    }

    fn describe(&self, origin: Origin) -> String {
        let source = self.source(origin.source).unwrap_or_else(|| Arc::from("?"));
        match self
            .partitions
            .read()
            .get(&(origin.source, origin.partition))
        {
            Some((name, counted)) => {
                format!("source {source}, {name}, {counted} {}", origin.offset)
            }
            None => format!(
                "source {source}, partition {}, offset {}",
                origin.partition, origin.offset
            ),
        }
    }
}

/// A step's (or source's) policy, with what its messages need.
#[derive(Clone, Debug)]
pub struct ErrorPolicy {
    /// `step` or `source`, for messages.
    pub noun: &'static str,
    /// Its name.
    pub node: Arc<str>,
    /// `plugin.function`.
    pub function: Option<Arc<str>>,
    /// Hash of the plugin.
    pub plugin_sha256: Option<Arc<str>>,
    /// What to do.
    pub on_error: OnError,
    /// For origins.
    pub names: OriginNames,
}

impl ErrorPolicy {
    /// The failing rows as records of the errors port, nothing (skip), or the error that ends the job.
    pub fn settle(&self, batch: &Batch, rejected: &[Rejected]) -> Result<Option<Batch>, StepError> {
        match self.on_error {
            OnError::Fail => match rejected.first() {
                Some(first) => Err(StepError::Failed(self.message(
                    &with_key(batch, first),
                    batch.origins.get(first.row as usize),
                ))),
                None => Ok(None),
            },
            OnError::Skip => Ok(None),
            OnError::DeadLetter => {
                let rows: Vec<u32> = rejected.iter().map(|r| r.row).collect();
                let mut letters = batch.take(&rows);
                letters.errors = Some(
                    rejected
                        .iter()
                        .map(|r| {
                            let origin = batch.origins.get(r.row as usize);
                            self.info(&with_key(batch, r), origin)
                        })
                        .collect(),
                );
                Ok(Some(letters))
            }
        }
    }

    /// A failing result without an input record.
    pub fn settle_result(
        &self,
        mut result: Batch,
        rejected: &Rejected,
    ) -> Result<Option<Batch>, StepError> {
        match self.on_error {
            OnError::Fail => Err(StepError::Failed(self.message(rejected, None))),
            OnError::Skip => Ok(None),
            OnError::DeadLetter => {
                result.origins = Origins::None;
                result.errors = Some(Arc::from([self.info(rejected, None)]));
                Ok(Some(result))
            }
        }
    }

    /// The error that ends the job because of this record.
    fn message(&self, rejected: &Rejected, origin: Option<Origin>) -> String {
        let mut text = format!("{} {}", self.noun, self.node);
        if let Some(function) = &self.function {
            text += &format!(", function {function}");
        }
        if let Some(origin) = origin {
            text += &format!(": record at {}", self.names.describe(origin));
        }
        text += &format!(": {}: {}", rejected.kind.name(), cut(&rejected.message));
        if let Some(hash) = &self.plugin_sha256 {
            text += &format!(" (plugin {})", &hash[..hash.len().min(12)]);
        }
        for line in &rejected.log {
            text += &format!("\n  guest log: {line}");
        }
        text
    }

    fn info(&self, rejected: &Rejected, origin: Option<Origin>) -> ErrorInfo {
        ErrorInfo {
            step: Arc::clone(&self.node),
            function: self.function.clone(),
            plugin_sha256: self.plugin_sha256.clone(),
            kind: rejected.kind.name(),
            message: cut(&rejected.message),
            source: origin.and_then(|o| self.names.source(o.source)),
            partition: origin.map(|o| o.partition),
            offset: origin.map(|o| o.offset),
            log: rejected.log.clone(),
        }
    }
}

/// Which key's state is too large is not to be seen in its record alone.
fn with_key<'a>(batch: &Batch, rejected: &'a Rejected) -> Cow<'a, Rejected> {
    let key = crate::keyed::key_of(batch, rejected.row as usize);
    let (RejectKind::StateLimit, Some(key)) = (rejected.kind, key) else {
        return Cow::Borrowed(rejected);
    };
    let start = shown_key(key);
    let message = format!("{}; the key starts with {start:?}", rejected.message);
    Cow::Owned(Rejected {
        message,
        ..rejected.clone()
    })
}

fn cut(message: &str) -> String {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message.to_owned();
    }
    let mut end = MESSAGE_BYTES_MAX;
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} … ({} bytes)", &message[..end], message.len())
}
