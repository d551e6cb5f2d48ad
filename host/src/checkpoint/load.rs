//! Reads the checkpoint that a decision picks: all its files, several at a time, each checked against its manifest and
//! against the file before it.
//!
//! Whether files of state are whole is only known once they were read, which for large states takes longer than anything
//! else at a start. So only those of the checkpoint that would be gone on from are read; if one is damaged, that becomes
//! a fact like any other, and the decision is made again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::decide::{Found, RecoveryDecision};
use super::far::LARGE;
use super::manifest::{Manifest, StateFile};
use super::state::{self, Binding};
use super::store::{CheckpointStore, StoreError, Unread, manifest_name};
use crate::state::{Chain, Stored};

/// Files read at the same time: enough for a store far away, and no more threads than a small machine bears.
const AT_ONCE: usize = 8;

/// A file of state: its bytes, and where in them the entries are.
type Read = (Vec<u8>, Range<usize>);

/// A checkpoint with all its state.
#[derive(Debug)]
pub struct Loaded {
    /// Its manifest.
    pub manifest: Manifest,
    /// By step: a base and what changed after it. A step has a chain from each task that wrote it.
    pub chains: Vec<(String, Chain)>,
}

/// Decides until what was decided can be done. With `Restore` comes what was read for it. `found`: what turns out to be
/// damaged is marked in it. `memory_max`: a checkpoint with more bytes is not held in memory.
pub fn decide_and_load(
    store: &CheckpointStore,
    found: &mut [Found],
    decide: &dyn Fn(&[Found]) -> RecoveryDecision,
    memory_max: u64,
) -> Result<(RecoveryDecision, Option<Loaded>), StoreError> {
    loop {
        let decision = decide(found);
        let RecoveryDecision::Restore { epoch, .. } = &decision else {
            return Ok((decision, None));
        };
        let of_it = found.iter_mut().find(|f| f.epoch() == *epoch);
        let place = of_it.expect("a decision is about what was found");
        let Found::Whole(manifest) = &*place else {
            unreachable!("only whole checkpoints are gone on from")
        };
        match load(store, manifest, memory_max) {
            Ok(loaded) => return Ok((decision, Some(loaded))),
            Err(Unread::Failed(e)) => return Err(e),
            Err(Unread::Damaged(why)) => {
                *place = Found::Broken {
                    epoch: *epoch,
                    name: manifest_name(*epoch),
                    why,
                };
            }
        }
    }
}

/// Reads all state of a checkpoint; of one with more than so many bytes, all is looked through, and read later.
pub fn load(
    store: &CheckpointStore,
    manifest: &Manifest,
    memory_max: u64,
) -> Result<Loaded, Unread> {
    let large = manifest.files.iter().map(|f| f.bytes).sum::<u64>() > memory_max;
    let far = Far {
        all: large,
        large: store.is_near(),
    };
    let chains = manifest.chains().map_err(Unread::Damaged)?;
    // (file, the one before it)
    let files: Vec<(&StateFile, Option<&StateFile>)> = chains
        .iter()
        .flat_map(|chain| {
            let before = std::iter::once(None).chain(chain.iter().copied().map(Some));
            chain.iter().copied().zip(before)
        })
        .collect();
    let mut read = read_all(store, manifest, &files, far)?.into_iter();
    let chains = chains
        .iter()
        .map(|chain| {
            let parts = read.by_ref().take(chain.len()).collect();
            (chain[0].step.clone(), chain_of(chain, parts))
        })
        .collect();
    Ok(Loaded {
        manifest: manifest.clone(),
        chains,
    })
}

/// Which files are not held in memory.
#[derive(Clone, Copy)]
struct Far {
    all: bool,
    /// Those that it takes more to hold than to read again.
    large: bool,
}

impl Far {
    fn is(self, file: &StateFile) -> bool {
        // (What binds files of version 1 is not behind their entries.)
        file.epoch > 0 && (self.all || self.large && file.bytes >= LARGE)
    }
}

fn chain_of(files: &[&StateFile], parts: Vec<Stored>) -> Chain {
    let known = files.iter().map(|file| file.groups);
    let groups = known.reduce(|all, of_file| {
        let ((a, b), (c, d)) = (all?, of_file?);
        Some((a.min(c), b.max(d)))
    });
    Chain {
        parts,
        entries: files.iter().map(|file| file.entries).sum(),
        groups: groups.flatten(),
    }
}

/// State of one step in one key group: of each task that may have written such a chain. The files of those, and no others,
/// are looked through; none is held in memory.
pub fn load_group(
    store: &CheckpointStore,
    manifest: &Manifest,
    step: &str,
    key_group: u16,
) -> Result<Vec<Chain>, Unread> {
    let far = Far {
        all: true,
        large: true,
    };
    let mut loaded = Vec::new();
    for files in manifest.chains().map_err(Unread::Damaged)? {
        let is_it = |group| group == key_group;
        if files[0].step != step || !chain_of(&files, Vec::new()).may_have(&is_it) {
            continue;
        }
        let before = std::iter::once(None).chain(files.iter().copied().map(Some));
        let parts = files.iter().zip(before);
        let parts = parts.map(|(file, before)| stored(store, manifest, file, before, far.is(file)));
        let parts = parts.collect::<Result<_, _>>()?;
        loaded.push(chain_of(&files, parts));
    }
    Ok(loaded)
}

/// All files, in order. The first error ends it.
fn read_all(
    store: &CheckpointStore,
    manifest: &Manifest,
    files: &[(&StateFile, Option<&StateFile>)],
    far: Far,
) -> Result<Vec<Stored>, Unread> {
    let next = AtomicUsize::new(0);
    let read: Mutex<Vec<Option<Stored>>> = Mutex::new(files.iter().map(|_| None).collect());
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((file, before)) = files.get(number) else {
                return Ok(());
            };
            match stored(store, manifest, file, *before, far.is(file)) {
                Ok(one) => read.lock()[number] = Some(one),
                Err(e) => {
                    next.store(files.len(), Ordering::Relaxed);
                    return Err(e);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let spawn = |_| scope.spawn(worker);
        let helpers: Vec<_> = (1..files.len().min(AT_ONCE)).map(spawn).collect();
        let mine = worker();
        helpers
            .into_iter()
            .map(|helper| helper.join().expect("reading does not panic"))
            .fold(mine, Result::and)
    })?;
    let read = read.into_inner().into_iter();
    Ok(read.map(|one| one.expect("all were read")).collect())
}

/// One file, held against its manifest and the file before it. `far`: it is not held in memory.
fn stored(
    store: &CheckpointStore,
    manifest: &Manifest,
    file: &StateFile,
    before: Option<&StateFile>,
    far: bool,
) -> Result<Stored, Unread> {
    if far {
        let checked = store.checked(file, &binding(manifest, file, before))?;
        return Ok(Stored::There(Arc::new(checked)));
    }
    let (bytes, entries) = read_one(store, manifest, file, before)?;
    Ok(Stored::Here(bytes, entries))
}

/// Whether a file is whole, and what it must be.
pub(super) fn look_through(
    store: &CheckpointStore,
    manifest: &Manifest,
    file: &StateFile,
    before: Option<&StateFile>,
) -> Result<(), Unread> {
    let far = Far {
        all: false,
        large: true,
    };
    stored(store, manifest, file, before, far.is(file)).map(|_| ())
}

fn binding<'a>(
    manifest: &'a Manifest,
    file: &'a StateFile,
    before: Option<&StateFile>,
) -> Binding<'a> {
    Binding {
        job: &manifest.identity.job,
        run: &manifest.run,
        step: &file.step,
        task: file.task,
        epoch: file.epoch,
        builds_on: before.map(StateFile::sum),
    }
}

/// One file in memory.
fn read_one(
    store: &CheckpointStore,
    manifest: &Manifest,
    file: &StateFile,
    before: Option<&StateFile>,
) -> Result<Read, Unread> {
    let (bytes, sums) = store.read_state(file)?;
    let binding = binding(manifest, file, before);
    let entries = state::open_summed(&bytes, &sums, (file.epoch > 0).then_some(&binding))
        .map_err(|why| Unread::Damaged(format!("{}: {why}", file.name)))?;
    Ok((bytes, entries))
}
