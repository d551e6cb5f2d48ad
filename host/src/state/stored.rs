//! State that need not be in memory: bytes read a piece at a time, and what a chain of such leaves.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use super::StateRef;
use super::buffer::{Item, Malformed, item_at};
use super::replay::replay;

/// Bytes read at once; few in tests, so that entries lie across pieces.
const PIECE: usize = if cfg!(test) { 24 } else { 1 << 20 };

/// Keys of deltas remembered at once, 36 bytes each at most: where there are more, the chain is read several times.
const KEYS_AT_ONCE: u64 = if cfg!(test) { 3 } else { 2 << 20 };

/// Bytes, somewhere.
pub trait Bytes: Send + Sync + Debug {
    /// How many.
    fn len(&self) -> u64;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Fills `into` with those from `at` on.
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
    /// xxh3-64 of all, if it is known: who reads all holds it against what was read.
    fn sum(&self) -> Option<u64> {
        None
    }
}

impl Bytes for Vec<u8> {
    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = self.get(from..).and_then(|b| b.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A buffer of entries as it was kept.
#[derive(Clone, Debug)]
pub enum Stored {
    /// In memory: bytes, and where in them the entries are.
    Here(Vec<u8>, Range<usize>),
    /// Elsewhere: entries only.
    There(Arc<dyn Bytes>),
}

/// Why what a chain holds cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// Bytes that are no entries.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// They cannot be read any more.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// They are not what they were.
    #[error("it was changed while it was read")]
    Changed,
}

/// Hears of a piece of bytes, in order.
type Hear<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// Hands out all bytes, a piece at a time.
pub fn each_piece(bytes: &dyn Bytes, each: Hear<'_>) -> io::Result<()> {
    let mut piece = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        piece.resize((bytes.len() - at).min(PIECE as u64) as usize, 0);
        bytes.read(at, &mut piece)?;
        each(&piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Gives what a chain leaves, as `replay` does; what is not in memory is read a piece at a time.
pub fn replay_stored<E: From<StoredError> + From<Malformed>>(
    chain: &[Stored],
    each: &mut dyn FnMut(StateRef<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let here = chain.iter().map(|stored| match stored {
        Stored::Here(bytes, range) => Some(&bytes[range.clone()]),
        Stored::There(_) => None,
    });
    match here.collect::<Option<Vec<&[u8]>>>() {
        Some(chain) => replay(&chain, each),
        None => replay_far(chain, each),
    }
}

/// Several passes, each for the keys with certain hashes. Newest first, as in `replay`.
fn replay_far<E: From<StoredError>>(
    chain: &[Stored],
    each: &mut dyn FnMut(StateRef<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut keys = 0_u64;
    for delta in chain.iter().skip(1) {
        let mut items = Items::of(delta);
        while items.next()?.is_some() {
            keys += 1;
        }
    }
    let passes = keys.div_ceil(KEYS_AT_ONCE).max(1);
    for pass in 0..passes {
        let mut later = Later::default();
        for (number, stored) in chain.iter().enumerate().rev() {
            // What a buffer says of others is learnt behind it: in itself it is set all the same.
            let (mut names, mut prefixes) = (Vec::new(), Vec::new());
            let mut items = Items::of(stored);
            while let Some(item) = items.next()? {
                let (group, key, entry) = match item {
                    Item::AllGone(prefix) => {
                        prefixes.push(prefix.to_vec());
                        continue;
                    }
                    Item::Gone(group, key) => (group, key, None),
                    Item::Set(entry) => (entry.key_group, entry.key, Some(entry)),
                };
                if passes == 1 && number == 0 && later.is_empty() {
                    entry.map_or(Ok(()), &mut *each)?;
                    continue;
                }
                // So long that two keys never share one.
                let name = xxh3_128_with_seed(key, u64::from(group));
                if (name as u64) % passes != pass {
                    continue;
                }
                if let Some(entry) = entry
                    && !later.speaks_of(name, key)
                {
                    each(entry)?;
                }
                if number > 0 {
                    names.push(name);
                }
            }
            later.keys.extend(names);
            for prefix in prefixes {
                later
                    .prefixes
                    .entry(prefix.len())
                    .or_default()
                    .insert(prefix);
            }
        }
    }
    Ok(())
}

/// What later buffers speak of.
#[derive(Default)]
struct Later {
    keys: HashSet<u128, RandomState>,
    /// How all that is gone begins, by length.
    prefixes: BTreeMap<usize, HashSet<Vec<u8>>>,
}

impl Later {
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty()
    }

    fn speaks_of(&self, name: u128, key: &[u8]) -> bool {
        let gone = |(&n, all): (&usize, &HashSet<Vec<u8>>)| {
            key.get(..n).is_some_and(|prefix| all.contains(prefix))
        };
        self.keys.contains(&name) || self.prefixes.iter().any(gone)
    }
}

/// Goes through entries.
struct Items<'a> {
    stored: &'a Stored,
    /// Read up to here.
    at: u64,
    buffer: Vec<u8>,
    start: usize,
    sum: Xxh3,
}

impl Items<'_> {
    fn of(stored: &Stored) -> Items<'_> {
        Items {
            stored,
            at: 0,
            buffer: Vec::new(),
            start: 0,
            sum: Xxh3::new(),
        }
    }

    fn next(&mut self) -> Result<Option<Item<'_>>, StoredError> {
        while item_at(&self.buffer, self.start).is_none() {
            if !self.fill()? {
                return match self.start == self.buffer.len() {
                    true => Ok(None),
                    false => Err(Malformed.into()),
                };
            }
        }
        let (item, length) = item_at(&self.buffer, self.start).expect("it was there just now");
        self.start += length;
        Ok(Some(item))
    }

    /// Reads more; whether there was any.
    fn fill(&mut self) -> Result<bool, StoredError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let (all, sum) = match self.stored {
            Stored::Here(_, range) => (range.len() as u64, None),
            Stored::There(bytes) => (bytes.len(), bytes.sum()),
        };
        if self.at == all {
            return match sum.is_some_and(|sum| sum != self.sum.digest()) {
                true => Err(StoredError::Changed),
                false => Ok(false),
            };
        }
        let before = self.buffer.len();
        let more = (all - self.at).min(PIECE as u64) as usize;
        self.buffer.resize(before + more, 0);
        let into = &mut self.buffer[before..];
        match self.stored {
            Stored::Here(bytes, range) => {
                let from = range.start + self.at as usize;
                into.copy_from_slice(&bytes[from..from + more]);
            }
            Stored::There(bytes) => {
                bytes.read(self.at, into)?;
                if sum.is_some() {
                    self.sum.update(into);
                }
            }
        }
        self.at += more as u64;
        Ok(true)
    }
}
