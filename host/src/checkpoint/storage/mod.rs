//! Where checkpoints are kept: whole objects by name, in a folder or in an S3-compatible store.
//!
//! The trait asks for little, so that every store can do it: an object appears whole or not at all and lasts once `put`
//! returned; a condition on what stood there before is honoured. Nothing is assumed of listings but that they name what
//! was put before (no order), and nothing is ever renamed. This module knows nothing of what objects mean.

use std::fmt::Debug;
use std::sync::Arc;

use crate::state::Bytes;

#[cfg(test)]
pub mod faulty;
pub mod local;
pub mod memory;
pub mod object;

pub use local::LocalStorage;
pub use memory::MemoryStorage;
pub use object::ObjectStorage;

/// What must stand under a name for a `put` to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Whatever does.
    None,
    /// Nothing.
    Absent,
    /// The version that `get` or `put` answered.
    Is(Version),
}

/// Tells two contents of a name apart: an entity tag, or a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its version.
    pub version: Version,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The condition of a `put` does not hold: someone else was there.
    #[error("something else stands there")]
    Conflict,
    /// The store did not do it, or did not say whether it did. May be tried again.
    #[error("{0}")]
    Failed(String),
    /// What stands there is no object that can be read: trying again will not help.
    #[error("{0}")]
    Unfit(String),
}

/// Objects by name. Called from several threads.
pub trait Storage: Send + Sync + Debug {
    /// Puts an object made of these pieces, in one step for readers; it lasts once this returns. After an error it may
    /// be there or not.
    fn put(
        &self,
        name: &str,
        pieces: &[&[u8]],
        condition: &Condition,
    ) -> Result<Version, StorageError>;
    /// An object of up to so many bytes (more: an error); none: there is no such.
    fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Object>, StorageError>;
    /// Whether it is on this machine.
    fn is_near(&self) -> bool {
        false
    }
    /// The same as `get`, for who wants no condition on it later.
    fn get_bytes(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.get(name, bytes_max)?.map(|object| object.bytes))
    }
    /// Puts an object as `put` does without condition, for who wants no condition on it later. Its content need not be in
    /// memory; it is read once, in order.
    fn put_from(&self, name: &str, content: &dyn Bytes) -> Result<(), StorageError> {
        let mut all = vec![0; usize::try_from(content.len()).unwrap_or(usize::MAX)];
        content.read(0, &mut all).map_err(|e| unreadable(&e))?;
        self.put(name, &[&all], &Condition::None).map(|_| ())
    }
    /// Bytes of an object; none: there is no such.
    fn size(&self, name: &str) -> Result<Option<u64>, StorageError> {
        let object = self.get(name, u64::MAX)?;
        Ok(object.map(|object| object.bytes.len() as u64))
    }
    /// Fills `into` with an object's bytes from `at` on.
    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let object = self.get(name, u64::MAX)?.ok_or_else(gone)?;
        Bytes::read(&object.bytes, at, into).map_err(|e| unreadable(&e))
    }
    /// Names of all objects, in any order. Names that are no text are left out.
    fn list(&self) -> Result<Vec<String>, StorageError>;
    /// Removes an object; fine if it is gone already.
    fn delete(&self, name: &str) -> Result<(), StorageError>;
}

/// What was to be put somewhere cannot be read.
fn unreadable(e: &std::io::Error) -> StorageError {
    StorageError::Failed(format!("cannot read what is to be there: {e}"))
}

fn gone() -> StorageError {
    StorageError::Unfit("it is not there any more".into())
}

/// A place as `[checkpoint] path` has it, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(std::path::PathBuf),
    /// A bucket, and what all names begin with (empty, or without slashes at its ends).
    Bucket {
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
}

impl Place {
    /// Reads a path or URL. The error says what is wrong with the URL.
    pub fn parse(text: &str) -> Result<Place, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Place::Folder(text.into()));
        };
        if scheme != "s3" {
            return Err(format!(
                "{scheme}:// is no place for checkpoints: name a folder, or s3://bucket/prefix"
            ));
        }
        // Without a look at what it is: it would stand in every message.
        if rest.contains(['@', '?']) {
            return Err(
                "keys and parameters do not belong in the URL of a bucket: they come from the AWS_* variables; write s3://bucket/prefix"
                    .into(),
            );
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-".contains(&c);
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(fits) {
            return Err(format!(
                "{bucket:?} is no name of a bucket (3 to 63 of a-z, 0-9, - and .): s3://bucket/prefix"
            ));
        }
        let prefix = prefix.trim_matches('/');
        let plain = |c: char| c.is_ascii_graphic() && !"?#%\\*".contains(c);
        let piece = |p: &str| !p.is_empty() && p != "." && p != ".." && p.chars().all(plain);
        if !prefix.is_empty() && !prefix.split('/').all(piece) {
            return Err(format!(
                "{prefix:?} is no prefix: names between slashes, without spaces and any of ? # % \\ *"
            ));
        }
        Ok(Place::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// What tells the place from all others of this machine's world, however it was typed: a folder's real path; of a
    /// bucket also the store, since several may have one of that name.
    pub fn full_name(&self) -> String {
        match self {
            Place::Folder(path) => {
                let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
                real.display().to_string()
            }
            Place::Bucket { bucket, prefix } => {
                let store = object::endpoint().unwrap_or_else(|| "aws".into());
                format!("s3 {store} {bucket}/{prefix}")
            }
        }
    }

    /// Opens it; a folder is made, a bucket is not.
    pub fn open(&self) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(match self {
            Place::Folder(path) => Arc::new(LocalStorage::open(path)?),
            Place::Bucket { bucket, prefix } => Arc::new(ObjectStorage::open(bucket, prefix)?),
        })
    }
}

#[cfg(test)]
mod tests;
