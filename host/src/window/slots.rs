//! Numbers of groups by the hashes of their keys.
//!
//! A line of the cache holds eight slots, and a hash has one line where its slot should be: looking a group up misses the
//! cache once, whatever the line holds, and eight slots are compared as fast as two. A line that is full overflows into
//! the next. At most three slots of five are used, so that few do.

use crate::large_pages;
use crate::prefetch::prefetch;
use crate::state::growth_of;

/// Slots in a line.
const LINE: usize = 8;

/// Numbers in a line: of each slot the tag, then of each slot the group's number plus one (0: nothing is there).
const NUMBERS: usize = 2 * LINE;

/// A table of groups that knows nothing of keys.
///
/// The place of a slot comes from its tag alone, which is the upper half of the hash: growing needs no keys.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Whole lines, with room to begin at a line of the cache.
    numbers: Vec<u32>,
    /// Where the first line begins.
    first: usize,
    /// 2^n of them, n > 0; or none.
    lines: usize,
    used: usize,
}

/// A line of the cache.
type Line = [u32; NUMBERS];

#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A slot that has nothing.
#[inline]
fn free(line: &Line) -> Option<usize> {
    line[LINE..].iter().position(|group| *group == 0)
}

/// Tags and groups of what is in a line, and in which slot.
fn filled(line: &Line) -> impl Iterator<Item = (usize, u32, u32)> {
    let slots = line[..LINE].iter().zip(&line[LINE..]).enumerate();
    slots.filter_map(|(k, (tag, group))| Some((k, *tag, group.checked_sub(1)?)))
}

impl Slots {
    /// None, with room for so many lines.
    fn with_lines(lines: usize) -> Slots {
        let mut numbers = vec![0; (lines + 1) * NUMBERS];
        large_pages::prefer(&mut numbers, false);
        let first = numbers.as_ptr().align_offset(size_of::<Line>());
        Slots {
            // That an address can't be aligned is a possibility on paper only; lines then lie across two of the cache.
            first: first.min(NUMBERS),
            numbers,
            lines,
            used: 0,
        }
    }

    /// Whether there is nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Bytes that they may grow by at once (`Step::growth`).
    pub fn growth(&self) -> usize {
        let room = (self.lines * LINE * 3 / 5).saturating_sub(self.used);
        growth_of(room, self.memory())
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.numbers.capacity() * size_of::<u32>()
    }

    #[inline]
    fn all(&self) -> &[Line] {
        self.numbers[self.first..][..self.lines * NUMBERS]
            .as_chunks()
            .0
    }

    #[inline]
    fn line(&mut self, at: usize) -> &mut Line {
        &mut self.numbers[self.first..].as_chunks_mut().0[at]
    }

    /// The line where a tag's slot should be, if there are lines.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.lines as u64) >> u32::BITS) as usize
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.lines - 1)
    }

    /// Asks for the lines of hashes to be brought near.
    #[inline]
    pub fn prefetch(&self, hashes: impl Iterator<Item = u64>) {
        let all = self.all();
        for hash in hashes {
            all.get(self.home(tag(hash))).into_iter().for_each(prefetch);
        }
    }

    /// For each hash the group with this tag in its own line: its number plus one, or 0. Where two have the same tag it is
    /// any number.
    #[inline]
    pub fn guess(&self, hashes: impl Iterator<Item = u64>, guesses: &mut [u32]) {
        let all = self.all();
        for (guess, hash) in guesses.iter_mut().zip(hashes) {
            *guess = all.get(self.home(tag(hash))).map_or(0, |line| {
                // All eight without a branch: which of them it is no processor can guess.
                (0..LINE).fold(0, |found, k| {
                    let same = line[k] == tag(hash);
                    found | (line[LINE + k] & u32::from(same).wrapping_neg())
                })
            });
        }
    }

    /// The group with this hash that is the right one.
    #[inline]
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.position(hash, is).map(|(_, _, group)| group)
    }

    /// Its line, slot and number.
    #[inline]
    fn position(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<(usize, usize, u32)> {
        if self.is_empty() {
            return None;
        }
        let mut at = self.home(tag(hash));
        loop {
            let line = &self.all()[at];
            let right = |found: &(usize, u32, u32)| found.1 == tag(hash) && is(found.2);
            if let Some((k, _, group)) = filled(line).find(right) {
                return Some((at, k, group));
            }
            free(line).is_none().then_some(())?;
            at = self.next(at);
        }
    }

    /// Adds a group that is not there.
    pub fn insert(&mut self, hash: u64, group: u32) {
        if (self.used + 1) * 5 > self.lines * LINE * 3 {
            let old = std::mem::replace(self, Slots::with_lines((self.lines * 2).max(2)));
            for (_, tag, group) in old.all().iter().flat_map(filled) {
                self.place(tag, group);
            }
        }
        self.place(tag(hash), group);
    }

    fn place(&mut self, tag: u32, group: u32) {
        self.used += 1;
        let mut at = self.home(tag);
        loop {
            let line = self.line(at);
            if let Some(k) = free(line) {
                (line[k], line[LINE + k]) = (tag, group + 1);
                return;
            }
            at = self.next(at);
        }
    }

    /// Takes a group out. Where its line was full, one that overflowed from there comes back, if there is any: a line that
    /// is not full has nothing behind it.
    pub fn remove(&mut self, hash: u64, group: u32) {
        let Some((mut hole, mut k, _)) = self.position(hash, |g| g == group) else {
            return;
        };
        self.used -= 1;
        loop {
            let was_full = free(self.line(hole)).is_none();
            self.line(hole)[LINE + k] = 0;
            let Some((from, slot)) = was_full.then(|| self.overflowed(hole)).flatten() else {
                return;
            };
            let moved = self.all()[from];
            let line = self.line(hole);
            (line[k], line[LINE + k]) = (moved[slot], moved[LINE + slot]);
            (hole, k) = (from, slot);
        }
    }

    /// One behind a line, to which only that line's being full has brought it: its line and slot.
    fn overflowed(&self, line: usize) -> Option<(usize, usize)> {
        let ahead = |from: usize, to: usize| to.wrapping_sub(from) & (self.lines - 1);
        let mut at = self.next(line);
        while at != line {
            let here = &self.all()[at];
            let came_past = |tag: u32| ahead(self.home(tag), at) >= ahead(line, at);
            if let Some((k, ..)) = filled(here).find(|(_, tag, _)| came_past(*tag)) {
                return Some((at, k));
            }
            free(here).is_none().then_some(())?;
            at = self.next(at);
        }
        None
    }

    /// Gives a group another number.
    pub fn renumber(&mut self, hash: u64, from: u32, to: u32) {
        if let Some((line, k, _)) = self.position(hash, |g| g == from) {
            self.line(line)[LINE + k] = to + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Like a plain list of hashes by group, whatever the hashes: lines overflow, some around the end, tags are shared.
        #[test]
        fn behaves_like_a_list(ops in proptest::collection::vec((0u8..8, 0u64..5, 0u64..4), 0..400)) {
            let mut slots = Slots::default();
            let mut list: Vec<Option<u64>> = Vec::new();
            for (op, place, tag) in ops {
                let hash = (place << 62).wrapping_sub(place & 1) & !0xffff_ffff ^ tag << 33;
                match op {
                    0..3 => {
                        let same = list.iter().position(|h| *h == Some(hash));
                        if let Some(group) = same {
                            slots.remove(hash, group as u32);
                            list[group] = None;
                        }
                    }
                    3 => {
                        let some = list.iter().position(Option::is_some);
                        if let Some(group) = some {
                            let hash = list[group].take().expect("some");
                            slots.renumber(hash, group as u32, list.len() as u32);
                            list.push(Some(hash));
                        }
                    }
                    _ => {
                        slots.insert(hash, list.len() as u32);
                        list.push(Some(hash));
                    }
                }
                for (group, hash) in list.iter().enumerate() {
                    let group = group as u32;
                    match *hash {
                        Some(hash) => {
                            proptest::prop_assert_eq!(slots.find(hash, |g| g == group), Some(group));
                            let alone = list.iter().flatten().filter(|h| **h == hash).count() == 1;
                            let mut guesses = [0];
                            slots.guess([hash].into_iter(), &mut guesses);
                            let [guess] = guesses;
                            proptest::prop_assert!(!alone || guess == 0 || guess == group + 1);
                        }
                        None => proptest::prop_assert_eq!(slots.find(0, |g| g == group), None),
                    }
                }
                proptest::prop_assert_eq!(slots.used, list.iter().flatten().count());
            }
        }
    }

    #[test]
    fn a_line_begins_where_a_line_of_the_cache_does() {
        let mut slots = Slots::default();
        for group in 0..100_000u32 {
            slots.insert(u64::from(group).wrapping_mul(0x9e37_79b9_7f4a_7c15), group);
            assert!(slots.all().as_ptr().addr().is_multiple_of(64));
        }
    }
}
