//! Records as lines of text, in a buffer that is written out piece by piece.

use crate::format::envelope;
use crate::record::Batch;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// The JSON envelope: key, value, timestamp, window.
    Envelope,
    /// The bare value.
    Value,
}

/// Lines waiting to be written. The buffer is reused.
pub struct Lines {
    format: LineFormat,
    bytes: Vec<u8>,
    start: usize,
}

impl Lines {
    /// No lines.
    pub fn new(format: LineFormat) -> Lines {
        Lines {
            format,
            bytes: Vec::new(),
            start: 0,
        }
    }

    /// Appends a batch's records.
    pub fn push(&mut self, mut batch: Batch) {
        self.bytes.drain(..self.start);
        self.start = 0;
        match self.format {
            LineFormat::Envelope => envelope::write_envelopes(&mut batch, &mut self.bytes),
            LineFormat::Value => envelope::write_values(&mut batch, &mut self.bytes),
        }
    }

    /// All lines that wait.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Takes so many bytes off the front.
    pub fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Where the line ends that holds byte number `at` (first = 1; at least the first line): none if there are
    /// fewer bytes.
    pub fn end_of_line_from(&self, at: u64) -> Option<usize> {
        let bytes = self.bytes();
        let from = usize::try_from(at).ok()?.saturating_sub(1);
        if bytes.len() <= from {
            return None;
        }
        memchr::memchr(b'\n', &bytes[from..]).map(|i| from + i + 1)
    }
}
