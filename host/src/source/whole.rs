//! A whole file is one record.

use crate::config::plan::BatchLimits;
use crate::record::{Batch, Blobs, Form, Value};

use super::BadRecord;
use super::cut::{BAD_RECORD_BYTES_MAX, Cut, Cutter, Mark, OriginRun, Place, RECORD_BYTES_MAX};

/// Takes everything up to the end of the stream.
pub struct WholeCutter {
    place: Place,
    mark: Mark,
    value: Option<Vec<u8>>,
    bad: Vec<BadRecord>,
    /// Head and length of a file beyond the limit.
    long: Option<(Vec<u8>, u64)>,
}

impl WholeCutter {
    /// A cutter at the start of a file.
    pub fn new(place: Place) -> WholeCutter {
        WholeCutter {
            place,
            mark: Mark::START,
            value: None,
            bad: Vec::new(),
            long: None,
        }
    }

    fn finish(&mut self, bytes: u64) {
        self.mark.offset += bytes;
        self.mark.record += 1;
    }
}

impl Cutter for WholeCutter {
    fn cut(&mut self, bytes: &[u8], end: bool, _limits: &BatchLimits) -> Cut {
        if let Some((_, length)) = &mut self.long {
            *length += bytes.len() as u64;
        } else if bytes.len() > RECORD_BYTES_MAX {
            self.long = Some((bytes[..BAD_RECORD_BYTES_MAX].to_vec(), bytes.len() as u64));
        }
        if !end {
            let used = if self.long.is_some() { bytes.len() } else { 0 };
            return Cut { used, full: false };
        }
        if let Some((head, length)) = self.long.take() {
            let message =
                format!("the file has {length} bytes, the limit of a record is {RECORD_BYTES_MAX}");
            self.bad.push(self.place.bad(1, 1, &head, &message));
            self.finish(length);
        } else if self.mark.record == 1 {
            // An empty file is an empty value.
            self.value = Some(bytes.to_vec());
            self.finish(bytes.len() as u64);
        }
        Cut {
            used: bytes.len(),
            full: false,
        }
    }

    fn take(&mut self) -> Option<(Batch, Vec<BadRecord>)> {
        if !self.has_any() {
            return None;
        }
        let values: Blobs = self.value.take().into_iter().collect();
        let mut origins = OriginRun::default();
        for _ in 0..values.len() {
            origins.push(1);
        }
        let array = values
            .iter()
            .map(Some)
            .collect::<arrow_array::BinaryArray>();
        let mut batch = Batch::of(values.len(), Value::new(Form::Bytes(array)));
        batch.origins = origins.take(&self.place);
        Some((batch, std::mem::take(&mut self.bad)))
    }

    fn has_any(&self) -> bool {
        self.value.is_some() || !self.bad.is_empty()
    }

    fn line_of(&self, _row: usize) -> u64 {
        1
    }

    fn mark(&self) -> Mark {
        self.mark
    }

    fn set_mark(&mut self, mark: Mark) {
        self.mark = mark;
        self.value = None;
        self.long = None;
    }

    fn broken(&mut self, rest: &[u8], message: &str) {
        let (head, bytes) = self
            .long
            .take()
            .unwrap_or_else(|| (rest.to_vec(), rest.len() as u64));
        self.bad.push(self.place.bad(1, 1, &head, message));
        self.finish(bytes);
    }
}
