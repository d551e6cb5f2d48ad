//! Lines: each ends at LF or CRLF, the last one at the end of the stream. A UTF-8 byte order mark at
//! the very start is dropped. Values are the bytes of the line, not looked into.

use arrow_array::BinaryArray;
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use memchr::{memchr, memchr_iter};

use crate::config::plan::BatchLimits;
use crate::record::{Batch, Form, Value};

use super::BadRecord;
use super::cut::{
    BAD_RECORD_BYTES_MAX, BAD_RECORDS_MAX, Cut, Cutter, Mark, OriginRun, OriginUnit, Place,
    RECORD_BYTES_MAX,
};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Cuts lines.
pub struct LineCutter {
    place: Place,
    unit: OriginUnit,
    /// Lines of nothing but white space are no records (JSON).
    skip_blank: bool,
    record_bytes_max: usize,
    mark: Mark,
    values: Vec<u8>,
    offsets: Vec<i32>,
    origins: OriginRun,
    /// Lines of the records, where origins count something else.
    lines: OriginRun,
    /// Those of the batch taken last.
    lines_taken: OriginRun,
    bad: Vec<BadRecord>,
    /// A line beyond the limit, whose end was not seen yet.
    long: Option<LongLine>,
    /// Capacities that the batch before needed: the next one is allocated once.
    values_capacity: usize,
}

struct LongLine {
    head: Vec<u8>,
    bytes: u64,
}

impl LineCutter {
    /// A cutter at the start of a stream.
    pub fn new(place: Place, unit: OriginUnit, skip_blank: bool) -> LineCutter {
        LineCutter {
            place,
            unit,
            skip_blank,
            record_bytes_max: RECORD_BYTES_MAX,
            mark: Mark::START,
            values: Vec::new(),
            offsets: vec![0],
            origins: OriginRun::default(),
            lines: OriginRun::default(),
            lines_taken: OriginRun::default(),
            bad: Vec::new(),
            long: None,
            values_capacity: 0,
        }
    }

    /// Another limit of a record's length, for tests.
    pub fn with_record_bytes_max(mut self, bytes: usize) -> LineCutter {
        self.record_bytes_max = bytes;
        self
    }

    fn origin(&self) -> u64 {
        match self.unit {
            OriginUnit::Line => self.mark.line,
            OriginUnit::Record => self.mark.record,
        }
    }

    /// One line without its LF; `bytes` is its length with it. False: the batch is full, the line was not taken.
    #[inline]
    fn push(&mut self, mut line: &[u8], bytes: u64, limits: &BatchLimits) -> bool {
        if self.mark.offset == 0 && line.starts_with(BYTE_ORDER_MARK) {
            line = &line[BYTE_ORDER_MARK.len()..];
        }
        if line.last() == Some(&b'\r') {
            line = &line[..line.len() - 1];
        }
        let records = self.offsets.len() - 1;
        if records >= limits.records.max(1)
            || (records > 0 && self.values.len() + line.len() > limits.bytes)
        {
            return false;
        }
        if line.len() > self.record_bytes_max {
            if self.bad.len() >= BAD_RECORDS_MAX {
                return false;
            }
            self.push_long(
                &line[..line.len().min(BAD_RECORD_BYTES_MAX)],
                line.len() as u64,
            );
        } else if !(self.skip_blank && line.iter().all(u8::is_ascii_whitespace)) {
            self.values.extend_from_slice(line);
            self.offsets.push(self.values.len() as i32); // at most limits.bytes or one record: below 2^31
            self.origins.push(self.origin());
            self.lines.push(self.mark.line);
            self.mark.record += 1;
        }
        self.mark.offset += bytes;
        self.mark.line += 1;
        true
    }

    fn push_long(&mut self, head: &[u8], bytes: u64) {
        let message = format!(
            "the line has {bytes} bytes, the limit is {}",
            self.record_bytes_max
        );
        self.bad.push(
            self.place
                .bad(self.mark.line, self.origin(), head, &message),
        );
        self.mark.record += 1;
    }

    /// Goes on through a line beyond the limit; the bytes it took.
    fn cut_long(&mut self, bytes: &[u8], end: bool) -> usize {
        let Some(long) = &mut self.long else { return 0 };
        let (used, ended) = match memchr(b'\n', bytes) {
            Some(at) => (at + 1, true),
            None => (bytes.len(), end),
        };
        long.bytes += used as u64;
        if ended {
            let long = self.long.take().expect("looked at above");
            self.push_long(&long.head, long.bytes);
            self.mark.offset += long.bytes;
            self.mark.line += 1;
        }
        used
    }
}

impl Cutter for LineCutter {
    fn cut(&mut self, bytes: &[u8], end: bool, limits: &BatchLimits) -> Cut {
        if self.offsets.len() == 1 {
            self.values.reserve(self.values_capacity);
        }
        let mut at = self.cut_long(bytes, end);
        if self.long.is_some() {
            return Cut {
                used: at,
                full: false,
            };
        }
        let from = at;
        for newline in memchr_iter(b'\n', &bytes[from..]) {
            let stop = from + newline;
            if !self.push(&bytes[at..stop], (stop + 1 - at) as u64, limits) {
                return Cut {
                    used: at,
                    full: true,
                };
            }
            at = stop + 1;
        }
        let rest = &bytes[at..];
        if end && !rest.is_empty() {
            if !self.push(rest, rest.len() as u64, limits) {
                return Cut {
                    used: at,
                    full: true,
                };
            }
            at = bytes.len();
        } else if rest.len() > self.record_bytes_max + BYTE_ORDER_MARK.len() + 1 {
            self.long = Some(LongLine {
                head: rest[..rest.len().min(BAD_RECORD_BYTES_MAX)].to_vec(),
                bytes: rest.len() as u64,
            });
            at = bytes.len();
        }
        Cut {
            used: at,
            full: false,
        }
    }

    fn take(&mut self) -> Option<(Batch, Vec<BadRecord>)> {
        if !self.has_any() {
            return None;
        }
        let len = self.offsets.len() - 1;
        // A little room, so that batches of nearly one size don't grow their buffer each.
        self.values_capacity = self.values.len() + self.values.len() / 8;
        let offsets = std::mem::replace(&mut self.offsets, Vec::with_capacity(len + 1));
        self.offsets.push(0);
        let values = std::mem::take(&mut self.values);
        let array = BinaryArray::new(
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            Buffer::from_vec(values),
            None,
        );
        let mut batch = Batch::of(len, Value::new(Form::Bytes(array)));
        batch.origins = self.origins.take(&self.place);
        self.lines_taken = std::mem::take(&mut self.lines);
        Some((batch, std::mem::take(&mut self.bad)))
    }

    fn has_any(&self) -> bool {
        self.offsets.len() > 1 || !self.bad.is_empty()
    }

    fn line_of(&self, row: usize) -> u64 {
        self.lines_taken.get(row).unwrap_or(self.mark.line)
    }

    fn mark(&self) -> Mark {
        self.mark
    }

    fn set_mark(&mut self, mark: Mark) {
        self.mark = mark;
        self.long = None;
    }

    fn broken(&mut self, rest: &[u8], message: &str) {
        let (head, bytes) = match self.long.take() {
            Some(long) => (long.head, long.bytes),
            None => (
                rest[..rest.len().min(BAD_RECORD_BYTES_MAX)].to_vec(),
                rest.len() as u64,
            ),
        };
        self.bad.push(
            self.place
                .bad(self.mark.line, self.origin(), &head, message),
        );
        self.mark.offset += bytes;
        self.mark.record += 1;
    }
}
