//! Groups by number, each with its accumulator.
//!
//! While accumulators are small each lies beside its group, in the same line of the cache: with many keys a record waits for
//! one place of memory instead of two. Once one is larger, all are in a list of their own.

use std::ops::{Index, IndexMut};

use super::accumulators::Accumulators;
use super::groups::{grow_by, grow_gently};
use super::keys::KeyRef;
use crate::prefetch::prefetch;
use crate::record::Blobs;
use crate::state::growth_of;

/// Bytes of the largest accumulator that lies beside its group: a line of the cache, less the group and a length.
const NEAR_MAX: usize = 31;

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

impl Group {
    /// A group that has no record yet.
    pub fn new(key: KeyRef) -> Group {
        Group {
            key,
            count: 0,
            stamp: 0,
            local: 0,
        }
    }
}

/// A group with a small accumulator: a line of the cache.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Near {
    group: Group,
    len: u8,
    bytes: [u8; NEAR_MAX],
}

impl Near {
    fn new(group: Group, acc: &[u8]) -> Near {
        let mut near = Near {
            group,
            len: 0,
            bytes: [0; NEAR_MAX],
        };
        near.set(acc);
        near
    }

    #[inline]
    fn acc(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    /// Overwrites the accumulator with one that fits.
    #[inline]
    fn set(&mut self, acc: &[u8]) {
        self.len = acc.len() as u8;
        // Most often it is a number or two: moved without a call.
        if let Some(one) = acc.as_array::<8>() {
            self.bytes[..8].copy_from_slice(one);
        } else if let Some(two) = acc.as_array::<16>() {
            self.bytes[..16].copy_from_slice(two);
        } else {
            self.bytes[..acc.len()].copy_from_slice(acc);
        }
    }
}

/// Groups and their accumulators, by number.
#[derive(Debug)]
pub(super) enum GroupList {
    /// None is larger than `NEAR_MAX`.
    Near(Vec<Near>),
    /// Any.
    Apart(Vec<Group>, Accumulators),
}

impl Default for GroupList {
    fn default() -> GroupList {
        GroupList::Near(Vec::new())
    }
}

impl GroupList {
    /// How many.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            GroupList::Near(all) => all.len(),
            GroupList::Apart(all, _) => all.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        match self {
            GroupList::Near(all) => all.capacity() * size_of::<Near>(),
            GroupList::Apart(all, accs) => all.capacity() * size_of::<Group>() + accs.memory(),
        }
    }

    /// Bytes that they may grow by at once (`Step::growth`).
    pub fn growth(&self) -> usize {
        let quarter = self.len() / 4;
        match self {
            GroupList::Near(all) => {
                growth_of(all.capacity() - all.len(), quarter * size_of::<Near>())
            }
            GroupList::Apart(all, accs) => {
                growth_of(all.capacity() - all.len(), quarter * size_of::<Group>()) + accs.growth()
            }
        }
    }

    /// All, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        (0..self.len() as u32).map(|at| &self[at])
    }

    /// Appends one.
    pub fn push(&mut self, group: Group, acc: &[u8]) {
        if acc.len() > NEAR_MAX {
            self.part();
        }
        match self {
            GroupList::Near(all) => {
                grow_gently(all, 1);
                all.push(Near::new(group, acc));
            }
            GroupList::Apart(all, accs) => {
                grow_gently(all, 1);
                all.push(group);
                accs.push(acc);
            }
        }
    }

    /// Where it is full and takes at least so many bytes, makes room for more.
    pub fn grow_full(&mut self, bytes_min: usize, more: impl Fn(usize) -> usize) {
        match self {
            GroupList::Near(all) => {
                if all.len() == all.capacity() && all.len() * size_of::<Near>() > bytes_min {
                    grow_by(all, more(all.len()));
                }
            }
            GroupList::Apart(all, accs) => {
                if all.len() == all.capacity() && all.len() * size_of::<Group>() > bytes_min {
                    grow_by(all, more(all.len()));
                    accs.reserve(more(all.len()));
                }
            }
        }
    }

    /// Removes one; the last takes its number.
    pub fn swap_remove(&mut self, at: u32) {
        match self {
            GroupList::Near(all) => drop(all.swap_remove(at as usize)),
            GroupList::Apart(all, accs) => {
                all.swap_remove(at as usize);
                accs.swap_remove(at as usize);
            }
        }
    }

    /// The accumulator of one.
    #[inline]
    pub fn acc(&self, at: u32) -> &[u8] {
        match self {
            GroupList::Near(all) => all[at as usize].acc(),
            GroupList::Apart(_, accs) => accs.get(at as usize),
        }
    }

    /// Overwrites the accumulator of one.
    #[inline]
    pub fn set_acc(&mut self, at: u32, acc: &[u8]) {
        if let GroupList::Near(all) = self {
            if acc.len() <= NEAR_MAX {
                return all[at as usize].set(acc);
            }
            self.part();
        }
        if let GroupList::Apart(_, accs) = self {
            accs.set(at as usize, acc);
        }
    }

    /// Appends the accumulators of some.
    pub fn gather(&self, numbers: impl Iterator<Item = u32> + Clone, into: &mut Blobs) {
        match self {
            GroupList::Near(all) => numbers.for_each(|at| {
                let near = &all[at as usize];
                match near.len {
                    8 => into.push_array(near.bytes[..8].as_array::<8>().expect("eight bytes")),
                    16 => into.push_array(near.bytes[..16].as_array::<16>().expect("so many")),
                    _ => into.push(near.acc()),
                }
            }),
            GroupList::Apart(_, accs) => accs.gather(numbers.map(|at| at as usize), into),
        }
    }

    /// Asks for one to be brought near, if it is there.
    #[inline]
    pub fn prefetch(&self, at: u32) {
        match self {
            GroupList::Near(all) => all.get(at as usize).into_iter().for_each(prefetch),
            GroupList::Apart(all, _) => all.get(at as usize).into_iter().for_each(prefetch),
        }
    }

    /// One of them, if it is there.
    #[inline]
    pub fn get(&self, at: u32) -> Option<&Group> {
        match self {
            GroupList::Near(all) => all.get(at as usize).map(|near| &near.group),
            GroupList::Apart(all, _) => all.get(at as usize),
        }
    }

    fn part(&mut self) {
        let GroupList::Near(all) = self else { return };
        let (mut groups, mut accs) = (Vec::with_capacity(all.len()), Accumulators::default());
        for near in std::mem::take(all) {
            accs.push(near.acc());
            groups.push(near.group);
        }
        *self = GroupList::Apart(groups, accs);
    }
}

impl Index<u32> for GroupList {
    type Output = Group;

    #[inline]
    fn index(&self, at: u32) -> &Group {
        match self {
            GroupList::Near(all) => &all[at as usize].group,
            GroupList::Apart(all, _) => &all[at as usize],
        }
    }
}

impl IndexMut<u32> for GroupList {
    #[inline]
    fn index_mut(&mut self, at: u32) -> &mut Group {
        match self {
            GroupList::Near(all) => &mut all[at as usize].group,
            GroupList::Apart(all, _) => &mut all[at as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::keys::KeyArena;

    proptest::proptest! {
        /// Like a plain list of pairs, whatever the lengths of accumulators: small ones, some, all or none of another length.
        #[test]
        fn behaves_like_a_list(
            long in 20usize..60,
            ops in proptest::collection::vec((0u8..4, 0u32..8, 0usize..60), 0..80),
        ) {
            let mut arena = KeyArena::default();
            let mut groups = GroupList::default();
            let mut list: Vec<(u64, Vec<u8>)> = Vec::new();
            for (count, (op, at, len)) in (0u64..).zip(ops) {
                let acc = vec![len as u8; if len % 3 == 0 { 8 } else { len.min(long) }];
                let is_there = (at as usize) < list.len();
                match op {
                    2 if is_there => {
                        groups.set_acc(at, &acc);
                        list[at as usize].1 = acc;
                    }
                    3 if is_there => {
                        groups.swap_remove(at);
                        list.swap_remove(at as usize);
                    }
                    _ => {
                        let group = Group::new(arena.keep(Some(&acc)));
                        groups.push(Group { count, ..group }, &acc);
                        list.push((count, acc));
                    }
                }
                proptest::prop_assert_eq!(groups.len(), list.len());
                for (at, (count, acc)) in (0..).zip(&list) {
                    proptest::prop_assert_eq!((groups[at].count, groups.acc(at)), (*count, &acc[..]));
                }
                let mut gathered = Blobs::default();
                groups.gather((0..list.len() as u32).rev(), &mut gathered);
                proptest::prop_assert!(gathered.iter().eq(list.iter().rev().map(|(_, acc)| &acc[..])));
            }
        }
    }

    #[test]
    fn group_with_a_small_accumulator_is_one_line_of_the_cache() {
        assert_eq!((size_of::<Near>(), align_of::<Near>()), (64, 64));
        assert_eq!((size_of::<Group>(), align_of::<Group>()), (32, 32));
    }
}
