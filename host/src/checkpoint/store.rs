//! Reads and writes checkpoints in a local folder. All names, and the order of writes, are here.
//!
//! | name | what |
//! |---|---|
//! | `lock` | held by the process that runs the job; names its pid |
//! | `manifest-<epoch>` | one checkpoint; appears whole, by rename |
//! | `state-<epoch>-<step>-<task>` | state that a manifest names; never changed |
//! | `….tmp` | being written: left over after a crash, removed at the next start |

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::decide::Found;
use super::manifest::{Manifest, StateFile, checksum, hex};
use super::state::{self, Binding};
use crate::state::StateBuffer;

/// A manifest is small: a larger file is none.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// What went wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("checkpoints in {}: {doing}: {why}", folder.display())]
pub struct StoreError {
    folder: PathBuf,
    doing: String,
    why: String,
}

/// A folder of checkpoints, held by this process.
#[derive(Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
    _lock: File,
}

impl CheckpointStore {
    /// Opens (and makes) a folder, and locks it against other processes.
    pub fn open(folder: &Path) -> Result<CheckpointStore, StoreError> {
        let fail = |doing: &str, why: String| StoreError {
            folder: folder.to_owned(),
            doing: doing.into(),
            why,
        };
        fs::create_dir_all(folder).map_err(|e| fail("make the folder", e.to_string()))?;
        let path = folder.join("lock");
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| fail("open lock", e.to_string()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            return Err(fail(
                "lock the folder",
                format!("another process runs a job with it (pid {})", pid.trim()),
            ));
        }
        lock.set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .map_err(|e| fail("write lock", e.to_string()))?;
        let store = CheckpointStore {
            folder: folder.to_owned(),
            _lock: lock,
        };
        for name in store.names()? {
            if name.ends_with(".tmp") {
                store.remove(&name)?;
            }
        }
        Ok(store)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything that looks like a checkpoint, its files checked.
    pub fn find(&self) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        for name in self.names()? {
            let Some(epoch) = name.strip_prefix("manifest-") else {
                continue;
            };
            let Ok(epoch) = epoch.parse::<u64>() else {
                continue;
            };
            let broken = |why: String| Found::Broken {
                epoch,
                name: name.clone(),
                why,
            };
            found.push(match self.read_manifest(&name) {
                Err(why) => broken(why),
                Ok(manifest) if manifest.epoch != epoch => broken(format!(
                    "it is manifest {} under another name",
                    manifest.epoch
                )),
                Ok(manifest) => {
                    match manifest.files.iter().find_map(|f| self.read_state(f).err()) {
                        Some(why) => broken(why),
                        None => Found::Whole(Box::new(manifest)),
                    }
                }
            });
        }
        Ok(found)
    }

    fn read_manifest(&self, name: &str) -> Result<Manifest, String> {
        let path = self.folder.join(name);
        let length = fs::metadata(&path).map_err(|e| e.to_string())?.len();
        if length > MANIFEST_BYTES_MAX {
            return Err(format!("it has {length} bytes, more than any manifest"));
        }
        Manifest::decode(&fs::read(path).map_err(|e| e.to_string())?)
    }

    /// The manifest of an epoch.
    pub fn manifest(&self, epoch: u64) -> Result<Manifest, StoreError> {
        let name = manifest_name(epoch);
        self.read_manifest(&name)
            .map_err(|why| self.error(&format!("read {name}"), why))
    }

    /// A state file, checked against what its manifest says.
    pub fn read_state(&self, file: &StateFile) -> Result<Vec<u8>, String> {
        // Names come from a file on disk: no way out of the folder.
        if file.name.contains(['/', '\\']) || !file.name.starts_with("state-") {
            return Err(format!("{:?} is no name of a state file", file.name));
        }
        let path = self.folder.join(&file.name);
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", file.name))?;
        if bytes.len() as u64 != file.bytes {
            return Err(format!(
                "{} has {} bytes instead of {}",
                file.name,
                bytes.len(),
                file.bytes
            ));
        }
        if checksum(&bytes) != file.checksum {
            return Err(format!(
                "{} has another checksum than its manifest says",
                file.name
            ));
        }
        Ok(bytes)
    }

    /// Writes a file of state: whole and synced when this returns.
    pub fn write_state(
        &self,
        entries: &StateBuffer,
        binding: &Binding<'_>,
        builds_on: Option<&StateFile>,
    ) -> Result<StateFile, StoreError> {
        let name = format!("state-{}-{}-{}", binding.epoch, binding.step, binding.task);
        let (foot, sum) = state::foot(entries.bytes(), entries.entries(), binding);
        self.write(&name, &[entries.bytes(), &foot])?;
        Ok(StateFile {
            name,
            step: binding.step.to_owned(),
            bytes: (entries.bytes().len() + foot.len()) as u64,
            checksum: hex(sum),
            entries: entries.entries(),
            task: binding.task,
            epoch: binding.epoch,
            builds_on: builds_on.map(|file| file.name.clone()),
        })
    }

    /// Writes the manifest: from here on the checkpoint counts.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        self.write(&manifest_name(manifest.epoch), &[&manifest.encode()])
    }

    /// Removes all but the newest `keep` whole checkpoints, and files that none of these names.
    pub fn clean(&self, keep: usize) -> Result<(), StoreError> {
        let mut manifests: Vec<u64> = self
            .names()?
            .iter()
            .filter_map(|n| n.strip_prefix("manifest-")?.parse().ok())
            .collect();
        manifests.sort_unstable_by(|a, b| b.cmp(a));
        let kept: Vec<u64> = manifests.iter().copied().take(keep.max(1)).collect();
        let mut named = std::collections::BTreeSet::new();
        let mut all_read = true;
        for &epoch in &kept {
            match self.read_manifest(&manifest_name(epoch)) {
                Ok(manifest) => named.extend(manifest.files.into_iter().map(|f| f.name)),
                Err(_) => all_read = false,
            }
        }
        for &epoch in manifests.iter().skip(keep.max(1)) {
            self.remove(&manifest_name(epoch))?;
        }
        // What a manifest names that does not read is not known: files stay until it is one of those removed.
        for name in self.names()?.iter().filter(|_| all_read) {
            if name.starts_with("state-") && !named.contains(name) {
                self.remove(name)?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let entries = fs::read_dir(&self.folder).map_err(|e| self.error("list", e.to_string()))?;
        let mut names: Vec<String> = entries
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    fn write(&self, name: &str, parts: &[&[u8]]) -> Result<(), StoreError> {
        let (path, temporary) = (
            self.folder.join(name),
            self.folder.join(format!("{name}.tmp")),
        );
        let write = || {
            let mut file = File::create(&temporary)?;
            parts.iter().try_for_each(|part| file.write_all(part))?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|e: std::io::Error| self.error(&format!("write {name}"), e.to_string()))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        fs::remove_file(self.folder.join(name))
            .map_err(|e| self.error(&format!("remove {name}"), e.to_string()))
    }

    fn error(&self, doing: &str, why: String) -> StoreError {
        StoreError {
            folder: self.folder.clone(),
            doing: doing.to_owned(),
            why,
        }
    }
}

/// Name of an epoch's manifest.
pub fn manifest_name(epoch: u64) -> String {
    format!("manifest-{epoch:010}")
}
