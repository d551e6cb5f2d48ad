//! The groups of one window: a table from keys to accumulators that goes as a whole.
//!
//! Lookups come by the thousand, and with many keys each misses the cache three times: at its slot, its group, its
//! accumulator. So there is a tiny loop over many of them for each of these places (`guess`, `Accumulators::gather`): a
//! processor waits for some twenty misses at a time where little is between them, and for two or three of them in a loop
//! that does all the work.

use super::accumulators::Accumulators;
use super::fixed_spill::Spilled;
use super::keys::{KeyArena, KeyRef, sort_by_key};
use super::results::Pane;
use crate::large_pages;
use crate::record::NO_TIMESTAMP;

/// Groups from which on it pays to touch slots and groups before they are looked at.
const MANY: usize = 4096;

/// Slots that a guess looks at: most often they are in one line of the cache, and most groups are in one of them.
const NEAR: usize = 4;

/// Bytes from which on columns grow gently.
const LARGE: usize = 1 << 20;

/// A key in a window: half a line of the cache, and never in two of them.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Group {
    pub key: KeyRef,
    /// Records since it last fired (kept where that matters; more than 0 = changed).
    pub count: u64,
    /// Which batch `local` is of.
    pub stamp: u32,
    /// Number among the groups that the batch touches.
    pub local: u32,
}

/// Numbers of groups by hash: open addressing. A slot is the upper half of a hash and the group's number plus one;
/// the place of a slot comes from that half alone, so growing needs no keys.
#[derive(Debug, Default)]
struct Slots {
    slots: Vec<u64>,
    used: usize,
}

#[inline]
fn tag(hash: u64) -> u64 {
    hash & !0xffff_ffff
}

impl Slots {
    /// Where a tag's slot should be. There are 2^n slots, n > 0.
    #[inline]
    fn home(&self, tag: u64) -> usize {
        (tag >> (64 - self.slots.len().trailing_zeros())) as usize
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    /// Brings slots near.
    fn touch(&self, hashes: impl Iterator<Item = u64>) {
        let touched = hashes.fold(0, |all, hash| all ^ self.slots[self.home(hash)]);
        std::hint::black_box(touched);
    }

    /// The nearest slot with this tag, if it is near its place: the group's number plus one, or 0. Looks at each of
    /// them whatever it finds: a branch that depends on memory not yet there would end the overlap of misses.
    #[inline]
    fn guess(&self, hash: u64) -> u32 {
        let (tag_wanted, home) = (tag(hash), self.home(hash));
        let mut found = 0;
        for step in (0..NEAR).rev() {
            let slot = self.slots[(home + step) & (self.slots.len() - 1)];
            found = match tag(slot) == tag_wanted {
                true => slot as u32,
                false => found,
            };
        }
        found
    }

    #[inline]
    fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        while self.slots[at] as u32 != 0 {
            let group = self.slots[at] as u32 - 1;
            if tag(self.slots[at]) == tag(hash) && is(group) {
                return Some(group);
            }
            at = self.next(at);
        }
        None
    }

    /// Adds a group that is not there.
    fn insert(&mut self, hash: u64, group: u32) {
        // At most three slots of five are used: longer, and clusters grow.
        if (self.used + 1) * 5 > self.slots.len() * 3 {
            let slots = (self.slots.len() * 2).max(16);
            let mut new = vec![0; slots];
            large_pages::prefer(&mut new, false);
            let old = std::mem::replace(&mut self.slots, new);
            old.into_iter()
                .filter(|slot| *slot != 0)
                .for_each(|slot| self.place(slot));
        }
        self.used += 1;
        self.place(tag(hash) | u64::from(group + 1));
    }

    fn place(&mut self, slot: u64) {
        let mut at = self.home(slot);
        while self.slots[at] != 0 {
            at = self.next(at);
        }
        self.slots[at] = slot;
    }

    /// Takes a group out; those that it pushed aside move up.
    fn remove(&mut self, hash: u64, group: u32) {
        let Some(mut hole) = self.position(hash, group) else {
            return;
        };
        self.used -= 1;
        let mut at = hole;
        loop {
            at = self.next(at);
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            // It may move into the hole if its own place is not between the hole and where it is.
            let mask = self.slots.len() - 1;
            let home = self.home(slot);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = 0;
    }

    fn position(&self, hash: u64, group: u32) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let wanted = tag(hash) | u64::from(group + 1);
        let mut at = self.home(hash);
        while self.slots[at] != 0 {
            if self.slots[at] == wanted {
                return Some(at);
            }
            at = self.next(at);
        }
        None
    }

    /// Gives a group another number.
    fn renumber(&mut self, hash: u64, from: u32, to: u32) {
        if let Some(at) = self.position(hash, from) {
            self.slots[at] = tag(hash) | u64::from(to + 1);
        }
    }
}

/// A window and its groups.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub start: i64,
    pub end: i64,
    slots: Slots,
    pub groups: Vec<Group>,
    /// Newest timestamps of the groups' panes, as far as any were told (global windows).
    newest: Vec<i64>,
    pub arena: KeyArena,
    pub accs: Accumulators,
    /// Groups that got a record since they last fired (some may have fired, and be here twice).
    pub dirty: Vec<u32>,
    /// The newest stamp of its groups.
    pub touched: u32,
    /// Some of it is in a snapshot.
    pub stored: bool,
    /// What of it is not in memory.
    pub spilled: Spilled,
    /// So many groups may come soon.
    pub expected: usize,
}

/// Makes room for so many more, on large pages.
pub(super) fn grow_by<T>(all: &mut Vec<T>, more: usize) {
    let before = all.as_ptr();
    all.reserve_exact(more);
    large_pages::prefer(all, all.as_ptr() != before);
}

/// Makes room for more at the end. What is large grows by a quarter, not by double: in a budget, memory without
/// content is memory lost. It lies on large pages, as records find their places in it at random.
#[inline]
pub(super) fn grow_gently<T>(all: &mut Vec<T>, more: usize) {
    if all.capacity() - all.len() < more && all.len() * size_of::<T>() > LARGE {
        grow_by(all, more.max(all.len() / 4));
    }
}

impl Window {
    /// A window without groups.
    pub fn new(start: i64, end: i64) -> Window {
        Window {
            start,
            end,
            ..Window::default()
        }
    }

    /// The group of a key.
    #[inline]
    pub fn find(&self, hash: u64, key: Option<&[u8]>) -> Option<u32> {
        self.slots
            .find(hash, |g| self.groups[g as usize].key.is(key, &self.arena))
    }

    /// The group of a key, made if there is none; whether it was made.
    #[inline]
    pub fn group(&mut self, hash: u64, key: Option<&[u8]>, init: &[u8]) -> (u32, bool) {
        match self.find(hash, key) {
            Some(group) => (group, false),
            None => (self.make(hash, key, init), true),
        }
    }

    fn make(&mut self, hash: u64, key: Option<&[u8]>, init: &[u8]) -> u32 {
        let group = self.groups.len() as u32;
        let key = self.arena.keep(key);
        if self.expected > 0 {
            self.make_room();
        }
        grow_gently(&mut self.groups, 1);
        self.groups.push(Group {
            key,
            count: 0,
            stamp: 0,
            local: 0,
        });
        self.accs.push(init);
        self.slots.insert(hash, group);
        group
    }

    /// Doubles where groups are expected: moving what is large costs more than room that is soon filled.
    fn make_room(&mut self) {
        let (all, room) = (self.groups.len(), self.groups.capacity());
        self.expected -= 1;
        if all == room && all * size_of::<Group>() > LARGE {
            let more = all.min(self.expected + 1).max(all / 4);
            grow_by(&mut self.groups, more);
            self.accs.reserve(more);
        }
    }

    /// For each hash a guess which group it is of, to be checked by `is`: the group's number plus one, or 0.
    pub fn guess(&self, hashes: impl Iterator<Item = u64> + Clone, guesses: &mut Vec<u32>) {
        guesses.clear();
        if self.slots.slots.is_empty() {
            guesses.extend(hashes.map(|_| 0));
            return;
        }
        let many = self.groups.len() > MANY;
        if many {
            self.slots.touch(hashes.clone());
        }
        guesses.extend(hashes.map(|hash| self.slots.guess(hash)));
        if many {
            // Where nothing was guessed, a group is touched for nothing.
            let groups = guesses.iter().map(|g| g.saturating_sub(1) as usize);
            let touched = groups.fold(0, |all, g| all ^ self.groups[g].stamp);
            std::hint::black_box(touched);
        }
    }

    /// Whether a guess is right.
    #[inline]
    pub fn is(&self, guess: u32, key: Option<&[u8]>) -> bool {
        guess != 0 && self.groups[guess as usize - 1].key.is(key, &self.arena)
    }

    /// Takes a group out as if it had never been; the last group takes its number. `hash` is that of keys.
    pub fn remove(&mut self, group: u32, hash: impl Fn(Option<&[u8]>) -> u64) {
        let last = self.groups.len() as u32 - 1;
        let of = |g: u32| hash(self.groups[g as usize].key.get(&self.arena));
        let (gone, moved) = (of(group), of(last));
        self.slots.remove(gone, group);
        if last != group {
            self.slots.renumber(moved, last, group);
        }
        self.arena.forget(&self.groups[group as usize].key);
        self.groups.swap_remove(group as usize);
        self.accs.swap_remove(group as usize);
        if (group as usize) < self.newest.len() {
            self.newest[group as usize] = self.newest(last);
            self.newest.truncate(last as usize);
        }
        self.dirty
            .iter_mut()
            .filter(|g| **g == last)
            .for_each(|g| *g = group);
    }

    /// Takes many groups out (their numbers, which this sorts): what stays is made anew, as small as it can be.
    pub fn keep_others(&mut self, gone: &mut [u32], hash: impl Fn(Option<&[u8]>) -> u64) {
        gone.sort_unstable();
        let mut gone = gone.iter().copied().peekable();
        let groups = std::mem::take(&mut self.groups);
        let newest = std::mem::take(&mut self.newest);
        let (arena, accs) = (
            std::mem::take(&mut self.arena),
            std::mem::take(&mut self.accs),
        );
        self.slots = Slots::default();
        self.dirty = Vec::new();
        for (at, group) in (0..).zip(groups) {
            if gone.next_if_eq(&at).is_some() {
                continue;
            }
            let key = group.key.get(&arena);
            let new = self.make(hash(key), key, accs.get(at as usize));
            if group.count > 0 {
                self.dirty.push(new);
            }
            let key = self.groups[new as usize].key;
            self.groups[new as usize] = Group { key, ..group };
            if let Some(&newest) = newest.get(at as usize) {
                self.set_newest(new, newest);
            }
        }
    }

    /// The key of a group.
    pub fn key(&self, group: u32) -> Option<&[u8]> {
        self.groups[group as usize].key.get(&self.arena)
    }

    /// Newest timestamp of a group's pane.
    pub fn newest(&self, group: u32) -> i64 {
        let told = self.newest.get(group as usize);
        told.copied().unwrap_or(NO_TIMESTAMP)
    }

    /// Tells it.
    pub fn set_newest(&mut self, group: u32, newest: i64) {
        let at = group as usize;
        if at >= self.newest.len() {
            if newest == NO_TIMESTAMP {
                return;
            }
            let more = at + 1 - self.newest.len();
            grow_gently(&mut self.newest, more);
            self.newest.resize(at + 1, NO_TIMESTAMP);
        }
        self.newest[at] = newest;
    }

    /// The pane of a group.
    pub fn pane(&self, group: u32) -> Pane<'_> {
        Pane {
            key: self.key(group),
            start: self.start,
            end: self.end,
            newest: self.newest(group),
            acc: self.accs.get(group as usize),
        }
    }

    /// Orders groups by key.
    pub fn sort(&self, groups: &mut [u32]) {
        sort_by_key(groups, |g| self.key(g));
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.groups.capacity() * size_of::<Group>()
            + self.newest.capacity() * size_of::<i64>()
            + self.slots.slots.capacity() * size_of::<u64>()
            + self.arena.memory()
            + self.accs.memory()
            + self.dirty.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bad hash on purpose: many keys share a place, some a tag.
    fn hash(key: Option<&[u8]>) -> u64 {
        key.map_or(0, |k| u64::from(k[0] % 5) << 60 | u64::from(k[0] % 7) << 33)
    }

    proptest::proptest! {
        #[test]
        fn table_behaves_like_a_list_of_keys(ops in proptest::collection::vec((0u8..4, 0u8..40), 0..200)) {
            let mut window = Window::default();
            let mut list: Vec<Vec<u8>> = Vec::new();
            for (op, key) in ops {
                let key = vec![key; 1 + key as usize % 3];
                let found = list.iter().position(|k| *k == key);
                proptest::prop_assert_eq!(window.find(hash(Some(&key)), Some(&key)), found.map(|g| g as u32));
                match (op, found) {
                    (0, Some(group)) => {
                        window.remove(group as u32, hash);
                        list.swap_remove(group);
                    }
                    _ => {
                        let (group, made) = window.group(hash(Some(&key)), Some(&key), &key);
                        proptest::prop_assert_eq!(made, found.is_none());
                        if made {
                            proptest::prop_assert_eq!(group as usize, list.len());
                            list.push(key);
                        }
                    }
                }
                let mut guesses = Vec::new();
                window.guess(list.iter().map(|key| hash(Some(key))), &mut guesses);
                for (group, key) in list.iter().enumerate() {
                    proptest::prop_assert_eq!(window.find(hash(Some(key)), Some(key)), Some(group as u32));
                    let guess = guesses[group];
                    proptest::prop_assert!(guess as usize <= list.len());
                    proptest::prop_assert_eq!(window.is(guess, Some(key)), guess as usize == group + 1);
                    proptest::prop_assert_eq!(window.accs.get(group), &key[..]);
                }
            }
        }
    }
}
