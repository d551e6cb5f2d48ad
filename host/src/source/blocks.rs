//! Files cut into blocks of whole records, dealt round robin over partitions.
//!
//! A record belongs to the block in which its first byte lies. In plain files of lines a block's records are found
//! by the line end before it. CSV needs to know whether a line end stands inside quotes: one pass over the file,
//! shared by all partitions and made as far as it is needed, tells. Compressed files, and files that are one record,
//! are one block each.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::plan::FormatSpec;
use crate::reach::Reach;

use super::stream::Compression;

/// Bytes of a block: a few batches, so that partitions advance side by side and the seeks cost nothing.
pub const BLOCK_BYTES: u64 = 1 << 20;

/// Bytes read at once while looking for a line end.
const LOOK_BYTES: usize = 64 << 10;

/// A file with its blocks.
#[derive(Debug)]
pub struct BlockFile {
    /// Where it is.
    pub path: PathBuf,
    /// By its name.
    pub compression: Compression,
    /// Number of its first block, over all files.
    pub first: u64,
    /// How many blocks it has; 0 if it is empty.
    pub blocks: u64,
    size: u64,
    split: Split,
    reach: Reach,
}

impl BlockFile {
    /// Bytes that it had when it was cut.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Opens it, if it is within reach.
    pub fn open(&self) -> io::Result<File> {
        self.reach.open(&self.path)
    }
}

/// How a file's blocks are found.
#[derive(Debug)]
enum Split {
    /// It is one block.
    Whole,
    /// At line ends.
    Lines,
    /// At line ends outside quotes.
    Csv(Mutex<QuoteScan>),
}

/// All files of a source, cut.
#[derive(Debug)]
pub struct Blocks {
    /// In path order.
    pub files: Vec<BlockFile>,
    /// So many partitions: block b is of partition b % partitions.
    pub partitions: u64,
    block_bytes: u64,
}

impl Blocks {
    /// Cuts files, as long as they are now.
    pub fn of(
        paths: Vec<PathBuf>,
        format: &FormatSpec,
        partitions: u64,
        block_bytes: u64,
        reach: &Reach,
    ) -> io::Result<Blocks> {
        let mut files = Vec::with_capacity(paths.len());
        let mut first = 0;
        for path in paths {
            let size = reach.open(&path)?.metadata()?.len();
            let compression = Compression::of(&path);
            let split = match (compression, format) {
                (Compression::Gzip | Compression::Zstd, _) | (_, FormatSpec::Bytes) => Split::Whole,
                (Compression::None, FormatSpec::Csv(csv)) => {
                    Split::Csv(Mutex::new(QuoteScan::new(csv.delimiter, block_bytes)))
                }
                (Compression::None, _) => Split::Lines,
            };
            let blocks = match split {
                // Also an empty file: of format bytes it is an empty record.
                Split::Whole => 1,
                _ => size.div_ceil(block_bytes),
            };
            files.push(BlockFile {
                path,
                compression,
                first,
                blocks,
                size,
                split,
                reach: reach.clone(),
            });
            first += blocks;
        }
        Ok(Blocks {
            files,
            partitions,
            block_bytes,
        })
    }

    /// Which file a block is in; none past the last.
    pub fn file_of(&self, block: u64) -> Option<usize> {
        let after = self.files.partition_point(|f| f.first + f.blocks <= block);
        (after < self.files.len()).then_some(after)
    }

    /// Names the cut: a position is good for the same one only.
    pub fn fingerprint(&self) -> String {
        let mut text = format!("{} {}", self.partitions, self.block_bytes);
        for file in &self.files {
            text.push_str(&format!("\n{} {}", file.size, file.path.display()));
        }
        format!("{:016x}", xxh3_64(text.as_bytes()))
    }

    /// Bytes [start, end) of the records of a block of an opened file; no end: up to the file's.
    pub fn range(&self, index: usize, block: u64, file: &File) -> io::Result<(u64, Option<u64>)> {
        let entry = &self.files[index];
        let local = block - entry.first;
        let last = local + 1 == entry.blocks;
        let boundary = |block: u64| block * self.block_bytes;
        match &entry.split {
            Split::Whole => Ok((0, None)),
            Split::Lines => {
                let start = record_start(file, boundary(local))?;
                let end = if last {
                    None
                } else {
                    Some(record_start(file, boundary(local + 1))?)
                };
                Ok((start, end))
            }
            Split::Csv(scan) => {
                let mut scan = scan.lock();
                let start = scan.start(file, local)?;
                let end = if last {
                    None
                } else {
                    Some(scan.start(file, local + 1)?)
                };
                Ok((start, end))
            }
        }
    }

    /// What a user should know of files that could not be cut.
    pub fn notes(&self) -> Vec<String> {
        let whole: Vec<&BlockFile> = self
            .files
            .iter()
            .filter(|f| matches!(f.split, Split::Whole))
            .collect();
        match whole.as_slice() {
            [] => Vec::new(),
            [file, rest @ ..] => {
                let others = if rest.is_empty() {
                    String::new()
                } else {
                    format!(" and {} more", rest.len())
                };
                vec![format!(
                    "{}{others} cannot be split (compressed, or of format bytes): whole files are dealt to the {} partitions",
                    file.path.display(),
                    self.partitions
                )]
            }
        }
    }
}

/// Where the first record starts at or after a boundary: behind the first line end at boundary - 1 or later.
fn record_start(file: &File, boundary: u64) -> io::Result<u64> {
    if boundary == 0 {
        return Ok(0);
    }
    let mut at = boundary - 1;
    let mut bytes = vec![0; LOOK_BYTES];
    loop {
        let n = read_at(file, &mut bytes, at)?;
        match memchr::memchr(b'\n', &bytes[..n]) {
            Some(newline) => return Ok(at + newline as u64 + 1),
            None if n == 0 => return Ok(at.max(boundary)),
            None => at += n as u64,
        }
    }
}

fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(bytes, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Line ends of a file before an offset, counted on from the last time: for messages only.
#[derive(Debug, Default)]
pub struct LineCount {
    offset: u64,
    lines: u64,
}

impl LineCount {
    /// How many lines end before `offset`.
    pub fn up_to(&mut self, file: &File, offset: u64) -> io::Result<u64> {
        if offset < self.offset {
            *self = LineCount::default();
        }
        let mut bytes = vec![0; LOOK_BYTES];
        while self.offset < offset {
            let want = usize::try_from(offset - self.offset)
                .unwrap_or(usize::MAX)
                .min(LOOK_BYTES);
            let n = read_at(file, &mut bytes[..want], self.offset)?;
            if n == 0 {
                break;
            }
            self.lines += memchr::memchr_iter(b'\n', &bytes[..n]).count() as u64;
            self.offset += n as u64;
        }
        Ok(self.lines)
    }
}

/// Finds where rows start behind block boundaries, by going through the quotes of the file, as far as asked.
/// The rules are those of the cutter: a quote opens only at a cell's start, two inside are one.
#[derive(Debug)]
struct QuoteScan {
    delimiter: u8,
    block_bytes: u64,
    /// Of blocks 0, 1, … as far as the scan went.
    starts: Vec<u64>,
    offset: u64,
    quotes: Quotes,
    /// The byte before `offset`; a line end at the start.
    before: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Quotes {
    Outside,
    Inside,
    /// A quote inside was the last byte: it closes, unless another one follows.
    Perhaps,
}

impl QuoteScan {
    fn new(delimiter: u8, block_bytes: u64) -> QuoteScan {
        QuoteScan {
            delimiter,
            block_bytes,
            starts: vec![0],
            offset: 0,
            quotes: Quotes::Outside,
            before: b'\n',
        }
    }

    fn start(&mut self, file: &File, block: u64) -> io::Result<u64> {
        let mut bytes = Vec::new();
        while self.starts.len() as u64 <= block {
            bytes.resize(LOOK_BYTES * 4, 0);
            let n = read_at(file, &mut bytes, self.offset)?;
            if n == 0 {
                // No line end behind the boundary: nothing starts there.
                return Ok(self.offset);
            }
            self.scan(&bytes[..n]);
        }
        Ok(self.starts[block as usize])
    }

    fn scan(&mut self, bytes: &[u8]) {
        let mut at = 0;
        if self.offset == 0 && bytes.starts_with(b"\xef\xbb\xbf") {
            at = 3;
        }
        while at < bytes.len() {
            match self.quotes {
                Quotes::Outside => {
                    let open = memchr::memchr_iter(b'"', &bytes[at..])
                        .map(|i| at + i)
                        .find(|&i| self.is_cell_start(bytes, i));
                    self.outside(bytes, at, open.unwrap_or(bytes.len()));
                    at = open.map_or(bytes.len(), |i| i + 1);
                    if open.is_some() {
                        self.quotes = Quotes::Inside;
                    }
                }
                Quotes::Inside => match memchr::memchr(b'"', &bytes[at..]) {
                    Some(i) => {
                        at += i + 1;
                        self.quotes = Quotes::Perhaps;
                    }
                    None => at = bytes.len(),
                },
                Quotes::Perhaps if bytes[at] == b'"' => {
                    at += 1;
                    self.quotes = Quotes::Inside;
                }
                Quotes::Perhaps => {
                    self.quotes = Quotes::Outside;
                }
            }
        }
        self.offset += bytes.len() as u64;
        self.before = bytes[bytes.len() - 1];
    }

    fn is_cell_start(&self, bytes: &[u8], at: usize) -> bool {
        let before = match at {
            0 => self.before,
            3 if self.offset == 0 && bytes.starts_with(b"\xef\xbb\xbf") => b'\n',
            _ => bytes[at - 1],
        };
        before == self.delimiter || before == b'\n'
    }

    /// Notes the starts behind boundaries, from line ends in `bytes[from..to]`, which is outside quotes.
    fn outside(&mut self, bytes: &[u8], from: usize, to: usize) {
        let mut at = from;
        loop {
            let boundary = self.starts.len() as u64 * self.block_bytes;
            let look = usize::try_from((boundary - 1).saturating_sub(self.offset))
                .unwrap_or(usize::MAX)
                .max(at);
            if look >= to {
                return;
            }
            match memchr::memchr(b'\n', &bytes[look..to]) {
                Some(newline) => {
                    self.starts.push(self.offset + (look + newline) as u64 + 1);
                    at = look + newline;
                }
                None => return,
            }
        }
    }
}
