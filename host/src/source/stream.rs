//! A file as a stream of bytes, decompressed by the end of its name.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, any number of members.
    Gzip,
    /// zstd, any number of frames.
    Zstd,
}

impl Compression {
    /// By name: `.gz`, `.zst`, else none.
    pub fn of(path: &Path) -> Compression {
        match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => Compression::Gzip,
            Some("zst") => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "plain",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }
}

/// Compressed bytes read at once.
const COMPRESSED_READ_BYTES: usize = 64 << 10;

/// Bytes that are read of a file that says it has none: the kernel's own (/proc) say so, and are small.
const UNSIZED_BYTES_MAX: u64 = 64 << 20;

/// How many bytes a file has now: what is written to it from here on does not count, else whoever writes faster than it
/// is read would never let a job end.
pub fn size_now(file: &File) -> io::Result<u64> {
    match file.metadata()?.len() {
        0 => Ok(UNSIZED_BYTES_MAX),
        size => Ok(size),
    }
}

/// The stream from `offset` (of the decompressed bytes) on, up to the file's byte `size`. Compressed files are read up to
/// there. Fails with `UnexpectedEof` if the file ends before.
pub fn open_at(
    mut file: File,
    compression: Compression,
    offset: u64,
    size: u64,
) -> io::Result<(File, Box<dyn Read + Send>)> {
    let handle = file.try_clone()?;
    let empty = file.metadata()?.len() == 0;
    let mut stream: Box<dyn Read + Send> = match compression {
        // An empty file holds no gzip member and no zstd frame, yet nothing is missing.
        _ if empty && offset == 0 => return Ok((handle, Box::new(file.take(size)))),
        Compression::None => {
            if offset > file.metadata()?.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.seek(SeekFrom::Start(offset))?;
            return Ok((handle, Box::new(file.take(size.saturating_sub(offset)))));
        }
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(
            BufReader::with_capacity(COMPRESSED_READ_BYTES, file.take(size)),
        )),
        Compression::Zstd => {
            let reader = BufReader::with_capacity(COMPRESSED_READ_BYTES, file.take(size));
            Box::new(zstd::stream::read::Decoder::with_buffer(reader)?)
        }
    };
    let skipped = io::copy(&mut stream.by_ref().take(offset), &mut io::sink())?;
    if skipped < offset {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((handle, stream))
}

/// What a failed read of a compressed stream means, in words; none: the medium failed, not the data.
pub fn damage(compression: Compression, error: &io::Error) -> Option<String> {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    let name = compression.name();
    match (compression, error.kind()) {
        (Compression::None, _) => None,
        (_, UnexpectedEof) => Some(format!(
            "the {name} data ends in the middle: the file is cut off; what comes before was read"
        )),
        (_, InvalidData | InvalidInput | Other) => Some(format!(
            "the {name} data is damaged here ({error}); what comes before was read"
        )),
        _ => None,
    }
}
