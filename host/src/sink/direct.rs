//! Large files written past the page cache, where the file system can: files of state and parts of output are not
//! read again by who writes them, they have to be on the medium before anybody may see them, and copying them into the
//! cache costs the kernel several times what it costs to make them.
//!
//! Whole blocks go out directly, a chunk at a time on a thread of its own, so that the next chunk is filled meanwhile;
//! the rest, less than a block, goes by the cache like any other, and so does a file that ends before a chunk is full.
//! A file system that does not take direct writes (some in memory, some over the network) gets ordinary ones.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::fs::{OFlags, fcntl_setfl};

use super::folder::PartFile;
use crate::room::Room;

/// What every medium's blocks divide: addresses, places and lengths of direct writes are multiples of it.
const BLOCK: usize = 4096;

/// Bytes of one write: with fewer a fast disk waits for the next write, with more memory is spent.
const CHUNK: usize = 4 << 20;

/// A file being written.
pub struct DirectFile {
    /// The file, and a chunk to fill next; none: with `writing`, or a write failed.
    here: Option<(Medium, Option<Chunk>)>,
    /// Writes the chunk before this one.
    writing: Option<JoinHandle<Written>>,
    /// What is not on its way yet.
    chunk: Chunk,
    spares: Arc<Room>,
}

/// So many chunks are kept: two files are written at a time, with two tasks, and each fills one chunk while one is written.
const SPARES_MAX: usize = 4;

/// Memory of chunks between files.
pub fn spares() -> Arc<Room> {
    Arc::new(Room::of(SPARES_MAX))
}

/// What a thread gives back.
type Written = (Medium, Chunk, io::Result<()>);

/// The file itself.
struct Medium {
    file: File,
    /// Writes go past the cache.
    direct: bool,
}

/// Bytes that begin at a block's address.
struct Chunk {
    buffer: Vec<u8>,
    /// Where they begin in the buffer, which ends with them.
    start: usize,
}

impl Chunk {
    fn new(spares: &Room) -> Chunk {
        Chunk::on(spares.take(CHUNK + BLOCK))
    }

    /// In empty memory.
    fn on(mut buffer: Vec<u8>) -> Chunk {
        let start = buffer.as_ptr().align_offset(BLOCK);
        let start = if start > BLOCK { 0 } else { start };
        buffer.resize(start, 0);
        Chunk { buffer, start }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn is_full(&self) -> bool {
        self.bytes().len() == CHUNK
    }

    fn clear(&mut self) {
        self.buffer.truncate(self.start);
    }

    /// Takes as many bytes as there is room for.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(CHUNK - self.bytes().len());
        self.buffer.extend_from_slice(&bytes[..n]);
        n
    }
}

impl Medium {
    /// Writes bytes that begin at a block's address; the last of them may be less than a block.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let whole = bytes.len() / BLOCK * BLOCK;
        self.write_blocks(&bytes[..whole])?;
        if whole < bytes.len() {
            self.set_direct(false)?;
            self.file.write_all(&bytes[whole..])?;
        }
        Ok(())
    }

    fn write_blocks(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    bytes = &bytes[n..];
                    // A write cut short leaves no whole blocks to go on with.
                    if n % BLOCK != 0 {
                        self.set_direct(false)?;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if refused(&e) && self.direct => self.set_direct(false)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// From now on writes go past the cache, or are ordinary ones.
    fn set_direct(&mut self, direct: bool) -> io::Result<()> {
        if self.direct == direct {
            return Ok(());
        }
        let flags = if direct {
            OFlags::DIRECT
        } else {
            OFlags::empty()
        };
        match fcntl_setfl(&self.file, flags).map_err(io::Error::from) {
            Err(e) if direct && refused(&e) => Ok(()),
            Err(e) => Err(e),
            Ok(()) => {
                self.direct = direct;
                Ok(())
            }
        }
    }
}

/// Whether the file system says that it takes no direct writes.
fn refused(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

impl DirectFile {
    /// A new, empty file; replaces one of that name.
    pub fn create(path: &Path, spares: &Arc<Room>) -> io::Result<DirectFile> {
        File::create(path).map(|file| DirectFile::on(file, spares))
    }

    /// An empty file.
    pub fn on(file: File, spares: &Arc<Room>) -> DirectFile {
        let direct = false;
        DirectFile {
            here: Some((Medium { file, direct }, None)),
            writing: None,
            chunk: Chunk::new(spares),
            spares: Arc::clone(spares),
        }
    }

    /// Takes the file, once the chunk before is written. It is not given back after a failure: what came behind would
    /// stand in the wrong place.
    fn take(&mut self) -> io::Result<(Medium, Option<Chunk>)> {
        let Some(writing) = self.writing.take() else {
            let failed = || io::Error::other("a write of this file failed before");
            return self.here.take().ok_or_else(failed);
        };
        let (medium, chunk, written) = writing
            .join()
            .map_err(|_| io::Error::other("the thread that wrote a part panicked"))?;
        written.map(|()| (medium, Some(chunk)))
    }

    /// Sends the chunk on its way.
    fn send(&mut self) -> io::Result<()> {
        let (mut medium, spare) = self.take()?;
        medium.set_direct(true)?;
        let next = spare.unwrap_or_else(|| Chunk::new(&self.spares));
        let mut chunk = std::mem::replace(&mut self.chunk, next);
        let write = move || {
            let written = medium.write_all(chunk.bytes());
            chunk.clear();
            (medium, chunk, written)
        };
        let thread = thread::Builder::new().name("part".into()).spawn(write)?;
        self.writing = Some(thread);
        Ok(())
    }
}

impl Write for DirectFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.is_full() {
            self.send()?;
        }
        Ok(self.chunk.fill(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PartFile for DirectFile {
    fn sync(&mut self) -> io::Result<()> {
        let (mut medium, spare) = self.take()?;
        medium.write_all(self.chunk.bytes())?;
        self.chunk.clear();
        medium.file.sync_all()?;
        self.here = Some((medium, spare));
        Ok(())
    }
}

impl Drop for DirectFile {
    fn drop(&mut self) {
        // Nobody waits for what is written then; but a file must not grow after it was given up.
        if let Ok((_, Some(chunk))) = self.take() {
            self.spares.give_back(chunk.buffer);
        }
        self.spares
            .give_back(std::mem::take(&mut self.chunk.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_length_in_pieces_of_any_length_are_what_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let spares = spares();
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
                let mut file = DirectFile::create(&path, &spares).expect("made");
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
    fn a_file_that_is_synced_between_goes_on_behind_what_it_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let spares = spares();
        let mut file = DirectFile::create(&path, &spares).expect("made");
        let mut wanted = Vec::new();
        // The second piece does not begin at a block, so its writes are refused as direct ones.
        for (fill, length) in [(1, CHUNK + 5), (2, 2 * CHUNK), (3, 0), (4, BLOCK)] {
            let piece = vec![fill; length];
            file.write_all(&piece).expect("written");
            file.sync().expect("synced");
            wanted.extend(piece);
            assert!(std::fs::read(&path).expect("there") == wanted);
        }
    }

    #[test]
    fn memory_of_chunks_is_used_again_by_the_next_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let spares = spares();
        for fill in 1..4 {
            let bytes = vec![fill; 2 * CHUNK + 3];
            let mut file = DirectFile::create(&path, &spares).expect("made");
            file.write_all(&bytes).expect("written");
            file.sync().expect("synced");
            assert!(std::fs::read(&path).expect("there") == bytes);
            drop(file);
            assert_eq!(spares.kept(), 2);
        }
    }

    #[test]
    fn a_failed_write_is_told_by_a_later_one_and_by_the_sync() {
        let read_only = || File::open("/dev/null").expect("opened to read only");
        let spares = spares();
        let mut file = DirectFile::on(read_only(), &spares);
        let chunk = vec![1; CHUNK];
        file.write_all(&chunk).expect("kept");
        file.write_all(&chunk).expect("the first is on its way");
        file.write_all(&chunk).expect_err("the first failed");
        file.sync().expect_err("the file has a gap");
        let mut file = DirectFile::on(read_only(), &spares);
        file.write_all(b"little").expect("kept");
        file.sync().expect_err("not written");
        file.sync().expect_err("nor later");
    }
}
