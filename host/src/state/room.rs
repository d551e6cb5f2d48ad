//! Memory of buffers of state, used again.
//!
//! A checkpoint each second fills some buffer with what changed, a hundred megabytes maybe, and is done with it when the file
//! is written. Memory fresh from the system is cleared page by page first, which costs as much as filling it.

use parking_lot::Mutex;

use crate::large_pages;

/// Less is not worth keeping.
const KEPT_MIN: usize = 1 << 20;

/// A buffer so many times as large as is needed is given back to the system.
const TOO_LARGE: usize = 4;

/// The memory of one buffer, between its uses. The system may have it back then, if it is short of memory.
#[derive(Debug, Default)]
pub struct Room(Mutex<Vec<u8>>);

impl Room {
    /// Empty memory for about so many bytes: what was given back if that fits, else fresh.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        let kept = std::mem::take(&mut *self.0.lock());
        let fits = kept.capacity() >= bytes && kept.capacity() / TOO_LARGE <= bytes;
        if fits {
            return kept;
        }
        drop(kept);
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
        let mut kept = self.0.lock();
        // There were two at once: the smaller goes.
        if kept.capacity() < bytes.capacity() {
            large_pages::lend(&mut bytes);
            *kept = bytes;
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
        assert_eq!(room.0.lock().capacity(), 0, "nothing is kept then");
    }

    #[test]
    fn of_two_the_larger_is_kept_and_small_ones_are_not() {
        let room = Room::default();
        room.give_back(Vec::with_capacity(3 << 20));
        room.give_back(Vec::with_capacity(2 << 20));
        assert_eq!(room.0.lock().capacity(), 3 << 20);
        let room = Room::default();
        room.give_back(Vec::with_capacity(1000));
        assert_eq!(room.0.lock().capacity(), 0);
    }
}
