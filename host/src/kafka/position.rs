//! Where a partition stands, as checkpoints keep it. Must stay readable.

use serde::{Deserialize, Serialize};

use crate::source::Position;

/// A place in a partition's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaPosition {
    /// Topic.
    pub topic: String,
    /// The topic's id: another one is another log, whatever its name.
    #[serde(default)]
    pub id: String,
    /// Partition.
    pub partition: i32,
    /// The next record to read.
    pub offset: i64,
    /// Where a bounded run ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
}

impl KafkaPosition {
    /// From a checkpoint.
    pub fn read(position: &Position) -> Result<KafkaPosition, String> {
        serde_json::from_value(position.0.clone())
            .map_err(|e| format!("not a position in Kafka: {}: {e}", position.0))
    }

    /// For a checkpoint.
    pub fn write(&self) -> Position {
        Position(serde_json::to_value(self).expect("a position is plain data"))
    }
}
