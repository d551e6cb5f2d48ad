use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::cold::ColdKeys;
use super::{key_of_entry, put_entry_key};
use crate::state::{Extent, Mark, StateBuffer, Touched, growth_of};
use crate::step::key_group;

/// Number of a key in a `KeyMap`. It is given to another key once its own was removed.
pub type KeyId = u32;

/// Something for each key, found by the key's bytes or by its number.
///
/// "No key" is a key of its own here, apart from the empty one. Nothing depends on the order of the
/// hash table: numbers are given in order of arrival, so two runs over the same records do the same.
#[derive(Debug)]
pub struct KeyMap<T> {
    /// Beside each number half of its key's hash: growing the table and passing over others touch no slot.
    table: HashTable<(KeyId, u32)>,
    slots: Vec<Option<Slot<T>>>,
    free: Vec<KeyId>,
    hasher: RandomState,
    key_bytes: usize,
    pub(super) touched: Touched,
    /// Keys beyond memory, if there may be any.
    pub(super) cold: Option<Box<ColdKeys>>,
}

#[derive(Debug)]
pub(super) struct Slot<T> {
    hash: u32,
    pub mark: Mark,
    /// The vault has something of it, which is stale.
    pub below: bool,
    pub key: Option<Box<[u8]>>,
    pub value: T,
}

/// Bytes that a key of this length takes: the allocator's grain and head are part of it.
fn allocated(key: Option<&[u8]>) -> usize {
    match key.map_or(0, <[u8]>::len) {
        0 => 0,
        len => (len + size_of::<usize>()).next_multiple_of(16),
    }
}

impl<T> Default for KeyMap<T> {
    fn default() -> KeyMap<T> {
        KeyMap {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hasher: RandomState::default(),
            key_bytes: 0,
            touched: Touched::default(),
            cold: None,
        }
    }
}

/// The hash that the table works with: it wants its bits at both ends.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

const LIVE: &str = "a key number is only used while its key is in the map";

impl<T> KeyMap<T> {
    /// How many keys.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Half of the hash of a key.
    #[inline]
    fn hash(&self, key: Option<&[u8]>) -> u32 {
        match key {
            Some(key) => (self.hasher.hash_one(key) >> 32) as u32,
            None => 0,
        }
    }

    #[inline]
    fn is_key(slots: &[Option<Slot<T>>], id: KeyId, key: Option<&[u8]>) -> bool {
        slots[id as usize]
            .as_ref()
            .is_some_and(|s| s.key.as_deref() == key)
    }

    /// The number of a key, if it is here.
    #[inline]
    pub fn find(&self, key: Option<&[u8]>) -> Option<KeyId> {
        let hash = self.hash(key);
        self.table
            .find(spread(hash), |e| {
                e.1 == hash && Self::is_key(&self.slots, e.0, key)
            })
            .map(|e| e.0)
    }

    /// The number of a key, which gets a value if it is new.
    #[inline]
    pub fn find_or_insert(&mut self, key: Option<&[u8]>, new: impl FnOnce() -> T) -> KeyId {
        let hash = self.hash(key);
        let found = self.table.find(spread(hash), |e| {
            e.1 == hash && Self::is_key(&self.slots, e.0, key)
        });
        if let Some(&(id, _)) = found {
            return id;
        }
        self.key_bytes += allocated(key);
        let slot = Some(Slot {
            hash,
            mark: Mark::default(),
            below: false,
            key: key.map(Box::from),
            value: new(),
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                KeyId::try_from(self.slots.len() - 1)
                    .expect("a task has far fewer than 2^32 keys in memory")
            }
        };
        self.table
            .insert_unique(spread(hash), (id, hash), |e| spread(e.1));
        id
    }

    /// The value of a key.
    #[inline]
    pub fn get(&self, id: KeyId) -> &T {
        &self.slots[id as usize].as_ref().expect(LIVE).value
    }

    /// The value of a key, to change.
    #[inline]
    pub fn get_mut(&mut self, id: KeyId) -> &mut T {
        &mut self.slots[id as usize].as_mut().expect(LIVE).value
    }

    /// Whether the number stands for a key now.
    #[inline]
    pub fn contains(&self, id: KeyId) -> bool {
        self.slots.get(id as usize).is_some_and(Option::is_some)
    }

    /// The bytes of a key.
    #[inline]
    pub fn key(&self, id: KeyId) -> Option<&[u8]> {
        self.slots[id as usize].as_ref().expect(LIVE).key.as_deref()
    }

    /// Removes a key; its number is free for another.
    pub fn remove(&mut self, id: KeyId) -> T {
        let slot = self.slots[id as usize].take().expect(LIVE);
        if let Ok(entry) = self.table.find_entry(spread(slot.hash), |e| e.0 == id) {
            entry.remove();
        }
        self.key_bytes -= allocated(slot.key.as_deref());
        if let (true, Some(cold)) = (slot.below, &mut self.cold) {
            cold.bury(slot.key.as_deref());
        }
        let bytes = self.key_bytes + self.slots.len() * size_of::<Option<Slot<T>>>();
        self.touched.remove(slot.mark, bytes, |name| {
            put_entry_key(name, slot.key.as_deref());
        });
        self.free.push(id);
        slot.value
    }

    pub(super) fn slot(&self, id: KeyId) -> &Slot<T> {
        self.slots[id as usize].as_ref().expect(LIVE)
    }

    pub(super) fn slot_mut(&mut self, id: KeyId) -> &mut Slot<T> {
        self.slots[id as usize].as_mut().expect(LIVE)
    }

    /// Keeps the keys for which `stays` holds, drops the others, and makes everything as small as it can be. Answers the
    /// new numbers by the old ones (`KeyId::MAX`: dropped).
    pub(super) fn keep_only(&mut self, stays: impl Fn(KeyId) -> bool) -> Vec<KeyId> {
        let old = std::mem::take(&mut self.slots);
        let mut new = vec![KeyId::MAX; old.len()];
        self.free = Vec::new();
        self.key_bytes = 0;
        for (id, slot) in (0..).zip(old) {
            if let (Some(slot), true) = (slot, stays(id)) {
                self.key_bytes += allocated(slot.key.as_deref());
                new[id as usize] = self.slots.len() as KeyId;
                self.slots.push(Some(slot));
            }
        }
        self.table = HashTable::with_capacity(self.slots.len());
        for (id, slot) in (0..).zip(self.slots.iter().flatten()) {
            let hash = slot.hash;
            self.table
                .insert_unique(spread(hash), (id, hash), |e| spread(e.1));
        }
        let of = |id: KeyId| new.get(id as usize).copied().filter(|id| *id != KeyId::MAX);
        self.touched.renumber(of);
        new
    }

    /// The numbers of all keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        (0..)
            .zip(&self.slots)
            .filter(|s| s.1.is_some())
            .map(|s| s.0)
    }

    /// What is kept for the key changed: the next snapshot is to hold it.
    #[inline]
    pub fn touch(&mut self, id: KeyId) {
        let all = self.slots.len();
        let mark = &mut self.slots[id as usize].as_mut().expect(LIVE).mark;
        self.touched.touch(id, mark, all);
    }

    /// Whether it is known what changed since the last snapshot.
    pub fn knows_changes(&self) -> bool {
        self.touched.is_on()
    }

    /// The keys that a snapshot of this extent is to hold (without those that are gone), and the extent that it really
    /// has. `snapshot` follows.
    pub fn to_snapshot(&mut self, extent: Extent) -> (Vec<KeyId>, Extent) {
        if extent == Extent::Changes && self.touched.is_on() {
            let mut ids = self.touched.take_numbers();
            ids.retain(|&id| {
                let slot = self.slots[id as usize].as_mut();
                slot.is_some_and(|slot| std::mem::take(&mut slot.mark.changed))
            });
            (ids, Extent::Changes)
        } else {
            self.touched.start();
            (self.ids().collect(), Extent::Whole)
        }
    }

    /// Appends an entry for each of the keys that `to_snapshot` gave, named `prefix` and `entry_key`, and deletes those
    /// that are gone.
    pub fn snapshot(
        &mut self,
        ids: &[KeyId],
        prefix: &[u8],
        into: &mut StateBuffer,
        mut value: impl FnMut(&mut Vec<u8>, &T),
    ) {
        for name in self.touched.take_gone().names() {
            let key = key_of_entry(name).flatten().unwrap_or_default();
            into.delete(key_group(key), |to| {
                to.extend_from_slice(prefix);
                to.extend_from_slice(name);
            });
        }
        for &id in ids {
            let slot = self.slots[id as usize].as_mut().expect(LIVE);
            slot.mark = Mark::STORED;
            let key = slot.key.as_deref();
            into.set(
                key_group(key.unwrap_or_default()),
                |name| {
                    name.extend_from_slice(prefix);
                    put_entry_key(name, key);
                },
                |to| value(to, &slot.value),
            );
        }
    }

    /// Bytes that the table and the list of keys may grow by at once (`Step::growth`).
    pub fn growth(&self) -> usize {
        let room = self.free.len() + self.slots.capacity() - self.slots.len();
        let slots = growth_of(room, self.slots.capacity() * size_of::<Option<Slot<T>>>());
        let room = self.table.capacity() - self.table.len();
        slots + growth_of(room, self.table.allocation_size())
    }

    /// Bytes that the keys and the table take; values beyond their own size are the caller's to count.
    pub fn bytes(&self) -> usize {
        self.key_bytes
            + self.cold.as_ref().map_or(0, |cold| cold.memory())
            + self.touched.memory()
            + self.slots.capacity() * size_of::<Option<Slot<T>>>()
            + self.table.capacity() * (size_of::<(KeyId, u32)>() + 1)
    }
}
