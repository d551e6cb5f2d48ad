//! What a job says of Kafka: plain data of the plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::plan::FileFormat;
use super::problem::Span;
use super::secret::{Secret, SecretRules, SecretText};

/// `type = "kafka"` of a source.
#[derive(Clone, Debug)]
pub struct KafkaSourcePlan {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// What is read.
    pub topics: KafkaTopics,
    /// Where offsets are committed, for tools that show lag.
    pub group: String,
    /// Where a job without checkpoint begins.
    pub start: KafkaStart,
    /// Where it ends; none: never.
    pub end: Option<KafkaEnd>,
    /// Whether records of open and aborted transactions are read, too.
    pub uncommitted: bool,
    /// What to do where records that should be read are gone.
    pub on_gap: OnGap,
    /// Whether records come with their headers.
    pub headers: bool,
    /// `[source.x.client]`.
    pub client: Vec<ClientSetting>,
}

/// Topics that are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaTopics {
    /// These.
    List(Vec<String>),
    /// All whose names match, and those to come.
    Pattern(String),
}

/// Offsets by partition.
pub type KafkaOffsets = BTreeMap<i32, i64>;

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaStart {
    /// With the first record there is.
    Earliest,
    /// With the next record to come.
    Latest,
    /// With the first record at least as new, milliseconds since 1970 UTC.
    Timestamp(i64),
    /// Here, in every topic; partitions that are not named begin with their first record.
    Offsets(KafkaOffsets),
}

/// Where to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaEnd {
    /// Before what comes after the job's start.
    Latest,
    /// Before the first record at least as new, milliseconds since 1970 UTC.
    Timestamp(i64),
    /// Before these, in every topic; partitions that are not named are read to where they end at the start.
    Offsets(KafkaOffsets),
}

/// What to do where records that should be read are gone: expired, or the topic was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// Stop, and say what was found.
    Fail,
    /// Go on with the first record there is.
    Earliest,
    /// Go on with the next record to come.
    Latest,
}

/// `type = "kafka"` of a sink.
#[derive(Clone, Debug)]
pub struct KafkaSinkPlan {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Where records go.
    pub topic: SinkTopic,
    /// What a record's value is.
    pub format: FileFormat,
    /// What is promised.
    pub delivery: KafkaDelivery,
    /// `murmur2_random` or another of librdkafka's.
    pub partitioner: &'static str,
    /// `none`, `lz4`, `zstd` …
    pub compression: &'static str,
    /// Whether records carry their headers.
    pub headers: bool,
    /// `[sink.x.client]`.
    pub client: Vec<ClientSetting>,
    /// Name of the job: transactions carry it.
    pub job: String,
    /// Interval of checkpoints, which transactions follow; milliseconds.
    pub every_ms: Option<i64>,
}

/// Where a sink's records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkTopic {
    /// All of them, or those whose value names none.
    pub fixed: Option<String>,
    /// JSON pointer to the topic's name in the value.
    pub from: Option<Arc<str>>,
}

/// What a Kafka sink promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaDelivery {
    /// Transactions, one an epoch.
    ExactlyOnce,
    /// What came after the last checkpoint may come again.
    AtLeastOnce,
}

/// A setting of the client library.
#[derive(Clone, Debug)]
pub struct ClientSetting {
    /// librdkafka's name.
    pub name: String,
    /// Where its value stands.
    pub span: Span,
    /// As typed.
    pub text: SecretText,
    /// With secrets put in; none until the job is about to run.
    pub value: Option<Secret>,
}

impl ClientSetting {
    /// Puts secrets in.
    pub fn resolved(&self, rules: &SecretRules) -> ClientSetting {
        ClientSetting {
            value: self.text.resolve(rules).ok(),
            ..self.clone()
        }
    }
}

/// Settings as the client takes them.
pub fn client_settings(all: &[ClientSetting]) -> impl Iterator<Item = (&str, &str)> {
    all.iter().filter_map(|s| {
        let value = s.value.as_ref()?.expose();
        Some((s.name.as_str(), value))
    })
}
