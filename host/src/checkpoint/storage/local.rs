//! Objects as files of a folder.
//!
//! Written by hand rather than through `object_store`'s own local folder: that one keeps half-written files under names
//! that its listing hides (they pile up after crashes), has no put that depends on a version, wants every payload
//! copied, and hides the error's kind (a full disk must be said). An object is written under `NAME.tmp`, synced,
//! renamed, and the folder is synced; what a crash leaves of it is removed by the next that opens the folder.
//!
//! Conditions are checked against the other threads of this process: other processes are kept out by the lock of
//! `checkpoint::store`. `Absent` holds against everybody where the file system can rename without replacing.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::memory::too_large;
use super::{Condition, Object, Storage, StorageError, Version};
use crate::checkpoint::manifest::checksum;
use crate::crash::{self, CrashPoint};
use crate::sink::folder::{Folder, OsFolder, PartFile};
use crate::state::Bytes;

/// What names in the making end with.
const MAKING: &str = ".tmp";

/// Bytes from which on an object is written past the page cache.
const LARGE: u64 = 1 << 20;

/// A folder.
pub struct LocalStorage {
    path: PathBuf,
    folder: Box<dyn Folder>,
    /// Held from checking a condition until the object has its name.
    putting: Mutex<()>,
}

impl std::fmt::Debug for LocalStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalStorage")
            .field("path", &self.path)
            .finish()
    }
}

impl LocalStorage {
    /// Opens a folder; it is made if it is not there.
    pub fn open(path: &Path) -> Result<LocalStorage, StorageError> {
        let storage = LocalStorage::on(path, Box::new(OsFolder::new(path)));
        storage
            .folder
            .make()
            .map_err(|e| failed("make the folder", &e))?;
        Ok(storage)
    }

    /// On another kind of folder: for tests.
    pub fn on(path: &Path, folder: Box<dyn Folder>) -> LocalStorage {
        LocalStorage {
            path: path.to_owned(),
            folder,
            putting: Mutex::new(()),
        }
    }

    /// Removes what a crash left half-written. Only for who holds the folder's lock.
    pub fn tidy(&self) -> Result<(), StorageError> {
        let names = self.folder.list().map_err(|e| failed("list", &e))?;
        for name in names.iter().filter(|n| n.ends_with(MAKING)) {
            // One that cannot be removed harms nobody: its name is never read.
            let _ = self.folder.remove(name);
        }
        Ok(())
    }

    /// Writes an object under another name, makes it last, and gives it its own. `new`: only if that is free.
    fn write(
        &self,
        name: &str,
        large: bool,
        new: bool,
        fill: &mut dyn FnMut(&mut dyn PartFile) -> io::Result<()>,
    ) -> Result<(), StorageError> {
        let temporary = format!("{name}{MAKING}");
        let mut write = || {
            let mut file = if large {
                self.folder.create_large(&temporary)?
            } else {
                self.folder.create(&temporary)?
            };
            fill(&mut *file)?;
            crash::at(CrashPoint::ObjectWritten);
            file.sync()?;
            crash::at(CrashPoint::ObjectSynced);
            if new {
                self.folder.rename_new(&temporary, name)?;
            } else {
                self.folder.rename(&temporary, name)?;
            }
            crash::at(CrashPoint::ObjectNamed);
            self.folder.sync()?;
            crash::at(CrashPoint::ObjectStored);
            Ok::<(), io::Error>(())
        };
        write().map_err(|e| {
            // Not to fill a full disk with leftovers of every attempt.
            let _ = self.folder.remove(&temporary);
            match e.kind() {
                io::ErrorKind::AlreadyExists => StorageError::Conflict,
                _ => failed("write", &e),
            }
        })
    }

    fn version(&self, name: &str) -> Result<Option<Version>, StorageError> {
        let bytes = self.folder.read(name).map_err(|e| failed("read", &e))?;
        Ok(bytes.map(|b| Version(checksum(&b))))
    }
}

impl Storage for LocalStorage {
    fn put(
        &self,
        name: &str,
        pieces: &[&[u8]],
        condition: &Condition,
    ) -> Result<Version, StorageError> {
        // What depends on nothing waits for nobody: files of state, whose names are new, are written side by side.
        let _putting = (*condition != Condition::None).then(|| self.putting.lock());
        let holds = match condition {
            Condition::None => true,
            Condition::Absent => !self.folder.exists(name).map_err(|e| failed("look", &e))?,
            Condition::Is(version) => self.version(name)?.as_ref() == Some(version),
        };
        if !holds {
            return Err(StorageError::Conflict);
        }
        let large = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>() >= LARGE;
        let new = *condition == Condition::Absent;
        self.write(name, large, new, &mut |file| {
            pieces.iter().try_for_each(|piece| file.write_all(piece))
        })?;
        Ok(version_of(pieces))
    }

    /// Its version is not made out: that takes another look at all bytes.
    fn put_from(&self, name: &str, content: &dyn Bytes) -> Result<(), StorageError> {
        let large = content.len() >= LARGE;
        self.write(name, large, false, &mut |file| {
            content.each_piece(&mut |piece| file.write_all(piece))
        })
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StorageError> {
        match fs::metadata(self.path.join(name)) {
            Ok(meta) if meta.is_dir() => Err(StorageError::Unfit("a folder has its name".into())),
            Ok(meta) => Ok(Some(meta.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(unreadable(&e)),
        }
    }

    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> Result<(), StorageError> {
        use std::os::unix::fs::FileExt as _;
        let file = File::open(self.path.join(name)).map_err(|e| unreadable(&e))?;
        file.read_exact_at(into, at).map_err(|e| unreadable(&e))
    }

    fn is_near(&self) -> bool {
        true
    }

    fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Object>, StorageError> {
        let bytes = self.get_bytes(name, bytes_max)?;
        Ok(bytes.map(|bytes| Object {
            version: Version(checksum(&bytes)),
            bytes,
        }))
    }

    fn get_bytes(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, StorageError> {
        match fs::metadata(self.path.join(name)) {
            Ok(meta) if meta.is_dir() => {
                return Err(StorageError::Unfit("a folder has its name".into()));
            }
            Ok(meta) if meta.len() > bytes_max => return Err(too_large(meta.len(), bytes_max)),
            _ => {}
        }
        self.folder.read(name).map_err(|e| unreadable(&e))
    }

    fn list(&self) -> Result<Vec<String>, StorageError> {
        let mut names = self.folder.list().map_err(|e| failed("list", &e))?;
        names.retain(|n| !n.ends_with(MAKING));
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<(), StorageError> {
        self.folder.remove(name).map_err(|e| failed("remove", &e))
    }
}

fn version_of(pieces: &[&[u8]]) -> Version {
    let mut sum = xxhash_rust::xxh3::Xxh3::new();
    pieces.iter().for_each(|piece| sum.update(piece));
    Version(format!("{:016x}", sum.digest()))
}

/// Whether another attempt may fare better is told apart: too many open files pass, a broken medium does not.
fn unreadable(e: &io::Error) -> StorageError {
    use rustix::io::Errno;
    // The medium, or a link that leads to itself.
    let is_broken = [Errno::IO, Errno::LOOP]
        .iter()
        .any(|broken| e.raw_os_error() == Some(broken.raw_os_error()));
    match e.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidInput => StorageError::Unfit(format!("cannot read: {e}")),
        _ if is_broken => StorageError::Unfit(format!("cannot read: {e}")),
        _ => failed("read", e),
    }
}

fn failed(doing: &str, e: &io::Error) -> StorageError {
    let hint = match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; the disk is full",
        io::ErrorKind::ReadOnlyFilesystem => "; the folder cannot be written to",
        _ => "",
    };
    StorageError::Failed(format!("cannot {doing}: {e}{hint}"))
}

/// The lock of a folder of checkpoints; held until it is dropped, by the system for a process that dies.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "holds the lock")] File);

impl FolderLock {
    /// Takes it, and writes who has it. The error names the process that has it.
    pub fn take(folder: &Path) -> Result<FolderLock, String> {
        use rustix::fs::{FlockOperation, flock};
        use std::io::Read as _;
        let path = folder.join("lock");
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| format!("cannot open {}: {e}", path.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = (&lock).take(32).read_to_string(&mut pid);
            return Err(format!(
                "another process runs a job with it (pid {})",
                pid.trim()
            ));
        }
        lock.set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .map_err(|e| failed("write the lock", &e).to_string())?;
        Ok(FolderLock(lock))
    }
}

/// Which process has a folder's lock; none: none, or it cannot be told. Does not try the lock: a job that starts in that
/// moment would find it taken.
pub fn lock_holder(folder: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let lock = folder.join("lock");
    let inode = format!(":{}", fs::metadata(&lock).ok()?.ino());
    let is_it = |line: &str| {
        let mut words = line.split_whitespace();
        words.any(|w| w == "FLOCK") && words.any(|w| w.ends_with(&inode))
    };
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().any(is_it).then_some(())?;
    let pid = fs::read_to_string(lock).ok()?;
    Some(pid.trim().to_owned()).filter(|pid| !pid.is_empty())
}
