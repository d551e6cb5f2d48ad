//! Large files written past the page cache, where the file system can: a file of state is not read again unless a host
//! dies, and copying it into the cache costs the kernel several times what it costs to make.
//!
//! Whole blocks go out directly; the rest, less than a block, by the cache like any other. A file system that does not
//! take direct writes (some in memory, some over the network) gets ordinary ones from the first refusal on.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{OFlags, fcntl_setfl};

use super::folder::PartFile;

/// What every medium's blocks divide: addresses, places and lengths of direct writes are multiples of it.
const BLOCK: usize = 4096;

/// Bytes of one write: with fewer a fast disk waits for the next write, with more memory is spent.
const CHUNK: usize = 4 << 20;

/// A file being written.
pub struct DirectFile {
    file: File,
    /// Writes go past the cache.
    direct: bool,
    /// Holds a chunk that begins at a block's address.
    buffer: Vec<u8>,
    /// Where the chunk begins in it.
    start: usize,
    /// Bytes of the chunk that are there, not written yet.
    filled: usize,
}

impl DirectFile {
    /// A new, empty file; replaces one of that name.
    pub fn create(path: &Path) -> io::Result<DirectFile> {
        let flag = i32::try_from(OFlags::DIRECT.bits()).expect("flags are small");
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        let (file, direct) = match options.clone().custom_flags(flag).open(path) {
            Ok(file) => (file, true),
            Err(e) if refused(&e) => (options.open(path)?, false),
            Err(e) => return Err(e),
        };
        let buffer = vec![0; CHUNK + BLOCK];
        let start = buffer.as_ptr().align_offset(BLOCK);
        Ok(DirectFile {
            file,
            direct,
            start: if start > BLOCK { 0 } else { start },
            buffer,
            filled: 0,
        })
    }

    /// Writes so many bytes of the chunk, the first ones; none of them is left after that.
    fn write_out(&mut self, bytes: usize) -> io::Result<()> {
        let mut written = 0;
        while written < bytes {
            let rest = &self.buffer[self.start + written..self.start + bytes];
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                // A write cut short leaves no whole blocks to go on with.
                Ok(n) => {
                    written += n;
                    if n % BLOCK != 0 {
                        self.give_up()?;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if refused(&e) && self.direct => {
                    self.give_up()?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// From now on writes are ordinary ones.
    fn give_up(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.direct) {
            fcntl_setfl(&self.file, OFlags::empty())?;
        }
        Ok(())
    }
}

/// Whether the file system says that it takes no direct writes.
fn refused(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

impl Write for DirectFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled == CHUNK {
            self.write_out(CHUNK)?;
            self.filled = 0;
        }
        let n = bytes.len().min(CHUNK - self.filled);
        let at = self.start + self.filled;
        self.buffer[at..at + n].copy_from_slice(&bytes[..n]);
        self.filled += n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PartFile for DirectFile {
    fn sync(&mut self) -> io::Result<()> {
        let whole = self.filled / BLOCK * BLOCK;
        self.write_out(whole)?;
        // The rest of the chunk moves to its start: its place in the file needs no alignment any more.
        let rest = self.start + whole..self.start + self.filled;
        self.filled = rest.len();
        self.buffer.copy_within(rest, self.start);
        if self.filled > 0 {
            self.give_up()?;
            self.write_out(self.filled)?;
            self.filled = 0;
        }
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_length_in_pieces_of_any_length_are_what_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        for length in [
            0,
            1,
            BLOCK - 1,
            BLOCK,
            CHUNK,
            CHUNK + 1,
            2 * CHUNK + 3 * BLOCK + 17,
        ] {
            let bytes: Vec<u8> = (0..length).map(|i| (i / 7 + i % 251) as u8).collect();
            for piece in [1_000_003, length.max(1)] {
                let mut file = DirectFile::create(&path).expect("made");
                for piece in bytes.chunks(piece) {
                    file.write_all(piece).expect("written");
                }
                file.sync().expect("synced");
                let read = std::fs::read(&path).expect("there");
                assert!(read == bytes, "{length} bytes by {piece}");
            }
        }
    }

    #[test]
    fn where_direct_writes_do_not_go_ordinary_ones_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let mut file = DirectFile::create(&path).expect("made");
        file.give_up().expect("flags are taken");
        file.write_all(&[7; CHUNK + 5]).expect("written");
        file.sync().expect("synced");
        assert_eq!(std::fs::read(&path).expect("there"), [7; CHUNK + 5]);
    }
}
