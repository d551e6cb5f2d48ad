//! A run: sorted entries in a file, cut into blocks. What finds them is in memory only, since a run never outlives its
//! process: the first name, place and checksum of each block, and a Bloom filter.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::SpillError;
use super::block::{BlockReader, BlockWriter};
use super::bloom::Bloom;

/// Bytes of a block: a page, which is what a lookup reads.
const BLOCK_BYTES: usize = 4096;
/// Bytes written, and read by cursors, at once.
const CHUNK_BYTES: usize = 128 << 10;

/// Entries in a file, in order of their names.
#[derive(Debug)]
pub(super) struct Run {
    path: PathBuf,
    file: File,
    bloom: Bloom,
    /// First names of blocks, one after the other, and where each ends.
    fences: Vec<u8>,
    fence_ends: Vec<u32>,
    /// Where each block begins in the file; one more for the end.
    offsets: Vec<u64>,
    checksums: Vec<u32>,
    /// Entries, deletions included.
    pub entries: usize,
    /// Bytes of blocks that hold nothing of use any more, about.
    pub dead_bytes: u64,
    last_name: Vec<u8>,
    /// When the youngest of its entries were taken in: the number of the first file that held them.
    pub born: u64,
}

impl Drop for Run {
    fn drop(&mut self) {
        // The folder goes with the job in any case.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A block that was read, to be used again while names come in order.
#[derive(Debug, Default)]
pub(super) struct ReadBlock {
    number: Option<usize>,
    bytes: Vec<u8>,
    reader: BlockReader,
}

impl Run {
    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.bloom.memory()
            + self.fences.capacity()
            + self.fence_ends.capacity() * size_of::<u32>()
            + self.offsets.capacity() * size_of::<u64>()
            + self.checksums.capacity() * size_of::<u32>()
    }

    fn blocks(&self) -> usize {
        self.checksums.len()
    }

    fn fence(&self, block: usize) -> &[u8] {
        let from = block.checked_sub(1).map_or(0, |b| self.fence_ends[b]);
        &self.fences[from as usize..self.fence_ends[block] as usize]
    }

    /// How many blocks begin at or before a name.
    fn blocks_until(&self, name: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.blocks());
        while low < high {
            let middle = (low + high) / 2;
            if self.fence(middle) <= name {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Whether no name of the run is within the range.
    pub fn is_apart(&self, from: &[u8], until: &[u8]) -> bool {
        self.last_name.as_slice() < from || self.fence(0) >= until
    }

    /// About how many bytes the names of a range take, whole blocks only.
    pub fn bytes_within(&self, from: &[u8], until: &[u8]) -> u64 {
        let first = self.blocks_until(from);
        let (end, ends_run) = match self.last_name.as_slice() < until {
            true => (self.blocks(), true),
            false => (self.blocks_until(until).saturating_sub(1), false),
        };
        let first = if self.fence(0) >= from { 0 } else { first };
        if end <= first && !ends_run {
            return 0;
        }
        self.offsets[end.max(first)] - self.offsets[first]
    }

    fn broken(&self, what: &'static str) -> SpillError {
        SpillError::Broken {
            what,
            path: self.path.clone(),
        }
    }

    /// Reads blocks `from..until` and checks them.
    fn read(&self, from: usize, until: usize, into: &mut Vec<u8>) -> Result<(), SpillError> {
        let (start, end) = (self.offsets[from], self.offsets[until]);
        into.resize((end - start) as usize, 0);
        self.file
            .read_exact_at(into, start)
            .map_err(|e| SpillError::io("read", &self.path, e))?;
        for block in from..until {
            let at = |b: usize| (self.offsets[b] - start) as usize;
            if xxh3_64(&into[at(block)..at(block + 1)]) as u32 != self.checksums[block] {
                return Err(self.broken("a checksum does not match"));
            }
        }
        Ok(())
    }

    /// Looks a name up: none if the run says nothing of it, `Some(None)` if it says that it was deleted. `hash` is
    /// xxh3-64 of the name.
    pub fn get<'b>(
        &self,
        name: &[u8],
        hash: u64,
        block: &'b mut ReadBlock,
    ) -> Result<Option<Option<&'b [u8]>>, SpillError> {
        if !self.bloom.may_have(hash) {
            return Ok(None);
        }
        let Some(number) = self.blocks_until(name).checked_sub(1) else {
            return Ok(None);
        };
        if block.number != Some(number) {
            block.number = None;
            self.read(number, number + 1, &mut block.bytes)?;
            block.number = Some(number);
        }
        let ReadBlock { bytes, reader, .. } = block;
        reader.start(0);
        while reader.next(bytes, bytes.len()).is_some() {
            match reader.name.as_slice().cmp(name) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => {
                    return Ok(Some(reader.value.map(|(from, to)| &bytes[from..to])));
                }
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(None)
    }
}

/// Writes a run, name by name in ascending order.
#[derive(Debug)]
pub(super) struct RunWriter {
    run: Run,
    block: BlockWriter,
    out: Vec<u8>,
    written: u64,
}

impl RunWriter {
    /// A new file, for at most so many entries.
    pub fn create(path: &Path, entries_max: usize, born: u64) -> Result<RunWriter, SpillError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|e| SpillError::io("make a file for", path, e))?;
        Ok(RunWriter {
            run: Run {
                path: path.to_owned(),
                file,
                bloom: Bloom::with_capacity(entries_max),
                fences: Vec::new(),
                fence_ends: Vec::new(),
                offsets: vec![0],
                checksums: Vec::new(),
                entries: 0,
                dead_bytes: 0,
                last_name: Vec::new(),
                born,
            },
            block: BlockWriter::default(),
            out: Vec::new(),
            written: 0,
        })
    }

    /// Appends an entry; none: it was deleted.
    pub fn push(&mut self, name: &[u8], value: Option<&[u8]>) -> Result<(), SpillError> {
        debug_assert!(
            self.run.entries == 0 || self.run.last_name.as_slice() < name,
            "entries come in order of their names, each once"
        );
        if self.block.bytes.is_empty() {
            self.run.fences.extend_from_slice(name);
            let end = u32::try_from(self.run.fences.len()).expect("a run has far fewer blocks");
            self.run.fence_ends.push(end);
        }
        self.block.push(name, value);
        self.run.bloom.insert(xxh3_64(name));
        self.run.entries += 1;
        self.run.last_name.clear();
        self.run.last_name.extend_from_slice(name);
        if self.block.bytes.len() >= BLOCK_BYTES {
            self.end_block()?;
        }
        Ok(())
    }

    /// It is made of runs the youngest of which is of that age.
    pub fn set_born(&mut self, born: u64) {
        self.run.born = born;
    }

    fn end_block(&mut self) -> Result<(), SpillError> {
        let bytes = &self.block.bytes;
        self.run.checksums.push(xxh3_64(bytes) as u32);
        self.out.extend_from_slice(bytes);
        self.run.offsets.push(self.written + self.out.len() as u64);
        self.block.clear();
        if self.out.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SpillError> {
        self.run
            .file
            .write_all(&self.out)
            .map_err(|e| SpillError::io("write", &self.run.path, e))?;
        self.written += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    /// The finished run; none: nothing was pushed.
    pub fn finish(mut self) -> Result<Option<Run>, SpillError> {
        if !self.block.bytes.is_empty() {
            self.end_block()?;
        }
        self.flush()?;
        let mut run = self.run;
        run.fences.shrink_to_fit();
        run.fence_ends.shrink_to_fit();
        run.offsets.shrink_to_fit();
        run.checksums.shrink_to_fit();
        Ok((run.entries > 0).then_some(run))
    }
}

/// Goes through a run in order.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    run: &'a Run,
    bytes: Vec<u8>,
    /// Blocks that `bytes` holds, and the one being read.
    first: usize,
    end: usize,
    block: usize,
    reader: BlockReader,
    block_end: usize,
}

impl<'a> Cursor<'a> {
    /// Before the first entry whose name is at least `from`; call `next` first. Reads `chunk` bytes at once.
    pub fn new(run: &'a Run, from: &[u8]) -> Result<(Cursor<'a>, bool), SpillError> {
        let block = run.blocks_until(from).saturating_sub(1);
        let mut cursor = Cursor {
            run,
            bytes: Vec::new(),
            first: block,
            end: block,
            block,
            reader: BlockReader::default(),
            block_end: 0,
        };
        cursor.reader.start(0);
        while cursor.next()? {
            if cursor.name() >= from {
                return Ok((cursor, true));
            }
        }
        Ok((cursor, false))
    }

    /// Name of the entry.
    pub fn name(&self) -> &[u8] {
        &self.reader.name
    }

    /// Value of the entry.
    pub fn value(&self) -> Option<&[u8]> {
        self.reader.value.map(|(from, to)| &self.bytes[from..to])
    }

    /// Moves to the next entry, if there is one.
    pub fn next(&mut self) -> Result<bool, SpillError> {
        loop {
            if self.reader.next(&self.bytes, self.block_end).is_some() {
                return Ok(true);
            }
            if self.block >= self.run.blocks() {
                return Ok(false);
            }
            if self.block >= self.end {
                // The first read is small: a scan of few entries should not cost a chunk.
                let want = if self.bytes.is_empty() {
                    BLOCK_BYTES
                } else {
                    CHUNK_BYTES
                } as u64;
                let from = self.run.offsets[self.block];
                let mut end = self.block + 1;
                while end < self.run.blocks() && self.run.offsets[end + 1] - from <= want {
                    end += 1;
                }
                self.run.read(self.block, end, &mut self.bytes)?;
                (self.first, self.end) = (self.block, end);
            }
            let at = |b: usize| (self.run.offsets[b] - self.run.offsets[self.first]) as usize;
            let (start, end) = (at(self.block), at(self.block + 1));
            self.reader.start(start);
            self.block_end = end;
            self.block += 1;
        }
    }
}
