//! Reads and writes checkpoints in a place. All names, and the order of writes, are here.
//!
//! | name | what |
//! |---|---|
//! | `lock` | a folder's: held by the process that runs the job; names its pid |
//! | `lease` | an object store's: see `lease` |
//! | `manifest-<epoch>` | one checkpoint; put last, and only where nothing has its name |
//! | `state-<epoch>-<step>-<task>-<start>` | state that a manifest names; never changed, `start` is the process's own |
//!
//! *Two writers.* A folder's lock keeps other processes out, frozen ones too. An object store has no locks: there, a
//! process that was frozen past its lease may wake between any two requests. Whoever takes its lease over puts a *fence*
//! under the name of the next manifest, where nothing stands yet, and reads what is there only then. The other one's
//! manifest needs just that name (a process that skips one fences it itself), so either it was there before, and is
//! gone on from, or it is refused. Fences and old manifests are cleaned away in time; so that a process frozen for as
//! long as that has not committed either, a manifest counts for its writer only when the lease could be renewed behind
//! it: then nobody had taken over before. Its files of state have names of their own, and it removes only what it had
//! listed before it renewed the lease.

use crate::config::conceal;
use std::sync::Arc;

use parking_lot::Mutex;

use super::decide::Found;
use super::lease::{Claim, LEASE, Lease, LeaseError, Owner};
use super::manifest::{Manifest, StateFile, hex};
use super::outgoing::Outgoing;
use super::state::{Binding, Sums};
use super::storage::local::FolderLock;
use super::storage::{Condition, LocalStorage, Object, Place, Storage, StorageError};
use crate::crash::{self, CrashPoint};
use crate::state::{Bytes, StateBuffer};
use crate::time::Clock;

/// A manifest is small: a larger file is none.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// What a fence begins with.
const FENCE: &[u8] = b"wasmill-fence ";

/// Name of the lease.
const LEASE_NAME: &str = "lease";

/// What is said where a name is taken.
const TAKEN_OVER: &str = "another process has been there: it has taken the job over";

/// What went wrong with what.
#[derive(Debug, thiserror::Error)]
#[error("checkpoints in {place}: {doing}: {why}")]
pub struct StoreError {
    /// What can be done about it.
    pub kind: StoreErrorKind,
    place: String,
    doing: String,
    why: String,
}

/// What can be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The store did not do it: try again.
    Failed,
    /// Another process has the place, or took it over: nothing that this one does counts any more.
    Taken,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It is not what it should be, and will not be: what is there without it must do.
    #[error("{0}")]
    Damaged(String),
    /// The store did not answer: it may be whole.
    #[error("{0}")]
    Failed(StoreError),
}

/// A place of checkpoints, held by this process.
#[derive(Debug)]
pub struct CheckpointStore {
    place: String,
    storage: Arc<dyn Storage>,
    guard: Guard,
    /// Part of the names of this start's files: another one's are never overwritten.
    start: String,
    /// With a lease: the first epoch under whose name nothing of ours stands yet.
    next: Mutex<u64>,
}

/// What keeps others out.
#[derive(Debug)]
enum Guard {
    Folder(#[expect(dead_code, reason = "held until it is dropped")] FolderLock),
    Lease(Lease),
    /// Nobody else knows of it.
    None,
}

impl CheckpointStore {
    /// Opens (and makes) a place, and holds it against other processes.
    pub fn open(place: &str, claim: Claim, clock: &Clock) -> Result<CheckpointStore, StoreError> {
        let fail = |kind, doing: &str, why: String| StoreError {
            kind,
            place: conceal(place),
            doing: doing.to_owned(),
            why,
        };
        let failed = |doing: &str, why: String| fail(StoreErrorKind::Failed, doing, why);
        let start = random();
        match Place::parse(place).map_err(|why| failed("open", why))? {
            Place::Folder(path) => {
                let storage =
                    LocalStorage::open(&path).map_err(|e| failed("open", e.to_string()))?;
                let lock = FolderLock::take(&path)
                    .map_err(|why| fail(StoreErrorKind::Taken, "lock the folder", why))?;
                storage.tidy().map_err(|e| failed("tidy", e.to_string()))?;
                Ok(CheckpointStore {
                    place: place.to_owned(),
                    storage: Arc::new(storage),
                    guard: Guard::Folder(lock),
                    start,
                    next: Mutex::new(0),
                })
            }
            at @ Place::Bucket { .. } => {
                let storage = at.open().map_err(|e| failed("open", e.to_string()))?;
                CheckpointStore::with_lease(place, storage, claim, clock)
            }
        }
    }

    /// A place that others may reach too, and that has no locks.
    pub fn with_lease(
        place: &str,
        storage: Arc<dyn Storage>,
        claim: Claim,
        clock: &Clock,
    ) -> Result<CheckpointStore, StoreError> {
        let mut store = CheckpointStore::alone(place, storage);
        let owner = Owner::this_process(store.start.clone());
        let taken = Lease::take(&store.storage, LEASE_NAME, owner, claim, clock, LEASE)
            .map_err(|e| store.lease_error(e))?;
        // A store that takes conditions without minding them would let two processes commit the same epoch.
        match store.storage.put(LEASE_NAME, &[b"{}"], &Condition::Absent) {
            Err(StorageError::Conflict) => {}
            Err(e) => return Err(store.error("take the lease", e.to_string())),
            Ok(_) => {
                let why = "the store does not honour conditional puts (If-None-Match): it cannot keep two processes apart";
                return Err(store.error("take the lease", why.into()));
            }
        }
        if taken.over {
            store.fence()?;
        }
        *store.next.lock() = store.epochs()?.into_iter().max().unwrap_or(0) + 1;
        store.guard = Guard::Lease(taken.lease);
        Ok(store)
    }

    /// A place that nobody else knows of: no lock is taken.
    pub fn alone(place: &str, storage: Arc<dyn Storage>) -> CheckpointStore {
        CheckpointStore {
            place: place.to_owned(),
            storage,
            guard: Guard::None,
            start: random(),
            next: Mutex::new(0),
        }
    }

    /// A place that is only read: nothing is made, and no lock is taken, so that the process which has it goes on.
    pub fn read_only(place: &str) -> Result<CheckpointStore, StoreError> {
        let fail = |why: String| StoreError {
            kind: StoreErrorKind::Failed,
            place: conceal(place),
            doing: "open".into(),
            why,
        };
        let at = Place::parse(place).map_err(fail)?;
        if let Place::Folder(path) = &at {
            // Opening would make it.
            std::fs::read_dir(path).map_err(|e| fail(e.to_string()))?;
        }
        let storage = at.open().map_err(|e| fail(e.to_string()))?;
        Ok(CheckpointStore::alone(place, storage))
    }

    /// A place for a copy, made if it is not there. No lock: who makes it names it to nobody before it is whole.
    pub fn new_place(place: &str) -> Result<CheckpointStore, StoreError> {
        let fail = |why: String| StoreError {
            kind: StoreErrorKind::Failed,
            place: conceal(place),
            doing: "open".into(),
            why,
        };
        let storage = Place::parse(place).map_err(fail)?.open();
        let storage = storage.map_err(|e| fail(e.to_string()))?;
        Ok(CheckpointStore::alone(place, storage))
    }

    /// The folder or URL.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Takes the name of the next manifest, so that no process but this one can commit it.
    fn fence(&self) -> Result<(), StoreError> {
        let mut epoch = self.epochs()?.into_iter().max().unwrap_or(0) + 1;
        // The other one may have been quicker: then its manifest counts, and the next name is the one to take.
        while !self.put_fence(epoch)? {
            epoch += 1;
        }
        Ok(())
    }

    /// Puts a fence; false: something else stands there.
    fn put_fence(&self, epoch: u64) -> Result<bool, StoreError> {
        let name = manifest_name(epoch);
        let text = [FENCE, self.start.as_bytes(), b"\n"].concat();
        match self.storage.put(&name, &[&text], &Condition::Absent) {
            Ok(_) => Ok(true),
            Err(StorageError::Conflict) => {
                let there = self.storage.get(&name, MANIFEST_BYTES_MAX);
                let there =
                    there.map_err(|e| self.error(&format!("read {name}"), e.to_string()))?;
                Ok(there.is_some_and(|object| object.bytes == text))
            }
            Err(e) => Err(self.error(&format!("put the fence {name}"), e.to_string())),
        }
    }

    /// Before an epoch is committed: names that are skipped are taken, or another process has been there.
    fn fence_skipped(&self, epoch: u64) -> Result<(), StoreError> {
        let mut next = self.next.lock();
        // One is enough: whoever stood still before this range needs its first name, or skips that and fences it.
        if *next < epoch {
            if !self.put_fence(*next)? {
                let name = manifest_name(*next);
                return Err(self.taken(&format!("write {name}"), TAKEN_OVER.into()));
            }
            *next = epoch;
        }
        Ok(())
    }

    /// Everything that looks like a checkpoint. Files of state are not looked at: `load` does that, where they are
    /// wanted.
    pub fn find(&self) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        for epoch in self.epochs()? {
            let name = manifest_name(epoch);
            let broken = |why: String| Found::Broken {
                epoch,
                name: name.clone(),
                why,
            };
            found.push(match self.read_manifest(&name) {
                Err(Unread::Damaged(why)) => broken(why),
                Err(Unread::Failed(e)) => return Err(e),
                Ok(None) => Found::Fence { epoch },
                Ok(Some(manifest)) if manifest.epoch != epoch => broken(format!(
                    "it is manifest {} under another name",
                    manifest.epoch
                )),
                Ok(Some(manifest)) => Found::Whole(Box::new(manifest)),
            });
        }
        Ok(found)
    }

    /// Epochs that something stands for: checkpoints, whole or broken, and fences.
    pub fn epochs(&self) -> Result<Vec<u64>, StoreError> {
        let names = self.names()?;
        Ok(names.iter().filter_map(|name| epoch_of(name)).collect())
    }

    /// None: a fence.
    fn read_manifest(&self, name: &str) -> Result<Option<Manifest>, Unread> {
        let object = self
            .get(name, MANIFEST_BYTES_MAX)?
            .ok_or_else(|| Unread::Damaged("it is not there any more".into()))?;
        if object.bytes.starts_with(FENCE) {
            return Ok(None);
        }
        Manifest::decode(&object.bytes)
            .map(Some)
            .map_err(Unread::Damaged)
    }

    /// The manifest of an epoch.
    pub fn manifest(&self, epoch: u64) -> Result<Manifest, StoreError> {
        let name = manifest_name(epoch);
        match self.read_manifest(&name) {
            Ok(Some(manifest)) => Ok(manifest),
            Ok(None) => Err(self.error(
                &format!("read {name}"),
                "it is a fence, not a checkpoint".into(),
            )),
            Err(Unread::Damaged(why)) => Err(self.error(&format!("read {name}"), why)),
            Err(Unread::Failed(e)) => Err(e),
        }
    }

    /// A state file, checked against what its manifest says, and its checksums.
    pub fn read_state(&self, file: &StateFile) -> Result<(Vec<u8>, Sums), Unread> {
        let damaged = |why: String| Err(Unread::Damaged(why));
        file.file_name().map_err(Unread::Damaged)?;
        let bytes = match self.storage.get_bytes(&file.name, file.bytes) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return damaged(format!("{} is not there", file.name)),
            Err(StorageError::Unfit(why)) => return damaged(format!("{}: {why}", file.name)),
            Err(e) => return Err(self.unread(&file.name, &e)),
        };
        if bytes.len() as u64 != file.bytes {
            return damaged(format!(
                "{} has {} bytes instead of {}",
                file.name,
                bytes.len(),
                file.bytes
            ));
        }
        let sums = Sums::of(&bytes);
        if hex(sums.whole) != file.checksum {
            return damaged(format!(
                "{} has another checksum than its manifest says",
                file.name
            ));
        }
        Ok((bytes, sums))
    }

    fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Object>, Unread> {
        self.storage.get(name, bytes_max).map_err(|e| match e {
            StorageError::Unfit(why) => Unread::Damaged(why),
            e => self.unread(name, &e),
        })
    }

    pub(super) fn unread(&self, name: &str, e: &dyn std::fmt::Display) -> Unread {
        Unread::Failed(self.error(&format!("read {name}"), e.to_string()))
    }

    /// Whether its files are read at the speed of memory, or about, so that reading one twice costs little.
    pub(super) fn is_near(&self) -> bool {
        self.storage.is_near()
    }

    pub(super) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Writes a file of state: whole and lasting when this returns.
    pub fn write_state(
        &self,
        entries: &StateBuffer,
        binding: &Binding<'_>,
        builds_on: Option<&StateFile>,
    ) -> Result<StateFile, StoreError> {
        let name = self.state_name(binding);
        let failed = |why: String| self.error(&format!("write {name}"), why);
        let file = Outgoing::new(entries, binding);
        let put = self.storage.put_from(&name, &file);
        put.map_err(|e| failed(e.to_string()))?;
        let sum = file.sum();
        let sum = sum.ok_or_else(|| failed("the store did not take all of it".into()))?;
        crash::at(CrashPoint::StateStored);
        Ok(StateFile {
            name,
            step: binding.step.to_owned(),
            bytes: file.len(),
            checksum: hex(sum),
            entries: entries.entries(),
            groups: entries.groups(),
            task: binding.task,
            epoch: binding.epoch,
            builds_on: builds_on.map(|file| file.name.clone()),
        })
    }

    /// Puts a file of state that another place has, as it is, where nothing has its name.
    pub fn put_state(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let put = self.storage.put(name, &[bytes], &Condition::Absent);
        put.map(|_| ())
            .map_err(|e| self.error(&format!("write {name}"), e.to_string()))
    }

    /// The same, of a file that memory may be too small for.
    pub fn put_state_from(&self, name: &str, file: &dyn Bytes) -> Result<(), StoreError> {
        let put = self.storage.put_from(name, file);
        put.map_err(|e| self.error(&format!("write {name}"), e.to_string()))
    }

    /// Removes checkpoints, and files of state that none of those left names.
    pub fn remove_epochs(&self, epochs: &[u64]) -> Result<(), StoreError> {
        self.confirm_guard()?;
        let mut named = std::collections::BTreeSet::new();
        let mut all_read = true;
        let names = self.names()?;
        for epoch in names.iter().filter_map(|n| epoch_of(n)) {
            if epochs.contains(&epoch) {
                continue;
            }
            match self.read_manifest(&manifest_name(epoch)) {
                Ok(Some(manifest)) => named.extend(manifest.files.into_iter().map(|f| f.name)),
                Ok(None) => {}
                // What it names is not known: files stay.
                Err(_) => all_read = false,
            }
        }
        for &epoch in epochs {
            self.remove(&manifest_name(epoch))?;
        }
        let gone = |n: &&String| all_read && n.starts_with("state-") && !named.contains(*n);
        names.iter().filter(gone).try_for_each(|n| self.remove(n))
    }

    /// Name of a file of state that this start of the process writes.
    fn state_name(&self, of: &Binding<'_>) -> String {
        format!("state-{}-{}-{}-{}", of.epoch, of.step, of.task, self.start)
    }

    /// Writes the manifest: from here on the checkpoint counts. May be repeated after an error, with the same manifest.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        if let Guard::Lease(lease) = &self.guard {
            lease
                .confirm_if_run_out()
                .map_err(|e| self.lease_error(e))?;
            self.fence_skipped(manifest.epoch)?;
        }
        self.put_manifest(manifest)?;
        self.confirm_guard()?;
        let mut next = self.next.lock();
        *next = (*next).max(manifest.epoch + 1);
        Ok(())
    }

    fn put_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let name = manifest_name(manifest.epoch);
        let doing = format!("write {name}");
        let bytes = manifest.encode();
        match self.storage.put(&name, &[&bytes], &Condition::Absent) {
            Ok(_) => return Ok(()),
            Err(StorageError::Conflict) => {}
            Err(e) => return Err(self.error(&doing, e.to_string())),
        }
        let found = self.storage.get(&name, MANIFEST_BYTES_MAX);
        let found = found.map_err(|e| self.error(&doing, e.to_string()))?;
        let ours = found.filter(|object| object.bytes == bytes);
        let Some(ours) = ours else {
            return Err(self.taken(&doing, TAKEN_OVER.into()));
        };
        // An earlier attempt that was not answered, or that failed when the name was there: make sure that it lasts.
        self.storage
            .put(&name, &[&bytes], &Condition::Is(ours.version))
            .map(|_| ())
            .map_err(|e| self.error(&doing, e.to_string()))
    }

    /// Removes all but the newest `keep` whole checkpoints, and files that none of these names.
    pub fn clean(&self, keep: usize) -> Result<(), StoreError> {
        let names = self.names()?;
        let mut manifests: Vec<u64> = names.iter().filter_map(|n| epoch_of(n)).collect();
        manifests.sort_unstable_by(|a, b| b.cmp(a));
        let (mut kept, mut all_read) = (Vec::new(), true);
        let mut named = std::collections::BTreeSet::new();
        for &epoch in &manifests {
            if kept.len() >= keep.max(1) {
                break;
            }
            match self.read_manifest(&manifest_name(epoch)) {
                Ok(Some(manifest)) => named.extend(manifest.files.into_iter().map(|f| f.name)),
                // A fence is no checkpoint: it goes once there are enough of those.
                Ok(None) => continue,
                // One that does not read is kept: it may be looked into.
                Err(_) => all_read = false,
            }
            kept.push(epoch);
        }
        let oldest = kept.last().copied().unwrap_or(0);
        // What was listed is ours to remove only if nobody had taken over by then.
        self.confirm_guard()?;
        for &epoch in manifests.iter().filter(|&&epoch| epoch < oldest) {
            self.remove(&manifest_name(epoch))?;
            crash::at(CrashPoint::ManifestRemoved);
        }
        // What a manifest names that does not read is not known: files stay until it is one of those removed.
        for name in names.iter().filter(|_| all_read) {
            if name.starts_with("state-") && !named.contains(name) {
                self.remove(name)?;
                crash::at(CrashPoint::StateRemoved);
            }
        }
        crash::at(CrashPoint::Cleaned);
        Ok(())
    }

    /// Whether this process held the place until now.
    fn confirm_guard(&self) -> Result<(), StoreError> {
        match &self.guard {
            Guard::Lease(lease) => lease.confirm().map_err(|e| self.lease_error(e)),
            Guard::Folder(_) | Guard::None => Ok(()),
        }
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        let names = self.storage.list();
        let mut names = names.map_err(|e| self.error("list", e.to_string()))?;
        names.sort();
        Ok(names)
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.storage
            .delete(name)
            .map_err(|e| self.error(&format!("remove {name}"), e.to_string()))
    }

    fn lease_error(&self, e: LeaseError) -> StoreError {
        match e {
            LeaseError::Lost(why) => self.taken("hold the lease", why),
            LeaseError::Store(e) => self.error("hold the lease", e.to_string()),
        }
    }

    fn taken(&self, doing: &str, why: String) -> StoreError {
        StoreError {
            kind: StoreErrorKind::Taken,
            ..self.error(doing, why)
        }
    }

    fn error(&self, doing: &str, why: String) -> StoreError {
        StoreError {
            kind: StoreErrorKind::Failed,
            place: self.place.clone(),
            doing: doing.to_owned(),
            why,
        }
    }
}

/// Name of an epoch's manifest.
pub fn manifest_name(epoch: u64) -> String {
    format!("manifest-{epoch:010}")
}

/// The epoch of a manifest's name; none: it is no manifest's.
pub fn epoch_of(name: &str) -> Option<u64> {
    let epoch = name.strip_prefix("manifest-")?.parse().ok()?;
    // No other spelling of a number, which would be another file.
    (manifest_name(epoch) == name).then_some(epoch)
}

/// What no other start of a process has.
fn random() -> String {
    let random =
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    format!("{:08x}", random as u32)
}
