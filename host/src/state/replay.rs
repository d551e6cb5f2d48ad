use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::StateRef;
use super::buffer::{Item, Malformed, items, named_at};

/// Gives what a chain leaves, each entry once, in no order that means anything. `chain`: the bytes of the base, then
/// those of each delta.
///
/// Reads the newest first: an entry that a later buffer set or deleted is passed over. So only the keys of deltas are
/// remembered (where they stand: 8 bytes each), and a base alone costs one pass.
pub fn replay<E: From<Malformed>>(
    chain: &[&[u8]],
    each: &mut dyn FnMut(StateRef<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut later = Later::default();
    for (number, bytes) in chain.iter().enumerate().rev() {
        for item in items(bytes) {
            if let Item::Set(entry) = item?.1
                && !later.speaks_of(chain, entry.key_group, entry.key)
            {
                each(entry)?;
            }
        }
        if number > 0 {
            later.learn(chain, number)?;
        }
    }
    Ok(())
}

/// What later buffers speak of.
#[derive(Default)]
struct Later<'a> {
    hasher: RandomState,
    /// Where keys stand: number of the buffer, place in it.
    keys: HashTable<Place>,
    /// How all that is gone begins, by length.
    prefixes: BTreeMap<usize, HashSet<&'a [u8]>>,
}

/// Number of the buffer in the upper 16 bits, place in it in the others.
type Place = u64;

fn named<'a>(chain: &[&'a [u8]], place: Place) -> (u16, &'a [u8]) {
    named_at(
        chain[(place >> 48) as usize],
        (place & 0xffff_ffff_ffff) as usize,
    )
}

impl<'a> Later<'a> {
    fn speaks_of(&self, chain: &[&'a [u8]], key_group: u16, key: &[u8]) -> bool {
        let is = |place: &Place| named(chain, *place) == (key_group, key);
        let gone = |(&n, all): (&usize, &HashSet<&[u8]>)| {
            key.get(..n).is_some_and(|prefix| all.contains(prefix))
        };
        !self.keys.is_empty() && self.keys.find(self.hasher.hash_one(key), is).is_some()
            || self.prefixes.iter().any(gone)
    }

    fn learn(&mut self, chain: &[&'a [u8]], number: usize) -> Result<(), Malformed> {
        let Later {
            hasher,
            keys,
            prefixes,
        } = self;
        let hash = |place: &Place| hasher.hash_one(named(chain, *place).1);
        keys.reserve(items(chain[number]).count(), hash);
        for item in items(chain[number]) {
            let (at, item) = item?;
            match item {
                Item::AllGone(prefix) => {
                    prefixes.entry(prefix.len()).or_default().insert(prefix);
                }
                Item::Set(StateRef { key, .. }) | Item::Gone(_, key) => {
                    // The same key may be there more than once: that changes nothing.
                    keys.insert_unique(
                        hasher.hash_one(key),
                        (number as Place) << 48 | at as Place,
                        hash,
                    );
                }
            }
        }
        Ok(())
    }
}
