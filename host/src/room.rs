//! Memory of large buffers, used again.
//!
//! A checkpoint each second fills some buffer with what changed, a hundred megabytes maybe, and is done with it when the file
//! is written, chunk by chunk. Memory fresh from the system is cleared page by page first, which costs as much as filling it.

use parking_lot::Mutex;

use crate::large_pages;

/// Less is not worth keeping.
const KEPT_MIN: usize = 1 << 20;

/// A buffer so many times as large as is needed is given back to the system.
const TOO_LARGE: usize = 4;

/// The memory of some buffers, between their uses. The system may have it back then, if it is short of memory.
#[derive(Debug)]
pub struct Room {
    kept: Mutex<Vec<Vec<u8>>>,
    buffers_max: usize,
}

/// For one buffer.
impl Default for Room {
    fn default() -> Room {
        Room::of(1)
    }
}

impl Room {
    /// For so many buffers.
    pub fn of(buffers_max: usize) -> Room {
        Room {
            kept: Mutex::default(),
            buffers_max,
        }
    }

    /// How many buffers it keeps now.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.kept.lock().len()
    }

    /// Empty memory for about so many bytes: what was given back if that fits, else fresh.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        let kept = self.kept.lock().pop();
        let fits =
            |kept: &Vec<u8>| kept.capacity() >= bytes && kept.capacity() / TOO_LARGE <= bytes;
        if let Some(kept) = kept.filter(fits) {
            return kept;
        }
        let mut fresh = Vec::with_capacity(bytes);
        large_pages::prefer(&mut fresh, false);
        fresh
    }

    /// Keeps memory for the next.
    pub fn give_back(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        if bytes.capacity() < KEPT_MIN {
            return;
        }
        large_pages::lend(&mut bytes);
        let mut kept = self.kept.lock();
        kept.push(bytes);
        if kept.len() > self.buffers_max {
            // More were in use at once: the smallest goes.
            let smallest = (0..kept.len()).min_by_key(|at| kept[*at].capacity());
            smallest.map(|at| kept.swap_remove(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_where_it_fits() {
        let room = Room::default();
        let mut first = room.take(8 << 20);
        first.resize(8 << 20, 7);
        let place = first.as_ptr();
        room.give_back(first);
        let mut second = room.take(6 << 20);
        assert_eq!((second.as_ptr(), second.len()), (place, 0));
        second.resize(6 << 20, 9);
        assert!(second.iter().all(|byte| *byte == 9));
        room.give_back(second);
        assert_eq!(room.take(100).capacity(), 100, "far too large");
        assert_eq!(room.kept(), 0, "nothing is kept then");
    }

    #[test]
    fn of_too_many_the_larger_are_kept_and_small_ones_never() {
        for buffers in [1, 2] {
            let room = Room::of(buffers);
            for mebibytes in [3, 2, 4, 1] {
                room.give_back(Vec::with_capacity(mebibytes << 20));
            }
            room.give_back(Vec::with_capacity(1000));
            let mut kept: Vec<_> = room.kept.lock().iter().map(Vec::capacity).collect();
            kept.sort_unstable_by(|a, b| b.cmp(a));
            assert_eq!(kept, [4 << 20, 3 << 20][..buffers]);
        }
    }
}
