use std::sync::Arc;

use arrow_array::{BinaryArray, Int64Array};

use super::{NodeIndex, Value};

/// Records of one partition in order, as columns of one length.
///
/// Selecting, joining and cutting batches is in `record::select` (one implementation for all columns).
#[derive(Clone, Debug)]
pub struct Batch {
    /// How many records.
    pub len: usize,
    /// Keys; none: no record has one.
    pub keys: Option<BinaryArray>,
    /// Milliseconds since 1970 UTC; none: no record has one.
    pub timestamps: Option<Int64Array>,
    /// The values.
    pub value: Value,
    /// The windows that results belong to: only the window step's own output has them.
    pub windows: Option<Windows>,
    /// Headers, where the source has such.
    pub headers: Option<Arc<Headers>>,
    /// Where each record came from, for messages and dead letters.
    pub origins: Origins,
    /// What was wrong with each record: only records of an errors port have this.
    pub errors: Option<Arc<[ErrorInfo]>>,
}

impl Batch {
    /// A batch with values only.
    pub fn of(len: usize, value: Value) -> Batch {
        Batch {
            len,
            keys: None,
            timestamps: None,
            value,
            windows: None,
            headers: None,
            origins: Origins::None,
            errors: None,
        }
    }
}

/// The `error` part of a dead letter, as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorInfo {
    /// Step or source where it failed.
    pub step: Arc<str>,
    /// `plugin.function`, where one was at work.
    pub function: Option<Arc<str>>,
    /// SHA-256 of the plugin's file, hex.
    pub plugin_sha256: Option<Arc<str>>,
    /// `RejectKind::name`.
    pub kind: &'static str,
    /// In words.
    pub message: String,
    /// Name of the source that the record was read from, where it still is known.
    pub source: Option<Arc<str>>,
    /// Its partition (for files: the number; the message has the path).
    pub partition: Option<u32>,
    /// Its offset there (for files: the line).
    pub offset: Option<u64>,
    /// The guest's last log lines.
    pub log: Vec<String>,
}

/// [start, end) of each record's window.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    /// Inclusive starts.
    pub starts: Int64Array,
    /// Exclusive ends.
    pub ends: Int64Array,
}

/// Headers of all records: those of record i are entries `first[i]..first[i + 1]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Headers {
    /// n + 1 positions.
    pub first: Vec<u32>,
    /// Names.
    pub names: super::Blobs,
    /// Values.
    pub values: super::Blobs,
}

/// Where a record was read: the position that a dead letter and an error message name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The source.
    pub source: NodeIndex,
    /// Its partition.
    pub partition: u32,
    /// Position in the partition: for files the line (first = 1), else the record's number or offset.
    pub offset: u64,
}

impl Origin {
    /// Stands in `Origins::Each` for a record that no single input record stands behind.
    pub const NONE: Origin = Origin {
        source: NodeIndex::MAX,
        partition: u32::MAX,
        offset: u64::MAX,
    };
}

/// Origins of all records of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Origins {
    /// Records that no single input record stands behind (results of windows).
    None,
    /// Straight from a source: record i is `first.offset + i`.
    Run(Origin),
    /// One by one.
    Each(Arc<[Origin]>),
}

impl Origins {
    /// Record i's origin.
    pub fn get(&self, i: usize) -> Option<Origin> {
        match self {
            Origins::None => None,
            Origins::Run(first) => Some(Origin {
                offset: first.offset + i as u64,
                ..*first
            }),
            Origins::Each(all) => all.get(i).copied().filter(|origin| *origin != Origin::NONE),
        }
    }
}
