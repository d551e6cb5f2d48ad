//! The folder of a job's spilled state: made when something is spilled, removed when the job is over.
//!
//! A lock beside it says that its process lives. What a killed process left is therefore known, whoever is asked, in
//! whatever namespace of processes: the next job that looks removes it.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::SpillError;

/// Begins the names of scratch folders.
const PREFIX: &str = "wasmill-spill-";
/// Ends the names of their locks.
const LOCK: &str = ".lock";

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A folder of its own within `[state] path`, gone when the last that holds it is.
#[derive(Debug)]
pub struct Scratch {
    parent: PathBuf,
    job: String,
    value_bytes_max: u64,
    made: Mutex<Option<Made>>,
    folders: AtomicU64,
}

#[derive(Debug)]
struct Made {
    folder: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// A folder to be made in `parent`. Folders that killed processes left there are removed.
    pub fn new(parent: &Path, job: &str) -> Scratch {
        remove_left(parent);
        Scratch {
            parent: parent.to_owned(),
            job: job.to_owned(),
            value_bytes_max: super::VALUE_BYTES_DEFAULT,
            made: Mutex::default(),
            folders: AtomicU64::new(0),
        }
    }

    /// The same, with another `[state] value-max`.
    pub fn with_value_max(mut self, bytes_max: u64) -> Scratch {
        self.value_bytes_max = bytes_max;
        self
    }

    /// Bytes of what a step keeps of one key.
    pub(super) fn value_bytes_max(&self) -> u64 {
        self.value_bytes_max
    }

    /// Removes the folder: nothing in it is used any more, though someone may still hold it.
    pub fn remove(&self) {
        if let Some(made) = self.made.lock().take() {
            // What cannot be removed now is removed by the next start.
            let _ = std::fs::remove_dir_all(&made.folder);
            let _ = std::fs::remove_file(&made.lock_path);
        }
    }

    /// A path in it that no one else gets.
    fn path(&self, step: &str, task: usize) -> Result<PathBuf, SpillError> {
        let mut made = self.made.lock();
        let root = match &*made {
            Some(made) => &made.folder,
            None => &made.insert(self.make()?).folder,
        };
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        Ok(root.join(format!("{step}.{task}.{number}")))
    }

    /// A new file that has no name any more: it is gone when it is closed.
    pub(super) fn file(&self, step: &str, task: usize) -> Result<(File, PathBuf), SpillError> {
        let path = self.path(step, task)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| SpillError::io("make a file for", &path, e))?;
        std::fs::remove_file(&path).map_err(|e| SpillError::io("make a file for", &path, e))?;
        Ok((file, path))
    }

    /// A new folder in it that no one else gets.
    pub(super) fn folder(&self, step: &str, task: usize) -> Result<PathBuf, SpillError> {
        let folder = self.path(step, task)?;
        private()
            .create(&folder)
            .map_err(|e| SpillError::io("make a folder for", &folder, e))?;
        Ok(folder)
    }

    fn make(&self) -> Result<Made, SpillError> {
        std::fs::create_dir_all(&self.parent)
            .map_err(|e| SpillError::io("make a folder for", &self.parent, e))?;
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{PREFIX}{}-{}-{number}", self.job, std::process::id());
            let folder = self.parent.join(&name);
            let lock_path = self.parent.join(format!("{name}{LOCK}"));
            match make(&folder, &lock_path) {
                Ok(lock) => {
                    return Ok(Made {
                        folder,
                        lock_path,
                        _lock: lock,
                    });
                }
                // Another process with this number, in a namespace of its own, has it.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(SpillError::io("make a folder for", &folder, e)),
            }
        }
    }
}

/// State of users is nobody else's to read.
fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Makes a folder; the lock that goes with it comes first, so that no one takes it for one that was left.
fn make(folder: &Path, lock_path: &Path) -> io::Result<File> {
    let lock = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(lock_path)?;
    let taken = || io::Error::from(io::ErrorKind::AlreadyExists);
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(taken()),
        Err(TryLockError::Error(e)) => return Err(e),
    }
    if lock.metadata()?.nlink() == 0 {
        // Someone took it for one that was left, before it was locked.
        return Err(taken());
    }
    private().create(folder)?;
    Ok(lock)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes what killed processes left.
fn remove_left(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| n.starts_with(PREFIX)) else {
            continue;
        };
        let name = name.strip_suffix(LOCK).unwrap_or(name);
        let (folder, lock_path) = (parent.join(name), parent.join(format!("{name}{LOCK}")));
        let left = match File::options().write(true).open(&lock_path) {
            Ok(lock) => lock.try_lock().is_ok().then_some(Some(lock)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Some(None),
            // It is not ours to judge.
            Err(_) => None,
        };
        if let Some(_held) = left {
            let _ = std::fs::remove_dir_all(&folder);
            let _ = std::fs::remove_file(&lock_path);
        }
    }
}
