//! Accumulators of many groups: side by side while all have one length, apart once they differ.

use super::groups::{grow_by, grow_gently};
use crate::record::Blobs;
use crate::state::growth_of;

/// Accumulators by number.
#[derive(Debug)]
pub(super) enum Accumulators {
    /// All of one length: no overhead, overwritten in place.
    Even {
        width: usize,
        len: usize,
        data: Vec<u8>,
    },
    /// Each of its own length; `bytes` is what they have allocated, all together.
    Uneven { all: Vec<Vec<u8>>, bytes: usize },
}

impl Default for Accumulators {
    fn default() -> Accumulators {
        Accumulators::Even {
            width: 0,
            len: 0,
            data: Vec::new(),
        }
    }
}

impl Accumulators {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Accumulators::Even { len, .. } => *len,
            Accumulators::Uneven { all, .. } => all.len(),
        }
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        match self {
            Accumulators::Even { width, data, .. } => grow_by(data, more * *width),
            Accumulators::Uneven { all, .. } => all.reserve(more),
        }
    }

    /// Accumulator i.
    #[inline]
    pub fn get(&self, i: usize) -> &[u8] {
        match self {
            Accumulators::Even { width, data, .. } => &data[i * width..(i + 1) * width],
            Accumulators::Uneven { all, .. } => &all[i],
        }
    }

    /// Brings some near.
    fn touch(&self, numbers: impl Iterator<Item = usize>) {
        let touched = match self {
            Accumulators::Even { width: 0, .. } => 0,
            Accumulators::Even { width, data, .. } => {
                numbers.fold(0, |all, i| all ^ data[i * width])
            }
            Accumulators::Uneven { all, .. } => numbers.fold(0, |sum, i| sum ^ all[i].len() as u8),
        };
        std::hint::black_box(touched);
    }

    /// Appends some of them to others.
    pub fn gather(&self, numbers: impl Iterator<Item = usize> + Clone, into: &mut Blobs) {
        self.touch(numbers.clone());
        numbers.for_each(|i| into.push(self.get(i)));
    }

    /// Appends one.
    pub fn push(&mut self, acc: &[u8]) {
        if let Accumulators::Even { width, len, .. } = self {
            if *len == 0 {
                *width = acc.len();
            } else if *width != acc.len() {
                self.part();
            }
        }
        match self {
            Accumulators::Even { len, data, .. } => {
                grow_gently(data, acc.len());
                data.extend_from_slice(acc);
                *len += 1;
            }
            Accumulators::Uneven { all, bytes } => {
                *bytes += acc.len();
                all.push(acc.to_vec());
            }
        }
    }

    /// Overwrites accumulator i.
    #[inline]
    pub fn set(&mut self, i: usize, acc: &[u8]) {
        if let Accumulators::Even { width, data, .. } = self {
            if *width == acc.len() {
                match acc.as_array() {
                    // A number: moved without a call.
                    Some(acc) => data.as_chunks_mut::<8>().0[i] = *acc,
                    None => data[i * acc.len()..(i + 1) * acc.len()].copy_from_slice(acc),
                }
                return;
            }
            self.part();
        }
        if let Accumulators::Uneven { all, bytes } = self {
            let before = all[i].capacity();
            all[i].clear();
            all[i].extend_from_slice(acc);
            *bytes = *bytes + all[i].capacity() - before;
        }
    }

    /// Frees the memory behind accumulator i, whose place stays.
    pub fn release(&mut self, i: usize) {
        if let Accumulators::Uneven { all, bytes } = self {
            *bytes -= std::mem::take(&mut all[i]).capacity();
        }
    }

    /// Removes accumulator i; the last one takes its place.
    pub fn swap_remove(&mut self, i: usize) {
        match self {
            Accumulators::Even { width, len, data } => {
                *len -= 1;
                data.copy_within(*len * *width.., i * *width);
                data.truncate(*len * *width);
            }
            Accumulators::Uneven { all, bytes } => {
                *bytes -= all.swap_remove(i).capacity();
            }
        }
    }

    /// Bytes that they may grow by at once (`Step::growth`).
    pub fn growth(&self) -> usize {
        match self {
            Accumulators::Even { width, data, .. } => {
                let room = (data.capacity() - data.len()) / (*width).max(1);
                growth_of(room, data.len() / 4)
            }
            Accumulators::Uneven { all, .. } => {
                let room = all.capacity() - all.len();
                growth_of(room, all.capacity() * size_of::<Vec<u8>>())
            }
        }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        match self {
            Accumulators::Even { data, .. } => data.capacity(),
            Accumulators::Uneven { all, bytes } => all.capacity() * size_of::<Vec<u8>>() + bytes,
        }
    }

    fn part(&mut self) {
        let all: Vec<Vec<u8>> = (0..self.len()).map(|i| self.get(i).to_vec()).collect();
        let bytes = all.iter().map(Vec::capacity).sum();
        *self = Accumulators::Uneven { all, bytes };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Like a plain list of byte strings, whatever the lengths.
        #[test]
        fn behaves_like_a_list(ops in proptest::collection::vec((0u8..4, 0usize..8, 0usize..4), 0..60)) {
            let mut accs = Accumulators::default();
            let mut list: Vec<Vec<u8>> = Vec::new();
            for (op, at, size) in ops {
                let bytes = vec![at as u8; if size < 3 { 4 } else { at }];
                match op {
                    0 | 1 => { accs.push(&bytes); list.push(bytes) }
                    2 if at < list.len() => { accs.set(at, &bytes); list[at] = bytes }
                    3 if at < list.len() => { accs.swap_remove(at); list.swap_remove(at); }
                    _ => {}
                }
                proptest::prop_assert_eq!(accs.len(), list.len());
                if let Accumulators::Uneven { all, bytes } = &accs {
                    proptest::prop_assert_eq!(*bytes, all.iter().map(Vec::capacity).sum::<usize>());
                }
                for (i, acc) in list.iter().enumerate() {
                    proptest::prop_assert_eq!(accs.get(i), &acc[..]);
                }
                let mut gathered = Blobs::default();
                accs.gather((0..list.len()).rev(), &mut gathered);
                proptest::prop_assert!(gathered.iter().eq(list.iter().rev().map(|acc| &acc[..])));
            }
        }
    }
}
