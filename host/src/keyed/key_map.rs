use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

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
}

#[derive(Debug)]
struct Slot<T> {
    hash: u32,
    key: Option<Box<[u8]>>,
    value: T,
}

impl<T> Default for KeyMap<T> {
    fn default() -> KeyMap<T> {
        KeyMap {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hasher: RandomState::default(),
            key_bytes: 0,
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
        self.key_bytes += key.map_or(0, <[u8]>::len);
        let slot = Some(Slot {
            hash,
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
        self.key_bytes -= slot.key.as_deref().map_or(0, <[u8]>::len);
        self.free.push(id);
        slot.value
    }

    /// The numbers of all keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        (0..)
            .zip(&self.slots)
            .filter(|s| s.1.is_some())
            .map(|s| s.0)
    }

    /// All keys in order of key group, then key ("no key" first): the order of snapshots.
    pub fn sorted(&self) -> Vec<(u16, KeyId)> {
        let mut all: Vec<(u16, KeyId)> = Vec::with_capacity(self.len());
        for (i, slot) in self.slots.iter().enumerate() {
            if let Some(slot) = slot {
                all.push((
                    key_group(slot.key.as_deref().unwrap_or_default()),
                    i as KeyId,
                ));
            }
        }
        all.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0)
                .then_with(|| self.key(a.1).cmp(&self.key(b.1)))
        });
        all
    }

    /// Bytes that the keys and the table take; values beyond their own size are the caller's to count.
    pub fn bytes(&self) -> usize {
        self.key_bytes
            + self.slots.capacity() * size_of::<Option<Slot<T>>>()
            + self.table.capacity() * (size_of::<(KeyId, u32)>() + 1)
    }
}
