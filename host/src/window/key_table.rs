//! Keys by number, with something for each: what sessions and count windows have in common.

use std::ops::{Index, IndexMut};

use hashbrown::HashTable;

use super::core::Arrivals;
use super::groups::grow_gently;
use super::keys::{KeyArena, KeyHasher, KeyRef, key_of};
use crate::record::Batch;
use crate::state::growth_of;

/// A key.
#[derive(Debug)]
pub(super) struct Entry<T> {
    key: KeyRef,
    /// Which plan `local` is of.
    pub stamp: u32,
    /// Its number in that plan.
    pub local: u32,
    /// The vault has something of it, which is stale.
    pub below: bool,
    /// What it is kept for.
    pub of: T,
}

/// Keys. A number is given to another key once its own was removed.
#[derive(Debug)]
pub(super) struct KeyTable<T> {
    /// Beside each number half of its key's hash: growing the table and passing over others touch no entry.
    table: HashTable<(u32, u32)>,
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    arena: KeyArena,
    /// Of the plan at work.
    pub stamp: u32,
}

impl<T> Default for KeyTable<T> {
    fn default() -> KeyTable<T> {
        KeyTable {
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            arena: KeyArena::default(),
            stamp: 0,
        }
    }
}

/// The half of a hash that is kept.
#[inline]
fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The hash that the table works with: it wants its bits at both ends.
#[inline]
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<T> KeyTable<T> {
    /// How many keys.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Above all numbers.
    pub fn numbers(&self) -> usize {
        self.entries.len()
    }

    /// The number of a key, if it is there.
    #[inline]
    pub fn find(&self, hash: u64, key: Option<&[u8]>) -> Option<u32> {
        let half = half(hash);
        let is =
            |e: &(u32, u32)| e.1 == half && self.entries[e.0 as usize].key.is(key, &self.arena);
        self.table.find(spread(half), is).map(|e| e.0)
    }

    /// Whether a key is there.
    pub fn has(&self, hasher: &KeyHasher, key: Option<&[u8]>) -> bool {
        self.find(hasher.hash(key), key).is_some()
    }

    /// The number of a key, made if it is not there.
    #[inline]
    pub fn find_or_make(&mut self, hash: u64, key: Option<&[u8]>, new: impl FnOnce() -> T) -> u32 {
        if let Some(found) = self.find(hash, key) {
            return found;
        }
        let entry = Entry {
            key: self.arena.keep(key),
            stamp: 0,
            local: 0,
            below: false,
            of: new(),
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = entry;
                number
            }
            None => {
                grow_gently(&mut self.entries, 1);
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        let half = half(hash);
        self.table
            .insert_unique(spread(half), (number, half), |e| spread(e.1));
        number
    }

    /// The bytes of a key; none for that of records without key.
    #[inline]
    pub fn key(&self, number: u32) -> Option<&[u8]> {
        self.entries[number as usize].key.get(&self.arena)
    }

    /// Takes a key out. What it was kept for stays until its number is given away.
    pub fn remove(&mut self, hash: u64, number: u32) {
        let found = self.table.find_entry(spread(half(hash)), |e| e.0 == number);
        if let Ok(found) = found {
            found.remove();
        }
        self.arena.forget(&self.entries[number as usize].key);
        self.free.push(number);
        if self.arena.is_wasteful() {
            // Free entries hold keys that are forgotten: only the others move along.
            self.free.sort_unstable();
            let (entries, free) = (self.entries.iter_mut().enumerate(), &self.free);
            let in_use = entries.filter(|(k, _)| free.binary_search(&(*k as u32)).is_err());
            self.arena.compact(in_use.map(|(_, entry)| &mut entry.key));
        }
    }

    /// All numbers in use.
    pub fn live(&self) -> impl Iterator<Item = u32> {
        self.table.iter().map(|e| e.0)
    }

    /// What all keys are kept for.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.of)
    }

    /// Keys of a batch that are not there (some twice).
    pub fn absent<'b>(&self, batch: &'b Batch, arrivals: &Arrivals) -> Vec<Option<&'b [u8]>> {
        let rows = arrivals.rows.iter().chain(&arrivals.unfit);
        let keys = rows.filter_map(|&row| {
            let key = key_of(batch.keys.as_ref(), row as usize);
            let hash = arrivals.hashes[row as usize];
            self.find(hash, key).is_none().then_some(key)
        });
        keys.collect()
    }

    /// Another plan begins: no key has a number in it.
    pub fn next_stamp(&mut self) {
        self.stamp = self.stamp.checked_add(1).unwrap_or_else(|| {
            self.entries.iter_mut().for_each(|entry| entry.stamp = 0);
            1
        });
    }

    /// Bytes that it may grow by at once (`Step::growth`).
    pub fn growth(&self) -> usize {
        let room = self.free.len() + self.entries.capacity() - self.entries.len();
        let entries = growth_of(room, self.entries.len() / 4 * size_of::<Entry<T>>());
        let room = self.table.capacity() - self.table.len();
        entries + growth_of(room, self.table.allocation_size())
    }

    /// Bytes of memory, without what is behind pointers of `T`.
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry<T>>()
            + self.table.allocation_size()
            + self.arena.memory()
            + self.free.capacity() * size_of::<u32>()
    }
}

impl<T> Index<u32> for KeyTable<T> {
    type Output = Entry<T>;

    #[inline]
    fn index(&self, number: u32) -> &Entry<T> {
        &self.entries[number as usize]
    }
}

impl<T> IndexMut<u32> for KeyTable<T> {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut Entry<T> {
        &mut self.entries[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Like a plain map from keys to numbers, whatever the hash; long keys, so that the arena is compacted.
        #[test]
        fn behaves_like_a_map(ops in proptest::collection::vec((0u8..3, 0u8..30), 0..300)) {
            let bytes = |key: u8| vec![key; 1 + usize::from(key % 3) * 500];
            let hash = |key: u8| u64::from(key % 5) << 60 | u64::from(key % 7) << 33;
            let mut table = KeyTable::<u8>::default();
            let mut map = std::collections::BTreeMap::new();
            for (op, key) in ops {
                let found = table.find(hash(key), Some(&bytes(key)));
                proptest::prop_assert_eq!(found, map.get(&key).copied());
                match (op, found) {
                    (0, Some(number)) => {
                        table.remove(hash(key), number);
                        map.remove(&key);
                    }
                    _ => {
                        let number = table.find_or_make(hash(key), Some(&bytes(key)), || key);
                        map.insert(key, number);
                    }
                }
                proptest::prop_assert_eq!(table.len(), map.len());
                for (key, &number) in &map {
                    proptest::prop_assert_eq!(table.key(number), Some(&bytes(*key)[..]));
                    proptest::prop_assert_eq!(table[number].of, *key);
                }
                let mut live: Vec<u32> = table.live().collect();
                live.sort_unstable();
                let mut expected: Vec<u32> = map.values().copied().collect();
                expected.sort_unstable();
                proptest::prop_assert_eq!(live, expected);
            }
        }
    }
}
