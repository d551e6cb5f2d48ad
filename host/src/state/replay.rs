//! What a chain of buffers leaves.
//!
//! Reads the newest first: an entry that a later buffer set or deleted is passed over. So only the names in deltas are
//! remembered, and a base alone costs one pass. Who takes entries back often knows best what it has already
//! (`Wanted::knows_names`): then only what was deleted is remembered.

use std::collections::{BTreeMap, HashSet};

use foldhash::fast::RandomState;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::StateRef;
use super::buffer::{Item, Malformed, items};
use super::stored::{Part, Stored, StoredError, each_segment};

/// Names remembered at once, 36 bytes each at most: where there are more, the chain is read several times.
const NAMES_AT_ONCE: u64 = if cfg!(test) { 3 } else { 2 << 20 };

/// Entries handed out at once: who takes them may overlap what it waits for.
const BATCH: usize = 256;

/// Which entries are wanted, and how.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Key groups: what is of others costs next to nothing.
    pub groups: &'a dyn Fn(u16) -> bool,
    /// Whoever takes them passes over an entry whose name it had before, so they may come.
    pub knows_names: bool,
}

impl Wanted<'_> {
    /// All that there are, each once.
    pub const ALL: Wanted<'static> = Wanted {
        groups: &|_| true,
        knows_names: false,
    };
}

/// Hears of entries, many at a time.
type Hear<'a, E> = &'a mut dyn FnMut(&[StateRef<'_>]) -> Result<(), E>;

/// Gives what a chain leaves, each entry once, in no order that means anything. `chain`: the bytes of the base, then
/// those of each delta.
pub fn replay<E: From<Malformed>>(
    chain: &[&[u8]],
    each: &mut dyn FnMut(StateRef<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let parts: Vec<Part<'_>> = chain.iter().map(|bytes| Part::Here(bytes)).collect();
    let mut all = |entries: &[StateRef<'_>]| {
        let mut entries = entries.iter();
        entries.try_for_each(|entry| each(*entry).map_err(Halt::Told))
    };
    replay_parts(&parts, &Wanted::ALL, &mut all).map_err(|halt| match halt {
        Halt::Told(e) => e,
        // Nothing is read that could not be.
        Halt::Stored => Malformed.into(),
    })
}

/// The same for what may not be in memory, and for those who want only some of it.
pub fn replay_stored<E: From<StoredError>>(
    chain: &[Stored],
    wanted: &Wanted<'_>,
    each: Hear<'_, E>,
) -> Result<(), E> {
    let parts: Vec<Part<'_>> = chain.iter().map(Stored::part).collect();
    replay_parts(&parts, wanted, each)
}

/// Why it ended.
enum Halt<E> {
    /// What is stored does not read.
    Stored,
    /// Who was told said so.
    Told(E),
}

impl<E> From<StoredError> for Halt<E> {
    fn from(_: StoredError) -> Halt<E> {
        Halt::Stored
    }
}

/// Several passes if there are many names, each for those with certain hashes.
fn replay_parts<E: From<StoredError>>(
    chain: &[Part<'_>],
    wanted: &Wanted<'_>,
    each: Hear<'_, E>,
) -> Result<(), E> {
    let passes = match wanted.knows_names {
        true => 1,
        false => names(chain, wanted)?.div_ceil(NAMES_AT_ONCE).max(1),
    };
    for pass in 0..passes {
        let mut later = Later::default();
        for (number, &part) in chain.iter().enumerate().rev() {
            // What a buffer says of others is learnt behind it: in itself it is set all the same.
            let (mut names, mut prefixes) = (Vec::new(), Vec::new());
            each_segment(part, &mut |segment| {
                let mut batch = Vec::with_capacity(BATCH);
                for item in items(segment) {
                    let (group, key, entry) = match item.map_err(StoredError::from)?.1 {
                        Item::AllGone(prefix) => {
                            prefixes.push(prefix.to_vec());
                            continue;
                        }
                        Item::Gone(group, key) => (group, key, None),
                        Item::Set(entry) => (entry.key_group, entry.key, Some(entry)),
                    };
                    if !(wanted.groups)(group) {
                        continue;
                    }
                    let is_learnt = number > 0 && (entry.is_none() || !wanted.knows_names);
                    if passes > 1 || is_learnt || !later.keys.is_empty() {
                        // So long that two keys never share one.
                        let name = xxh3_128_with_seed(key, u64::from(group));
                        if (name as u64) % passes != pass {
                            continue;
                        }
                        if is_learnt {
                            names.push(name);
                        }
                        if later.keys.contains(&name) {
                            continue;
                        }
                    }
                    if let Some(entry) = entry
                        && !later.is_gone(key)
                    {
                        batch.push(entry);
                    }
                    if batch.len() == BATCH {
                        each(&batch)?;
                        batch.clear();
                    }
                }
                match batch.is_empty() {
                    true => Ok(()),
                    false => each(&batch),
                }
            })?;
            later.keys.extend(names);
            for prefix in prefixes {
                let of_length = later.prefixes.entry(prefix.len()).or_default();
                of_length.insert(prefix);
            }
        }
    }
    Ok(())
}

/// How many names deltas have.
fn names<E: From<StoredError>>(chain: &[Part<'_>], wanted: &Wanted<'_>) -> Result<u64, E> {
    let mut names = 0;
    for &delta in chain.iter().skip(1) {
        each_segment(delta, &mut |segment| {
            for item in items(segment) {
                names += match item.map_err(StoredError::from)?.1 {
                    Item::Set(StateRef { key_group, .. }) | Item::Gone(key_group, _) => {
                        u64::from((wanted.groups)(key_group))
                    }
                    Item::AllGone(_) => 0,
                };
            }
            Ok::<(), E>(())
        })?;
    }
    Ok(names)
}

/// What later buffers speak of.
#[derive(Default)]
struct Later {
    keys: HashSet<u128, RandomState>,
    /// How all that is gone begins, by length.
    prefixes: BTreeMap<usize, HashSet<Vec<u8>, RandomState>>,
}

impl Later {
    fn is_gone(&self, key: &[u8]) -> bool {
        let gone = |(&n, all): (&usize, &HashSet<Vec<u8>, RandomState>)| {
            key.get(..n).is_some_and(|prefix| all.contains(prefix))
        };
        self.prefixes.iter().any(gone)
    }
}
