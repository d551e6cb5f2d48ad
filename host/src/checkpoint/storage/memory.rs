//! Objects in memory: for tests, and for trying things out.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::{Condition, Object, Storage, StorageError, Version};
use crate::checkpoint::manifest::checksum;

/// Objects in memory.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl MemoryStorage {
    /// All objects: to look at, and to damage.
    pub fn objects(&self) -> parking_lot::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.objects.lock()
    }
}

impl Storage for MemoryStorage {
    fn put(
        &self,
        name: &str,
        pieces: &[&[u8]],
        condition: &Condition,
    ) -> Result<Version, StorageError> {
        let mut objects = self.objects.lock();
        let holds = match (condition, objects.get(name)) {
            (Condition::None, _) | (Condition::Absent, None) => true,
            (Condition::Is(version), Some(bytes)) => checksum(bytes) == version.0,
            _ => false,
        };
        if !holds {
            return Err(StorageError::Conflict);
        }
        let bytes = pieces.concat();
        let version = Version(checksum(&bytes));
        objects.insert(name.to_owned(), bytes);
        Ok(version)
    }

    fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Object>, StorageError> {
        let objects = self.objects.lock();
        let Some(bytes) = objects.get(name) else {
            return Ok(None);
        };
        if bytes.len() as u64 > bytes_max {
            return Err(too_large(bytes.len() as u64, bytes_max));
        }
        Ok(Some(Object {
            version: Version(checksum(bytes)),
            bytes: bytes.clone(),
        }))
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        Ok(self.objects.lock().keys().cloned().collect())
    }

    fn delete(&self, name: &str) -> Result<(), StorageError> {
        self.objects.lock().remove(name);
        Ok(())
    }
}

/// What `get` says of an object past its bound.
pub(super) fn too_large(bytes: u64, bytes_max: u64) -> StorageError {
    StorageError::Unfit(format!(
        "it has {bytes} bytes, more than the {bytes_max} that one of its kind can have"
    ))
}
