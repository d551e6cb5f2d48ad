//! Files of state that memory may be too small for: looked through a piece at a time, and read again where they are
//! wanted.

use std::io;
use std::sync::Arc;

use super::manifest::StateFile;
use super::state::{self, Binding};
use super::storage::{Storage, StorageError};
use super::store::{CheckpointStore, Unread};
use crate::state::Bytes;

/// Files from this size on are copied and looked through without being held.
pub const LARGE: u64 = 8 << 20;

/// The first bytes of a file of state.
#[derive(Debug)]
pub struct FarFile {
    storage: Arc<dyn Storage>,
    name: String,
    len: u64,
    sum: Option<u64>,
}

impl Bytes for FarFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let failed = |e: StorageError| {
            let kind = match e {
                StorageError::Unfit(_) => io::ErrorKind::InvalidData,
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, format!("{}: {e}", self.name))
        };
        self.storage.read(&self.name, at, into).map_err(failed)
    }

    fn sum(&self) -> Option<u64> {
        self.sum
    }
}

impl CheckpointStore {
    /// A file of state that has the length its manifest says; nothing of it is read yet.
    pub fn far(&self, file: &StateFile) -> Result<FarFile, Unread> {
        let name = file.file_name().map_err(Unread::Damaged)?;
        let damaged = |why: String| Err(Unread::Damaged(format!("{name} {why}")));
        match self.storage().size(name) {
            Ok(Some(len)) if len == file.bytes => Ok(FarFile {
                storage: Arc::clone(self.storage()),
                name: name.to_owned(),
                len,
                sum: None,
            }),
            Ok(Some(len)) => damaged(format!("has {len} bytes instead of {}", file.bytes)),
            Ok(None) => damaged("is not there".into()),
            Err(StorageError::Unfit(why)) => Err(Unread::Damaged(format!("{name}: {why}"))),
            Err(e) => Err(self.unread(name, &e)),
        }
    }

    /// The entries of a file of state that was looked through: it is what its manifest says, and what it must be.
    pub fn checked(&self, file: &StateFile, binding: &Binding<'_>) -> Result<FarFile, Unread> {
        let mut far = self.far(file)?;
        let damaged = |why: String| Unread::Damaged(format!("{}: {why}", file.name));
        let checked = state::check(&far, binding).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => Unread::Damaged(e.to_string()),
            _ => self.unread(&file.name, &e),
        })?;
        let checked = checked.map_err(damaged)?;
        if checked.sum != file.sum() {
            let why = format!("{} has another checksum than its manifest says", file.name);
            return Err(Unread::Damaged(why));
        }
        far.len = checked.entries;
        far.sum = Some(checked.entries_sum);
        Ok(far)
    }
}
