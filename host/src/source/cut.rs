//! Cutting a stream of bytes into records, batch by batch.
//!
//! A cutter owns the batch under construction and nothing else: where bytes come from, and when to ask for
//! more, is the reader's affair. It never looks into a value.

use std::sync::Arc;

use crate::config::plan::BatchLimits;
use crate::plugin::{RejectKind, Rejected};
use crate::record::{Batch, NodeIndex, Origin, Origins};

use super::BadRecord;

/// The longest record that becomes one; a longer one is a bad record, and only its head is kept.
/// Far above real lines, low enough that a file without line ends cannot fill memory.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// What is kept of a bad record for its dead letter.
pub const BAD_RECORD_BYTES_MAX: usize = 64 << 10;

/// Bad records in one batch before it is handed on: an all-bad file must not pile up in memory.
pub const BAD_RECORDS_MAX: usize = 1024;

/// Whose records are cut: goes into origins and messages.
#[derive(Clone, Debug)]
pub struct Place {
    /// The source.
    pub source: NodeIndex,
    /// Its partition.
    pub partition: u32,
    /// What people call it: a path, `stdin`.
    pub name: Arc<str>,
}

impl Place {
    /// A bad record of this place; the message is led by name and line.
    pub fn bad(&self, line: u64, offset: u64, raw: &[u8], message: &str) -> BadRecord {
        BadRecord {
            raw: raw[..raw.len().min(BAD_RECORD_BYTES_MAX)].to_vec(),
            origin: Origin {
                source: self.source,
                partition: self.partition,
                offset,
            },
            rejected: Rejected {
                row: 0,
                kind: RejectKind::Source,
                message: format!("{}:{line}: {message}", self.name),
                log: Vec::new(),
            },
        }
    }
}

/// What `Cutter::cut` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes taken off the front.
    pub used: usize,
    /// The batch is full: take it before cutting on.
    pub full: bool,
}

/// Where a cutter stands in its stream, always between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Bytes before the next record.
    pub offset: u64,
    /// Line of the next record, first = 1.
    pub line: u64,
    /// Number of the next record (bad ones count), first = 1.
    pub record: u64,
}

impl Mark {
    /// The start of a stream.
    pub const START: Mark = Mark {
        offset: 0,
        line: 1,
        record: 1,
    };
}

/// Cuts records off a stream of bytes.
pub trait Cutter: Send {
    /// Takes whole records off the front of `bytes`; `end`: no more bytes follow, so what is left is
    /// the last record. Without `end`, what is left is given again, with more behind it.
    fn cut(&mut self, bytes: &[u8], end: bool, limits: &BatchLimits) -> Cut;
    /// The batch so far; none if neither record nor bad record is in it.
    fn take(&mut self) -> Option<(Batch, Vec<BadRecord>)>;
    /// Whether `take` would answer something.
    fn has_any(&self) -> bool;
    /// Line of a record of the batch taken last.
    fn line_of(&self, row: usize) -> u64;
    /// After the last whole record.
    fn mark(&self) -> Mark;
    /// Goes on at a mark, with the bytes from there. The batch is empty.
    fn set_mark(&mut self, mark: Mark);
    /// Whether the start of the stream must be known before going on in its middle (a CSV header).
    fn needs_head(&self) -> bool {
        false
    }
    /// Looks at the start of the stream, without taking records. False: more of it is needed.
    fn learn_head(&mut self, bytes: &[u8], end: bool) -> bool {
        let _ = (bytes, end);
        true
    }
    /// The bytes left over are no record, since the stream broke after them: a bad record.
    fn broken(&mut self, rest: &[u8], message: &str);
}

/// What an origin's `offset` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginUnit {
    /// Lines of the stream.
    Line,
    /// Records of the partition, where it is made of pieces of several files.
    Record,
}

/// Origins of a batch under construction: a run as long as there are no gaps.
#[derive(Debug, Default)]
pub struct OriginRun {
    first: u64,
    len: u64,
    each: Vec<u64>,
}

impl OriginRun {
    /// One more record.
    #[inline]
    pub fn push(&mut self, offset: u64) {
        if !self.each.is_empty() {
            self.each.push(offset);
        } else if self.len == 0 {
            self.first = offset;
        } else if self.first + self.len != offset {
            self.each.extend(self.first..self.first + self.len);
            self.each.push(offset);
        }
        self.len += 1;
    }

    /// What was pushed as number i.
    pub fn get(&self, i: usize) -> Option<u64> {
        match self.each.get(i) {
            Some(offset) => Some(*offset),
            None if self.each.is_empty() && (i as u64) < self.len => Some(self.first + i as u64),
            None => None,
        }
    }

    /// The origins, and a fresh start.
    pub fn take(&mut self, place: &Place) -> Origins {
        let run = std::mem::take(self);
        let origin = |offset| Origin {
            source: place.source,
            partition: place.partition,
            offset,
        };
        if run.each.is_empty() {
            Origins::Run(origin(run.first))
        } else {
            Origins::Each(run.each.into_iter().map(origin).collect())
        }
    }
}
