//! Keys of groups, small: up to 12 bytes stand in the reference itself, longer ones in an arena.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};

use arrow_array::{Array, BinaryArray};

/// Length that stands for "no key" (records without key are one group of their own).
const NO_KEY: u32 = u32::MAX;
/// Bytes that need no arena.
const INLINE: usize = 12;

/// A key: its bytes if they are few, else where they are in the arena that it was made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyRef {
    len: u32,
    /// All of a short key, padded with zeros. Of a long one, its first four bytes and its place in the arena.
    bytes: [u8; INLINE],
}

impl KeyRef {
    /// Whether it is this key.
    #[inline]
    pub fn is(&self, key: Option<&[u8]>, arena: &KeyArena) -> bool {
        match key {
            None => self.len == NO_KEY,
            Some(key) if key.len() != self.len as usize => false,
            Some(key) if key.len() <= INLINE => same(&self.bytes[..key.len()], key),
            Some(key) => self.bytes[..4] == key[..4] && arena.long(self) == key,
        }
    }

    /// The bytes; none for the group without key.
    #[inline]
    pub fn get<'a>(&'a self, arena: &'a KeyArena) -> Option<&'a [u8]> {
        match self.len {
            NO_KEY => None,
            len if len as usize <= INLINE => Some(&self.bytes[..len as usize]),
            _ => Some(arena.long(self)),
        }
    }

    /// Where a long key starts in its arena.
    fn start(&self) -> usize {
        let mut at = [0; 8];
        at.copy_from_slice(&self.bytes[4..]);
        u64::from_le_bytes(at) as usize
    }

    /// Bytes that it holds in an arena.
    fn long_len(&self) -> usize {
        if self.len == NO_KEY || self.len as usize <= INLINE {
            0
        } else {
            self.len as usize
        }
    }
}

/// Whether the bytes of a short key, which are as many, are these. (A comparison of any length is a call.)
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    if let (Some(a_first), Some(b_first)) = (a.first_chunk::<8>(), b.first_chunk::<8>()) {
        return a_first == b_first && a.last_chunk::<4>() == b.last_chunk::<4>();
    }
    if let (Some(a_first), Some(b_first)) = (a.first_chunk::<4>(), b.first_chunk::<4>()) {
        return a_first == b_first && a.last_chunk::<4>() == b.last_chunk::<4>();
    }
    a.iter().eq(b)
}

/// Bytes of long keys.
#[derive(Debug, Default)]
pub(super) struct KeyArena {
    data: Vec<u8>,
    garbage: usize,
}

impl KeyArena {
    /// Keeps a key.
    pub fn keep(&mut self, key: Option<&[u8]>) -> KeyRef {
        let mut bytes = [0; INLINE];
        let Some(key) = key else {
            return KeyRef { len: NO_KEY, bytes };
        };
        if key.len() <= INLINE {
            bytes[..key.len()].copy_from_slice(key);
        } else {
            bytes[..4].copy_from_slice(&key[..4]);
            bytes[4..].copy_from_slice(&(self.data.len() as u64).to_le_bytes());
            self.data.extend_from_slice(key);
        }
        KeyRef {
            len: u32::try_from(key.len()).expect("a batch is bounded far below 4 GiB"),
            bytes,
        }
    }

    /// The key is needed no more.
    pub fn forget(&mut self, key: &KeyRef) {
        self.garbage += key.long_len();
    }

    /// Whether so much is garbage that `compact` pays.
    pub fn is_wasteful(&self) -> bool {
        self.garbage > 4096 && self.garbage > self.data.len() / 2
    }

    /// Drops what was forgotten: `keys` are all that live.
    pub fn compact<'a>(&mut self, keys: impl Iterator<Item = &'a mut KeyRef>) {
        let old = std::mem::take(self);
        for key in keys {
            if key.long_len() > 0 {
                *key = self.keep(Some(old.long(key)));
            }
        }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.data.capacity()
    }

    fn long(&self, key: &KeyRef) -> &[u8] {
        let start = key.start();
        &self.data[start..start + key.len as usize]
    }
}

/// Hashes keys for tables in memory (never for what is stored: that is `step::key_group`).
#[derive(Clone, Debug, Default)]
pub(super) struct KeyHasher(foldhash::fast::RandomState);

impl KeyHasher {
    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: Option<&[u8]>) -> u64 {
        let mut hasher = self.0.build_hasher();
        match key {
            Some(key) => hasher.write(key),
            None => hasher.write_u8(0),
        }
        hasher.finish()
    }
}

/// Key of a row; none: it has none.
#[inline]
pub(super) fn key_of(keys: Option<&BinaryArray>, row: usize) -> Option<&[u8]> {
    keys.filter(|keys| keys.is_valid(row))
        .map(|keys| keys.value(row))
}

/// Puts groups in the order in which results come out: no key first, then by bytes.
pub(super) fn sort_by_key<'a>(groups: &mut [u32], key: impl Fn(u32) -> Option<&'a [u8]>) {
    // Keys often begin alike: what they share says nothing of their order.
    let mut keys = groups.iter().filter_map(|g| key(*g));
    let first = keys.next().unwrap_or_default();
    let shared = keys.fold(first.len(), |shared, key| {
        first[..shared]
            .iter()
            .zip(key)
            .take_while(|(a, b)| a == b)
            .count()
    });
    // The next seven bytes and, last, how many there are of them: sorts like the key, if it ends there.
    let prefix = |key: Option<&[u8]>| {
        let Some(key) = key else { return 0 };
        let mut bytes = [0; 8];
        let n = (key.len() - shared).min(7);
        bytes[..n].copy_from_slice(&key[shared..shared + n]);
        bytes[7] = n as u8 + 1;
        u64::from_be_bytes(bytes)
    };
    let mut order: Vec<(u64, u32)> = groups.iter().map(|&g| (prefix(key(g)), g)).collect();
    order.sort_unstable_by(|a, b| match a.0.cmp(&b.0) {
        Ordering::Equal => key(a.1).cmp(&key(b.1)),
        other => other,
    });
    for (to, (_, group)) in groups.iter_mut().zip(order) {
        *to = group;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_lengths_come_back_and_are_told_apart() {
        let mut arena = KeyArena::default();
        let texts: Vec<Vec<u8>> = (0..40).map(|n| vec![b'k'; n]).collect();
        let refs: Vec<KeyRef> = texts.iter().map(|k| arena.keep(Some(k))).collect();
        let none = arena.keep(None);
        assert_eq!(none.get(&arena), None);
        for (i, key) in refs.iter().enumerate() {
            assert_eq!(key.get(&arena), Some(&texts[i][..]));
            for (j, text) in texts.iter().enumerate() {
                assert_eq!(key.is(Some(text), &arena), i == j);
            }
            assert!(!key.is(None, &arena) && !none.is(Some(&texts[i]), &arena));
        }
    }

    #[test]
    fn compacting_keeps_living_keys() {
        let mut arena = KeyArena::default();
        let mut keys: Vec<KeyRef> = (0..1000)
            .map(|i| arena.keep(Some(format!("a rather long key {i}").as_bytes())))
            .collect();
        for key in keys.drain(..900) {
            arena.forget(&key);
        }
        assert!(arena.is_wasteful());
        arena.compact(keys.iter_mut());
        assert!(!arena.is_wasteful());
        assert_eq!(keys[0].get(&arena), Some(&b"a rather long key 900"[..]));
        assert_eq!(keys[99].get(&arena), Some(&b"a rather long key 999"[..]));
    }

    proptest::proptest! {
        #[test]
        fn order_is_that_of_keys_with_none_first(keys in proptest::collection::vec(
            proptest::option::of(proptest::collection::vec(0u8..3, 0..10)), 0..50)) {
            let mut groups: Vec<u32> = (0..keys.len() as u32).collect();
            sort_by_key(&mut groups, |g| keys[g as usize].as_deref());
            let sorted: Vec<_> = groups.iter().map(|&g| keys[g as usize].clone()).collect();
            let mut expected = keys.clone();
            expected.sort();
            proptest::prop_assert_eq!(sorted, expected);
        }
    }
}
