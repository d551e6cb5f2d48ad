//! Whether a file is still the one that was read: positions are only good for that one.
//!
//! The bytes before a position decide (head and tail of them, hashed), not the time of change: a file
//! that was copied back or touched is the same; one that was rewritten is not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes looked at, at either end of what was read.
const SAMPLE_BYTES: u64 = 1024;

/// What was known of a file when it was read up to an offset. Stored in checkpoints: must stay readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Bytes on disk.
    pub size: u64,
    /// Last change, milliseconds since 1970; for messages only.
    pub changed_ms: u64,
    /// How many bytes on disk were read at least: all before the offset, or of compressed files all.
    pub read: u64,
    /// Hash of the first up to 1,024 bytes of these, hex.
    pub head: String,
    /// Hash of the last up to 1,024 of these, hex.
    pub tail: String,
}

impl Identity {
    /// Looks at a file of which `read` bytes count.
    pub fn of(file: &File, read: u64) -> io::Result<Identity> {
        let meta = file.metadata()?;
        let changed = meta
            .modified()
            .ok()
            .and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let sample = read.min(SAMPLE_BYTES);
        Ok(Identity {
            size: meta.len(),
            changed_ms: changed.map_or(0, |d| d.as_millis() as u64),
            read,
            head: hash(file, 0, sample)?,
            tail: hash(file, read - sample, sample)?,
        })
    }

    /// In words, what is no longer as it was; none: it is the same file, perhaps grown.
    pub fn difference(&self, file: &File) -> io::Result<Option<String>> {
        let size = file.metadata()?.len();
        if size < self.read {
            return Ok(Some(format!(
                "it shrank: {} bytes of it were read, now it has {size}",
                self.read
            )));
        }
        let now = Identity::of(file, self.read)?;
        if now.head != self.head || now.tail != self.tail {
            return Ok(Some(format!(
                "its content changed: it had {} bytes, now {size}, and what was read is not what stands there now",
                self.size
            )));
        }
        Ok(None)
    }
}

fn hash(file: &File, from: u64, bytes: u64) -> io::Result<String> {
    let mut sample = [0; SAMPLE_BYTES as usize];
    let sample = &mut sample[..bytes as usize];
    file.read_exact_at(sample, from)?;
    Ok(format!("{:016x}", xxh3_64(sample)))
}
