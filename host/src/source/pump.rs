//! Bytes in, batches out: a buffer that is refilled by whoever has the bytes, and a cutter.
//!
//! The buffer stays at `READ_BYTES` plus one unfinished record, over files of any length.

use std::io::{self, Read};

use crate::config::plan::BatchLimits;
use crate::record::Batch;

use super::BadRecord;
use super::cut::Cutter;

/// Bytes asked of a medium at once. Large enough that the calls cost nothing beside the copying, small
/// enough that 256 open files stay at 64 MiB, and that a block is still in the cache when it is cut.
pub const READ_BYTES: usize = 256 << 10;

/// A window over a stream.
#[derive(Debug, Default)]
pub struct InputBuffer {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl InputBuffer {
    /// What was read and not consumed.
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Takes bytes off the front.
    pub fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end, "no more than there is");
    }

    /// Forgets all of it, and the memory.
    pub fn clear(&mut self) {
        *self = InputBuffer::default();
    }

    /// Appends bytes that are there already.
    pub fn push(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.data[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Reads once, up to `READ_BYTES`; 0: the stream's end.
    pub fn read_from(&mut self, stream: &mut dyn Read) -> io::Result<usize> {
        self.make_room(READ_BYTES);
        loop {
            match stream.read(&mut self.data[self.end..self.end + READ_BYTES]) {
                Ok(bytes) => {
                    self.end += bytes;
                    return Ok(bytes);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn make_room(&mut self, bytes: usize) {
        if self.data.len() - self.end >= bytes {
            return;
        }
        self.data.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.data.len() - self.end < bytes {
            // Doubling: a record that grows over many reads is moved a bounded number of times.
            let size = (self.end + bytes).max(self.data.len() * 2);
            self.data.resize(size, 0);
        }
    }
}

/// What a refill did.
#[derive(Debug)]
pub enum Filled {
    /// Bytes came.
    Some,
    /// None, for ever.
    End,
    /// None now; ask again after so many milliseconds.
    Wait(u64),
    /// The stream cannot be read further (cut off, damaged): what came before is good.
    Broken(String),
}

/// What came out.
#[derive(Debug)]
pub enum Pumped {
    /// Records.
    Batch(Batch, Vec<BadRecord>),
    /// None now.
    Wait(u64),
    /// None, for ever.
    End,
}

/// Buffer and cutter of one stream.
pub struct Pump {
    /// Cuts, and knows where the stream stands.
    pub cutter: Box<dyn Cutter>,
    /// What was read beyond.
    pub buffer: InputBuffer,
    ended: bool,
}

impl Pump {
    /// A stream that nothing was read of.
    pub fn new(cutter: Box<dyn Cutter>) -> Pump {
        Pump {
            cutter,
            buffer: InputBuffer::default(),
            ended: false,
        }
    }

    /// Another stream (or the same at another place) comes next.
    pub fn restart(&mut self) {
        self.buffer.clear();
        self.ended = false;
    }

    /// The next batch: full, or all there is before the stream ends or has nothing now.
    pub fn next<E>(
        &mut self,
        limits: &BatchLimits,
        mut fill: impl FnMut(&mut InputBuffer) -> Result<Filled, E>,
    ) -> Result<Pumped, E> {
        loop {
            let cut = self.cutter.cut(self.buffer.bytes(), self.ended, limits);
            self.buffer.consume(cut.used);
            if cut.full {
                let (batch, bad) = self.cutter.take().expect("a full batch holds something");
                return Ok(Pumped::Batch(batch, bad));
            }
            if self.ended {
                self.buffer.clear();
                return Ok(self.take_or(Pumped::End));
            }
            match fill(&mut self.buffer)? {
                Filled::Some => {}
                Filled::End => self.ended = true,
                Filled::Wait(ms) => return Ok(self.take_or(Pumped::Wait(ms))),
                Filled::Broken(message) => {
                    self.cutter.broken(self.buffer.bytes(), &message);
                    self.buffer.clear();
                    self.ended = true;
                }
            }
        }
    }

    fn take_or(&mut self, otherwise: Pumped) -> Pumped {
        match self.cutter.take() {
            Some((batch, bad)) => Pumped::Batch(batch, bad),
            None => otherwise,
        }
    }
}
