//! The groups of one window: a table from keys to accumulators that goes as a whole.
//!
//! Lookups come by the thousand, and with many keys each misses the cache twice: at its slot and its group. So
//! whoever looks many up asks for their places before (`prefetch`, `guess`).

use super::fixed_spill::Spilled;
use super::group_list::{Group, GroupList};
use super::keys::{KeyArena, sort_by_key};
use super::results::Pane;
use super::slots::Slots;
use crate::large_pages;
use crate::record::NO_TIMESTAMP;
use crate::state::growth_of;

/// Groups from which on it pays to ask for slots and groups before they are looked at.
const MANY: usize = 4096;

/// Bytes from which on columns grow gently.
const LARGE: usize = 1 << 20;

/// A window and its groups.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub start: i64,
    pub end: i64,
    slots: Slots,
    pub groups: GroupList,
    /// Newest timestamps of the groups' panes, as far as any were told (global windows).
    newest: Vec<i64>,
    pub arena: KeyArena,
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
            .find(hash, |g| self.groups[g].key.is(key, &self.arena))
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
        self.groups.push(Group::new(key), init);
        self.slots.insert(hash, group);
        group
    }

    /// Doubles where groups are expected: moving what is large costs more than room that is soon filled.
    fn make_room(&mut self) {
        self.expected -= 1;
        let expected = self.expected + 1;
        self.groups
            .grow_full(LARGE, |all| all.min(expected).max(all / 4));
    }

    /// Asks for what lookups look at first to be brought near, if there is much.
    #[inline]
    pub fn prefetch(&self, hashes: impl Iterator<Item = u64>) {
        if self.groups.len() > MANY {
            self.slots.prefetch(hashes);
        }
    }

    /// Guesses which groups hashes are of, to be checked by `is`: a group's number plus one, or 0. Asks for these groups to
    /// be brought near, if there are many.
    #[inline]
    pub fn guess(&self, hashes: impl Iterator<Item = u64>, guesses: &mut [u32]) {
        self.slots.guess(hashes, guesses);
        if self.groups.len() > MANY {
            let groups = guesses.iter().map(|guess| guess.wrapping_sub(1));
            groups.for_each(|group| self.groups.prefetch(group));
        }
    }

    /// Whether a guess is right.
    #[inline]
    pub fn is(&self, guess: u32, key: Option<&[u8]>) -> bool {
        // Of two with the same tag comes a number that may be nobody's.
        let group = self.groups.get(guess.wrapping_sub(1));
        group.is_some_and(|group| group.key.is(key, &self.arena))
    }

    /// Takes a group out as if it had never been; the last group takes its number. `hash` is that of keys.
    pub fn remove(&mut self, group: u32, hash: impl Fn(Option<&[u8]>) -> u64) {
        let last = self.groups.len() as u32 - 1;
        let of = |g: u32| hash(self.groups[g].key.get(&self.arena));
        let (gone, moved) = (of(group), of(last));
        self.slots.remove(gone, group);
        if last != group {
            self.slots.renumber(moved, last, group);
        }
        self.arena.forget(&self.groups[group].key);
        self.groups.swap_remove(group);
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
        let arena = std::mem::take(&mut self.arena);
        self.slots = Slots::default();
        self.dirty = Vec::new();
        for (at, group) in (0..).zip(groups.iter()) {
            if gone.next_if_eq(&at).is_some() {
                continue;
            }
            let key = group.key.get(&arena);
            let new = self.make(hash(key), key, groups.acc(at));
            if group.count > 0 {
                self.dirty.push(new);
            }
            let kept = &mut self.groups[new];
            (kept.count, kept.stamp, kept.local) = (group.count, group.stamp, group.local);
            if let Some(&newest) = newest.get(at as usize) {
                self.set_newest(new, newest);
            }
        }
    }

    /// The key of a group.
    pub fn key(&self, group: u32) -> Option<&[u8]> {
        self.groups[group].key.get(&self.arena)
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
            acc: self.groups.acc(group),
        }
    }

    /// Orders groups by key.
    pub fn sort(&self, groups: &mut [u32]) {
        sort_by_key(groups, |g| self.key(g));
    }

    /// Bytes that it may grow by at once (`Step::growth`).
    pub fn growth(&self) -> usize {
        let room = self.newest.capacity() - self.newest.len();
        let newest = growth_of(room, self.newest.len() / 4 * size_of::<i64>());
        self.groups.growth() + newest + self.slots.growth()
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.groups.memory()
            + self.newest.capacity() * size_of::<i64>()
            + self.slots.memory()
            + self.arena.memory()
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
                for (group, key) in list.iter().enumerate() {
                    proptest::prop_assert_eq!(window.find(hash(Some(key)), Some(key)), Some(group as u32));
                    let mut guesses = [0];
                    window.guess([hash(Some(key))].into_iter(), &mut guesses);
                    let [guess] = guesses;
                    proptest::prop_assert_eq!(window.is(guess, Some(key)), guess as usize == group + 1);
                    proptest::prop_assert_eq!(window.groups.acc(group as u32), &key[..]);
                }
            }
        }
    }
}
